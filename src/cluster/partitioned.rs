//! Partitions that hold: made by what is between the nodes of a cluster, until they are healed.
//!
//! The proxies of a cluster that is `#[proxied]` need no privilege: a proxy holds what one node sends to another, so nothing is
//! lost when it is healed. Where nodes are on hosts of their own (`#[hosts]`), packets are lost on their way, as in a cut cable.
//! Clients and operators reach every node all the while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Cluster, Partition};
use crate::clock::{found_within, human};
use crate::hosts::{AddedImpairment, ImpairmentError, Net};
use crate::network::{AddedToxic, Hits, Toxic};
use crate::server::Server;
use crate::service::Service;

/// A cluster could not be partitioned, or was not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// There is nothing between its nodes.
    #[error(
        "the nodes of cluster `{cluster}` reach one another directly: write `#[proxied]` on the parameter, or `#[hosts]`"
    )]
    NotProxied {
        /// The cluster's name.
        cluster: String,
    },
    /// It cannot be told which connections are a node's.
    #[error(
        "cluster `{cluster}` cannot be partitioned: connections of node `{node}` ({kind}) cannot be told from others, as it \
         {why}; take one node from all others with `Proxy::add(Toxic::stall())` or `Proxy::down` on its own proxy"
    )]
    Untold {
        /// The cluster's name.
        cluster: String,
        /// The node's name.
        node: String,
        /// The node's kind.
        kind: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// The net of its hosts has ended.
    #[error("cluster `{cluster}` cannot be partitioned")]
    Net {
        /// The cluster's name.
        cluster: String,
        /// What the net says.
        source: ImpairmentError,
    },
    /// A number is no node's.
    #[error("cluster `{cluster}` has no node {number} to be partitioned; there are {numbers:?}")]
    NoSuchNode {
        /// The cluster's name.
        cluster: String,
        /// What was asked for.
        number: usize,
        /// Those that there are.
        numbers: Vec<usize>,
    },
    /// It keeps nobody from anybody.
    #[error("the partition of cluster `{cluster}` ({partition}) cuts nothing: its nodes are {numbers:?}")]
    CutsNothing {
        /// The cluster's name.
        cluster: String,
        /// What was asked for.
        partition: String,
        /// The nodes that there are.
        numbers: Vec<usize>,
    },
    /// It held nothing, so whatever was seen meanwhile says nothing about partitions.
    #[error(
        "the partition of cluster `{cluster}` ({partition}) was inert: no node said anything to one that it was cut from"
    )]
    Inert {
        /// The cluster's name.
        cluster: String,
        /// What was asked for.
        partition: String,
    },
}

/// A partition that holds, until it is healed; with the case at the latest.
#[derive(Debug)]
#[must_use = "it goes on until it is healed"]
pub struct Partitioned {
    cluster: String,
    partition: String,
    means: Means,
}

/// What makes a partition.
#[derive(Debug)]
enum Means {
    /// Proxies hold bytes.
    Proxies(Vec<AddedToxic>),
    /// Packets between hosts are lost.
    Packets(AddedImpairment),
}

impl Partitioned {
    /// What it held so far, over all pairs of nodes; between hosts the bytes of the packets that were lost.
    pub fn hits(&self) -> Hits {
        match &self.means {
            Means::Proxies(toxics) => toxics.iter().map(AddedToxic::hits).sum(),
            Means::Packets(lost) => Hits {
                bytes: lost.hits().bytes,
                ..Hits::default()
            },
        }
    }

    /// Ends it, whatever it did.
    pub(crate) fn remove(&self) {
        match &self.means {
            Means::Proxies(toxics) => toxics.iter().for_each(AddedToxic::remove),
            Means::Packets(lost) => lost.remove(),
        }
    }

    /// Waits until it has held something.
    ///
    /// # Errors
    /// When it has not within `limit`.
    pub async fn until_it_bites(&self, limit: Duration) -> Result<(), PartitionError> {
        let bitten = found_within(limit, || self.hits().any().then_some(())).await;
        bitten.map_err(|_| {
            tracing::warn!(cluster = self.cluster, "inert for {}", human(limit));
            self.inert()
        })
    }

    /// Ends it: what was held goes on its way, and what was lost is sent again.
    ///
    /// # Errors
    /// When it has held nothing. It is healed then too.
    pub fn heal(self) -> Result<Hits, PartitionError> {
        self.remove();
        let hits = self.hits();
        tracing::info!(
            cluster = self.cluster,
            partition = self.partition,
            ?hits,
            "healed"
        );
        if hits.any() { Ok(hits) } else { Err(self.inert()) }
    }

