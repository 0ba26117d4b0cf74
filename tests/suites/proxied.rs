//! Servers, clusters and clients behind proxies. Run by `tests/proxied.rs`, which gives the program by `--bin`.
#![allow(missing_docs)]

use std::time::Duration;

use robust_test::prelude::*;
use robust_test_tests::gossip::{self, Asker, Gossip, answer_within, ask, until_sees};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};

const SOON: Duration = secs(10);

#[robust_server(Gossip, program = "planted-gossip-server", cluster)]
async fn gossip(node: &mut Node<Gossip>) -> Result<Instance> {
    // What others are told of it.
    std::fs::write(
        node.folder()?.join("advertised"),
        node.advertised("gossip").to_string(),
    )?;
    Ok(gossip::command(node)?.spawn().await?)
}

#[robust_client(Gossip)]
async fn asker(link: ClientLink) -> Result<Box<Asker>> {
    gossip::connect(link).await
}

/// What the node answers on the client's connection.
async fn answer(client: &Asker, line: &str) -> Result<String> {
    answer_of(&mut *client.lock().await, line).await
}

async fn answer_of(stream: &mut BufReader<TcpStream>, line: &str) -> Result<String> {
    answer_within(stream, line, SOON).await?.context("no answer")
}

/// Waits until the other side has closed the connection.
async fn rest_of(stream: &mut BufReader<TcpStream>) -> Result {
    let mut rest = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await??;
    Ok(())
}

#[robust_test]
async fn a_server_is_reached_through_its_proxy_by_all_but_operators(
    #[proxied] db: Server<Gossip>,
    client: Client<Gossip>,
) -> Result {
    let proxy = db.proxy("gossip");
    assert_eq!(db.endpoint("gossip"), proxy.address());
    assert_eq!(db.admin().await?, proxy.server());
    assert_ne!(proxy.server(), proxy.address());
    let advertised = db.data_dir()?.with_file_name("advertised");
    assert_eq!(std::fs::read_to_string(advertised)?, proxy.address().to_string());
    assert_eq!(answer(&client, "starts").await?, "1");
    let before = proxy.traffic();
    assert_eq!((before.connections, before.upstream_bytes), (1, 7), "{before:?}");
    let toxic = proxy.add(Toxic::limit_data(0));
    assert_eq!(
        answer(&client, "starts").await.unwrap_err().to_string(),
        "the connection was closed"
    );
    assert_eq!(toxic.hits().closed, 1);
    toxic.remove();
    db.restart().await?;
    assert_eq!(db.proxy("gossip").address(), proxy.address());
    assert_eq!(ask(&db, "starts").await?, "2");
    Ok(())
}

#[robust_test]
async fn a_client_has_a_link_of_its_own(
    db: Server<Gossip>,
    #[proxied] one: Client<Gossip>,
    #[proxied] two: Client<Gossip>,
    direct: Client<Gossip>,
) -> Result {
    let another = Client::connect_another(&one).await?;
    let links = [&one, &two, &another].map(|client| Client::proxy(client, "gossip"));
    for link in &links {
        assert_eq!(link.server(), db.endpoint("gossip"));
    }
    links[0].reset_connections().await?;
    assert!(answer(&one, "starts").await.is_err());
    for client in [&two, &another, &direct] {
        assert_eq!(answer(client, "starts").await?, "1");
    }
    assert_eq!(links.each_ref().map(|link| link.traffic().connections), [1, 1, 1]);
    Ok(())
}

#[robust_test]
async fn members_reach_one_another_through_their_proxies(#[proxied] db: Cluster<Gossip>) -> Result {
    until_sees(&db.node(1), "1 2 3").await?;
    let second = db.node(2).proxy("gossip");
    second.down(Down::Refuse).await?;
    until_sees(&db.node(1), "1 3").await?;
    until_sees(&db.node(3), "1 3").await?;
    // Nobody reaches it, and it reaches them.
    until_sees(&db.node(2), "1 2 3").await?;
    second.up().await?;
    until_sees(&db.node(3), "1 2 3").await?;
    let fourth = db.add_node().await?;
    assert_eq!(fourth.endpoint("gossip"), fourth.proxy("gossip").address());
    Ok(())
}

/// What a fresh connection to this address is answered.
async fn ask_at(address: std::net::SocketAddr) -> Result<String> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    answer_of(&mut stream, "here").await
}

