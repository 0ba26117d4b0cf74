//! What a scenario can do with a client, whoever wrote it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

/// The number of a change: each write of a cluster has the next one.
pub type Revision = u64;

/// How long an answer may take: longer than etcd's own limit for a request, which is 5 s and twice the election
/// timeout, so that its word comes first.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A client of one member. Its methods may be called concurrently, and each is bounded by [`ANSWER_WITHIN`] or by its
/// argument. One that is dropped half-way may have been done.
#[async_trait]
pub trait EtcdClient: Send + Sync {
    /// Writes `value`; says at which revision.
    async fn put(&self, key: &str, value: &str) -> Result<Revision, ClientError>;

    /// The same for a key that goes when the lease ends.
    async fn put_with_lease(&self, key: &str, value: &str, lease: Lease) -> Result<Revision, ClientError>;

    /// What is at `key`.
    async fn get(&self, key: &str, consistency: Consistency) -> Result<Option<KeyValue>, ClientError>;

    /// Everything whose key begins with `prefix`, in the order of the keys.
    async fn list(&self, prefix: &str, consistency: Consistency) -> Result<Vec<KeyValue>, ClientError>;

    /// Deletes `key`; says whether it was there.
    async fn delete(&self, key: &str) -> Result<bool, ClientError>;

    /// Writes `new` if the value is `expected` (`None`: if there is none); says whether it did.
    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<&str>,
        new: &str,
    ) -> Result<bool, ClientError>;

    /// What happens to keys that begin with `prefix`, from the change with the number `from` on.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watch>, ClientError>;

    /// A new lease that ends `ttl` after it was granted or last kept alive; whole seconds.
    async fn grant(&self, ttl: Duration) -> Result<Lease, ClientError>;

    /// Keeps a lease alive once; `false` when there is none any more.
    async fn keep_alive(&self, lease: Lease) -> Result<bool, ClientError>;
}

/// The events of a watch, in order.
#[async_trait]
pub trait Watch: Send {
    /// The next event.
    ///
    /// # Errors
    /// [`ClientError::NoEvent`] after `within`; anything else ends the watch.
    async fn next(&mut self, within: Duration) -> Result<Event, ClientError>;
}

/// How fresh a read is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// It sees every write that was acknowledged before it began. Needs the quorum.
    Linearizable,
    /// It is answered from what the member has, which may be old.
    Serializable,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyValue {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// When it was written.
    pub revision: Revision,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which.
    pub kind: EventKind,
    /// Of which key; the value is empty for a deletion.
    pub change: KeyValue,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was written.
    Put,
    /// It was deleted.
    Delete,
}

/// The number of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease(pub u64);

/// Why a client could not do as it was told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// Nothing was sent.
    #[error("cannot connect to {member}: {reason}")]
    Connect {
        /// The address.
        member: std::net::SocketAddr,
        /// The system's words.
        reason: Arc<str>,
    },
    /// The member, or the client for it, said no. What was asked for may have been done all the same, when it says
    /// that it was late.
    #[error("refused: {message}")]
    Refused {
        /// Its words.
        message: Arc<str>,
    },
    /// The connection ended, and with it what was under way.
    #[error("connection lost: {reason}")]
    Lost {
        /// The library's words.
        reason: Arc<str>,
    },
    /// No answer in time.
    #[error("no answer within {} s", within.as_secs_f32())]
    TimedOut {
        /// How long it had.
        within: Duration,
    },
    /// Nothing happened to what is watched.
    #[error("no event within {} s", within.as_secs_f32())]
    NoEvent {
        /// How long it had.
        within: Duration,
    },
    /// An answer that is none.
    #[error("cannot read the answer: {reason}")]
    Unreadable {
        /// What is wrong with it.
        reason: Arc<str>,
    },
    /// The program of the client does not run.
    #[error("cannot run {program}: {reason}")]
    Program {
        /// Its path.
        program: Arc<str>,
        /// The system's words.
        reason: Arc<str>,
    },
}

impl ClientError {
    pub(crate) fn refused(message: impl Into<Arc<str>>) -> Self {
        Self::Refused {
            message: message.into(),
        }
    }

    pub(crate) fn lost(reason: impl ToString) -> Self {
        Self::Lost {
            reason: reason.to_string().into(),
        }
    }

    pub(crate) fn unreadable(reason: impl ToString) -> Self {
        Self::Unreadable {
            reason: reason.to_string().into(),
        }
    }
}

/// What `answer` comes to, within `limit`.
pub(crate) async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(result) => result,
        Err(_) => Err(ClientError::TimedOut { within: limit }),
    }
}
