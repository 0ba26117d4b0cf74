//! The suite behind the bench `proxy`: the same traffic to the same server, direct and through each proxy, in turn.
//!
//! Prints lines `measured WHAT SIDE NUMBER`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use noxious::proxy::{ProxyConfig, ProxyRunner, Runner as _, Toxics};
use noxious::signal::{Close, Stop};
use robust_test::prelude::*;

const BULK_BYTES: usize = 64 << 20;
const ROUND_TRIPS: u32 = 1000;
const CONNECTIONS: u32 = 250;

/// What a connection is for, by its first byte.
const BULK: u8 = b'b';
const ECHO: u8 = b'e';
const ONCE: u8 = b'o';

/// As many connections as the server serves at once: more than are open at any time.
const SERVED: usize = 8;

/// Serves until the process ends: takes everything and answers with one byte, sends everything back, or answers with one byte at
/// once; and closes. Its threads are there before, so that a connection costs it little: what is measured is what comes on top.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    for _ in 0..SERVED {
        let listener = listener.try_clone().expect("a descriptor");
        thread::spawn(move || {
            let mut buffer = vec![0; 256 << 10];
            for stream in listener.incoming().flatten() {
                // One that is cut short is its client's to tell.
                let _ended = serve(stream, &mut buffer);
            }
        });
    }
    address
}

fn serve(mut stream: TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    if kind[0] == ONCE {
        return stream.write_all(b"k");
    }
    if kind[0] == BULK {
        let mut left = BULK_BYTES;
        while left > 0 {
            let read = stream.read(buffer)?;
            left -= read.clamp(1, left);
        }
        return stream.write_all(b"k");
    }
    loop {
        match stream.read(buffer)? {
            0 => return Ok(()),
            read => stream.write_all(&buffer[..read])?,
        }
    }
}

/// What the simplest proxy does: both ways a loop that copies, on one thread, as the proxy under test has it.
fn bare_loop(server: SocketAddr) -> SocketAddr {
    on_a_thread(move |ready| async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        ready.send(listener.local_addr().expect("an address")).expect("somebody waits");
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(server).await?;
                client.set_nodelay(true)?;
                server.set_nodelay(true)?;
                tokio::io::copy_bidirectional_with_sizes(&mut client, &mut server, 64 << 10, 64 << 10).await
            });
        }
    })
}

fn noxious(server: SocketAddr) -> SocketAddr {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    on_a_thread(move |ready| async move {
        let config = ProxyConfig {
            name: "bench".to_owned(),
            listen: port.to_string(),
            upstream: server.to_string(),
            enabled: true,
            rand_seed: Some(1),
        };
        let made = ProxyRunner::initialize_proxy::<noxious::socket::TcpListener>(config, Toxics::empty());
        let (listener, info) = made.await.expect("it listens");
        ready.send(port).expect("somebody waits");
        let (_events, receiver) = bmrng::channel(1);
        let (stop, _stopper) = Stop::new();
        let (_close, closer) = Close::new();
        ProxyRunner::run_proxy(listener, info, receiver, stop, closer).await.expect("it runs");
    })
}

fn on_a_thread<F: Future<Output = ()>>(
    run: impl FnOnce(std::sync::mpsc::Sender<SocketAddr>) -> F + Send + 'static,
) -> SocketAddr {
    let (ready, address) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(run(ready));
    });
    address.recv().expect("it starts")
}

fn connect(to: SocketAddr, kind: u8) -> TcpStream {
    let mut stream = TcpStream::connect(to).expect("it connects");
    stream.set_nodelay(true).expect("an option");
    stream.write_all(&[kind]).expect("it takes it");
    stream
}

