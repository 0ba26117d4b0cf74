//! The client `redis`: the crate `redis`, with one multiplexed connection for commands, which its manager makes
//! again when it is lost, and one connection for each subscriber.

use std::sync::Once;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use redis::aio::{ConnectionManager, ConnectionManagerConfig, PubSubSink, PubSubStream};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo, RedisError,
    TlsCertificates, Value,
};
use tokio::time::timeout;

use crate::client::{ClientError, Command, ConnectOptions, KvClient, Message, Reply, Subscriber};

/// Between attempts to connect again.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// How often the manager tries before it fails the commands that wait for a connection; the next command makes it
/// try again.
const CONNECT_RETRIES: usize = 2;
/// How long one attempt may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// Beyond the deadline that the crate keeps itself, before it counts as hanging.
const SLACK: Duration = Duration::from_secs(5);

/// Connects.
///
/// # Errors
/// [`ClientError::Connect`].
pub async fn connect(options: ConnectOptions) -> Result<Box<dyn KvClient>, ClientError> {
    let client = client(&options)?;
    let config = ConnectionManagerConfig::new()
        .set_min_delay(PAUSE_MIN)
        .set_max_delay(PAUSE_MAX)
        .set_number_of_retries(CONNECT_RETRIES)
        .set_connection_timeout(Some(CONNECT_WITHIN.max(options.deadline)))
        .set_response_timeout(Some(options.deadline));
    let connecting = ConnectionManager::new_with_config(client.clone(), config);
    let connection = connecting.await.map_err(refused(&options))?;
    Ok(Box::new(Redis {
        client,
        connection,
        options,
    }))
}

/// The crate's client, which does not connect yet.
///
/// # Errors
/// When the authority's certificate cannot be read.
pub(crate) fn client(options: &ConnectOptions) -> Result<Client, ClientError> {
    let (host, port) = (options.address.ip().to_string(), options.address.port());
    let mut login = RedisConnectionInfo::default();
    if let Some((name, password)) = &options.user {
        login = login.set_username(name).set_password(password);
    }
    let Some(authority) = &options.authority else {
        let info = ConnectionAddr::Tcp(host, port).into_connection_info();
        let info = info.map_err(refused(options))?.set_redis_settings(login);
        return Client::open(info).map_err(refused(options));
    };
    crypto();
    let root_cert = std::fs::read(authority).map_err(|error| ClientError::Connect {
        address: options.address,
        cause: format!("cannot read {}: {error}", authority.display()),
    })?;
    let address = ConnectionAddr::TcpTls {
        host,
        port,
        insecure: false,
        tls_params: None,
    };
    let info = address.into_connection_info().map_err(refused(options))?;
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: Some(root_cert),
    };
    Client::build_with_tls(info.set_redis_settings(login), certificates).map_err(refused(options))
}

/// The crate takes the process's default, which nothing sets where rustls was built with more than one.
fn crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that there is one already.
        let _set = rustls::crypto::ring::default_provider().install_default();
    });
}

fn refused(options: &ConnectOptions) -> impl Fn(RedisError) -> ClientError {
    let address = options.address;
    move |error| ClientError::Connect {
        address,
        cause: error.to_string(),
    }
}

struct Redis {
    client: Client,
    connection: ConnectionManager,
    options: ConnectOptions,
}

#[async_trait]
impl KvClient for Redis {
    fn options(&self) -> &ConnectOptions {
        &self.options
    }

    async fn open(&self, options: ConnectOptions) -> Result<Box<dyn KvClient>, ClientError> {
        connect(options).await
    }

    async fn call(&self, command: Command) -> Result<Reply, ClientError> {
        let mut connection = self.connection.clone();
        let command = wire(command);
        let answer = bounded(
            self.options.deadline,
            command.query_async::<Value>(&mut connection),
        );
        reply(answer.await?)
    }

