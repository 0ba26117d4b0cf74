//! Hosts of their own, really made. Where that is not possible these tests are skipped, and say so on stderr; with
//! `ROBUST_REQUIRE=all` they fail.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{Fixture, is_allowed};
use crate::hosts::{Checksum, Host, HostError, Impairment, ImpairmentError, Net};
use crate::prelude::*;

pub(super) const WITHIN: Duration = secs(20);

/// Whether there can be hosts here.
pub(super) fn are_available() -> bool {
    is_allowed(Net::available())
}

/// Two hosts with a connection between them.
struct Pair {
    fixture: Fixture,
    net: Net,
    a: Host,
    b: Host,
    /// On `a`.
    client: TcpStream,
    /// On `b`.
    server: TcpStream,
    _listener: TcpListener,
}

impl Pair {
    /// `None` where there can be no hosts.
    async fn new(mtu: u16) -> Option<Self> {
        if !are_available() {
            return None;
        }
        let fixture = Fixture::new();
        let net = Net::with_mtu(&fixture.case, "net", mtu).unwrap();
        let (a, b) = (net.host("a").unwrap(), net.host("b").unwrap());
        let listener = b.listen(80).unwrap();
        let connect = timeout(WITHIN, a.connect(b.address(80)));
        let (client, accepted) = tokio::join!(connect, timeout(WITHIN, listener.accept()));
        let (server, from) = accepted.unwrap().unwrap();
        assert_eq!(from.ip(), a.ip());
        let client = client.unwrap().unwrap();
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
        }
        Some(Self {
            fixture,
            net,
            a,
            b,
            client,
            server,
            _listener: listener,
        })
    }

    /// Asks and is answered: how long that takes.
    async fn round_trip(&mut self) -> Duration {
        let began = Instant::now();
        self.client.write_all(b"ping").await.unwrap();
        read(&mut self.server, 4).await;
        self.server.write_all(b"pong").await.unwrap();
        read(&mut self.client, 4).await;
        began.elapsed()
    }

    /// Sends so many bytes from `a` to `b`, which have to arrive as they were sent.
    async fn bulk(&mut self, count: usize) -> Duration {
        let bytes: Vec<u8> = (0..count).map(|at| (at % 251) as u8).collect();
        let began = Instant::now();
        let (sent, got) = tokio::join!(self.client.write_all(&bytes), read(&mut self.server, count));
        sent.unwrap();
        assert!(got == bytes);
        began.elapsed()
    }

    async fn end(self) {
        let Self { fixture, .. } = self;
        assert_eq!(fixture.end().await, Vec::<String>::new());
    }
}

async fn read(socket: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let all = timeout(WITHIN * 2, socket.read_exact(&mut bytes)).await;
    all.unwrap().unwrap();
    bytes
}

/// Whether nothing can be read now.
fn is_silent(socket: &TcpStream) -> bool {
    matches!(socket.try_read(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Sockets of two hosts, and the address of the second.
fn sockets(a: &Host, b: &Host) -> (UdpSocket, UdpSocket, SocketAddr) {
    (a.udp_socket(0).unwrap(), b.udp_socket(53).unwrap(), b.address(53))
}

async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut bytes = vec![0; 2048];
    let count = timeout(WITHIN, socket.recv(&mut bytes)).await.unwrap().unwrap();
    bytes.truncate(count);
    bytes
}

pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, WITHIN, || std::future::ready(holds()))
        .await
        .unwrap();
}

#[tokio::test]
async fn hosts_have_ports_of_their_own_and_bytes_arrive_as_they_are() {
    let Some(mut pair) = Pair::new(1500).await else {
        return;
    };
    pair.bulk(1 << 20).await;
    pair.round_trip().await;
    // The same port on the other host, and on itself by its own address and by that of the loopback device.
    let listener = pair.a.listen(80).unwrap();
    pair.b.connect(pair.a.address(80)).await.unwrap();
    pair.a.connect(pair.a.address(80)).await.unwrap();
    timeout(WITHIN, listener.accept()).await.unwrap().unwrap();
    let error = pair.a.connect("127.0.0.1:80".parse().unwrap()).await.unwrap_err();
    assert!(
        format!("{:?}", error).contains("ConnectionRefused"),
        "its loopback device is up: {error:?}"
    );
    // Nothing else can be reached, and nobody else can reach it.
    let error = pair.a.connect("192.0.2.1:80".parse().unwrap()).await.unwrap_err();
    assert!(format!("{error:?}").contains("NetworkUnreachable"), "{error:?}");
    let nobody = pair.a.address(80).to_string().replace(".1:", ".77:");
    let unanswered = pair.a.connect(nobody.parse().unwrap());
    timeout(millis(50), unanswered).await.unwrap_err();
    assert_eq!(pair.net.for_nobody(), 1);
    let traffic = pair.net.traffic(&pair.a, &pair.b);
    assert!(traffic.packets > 700 && traffic.bytes > 1 << 20, "{traffic:?}");
    assert_eq!((traffic.refused, traffic.delayed), (0, 0));
    pair.end().await;
}

