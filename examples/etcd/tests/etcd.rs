//! Clusters of etcd under robust-test: members are killed, frozen, restarted, added, removed and damaged, with every
//! client.
//!
//! What a client can do is `EtcdClient`, in this package's library; the kinds below say how a member is started and
//! how a client connects. What etcd does against its own word is a `known_failure`, with its cause: such a case fails
//! when the defect is gone.
//!
//! Every wait is for a condition. Limits are far above what etcd needs, because elections take their time on a loaded
//! machine; what must *never* be is looked for in each answer, not waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_suite::{
    ClientError, Consistency, EtcdClient, EtcdSettings, Event, EventKind, Hash, Join, KeyValue, Lease,
    MemberId, Operator, etcdctl, gateway, member,
};
use futures_util::future::{join_all, try_join_all};
use robust_test::prelude::*;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use Consistency::{Linearizable, Serializable};

/// The service under test.
struct Etcd;

impl Service for Etcd {
    type Client = dyn EtcdClient;
    type Settings = EtcdSettings;
}

/// A member of a cluster, or a server on its own, which is a cluster of one.
#[robust_server(Etcd, program = "etcd", cluster, provides("hosts"))]
async fn etcd(node: &mut Node<Etcd>) -> Result<Instance> {
    let members = node.members().into_iter();
    let members: Vec<_> = members
        .map(|member| (member.name().to_owned(), member.address("peer")))
        .collect();
    let start = member::Start {
        name: node.name(),
        data: &node.data_dir()?,
        client: node.address("client"),
        peer: node.address("peer"),
        advertised_peer: node.advertised("peer"),
        members: &members,
        is_joining: node.is_joining(),
        settings: node.settings(),
    };
    let here = node.local_address("client");
    let healthy = move || async move { Operator::new(here).is_healthy().await };
    let command = node.command("etcd").args(start.arguments());
    // It answers nobody before it has told the cluster its name, which takes the quorum.
    let command = command
        .ready_when(tcp("client"))
        .ready_when(probe("/health says so", healthy));
    Ok(command.ready_within(SETTLED).spawn().await?)
}

/// JSON over HTTP.
#[robust_client(Etcd, name = "gateway")]
async fn connect_gateway(link: ClientLink) -> Result<Box<dyn EtcdClient>> {
    Ok(gateway::client(link.endpoint("client")))
}

/// The program, which speaks gRPC.
#[robust_client(Etcd, name = "etcdctl", program = "etcdctl")]
async fn connect_etcdctl(link: ClientLink) -> Result<Box<dyn EtcdClient>> {
    Ok(etcdctl::client(link.program()?, link.endpoint("client")))
}

impl AdminView for Etcd {
    type Admin = Operator;

    async fn admin(link: NodeLink) -> Result<Operator> {
        Ok(Operator::new(link.endpoint("client")))
    }
}

impl ClusterView for Etcd {
    /// Those on its list of members that it has a connection to at present, and itself.
    async fn sees(link: NodeLink) -> Result<BTreeSet<String>> {
        let operator = Self::admin(link).await?;
        let own = operator.status().await?.id;
        let connected = operator.connected().await?;
        let mut seen = operator.members().await?;
        seen.retain(|member| member.id == own || connected.contains(&member.id));
        Ok(seen.into_iter().map(|member| member.name).collect())
    }

    async fn leader(link: NodeLink) -> Result<Option<String>> {
        let operator = Self::admin(link).await?;
        let Some(leader) = operator.status().await?.leader else {
            return Ok(None);
        };
        let mut members = operator.members().await?.into_iter();
        Ok(members
            .find(|member| member.id == leader)
            .map(|member| member.name))
    }
}

/// How long the members may take to agree on something.
const SETTLED: Duration = secs(20);
/// How long a change may take to arrive.
const SOON: Duration = secs(10);

/// A client of the same kind, of this member.
async fn at(client: &Client<Etcd>, node: &Server<Etcd>) -> Result<Client<Etcd>> {
    Ok(Client::connect_to(client, node).await?)
}

