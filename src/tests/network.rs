//! Proxies between real sockets.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::Fixture;
use crate::network::{Stream, Traffic};
use crate::prelude::*;

pub(super) const WITHIN: std::time::Duration = secs(10);

/// Both ends of one connection through a proxy.
struct Pair {
    fixture: Fixture,
    proxy: Proxy,
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

pub(super) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

impl Pair {
    async fn new() -> Self {
        let fixture = Fixture::new();
        let (listener, address) = listener().await;
        let proxy = Proxy::start(&fixture.case, "server", address).unwrap();
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        let (server, _) = timeout(WITHIN, listener.accept()).await.unwrap().unwrap();
        Self {
            fixture,
            proxy,
            listener,
            client,
            server,
        }
    }

    /// Sends bytes to the server, which has to get them.
    async fn up(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).await.unwrap();
        assert_eq!(read(&mut self.server, bytes.len()).await, bytes);
    }

    async fn down(&mut self, bytes: &[u8]) {
        self.server.write_all(bytes).await.unwrap();
        assert_eq!(read(&mut self.client, bytes.len()).await, bytes);
    }

    async fn end(self) {
        end(self.fixture).await;
    }

    /// The server closes the connection.
    fn without_server(self) -> (Fixture, Proxy, TcpStream) {
        drop(self.server);
        (self.fixture, self.proxy, self.client)
    }
}

pub(super) async fn end(fixture: Fixture) {
    assert_eq!(fixture.end().await, Vec::<String>::new());
}