#[tokio::test]
async fn through_loss_everything_arrives_in_the_end() {
    let Some(mut pair) = Pair::new(1500).await else {
        return;
    };
    let loss = pair.net.add(Impairment::loss(0.05)).unwrap();
    pair.bulk(2 << 20).await;
    let there = pair.net.traffic(&pair.a, &pair.b);
    assert!(there.lost > 20, "{there:?}");
    assert!(loss.hits().packets >= there.lost && loss.hits().bytes > 20_000);
    loss.heal().unwrap();
    let lost = pair.net.traffic(&pair.a, &pair.b).lost;
    pair.bulk(1 << 20).await;
    assert_eq!(pair.net.traffic(&pair.a, &pair.b).lost, lost);
    pair.end().await;
}

#[tokio::test]
async fn a_cut_connection_stalls_and_goes_on_when_it_is_healed() {
    let Some(mut pair) = Pair::new(1500).await else {
        return;
    };
    let cut = pair.net.add(Impairment::cut().between(&pair.a, &pair.b)).unwrap();
    pair.client.write_all(b"held").await.unwrap();
    cut.until_it_bites(WITHIN).await.unwrap();
    // Sent again, and lost again.
    until("it is sent again", || cut.hits().packets > 2).await;
    assert!(is_silent(&pair.server));
    let hits = cut.heal().unwrap();
    assert_eq!(read(&mut pair.server, 4).await, b"held");
    assert_eq!(pair.net.traffic(&pair.a, &pair.b).cut, hits.packets);
    pair.round_trip().await;
    pair.end().await;
}

#[tokio::test]
async fn of_a_one_way_cut_the_question_arrives_and_the_answer_does_not() {
    let Some(pair) = Pair::new(1500).await else {
        return;
    };
    let before = pair.net.traffic(&pair.a, &pair.b).packets;
    let cut = pair.net.add(Impairment::cut().from(&pair.b).to(&pair.a)).unwrap();
    let (a, to) = (pair.a.clone(), pair.b.address(80));
    let connecting = tokio::spawn(async move { a.connect(to).await });
    cut.until_it_bites(WITHIN).await.unwrap();
    let (there, back) = (
        pair.net.traffic(&pair.a, &pair.b),
        pair.net.traffic(&pair.b, &pair.a),
    );
    assert!(there.packets > before && there.cut == 0, "{there:?}");
    assert!(back.cut > 0, "{back:?}");
    assert!(!connecting.is_finished());
    cut.heal().unwrap();
    timeout(WITHIN, connecting).await.unwrap().unwrap().unwrap();
    pair.end().await;
}

#[tokio::test]
async fn what_is_on_its_way_arrives_when_that_is_healed_and_is_lost_when_it_is_cut() {
    let Some(pair) = Pair::new(1500).await else {
        return;
    };
    // By UDP: nobody sends it again.
    let (from, socket, to) = sockets(&pair.a, &pair.b);
    for (text, is_cut) in [(b"late", false), (b"lost", true), (b"last", false)] {
        let delay = pair.net.add(Impairment::delay(secs(600)).from(&pair.a)).unwrap();
        from.send_to(text, to).await.unwrap();
        delay.until_it_bites(WITHIN).await.unwrap();
        if is_cut {
            let cut = pair.net.add(Impairment::cut().to(&pair.b)).unwrap();
            assert_eq!(cut.heal().unwrap().packets, 1);
        }
        delay.heal().unwrap();
        if !is_cut {
            assert_eq!(receive(&socket).await, text);
        }
    }
    pair.end().await;
}

#[tokio::test]
async fn a_delay_is_seen_in_each_round_trip() {
    let Some(mut pair) = Pair::new(1500).await else {
        return;
    };
    let delay = pair.net.add(Impairment::delay(millis(30))).unwrap();
    let mut trips = Vec::new();
    for _ in 0..10 {
        trips.push(pair.round_trip().await);
    }
    trips.sort_unstable();
    println!(
        "a delay of 30 ms each way: round trips from {:?}, median {:?}",
        trips[0], trips[5]
    );
    // Not when a packet is sent again, which would be after 200 ms.
    assert!(trips[0] >= millis(60) && trips[5] < millis(150), "{trips:?}");
    assert!(delay.hits().packets >= 20);
    delay.heal().unwrap();
    let mut quick = Vec::new();
    for _ in 0..10 {
        quick.push(pair.round_trip().await);
    }
    quick.sort_unstable();
    assert!(quick[5] < millis(30), "{quick:?}");
    pair.end().await;
}

