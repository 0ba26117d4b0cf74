//! Clusters whose nodes are on hosts of their own: what is reached from where, and what is done to them there. Run by
//! `tests/on_hosts.rs`.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Duration;

use robust_test::fault::{ClockSkew, Fault as _, Relocate};
use robust_test::hosts::Impairment;
use robust_test::prelude::*;
use robust_test_tests::gossip::{self, Asker, Gossip, ahead, answer_within, ask, until_sees};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const SOON: Duration = secs(10);

#[robust_server(Gossip, program = "planted-gossip-server", cluster, provides("hosts"))]
async fn gossip(node: &mut Node<Gossip>) -> Result<Instance> {
    let here = node.local_address("gossip");
    let command = gossip::command(node)?.ready_when(probe("it says who it is", move || async move {
        let mut stream = BufReader::new(TcpStream::connect(here).await?);
        Ok::<_, Error>(answer_within(&mut stream, "here", SOON).await?.is_some())
    }));
    Ok(command.spawn().await?)
}

/// Knows 127.0.0.1 alone, and says so by what it does not provide.
#[robust_server(Gossip, cluster)]
async fn local(node: &mut Node<Gossip>) -> Result<Instance> {
    let address = node.address("gossip");
    let serve = move |stopping: Stopping| async move {
        let _listener = tokio::net::TcpListener::bind(address).await?;
        stopping.requested().await;
        Ok::<(), std::io::Error>(())
    };
    Ok(node.task(serve).ready_when(tcp("gossip")).spawn().await?)
}

#[robust_client(Gossip)]
async fn asker(link: ClientLink) -> Result<Box<Asker>> {
    gossip::connect(link).await
}

#[robust_test]
async fn each_node_has_an_address_of_its_own_and_is_reached_from_here(
    #[hosts] db: Cluster<Gossip>,
    client: Client<Gossip>,
) -> Result {
    for node in db.nodes() {
        until_sees(&node, "1 2 3").await?;
        // Where it listens is where the others know it, and not where this process reaches it.
        let text = node.log()?;
        let own = node.host().address(node.endpoint("gossip").port());
        assert!(text.contains(&own.to_string()), "{own}: {text}");
        assert!(node.endpoint("gossip").ip().is_loopback());
        assert!(
            node.reach().contains(&node.host().ip().to_string()),
            "{}",
            node.reach()
        );
        let another = Client::connect_to(&client, &node).await?;
        let said = answer_within(&mut *another.lock().await, "here", SOON).await?;
        assert_eq!(said, Some(node.number().to_string()));
    }
    let addresses: BTreeSet<_> = db.nodes().iter().map(|node| node.host().ip()).collect();
    assert_eq!(addresses.len(), 3);
    let (one, two) = (db.node(1), db.node(2));
    assert!(db.net().traffic(one.host(), two.host()).packets > 0);
    // What operators and clients say does not go between hosts.
    let before = db.net().traffic(two.host(), one.host()).packets;
    assert_eq!(ask(&one, "here").await?, "1");
    assert_eq!(db.net().traffic(two.host(), one.host()).packets, before);
    Ok(())
}

#[robust_test(timeout = "120s")]
async fn a_partition_cuts_what_its_name_says_and_heals(
    #[hosts]
    #[nodes(5)]
    db: Cluster<Gossip>,
) -> Result {
    gossip::partitions_cut_what_their_names_say(&db).await
}

#[robust_test]
async fn faults_of_its_net_are_faults_of_the_case(#[hosts] db: Cluster<Gossip>, faults: Faults) -> Result {
    until_sees(&db.node(1), "1 2 3").await?;
    let lost = Impairment::cut().to(db.node(3).host()).inject(db.net()).await?;
    until_sees(&db.node(1), "1 2").await?;
    lost.heal().await?;
    until_sees(&db.node(1), "1 2 3").await?;
    let isolated = Partition::Isolate(2).inject(&db).await?;
    until_sees(&db.node(1), "1 3").await?;
    isolated.heal().await?;
    until_sees(&db.node(1), "1 2 3").await?;
    let told = format!("{:?}", faults.timeline());
    assert!(told.contains("partition: node 2 isolated"), "{told}");
    Ok(())
}

