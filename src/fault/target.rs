//! What faults are injected into: nodes, several of them, clusters, clients, proxies and disks.

use std::fmt;
use std::ops::Deref;

use futures_util::future::join_all;
use rand::seq::SliceRandom as _;
use robust_test_harness::case::Case;
use robust_test_harness::error::Result;

use super::{Fault, FaultKind, Ongoing};
use crate::client::ClientLink;
use crate::cluster::Cluster;
use crate::disk::Disk;
use crate::network::Proxy;
use crate::server::Server;
use crate::service::{BoxFuture, Service};

/// Something that faults can be injected into.
pub trait Target: Send + Sync {
    /// Its name in messages and in the timeline.
    fn label(&self) -> String;

    /// Its case; `None` when that is over.
    fn owner(&self) -> Option<Case>;

    /// The names of the nodes that a fault of it disturbs: none, where it is a link.
    fn touches(&self) -> Vec<String> {
        Vec::new()
    }
}

impl<S: Service> Target for Server<S> {
    fn label(&self) -> String {
        self.name().to_owned()
    }

    fn owner(&self) -> Option<Case> {
        Some(self.case().clone())
    }

    fn touches(&self) -> Vec<String> {
        vec![self.name().to_owned()]
    }
}

impl<S: Service> Target for Cluster<S> {
    fn label(&self) -> String {
        self.name().to_owned()
    }

    fn owner(&self) -> Option<Case> {
        Some(self.case().clone())
    }

    fn touches(&self) -> Vec<String> {
        self.nodes().iter().map(|node| node.name().to_owned()).collect()
    }
}

/// A link: no node itself is disturbed.
impl Target for Proxy {
    fn label(&self) -> String {
        self.name().to_owned()
    }

    fn owner(&self) -> Option<Case> {
        self.case()
    }
}

/// What a client connects through ([`Client::link`](crate::client::Client::link)): no node itself is disturbed.
impl Target for ClientLink {
    fn label(&self) -> String {
        self.client_id().to_owned()
    }

    fn owner(&self) -> Option<Case> {
        Some(self.case().clone())
    }
}

impl Target for Disk {
    fn label(&self) -> String {
        format!("disk {}", self.name())
    }

    fn owner(&self) -> Option<Case> {
        self.case()
    }

    fn touches(&self) -> Vec<String> {
        vec![self.name().to_owned()]
    }
}

/// Which nodes of a cluster, for [`Cluster::pick`]. The leader is asked of the service:
/// [`Cluster::until_settled`](crate::cluster::Cluster::until_settled).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pick {
    /// One of those that run, at random.
    One,
    /// As many of those that run, at random, as can be missed while more than half of all are left: one of three, two of
    /// five.
    Minority,
    /// As few, at random, as leave no majority: two of three, three of five.
    Majority,
    /// Every node that runs.
    All,
}

impl Pick {
    /// How many of so many nodes.
    fn count(self, of: usize) -> usize {
        match self {
            Self::One => of.min(1),
            Self::Minority => of.saturating_sub(1) / 2,
            Self::Majority => of / 2 + of % 2,
            Self::All => of,
        }
    }
}

/// There is nothing to pick.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{pick:?} of cluster `{cluster}` is {wanted} nodes of {of}, of which {running} run: there is nothing to pick"
)]
pub struct PickError {
    /// What was asked for.
    pub pick: Pick,
    /// The cluster's name.
    pub cluster: String,
    /// How many nodes that is.
    pub wanted: usize,
    /// How many nodes it has.
    pub of: usize,
    /// How many of them run.
    pub running: usize,
}

/// Several nodes of a cluster, by number.
#[derive(Clone)]
pub struct Nodes<S: Service> {
    cluster: Cluster<S>,
    picked: Vec<Server<S>>,
}

impl<S: Service> fmt::Debug for Nodes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.picked).finish()
    }
}

impl<S: Service> Nodes<S> {
    /// Their numbers, ascending, as [`Partition`](crate::cluster::Partition) takes them.
    pub fn numbers(&self) -> Vec<usize> {
        self.picked.iter().map(Server::number).collect()
    }
}