#[tokio::test]
async fn packets_arrive_twice_and_in_another_order() {
    let Some(pair) = Pair::new(1500).await else {
        return;
    };
    let (from, socket, to) = sockets(&pair.a, &pair.b);
    let twice = pair.net.add(Impairment::duplicate(1.0).to(&pair.b)).unwrap();
    from.send_to(b"one", to).await.unwrap();
    assert_eq!([receive(&socket).await, receive(&socket).await], [b"one", b"one"]);
    assert_eq!(twice.heal().unwrap().packets, 1);
    let shuffled = pair
        .net
        .add(Impairment::reorder(0.3, millis(20)).from(&pair.a))
        .unwrap();
    let mut got = Vec::new();
    for number in 0..50 {
        from.send_to(&[number], to).await.unwrap();
    }
    for _ in 0..50 {
        got.push(receive(&socket).await[0]);
    }
    let held = shuffled.heal().unwrap().packets;
    assert!(held > 5 && !got.is_sorted(), "{held} {got:?}");
    assert_eq!(pair.net.traffic(&pair.a, &pair.b).reordered, held);
    got.sort_unstable();
    assert_eq!(got, Vec::from_iter(0..50));
    pair.end().await;
}

#[tokio::test]
async fn a_flipped_bit_is_a_loss_or_is_read() {
    let Some(mut pair) = Pair::new(1500).await else {
        return;
    };
    let (from, socket, to) = sockets(&pair.a, &pair.b);
    let wrong = Impairment::corrupt(1.0, Checksum::Wrong).to(&pair.b);
    let wrong = pair.net.add(wrong).unwrap();
    let before = pair.net.traffic(&pair.a, &pair.b).packets;
    from.send_to(b"dropped by the kernel", to).await.unwrap();
    until("it arrives", || {
        pair.net.traffic(&pair.a, &pair.b).packets > before
    })
    .await;
    assert_eq!(wrong.heal().unwrap().packets, 1);
    let right = Impairment::corrupt(1.0, Checksum::Right).to(&pair.b);
    let right = pair.net.add(right).unwrap();
    from.send_to(b"read by the program", to).await.unwrap();
    let got = receive(&socket).await;
    let bits = |one: &[u8], other: &[u8]| -> u32 {
        let both = one.iter().zip(other);
        both.map(|(one, other)| (one ^ other).count_ones()).sum()
    };
    assert_eq!(bits(&got, b"read by the program"), 1);
    pair.client.write_all(b"and over TCP").await.unwrap();
    assert_eq!(bits(&read(&mut pair.server, 12).await, b"and over TCP"), 1);
    assert_eq!(pair.net.traffic(&pair.a, &pair.b).corrupted, 3);
    right.heal().unwrap();
    // A stream is what was sent, whatever was dropped.
    let some = pair.net.add(Impairment::corrupt(0.05, Checksum::Wrong)).unwrap();
    pair.bulk(1 << 20).await;
    assert!(some.heal().unwrap().packets > 10);
    pair.end().await;
}

#[tokio::test]
async fn a_bandwidth_is_kept_and_what_finds_its_queue_full_is_lost() {
    let Some(mut pair) = Pair::new(1500).await else {
        return;
    };
    let slow = Impairment::bandwidth(1_000_000, 1 << 20).from(&pair.a);
    let slow = pair.net.add(slow).unwrap();
    let took = pair.bulk(500_000).await;
    println!("500 kB at 1 MB/s: {took:?}");
    assert!(
        took > millis(480) && slow.hits().packets > 300,
        "{took:?} {slow:?}"
    );
    assert_eq!(pair.net.traffic(&pair.a, &pair.b).overflowed, 0);
    slow.heal().unwrap();
    let small = pair.net.add(Impairment::bandwidth(1_000_000, 3000)).unwrap();
    let (from, socket, to) = sockets(&pair.a, &pair.b);
    for _ in 0..20 {
        from.send_to(&[7; 1000], to).await.unwrap();
    }
    until("the queue is full", || {
        pair.net.traffic(&pair.a, &pair.b).overflowed > 0
    })
    .await;
    assert_eq!(receive(&socket).await, [7; 1000]);
    // TCP finds its rate.
    pair.bulk(200_000).await;
    small.heal().unwrap();
    let overflowed = pair.net.traffic(&pair.a, &pair.b).overflowed;
    pair.bulk(500_000).await;
    assert_eq!(pair.net.traffic(&pair.a, &pair.b).overflowed, overflowed);
    pair.end().await;
}

