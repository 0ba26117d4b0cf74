//! What a scenario can do with a client, whoever wrote it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

/// A client of a server that speaks RESP. Its methods may be called concurrently; each wait is bounded by
/// [`ConnectOptions::deadline`] or by its argument.
///
/// A lost connection is made again by the client's crate, in its own way; what waits for an answer meanwhile fails,
/// unless the crate sends it again ([`ConnectOptions::attempts_max`]). Dropping a client closes its connections.
#[async_trait]
pub trait KvClient: Send + Sync {
    /// How it connected.
    fn options(&self) -> &ConnectOptions;

    /// Opens another client of the same kind, with other options. It is not closed by the end of a case, but by its
    /// drop.
    async fn open(&self, options: ConnectOptions) -> Result<Box<dyn KvClient>, ClientError>;

    /// Sends one command on the connection that all calls share, and waits for its reply.
    ///
    /// # Errors
    /// Also when the reply is an error: [`ClientError::Refused`].
    async fn call(&self, command: Command) -> Result<Reply, ClientError>;

    /// Sends all commands at once, and waits for all replies: as many as commands, in their order. An error is a
    /// reply of its own, and the other commands are done.
    async fn pipeline(&self, commands: Vec<Command>) -> Result<Vec<Reply>, ClientError>;

    /// Sends one command that the server may answer as late as after `within`, on a connection of its own, which is
    /// closed when the answer is there or the call is dropped.
    async fn call_blocking(&self, command: Command, within: Duration) -> Result<Reply, ClientError>;

    /// Opens a connection for messages.
    async fn subscriber(&self) -> Result<Box<dyn Subscriber>, ClientError>;

    /// GET; `None` when there is no such key.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, ClientError> {
        match self.call(Command::new("GET").arg(key)).await? {
            Reply::Nil => Ok(None),
            Reply::Bytes(value) => Ok(Some(value)),
            other => Err(other.unexpected()),
        }
    }

    /// SET, which the server answers with OK.
    async fn set(&self, key: &str, value: &[u8]) -> Result<(), ClientError> {
        match self.call(Command::new("SET").arg(key).arg(value)).await? {
            Reply::Bytes(status) if status == b"OK" => Ok(()),
            other => Err(other.unexpected()),
        }
    }

    /// DEL: whether there was such a key.
    async fn del(&self, key: &str) -> Result<bool, ClientError> {
        Ok(self.integer(Command::new("DEL").arg(key)).await? == 1)
    }

    /// INCR: the new value.
    async fn incr(&self, key: &str) -> Result<i64, ClientError> {
        self.integer(Command::new("INCR").arg(key)).await
    }

    /// APPEND: the new length in bytes.
    async fn append(&self, key: &str, value: &[u8]) -> Result<i64, ClientError> {
        self.integer(Command::new("APPEND").arg(key).arg(value)).await
    }

    /// RPUSH: the new length of the list.
    async fn rpush(&self, key: &str, value: &[u8]) -> Result<i64, ClientError> {
        self.integer(Command::new("RPUSH").arg(key).arg(value)).await
    }

    /// BLPOP: the first element, waited for; `None` after `within`.
    async fn blpop(&self, key: &str, within: Duration) -> Result<Option<Vec<u8>>, ClientError> {
        let command = Command::new("BLPOP")
            .arg(key)
            .arg(within.as_secs_f64().to_string().as_str());
        match self.call_blocking(command, within).await? {
            Reply::Nil => Ok(None),
            Reply::List(mut parts) => match parts.pop() {
                Some(Reply::Bytes(value)) => Ok(Some(value)),
                other => Err(other.unwrap_or(Reply::Nil).unexpected()),
            },
            other => Err(other.unexpected()),
        }
    }

    /// PUBLISH: how many subscribers there were.
    async fn publish(&self, channel: &str, message: &[u8]) -> Result<i64, ClientError> {
        self.integer(Command::new("PUBLISH").arg(channel).arg(message))
            .await
    }

    /// WAIT: how many replicas have what this client wrote before; `within` at most, if fewer than `replicas` have.
    ///
    /// It is sent as [`KvClient::call`], since it is about this connection's writes.
    async fn wait(&self, replicas: usize, within: Duration) -> Result<i64, ClientError> {
        let command = Command::new("WAIT")
            .arg(replicas.to_string().as_str())
            .arg(within.as_millis().to_string().as_str());
        self.integer(command).await
    }

    /// PING.
    async fn ping(&self) -> Result<(), ClientError> {
        match self.call(Command::new("PING")).await? {
            Reply::Bytes(status) if status == b"PONG" => Ok(()),
            other => Err(other.unexpected()),
        }
    }

    /// A command that is answered with an integer.
    async fn integer(&self, command: Command) -> Result<i64, ClientError> {
        match self.call(command).await? {
            Reply::Integer(value) => Ok(value),
            other => Err(other.unexpected()),
        }
    }
}

