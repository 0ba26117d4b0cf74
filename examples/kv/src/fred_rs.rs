//! The client `fred`: the crate `fred`, which makes a lost connection again by itself, without end, and sends
//! again what was not answered ([`ConnectOptions::attempts_max`]).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fred::clients::{Client, SubscriberClient};
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface as _, PubsubInterface as _};
use fred::types::config::{Config, Options, ReconnectPolicy, ServerConfig, TlsConnector};
use fred::types::{Builder, ClusterHash, ConnectHandle, CustomCommand, Value};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::client::{ClientError, Command, ConnectOptions, KvClient, Message, Reply, Subscriber};

/// Between attempts to connect again; up to 100 more are added at random.
const PAUSE_MILLISECONDS: u32 = 20;
/// How long an attempt to connect may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Beyond the deadline that the crate keeps itself, before it counts as hanging.
const SLACK: Duration = Duration::from_secs(5);

/// Connects.
///
/// # Errors
/// [`ClientError::Connect`].
pub async fn connect(options: ConnectOptions) -> Result<Box<dyn KvClient>, ClientError> {
    let client = connected(&options).await?;
    Ok(Box::new(Fred { client, options }))
}

fn builder(options: &ConnectOptions) -> Result<Builder, ClientError> {
    let (host, port) = (options.address.ip().to_string(), options.address.port());
    let tls = options.authority.as_deref().map(|authority| {
        tls(authority).map_err(|cause| ClientError::Connect {
            address: options.address,
            cause: format!("cannot use {}: {cause}", authority.display()),
        })
    });
    let (username, password) = options.user.clone().unzip();
    let mut builder = Builder::from_config(Config {
        server: ServerConfig::new_centralized(host, port),
        tls: tls.transpose()?.map(Into::into),
        username,
        password,
        ..Config::default()
    });
    builder
        .with_connection_config(|config| {
            config.connection_timeout = CONNECT_WITHIN.max(options.deadline);
            config.internal_command_timeout = CONNECT_WITHIN.max(options.deadline);
            config.max_command_attempts = options.attempts_max;
        })
        .with_performance_config(|config| {
            config.default_command_timeout = options.deadline;
            config.broadcast_channel_capacity = options.messages_max;
        })
        .set_policy(ReconnectPolicy::new_constant(0, PAUSE_MILLISECONDS));
    Ok(builder)
}

fn tls(authority: &std::path::Path) -> Result<TlsConnector, Box<dyn std::error::Error>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(config))
}

/// A client of the crate with the task that drives its connection, which goes on after the client's drop.
struct Connected<C> {
    client: C,
    driver: ConnectHandle,
}

async fn connected(options: &ConnectOptions) -> Result<Connected<Client>, ClientError> {
    let client = builder(options)?.build();
    Connected::new(options, client.map_err(refused(options))?).await
}

fn refused(options: &ConnectOptions) -> impl Fn(Error) -> ClientError {
    let address = options.address;
    move |error| ClientError::Connect {
        address,
        cause: error.to_string(),
    }
}

impl<C: ClientLike> Connected<C> {
    async fn new(options: &ConnectOptions, client: C) -> Result<Self, ClientError> {
        let driver = client.connect();
        // Before anything is awaited, so that the task ends in any case.
        let connected = Self { client, driver };
        let limit = CONNECT_WITHIN.max(options.deadline) + SLACK;
        let connecting = timeout(limit, connected.client.wait_for_connect());
        match connecting.await {
            Ok(outcome) => outcome.map_err(refused(options))?,
            Err(_) => {
                return Err(ClientError::Connect {
                    address: options.address,
                    cause: "the crate has not answered".to_owned(),
                });
            }
        }
        Ok(connected)
    }
}

impl<C> Drop for Connected<C> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

struct Fred {
    client: Connected<Client>,
    options: ConnectOptions,
}

#[async_trait]
impl KvClient for Fred {
    fn options(&self) -> &ConnectOptions {
        &self.options
    }

    async fn open(&self, options: ConnectOptions) -> Result<Box<dyn KvClient>, ClientError> {
        connect(options).await
    }

    async fn call(&self, command: Command) -> Result<Reply, ClientError> {
        let (command, arguments) = wire(command, false);
        let answer = self.client.client.custom::<Value, Value>(command, arguments);
        reply(bounded(self.options.deadline, answer).await?)
    }

    async fn pipeline(&self, commands: Vec<Command>) -> Result<Vec<Reply>, ClientError> {
        let pipeline = self.client.client.pipeline();
        for command in commands {
            let (command, arguments) = wire(command, false);
            // It is only queued here.
            let queued = pipeline.custom::<Value, Value>(command, arguments).await;
            queued.map_err(failed)?;
        }
        let answers = bounded(self.options.deadline, pipeline.try_all::<Value>()).await?;
        answers
            .into_iter()
            .map(|answer| match reply(answer) {
                Err(ClientError::Refused { message }) => Ok(Reply::Error(message)),
                other => other,
            })
            .collect()
    }