    async fn pipeline(&self, commands: Vec<Command>) -> Result<Vec<Reply>, ClientError> {
        let mut connection = self.connection.clone();
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for command in commands {
            pipeline.add_command(wire(command));
        }
        let answers = pipeline.query_async::<Vec<Result<Value, RedisError>>>(&mut connection);
        let answers = bounded(self.options.deadline, answers).await?.map_err(failed)?;
        answers
            .into_iter()
            .map(|answer| match reply(answer) {
                Err(ClientError::Refused { message }) => Ok(Reply::Error(message)),
                other => other,
            })
            .collect()
    }

    async fn call_blocking(&self, command: Command, within: Duration) -> Result<Reply, ClientError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN.max(self.options.deadline)))
            .set_response_timeout(None);
        let connection = self.client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = connection.await.map_err(refused(&self.options))?;
        let command = wire(command);
        let answer = command.query_async::<Value>(&mut connection);
        reply(bounded(within + self.options.deadline, answer).await?)
    }

    async fn subscriber(&self) -> Result<Box<dyn Subscriber>, ClientError> {
        let connecting = bounded(self.options.deadline, self.client.get_async_pubsub());
        let (sink, messages) = connecting.await?.map_err(refused(&self.options))?.split();
        Ok(Box::new(Subscribed {
            sink,
            messages,
            deadline: self.options.deadline,
        }))
    }
}

struct Subscribed {
    sink: PubSubSink,
    messages: PubSubStream,
    deadline: Duration,
}

#[async_trait]
impl Subscriber for Subscribed {
    async fn subscribe(&mut self, channel: &str) -> Result<(), ClientError> {
        let answer = bounded(self.deadline, self.sink.subscribe(channel));
        answer.await?.map_err(failed)
    }

    async fn unsubscribe(&mut self, channel: &str) -> Result<(), ClientError> {
        let answer = bounded(self.deadline, self.sink.unsubscribe(channel));
        answer.await?.map_err(failed)
    }

    async fn next(&mut self, within: Duration) -> Result<Message, ClientError> {
        match timeout(within, self.messages.next()).await {
            Ok(Some(message)) => Ok(Message {
                channel: message.get_channel_name().to_owned(),
                payload: message.get_payload_bytes().to_vec(),
            }),
            Ok(None) => Err(ClientError::Lost {
                cause: "no more messages".to_owned(),
            }),
            Err(_) => Err(ClientError::NoMessage { within }),
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

fn wire(command: Command) -> redis::Cmd {
    let mut wire = redis::cmd(command.name);
    for argument in command.arguments {
        wire.arg(argument);
    }
    wire
}

fn reply(answer: Result<Value, RedisError>) -> Result<Reply, ClientError> {
    from_wire(answer.map_err(failed)?).or_refused()
}

fn from_wire(value: Value) -> Reply {
    match value {
        Value::Nil => Reply::Nil,
        Value::Int(value) => Reply::Integer(value),
        Value::BulkString(value) => Reply::Bytes(value),
        Value::SimpleString(text) => Reply::Bytes(text.into_bytes()),
        Value::Okay => Reply::Bytes(b"OK".to_vec()),
        Value::Array(values) => Reply::List(values.into_iter().map(from_wire).collect()),
        Value::ServerError(error) => Reply::Error(words(error.code(), error.details())),
        // Of RESP 3, which is not spoken here.
        other => Reply::Error(format!("not of RESP 2: {other:?}")),
    }
}

fn words(code: &str, details: Option<&str>) -> String {
    match details {
        Some(details) => format!("{code} {details}"),
        None => code.to_owned(),
    }
}

fn failed(error: RedisError) -> ClientError {
    if let Some(code) = error.code() {
        let message = words(code, error.detail());
        return ClientError::Refused { message };
    }
    let cause = error.to_string();
    match error.is_timeout() {
        true => ClientError::TimedOut { cause },
        false => ClientError::Lost { cause },
    }
}