/// How often each thing is measured, as the bench says.
fn rounds() -> usize {
    std::env::var("BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

/// In MiB a second.
fn throughput(to: SocketAddr) -> f64 {
    let mut stream = connect(to, BULK);
    let chunk = vec![7; 256 << 10];
    let began = Instant::now();
    for _ in 0..BULK_BYTES / chunk.len() {
        stream.write_all(&chunk).expect("it takes it");
    }
    stream.read_exact(&mut [0]).expect("an answer");
    BULK_BYTES as f64 / f64::from(1 << 20) / began.elapsed().as_secs_f64()
}

/// A second.
fn round_trips(to: SocketAddr) -> f64 {
    let mut stream = connect(to, ECHO);
    let mut buffer = [0; 64];
    let began = Instant::now();
    for _ in 0..ROUND_TRIPS {
        stream.write_all(&buffer).expect("it takes it");
        stream.read_exact(&mut buffer).expect("an answer");
    }
    f64::from(ROUND_TRIPS) / began.elapsed().as_secs_f64()
}

/// Made, used for one round trip and closed by the server, as a request of HTTP 1.0 is, one after another, a second: until the
/// client sees the end, so that nothing of one is left to the next.
fn connections(to: SocketAddr) -> f64 {
    let began = Instant::now();
    for _ in 0..CONNECTIONS {
        let mut stream = connect(to, ONCE);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        assert_eq!(answer, b"k");
    }
    f64::from(CONNECTIONS) / began.elapsed().as_secs_f64()
}

#[robust_test(isolation = "process", timeout = "600s", allow_leak(threads, because = "the servers of the bench"), allow_leak(listeners, because = "theirs"), allow_leak(descriptors, because = "theirs"))]
async fn beside_its_peers(case: Case) -> Result {
    let server = server();
    let proxy = Proxy::start(&case, "bench", server)?;
    let sides = [
        ("direct", server),
        ("bare", bare_loop(server)),
        ("noxious", noxious(server)),
        ("proxy", proxy.address()),
    ];
    let rounds = rounds();
    for (what, measure) in [
        ("throughput", throughput as fn(SocketAddr) -> f64),
        ("round_trips", round_trips),
        ("connections", connections),
    ] {
        let mut took = [0.0; 4];
        for round in 0..rounds {
            for turn in 0..sides.len() {
                let at = (turn + round) % sides.len();
                took[at] += 1.0 / measure(sides[at].1);
            }
        }
        // All that was done in all rounds by the time that it took. A median would not do: a proxy of two tasks has rounds that
        // take twice as long as others, depending on the processors that its threads get, and the median is one or the other.
        for ((side, _), took) in sides.iter().zip(took) {
            println!("measured {what} {side} {}", rounds as f64 / took);
        }
    }
    Ok(())
}

/// The resident memory of this process, in bytes.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").expect("/proc");
    let pages: u64 = status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096
}

#[robust_test(isolation = "process", timeout = "600s")]
async fn idle_links(case: Case) -> Result {
    const LINKS: u64 = 1000;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let proxy = Proxy::start(&case, "bench", listener.local_addr()?)?;
    let mut ends = Vec::with_capacity(2 * LINKS as usize);
    let mut before = 0;
    // The first ones pay for what is made once.
    for link in 0..LINKS + 100 {
        if link == 100 {
            before = resident_bytes();
        }
        let client = std::net::TcpStream::connect(proxy.address())?;
        let (server, _) = listener.accept().await?;
        ends.push((client, server.into_std()?));
    }
    println!("measured idle proxy {}", (resident_bytes() - before) / LINKS);
    Ok(())
}

#[robust_test(isolation = "process", timeout = "600s", allow_leak(threads, because = "the servers of the bench"), allow_leak(listeners, because = "theirs"), allow_leak(descriptors, because = "theirs"))]
async fn accuracy(case: Case) -> Result {
    let proxy = Proxy::start(&case, "bench", server())?;
    let address = proxy.address();
    let rounds = 36;
    let latency = proxy.add(Toxic::latency(millis(50)));
    let took = tokio::task::spawn_blocking(move || {
        let mut stream = connect(address, ECHO);
        let began = Instant::now();
        for _ in 0..rounds {
            stream.write_all(b"x").expect("it takes it");
            stream.read_exact(&mut [0]).expect("an answer");
        }
        began.elapsed()
    });
    println!("measured latency proxy {}", took.await?.as_secs_f64() * 1e3 / f64::from(rounds));
    latency.remove();
    proxy.add(Toxic::bandwidth(1_000_000).upstream());
    let bytes = 100_000 * rounds as usize;
    let took = tokio::task::spawn_blocking(move || {
        let mut stream = connect(address, ECHO);
        let mut back = stream.try_clone().expect("a clone");
        let reading = thread::spawn(move || back.read_exact(&mut vec![0; bytes]));
        let began = Instant::now();
        stream.write_all(&vec![7; bytes]).expect("it takes it");
        reading.join().expect("it reads").expect("all of it");
        began.elapsed()
    });
    println!("measured bandwidth proxy {}", bytes as f64 / took.await?.as_secs_f64());
    Ok(())
}

robust_test::main!();
