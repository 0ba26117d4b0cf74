//! Key-value servers and their clients under robust-test: every server with every client.
//!
//! What a client can do is `KvClient`, in this package's library; the kinds below say how a server is started and
//! how a client connects. Defects of the systems under test are `known_failure`s, each with its cause: such a case
//! fails when the defect is gone.
//!
//! "Nothing else arrives" is never shown by waiting: a last message is sent, and must come next.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use kv_suite::redis_server::{self, APP, OPERATOR, Placed};
use kv_suite::{
    ClientError, ConnectOptions, KvClient, KvSettings, Operator, Persistence, Role, fred_rs, redis_rs,
};
use robust_test::prelude::*;
use tokio::net::TcpListener;

#[path = "kv/blocking.rs"]
mod blocking;
#[path = "kv/clocks.rs"]
mod clocks;
#[path = "kv/connections.rs"]
mod connections;
#[path = "kv/hostile.rs"]
mod hostile;
#[path = "kv/memory.rs"]
mod memory;
#[path = "kv/persistence.rs"]
mod persistence;
#[path = "kv/power.rs"]
mod power;
#[path = "kv/protocol.rs"]
mod protocol;
#[path = "kv/pubsub.rs"]
mod pubsub;
#[path = "kv/raw.rs"]
mod raw;
#[path = "kv/replication.rs"]
mod replication;
#[path = "kv/restarts.rs"]
mod restarts;
#[path = "kv/secured.rs"]
mod secured;
#[path = "kv/values.rs"]
mod values;

/// The service under test.
struct Kv;

impl Service for Kv {
    type Client = dyn KvClient;
    type Settings = KvSettings;
}

/// The crate `mini-redis` in process: GET, SET, PUBLISH and SUBSCRIBE in memory.
#[robust_server(Kv, name = "mini-redis")]
async fn start_mini_redis(node: &mut Node<Kv>) -> Result<Instance> {
    let address = node.address("redis");
    let serve = move |stopping: Stopping| async move {
        let listener = TcpListener::bind(address).await?;
        mini_redis::server::run(listener, async move { stopping.requested().await }).await
    };
    Ok(node.task(serve).ready_when(tcp("redis")).spawn().await?)
}

/// `redis-server`; in a cluster a primary and its replicas.
#[robust_server(
    Kv,
    name = "redis",
    program = "redis-server",
    cluster = "serial",
    provides(
        "ping-and-info",
        "persistence",
        "pipeline",
        "blocking",
        "counters",
        "process",
        "many-connections",
        "tls",
        "acl",
        "hosts"
    ),
    variants(
        persistence = ["rdb", "none", "aof-everysec", "aof-always"],
        tls = ["off", "on"],
        user = ["default", "acl"]
    ),
    shared(reset_redis)
)]
async fn start_redis(node: &mut Node<Kv>) -> Result<Instance> {
    let settings = node.settings();
    let is_primary = node.number() == settings.primary;
    let members = node.members();
    let primary = members.iter().find(|member| member.number() == settings.primary);
    let tls = match node.variant("tls") {
        "on" => {
            let files = node.tls()?;
            let files = redis_server::TlsFiles {
                authority: files.authority,
                certificate: files.certificate,
                key: files.key,
            };
            Some((node.port("redis-tls"), files))
        }
        _ => None,
    };
    let placed = Placed {
        name: node.name(),
        address: node.address("redis"),
        tls,
        folder: &node.data_dir()?,
        primary: (!is_primary)
            .then(|| primary.map(|member| member.address("redis")))
            .flatten(),
        persistence: match settings.persistence {
            Some(asked_for) => asked_for,
            None => Persistence::of_variant(node.variant("persistence")).map_err(error)?,
        },
        login: node.variant("user") == "acl",
    };
    let config = node.write_file("redis.conf", redis_server::render(&placed, settings))?;
    let here = node.local_address("redis");
    Ok(node
        .command("redis-server")
        .arg(config)
        .ready_when(tcp("redis"))
        .ready_when(log_line("Ready to accept connections"))
        .healthy_when(probe("PING is answered", move || async move {
            operator(here).await?.run("PING", &[]).await?;
            Ok::<_, Error>(())
        }))
        .fail_on_log("a crash report of redis", "REDIS BUG REPORT START")
        .spawn()
        .await?)
}

