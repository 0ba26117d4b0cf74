//! Programs on hosts of their own.

use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::hosts::{WITHIN, are_available, is_kept, network, until};
use super::{Fixture, are_installed, is_alive};
use crate::hosts::{Host, Impairment, Net};
use crate::prelude::*;
use crate::process::ProcessGroup;

/// Starts it on the host, with a group and a log of its own; it is ended with what is returned.
fn start(host: &Host, folder: &Path, program: &str, arguments: &[&str]) -> ProcessGroup {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder);
    host.enter(&mut command).unwrap();
    let log = std::fs::File::create(folder.join(format!("{program}-{}.log", host.name()))).unwrap();
    ProcessGroup::spawn(&mut command, &log).unwrap()
}

/// Runs it on the host to its end: what it printed, or what it complained of.
async fn run(host: &Host, program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).kill_on_drop(true);
    host.enter(command.as_std_mut()).unwrap();
    let said = timeout(WITHIN, command.output()).await.unwrap().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match said.status.success() {
        true => Ok(text(&said.stdout)),
        false => Err(text(&said.stderr)),
    }
}

#[tokio::test]
async fn a_program_runs_on_its_host_with_the_users_rights() {
    if !are_available() {
        return;
    }
    // Which descriptors a program has that inherits none of a host's.
    let before = Command::new("ls").arg("/proc/self/fd").output().unwrap();
    let before = String::from_utf8(before.stdout).unwrap();
    let fixture = Fixture::new();
    let net = Net::new(&fixture.case, "net").unwrap();
    let (a, b) = (net.host("a").unwrap(), net.host("b").unwrap());
    let devices = run(&a, "cat", &["/proc/self/net/dev"]).await.unwrap();
    let mut names: Vec<&str> = devices
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim()))
        .collect();
    names.retain(|name| ["lo", "host0"].contains(name) || name.starts_with("eth"));
    names.sort_unstable();
    assert_eq!(names, ["host0", "lo"], "{devices}");
    assert_eq!(
        run(&a, "id", &["-u"]).await.unwrap().trim(),
        rustix::process::geteuid().as_raw().to_string()
    );
    assert_eq!(run(&a, "ls", &["/proc/self/fd"]).await.unwrap(), before);
    if are_installed(&["python3"]) {
        const SERVE: &str = "import socket, sys\n\
            s = socket.create_server((sys.argv[1], 8000)); print('up', flush=True)\n\
            c, who = s.accept(); c.sendall(c.recv(100).upper() + who[0].encode())\n";
        const ASK: &str = "import socket, sys\n\
            s = socket.create_connection((sys.argv[1], 8000), 10); s.sendall(b'hello from ')\n\
            print(s.recv(100).decode())";
        let mut server = Command::new("python3");
        server
            .args(["-c", SERVE, &a.ip().to_string()])
            .stdout(Stdio::piped());
        a.enter(&mut server).unwrap();
        let mut server = server.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "up\n");
        let answer = run(&b, "python3", &["-c", ASK, &a.ip().to_string()]).await;
        assert_eq!(answer.unwrap(), format!("HELLO FROM {}\n", b.ip()));
        server.wait().unwrap();
    }
    assert_eq!(fixture.end().await, [""; 0]);
}

#[tokio::test]
async fn what_is_for_all_arrives_at_all_others() {
    if !are_available() || !are_installed(&["python3"]) {
        return;
    }
    const HEAR: &str = "import socket, struct, sys\n\
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 8000)); s.settimeout(20)\n\
        group = socket.inet_aton('239.1.2.3') + socket.inet_aton(sys.argv[1])\n\
        s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group); print('up', flush=True)\n\
        print(s.recv(100).decode(), s.recv(100).decode())\n";
    let fixture = Fixture::new();
    let net = Net::new(&fixture.case, "net").unwrap();
    let speaker = net.host("speaker").unwrap();
    let mut hearers = Vec::new();
    for name in ["b", "c"] {
        let host = net.host(name).unwrap();
        let mut hearer = Command::new("python3");
        hearer
            .args(["-c", HEAR, &host.ip().to_string()])
            .stdout(Stdio::piped());
        host.enter(&mut hearer).unwrap();
        let mut hearer = hearer.spawn().unwrap();
        let mut said = BufReader::new(hearer.stdout.take().unwrap()).lines();
        assert_eq!(said.next().unwrap().unwrap(), "up");
        hearers.push((hearer, said));
    }
    let socket = speaker.udp_socket(0).unwrap();
    socket.set_broadcast(true).unwrap();
    let [a, b, c, _] = speaker.ip().octets();
    socket.send_to(b"multicast", "239.1.2.3:8000").await.unwrap();
    socket
        .send_to(b"broadcast", (Ipv4Addr::new(a, b, c, 255), 8000))
        .await
        .unwrap();
    for (mut hearer, mut said) in hearers {
        assert_eq!(said.next().unwrap().unwrap(), "multicast broadcast");
        hearer.wait().unwrap();
    }
    assert_eq!(fixture.end().await, [""; 0]);
}

