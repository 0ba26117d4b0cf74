//! What operators ask of one `nats-server`, over its monitoring port: health, whom it is connected to, who leads, what it
//! has stored.
//!
//! A server tells the others by numbers that are new at each start. So each has the addresses of all members in its
//! tags (see [`tag`]), and is asked for its number there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take. A member that is paused gives none.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Why a server's state is not known.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MonitorError {
    /// It does not answer.
    #[error("no answer of {server}: {reason}")]
    NoAnswer {
        /// Its address.
        server: SocketAddr,
        /// The system's words.
        reason: Arc<str>,
    },
    /// It answers that it is not well.
    #[error("{server} says: {message}")]
    Unwell {
        /// Its address.
        server: SocketAddr,
        /// Its words.
        message: Arc<str>,
    },
    /// Its answer is none.
    #[error("cannot read the answer of {server}: {reason}")]
    Unreadable {
        /// Its address.
        server: SocketAddr,
        /// What is wrong with it.
        reason: Arc<str>,
    },
}

/// The tag by which a server knows that the member `name` can be watched at `monitor`. The server makes all tags
/// lower case, so a name has to be.
pub fn tag(name: &str, monitor: SocketAddr) -> String {
    format!("{name}@{monitor}")
}

fn read_tag(tag: &str) -> Option<(String, SocketAddr)> {
    let (name, monitor) = tag.rsplit_once('@')?;
    Some((name.to_owned(), monitor.parse().ok()?))
}

/// An operator of the server that is watched there.
#[derive(Debug, Clone, Copy)]
pub struct Monitor(pub SocketAddr);

#[derive(Deserialize)]
struct Server {
    server_id: String,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct Routes {
    #[serde(default)]
    routes: Vec<Route>,
}

#[derive(Deserialize)]
struct Route {
    remote_id: String,
}

#[derive(Deserialize)]
struct JetStream {
    meta_cluster: Option<MetaCluster>,
}

#[derive(Deserialize)]
struct MetaCluster {
    #[serde(default)]
    leader: String,
}

#[derive(Deserialize)]
struct Accounts {
    #[serde(default)]
    account_details: Vec<Account>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    stream_detail: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    name: String,
    state: Stored,
}

/// What a server has of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Stored {
    /// The number of the last message that it has stored. Numbers count from 1, and go on when messages are removed.
    #[serde(rename = "last_seq")]
    pub last: u64,
    /// How many consumers it knows: each is a subscription of a session.
    #[serde(rename = "consumer_count")]
    pub consumers: usize,
}

impl Monitor {
    /// Whether it is in contact with the leader of JetStream, and so serves clients.
    ///
    /// # Errors
    /// Also when it says that it is not.
    pub async fn is_serving(self) -> Result<(), MonitorError> {
        match self.get("/healthz?js-server-only=true").await? {
            (200, _) => Ok(()),
            (_, body) => Err(MonitorError::Unwell {
                server: self.0,
                message: String::from_utf8_lossy(&body).trim().into(),
            }),
        }
    }

    /// The names of the members that it has a connection to at present, and its own.
    ///
    /// # Errors
    /// When it does not answer. A member that does not answer is not connected.
    pub async fn connected(self) -> Result<BTreeSet<String>, MonitorError> {
        let own: Server = self.read("/varz").await?;
        let routes: Routes = self.read("/routez").await?;
        let mut ids: BTreeSet<String> = routes.routes.into_iter().map(|route| route.remote_id).collect();
        ids.insert(own.server_id);
        let members = own.tags.iter().filter_map(|tag| read_tag(tag));
        let asked = members.map(|(name, monitor)| async move {
            let member: Result<Server, MonitorError> = Self(monitor).read("/varz").await;
            member.ok().map(|member| (name, member.server_id))
        });
        let members = join_all(asked).await.into_iter().flatten();
        Ok(members
            .filter(|(_, id)| ids.contains(id))
            .map(|(name, _)| name)
            .collect())
    }

    /// Whom it takes for the leader of JetStream.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn leader(self) -> Result<Option<String>, MonitorError> {
        let state: JetStream = self.read("/jsz").await?;
        let leader = state.meta_cluster.map(|cluster| cluster.leader);
        Ok(leader.filter(|leader| !leader.is_empty()))
    }

    /// What it has of each of its streams, by their names.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn stored(self) -> Result<BTreeMap<String, Stored>, MonitorError> {
        let accounts: Accounts = self.read("/jsz?streams=true").await?;
        let details = accounts.account_details.into_iter();
        let streams = details.flat_map(|account| account.stream_detail);
        Ok(streams.map(|stream| (stream.name, stream.state)).collect())
    }

    async fn read<T: for<'a> Deserialize<'a>>(self, path: &str) -> Result<T, MonitorError> {
        let (_, body) = self.get(path).await?;
        serde_json::from_slice(&body).map_err(|error| self.unreadable(error))
    }

    /// Status and body.
    async fn get(self, path: &str) -> Result<(u16, Vec<u8>), MonitorError> {
        let whole = async {
            let mut stream = TcpStream::connect(self.0).await?;
            let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.0);
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            Ok(answer)
        };
        let answer = match tokio::time::timeout(ANSWER_WITHIN, whole).await {
            Ok(answer) => answer,
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        };
        let answer = answer.map_err(|error: std::io::Error| MonitorError::NoAnswer {
            server: self.0,
            reason: error.to_string().into(),
        })?;
        split(&answer).ok_or_else(|| self.unreadable("it is not HTTP"))
    }

    fn unreadable(self, reason: impl ToString) -> MonitorError {
        MonitorError::Unreadable {
            server: self.0,
            reason: reason.to_string().into(),
        }
    }
}

/// Status and body of an answer of HTTP/1.0, which ends with its connection.
fn split(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer[end + 4..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_status_and_a_body() {
        let answer = b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(split(answer), Some((503, b"{}".to_vec())));
        assert_eq!(split(b"SSH-2.0\r\n"), None);
    }

    #[test]
    fn a_tag_names_a_member_and_where_to_watch_it() {
        let monitor = SocketAddr::from(([127, 0, 0, 1], 8222));
        let told = tag("db-1", monitor);
        assert_eq!(told, "db-1@127.0.0.1:8222");
        assert_eq!(read_tag(&told), Some(("db-1".to_owned(), monitor)));
        assert_eq!(read_tag("eu-west"), None);
    }
}