/// Without data, clients and statistics, as a server that has just started.
async fn reset_redis(node: NodeLink) -> Result {
    let operator = Kv::admin(node).await?;
    for command in [
        ("CLIENT", &["KILL", "TYPE", "normal", "SKIPME", "yes"][..]),
        ("CLIENT", &["KILL", "TYPE", "pubsub"]),
        ("FLUSHALL", &[]),
        ("SCRIPT", &["FLUSH"]),
        ("CONFIG", &["RESETSTAT"]),
    ] {
        operator.run(command.0, command.1).await?;
    }
    // It closes their connections when it comes to them.
    eventually("no client of another case is there", secs(5), || async {
        Ok::<_, Error>(operator.clients().await?.is_empty())
    })
    .await?;
    Ok(())
}

/// How a client of any kind reaches its server.
fn options(link: &ClientLink) -> Result<ConnectOptions> {
    if link.server_kind() == "mini-redis" {
        return Ok(ConnectOptions::new(link.endpoint("redis")));
    }
    let options = match link.server_variant("tls") {
        "on" => ConnectOptions::new(link.endpoint("redis-tls")).authority(link.tls()?.authority),
        _ => ConnectOptions::new(link.endpoint("redis")),
    };
    Ok(match link.server_variant("user") {
        "acl" => options.user(APP.0, APP.1),
        _ => options,
    })
}

#[robust_client(Kv, name = "redis-rs")]
async fn connect_redis(link: ClientLink) -> Result<Box<dyn KvClient>> {
    Ok(redis_rs::connect(options(&link)?).await?)
}

/// It greets every server with PING and INFO, and does not connect without their answers.
#[robust_client(Kv, name = "fred", requires("ping-and-info"))]
async fn connect_fred(link: ClientLink) -> Result<Box<dyn KvClient>> {
    Ok(fred_rs::connect(options(&link)?).await?)
}

async fn operator(address: SocketAddr) -> Result<Operator> {
    let (name, password) = OPERATOR;
    Ok(Operator::connect(ConnectOptions::new(address).user(name, password)).await?)
}

impl AdminView for Kv {
    type Admin = Operator;

    async fn admin(link: NodeLink) -> Result<Operator> {
        operator(link.endpoint("redis")).await
    }
}

/// What INFO says of the replication. A replica knows its primary alone, and asks it for the others.
impl ClusterView for Kv {
    async fn sees(link: NodeLink) -> Result<BTreeSet<String>> {
        let here = operator(link.endpoint("redis")).await?;
        let mut names = BTreeSet::from([here.name().await?]);
        let replicas = match here.role().await? {
            Role::Primary { replicas } => replicas,
            Role::Replica { in_step: false, .. } => return Ok(names),
            Role::Replica { primary, .. } => {
                let there = operator(local(primary)).await?;
                names.insert(there.name().await?);
                match there.role().await? {
                    Role::Primary { replicas } => replicas,
                    Role::Replica { .. } => Vec::new(),
                }
            }
        };
        for port in replicas {
            names.insert(operator(local(port)).await?.name().await?);
        }
        Ok(names)
    }

    async fn leader(link: NodeLink) -> Result<Option<String>> {
        let here = operator(link.endpoint("redis")).await?;
        match here.role().await? {
            Role::Primary { .. } => Ok(Some(here.name().await?)),
            Role::Replica { primary, .. } => Ok(Some(operator(local(primary)).await?.name().await?)),
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// How long what happens at once may take on a busy machine.
const SOON: Duration = secs(10);

/// A restart with other settings, before a scenario begins.
async fn set_up(server: &Server<Kv>, settings: KvSettings) -> Result {
    server.restarting().settings(settings).run().await?;
    Ok(())
}

/// The settings of a server that keeps its data so.
fn kept(persistence: Persistence) -> KvSettings {
    KvSettings {
        persistence: Some(persistence),
        ..KvSettings::default()
    }
}

/// Waits until a client has come back to its server.
async fn until_answered(client: &dyn KvClient) -> Result {
    eventually("the server answers", SOON, || async {
        client.get("no such key").await.map(drop)
    })
    .await?;
    Ok(())
}

robust_test::main!();