pub(super) async fn read(socket: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    timeout(WITHIN, socket.read_exact(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    bytes
}

/// How a stream ends: what is read before, and whether by a reset.
pub(super) async fn rest(socket: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    match timeout(WITHIN, socket.read_to_end(&mut bytes)).await.unwrap() {
        Ok(_) => (bytes, false),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => (bytes, true),
        Err(error) => panic!("{error}"),
    }
}

/// Whether it says that a connection was there and has ended.
fn is_of_an_end(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

/// Whether nothing can be read now.
fn is_silent(socket: &TcpStream) -> bool {
    matches!(socket.try_read(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, WITHIN, || std::future::ready(holds()))
        .await
        .unwrap();
}

#[tokio::test]
async fn bytes_ends_and_resets_pass_as_they_are() {
    let mut pair = Pair::new().await;
    pair.up(b"question").await;
    pair.down(b"answer").await;
    // One stream ends, and the other goes on.
    pair.client.shutdown().await.unwrap();
    assert_eq!(rest(&mut pair.server).await, (vec![], false));
    pair.down(b"more").await;
    pair.server.set_zero_linger().unwrap();
    let (fixture, proxy, mut client) = pair.without_server();
    assert_eq!(rest(&mut client).await, (vec![], true));
    until("the connection is over", || proxy.traffic().open == 0).await;
    let traffic = proxy.traffic();
    let (up, down) = (traffic.upstream_bytes, traffic.downstream_bytes);
    assert_eq!((traffic.connections, traffic.refused, up, down), (1, 0, 8, 10));
    end(fixture).await;
}

#[tokio::test]
async fn a_stall_holds_what_comes_and_lets_it_go() {
    let mut pair = Pair::new().await;
    pair.up(b"before").await;
    let stall = pair.proxy.add(Toxic::stall().both());
    pair.client.write_all(b"held").await.unwrap();
    until("the stall bites", || stall.hits().any()).await;
    assert!(is_silent(&pair.server));
    // Nor is a new connection made.
    let mut second = TcpStream::connect(pair.proxy.address()).await.unwrap();
    until("it bites the second", || stall.hits().connections == 2).await;
    assert!(timeout(millis(20), pair.listener.accept()).await.is_err());
    stall.remove();
    assert_eq!(read(&mut pair.server, 4).await, b"held");
    pair.down(b"answer").await;
    let (mut server, _) = timeout(WITHIN, pair.listener.accept()).await.unwrap().unwrap();
    second.write_all(b"too").await.unwrap();
    assert_eq!(read(&mut server, 3).await, b"too");
    pair.end().await;
}

#[tokio::test]
async fn a_black_hole_loses_what_comes_and_the_connection_goes_on() {
    let mut pair = Pair::new().await;
    let hole = pair.proxy.add(Toxic::black_hole().upstream());
    pair.client.write_all(b"lost").await.unwrap();
    until("it bites", || hole.hits().bytes == 4).await;
    pair.down(b"still there").await;
    hole.remove();
    pair.up(b"found").await;
    assert_eq!((hole.hits().connections, hole.hits().bytes), (1, 4));
    pair.end().await;
}

#[tokio::test]
async fn the_first_bytes_go_by_what_was_said_before_them() {
    let fixture = Fixture::new();
    let (listener, address) = listener().await;
    let proxy = Proxy::start(&fixture.case, "server", address).unwrap();
    for _ in 0..1000 {
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        // Its other half is new, and the proxy about to look for what the client has sent.
        let _server = timeout(WITHIN, listener.accept()).await.unwrap().unwrap();
        let hole = proxy.add(Toxic::black_hole().upstream());
        client.write_all(b"lost").await.unwrap();
        until("it bites", || hole.hits().bytes == 4).await;
        hole.remove();
    }
    end(fixture).await;
}

/// A listener with room for one connection that nobody has accepted, which is there: the system answers no other.
fn full_listener() -> (std::net::TcpListener, std::net::TcpStream) {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any_port: SocketAddr = (std::net::Ipv4Addr::LOCALHOST, 0).into();
    listener.bind(&any_port.into()).unwrap();
    listener.listen(0).unwrap();
    let listener = std::net::TcpListener::from(listener);
    let first = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener, first)
}

#[tokio::test]
async fn a_server_that_takes_its_time_gets_what_was_sent_or_refuses() {
    let fixture = Fixture::new();
    let (listener, _first) = full_listener();
    let proxy = Proxy::start(&fixture.case, "server", listener.local_addr().unwrap()).unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(b"early").await.unwrap();
    until("it is being opened", || proxy.traffic().open == 1).await;
    assert_eq!(proxy.traffic().upstream_bytes, 0);
    drop(listener.accept().unwrap());
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let (mut server, _) = timeout(WITHIN, listener.accept()).await.unwrap().unwrap();
    assert_eq!(read(&mut server, 5).await, b"early");

    let (listener, _first) = full_listener();
    proxy.set_server(listener.local_addr().unwrap());
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    until("it is being opened", || proxy.traffic().open == 2).await;
    assert_eq!(proxy.traffic().refused, 0);
    drop(listener);
    assert_eq!(rest(&mut client).await, (vec![], true));
    assert_eq!(proxy.traffic().refused, 1);
    let why = proxy.last_refusal().unwrap();
    assert!(why.contains("refused"), "{why}");
    end(fixture).await;
}

#[tokio::test]
async fn open_connections_are_reset_closed_and_cut() {
    let mut pair = Pair::new().await;
    pair.up(b"1").await;
    let reset = pair.proxy.add(Toxic::reset_peer(millis(1)));
    assert_eq!(rest(&mut pair.client).await, (vec![], true));
    assert_eq!(rest(&mut pair.server).await, (vec![], true));
    assert_eq!((reset.hits().connections, reset.hits().closed), (1, 1));
    pair.end().await;

    let mut pair = Pair::new().await;
    let limit = pair.proxy.add(Toxic::limit_data(5));
    pair.server.write_all(b"1234567").await.unwrap();
    assert_eq!(rest(&mut pair.client).await, (b"12345".to_vec(), false));
    assert_eq!((limit.hits().closed, limit.hits().bytes), (1, 2));
    pair.end().await;

    let mut pair = Pair::new().await;
    pair.proxy.add(Toxic::half_close(millis(1)));
    assert_eq!(rest(&mut pair.client).await, (vec![], false));
    pair.up(b"the other way").await;
    pair.end().await;

    let mut pair = Pair::new().await;
    pair.up(b"1").await;
    pair.proxy.reset_connections().await.unwrap();
    assert_eq!(rest(&mut pair.client).await, (vec![], true));
    // One that is made afterwards stays.
    let mut client = TcpStream::connect(pair.proxy.address()).await.unwrap();
    let (mut server, _) = timeout(WITHIN, pair.listener.accept()).await.unwrap().unwrap();
    client.write_all(b"new").await.unwrap();
    assert_eq!(read(&mut server, 3).await, b"new");
    pair.proxy.close_connections().await.unwrap();
    assert_eq!(rest(&mut client).await, (vec![], false));
    pair.end().await;
}

#[tokio::test]
async fn a_connection_that_only_its_client_knows_of_yet_is_reset_as_well() {
    let fixture = Fixture::new();
    let (_listener, address) = listener().await;
    let proxy = Proxy::start(&fixture.case, "server", address).unwrap();
    for _ in 0..200 {
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        proxy.reset_connections().await.unwrap();
        assert_eq!(rest(&mut client).await, (vec![], true));
    }
    end(fixture).await;
}

#[tokio::test]
async fn latency_takes_its_time_and_goes_away_at_once() {
    let mut pair = Pair::new().await;
    let latency = pair.proxy.add(Toxic::latency(secs(3600)).both());
    pair.client.write_all(b"late").await.unwrap();
    until("it bites", || latency.hits().bytes == 4).await;
    assert!(is_silent(&pair.server));
    latency.change(Toxic::latency(millis(20)).both());
    assert_eq!(read(&mut pair.server, 4).await, b"late");
    let began = std::time::Instant::now();
    pair.up(b"there").await;
    pair.down(b"and back").await;
    // A bound that no busy machine breaks: it cannot be early.
    assert!(began.elapsed() >= millis(40), "{:?}", began.elapsed());
    pair.proxy.clear();
    assert_eq!(pair.proxy.toxics(), []);
    pair.end().await;
}

#[tokio::test]
async fn a_proxy_goes_down_in_every_way_and_comes_back() {
    for down in [Down::Refuse, Down::AcceptThenClose, Down::BlackHole] {
        let mut pair = Pair::new().await;
        pair.up(b"1").await;
        pair.proxy.down(down).await.unwrap();
        assert_eq!(rest(&mut pair.client).await, (vec![], true));
        let connected = TcpStream::connect(pair.proxy.address()).await;
        match (down, connected) {
            (Down::Refuse, connected) => {
                assert_eq!(connected.unwrap_err().kind(), ErrorKind::ConnectionRefused);
            }
            (Down::AcceptThenClose, Ok(mut connected)) => {
                assert_eq!(rest(&mut connected).await.0, b"");
            }
            // It was closed before the client had looked.
            (Down::AcceptThenClose, Err(error)) => assert!(is_of_an_end(&error), "{error}"),
            (Down::BlackHole, connected) => {
                let mut connected = connected.unwrap();
                connected.write_all(b"anybody?").await.unwrap();
                assert!(timeout(millis(20), connected.read(&mut [0; 1])).await.is_err());
            }
        }
        pair.proxy.up().await.unwrap();
        pair.proxy.up().await.unwrap();
        pair.client = TcpStream::connect(pair.proxy.address()).await.unwrap();
        (pair.server, _) = timeout(WITHIN, pair.listener.accept()).await.unwrap().unwrap();
        pair.up(b"back").await;
        pair.end().await;
    }
}

#[tokio::test]
async fn a_server_that_comes_and_goes_costs_its_own_connections_alone() {
    let pair = Pair::new().await;
    let address = pair.listener.local_addr().unwrap();
    let Pair {
        fixture,
        proxy,
        listener: first,
        mut client,
        server,
    } = pair;
    drop(first);
    for _ in 0..20 {
        match TcpStream::connect(proxy.address()).await {
            Ok(mut refused) => assert_eq!(rest(&mut refused).await, (vec![], true)),
            // So soon that it was not yet told of its connection.
            Err(error) => assert!(is_of_an_end(&error), "{error}"),
        }
    }
    assert_eq!(proxy.traffic().refused, 20);
    let why = proxy.last_refusal().unwrap();
    assert!(
        why.contains(&address.to_string()) && why.contains("refused"),
        "{why}"
    );
    // The connection from before is still there.
    assert!(is_silent(&client));
    let (elsewhere, address) = listener().await;
    proxy.set_server(address);
    assert_eq!(proxy.server(), address);
    let mut second = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut other, _) = timeout(WITHIN, elsewhere.accept()).await.unwrap().unwrap();
    second.write_all(b"here").await.unwrap();
    assert_eq!(read(&mut other, 4).await, b"here");
    drop(server);
    assert_eq!(rest(&mut client).await, (vec![], false));
    end(fixture).await;
}

#[tokio::test]
async fn a_peer_that_never_reads_makes_the_other_wait_and_loses_nothing() {
    for toxic in [None, Some(Toxic::latency(millis(1)).both())] {
        let mut pair = Pair::new().await;
        if let Some(toxic) = toxic {
            pair.proxy.add(toxic);
        }
        let chunk: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
        let mut sent = 0;
        while let Ok(written) = timeout(millis(200), pair.client.write(&chunk[sent % 256..])).await {
            sent += written.unwrap();
            assert!(sent < 64 << 20, "nothing makes it wait");
        }
        let got = tokio::spawn(async move {
            let mut server = pair.server;
            let bytes = read(&mut server, sent).await;
            bytes
                .iter()
                .enumerate()
                .all(|(at, byte)| *byte == (at % 256) as u8)
        });
        assert!(got.await.unwrap());
        end(pair.fixture).await;
    }
}

/// Both sides of a new connection, the one that is to send first.
async fn sides(is_client_first: bool, toxic: Option<Toxic>) -> (Fixture, TcpStream, TcpStream) {
    let pair = Pair::new().await;
    if let Some(toxic) = toxic {
        pair.proxy.add(toxic);
    }
    match is_client_first {
        true => (pair.fixture, pair.client, pair.server),
        false => (pair.fixture, pair.server, pair.client),
    }
}

#[tokio::test]
async fn who_sends_much_and_is_gone_is_gone_for_who_has_not_read_it_yet() {
    let slow = Toxic::latency(millis(1)).both();
    for (is_client, is_reset, toxic) in [
        (true, true, None),
        (true, false, None),
        (false, true, None),
        (false, false, Some(slow.clone())),
        (true, false, Some(slow)),
    ] {
        let (fixture, mut sender, other) = sides(is_client, toxic).await;
        while timeout(millis(200), sender.write(&[0; 1 << 16])).await.is_ok() {}
        if is_reset {
            sender.set_zero_linger().unwrap();
        }
        drop(sender);
        // It answers the beginning, as servers do with many requests in a row.
        until(
            "it is told",
            || matches!(other.try_write(b"answer"), Err(error) if is_of_an_end(&error)),
        )
        .await;
        drop(other);
        end(fixture).await;
    }
}

#[tokio::test]
async fn who_goes_on_sending_to_a_peer_that_is_gone_is_told_by_a_reset() {
    // It left in an orderly way, and knows nothing of what comes after.
    let mut pair = Pair::new().await;
    pair.up(b"before").await;
    let (fixture, _, mut client) = pair.without_server();
    assert_eq!(rest(&mut client).await, (vec![], false));
    let told = async {
        loop {
            if let Err(error) = client.write_all(b"more").await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    };
    let told = timeout(WITHIN, told).await.unwrap();
    assert!(is_of_an_end(&told), "{told}");
    end(fixture).await;

    // Its reset is noticed by a write, after which a read says no more than that the stream is over.
    let mut pair = Pair::new().await;
    pair.up(b"before").await;
    let stall = pair.proxy.add(Toxic::stall().downstream());
    pair.server.set_zero_linger().unwrap();
    let (fixture, proxy, mut client) = pair.without_server();
    client.write_all(b"more").await.unwrap();
    until("that is read", || proxy.traffic().upstream_bytes == 10).await;
    stall.remove();
    assert_eq!(rest(&mut client).await, (vec![], true));
    end(fixture).await;
}

#[tokio::test]
async fn traffic_is_recorded_up_to_a_limit() {
    let mut pair = Pair::new().await;
    pair.up(b"unheard").await;
    pair.proxy.record(12);
    pair.up(b"question").await;
    pair.down(b"answer").await;
    let recordings = pair.proxy.recordings();
    assert_eq!(recordings.len(), 1);
    let recording = &recordings[0];
    assert_eq!((recording.connection, recording.left_out_bytes), (1, 2));
    assert_eq!(recording.sent(Stream::Upstream), b"question");
    assert_eq!(recording.sent(Stream::Downstream), b"answ");
    pair.proxy.record(0);
    assert_eq!(pair.proxy.recordings(), []);
    pair.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_proxy_goes_by_the_machines_clock_while_the_scenario_blocks_with_its_own_paused() {
    use std::io::{Read as _, Write as _};
    let fixture = Fixture::new();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(&fixture.case, "server", server.local_addr().unwrap()).unwrap();
    let latency = proxy.add(Toxic::latency(millis(30)));
    let mut client = std::net::TcpStream::connect(proxy.address()).unwrap();
    client.set_read_timeout(Some(WITHIN)).unwrap();
    let (mut server, _) = server.accept().unwrap();
    let began = std::time::Instant::now();
    server.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    assert!(began.elapsed() >= millis(30), "{:?}", began.elapsed());
    assert_eq!(latency.hits().bytes, 1);
    end(fixture).await;
}

#[tokio::test]
async fn its_port_and_its_thread_end_with_the_case() {
    let pair = Pair::new().await;
    let Pair {
        fixture,
        proxy,
        mut client,
        ..
    } = pair;
    end(fixture).await;
    assert!(matches!(rest(&mut client).await, (bytes, _) if bytes.is_empty()));
    let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let ended = proxy.up().await.unwrap_err();
    assert_eq!(ended.to_string(), "proxy `server` has ended with its case");
    assert_eq!(proxy.traffic().open, Traffic::default().open);
}