/// A connection that receives messages.
#[async_trait]
pub trait Subscriber: Send {
    /// Subscribes, and waits until the server has said so.
    async fn subscribe(&mut self, channel: &str) -> Result<(), ClientError>;

    /// Unsubscribes, and waits until the server has said so.
    async fn unsubscribe(&mut self, channel: &str) -> Result<(), ClientError>;

    /// The next message, in order of arrival. When the connection ends, the crate `redis` leaves it at that, and the
    /// crate `fred` connects and subscribes again: what was published meanwhile is missing.
    ///
    /// # Errors
    /// [`ClientError::NoMessage`] after `within`; [`ClientError::Lost`] when the connection has ended and none is
    /// left; [`ClientError::Dropped`] when the client's crate has thrown messages away.
    async fn next(&mut self, within: Duration) -> Result<Message, ClientError>;
}

/// A message of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub channel: String,
    /// What.
    pub payload: Vec<u8>,
}

/// A command with its arguments, each of any bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Its arguments, in order.
    pub arguments: Vec<Vec<u8>>,
}

impl Command {
    /// A command without arguments.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            arguments: Vec::new(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<[u8]>) -> Self {
        self.arguments.push(argument.as_ref().to_vec());
        self
    }
}

/// What a server answers.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    Nil,
    /// A number.
    Integer(i64),
    /// A value, or a status such as `OK`.
    Bytes(Vec<u8>),
    /// Several.
    List(Vec<Reply>),
    /// The command failed, with the server's words.
    Error(String),
}

impl Reply {
    fn unexpected(self) -> ClientError {
        ClientError::Unexpected { reply: self }
    }

    /// The reply, or the error that it is.
    ///
    /// # Errors
    /// [`ClientError::Refused`].
    pub fn or_refused(self) -> Result<Self, ClientError> {
        match self {
            Self::Error(message) => Err(ClientError::Refused { message }),
            other => Ok(other),
        }
    }
}

impl fmt::Debug for Reply {
    /// On one line; of a long value the beginning and the length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_BYTES: usize = 64;
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Bytes(value) if value.len() <= SHOWN_BYTES => {
                write!(f, "{:?}", String::from_utf8_lossy(value))
            }
            Self::Bytes(value) => {
                let beginning = String::from_utf8_lossy(&value[..SHOWN_BYTES]);
                write!(f, "{beginning:?}.. ({} bytes)", value.len())
            }
            Self::List(replies) => f.debug_list().entries(replies).finish(),
            Self::Error(message) => write!(f, "error {message:?}"),
        }
    }
}

/// How to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Where the server listens.
    pub address: SocketAddr,
    /// The certificate of the authority that vouches for the server, in PEM. Default: none, that is no TLS.
    pub authority: Option<PathBuf>,
    /// Name and password. Default: none.
    pub user: Option<(String, String)>,
    /// How long the server may take for an answer. Default: 10 seconds.
    pub deadline: Duration,
    /// How often a command is sent whose connection ends before its answer came. The crate `redis` always sends it
    /// once. Default: 1; that of the crate `fred` is 3.
    pub attempts_max: u32,
    /// How many messages a subscriber's crate keeps for who reads slowly. The crate `redis` keeps all.
    /// Default: 4,096; that of the crate `fred` is 32.
    pub messages_max: usize,
}

impl ConnectOptions {
    /// The defaults, for this server.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            authority: None,
            user: None,
            deadline: Duration::from_secs(10),
            attempts_max: 1,
            messages_max: 4096,
        }
    }

    /// The same, with this much time for an answer.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same, over TLS.
    #[must_use]
    pub fn authority(mut self, authority: impl Into<PathBuf>) -> Self {
        self.authority = Some(authority.into());
        self
    }

    /// The same, as this user.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some((name.to_owned(), password.to_owned()));
        self
    }
}

/// Why a client could not do what it was asked for.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// It does not connect.
    #[error("no connection to {address}: {cause}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// What its crate says.
        cause: String,
    },
    /// The connection ended before the answer came; the command may have been done.
    #[error("the connection was lost: {cause}")]
    Lost {
        /// What its crate says.
        cause: String,
    },
    /// The answer did not come in time; the command may have been done, and may still be.
    #[error("no answer in time: {cause}")]
    TimedOut {
        /// What its crate says, or that it did not say anything.
        cause: String,
    },
    /// The server answers with an error.
    #[error("the server refuses: {message}")]
    Refused {
        /// The server's words.
        message: String,
    },
    /// The server answers with what does not belong to the command.
    #[error("unexpected reply: {reply:?}")]
    Unexpected {
        /// What it answered.
        reply: Reply,
    },
    /// No message has come.
    #[error("no message within {within:?}")]
    NoMessage {
        /// How long it was waited for.
        within: Duration,
    },
    /// Its crate has thrown messages away.
    #[error("the client dropped {count} messages")]
    Dropped {
        /// How many.
        count: u64,
    },
}
