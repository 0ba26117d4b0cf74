//! The suite behind the bench `servers`: what a start costs under the harness and by hand, on the same machine at the
//! same time, and what a case with a log and a folder costs.
//!
//! Each scenario prints lines `measured NAME ROUNDS HARNESS_US HAND_US`, medians.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use robust_test::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Timed;

impl Service for Timed {
    type Client = ();
    type Settings = ();
}

/// Etcd in a cluster: its own service, because the kinds of a service are on one axis.
struct Agreed;

impl Service for Agreed {
    type Client = ();
    type Settings = ();
}

/// The arguments of one member of a cluster of etcd; `members` are names and ports.
fn member(name: &str, client: u16, members: &[(String, u16)], data: &Path) -> Vec<String> {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let own = members.iter().find(|member| member.0 == name).map_or(0, |member| member.1);
    let cluster: Vec<String> = members.iter().map(|(name, port)| format!("{name}={}", url(*port))).collect();
    let options = [
        ("--name", name.to_owned()),
        ("--data-dir", data.display().to_string()),
        ("--log-level", "error".to_owned()),
        ("--listen-client-urls", url(client)),
        ("--advertise-client-urls", url(client)),
        ("--listen-peer-urls", url(own)),
        ("--initial-advertise-peer-urls", url(own)),
        ("--initial-cluster", cluster.join(",")),
    ];
    options.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect()
}

#[robust_server(Agreed, program = "etcd", cluster)]
async fn etcd_cluster(node: &mut Node<Agreed>) -> Result<Instance> {
    let members: Vec<_> =
        node.members().iter().map(|one| (one.name().to_owned(), one.address("peer").port())).collect();
    let arguments = member(node.name(), node.port("main"), &members, &node.data_dir()?);
    let server = node.command("etcd").args(arguments);
    Ok(server.ready_when(tcp("main")).spawn().await?)
}

/// The program of a kind and its arguments.
fn command_line(kind: &str, port: u16, more: u16, data: &Path) -> (&'static str, Vec<String>) {
    let data = data.display();
    let words = |text: String| text.split(' ').map(str::to_owned).collect();
    match kind {
        "redis" => (
            "redis-server",
            words(format!("--port {port} --bind 127.0.0.1 --save --dir {data}")),
        ),
        "mosquitto" => ("mosquitto", words(format!("-p {port}"))),
        _ => (
            "etcd",
            words(format!(
                "--name n1 --data-dir {data} --log-level error \
                 --listen-client-urls http://127.0.0.1:{port} --advertise-client-urls http://127.0.0.1:{port} \
                 --listen-peer-urls http://127.0.0.1:{more} --initial-advertise-peer-urls http://127.0.0.1:{more} \
                 --initial-cluster n1=http://127.0.0.1:{more}"
            )),
        ),
    }
}

async fn start(kind: &'static str, node: &mut Node<Timed>) -> Result<Instance> {
    let (port, more) = (node.port("main"), node.port("more"));
    let (program, arguments) = command_line(kind, port, more, &node.data_dir()?);
    let server = node.command(program).args(arguments);
    Ok(server.ready_when(tcp("main")).spawn().await?)
}

#[robust_server(Timed, program = "redis-server", cluster)]
async fn redis(node: &mut Node<Timed>) -> Result<Instance> {
    start("redis", node).await
}

#[robust_server(Timed, program = "mosquitto")]
async fn mosquitto(node: &mut Node<Timed>) -> Result<Instance> {
    start("mosquitto", node).await
}

#[robust_server(Timed, program = "etcd")]
async fn etcd(node: &mut Node<Timed>) -> Result<Instance> {
    start("etcd", node).await
}

async fn serve(address: SocketAddr, stopping: Stopping) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    loop {
        tokio::select! {
            () = stopping.requested() => return Ok(()),
            accepted = listener.accept() => drop(accepted?),
        }
    }
}

