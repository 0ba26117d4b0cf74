//! Partitions: which nodes of a cluster do not hear which others, until that is healed.
//!
//! They are made by the proxies of a cluster that is `#[proxied]`, and need no privilege: a proxy holds what one node sends
//! to another, so nothing is lost when it is healed. Where nodes are on hosts of their own (`#[hosts]`), packets are lost on
//! their way, as in a cut cable. Clients and operators reach every node all the while.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::Cluster;
use crate::clock::{found_within, human};
use crate::hosts::{AddedImpairment, ImpairmentError, Net};
use crate::network::{AddedToxic, Hits, Toxic};
use crate::server::Server;
use crate::service::Service;

/// Which nodes do not hear which others, by their numbers. The names are Jepsen's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Partition {
    /// One node and all others do not hear one another.
    Isolate(usize),
    /// Nodes of different groups do not hear one another; those of no group hear all and are heard by all.
    Groups(Vec<Vec<usize>>),
    /// The nodes in two groups by number, the first one the smaller where they are not equal.
    Halves,
    /// Each node hears its two neighbours alone, by number: of five nodes every one sees a majority, and no two see the same
    /// one. Of three and fewer all are neighbours.
    Ring,
    /// What the first says, the second does not hear; the other way all is well.
    OneWay {
        /// They are not heard.
        from: Vec<usize>,
        /// They do not hear.
        to: Vec<usize>,
    },
}

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

impl Partition {
    /// Who does not hear whom, among the nodes with these numbers: from, to.
    pub(crate) fn cuts(&self, numbers: &[usize]) -> BTreeSet<(usize, usize)> {
        let (half, _) = numbers.split_at(numbers.len() / 2);
        let place = |number: usize| numbers.iter().position(|other| *other == number);
        let group =
            |groups: &[Vec<usize>], number: usize| groups.iter().position(|group| group.contains(&number));
        let is_cut = |from: usize, to: usize| match self {
            Self::Isolate(one) => (from == *one) != (to == *one),
            Self::Groups(groups) => match (group(groups, from), group(groups, to)) {
                (Some(from), Some(to)) => from != to,
                _ => false,
            },
            Self::Halves => half.contains(&from) != half.contains(&to),
            Self::Ring => match (place(from), place(to)) {
                (Some(from), Some(to)) => {
                    !matches!(from.abs_diff(to), 0 | 1) && from.abs_diff(to) + 1 != numbers.len()
                }
                _ => false,
            },
            Self::OneWay {
                from: silent,
                to: deaf,
            } => from != to && silent.contains(&from) && deaf.contains(&to),
        };
        let pairs = numbers
            .iter()
            .flat_map(|from| numbers.iter().map(|to| (*from, *to)));
        pairs.filter(|(from, to)| is_cut(*from, *to)).collect()
    }

    /// Those of these nodes that are not in the largest group of which everybody hears and is heard, by way of others.
    pub(crate) fn cut_off(&self, numbers: &[usize]) -> BTreeSet<usize> {
        let cuts = self.cuts(numbers);
        let mut left: BTreeSet<usize> = numbers.iter().copied().collect();
        let mut largest = BTreeSet::new();
        while let Some(first) = left.pop_first() {
            let (mut group, mut work) = (BTreeSet::from([first]), vec![first]);
            while let Some(one) = work.pop() {
                let near = |other: &usize| !cuts.contains(&(one, *other)) && !cuts.contains(&(*other, one));
                let more: Vec<usize> = left.iter().copied().filter(near).collect();
                for other in more {
                    left.remove(&other);
                    group.insert(other);
                    work.push(other);
                }
            }
            if group.len() > largest.len() {
                largest = group;
            }
        }
        numbers
            .iter()
            .copied()
            .filter(|number| !largest.contains(number))
            .collect()
    }

    /// The numbers that it names.
    pub(crate) fn named(&self) -> Vec<usize> {
        match self {
            Self::Isolate(one) => vec![*one],
            Self::Groups(groups) => groups.concat(),
            Self::OneWay { from, to } => [&from[..], to].concat(),
            Self::Halves | Self::Ring => Vec::new(),
        }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Isolate(one) => write!(f, "node {one} isolated"),
            Self::Groups(groups) => write!(f, "groups {groups:?}"),
            Self::Halves => f.write_str("halves"),
            Self::Ring => f.write_str("ring"),
            Self::OneWay { from, to } => write!(f, "{to:?} do not hear {from:?}"),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(partition: &Partition, nodes: usize) -> Vec<(usize, usize)> {
        let numbers: Vec<usize> = (1..=nodes).collect();
        partition.cuts(&numbers).into_iter().collect()
    }

    #[test]
    fn who_is_cut_off_is_not_in_the_largest_group() {
        let cut_off = |partition: Partition, nodes: usize| -> Vec<usize> {
            let numbers: Vec<usize> = (1..=nodes).collect();
            partition.cut_off(&numbers).into_iter().collect()
        };
        assert_eq!(cut_off(Partition::Isolate(2), 3), [2]);
        assert_eq!(cut_off(Partition::Halves, 5), [1, 2]);
        assert_eq!(cut_off(Partition::Halves, 4), [3, 4]);
        assert!(cut_off(Partition::Ring, 5).is_empty());
        let one_way = Partition::OneWay {
            from: vec![3],
            to: vec![1, 2],
        };
        assert_eq!(cut_off(one_way, 3), [3]);
        assert!(cut_off(Partition::Groups(vec![vec![1], vec![2]]), 3).is_empty());
    }

    #[test]
    fn each_partition_cuts_what_its_name_says() {
        assert_eq!(cuts(&Partition::Isolate(2), 3), [(1, 2), (2, 1), (2, 3), (3, 2)]);
        let groups = Partition::Groups(vec![vec![1], vec![3]]);
        assert_eq!(cuts(&groups, 4), [(1, 3), (3, 1)]);
        assert_eq!(cuts(&Partition::Halves, 3), [(1, 2), (1, 3), (2, 1), (3, 1)]);
        assert_eq!(cuts(&Partition::Halves, 4).len(), 8);
        let one_way = Partition::OneWay {
            from: vec![1],
            to: vec![1, 2, 3],
        };
        assert_eq!(cuts(&one_way, 3), [(1, 2), (1, 3)]);
        assert_eq!(cuts(&Partition::Ring, 3), []);
        let ring = cuts(&Partition::Ring, 5);
        for node in 1..=5 {
            let unheard: Vec<usize> = ring
                .iter()
                .filter(|(_, to)| *to == node)
                .map(|(from, _)| *from)
                .collect();
            let neighbours = [(node + 3) % 5 + 1, node % 5 + 1];
            assert_eq!(unheard.len(), 2, "{node}: {unheard:?}");
            assert!(
                neighbours.iter().all(|near| !unheard.contains(near)),
                "{node}: {unheard:?}"
            );
        }
    }
}