#[tokio::test]
async fn a_partition_is_of_those_that_it_names() {
    let Some(pair) = Pair::new(1500).await else {
        return;
    };
    let c = pair.net.host("c").unwrap();
    let (_, on_b, to_b) = sockets(&pair.a, &pair.b);
    let senders = [pair.a.udp_socket(0).unwrap(), c.udp_socket(0).unwrap()];
    let isolated = pair.net.partition(Partition::Isolate(pair.a.number())).unwrap();
    senders[0].send_to(b"a", to_b).await.unwrap();
    isolated.until_it_bites(WITHIN).await.unwrap();
    senders[1].send_to(b"c", to_b).await.unwrap();
    assert_eq!(receive(&on_b).await, b"c");
    isolated.heal().unwrap();
    senders[0].send_to(b"healed", to_b).await.unwrap();
    assert_eq!(receive(&on_b).await, b"healed");
    // Two at once: each has its own life.
    let one = pair.net.add(Impairment::cut().to(&pair.b)).unwrap();
    let two = pair.net.partition(Partition::Halves).unwrap();
    senders[1].send_to(b"lost", to_b).await.unwrap();
    one.until_it_bites(WITHIN).await.unwrap();
    one.heal().unwrap();
    senders[1].send_to(b"c", to_b).await.unwrap();
    senders[0].send_to(b"lost", to_b).await.unwrap();
    two.until_it_bites(WITHIN).await.unwrap();
    assert_eq!(receive(&on_b).await, b"c");
    two.heal().unwrap();
    assert!(pair.net.impairments().is_empty());
    pair.end().await;
}

#[tokio::test]
async fn what_cannot_be_says_why_and_what_to_do() {
    let Some(pair) = Pair::new(1500).await else {
        return;
    };
    let net = &pair.net;
    let other = Net::new(&pair.fixture.case, "net").unwrap();
    assert_eq!((net.name(), other.name()), ("net", "net-2"));
    let foreign = other.host("x").unwrap();
    let fault = |told: Result<(), ImpairmentError>| told.unwrap_err().to_string();
    let table = [
        (
            fault(net.add(Impairment::cut().to(&foreign)).map(drop)),
            "a fault of net `net` (cut (host all to host 1)) is for hosts of net `net-2`: add it there",
        ),
        (
            fault(other.add(Impairment::cut()).map(drop)),
            "a fault of net `net-2` (cut (all hosts)) is for no two of its hosts",
        ),
        (
            fault(net.partition(Partition::Isolate(3)).map(drop)),
            "net `net` has no host 3 to be partitioned; there are 2 of them, numbered from 1",
        ),
        (
            fault(net.partition(Partition::Ring).map(drop)),
            "a fault of net `net` (cut (hosts )) is for no two of its hosts",
        ),
        (
            fault(net.add(Impairment::loss(0.0)).unwrap().heal().map(drop)),
            "a fault of net `net` (loss of a packet with probability 0 (all hosts)) was inert: no packet was hit",
        ),
        (
            net.host("a").unwrap_err().to_string(),
            "net `net` has a host `a` already: give this one another name",
        ),
        (
            pair.b.listen(80).unwrap_err().to_string(),
            &format!("host `b` of net `net`: cannot listen on {}", pair.b.address(80)),
        ),
    ];
    for (told, text) in table {
        assert_eq!(told, text);
    }
    let inert = net.add(Impairment::loss(0.0)).unwrap();
    let error = inert.until_it_bites(millis(5)).await.unwrap_err().to_string();
    assert!(error.ends_with("no packet was hit within 5 ms"), "{error}");
    drop((other, foreign));
    // The case ends: what is asked of it later is told so.
    let (net, a) = (net.clone(), pair.a.clone());
    let mut command = Command::new("true");
    a.enter(&mut command).unwrap();
    assert!(command.status().unwrap().success());
    pair.end().await;
    assert_eq!(command.status().unwrap_err().kind(), ErrorKind::NetworkDown);
    let ended = "net `net` has ended with its case";
    assert_eq!(net.host("late").unwrap_err().to_string(), ended);
    let error = net.add(Impairment::cut()).unwrap_err().to_string();
    let late = "a fault of net `net` (cut (all hosts)) comes too late: the net has ended with its case";
    assert_eq!(error, late);
    assert_eq!(a.tcp_socket().unwrap_err().to_string(), ended);
    assert_eq!(a.enter(&mut Command::new("true")).unwrap_err().to_string(), ended);
    assert!(matches!(a.listen(0), Err(HostError::Ended { .. })));
}