#[robust_server(Timed, cluster)]
async fn in_process(node: &mut Node<Timed>) -> Result<Instance> {
    let address = node.address("main");
    let server = node.task(move |stopping| serve(address, stopping));
    Ok(server.ready_when(tcp("main")).spawn().await?)
}

fn rounds() -> usize {
    std::env::var("BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

fn median(mut times: Vec<Duration>) -> u128 {
    times.sort_unstable();
    times[times.len() / 2].as_micros()
}

/// Started without the harness: until the port accepts.
struct ByHand(Child);

impl ByHand {
    fn start(program: &str, arguments: Vec<String>, log: &Path) -> Result<Self> {
        let log = std::fs::File::create(log)?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let _already_dead = self.0.kill();
        let _status = self.0.wait();
    }
}

/// By looks that are 1 ms apart, so that it is seen when it is ready and not later.
async fn until_it_accepts(port: u16) {
    while tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[robust_test(timeout = "5m", serial = "machine")]
async fn start_to_ready(case: Case, server: Server<Timed>) -> Result {
    let kind = server.kind();
    let port = server.endpoint("main").port();
    let more = if kind == "in_process" { 0 } else { server.endpoint("more").port() };
    let hands = case.folder()?.join("by-hand");
    std::fs::create_dir(&hands)?;
    let (mut harness, mut hand) = (Vec::new(), Vec::new());
    for _ in 0..rounds() {
        server.kill().await?;
        let begin = Instant::now();
        server.restarting().wipe_data().run().await?;
        harness.push(begin.elapsed());
        server.kill().await?;
        if kind == "in_process" {
            let (ended, stopping) = tokio::sync::oneshot::channel::<()>();
            let address = server.endpoint("main");
            let begin = Instant::now();
            let thread = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let listener = tokio::net::TcpListener::bind(address).await?;
                    let accept = async { while listener.accept().await.is_ok() {} };
                    tokio::select! { _ = stopping => {}, () = accept => {} }
                    Ok::<(), std::io::Error>(())
                })
            });
            until_it_accepts(port).await;
            hand.push(begin.elapsed());
            drop(ended);
            thread.join().map_err(|_| error("the thread panicked"))??;
        } else {
            let data = hands.join("data");
            let _none_yet = std::fs::remove_dir_all(&data);
            std::fs::create_dir(&data)?;
            let begin = Instant::now();
            let (program, arguments) = command_line(kind, port, more, &data);
            let by_hand = ByHand::start(program, arguments, &hands.join("log"))?;
            until_it_accepts(port).await;
            hand.push(begin.elapsed());
            drop(by_hand);
        }
    }
    println!("measured start:{kind} {} {} {}", rounds(), median(harness), median(hand));
    Ok(())
}

/// Until all three accept; by hand they are started one right after another, too.
#[robust_test(timeout = "5m", serial = "machine")]
async fn cluster_to_ready(case: Case, cluster: Cluster<Agreed>) -> Result {
    let nodes = cluster.nodes();
    let members: Vec<_> =
        nodes.iter().map(|node| (node.name().to_owned(), node.endpoint("peer").port())).collect();
    let clients: Vec<u16> = nodes.iter().map(|node| node.endpoint("main").port()).collect();
    let hands = case.folder()?.join("by-hand");
    let (mut harness, mut hand) = (Vec::new(), Vec::new());
    for _ in 0..rounds() {
        cluster.kill().await?;
        for node in &nodes {
            std::fs::remove_dir_all(node.data_dir()?)?;
        }
        let begin = Instant::now();
        cluster.start().await?;
        harness.push(begin.elapsed());
        cluster.kill().await?;
        let _none_yet = std::fs::remove_dir_all(&hands);
        std::fs::create_dir(&hands)?;
        let begin = Instant::now();
        let mut all = Vec::new();
        for ((name, _), client) in members.iter().zip(&clients) {
            let arguments = member(name, *client, &members, &hands.join(name));
            all.push(ByHand::start("etcd", arguments, &hands.join(format!("{name}.log")))?);
        }
        for &client in &clients {
            until_it_accepts(client).await;
        }
        hand.push(begin.elapsed());
        drop(all);
    }
    println!("measured start:etcd,_3_nodes {} {} {}", rounds(), median(harness), median(hand));
    Ok(())
}