#[robust_test(isolation = "process", timeout = "60s")]
async fn connections_wait_their_turn_where_descriptors_are_short(#[proxied] db: Server<Gossip>) -> Result {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const CLIENTS: usize = 60;
    const SPARE: usize = 20;
    let proxy = db.proxy("gossip");
    let before = getrlimit(Resource::Nofile);
    // The clients have theirs, so that what is short is the proxy's.
    let mut sockets = Vec::new();
    for _ in 0..CLIENTS {
        sockets.push(TcpSocket::new_v4()?);
    }
    let open = std::fs::read_dir("/proc/self/fd")?.count();
    let few = Rlimit {
        current: Some((open + SPARE) as u64),
        ..before
    };
    setrlimit(Resource::Nofile, few)?;
    let mut clients = Vec::new();
    for socket in sockets {
        clients.push(BufReader::new(socket.connect(proxy.address()).await?));
    }
    eventually("the proxy has no more descriptors", SOON, || {
        std::future::ready(proxy.traffic().starved > 0)
    })
    .await?;
    assert!(proxy.traffic().open <= SPARE as u64, "{:?}", proxy.traffic());
    // Each that is served makes room for the next.
    for client in &mut clients {
        assert_eq!(answer_of(client, "here").await?, "1");
        client.shutdown().await?;
        rest_of(client).await?;
    }
    setrlimit(Resource::Nofile, before)?;
    assert_eq!(proxy.traffic().refused, 0, "{:?}", proxy.last_refusal());
    Ok(())
}

#[robust_test(timeout = "120s")]
async fn ten_thousand_connections_come_and_go(#[proxied] db: Server<Gossip>) -> Result {
    const AT_ONCE: usize = 100;
    const EACH: usize = 100;
    let proxy = db.proxy("gossip");
    let address = proxy.address();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        tasks.spawn(async move {
            for _ in 0..EACH {
                assert_eq!(ask_at(address).await?, "1");
            }
            Ok::<_, Error>(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    let traffic = proxy.traffic();
    assert_eq!(
        (traffic.connections, traffic.refused),
        ((AT_ONCE * EACH) as u64, 0),
        "{:?}",
        proxy.last_refusal()
    );
    eventually("the last of them is over", SOON, || {
        std::future::ready(proxy.traffic().open == 0)
    })
    .await?;
    Ok(())
}

#[robust_test(timeout = "120s")]
async fn a_partition_cuts_what_its_name_says_and_heals(
    #[proxied]
    #[nodes(5)]
    db: Cluster<Gossip>,
) -> Result {
    gossip::partitions_cut_what_their_names_say(&db).await
}

#[robust_test]
async fn a_partition_that_cannot_be_is_refused_with_its_reason(
    #[proxied] db: Cluster<Gossip>,
    bare: Cluster<Gossip>,
) -> Result {
    let refused =
        |cluster: &Cluster<Gossip>, partition| cluster.partition(partition).unwrap_err().to_string();
    assert_eq!(
        refused(&bare, Partition::Halves),
        "the nodes of cluster `bare` reach one another directly: write `#[proxied]` on the parameter, or `#[hosts]`"
    );
    assert_eq!(
        refused(&db, Partition::Isolate(4)),
        "cluster `db` has no node 4 to be partitioned; there are [1, 2, 3]"
    );
    assert_eq!(
        refused(&db, Partition::Ring),
        "the partition of cluster `db` (ring) cuts nothing: its nodes are [1, 2, 3]"
    );
    // Nobody asks anybody meanwhile.
    let inert = db.partition(Partition::Isolate(3))?;
    assert_eq!(
        inert.until_it_bites(millis(50)).await.unwrap_err().to_string(),
        "the partition of cluster `db` (node 3 isolated) was inert: no node said anything to one that it was cut from"
    );
    assert!(inert.heal().is_err());
    until_sees(&db.node(1), "1 2 3").await
}

#[robust_test(tags("fails"))]
async fn a_server_without_proxies_has_none(db: Server<Gossip>) {
    db.proxy("gossip");
}

#[robust_test(tags("fails"))]
async fn a_port_that_nobody_asked_for_has_no_proxy(#[proxied] db: Server<Gossip>) {
    db.proxy("http");
}

#[robust_test(tags("fails"))]
async fn a_client_without_proxies_has_none(_db: Server<Gossip>, client: Client<Gossip>) {
    Client::proxy(&client, "gossip");
}

#[robust_test(tags("fails"))]
async fn a_port_that_a_client_did_not_ask_for_has_no_proxy(
    _db: Server<Gossip>,
    #[proxied] client: Client<Gossip>,
) {
    Client::proxy(&client, "http");
}

robust_test::main!();