#[robust_test]
async fn a_node_keeps_its_host_over_kill_restart_and_other_ports(#[hosts] db: Cluster<Gossip>) -> Result {
    let node = db.node(2);
    let (host, port) = (node.host().ip(), node.endpoint("gossip").port());
    node.kill().await?;
    until_sees(&db.node(1), "1 3").await?;
    // Nobody listens, which the gateway can tell by an end alone; it may be there before this has looked.
    match TcpStream::connect(node.endpoint("gossip")).await {
        Ok(mut stream) => {
            let _reset = stream.write_all(b"here\n").await;
            assert!(matches!(stream.read(&mut [0; 8]).await, Ok(0) | Err(_)));
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    node.start().await?;
    assert_eq!(ask(&node, "starts").await?, "2");
    until_sees(&db.node(1), "1 2 3").await?;
    node.pause().await?;
    until_sees(&db.node(1), "1 3").await?;
    node.resume().await?;
    until_sees(&db.node(1), "1 2 3").await?;
    Relocate.inject(&node).await?.heal().await?;
    assert_eq!(node.host().ip(), host);
    assert_ne!(node.endpoint("gossip").port(), port);
    assert_eq!(ask(&node, "starts").await?, "3");
    eventually("nobody is at the port that it had", SOON, || async {
        let connected = TcpStream::connect(("127.0.0.1", port)).await;
        connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    })
    .await?;
    Ok(())
}

/// It sets how many ports its host has for connections that it makes, which takes root.
#[robust_test(tags("alone", "root"))]
async fn where_no_port_is_left_connections_end_and_nobody_waits(#[hosts] db: Cluster<Gossip>) -> Result {
    const PORTS: usize = 10;
    let node = db.node(1);
    let mut limit = std::process::Command::new("sh");
    limit.args(["-c", "echo 40000 40009 > /proc/sys/net/ipv4/ip_local_port_range"]);
    node.host().enter(&mut limit)?;
    assert!(limit.status()?.success());
    let ask_again = async || {
        let mut stream = BufReader::new(TcpStream::connect(node.endpoint("gossip")).await?);
        let said = answer_within(&mut stream, "here", SOON).await?;
        said.context("it was kept waiting")?;
        Ok::<_, Error>(stream)
    };
    let mut kept = Vec::new();
    while let Ok(stream) = ask_again().await {
        kept.push(stream);
        assert!(kept.len() <= PORTS, "there are no more ports");
    }
    assert_eq!(kept.len(), PORTS);
    // The other nodes have theirs.
    assert_eq!(ask(&db.node(2), "here").await?, "2");
    for stream in &mut kept {
        assert!(answer_within(stream, "here", SOON).await?.is_some());
    }
    // Whose server ended first gives its port back at once.
    node.kill().await?;
    drop(kept);
    node.start().await?;
    ask_again().await.map(drop)
}

#[robust_test]
async fn what_stands_in_for_a_node_is_on_its_host(#[hosts] db: Cluster<Gossip>) -> Result {
    let node = db.node(3);
    let address = node.host().address(node.endpoint("gossip").port());
    node.stop().await?;
    assert!(db.node(1).host().connect(address).await.is_err());
    node.while_down(Down::BlackHole).await?;
    let mut silent = db.node(1).host().connect(address).await?;
    silent.write_all(b"here\n").await?;
    node.start().await?;
    // It is let go of when the node comes back.
    assert!(matches!(silent.read(&mut [0; 8]).await, Ok(0) | Err(_)));
    until_sees(&db.node(1), "1 2 3").await
}

#[robust_test]
async fn a_node_on_a_host_may_have_a_wrong_clock_over_a_restart(#[hosts] db: Cluster<Gossip>) -> Result {
    let node = db.node(2);
    let skew = ClockSkew::behind(secs(3600)).inject(&node).await?;
    assert_eq!(ahead(&node).await?, -3600);
    node.restart().await?;
    assert_eq!(ahead(&node).await?, -3600);
    assert_eq!(ahead(&db.node(1)).await?, 0);
    skew.heal().await?;
    assert_eq!(ahead(&node).await?, 0);
    Ok(())
}

#[robust_test]
async fn a_node_that_joins_gets_the_next_host(#[hosts] db: Cluster<Gossip>) -> Result {
    let guest = db.net().host("guest")?;
    let node = db.add_node().await?;
    assert_eq!((guest.number(), node.host().number()), (4, 5));
    until_sees(&node, "1 2 3 4").await?;
    // It is the fourth node on the fifth host.
    let partition = db.partition(Partition::OneWay {
        from: vec![1],
        to: vec![4],
    })?;
    until_sees(&node, "2 3 4").await?;
    partition.heal()?;
    let address = node.host().address(node.endpoint("gossip").port());
    let mut stream = BufReader::new(guest.connect(address).await?);
    assert_eq!(
        answer_within(&mut stream, "here", SOON).await?.as_deref(),
        Some("4")
    );
    db.remove_node(4).await?;
    assert!(guest.connect(address).await.is_err());
    Ok(())
}

#[robust_test]
async fn proxies_in_front_of_nodes_on_hosts_are_for_clients_alone(
    #[hosts]
    #[proxied]
    db: Cluster<Gossip>,
) -> Result {
    until_sees(&db.node(1), "1 2 3").await?;
    let cut = db.node(2).proxy("gossip").add(Toxic::black_hole());
    until_sees(&db.node(1), "1 2 3").await?;
    let mut stream = BufReader::new(TcpStream::connect(db.node(2).endpoint("gossip")).await?);
    assert_eq!(answer_within(&mut stream, "here", millis(50)).await?, None);
    assert!(cut.hits().any());
    Ok(())
}

#[robust_test]
async fn a_certificate_is_valid_for_the_address_of_the_host(#[hosts] db: Cluster<Gossip>) -> Result {
    let node = db.node(1);
    let files = node.tls()?;
    let names = std::fs::read_to_string(files.certificate.with_file_name("names.txt"))?;
    let ip = node.host().ip().to_string();
    assert!(names.lines().any(|name| name == ip), "{ip}: {names}");
    Ok(())
}

#[robust_test(tags("alone"), ignore = "until its runner is killed", timeout = "1h")]
async fn waits(#[hosts] db: Cluster<Gossip>) -> Result {
    let _cut = db.partition(Partition::Isolate(1))?;
    std::future::pending::<()>().await;
    drop(db);
    Ok(())
}

#[robust_test(tags("fails"))]
async fn a_cluster_without_hosts_has_no_net(#[only("gossip")] db: Cluster<Gossip>) {
    let _net = db.net();
}

#[robust_test(tags("fails"))]
async fn a_node_without_a_host_has_none(#[only("gossip")] db: Cluster<Gossip>) {
    let _host = db.node(1).host();
}

/// A service whose kind says that it can be on hosts, and is not a program.
struct Inside;

impl Service for Inside {
    type Client = Asker;
    type Settings = ();
}

#[robust_server(Inside, cluster, provides("hosts"))]
async fn inside(node: &mut Node<Inside>) -> Result<Instance> {
    let serve = |stopping: Stopping| async move {
        stopping.requested().await;
        Ok::<(), std::io::Error>(())
    };
    Ok(node.task(serve).spawn().await?)
}

#[robust_test(tags("fails"))]
async fn what_runs_inside_this_process_is_on_no_host(#[hosts] db: Cluster<Inside>) {
    drop(db);
}

robust_test::main!();
