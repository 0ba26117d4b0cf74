//! Proxies with more connections than most have, and with fewer ports than they need: this test's own binary, run again, because
//! both are limits of a whole process or of its network.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::hosts::are_available;
use super::network::{end, listener, read, rest, until};
use super::{Fixture, is_allowed};
use crate::hosts::Net;
use crate::prelude::*;

/// What a run of the binary is to do.
const ALONE: &str = "ROBUST_TEST_LIMITS_ALONE";
/// Connections at a time, where a process may have the descriptors for them.
const MANY: usize = 10_000;
/// Less than this shows nothing.
const FEWEST: usize = 1_000;
/// So many begin together.
const FEW: usize = 100;
/// What a process has beside them.
const OTHERS: usize = 500;
/// The ports from which a host may connect.
const PORTS: std::ops::RangeInclusive<u16> = 40_000..=40_019;

/// Not a test of its own: what the others run alone.
#[tokio::test]
async fn alone() {
    match std::env::var(ALONE).as_deref() {
        Ok("many") => many_at_once().await,
        Ok("few ports") => with_few_ports().await,
        _ => return,
    }
    println!("told: as it should");
}

/// Has the binary run alone, by these words.
fn run(what: &str, mut command: Command) {
    let own = std::env::current_exe().unwrap();
    command
        .arg(own)
        .args(["--exact", "--nocapture", "tests::network_limits::alone"])
        .env(ALONE, what)
        .stdin(Stdio::null());
    let ran = command.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let complaints = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success() && said.contains("told: as it should"),
        "{said}{complaints}"
    );
}

/// Answers each connection with what it says.
fn echo(listener: TcpListener) {
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ended = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
}

/// How many connections there can be at a time in one process: for each a descriptor of its client, two of its link and one of
/// its server.
fn most() -> usize {
    let descriptors = getrlimit(Resource::Nofile).maximum;
    let descriptors = descriptors.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    (descriptors.saturating_sub(OTHERS) / 4).min(MANY)
}

async fn many_at_once() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let fixture = Fixture::new();
    let (listener, address) = listener().await;
    echo(listener);
    let proxy = Proxy::start(&fixture.case, "server", address).unwrap();
    let mut clients = Vec::new();
    while clients.len() < most() {
        let mut few = Vec::new();
        // No more than find room in the backlogs.
        for _ in 0..FEW.min(most() - clients.len()) {
            few.push(TcpStream::connect(proxy.address()).await.unwrap());
        }
        all_are_answered(&mut few).await;
        clients.append(&mut few);
    }
    let traffic = proxy.traffic();
    let all = most() as u64;
    assert_eq!((traffic.open, traffic.refused, traffic.starved), (all, 0, 0));
    let latency = proxy.add(Toxic::latency(millis(1)));
    all_are_answered(&mut clients).await;
    assert_eq!(latency.hits().connections, all);
    latency.remove();
    all_are_answered(&mut clients).await;
    assert_eq!(latency.hits().bytes, 4 * all);
    proxy.reset_connections().await.unwrap();
    for client in &mut clients {
        assert_eq!(rest(client).await, (vec![], true));
    }
    until("all are over", || proxy.traffic().open == 0).await;
    end(fixture).await;
}

/// All say their number before anybody reads, each one another.
async fn all_are_answered(clients: &mut [TcpStream]) {
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(&(number as u32).to_be_bytes()).await.unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(read(client, 4).await, (number as u32).to_be_bytes());
    }
}

#[test]
fn thousands_of_connections_at_once_are_served_slowed_down_and_reset() {
    let needed = format!("a process may have too few descriptors for {FEWEST} connections (`ulimit -Hn`)");
    if is_allowed((most() >= FEWEST).then_some(()).ok_or(needed)) {
        run("many", Command::new("env"));
    }
}

/// Each from an address of its own and a port beyond those, so that it is not short of ports itself and takes none.
async fn client(number: u8, proxy: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 1, number], 50_000).into())?;
    socket.connect(proxy).await
}

async fn with_few_ports() {
    let fixture = Fixture::new();
    let listener = TcpListener::bind("127.0.0.1:9000").await.unwrap();
    echo(listener);
    let proxy = Proxy::start(&fixture.case, "server", ([127, 0, 0, 1], 9000).into()).unwrap();
    let most = PORTS.len() as u64;
    let mut clients = Vec::new();
    for number in 1..=40 {
        match client(number, proxy.address()).await {
            Ok(client) => clients.push(client),
            // It was refused before it had looked.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
        until("it is served or refused", || {
            let traffic = proxy.traffic();
            traffic.open.min(most) + traffic.refused == u64::from(number)
        })
        .await;
    }
    until("those without a port are over", || {
        let traffic = proxy.traffic();
        (traffic.open, traffic.refused) == (most, 40 - most)
    })
    .await;
    let why = proxy.last_refusal().unwrap();
    let start =
        "127.0.0.1:9000: no port is left to connect from (Cannot assign requested address (os error 99)): ";
    assert!(why.starts_with(start), "{why}");
    let refused = clients.split_off(usize::try_from(most).unwrap());
    for mut client in refused {
        assert_eq!(rest(&mut client).await, (vec![], true));
    }
    // The others go on, and a port that is free again is used.
    all_are_answered(&mut clients).await;
    proxy.reset_connections().await.unwrap();
    until("all are over", || proxy.traffic().open == 0).await;
    all_are_answered(&mut [client(50, proxy.address()).await.unwrap()]).await;
    end(fixture).await;
}

#[tokio::test]
async fn where_no_port_is_left_connections_are_refused_with_the_reason_and_those_there_are_go_on() {
    let is_root = rustix::process::geteuid().is_root();
    if !are_available() || !is_allowed(is_root.then_some(()).ok_or("this user is not root")) {
        return;
    }
    let fixture = Fixture::new();
    let net = Net::new(&fixture.case, "net").unwrap();
    let host = net.host("host").unwrap();
    let mut command = Command::new("sh");
    let (first, last) = (PORTS.start(), PORTS.end());
    let narrow = format!("echo {first} {last} >/proc/sys/net/ipv4/ip_local_port_range && exec \"$@\"");
    command.args(["-c", &narrow, "sh"]);
    host.enter(&mut command).unwrap();
    tokio::task::spawn_blocking(|| run("few ports", command))
        .await
        .unwrap();
    end(fixture).await;
}
