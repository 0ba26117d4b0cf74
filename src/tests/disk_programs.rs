//! Real databases on a disk that loses its power. A program that is not installed is skipped, and said so on stderr.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::are_installed;
use super::disk::mounted;
use crate::clock::{millis, secs};
use crate::port::Lease;

/// A process that is killed at the latest when this is dropped.
pub(super) struct Process(Child);

impl Process {
    pub(super) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _dead = self.0.kill();
        let _reaped = self.0.wait();
    }
}

struct Redis {
    _process: Process,
    stream: BufReader<TcpStream>,
}

impl Redis {
    fn start(port: u16, data: &Path, fsync: &str) -> Self {
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", fsync, "--dir"])
            .arg(data)
            .stdout(Stdio::null());
        let process = Process::start(&mut command);
        let until = Instant::now() + secs(20);
        loop {
            assert!(Instant::now() < until, "redis does not answer");
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
                stream.set_read_timeout(Some(secs(20))).unwrap();
                let mut redis = Self {
                    _process: process,
                    stream: BufReader::new(stream),
                };
                while redis.ask("GET none").starts_with("-LOADING") {
                    assert!(Instant::now() < until, "redis does not load");
                }
                return redis;
            }
            std::thread::sleep(millis(5));
        }
    }

    /// The reply to a command, as it is on the wire; of a bulk string its content.
    fn ask(&mut self, command: &str) -> String {
        self.stream
            .get_mut()
            .write_all(format!("{command}\r\n").as_bytes())
            .unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let reply = line.trim_end().to_owned();
        match reply
            .strip_prefix('$')
            .and_then(|length| length.parse::<usize>().ok())
        {
            None => reply,
            Some(length) => {
                let mut bytes = vec![0; length + 2];
                self.stream.read_exact(&mut bytes).unwrap();
                String::from_utf8_lossy(&bytes[..length]).into_owned()
            }
        }
    }

    fn incr(&mut self) -> u64 {
        let reply = self.ask("INCR counter");
        reply
            .trim_start_matches(':')
            .parse()
            .unwrap_or_else(|_| panic!("{reply}"))
    }

    fn counter(&mut self) -> u64 {
        self.ask("GET counter").parse().unwrap_or(0)
    }
}

/// Counts for so long, then loses the power; returns when each number was acknowledged, and what is there afterwards.
async fn count(fsync: &str, time: Duration) -> Option<(Vec<(u64, Instant)>, Instant, u64)> {
    if !are_installed(&["redis-server"]) {
        return None;
    }
    let (fixture, disk) = mounted().await?;
    let lease = Lease::new().unwrap();
    let mut redis = Redis::start(lease.port(), disk.path(), fsync);
    let begin = Instant::now();
    let mut acknowledged = Vec::new();
    while begin.elapsed() < time {
        acknowledged.push((redis.incr(), Instant::now()));
    }
    drop(redis);
    let dark = Instant::now();
    let lost = disk.lose_power(None).unwrap();
    eprintln!(
        "appendfsync {fsync}: {} acknowledged, {lost} lost",
        acknowledged.len()
    );
    let mut redis = Redis::start(lease.port(), disk.path(), fsync);
    let left = redis.counter();
    drop(redis);
    drop(disk);
    assert_eq!(fixture.end().await, [""; 0]);
    Some((acknowledged, dark, left))
}

#[tokio::test]
async fn redis_that_syncs_always_keeps_every_acknowledged_write() {
    let Some((acknowledged, _, left)) = count("always", secs(2)).await else {
        return;
    };
    let last = acknowledged.last().unwrap().0;
    assert!(last > 20 && left >= last, "{left} of {last}");
}

#[tokio::test]
async fn redis_that_syncs_every_second_loses_its_last_ones_and_no_more() {
    let Some((acknowledged, dark, left)) = count("everysec", millis(4500)).await else {
        return;
    };
    let last = acknowledged.last().unwrap().0;
    assert!(left < last, "nothing of {last} is lost");
    // Redis promises a second, and one more while a sync takes its time.
    let kept_until = dark - secs(2);
    let due = acknowledged.iter().take_while(|(_, at)| *at < kept_until).count() as u64;
    assert!(
        left >= due && due > 0,
        "{left} of {last}, {due} of which were two seconds old"
    );
}

