//! Clusters of several sizes and of mixed kinds. Run by `tests/fleets.rs`, which gives the programs by `--bin`.
#![allow(missing_docs)]

use robust_test::prelude::*;
use robust_test_tests::gossip::{self, ask};

struct Gossip;

impl Service for Gossip {
    type Client = ();
    type Settings = ();
}

/// Notes which kind it is of.
async fn start(node: &Node<Gossip>, kind: &str) -> Result<Instance> {
    std::fs::write(node.folder()?.join("kind"), kind)?;
    Ok(gossip::command(node)?.spawn().await?)
}

#[robust_server(Gossip, program = "planted-gossip-server", cluster)]
async fn gossip(node: &mut Node<Gossip>) -> Result<Instance> {
    start(node, "gossip").await
}

#[robust_server(Gossip, program = "planted-gossip-server", cluster, variants(pages = ["small", "large"]))]
async fn chatter(node: &mut Node<Gossip>) -> Result<Instance> {
    start(node, "chatter").await
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

/// The kind whose start function ran last for the node.
fn started_as(node: &Server<Gossip>) -> Result<String> {
    let data = node.data_dir()?;
    Ok(std::fs::read_to_string(
        data.parent().context("its folder")?.join("kind"),
    )?)
}

#[robust_test(tags("mixed"))]
async fn each_node_is_of_a_kind_and_stays_it(#[mixed("gossip", "chatter")] db: Cluster<Gossip>) -> Result {
    assert_eq!(db.kind(), "gossip+chatter");
    let kinds: Vec<&str> = db.nodes().iter().map(Server::kind).collect();
    println!("kinds: {}", kinds.join(" "));
    eventually("they see one another", secs(10), || async {
        Ok::<_, Error>(ask(&db.node(3), "sees").await? == "1 2 3")
    })
    .await?;
    for (node, kind) in db.nodes().iter().zip(&kinds) {
        assert_eq!((node.variant("kind"), &*started_as(node)?), (*kind, *kind));
        std::fs::remove_file(node.data_dir()?.with_file_name("kind"))?;
        node.restart().await?;
        assert_eq!((node.kind(), &*started_as(node)?), (*kind, *kind));
        assert_eq!(ask(node, "starts").await?, "2");
    }
    let fourth = db.add_node().await?;
    assert_eq!(fourth.kind(), started_as(&fourth)?);
    Ok(())
}

#[robust_test(tags("mixed", "fails"))]
async fn fails_where_the_second_node_is_a_chatter(#[mixed("gossip", "chatter")] db: Cluster<Gossip>) {
    let kinds: Vec<&str> = db.nodes().iter().map(Server::kind).collect();
    assert_ne!(kinds[1], "chatter", "kinds: {}", kinds.join(" "));
}

#[robust_test(tags("mixed", "fails"), known_failure(db.kind = "chatter", because = "it talks too much"))]
async fn is_known_to_fail_with_a_chatter(
    #[mixed("gossip", "chatter")]
    #[nodes(2)]
    db: Cluster<Gossip>,
) {
    assert!(db.nodes().iter().all(|node| node.kind() != "chatter"));
}

#[robust_test(tags("fails"))]
async fn fails_in_every_size(#[nodes(1, 3)] db: Cluster<Gossip>) {
    panic!("{} nodes", db.nodes().len());
}

robust_test::main!();