/// A client of each member, by number.
async fn at_each(client: &Client<Etcd>, nodes: &[Server<Etcd>]) -> Result<Vec<Client<Etcd>>> {
    Ok(try_join_all(nodes.iter().map(|node| Client::connect_to(client, node))).await?)
}

/// The nodes but this one.
fn others(db: &Cluster<Etcd>, but: &Server<Etcd>) -> Vec<Server<Etcd>> {
    let mut nodes = db.nodes();
    nodes.retain(|node| node.number() != but.number());
    nodes
}

async fn id_of(node: &Server<Etcd>) -> Result<MemberId> {
    Ok(node.admin().await?.status().await?.id)
}

/// Waits until all of `nodes` take the same one of them for the leader, whatever the rest of the cluster thinks.
async fn leader_among(nodes: &[Server<Etcd>]) -> Result<Server<Etcd>> {
    let index = eventually("they agree on one of them", SETTLED, || async {
        let (mut ids, mut leaders) = (BTreeMap::new(), BTreeSet::new());
        for (index, node) in nodes.iter().enumerate() {
            let status = node.admin().await?.status().await?;
            ids.insert(status.id, index);
            leaders.insert(status.leader);
        }
        let agreed = match leaders.pop_first() {
            Some(Some(leader)) if leaders.is_empty() => ids.get(&leader).copied(),
            _ => None,
        };
        Ok::<_, Error>(agreed)
    });
    Ok(nodes[index.await?].clone())
}

/// Makes `to` the leader of `nodes`.
async fn hand_over(nodes: &[Server<Etcd>], to: &Server<Etcd>) -> Result {
    let id = id_of(to).await?;
    eventually("the lead is handed over", SETTLED, || async {
        let leader = leader_among(nodes).await?;
        if leader.name() != to.name() {
            leader.admin().await?.move_leader(id).await?;
        }
        Ok::<_, Error>(leader_among(nodes).await?.name() == to.name())
    })
    .await?;
    Ok(())
}

/// Waits until all that runs has stored the same.
async fn until_equal(db: &Cluster<Etcd>) -> Result<Hash> {
    let nodes = db.running();
    let hash = eventually("all have the same hash at the same revision", SOON, || async {
        let mut hashes = Vec::new();
        for node in &nodes {
            hashes.push(node.admin().await?.hash().await?);
        }
        match hashes.iter().all(|hash| *hash == hashes[0]) {
            true => Ok(Done(hashes[0])),
            false => Err(error(format!("{hashes:?}"))),
        }
    });
    Ok(hash.await?)
}

/// Waits until a write is acknowledged; the attempts before may have been done too, with the same value.
async fn put_at_last(client: &Client<Etcd>, key: &str, value: &str) -> Result {
    eventually(format!("{key} is written"), SETTLED, || async {
        client.put(key, value).await.map(Done)
    })
    .await?;
    Ok(())
}

/// The value at `key`, fresh, once the member answers.
async fn fresh(client: &Client<Etcd>, key: &str) -> Result<Option<String>> {
    let read = || async { client.get(key, Linearizable).await.map(Done) };
    let found = eventually(format!("{key} is read"), SETTLED, read).await?;
    Ok(found.map(|found| found.value))
}

/// A writer in the background, which writes each key once and goes to the next member when one fails.
struct Load {
    stop: Arc<AtomicBool>,
    /// One task, which does not outlive this.
    task: JoinSet<Ledger>,
}

/// What a [`Load`] was told.
#[derive(Debug, Default)]
struct Ledger {
    /// Key and value of what was acknowledged.
    acknowledged: BTreeMap<String, String>,
    /// How many writes failed, which may have been done.
    failed: usize,
    longest_silence: Duration,
}

impl Load {
    /// How long one write may take before the next member is asked.
    const ATTEMPT: Duration = secs(2);
    const PAUSE: Duration = millis(10);