fn sqlite(database: &Path, script: &str) -> String {
    let ran = Command::new("sqlite3")
        .arg(database)
        .arg(script)
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    String::from_utf8_lossy(&ran.stdout).trim().to_owned()
}

/// Inserts rows one by one, each with a power loss after it. Returns how many of them were lost, and checks that each
/// time the database is whole.
async fn insert(pragmas: &str, is_torn: bool) -> Option<usize> {
    if !are_installed(&["sqlite3"]) {
        return None;
    }
    let (fixture, disk) = mounted().await?;
    let database = disk.path().join("db");
    sqlite(
        &database,
        &format!("{pragmas}; CREATE TABLE t (n INTEGER, filler BLOB);"),
    );
    std::fs::File::open(disk.path()).unwrap().sync_all().unwrap();
    let mut lost = 0;
    for round in 0..8_u64 {
        let rows = |when: &str| -> usize { sqlite(&database, when).parse().unwrap() };
        let before = rows("SELECT count(*) FROM t");
        sqlite(
            &database,
            &format!("{pragmas}; INSERT INTO t VALUES ({round}, randomblob(20000));"),
        );
        disk.lose_power(is_torn.then(|| ChaCha8Rng::seed_from_u64(round)))
            .unwrap();
        assert_eq!(sqlite(&database, "PRAGMA integrity_check"), "ok");
        lost += before + 1 - rows("SELECT count(*) FROM t");
    }
    assert_eq!(fixture.end().await, [""; 0]);
    Some(lost)
}

#[tokio::test]
async fn sqlite_is_whole_and_keeps_what_its_mode_promises() {
    // Its documents: with EXTRA, the directory is synced too when the journal is removed, without it the last
    // transaction may be rolled back.
    for (pragmas, loses) in [
        ("PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA", 0),
        ("PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL", 8),
        ("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", 0),
    ] {
        let Some(lost) = insert(pragmas, false).await else {
            return;
        };
        assert_eq!(lost, loses, "{pragmas}");
        let Some(lost) = insert(pragmas, true).await else {
            return;
        };
        assert!(lost <= loses, "{pragmas}: {lost}");
    }
}

/// What `etcdctl` prints.
fn etcdctl(port: u16, arguments: &[&str]) -> Option<String> {
    let endpoint = format!("http://127.0.0.1:{port}");
    let ran = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", &endpoint, "--command-timeout=2s"])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
    ran.status.success().then_some(said)
}

#[tokio::test]
async fn etcd_keeps_what_it_acknowledged_also_when_its_log_is_torn() {
    if !are_installed(&["etcd", "etcdctl"]) {
        return;
    }
    let Some((fixture, disk)) = mounted().await else {
        return;
    };
    let (client, peer) = (Lease::new().unwrap(), Lease::new().unwrap());
    let url = |lease: &Lease| format!("http://127.0.0.1:{}", lease.port());
    let mut put = 0_u64;
    for round in 0..3_u64 {
        let mut command = Command::new("etcd");
        command
            .arg("--data-dir")
            .arg(disk.path().join("etcd"))
            .args([
                "--listen-client-urls",
                &url(&client),
                "--advertise-client-urls",
                &url(&client),
            ])
            .args([
                "--listen-peer-urls",
                &url(&peer),
                "--initial-advertise-peer-urls",
                &url(&peer),
            ])
            .args(["--initial-cluster", &format!("default={}", url(&peer))])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let etcd = Process::start(&mut command);
        let until = Instant::now() + secs(40);
        while etcdctl(client.port(), &["endpoint", "health"]).is_none() {
            assert!(Instant::now() < until, "etcd does not answer in round {round}");
        }
        for number in 0..put {
            let value = etcdctl(
                client.port(),
                &["get", "--print-value-only", &format!("key-{number}")],
            );
            assert_eq!(
                value.as_deref(),
                Some("value"),
                "round {round}, key {number} of {put}"
            );
        }
        for _ in 0..10 {
            etcdctl(client.port(), &["put", &format!("key-{put}"), "value"]).unwrap();
            put += 1;
        }
        drop(etcd);
        let torn = (round == 1).then(|| ChaCha8Rng::seed_from_u64(round));
        eprintln!("etcd: {} lost", disk.lose_power(torn).unwrap());
    }
    drop(disk);
    assert_eq!(fixture.end().await, [""; 0]);
}