#[tokio::test]
async fn a_case_that_ends_leaves_no_thread_no_descriptor_and_no_network() {
    if !are_available() {
        return;
    }
    let fixture = Fixture::new();
    let net = Net::new(&fixture.case, "gone").unwrap();
    let hosts: Vec<Host> = (0..5)
        .map(|number| net.host(number.to_string()).unwrap())
        .collect();
    let networks: Vec<String> = hosts.iter().map(network).collect();
    assert_eq!(BTreeSet::from_iter(&networks).len(), 5);
    assert!(networks.iter().all(|network| is_kept(network)));
    // On its way when it ends.
    let delay = net.add(Impairment::delay(secs(600))).unwrap();
    let socket = hosts[0].udp_socket(0).unwrap();
    socket.send_to(b"late", hosts[1].address(1)).await.unwrap();
    delay.until_it_bites(WITHIN).await.unwrap();
    drop(socket);
    assert_eq!(fixture.end().await, Vec::<String>::new());
    // A child that another test forks meanwhile has copies of all descriptors for a moment.
    until("they are gone", || {
        !networks.iter().any(|network| is_kept(network))
    })
    .await;
    // So it is without a case that ends, when nobody has a handle on it any more.
    let fixture = Fixture::new();
    let net = Net::new(&fixture.case, "dropped").unwrap();
    let network = network(&net.host("a").unwrap());
    assert!(is_kept(&network));
    drop(net);
    until("it is gone", || !is_kept(&network)).await;
    assert_eq!(fixture.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn many_hosts_hear_one_another() {
    if !are_available() {
        return;
    }
    let fixture = Fixture::new();
    let net = Net::new(&fixture.case, "large").unwrap();
    let began = Instant::now();
    let hosts: Vec<Host> = (1..=30)
        .map(|number| net.host(format!("host-{number}")).unwrap())
        .collect();
    println!("30 hosts are made in {:?}", began.elapsed());
    let sockets: Vec<UdpSocket> = hosts.iter().map(|host| host.udp_socket(1).unwrap()).collect();
    for (number, socket) in (0..).zip(&sockets) {
        let next = &hosts[(usize::from(number) + 1) % hosts.len()];
        socket.send_to(&[number], next.address(1)).await.unwrap();
    }
    for number in 0..30 {
        let next = &sockets[(usize::from(number) + 1) % sockets.len()];
        assert_eq!(receive(next).await, [number]);
    }
    assert_eq!(fixture.end().await, Vec::<String>::new());
}

/// The network of a host, as the system calls it.
pub(super) fn network(host: &Host) -> String {
    let mut command = Command::new("readlink");
    command.arg("/proc/self/ns/net");
    host.enter(&mut command).unwrap();
    let said = command.output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

/// Whether any process of this machine is in that network, or has a descriptor of it.
pub(super) fn is_kept(network: &str) -> bool {
    assert!(network.starts_with("net:["), "{network}");
    let links = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| std::fs::read_link(entry.path()).ok())
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut all = processes.flat_map(|process| {
        ["fd", "ns"]
            .map(|kind| links(process.path().join(kind)))
            .into_iter()
            .flatten()
    });
    all.any(|link| link == Path::new(network))
}

#[tokio::test]
async fn throughput_by_size_of_packets() {
    for mtu in [1500, 9000, 32_768, 65_520] {
        let Some(mut pair) = Pair::new(mtu).await else {
            return;
        };
        let bytes = 16 << 20;
        let took = pair.bulk(bytes).await;
        let mut trips: Vec<Duration> = Vec::new();
        for _ in 0..100 {
            trips.push(pair.round_trip().await);
        }
        trips.sort_unstable();
        let began = Instant::now();
        pair.net.host("c").unwrap();
        let made = began.elapsed();
        let began = Instant::now();
        pair.a.tcp_socket().unwrap();
        let socket = began.elapsed();
        println!(
            "packets of {mtu} bytes: {:.0} MB/s, round trip {:?}; a host is made in {made:?}, a socket in {socket:?}",
            bytes as f64 / took.as_secs_f64() / 1e6,
            trips[50],
        );
        pair.end().await;
    }
}