    async fn call_blocking(&self, command: Command, within: Duration) -> Result<Reply, ClientError> {
        let own = connected(&self.options).await?;
        let (command, arguments) = wire(command, true);
        let client = own.client.with_options(&Options {
            timeout: Some(within + self.options.deadline),
            ..Options::default()
        });
        let answer = client.custom::<Value, Value>(command, arguments);
        reply(bounded(within + self.options.deadline, answer).await?)
    }

    async fn subscriber(&self) -> Result<Box<dyn Subscriber>, ClientError> {
        let client = builder(&self.options)?.build_subscriber_client();
        let client = Connected::new(&self.options, client.map_err(refused(&self.options))?).await?;
        let messages = client.client.message_rx();
        let resubscribing = client.client.manage_subscriptions();
        Ok(Box::new(Subscribed {
            client,
            resubscribing,
            messages,
            deadline: self.options.deadline,
        }))
    }
}

struct Subscribed {
    client: Connected<SubscriberClient>,
    /// Subscribes again when the connection was made again.
    resubscribing: JoinHandle<()>,
    messages: broadcast::Receiver<fred::types::Message>,
    deadline: Duration,
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.resubscribing.abort();
    }
}

#[async_trait]
impl Subscriber for Subscribed {
    async fn subscribe(&mut self, channel: &str) -> Result<(), ClientError> {
        let answer = bounded(self.deadline, self.client.client.subscribe(channel));
        answer.await?.map_err(failed)
    }

    async fn unsubscribe(&mut self, channel: &str) -> Result<(), ClientError> {
        let answer = bounded(self.deadline, self.client.client.unsubscribe(channel));
        answer.await?.map_err(failed)
    }

    async fn next(&mut self, within: Duration) -> Result<Message, ClientError> {
        let message = match timeout(within, self.messages.recv()).await {
            Ok(Ok(message)) => message,
            Ok(Err(broadcast::error::RecvError::Lagged(count))) => {
                return Err(ClientError::Dropped { count });
            }
            Ok(Err(broadcast::error::RecvError::Closed)) => {
                return Err(ClientError::Lost {
                    cause: "no more messages".to_owned(),
                });
            }
            Err(_) => return Err(ClientError::NoMessage { within }),
        };
        match from_wire(message.value) {
            Reply::Bytes(payload) => Ok(Message {
                channel: message.channel.to_string(),
                payload,
            }),
            reply => Err(ClientError::Unexpected { reply }),
        }
    }
}

/// What the crate should have ended itself within `deadline`.
async fn bounded<T>(deadline: Duration, answer: impl Future<Output = T>) -> Result<T, ClientError> {
    let limit = deadline + SLACK;
    timeout(limit, answer).await.map_err(|_| ClientError::TimedOut {
        cause: format!("the crate has not answered within {limit:?}"),
    })
}

fn wire(command: Command, blocking: bool) -> (CustomCommand, Vec<Value>) {
    let arguments = command.arguments.into_iter();
    let arguments = arguments.map(|bytes| Value::Bytes(bytes.into())).collect();
    (
        CustomCommand::new_static(command.name, ClusterHash::FirstKey, blocking),
        arguments,
    )
}

fn reply(answer: Result<Value, Error>) -> Result<Reply, ClientError> {
    Ok(from_wire(answer.map_err(failed)?))
}

fn from_wire(value: Value) -> Reply {
    match value {
        Value::Null => Reply::Nil,
        Value::Integer(value) => Reply::Integer(value),
        Value::Bytes(value) => Reply::Bytes(value.to_vec()),
        Value::String(text) => Reply::Bytes(text.as_bytes().to_vec()),
        Value::Array(values) => Reply::List(values.into_iter().map(from_wire).collect()),
        // Of RESP 3, which is not spoken here.
        other => Reply::Error(format!("not of RESP 2: {other:?}")),
    }
}

/// The crate sorts a server's error by its first word, and has no kind of its own for it: one of the kind `Unknown` is
/// as well what the crate says itself while it has no connection.
fn failed(error: Error) -> ClientError {
    if *error.kind() == ErrorKind::Timeout {
        let cause = error.to_string();
        return ClientError::TimedOut { cause };
    }
    match is_a_servers(error.details()) {
        true => ClientError::Refused {
            message: error.details().to_owned(),
        },
        false => ClientError::Lost {
            cause: error.to_string(),
        },
    }
}

/// A server's error begins with a code in capital letters: `WRONGTYPE Operation ..`.
fn is_a_servers(details: &str) -> bool {
    let code = details.split(' ').next().unwrap_or_default();
    code.len() > 1 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_told_from_what_the_crate_says() {
        let kind = |kind, details: &'static str| failed(Error::new(kind, details));
        let refused = kind(
            ErrorKind::Unknown,
            "LOADING Redis is loading the dataset in memory",
        );
        assert!(matches!(refused, ClientError::Refused { .. }), "{refused:?}");
        let refused = kind(ErrorKind::InvalidArgument, "WRONGTYPE Operation against a key");
        assert!(matches!(refused, ClientError::Refused { .. }), "{refused:?}");
        let lost = kind(ErrorKind::Unknown, "Failed to route command.");
        assert!(matches!(lost, ClientError::Lost { .. }), "{lost:?}");
        let late = kind(ErrorKind::Timeout, "Request timed out.");
        assert!(matches!(late, ClientError::TimedOut { .. }), "{late:?}");
    }
}