#[tokio::test]
async fn a_program_that_lives_on_keeps_its_host_until_it_ends_and_no_longer() {
    if !are_available() {
        return;
    }
    let fixture = Fixture::new();
    let folder = fixture.case.folder().unwrap().to_owned();
    let net = Net::new(&fixture.case, "net").unwrap();
    let host = net.host("a").unwrap();
    let network = network(&host);
    let program = start(&host, &folder, "sleep", &["600"]);
    drop((net, host));
    while let Some(closer) = fixture.case.pop_closer() {
        (closer.close)().await.unwrap();
    }
    assert!(is_kept(&network) && is_alive(program.pid()));
    program.end().await.unwrap();
    until("it is gone", || !is_kept(&network)).await;
}

#[tokio::test]
async fn a_host_that_loses_its_device_harms_no_other() {
    if !are_available() || !are_installed(&["ip"]) || !rustix::process::geteuid().is_root() {
        return;
    }
    let fixture = Fixture::new();
    let net = Net::new(&fixture.case, "device").unwrap();
    let hosts = ["a", "b", "c"].map(|name| net.host(name).unwrap());
    let [a, b, c] = &hosts;
    let device = run(c, "ip", &["-o", "link", "show", "host0"]).await.unwrap();
    assert!(
        device.contains(" mtu 65520 ") && device.contains(" qlen 8192"),
        "{device}"
    );
    run(c, "ip", &["link", "set", "host0", "down"]).await.unwrap();
    let (on_a, on_b) = (a.udp_socket(1).unwrap(), b.udp_socket(1).unwrap());
    on_a.send_to(b"refused", c.address(1)).await.unwrap();
    until("it is counted", || net.traffic(a, c).refused == 1).await;
    run(c, "ip", &["link", "delete", "host0"]).await.unwrap();
    on_a.send_to(b"refused", c.address(1)).await.unwrap();
    until("it is counted", || net.traffic(a, c).refused == 2).await;
    on_a.send_to(b"heard", b.address(1)).await.unwrap();
    let mut bytes = [0; 5];
    timeout(WITHIN, on_b.recv(&mut bytes)).await.unwrap().unwrap();
    assert_eq!(bytes, *b"heard");
    // The switch is not kept busy by it. (A machine that is busy itself gives it little.)
    let before = ticks_of("hosts device");
    tokio::time::sleep(millis(500)).await;
    let used = ticks_of("hosts device") - before;
    assert!(used < 4, "{used} ticks of 10 ms");
    assert_eq!(fixture.end().await, [""; 0]);
}