#[robust_test(timeout = "5m", serial = "machine")]
async fn many_at_once(#[nodes(64)] cluster: Cluster<Timed>) -> Result {
    cluster.kill().await?;
    let begin = Instant::now();
    cluster.start().await?;
    let at_once = begin.elapsed();
    cluster.kill().await?;
    let begin = Instant::now();
    for node in cluster.nodes() {
        node.start().await?;
    }
    let one_by_one = begin.elapsed();
    let kind = cluster.kind();
    println!("measured 64:{kind} 1 {} {}", at_once.as_micros(), one_by_one.as_micros());
    Ok(())
}

/// The same servers twice: a fresh one for each case, and one that is shared.
struct Warm;

impl Service for Warm {
    type Client = ();
    type Settings = ();
}

/// What a server answers to `request`, until it closes or has said `end`.
async fn ask(address: SocketAddr, request: &str, end: &str) -> Result<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains(end) && stream.read_buf(&mut answer).await? > 0 {}
    Ok(String::from_utf8(answer)?)
}

async fn expect(address: SocketAddr, request: String, end: &str) -> Result {
    let answer = ask(address, &request, end).await?;
    if answer.contains(end) { Ok(()) } else { Err(error(format!("{request:?} is answered by {answer:?}"))) }
}

fn json(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

async fn warm_redis(node: &mut Node<Warm>) -> Result<Instance> {
    let (program, arguments) = command_line("redis", node.port("main"), 0, &node.data_dir()?);
    Ok(node.command(program).args(arguments).ready_when(tcp("main")).spawn().await?)
}

/// Ready when it has a leader: itself.
async fn warm_etcd(node: &mut Node<Warm>) -> Result<Instance> {
    let (port, more) = (node.port("main"), node.port("more"));
    let (program, arguments) = command_line("etcd", port, more, &node.data_dir()?);
    let address = node.address("main");
    let healthy = move || expect(address, "GET /health HTTP/1.0\r\n\r\n".to_owned(), "\"true\"");
    Ok(node.command(program).args(arguments).ready_when(probe("/health says so", healthy)).spawn().await?)
}

async fn flush(node: NodeLink) -> Result {
    expect(node.endpoint("main"), "FLUSHALL\r\n".to_owned(), "+OK").await
}

async fn delete_all(node: NodeLink) -> Result {
    let body = r#"{"key":"AA==","range_end":"AA=="}"#;
    expect(node.endpoint("main"), json("/v3/kv/deleterange", body), "header").await
}

#[robust_server(Warm, program = "redis-server")]
async fn redis_fresh(node: &mut Node<Warm>) -> Result<Instance> {
    warm_redis(node).await
}

#[robust_server(Warm, program = "redis-server", shared(flush))]
async fn redis_shared(node: &mut Node<Warm>) -> Result<Instance> {
    warm_redis(node).await
}

#[robust_server(Warm, program = "etcd")]
async fn etcd_fresh(node: &mut Node<Warm>) -> Result<Instance> {
    warm_etcd(node).await
}

#[robust_server(Warm, program = "etcd", shared(delete_all))]
async fn etcd_shared(node: &mut Node<Warm>) -> Result<Instance> {
    warm_etcd(node).await
}

/// Writes something, so that there is something to reset.
#[robust_test(ignore = "the bench runs it by itself, again and again")]
async fn writes(server: Server<Warm>) -> Result {
    let address = server.endpoint("main");
    if server.kind().starts_with("redis") {
        expect(address, "SET a 1\r\n".to_owned(), "+OK").await
    } else {
        expect(address, json("/v3/kv/put", r#"{"key":"YQ==","value":"MQ=="}"#), "header").await
    }
}

robust_test::main!();
