//! Scenarios over clusters of real processes, and over what nodes do beside their protocol. Run by
//! `tests/clusters.rs`, which gives the program by `--bin`.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use robust_test::prelude::*;
use robust_test_tests::gossip;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

struct Gossip;

#[derive(Default)]
struct Settings {
    zone: String,
}

impl Service for Gossip {
    type Client = Line;
    type Settings = Settings;
}

/// A connection that speaks lines.
struct Line(Mutex<BufReader<TcpStream>>);

impl Line {
    async fn connect(address: std::net::SocketAddr) -> std::io::Result<Self> {
        Ok(Self(Mutex::new(BufReader::new(
            TcpStream::connect(address).await?,
        ))))
    }

    async fn ask(&self, line: &str) -> std::io::Result<String> {
        let mut stream = self.0.lock().await;
        stream.write_all(format!("{line}\n").as_bytes()).await?;
        let mut answer = String::new();
        if stream.read_line(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(answer.trim_end().to_owned())
    }
}

fn command(node: &Node<Gossip>) -> Result<ServerCommand> {
    std::fs::write(node.folder()?.join("zone"), &node.settings().zone)?;
    Ok(gossip::command(node)?
        .fail_on_log("a torn page", "TORN PAGE")
        .log_bytes_max(16 << 20))
}

#[robust_server(Gossip, program = "planted-gossip-server", cluster)]
async fn gossip(node: &mut Node<Gossip>) -> Result<Instance> {
    Ok(command(node)?.spawn().await?)
}

/// Notes the order in which its nodes start and are quiesced.
#[robust_server(Gossip, program = "planted-gossip-server", cluster = "serial")]
async fn one_by_one(node: &mut Node<Gossip>) -> Result<Instance> {
    let number = node.number();
    if number > 1 && node.start() == 1 && !node.is_joining() {
        // The one before is there already.
        TcpStream::connect(node.members()[number - 2].address("gossip")).await?;
    }
    let members = node.members();
    let everyone = move || {
        let members = members.clone();
        async move {
            // Quiescing comes before any stop.
            for member in &members {
                TcpStream::connect(member.address("gossip")).await?;
            }
            Ok(())
        }
    };
    Ok(command(node)?.quiesce(everyone).spawn().await?)
}

struct Counter(Arc<AtomicUsize>);

impl InternalsView for Gossip {
    type Internals = Counter;
}

/// A node inside this process that counts its connections.
#[robust_server(Gossip)]
async fn embedded(node: &mut Node<Gossip>) -> Result<Instance> {
    let address = node.address("gossip");
    let count = Arc::new(AtomicUsize::new(0));
    node.expose(Counter(Arc::clone(&count)));
    let serve = move |stopping: Stopping| async move {
        let listener = tokio::net::TcpListener::bind(address).await?;
        loop {
            tokio::select! {
                () = stopping.requested() => return Ok::<(), std::io::Error>(()),
                accepted = listener.accept() => drop(accepted?),
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    Ok(node.task(serve).ready_when(tcp("gossip")).spawn().await?)
}

#[robust_client(Gossip)]
async fn line(link: ClientLink) -> Result<Box<Line>> {
    Ok(Box::new(Line::connect(link.endpoint("gossip")).await?))
}

/// What an operator asks: also a node that the client view does not know of.
struct Operator(Line);

impl AdminView for Gossip {
    type Admin = Operator;

    async fn admin(link: NodeLink) -> Result<Operator> {
        Ok(Operator(Line::connect(link.endpoint("gossip")).await?))
    }
}

/// `gossip-2` for the answer `2` of a node of that cluster.
fn named(link: &NodeLink, number: &str) -> String {
    let cluster = link.name().rsplit_once('-').map_or("", |(cluster, _)| cluster);
    format!("{cluster}-{number}")
}

impl ClusterView for Gossip {
    async fn sees(link: NodeLink) -> Result<BTreeSet<String>> {
        let seen = Self::admin(link.clone()).await?.0.ask("sees").await?;
        Ok(seen.split(' ').map(|number| named(&link, number)).collect())
    }

    async fn leader(link: NodeLink) -> Result<Option<String>> {
        let leader = Self::admin(link.clone()).await?.0.ask("leader").await?;
        Ok((!leader.is_empty()).then(|| named(&link, &leader)))
    }
}

async fn ask(node: &Server<Gossip>, line: &str) -> Result<String> {
    Ok(node.admin().await?.0.ask(line).await?)
}

// ---- Clusters ----

#[robust_test]
async fn its_nodes_know_one_another(db: Cluster<Gossip>, client: Client<Gossip>) -> Result {
    assert_eq!(db.nodes().len(), 3);
    assert_eq!(db.node(2).name(), "db-2");
    assert_eq!(client.ask("here").await?, "1");
    assert_eq!(Client::link(&client).endpoints("gossip").len(), 3);
    let leader = db.until_settled(secs(10)).await?;
    assert_eq!(leader.number(), 1);
    let second = Client::connect_to(&client, &db.node(2)).await?;
    assert_eq!(second.ask("sees").await?, "1 2 3");
    Ok(())
}

#[robust_test]
async fn the_others_go_on_without_a_killed_node(#[nodes(5)] db: Cluster<Gossip>) -> Result {
    db.until_settled(secs(10)).await?;
    db.node(1).kill().await?;
    assert_eq!(db.running().len(), 4);
    let leader = db.until_settled(secs(10)).await?;
    assert_eq!(leader.name(), "db-2");
    assert_eq!(db.leader().await.map(|node| node.number()), Some(2));
    db.node(1).start().await?;
    assert_eq!(db.until_settled(secs(10)).await?.number(), 1);
    assert_eq!(ask(&db.node(1), "starts").await?, "2");
    Ok(())
}

#[robust_test]
async fn the_others_go_on_while_one_is_frozen(#[nodes(3)] db: Cluster<Gossip>) -> Result {
    assert_eq!(db.until_settled(secs(10)).await?.number(), 1);
    db.node(1).pause().await?;
    assert!(db.node(1).is_paused() && db.node(1).is_running() && !db.node(2).is_paused());
    assert_eq!((db.running().len(), db.awake().len()), (3, 2));
    assert_eq!(db.until_settled(secs(10)).await?.number(), 2);
    assert_eq!(db.leader().await.map(|node| node.number()), Some(2));
    db.node(1).resume().await?;
    assert_eq!(db.until_settled(secs(10)).await?.number(), 1);
    Ok(())
}

#[robust_test]
async fn a_rolling_restart_keeps_the_data_and_a_wipe_does_not(#[nodes(2)] db: Cluster<Gossip>) -> Result {
    let addresses: Vec<_> = db.nodes().iter().map(|node| node.endpoint("gossip")).collect();
    db.rolling_restart(secs(10)).await?;
    for node in db.nodes() {
        assert_eq!(ask(&node, "starts").await?, "2");
    }
    db.rolling_restart_with(secs(10), Restart::wipe_data).await?;
    for node in db.nodes() {
        assert_eq!(ask(&node, "starts").await?, "1");
    }
    db.restart().await?;
    assert_eq!(ask(&db.node(2), "starts").await?, "2");
    let after: Vec<_> = db.nodes().iter().map(|node| node.endpoint("gossip")).collect();
    assert_eq!(addresses, after);
    Ok(())
}

#[robust_test]
async fn all_stop_and_all_are_killed(db: Cluster<Gossip>) -> Result {
    db.stop().await?;
    assert_eq!(db.running().len(), 0);
    assert!(db.leader().await.is_none());
    db.start().await?;
    assert_eq!(db.running().len(), 3);
    db.kill().await?;
    assert_eq!(db.running().len(), 0);
    Ok(())
}

#[robust_test]
async fn a_node_joins_and_leaves(#[only("gossip")] db: Cluster<Gossip>) -> Result {
    let fourth = db.prepare_node()?;
    assert_eq!((fourth.number(), fourth.is_running()), (4, false));
    // Its address is known before it runs: to the scenario, and to the others.
    let address = fourth.endpoint("gossip");
    db.rolling_restart(secs(10)).await?;
    assert_eq!(ask(&db.node(1), "sees").await?, "1 2 3");
    fourth.start().await?;
    assert_eq!(fourth.endpoint("gossip"), address);
    db.until_connected(secs(10)).await?;
    assert_eq!(ask(&db.node(1), "sees").await?, "1 2 3 4");
    db.remove_node(2).await?;
    assert_eq!(db.nodes().len(), 3);
    let fifth = db.add_node().await?;
    assert_eq!(fifth.name(), "db-5");
    Ok(())
}

#[robust_test]
async fn settings_are_of_one_node(
    #[settings(|number| Settings { zone: format!("zone {number}") })] db: Cluster<Gossip>,
) -> Result {
    let zone = |node: &Server<Gossip>| -> Result<String> {
        let folder = node.data_dir()?;
        let folder = folder.parent().context("the node's folder")?;
        Ok(std::fs::read_to_string(folder.join("zone"))?)
    };
    assert_eq!(zone(&db.node(1))?, "zone 1");
    assert_eq!(zone(&db.node(3))?, "zone 3");
    let settings = Settings {
        zone: "moved".to_owned(),
    };
    db.node(3).restarting().settings(settings).run().await?;
    assert_eq!(zone(&db.node(3))?, "moved");
    Ok(())
}

#[robust_test]
async fn never_settles(#[only("gossip")] db: Cluster<Gossip>) -> Result {
    // Not `pause`, which would be no surprise.
    db.node(3).signal(Signal::Stop).await?;
    db.until_settled(millis(1500)).await?;
    Ok(())
}

// ---- Single nodes ----

#[robust_test]
async fn a_hook_runs_between_end_and_start(#[only("gossip")] node: Server<Gossip>) -> Result {
    let starts =
        |node: &Node<Gossip>| -> Result { Ok(std::fs::write(node.data_dir()?.join("starts"), "xxxxx")?) };
    node.restarting().before_start(starts).run().await?;
    assert_eq!(ask(&node, "starts").await?, "6");
    Ok(())
}

#[robust_test]
async fn a_hook_panics(#[only("gossip")] node: Server<Gossip>) -> Result {
    node.restarting()
        .before_start(|_| panic!("no such luck"))
        .run()
        .await?;
    Ok(())
}

#[robust_test]
async fn its_port_is_closed_or_black_while_it_is_down(
    #[only("gossip")] node: Server<Gossip>,
    client: Client<Gossip>,
) -> Result {
    assert!(node.while_down(Down::BlackHole).await.is_err());
    node.kill().await?;
    assert!(Client::connect_another(&client).await.is_err());
    node.while_down(Down::AcceptThenClose).await?;
    let mut closed = TcpStream::connect(node.endpoint("gossip")).await?;
    assert!(matches!(closed.read(&mut [0; 8]).await, Ok(0) | Err(_)));
    node.while_down(Down::BlackHole).await?;
    let swallowed = Client::connect_another(&client).await?;
    let asked = tokio::time::timeout(millis(100), swallowed.ask("here")).await;
    assert!(asked.is_err(), "{asked:?}");
    node.start().await?;
    let back = Client::connect_another(&client).await?;
    assert_eq!(back.ask("starts").await?, "2");
    assert!(swallowed.ask("here").await.is_err());
    // Its end releases the ports too.
    node.stop().await?;
    node.while_down(Down::BlackHole).await?;
    Ok(())
}

#[robust_test]
async fn what_is_inside_is_seen_until_it_stops(node: Server<Gossip>) -> Result {
    if node.kind() != "embedded" {
        assert!(node.internals().is_none());
        return Ok(());
    }
    let before = node.internals().context("it runs")?.0.load(Ordering::Relaxed);
    TcpStream::connect(node.endpoint("gossip")).await?;
    let counter = node.internals().context("it runs")?;
    eventually("it is counted", secs(5), || async {
        counter.0.load(Ordering::Relaxed) > before
    })
    .await?;
    node.stop().await?;
    assert!(node.internals().is_none());
    node.start().await?;
    assert!(node.internals().is_some());
    Ok(())
}

#[robust_test]
async fn a_paused_node_is_not_healthy(#[only("gossip")] node: Server<Gossip>) -> Result {
    node.until_healthy(secs(5)).await?;
    node.kill().await?;
    assert_eq!(node.ailment().await.as_deref(), Some("it does not run"));
    Ok(())
}

#[robust_test]
async fn a_signal_may_end_it(#[only("gossip")] node: Server<Gossip>) -> Result {
    let exit = node.expect_exit();
    node.signal(Signal::User1).await?;
    assert_eq!(exit.wait().await?.to_string(), "was ended by signal 10 (SIGUSR1)");
    Ok(())
}

// ---- Logs ----

#[robust_test]
async fn a_sanitizer_reports(#[only("gossip")] node: Server<Gossip>) -> Result {
    ask(&node, "say ==7==ERROR: AddressSanitizer: heap-use-after-free").await?;
    Ok(())
}

#[robust_test]
async fn its_kind_calls_a_line_a_defect(#[only("gossip")] node: Server<Gossip>) -> Result {
    ask(&node, "say TORN PAGE 7").await?;
    Ok(())
}

#[robust_test]
async fn a_defect_in_the_log_is_expected(#[only("gossip")] node: Server<Gossip>) -> Result {
    node.allow_log("TORN PAGE", "the scenario tears it");
    ask(&node, "say TORN PAGE 7").await?;
    Ok(())
}

#[robust_test]
async fn prints_without_end(#[only("gossip")] node: Server<Gossip>) -> Result {
    let asked = ask(&node, "print 100000").await;
    panic!("it should have been ended: {asked:?}");
}

#[robust_test]
async fn dies_in_a_cluster(#[only("gossip")] db: Cluster<Gossip>) -> Result {
    let _closed = ask(&db.node(2), "die").await;
    std::future::pending().await
}

robust_test::main!();
