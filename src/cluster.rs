//! Clusters: several nodes of one kind that know one another, as one parameter.
//!
//! All nodes are prepared before any starts, so that each start function can name the others
//! ([`Node::members`](crate::node::Node::members)). A node of a cluster is a [`Server`]; here is what is done to all
//! of them, and what they say about one another.

mod mixed;
mod opinion;
mod param;
mod partition;
mod partitioned;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use robust_test_harness::case::Case;
use robust_test_harness::error::{Error, error};
use robust_test_harness::registry::Site;

use crate::clock::Deadline;
use crate::hosts::Net;
use crate::instance::{KillError, StopError};
use crate::member::Members;
use crate::server::{Restart, RestartError, Server, Unhealthy};
use crate::service::{Cause, ServerKind, Service, StartOrder};

pub use opinion::Unsettled;
pub use partition::Partition;
pub use partitioned::{PartitionError, Partitioned};

/// A cluster of nodes of service `S`, as a parameter: `#[nodes(3)] db: Cluster<Db>` runs the scenario with every
/// kind of server of `Db` that can form clusters (`#[robust_server(Db, cluster)]`). Without `#[nodes(..)]` it has 3
/// nodes; `#[nodes(1, 3, 5)]` runs it with each of these numbers, which is then a part of the case's name
/// (`[db=etcd,db.nodes=3]`). `#[mixed("redis", "valkey")]` makes each node one of these kinds, which is a variant of
/// the node: drawn, or as `--variants` and `--variant db-1.kind=valkey` say. Clones share the cluster.
///
/// Nodes have numbers from 1 on, and the names `db-1`, `db-2`, ..; a number is never used twice.
pub struct Cluster<S: Service>(Arc<Inner<S>>);

struct Inner<S: Service> {
    case: Case,
    name: String,
    /// Those of which its nodes are, one where it is not mixed; never empty.
    kinds: Vec<&'static ServerKind>,
    /// As in the case's name.
    label: String,
    order: StartOrder,
    site: &'static Site,
    members: Members,
    /// Where its nodes are, of a cluster that is `#[hosts]`.
    net: Option<Net>,
    nodes: Mutex<Nodes<S>>,
}

struct Nodes<S: Service> {
    /// By number.
    all: BTreeMap<usize, Server<S>>,
    /// The number of the next one.
    next: usize,
}

/// Something that was done to several nodes failed for some of them.
#[derive(Debug, thiserror::Error)]
#[error("{what} failed for {} of {of} nodes of cluster `{cluster}`", failed.len())]
pub struct ClusterError<E: std::error::Error + 'static> {
    /// What was done: `stop`.
    pub what: &'static str,
    /// The cluster's name.
    pub cluster: String,
    /// To how many nodes.
    pub of: usize,
    /// Node and error, by the node's number; not empty.
    pub failed: Vec<(String, E)>,
    /// The first of them, for the chain of causes.
    #[source]
    first: Cause,
}

/// A node could not be added to a cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// It could not be prepared.
    #[error("no node can be added to cluster `{cluster}`")]
    Prepare {
        /// The cluster's name.
        cluster: String,
        /// Why.
        #[source]
        cause: Cause,
    },
    /// It was prepared and does not start.
    #[error(transparent)]
    Start(#[from] RestartError),
}

