//! Scenarios that fail with something up, and some that do not. Run by `tests/keep.rs`, which gives the program by
//! `--bin`.
#![allow(missing_docs)]

use robust_test::harness::param::{Build, Environment, Param, Shape};
use robust_test::harness::registry::Site;
use robust_test::prelude::*;
use robust_test_tests::gossip::{self, ask};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Gossip;

impl Service for Gossip {
    type Client = ();
    type Settings = ();
}

#[robust_server(Gossip, program = "planted-gossip-server", cluster)]
async fn gossip(node: &mut Node<Gossip>) -> Result<Instance> {
    Ok(gossip::command(node)?.spawn().await?)
}

/// A node inside this process that sends back what it gets.
#[robust_server(Gossip)]
async fn embedded(node: &mut Node<Gossip>) -> Result<Instance> {
    let address = node.address("gossip");
    let serve = move |stopping: Stopping| async move {
        let listener = TcpListener::bind(address).await?;
        loop {
            let stream = tokio::select! {
                () = stopping.requested() => return Ok::<(), std::io::Error>(()),
                accepted = listener.accept() => accepted?.0,
            };
            tokio::spawn(async move {
                // Only where its timers run does it answer.
                tokio::time::sleep(millis(10)).await;
                let (mut read, mut write) = stream.into_split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    };
    Ok(node.task(serve).ready_when(tcp("gossip")).spawn().await?)
}

#[robust_test]
async fn fails(node: Server<Gossip>) -> Result {
    assert!(node.is_running());
    eprintln!("what it wrote before");
    Err(error("lost what was acknowledged"))
}

#[robust_test]
async fn fails_with_a_cluster(db: Cluster<Gossip>) {
    db.node(2).kill().await.expect("it runs");
    db.node(3).pause().await.expect("it runs");
    panic!("not what was expected");
}

/// Long enough for its server to start on a busy machine.
#[robust_test(timeout = "3s")]
async fn is_late(#[only("gossip")] _node: Server<Gossip>) {
    std::future::pending::<()>().await;
}

#[robust_test(retries = 2)]
async fn fails_again(case: Case, #[only("gossip")] _node: Server<Gossip>) {
    panic!("attempt {}", case.attempt());
}

#[robust_test]
async fn cannot_be_set_up(#[only("gossip")] _node: Server<Gossip>, _other: Broken) {}

struct Broken;

impl Param for Broken {
    fn shape(_: &Site, _: &Environment) -> Shape {
        Shape::default()
    }

    async fn build(_: &mut Build) -> Result<Self> {
        Err(error("no such fixture"))
    }
}

#[robust_test(start_paused)]
async fn fails_with_a_frozen_clock(#[only("embedded")] _node: Server<Gossip>) -> Result {
    Err(error("time stands still"))
}

#[robust_test(known_failure(because = "it forgets"))]
async fn fails_as_known(#[only("gossip")] _node: Server<Gossip>) -> Result {
    Err(error("forgotten"))
}

#[robust_test]
async fn fails_with_nothing_up(#[only("gossip")] node: Server<Gossip>) -> Result {
    node.kill().await?;
    Err(error("it is down"))
}

#[robust_test]
async fn dies_with_its_worker(#[only("gossip")] _node: Server<Gossip>) {
    std::process::abort();
}

#[robust_test]
async fn passes(#[only("gossip")] node: Server<Gossip>) -> Result {
    assert_eq!(ask(&node, "starts").await?, "1");
    Ok(())
}

#[robust_test]
async fn is_skipped(#[only("gossip")] _node: Server<Gossip>) -> Result {
    Err(skip("not today"))
}

// ---- Beside one that is kept ----

/// Ends when `tests/keep.rs` lets it: it connects to the port in the file that `PLANTED_GATE` names.
#[robust_test(tags("beside"))]
async fn passes_while_another_is_kept() -> Result {
    let path = std::env::var("PLANTED_GATE")?;
    let mut stream = TcpStream::connect(std::fs::read_to_string(path)?.trim()).await?;
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

#[robust_test(tags("beside"))]
async fn fails_once_another_is_there(node: Server<Gossip>) -> Result {
    let path = std::env::var("PLANTED_GATE")?;
    // The other one is at the gate: one more connection tells that this one is too.
    let mut stream = TcpStream::connect(std::fs::read_to_string(path)?.trim()).await?;
    stream.write_all(b"x").await?;
    stream.read_to_end(&mut Vec::new()).await?;
    assert!(!node.is_running(), "it runs");
    Ok(())
}

robust_test::main!();
