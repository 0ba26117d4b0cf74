//! What the nodes of a cluster say about it: whom they see, who leads, and waiting until they agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use futures_util::future::join_all;

use super::Cluster;
use crate::clock::{Backoff, Deadline, human, within};
use crate::server::Server;
use crate::service::Service;
use crate::view::ClusterView;

/// How long one question to a node may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(100);

/// The nodes of a cluster did not come to agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    /// The cluster's name.
    pub cluster: String,
    /// What was waited for.
    pub what: &'static str,
    /// How long it had.
    pub within: Duration,
    /// What each node said last, by name.
    pub opinions: BTreeMap<String, String>,
}

impl fmt::Display for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, what, .. } = self;
        write!(
            f,
            "cluster `{cluster}`: not within {}: {what}",
            human(self.within)
        )?;
        for (node, opinion) in &self.opinions {
            write!(f, "\n  {node}: {opinion}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Unsettled {}

/// What one node says; an error's text where it says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Opinion {
    node: String,
    sees: Result<BTreeSet<String>, String>,
    leader: Result<Option<String>, String>,
}

impl fmt::Display for Opinion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sees {
            Ok(names) => write!(f, "sees {}", list(names))?,
            Err(error) => write!(f, "does not say whom it sees: {error}")?,
        }
        match &self.leader {
            Ok(Some(leader)) => write!(f, "; leader {leader}"),
            Ok(None) => f.write_str("; no leader"),
            Err(error) => write!(f, "; does not say who leads: {error}"),
        }
    }
}

fn list(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "nobody".to_owned();
    }
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Whether each of `running` sees all of them.
fn are_connected(opinions: &[Opinion], running: &BTreeSet<String>) -> bool {
    opinions
        .iter()
        .all(|opinion| matches!(&opinion.sees, Ok(sees) if sees.is_superset(running)))
}

/// The leader that all name, if it is one of `running`.
fn agreed_leader<'a>(opinions: &'a [Opinion], running: &BTreeSet<String>) -> Option<&'a str> {
    let mut leaders = opinions.iter().map(|opinion| match &opinion.leader {
        Ok(Some(leader)) if running.contains(leader) => Some(leader.as_str()),
        _ => None,
    });
    let first = leaders.next()??;
    leaders.all(|other| other == Some(first)).then_some(first)
}

/// The leader that most name, if it is one of `running`: more than half of those that name any.
fn majority_leader<'a>(opinions: &'a [Opinion], running: &BTreeSet<String>) -> Option<&'a str> {
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    for opinion in opinions {
        if let Ok(Some(leader)) = &opinion.leader {
            *votes.entry(leader).or_default() += 1;
        }
    }
    let all: usize = votes.values().sum();
    let (leader, count) = votes.into_iter().max_by_key(|(_, count)| *count)?;
    (count * 2 > all && running.contains(leader)).then_some(leader)
}

impl<S: ClusterView> Cluster<S> {
    /// Waits until every node that runs sees every other one. Frozen ones neither see nor are seen.
    ///
    /// # Errors
    /// When they do not within `limit`, with what each node says.
    pub async fn until_connected(&self, limit: Duration) -> Result<(), Unsettled> {
        let what = "every node sees every other one";
        self.until(what, limit, |opinions, running| {
            are_connected(opinions, running).then_some(())
        })
        .await
    }

    /// Waits until every node that runs sees every other one, and all name the same leader, which runs; returns it.
    /// Frozen nodes are none of them.
    ///
    /// # Errors
    /// When they do not within `limit`, with what each node says.
    pub async fn until_settled(&self, limit: Duration) -> Result<Server<S>, Unsettled> {
        let what = "the nodes see one another and agree on a leader";
        let leader = self
            .until(what, limit, |opinions, running| {
                let leader = agreed_leader(opinions, running)?;
                are_connected(opinions, running).then(|| leader.to_owned())
            })
            .await?;
        self.until_named(&leader, what, limit)
    }

    /// The node that more than half of those that run and are not frozen take for the leader; `None` while there is
    /// none.
    pub async fn leader(&self) -> Option<Server<S>> {
        let nodes = self.awake();
        let opinions = opinions(&nodes, ANSWER_WITHIN).await;
        let leader = majority_leader(&opinions, &names(&nodes))?;
        nodes.iter().find(|node| node.name() == leader).cloned()
    }