/// A rolling restart stopped half-way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RollingError {
    /// A node does not come back.
    #[error(transparent)]
    Restart(#[from] RestartError),
    /// A node came back and is not healthy.
    #[error(transparent)]
    Unhealthy(#[from] Unhealthy),
}

impl<S: Service> Cluster<S> {
    /// The name of its nodes' kind, as in the case's name: `a+b` where they are of several
    /// ([`Server::kind`] tells that of each).
    pub fn kind(&self) -> &str {
        &self.0.label
    }

    /// Its name: the parameter's.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The net that its nodes' hosts are in, where the parameter is `#[hosts]`: to lose, delay or damage what they send one
    /// another, or to add hosts to.
    ///
    /// # Panics
    /// When the parameter is not `#[hosts]`.
    #[track_caller]
    pub fn net(&self) -> &Net {
        match &self.0.net {
            Some(net) => net,
            None => panic!(
                "the nodes of cluster `{}` are on no hosts of their own: write `#[hosts]` on the parameter",
                self.name()
            ),
        }
    }

    pub(crate) fn case(&self) -> &Case {
        &self.0.case
    }

    fn state(&self) -> MutexGuard<'_, Nodes<S>> {
        self.0.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All its nodes, by number; also those that are down.
    pub fn nodes(&self) -> Vec<Server<S>> {
        self.state().all.values().cloned().collect()
    }

    /// The nodes that run, by number; also paused ones.
    pub fn running(&self) -> Vec<Server<S>> {
        let mut nodes = self.nodes();
        nodes.retain(Server::is_running);
        nodes
    }

    /// The nodes that run and are not frozen, by number: those that can say something.
    pub fn awake(&self) -> Vec<Server<S>> {
        let mut nodes = self.running();
        nodes.retain(|node| !node.is_paused());
        nodes
    }

    /// The node with this number, from 1 on.
    ///
    /// # Panics
    /// When the cluster has no such node.
    #[track_caller]
    pub fn node(&self, number: usize) -> Server<S> {
        let state = self.state();
        match state.all.get(&number) {
            Some(node) => node.clone(),
            None => {
                let numbers: Vec<usize> = state.all.keys().copied().collect();
                drop(state);
                panic!(
                    "cluster `{}` has no node {number}; there are {numbers:?}",
                    self.name()
                )
            }
        }
    }

    /// Prepares one more node, which joins when it is started ([`Server::start`]): its addresses are known, so that
    /// the others can be told of it before. It has ports of the names that the first node has.
    ///
    /// # Errors
    /// When its settings or its folder cannot be made.
    pub fn prepare_node(&self) -> Result<Server<S>, AddError> {
        self.prepare_next().map_err(|error| AddError::Prepare {
            cluster: self.name().to_owned(),
            cause: Cause(error),
        })
    }

    /// The same, with the error as it is: it may be a skip.
    fn prepare_next(&self) -> Result<Server<S>, Error> {
        let mut state = self.state();
        let number = state.next;
        let node = self.prepare_numbered(number)?;
        state.next += 1;
        state.all.insert(number, node.clone());
        Ok(node)
    }

    fn prepare_numbered(&self, number: usize) -> Result<Server<S>, Error> {
        let inner = &*self.0;
        let name = format!("{}-{number}", inner.name);
        let variants = inner.case.variants(inner.site.name, u32::try_from(number).ok());
        let kind = mixed::kind_of(&inner.kinds, &variants).ok_or_else(|| error("it is of no kind"))?;
        let first = inner.members.places().into_iter().next();
        let node = Server::prepare(
            &inner.case,
            kind,
            inner.site,
            (name, number),
            variants,
            &inner.members,
            inner.net.as_ref(),
        )?;
        if let Some(first) = first {
            node.place().lease_like(&first)?;
        }
        Ok(node)
    }

    /// Adds a node and starts it.
    ///
    /// # Errors
    /// As [`Cluster::prepare_node`], and when it does not start.
    pub async fn add_node(&self) -> Result<Server<S>, AddError> {
        let node = self.prepare_node()?;
        node.start().await?;
        Ok(node)
    }

    /// Stops the node with this number, and counts it among the members no longer. The service is told by the
    /// scenario, before.
    ///
    /// # Errors
    /// As [`Server::stop`]; it is no member then either.
    ///
    /// # Panics
    /// When the cluster has no such node.
    #[track_caller]
    pub fn remove_node(&self, number: usize) -> impl Future<Output = Result<(), StopError>> + use<S> {
        let node = self.node(number);
        self.state().all.remove(&number);
        self.0.members.remove(number);
        async move { node.stop().await }
    }

    /// Starts every node that is down: at once, or one after another where its kind says `cluster = "serial"`.
    ///
    /// # Errors
    /// With the nodes that do not start.
    pub async fn start(&self) -> Result<(), ClusterError<RestartError>> {
        let nodes = self.nodes();
        let results = self.start_each(&nodes, Server::start).await;
        self.all_ok("start", &nodes, results)
    }

    /// Starts the nodes as their kind wants it: all of them at once, or one after another up to the first that does not.
    async fn start_each<'a, E, Started>(
        &self,
        nodes: &'a [Server<S>],
        start: impl Fn(&'a Server<S>) -> Started,
    ) -> Vec<Result<(), E>>
    where
        Started: Future<Output = Result<(), E>>,
    {
        match self.0.order {
            StartOrder::Parallel => join_all(nodes.iter().map(start)).await,
            StartOrder::Serial => {
                let mut results = Vec::new();
                for node in nodes {
                    results.push(start(node).await);
                    if results.last().is_some_and(Result::is_err) {
                        break;
                    }
                }
                results
            }
        }
    }

    /// Stops every node: first what its kind does before a stop ([`crate::launch::Launch::quiesce`]), for all of
    /// them; then all are asked to stop at once.
    ///
    /// # Errors
    /// With the nodes that did not stop in an orderly way.
    pub async fn stop(&self) -> Result<(), ClusterError<StopError>> {
        let nodes = self.nodes();
        let quiesced = join_all(nodes.iter().map(Server::quiesce)).await;
        let stopped = join_all(nodes.iter().map(Server::stop_quiesced)).await;
        let results = quiesced.into_iter().zip(stopped);
        self.all_ok(
            "stop",
            &nodes,
            results.map(|(quiesced, stopped)| quiesced.and(stopped)).collect(),
        )
    }

    /// Kills every node, all at the same time.
    ///
    /// # Errors
    /// With the nodes that had died before, or do not end.
    pub async fn kill(&self) -> Result<(), ClusterError<KillError>> {
        let nodes = self.nodes();
        let results = join_all(nodes.iter().map(Server::kill)).await;
        self.all_ok("kill", &nodes, results)
    }

    /// Stops every node, then starts every node.
    ///
    /// # Errors
    /// With the nodes that did not stop, or do not start.
    pub async fn restart(&self) -> Result<(), ClusterError<RestartError>> {
        self.stop().await.map_err(|error| ClusterError {
            what: error.what,
            cluster: error.cluster,
            of: error.of,
            failed: error
                .failed
                .into_iter()
                .map(|(node, error)| (node, error.into()))
                .collect(),
            first: error.first,
        })?;
        self.start().await
    }

    /// Restarts the nodes that run, one after another, each when the one before is healthy again, within `limit`.
    ///
    /// # Errors
    /// With the first node that does not come back.
    pub async fn rolling_restart(&self, limit: Duration) -> Result<(), RollingError> {
        self.rolling_restart_with(limit, |restart| restart).await
    }

    /// The same where something changes: its settings, its version, its files.
    ///
    /// # Errors
    /// With the first node that does not come back.
    pub async fn rolling_restart_with(
        &self,
        limit: Duration,
        mut change: impl FnMut(Restart<S>) -> Restart<S>,
    ) -> Result<(), RollingError> {
        for node in self.running() {
            change(node.restarting()).run().await?;
            node.until_healthy(limit).await?;
        }
        Ok(())
    }

    /// Waits until every node that runs is healthy.
    ///
    /// # Errors
    /// With the first node that is not within `limit`.
    pub async fn until_healthy(&self, limit: Duration) -> Result<(), Unhealthy> {
        let deadline = Deadline::after(limit);
        for node in self.running() {
            let healthy = node.until_healthy(deadline.left()).await;
            healthy.map_err(|error| Unhealthy {
                within: limit,
                ..error
            })?;
        }
        Ok(())
    }

    fn all_ok<E: std::error::Error + Send + Sync + 'static>(
        &self,
        what: &'static str,
        nodes: &[Server<S>],
        results: Vec<Result<(), E>>,
    ) -> Result<(), ClusterError<E>> {
        let named = nodes.iter().zip(results);
        let failed: Vec<(String, E)> = named
            .filter_map(|(node, result)| Some((node.name().to_owned(), result.err()?)))
            .collect();
        let Some((_, first)) = failed.first() else {
            return Ok(());
        };
        Err(ClusterError {
            what,
            cluster: self.name().to_owned(),
            of: nodes.len(),
            first: Cause(robust_test_harness::error::error(whole(first))),
            failed,
        })
    }
}

/// An error with its causes, on one line.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

impl<S: Service> Clone for Cluster<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Service> fmt::Debug for Cluster<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("name", &self.name())
            .field("kind", &self.kind())
            .field("nodes", &self.nodes())
            .finish()
    }
}