    fn on(clients: Vec<Client<Etcd>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut task = JoinSet::new();
        let stopped = Arc::clone(&stop);
        task.spawn(async move {
            let mut ledger = Ledger::default();
            let mut last = Instant::now();
            let mut member = 0;
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                let (key, value) = (format!("load/{number:06}"), format!("value {number}"));
                number += 1;
                let written = timeout(Self::ATTEMPT, clients[member].put(&key, &value)).await;
                if let Ok(Ok(_)) = written {
                    ledger.acknowledged.insert(key, value);
                    ledger.longest_silence = ledger.longest_silence.max(last.elapsed());
                    last = Instant::now();
                } else {
                    ledger.failed += 1;
                    member = (member + 1) % clients.len();
                }
                // Not a wait for something: the load is bounded, for the machine's sake.
                tokio::time::sleep(Self::PAUSE).await;
            }
            ledger.longest_silence = ledger.longest_silence.max(last.elapsed());
            ledger
        });
        Self { stop, task }
    }

    /// On each member, once some of it can be read. A write by `etcdctl` is a process, which takes its time on a machine with
    /// many.
    async fn begun(db: &Cluster<Etcd>, client: &Client<Etcd>) -> Result<Self> {
        let load = Self::on(at_each(client, &db.nodes()).await?);
        eventually("some of the load is there", SETTLED, || async {
            let found = client.list("load/", Serializable).await?;
            Ok::<_, ClientError>(found.len() >= 5)
        })
        .await?;
        Ok(load)
    }

    async fn end(mut self) -> Result<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.task.join_next().await.context("the writer runs")?;
        Ok(ended?)
    }
}

impl Ledger {
    /// That everything acknowledged is read from `client`, with its value.
    async fn is_kept(&self, client: &Client<Etcd>) -> Result {
        assert!(
            !self.acknowledged.is_empty(),
            "nothing was acknowledged: {self:?}"
        );
        let read = || async { client.list("load/", Linearizable).await };
        let found: Vec<KeyValue> = eventually("everything is read", SETTLED, read).await?;
        let found: BTreeMap<_, _> = found.into_iter().map(|found| (found.key, found.value)).collect();
        let server = Client::link(client).server_name();
        for (key, value) in &self.acknowledged {
            assert_eq!(
                found.get(key),
                Some(value),
                "{key} was acknowledged; read from {server}"
            );
        }
        Ok(())
    }
}

/// That everything acknowledged is read from each member, and that all have stored the same.
async fn is_kept_by_all(db: &Cluster<Etcd>, client: &Client<Etcd>, ledger: &Ledger) -> Result {
    for client in at_each(client, &db.nodes()).await? {
        ledger.is_kept(&client).await?;
    }
    until_equal(db).await?;
    Ok(())
}

/// That each member answers a fresh read of `key` with `value`.
async fn all_have(db: &Cluster<Etcd>, client: &Client<Etcd>, key: &str, value: &str) -> Result {
    for client in at_each(client, &db.nodes()).await? {
        let server = Client::link(&client).server_name();
        assert_eq!(
            fresh(&client, key).await?.as_deref(),
            Some(value),
            "read from {server}"
        );
    }
    Ok(())
}

#[path = "etcd/agreement.rs"]
mod agreement;
#[path = "etcd/clocks.rs"]
mod clocks;
#[path = "etcd/concurrency.rs"]
mod concurrency;
#[path = "etcd/data.rs"]
mod data;
#[path = "etcd/disks.rs"]
mod disks;
#[path = "etcd/hostile.rs"]
mod hostile;
#[path = "etcd/hosts.rs"]
mod hosts;
#[path = "etcd/leases.rs"]
mod leases;
#[path = "etcd/membership.rs"]
mod membership;
#[path = "etcd/one_member_down.rs"]
mod one_member_down;
#[path = "etcd/partitions.rs"]
mod partitions;
#[path = "etcd/pauses.rs"]
mod pauses;
#[path = "etcd/quorum.rs"]
mod quorum;
#[path = "etcd/watches.rs"]
mod watches;

robust_test::main!();