/// How long a thread has computed, in ticks.
fn ticks_of(thread: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let mut stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let stat = stats.find(|stat| stat.contains(&format!("({thread}) "))).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = rest.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test]
async fn redis_answers_through_loss_and_after_a_cut() {
    if !are_available() || !are_installed(&["redis-server"]) {
        return;
    }
    let fixture = Fixture::new();
    let folder = fixture.case.folder().unwrap().to_owned();
    let net = Net::new(&fixture.case, "net").unwrap();
    let (server, client) = (net.host("server").unwrap(), net.host("client").unwrap());
    let ip = server.ip().to_string();
    let arguments = [
        "--bind",
        &ip,
        "--port",
        "6379",
        "--protected-mode",
        "no",
        "--save",
        "",
    ];
    let redis = start(&server, &folder, "redis-server", &arguments);
    let connection = eventually("redis answers", WITHIN, || async {
        client.connect(server.address(6379)).await.ok()
    })
    .await;
    let mut connection = connection.unwrap();
    let mut ask = async |request: &str, answer: &str| {
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = vec![0; answer.len()];
        timeout(WITHIN, connection.read_exact(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), answer);
    };
    ask("SET key value\r\n", "+OK\r\n").await;
    let loss = net.add(Impairment::loss(0.1)).unwrap();
    let mut asked = 0;
    while loss.hits().packets < 4 {
        asked += 1;
        assert!(asked < 1000, "nothing is lost");
        ask("GET key\r\n", "$5\r\nvalue\r\n").await;
    }
    loss.heal().unwrap();
    let cut = net.add(Impairment::cut().from(&server)).unwrap();
    connection.write_all(b"GET key\r\n").await.unwrap();
    cut.until_it_bites(WITHIN).await.unwrap();
    cut.heal().unwrap();
    let mut bytes = [0; 11];
    timeout(WITHIN, connection.read_exact(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(bytes, *b"$5\r\nvalue\r\n");
    redis.end().await.unwrap();
    assert_eq!(fixture.end().await, [""; 0]);
}

/// What `etcdctl` says on the host of its own node.
async fn etcdctl(host: &Host, arguments: &[&str]) -> Result<String, String> {
    let own = format!("http://{}:2379", host.ip());
    let all = [&["--endpoints", &own, "--command-timeout", "2s"], arguments].concat();
    run(host, "etcdctl", &all).await
}

/// Whether this node says that it leads.
async fn leads(host: &Host) -> bool {
    let said = etcdctl(host, &["endpoint", "status", "--write-out", "fields"]).await;
    let said = said.unwrap_or_default();
    let field = |name: &str| said.lines().find_map(|line| line.strip_prefix(name));
    field("\"MemberID\" :").is_some_and(|own| Some(own) == field("\"Leader\" :"))
}

async fn leader<'a>(hosts: &[&'a Host]) -> &'a Host {
    eventually("one of them leads", WITHIN, || async {
        for host in hosts {
            if leads(host).await {
                return Some(*host);
            }
        }
        None
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn etcd_elects_another_leader_where_its_own_is_isolated() {
    if !are_available() || !are_installed(&["etcd"]) || !are_installed(&["etcdctl"]) {
        return;
    }
    let fixture = Fixture::new();
    let folder = fixture.case.folder().unwrap().to_owned();
    let net = Net::new(&fixture.case, "net").unwrap();
    let hosts = ["a", "b", "c"].map(|name| net.host(name).unwrap());
    let peers = hosts
        .each_ref()
        .map(|host| format!("{}=http://{}:2380", host.name(), host.ip()));
    let peers = peers.join(",");
    let mut programs = Vec::new();
    for host in &hosts {
        let (client, peer) = (
            format!("http://{}:2379", host.ip()),
            format!("http://{}:2380", host.ip()),
        );
        let arguments = [
            ["--name", host.name()],
            ["--data-dir", host.name()],
            ["--listen-client-urls", &client],
            ["--advertise-client-urls", &client],
            ["--listen-peer-urls", &peer],
            ["--initial-advertise-peer-urls", &peer],
            ["--initial-cluster", &peers],
            ["--heartbeat-interval", "50"],
            ["--election-timeout", "500"],
        ];
        programs.push(start(host, &folder, "etcd", &arguments.concat()));
    }
    let all: Vec<&Host> = hosts.iter().collect();
    let old = leader(&all).await;
    let put = async |host: &Host, value: &str| etcdctl(host, &["put", "key", value]).await;
    eventually("it takes writes", WITHIN, || async {
        put(old, "before").await.is_ok()
    })
    .await
    .unwrap();

    let isolated = net.partition(Partition::Isolate(old.number())).unwrap();
    isolated.until_it_bites(WITHIN).await.unwrap();
    let others: Vec<&Host> = all
        .iter()
        .copied()
        .filter(|host| host.number() != old.number())
        .collect();
    let new = leader(&others).await;
    assert_ne!(new.number(), old.number());
    eventually("the majority takes writes", WITHIN, || async {
        put(new, "during").await.is_ok()
    })
    .await
    .unwrap();
    put(old, "refused").await.unwrap_err();
    isolated.heal().unwrap();

    let read = async || etcdctl(old, &["get", "key", "--print-value-only"]).await;
    eventually("it hears of what it missed", WITHIN, || async {
        (read().await.ok()? == "during\n").then_some(())
    })
    .await
    .unwrap();
    put(old, "after").await.unwrap();
    for program in programs {
        program.end().await.unwrap();
    }
    assert_eq!(fixture.end().await, [""; 0]);
}