impl<S: Service> Deref for Nodes<S> {
    type Target = [Server<S>];

    fn deref(&self) -> &Self::Target {
        &self.picked
    }
}

impl<S: Service> Cluster<S> {
    /// Some of its nodes: the same ones for the same seed, and others with each call.
    ///
    /// # Errors
    /// When that is no node, or more than run.
    pub fn pick(&self, pick: Pick) -> Result<Nodes<S>, PickError> {
        let case = self.case();
        let (of, mut picked) = (self.nodes().len(), self.running());
        let (running, wanted) = (picked.len(), pick.count(of));
        let wanted = if pick == Pick::All { running } else { wanted };
        if wanted == 0 || wanted > running {
            return Err(PickError {
                pick,
                cluster: self.name().to_owned(),
                wanted,
                of,
                running,
            });
        }
        let stream = case.unique_name(&format!("pick of {}", self.name()));
        picked.shuffle(&mut case.rng(&stream));
        picked.truncate(wanted);
        picked.sort_by_key(Server::number);
        Ok(Nodes {
            cluster: self.clone(),
            picked,
        })
    }
}

impl<S: Service> Target for Nodes<S> {
    fn label(&self) -> String {
        let names: Vec<&str> = self.picked.iter().map(Server::name).collect();
        names.join(" + ")
    }

    fn owner(&self) -> Option<Case> {
        self.cluster.owner()
    }

    fn touches(&self) -> Vec<String> {
        self.picked.iter().map(|node| node.name().to_owned()).collect()
    }
}

/// What can be done to one node can be done to several at once.
impl<S: Service, F: Fault<Server<S>>> Fault<Nodes<S>> for F {
    fn kind(&self) -> &'static FaultKind {
        Fault::<Server<S>>::kind(self)
    }

    fn describe(&self) -> String {
        Fault::<Server<S>>::describe(self)
    }

    fn begin<'a>(&'a self, nodes: &'a Nodes<S>) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        Box::pin(async move {
            let begun = join_all(nodes.iter().map(|node| self.begin(node))).await;
            let mut together = Together(Vec::new());
            let mut problem = None;
            for one in begun {
                match one {
                    Ok(one) => together.0.push(one),
                    Err(error) => problem = problem.or(Some(error)),
                }
            }
            let Some(problem) = problem else {
                return Ok(Box::new(together) as Box<dyn Ongoing>);
            };
            // It holds for all of them, or for none.
            together.heal().await?;
            Err(problem)
        })
    }
}

/// The same fault on several nodes.
struct Together(Vec<Box<dyn Ongoing>>);

impl Ongoing for Together {
    /// Once it bit each of them.
    fn proof(&self) -> Option<String> {
        let proofs: Option<Vec<String>> = self.0.iter().map(|one| one.proof()).collect();
        Some(proofs?.join("; "))
    }

    fn heal(&mut self) -> BoxFuture<'_, Result> {
        Box::pin(async {
            let healed = join_all(self.0.iter_mut().map(|one| one.heal())).await;
            healed.into_iter().collect()
        })
    }

    fn clean_up(&mut self) -> BoxFuture<'_, Result> {
        Box::pin(async {
            let cleaned = join_all(self.0.iter_mut().map(|one| one.clean_up())).await;
            cleaned.into_iter().collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minority_leaves_a_majority_and_a_majority_leaves_none() {
        for of in 1..=9 {
            let (minority, majority) = (Pick::Minority.count(of), Pick::Majority.count(of));
            assert!((of - minority) * 2 > of, "{of}");
            assert!((of - majority) * 2 <= of, "{of}");
            assert!((of - minority.saturating_add(1)) * 2 <= of, "{of}");
            assert!(majority == 0 || (of - (majority - 1)) * 2 > of, "{of}");
        }
        assert_eq!(
            (Pick::One.count(0), Pick::One.count(3), Pick::All.count(3)),
            (0, 1, 3)
        );
    }
}