    fn inert(&self) -> PartitionError {
        PartitionError::Inert {
            cluster: self.cluster.clone(),
            partition: self.partition.clone(),
        }
    }
}

impl<S: Service> Cluster<S> {
    /// Partitions its nodes, of a parameter that is `#[proxied]` or `#[hosts]`. Nodes that join later hear everybody; those that restart
    /// stay cut off.
    ///
    /// ```
    /// # use robust_test::prelude::*;
    /// # async fn example<Db: ClusterView>(db: Cluster<Db>) -> Result {
    /// let leader = db.until_settled(secs(10)).await?;
    /// let partition = db.partition(Partition::Isolate(leader.number()))?;
    /// // .. the others agree on another leader ..
    /// partition.heal()?;
    /// db.until_settled(secs(10)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When there are neither proxies nor hosts, when proxies cannot tell the nodes apart (those inside this process; systems other than Linux),
    /// when it names a node that there is not, and when it cuts nothing.
    pub fn partition(&self, partition: Partition) -> Result<Partitioned, PartitionError> {
        let nodes = self.nodes();
        let cluster = || self.name().to_owned();
        let numbers: Vec<usize> = nodes.iter().map(Server::number).collect();
        if let Some(number) = partition
            .named()
            .into_iter()
            .find(|number| !numbers.contains(number))
        {
            return Err(PartitionError::NoSuchNode {
                cluster: cluster(),
                number,
                numbers,
            });
        }
        let text = partition.to_string();
        let cuts = partition.cuts(&numbers);
        if cuts.is_empty() {
            return Err(PartitionError::CutsNothing {
                cluster: cluster(),
                partition: text,
                numbers,
            });
        }
        tracing::info!(cluster = self.name(), partition = text, "to be partitioned");
        let means = match &self.0.net {
            Some(net) => Means::Packets(self.lose(net, &nodes, &cuts)?),
            None => Means::Proxies(self.hold(&nodes, &cuts)?),
        };
        Ok(Partitioned {
            cluster: cluster(),
            partition: text,
            means,
        })
    }

    /// Has the packets lost that nodes send to those that they are cut off from.
    fn lose(
        &self,
        net: &Net,
        nodes: &[Server<S>],
        cuts: &BTreeSet<(usize, usize)>,
    ) -> Result<AddedImpairment, PartitionError> {
        let hosts: BTreeMap<usize, usize> = nodes
            .iter()
            .map(|node| (node.number(), node.host().number()))
            .collect();
        let ways = cuts.iter().map(|(from, to)| (hosts[from], hosts[to])).collect();
        net.cut_off(ways).map_err(|source| PartitionError::Net {
            cluster: self.name().to_owned(),
            source,
        })
    }

    /// Has the bytes held, by the proxies in front of its nodes, that nodes send to those that they are cut off from.
    fn hold(
        &self,
        nodes: &[Server<S>],
        cuts: &BTreeSet<(usize, usize)>,
    ) -> Result<Vec<AddedToxic>, PartitionError> {
        let cluster = || self.name().to_owned();
        let mut placed = BTreeMap::new();
        for node in nodes {
            let Some(fronts) = node.place().fronts() else {
                return Err(PartitionError::NotProxied { cluster: cluster() });
            };
            if let Some(why) = untold(node) {
                return Err(PartitionError::Untold {
                    cluster: cluster(),
                    node: node.name().to_owned(),
                    kind: node.kind(),
                    why,
                });
            }
            placed.insert(node.number(), (node.name(), fronts));
        }
        let mut toxics = Vec::new();
        for (from, to) in cuts {
            let ((from, its_proxies), (to, their_proxies)) = (placed[from], placed[to]);
            // What it says on connections that it made, and on those that it was asked for.
            toxics.extend(their_proxies.add(&Toxic::stall().upstream().of_node(from)));
            toxics.extend(its_proxies.add(&Toxic::stall().downstream().of_node(to)));
        }
        Ok(toxics)
    }
}

/// Why it cannot be told which connections are the node's.
fn untold<S: Service>(node: &Server<S>) -> Option<&'static str> {
    match node.place().leader() {
        _ if cfg!(not(target_os = "linux")) => Some("does not run on Linux"),
        _ if node.is_external() => Some("runs somewhere else"),
        None if node.is_running() => Some("runs inside the case's process"),
        _ => None,
    }
}