    async fn until<T>(
        &self,
        what: &'static str,
        limit: Duration,
        judge: impl Fn(&[Opinion], &BTreeSet<String>) -> Option<T>,
    ) -> Result<T, Unsettled> {
        let deadline = Deadline::after(limit);
        let mut backoff = Backoff::up_to(LOOK_PAUSE_MAX);
        loop {
            let nodes = self.awake();
            let opinions = opinions(&nodes, ANSWER_WITHIN.min(deadline.left())).await;
            // Of no node nothing can be said.
            if !nodes.is_empty()
                && let Some(value) = judge(&opinions, &names(&nodes))
            {
                return Ok(value);
            }
            if deadline.passed() {
                return Err(self.unsettled(what, limit, &opinions));
            }
            tokio::time::sleep(backoff.next().min(deadline.left())).await;
        }
    }

    /// The node of this name, which ran a moment ago.
    fn until_named(&self, name: &str, what: &'static str, limit: Duration) -> Result<Server<S>, Unsettled> {
        let mut nodes = self.nodes().into_iter();
        let found = nodes.find(|node| node.name() == name);
        found.ok_or_else(|| self.unsettled(what, limit, &[]))
    }

    fn unsettled(&self, what: &'static str, within: Duration, opinions: &[Opinion]) -> Unsettled {
        let said = opinions
            .iter()
            .map(|opinion| (opinion.node.clone(), opinion.to_string()));
        Unsettled {
            cluster: self.name().to_owned(),
            what,
            within,
            opinions: said.collect(),
        }
    }
}

fn names<S: Service>(nodes: &[Server<S>]) -> BTreeSet<String> {
    nodes.iter().map(|node| node.name().to_owned()).collect()
}

/// What each node says, all asked at the same time.
async fn opinions<S: ClusterView>(nodes: &[Server<S>], limit: Duration) -> Vec<Opinion> {
    let late = || format!("no answer within {}", human(limit));
    let asked = nodes.iter().map(|node| async move {
        let sees = async {
            match within(limit, S::sees(node.node_link())).await {
                Ok(sees) => sees.map_err(|error| format!("{error:#}")),
                Err(_) => Err(late()),
            }
        };
        let leader = async {
            match within(limit, S::leader(node.node_link())).await {
                Ok(leader) => leader.map_err(|error| format!("{error:#}")),
                Err(_) => Err(late()),
            }
        };
        let (sees, leader) = tokio::join!(sees, leader);
        Opinion {
            node: node.name().to_owned(),
            sees,
            leader,
        }
    });
    join_all(asked).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn opinion(node: &str, sees: &[&str], leader: Option<&str>) -> Opinion {
        Opinion {
            node: node.to_owned(),
            sees: Ok(set(sees)),
            leader: Ok(leader.map(str::to_owned)),
        }
    }

    #[test]
    fn nodes_are_connected_when_each_sees_all_that_run() {
        let running = set(&["a", "b"]);
        let all = [
            opinion("a", &["a", "b"], None),
            opinion("b", &["a", "b", "gone"], None),
        ];
        assert!(are_connected(&all, &running));
        let one_way = [opinion("a", &["a", "b"], None), opinion("b", &["b"], None)];
        assert!(!are_connected(&one_way, &running));
        let mut silent = all.clone();
        silent[1].sees = Err("refused".into());
        assert!(!are_connected(&silent, &running));
    }

    #[test]
    fn a_leader_is_agreed_on_by_all_and_runs() {
        let running = set(&["a", "b", "c"]);
        let votes = |a, b, c| [opinion("a", &[], a), opinion("b", &[], b), opinion("c", &[], c)];
        let agreed = votes(Some("b"), Some("b"), Some("b"));
        assert_eq!(agreed_leader(&agreed, &running), Some("b"));
        assert_eq!(agreed_leader(&agreed, &set(&["a", "c"])), None, "it is down");
        let split = votes(Some("b"), Some("b"), Some("a"));
        assert_eq!(agreed_leader(&split, &running), None);
        assert_eq!(majority_leader(&split, &running), Some("b"));
        let unsure = votes(Some("b"), None, Some("a"));
        assert_eq!(majority_leader(&unsure, &running), None);
        assert_eq!(agreed_leader(&votes(Some("b"), None, Some("b")), &running), None);
        assert_eq!(agreed_leader(&[], &running), None);
    }
}
