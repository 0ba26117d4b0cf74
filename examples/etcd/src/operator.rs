//! What operators ask of one member, over its client port: etcd has no other for them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{ANSWER_WITHIN, ClientError, Revision, within};
use crate::http::Http;
use crate::wire::{Header, number, read};

/// The number of a member, made from its peer address when it is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    /// In hexadecimal, as etcd's own log has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// What a member says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Who it is.
    pub id: MemberId,
    /// Whom it takes for the leader.
    pub leader: Option<MemberId>,
    /// The term of its log.
    pub term: u64,
    /// The last change that it has.
    pub revision: Revision,
    /// `3.4.23`.
    pub version: String,
}

/// A member, as another one knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberInfo {
    /// Who it is.
    pub id: MemberId,
    /// Empty until it has started for the first time.
    pub name: String,
}

/// A hash over everything that a member has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hash {
    /// The last change in it.
    pub revision: Revision,
    /// The hash.
    pub hash: u64,
}

/// An operator of one member. Each request is bounded by [`ANSWER_WITHIN`].
#[derive(Debug, Clone)]
pub struct Operator(Http);

#[derive(Deserialize)]
struct StatusAnswer {
    header: Header,
    version: String,
    #[serde(default, deserialize_with = "number")]
    leader: u64,
}

#[derive(Deserialize)]
struct MemberAnswer {
    #[serde(rename = "ID", deserialize_with = "number")]
    id: u64,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct MembersAnswer {
    members: Vec<MemberAnswer>,
}

#[derive(Deserialize)]
struct AddedAnswer {
    member: MemberAnswer,
}

#[derive(Deserialize)]
struct HashAnswer {
    header: Header,
    #[serde(default)]
    hash: u64,
}

#[derive(Deserialize)]
struct AlarmsAnswer {
    #[serde(default)]
    alarms: Vec<Value>,
}

#[derive(Deserialize)]
struct Health {
    health: String,
}

impl Operator {
    /// An operator of the member that listens at `member`.
    pub fn new(member: SocketAddr) -> Self {
        Self(Http(member))
    }

    async fn ask<T: for<'a> Deserialize<'a>>(&self, path: &str, body: Value) -> Result<T, ClientError> {
        let answer = within(ANSWER_WITHIN, self.0.post(path, &body)).await?;
        read(&answer)
    }

    /// Whether it has a leader and can have something agreed on.
    pub async fn is_healthy(&self) -> Result<bool, ClientError> {
        let answer = within(ANSWER_WITHIN, self.0.get("/health")).await?;
        Ok(read::<Health>(&answer)?.health == "true")
    }

    /// What it says about itself; needs no quorum.
    pub async fn status(&self) -> Result<Status, ClientError> {
        let answer: StatusAnswer = self.ask("/v3/maintenance/status", json!({})).await?;
        Ok(Status {
            id: MemberId(answer.header.member_id),
            leader: (answer.leader != 0).then_some(MemberId(answer.leader)),
            term: answer.header.raft_term,
            revision: answer.header.revision,
            version: answer.version,
        })
    }

    /// The members that it knows; needs no quorum in etcd 3.4, and may be old.
    pub async fn members(&self) -> Result<Vec<MemberInfo>, ClientError> {
        let answer: MembersAnswer = self.ask("/v3/cluster/member/list", json!({})).await?;
        let known = answer.members.into_iter().map(|member| MemberInfo {
            id: MemberId(member.id),
            name: member.name,
        });
        Ok(known.collect())
    }

    /// The members that it has a connection to: what it says in its metrics.
    pub async fn connected(&self) -> Result<BTreeSet<MemberId>, ClientError> {
        let metrics = within(ANSWER_WITHIN, self.0.get("/metrics")).await?;
        Ok(connected(&String::from_utf8_lossy(&metrics)))
    }

    /// Adds a member that will listen for others at `peer`, before it starts.
    pub async fn add_member(&self, peer: SocketAddr) -> Result<MemberId, ClientError> {
        let body = json!({ "peerURLs": [format!("http://{peer}")] });
        let answer: AddedAnswer = self.ask("/v3/cluster/member/add", body).await?;
        Ok(MemberId(answer.member.id))
    }

    /// Removes a member; one that runs ends by itself.
    pub async fn remove_member(&self, id: MemberId) -> Result<(), ClientError> {
        let body = json!({ "ID": id.0.to_string() });
        self.ask::<Value>("/v3/cluster/member/remove", body)
            .await
            .map(drop)
    }

    /// Hands the lead to another member; only the leader can.
    pub async fn move_leader(&self, to: MemberId) -> Result<(), ClientError> {
        let body = json!({ "targetID": to.0.to_string() });
        self.ask::<Value>("/v3/maintenance/transfer-leadership", body)
            .await
            .map(drop)
    }

    /// How many alarms there are.
    pub async fn alarms(&self) -> Result<usize, ClientError> {
        let answer: AlarmsAnswer = self
            .ask("/v3/maintenance/alarm", json!({ "action": "GET" }))
            .await?;
        Ok(answer.alarms.len())
    }

    /// Rewrites its file of data, which blocks it meanwhile.
    pub async fn defragment(&self) -> Result<(), ClientError> {
        self.ask::<Value>("/v3/maintenance/defragment", json!({}))
            .await
            .map(drop)
    }

    /// Forgets what was overwritten up to this revision.
    pub async fn compact(&self, revision: Revision) -> Result<(), ClientError> {
        let body = json!({ "revision": revision.to_string(), "physical": true });
        self.ask::<Value>("/v3/kv/compaction", body).await.map(drop)
    }

    /// The hash over everything that it has.
    pub async fn hash(&self) -> Result<Hash, ClientError> {
        self.hash_from(json!({})).await
    }

    /// The hash over its keys up to this revision, as the reference of etcd's gateway has it.
    pub async fn hash_at(&self, revision: Revision) -> Result<Hash, ClientError> {
        self.hash_from(json!({ "revision": revision.to_string() })).await
    }

    async fn hash_from(&self, body: Value) -> Result<Hash, ClientError> {
        let answer: HashAnswer = self.ask("/v3/maintenance/hash", body).await?;
        Ok(Hash {
            revision: answer.header.revision,
            hash: answer.hash,
        })
    }
}

/// The remote ends of `etcd_network_active_peers{Local="a",Remote="b"} 1`.
fn connected(metrics: &str) -> BTreeSet<MemberId> {
    let gauges = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("etcd_network_active_peers{"));
    let remotes = gauges.filter_map(|gauge| {
        let (labels, value) = gauge.split_once("} ")?;
        let (_, remote) = labels.split_once("Remote=\"")?;
        let id = u64::from_str_radix(remote.trim_end_matches('"'), 16).ok()?;
        (value.parse::<f64>().ok()? > 0.0).then_some(MemberId(id))
    });
    remotes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_whose_connection_was_lost_is_not_connected() {
        let metrics = "# TYPE etcd_network_active_peers gauge\n\
                       etcd_network_active_peers{Local=\"1\",Remote=\"a78f032ffd1da2aa\"} 1\n\
                       etcd_network_active_peers{Local=\"1\",Remote=\"ff\"} 0\n\
                       etcd_server_has_leader 1\n";
        assert_eq!(
            connected(metrics),
            BTreeSet::from([MemberId(0xa78f_032f_fd1d_a2aa)])
        );
    }
}
