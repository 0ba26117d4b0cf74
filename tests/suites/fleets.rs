//! Clusters of several sizes. Run by `tests/fleets.rs`, which gives the programs by `--bin`.
#![allow(missing_docs)]

use robust_test::prelude::*;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

struct Gossip;

impl Service for Gossip {
    type Client = ();
    type Settings = ();
}

async fn start(node: &Node<Gossip>) -> Result<Instance> {
    node.port("gossip");
    let others = node.members().into_iter();
    let command = node
        .command("planted-gossip-server")
        .arg(node.number().to_string())
        .arg(node.data_dir()?)
        .args(others.map(|member| format!("{}={}", member.number(), member.address("gossip"))));
    Ok(command.ready_when(tcp("gossip")).spawn().await?)
}

#[robust_server(Gossip, program = "planted-gossip-server", cluster)]
async fn gossip(node: &mut Node<Gossip>) -> Result<Instance> {
    start(node).await
}

#[robust_server(Gossip, program = "planted-gossip-server", cluster, variants(pages = ["small", "large"]))]
async fn chatter(node: &mut Node<Gossip>) -> Result<Instance> {
    start(node).await
}

async fn ask(node: &Server<Gossip>, line: &str) -> Result<String> {
    let mut stream = BufReader::new(TcpStream::connect(node.endpoint("gossip")).await?);
    stream.write_all(format!("{line}\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    Ok(answer.trim_end().to_owned())
}

#[robust_test(
    exclude(db = "chatter", db.nodes = "1", because = "one has nobody to chat with"),
    known_failure(db.nodes = 2, because = "two have no majority")
)]
async fn has_as_many_nodes_as_its_name_says(case: Case, #[nodes(1, 2, 4)] db: Cluster<Gossip>) -> Result {
    let count = db.nodes().len();
    assert!(case.name().contains(&format!("db.nodes={count}")), "{count}");
    let all: Vec<String> = (1..=count).map(|number| number.to_string()).collect();
    let last = db.node(count);
    eventually("it sees all of them", secs(10), || async {
        Ok::<_, Error>(ask(&last, "sees").await? == all.join(" "))
    })
    .await?;
    assert_ne!(count, 2, "no majority");
    Ok(())
}

#[robust_test(tags("fails"))]
async fn fails_in_every_size(#[nodes(1, 3)] db: Cluster<Gossip>) {
    panic!("{} nodes", db.nodes().len());
}

robust_test::main!();
