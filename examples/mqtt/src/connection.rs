//! One connection of a client: the task that polls the library, and what callers wait on. Both versions of
//! MQTT share it; what differs between them is a [`Wire`].

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::client::{
    Broker, ClientError, ConnectOptions, Message, MqttClient, Protocol, Qos, SessionPresent,
};
use crate::ledger::{Answer, Kind, Ledger, Reply};

/// How many requests the library's own queue takes: more than any scenario asks at a time. Its queue grows
/// with use, so a large number costs nothing.
pub(crate) const REQUESTS_MAX: usize = 1 << 20;

/// How long a broker may take to close the connection after DISCONNECT. What the scenario wanted is done by
/// then, so a broker that does not close is not an error.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// A version of MQTT, over a library.
pub(crate) trait Wire: Send + Sync + 'static {
    const PROTOCOL: Protocol;
    type Requests: Requests;
    type Packets: Packets;

    /// Prepares a connection; the first [`Packets::next`] opens it.
    fn open(broker: &Broker, options: &ConnectOptions) -> Result<(Self::Requests, Self::Packets), String>;
}

/// Towards the library. Errors are its words.
pub(crate) trait Requests: Send + 'static {
    fn publish(&self, message: Message) -> Result<(), String>;
    fn subscribe(&self, filter: &str, qos: Qos) -> Result<(), String>;
    fn unsubscribe(&self, filter: &str) -> Result<(), String>;
    fn disconnect(&self) -> Result<(), String>;
}

/// From the library.
pub(crate) trait Packets: Send + 'static {
    /// What happened next. After an error the connection has ended.
    fn next(&mut self) -> impl Future<Output = Result<Packet, String>> + Send;
}

/// What [`Packets::next`] tells.
pub(crate) enum Packet {
    Connected(SessionPresent),
    Sent(Kind, u16),
    Answered(Kind, u16, Result<Answer, Arc<str>>),
    Message(Message),
    /// DISCONNECT went out.
    Disconnecting,
    /// Nothing that anybody waits for.
    Other,
}

enum Command {
    Publish(Message, Reply),
    Subscribe(String, Qos, Reply),
    Unsubscribe(String, Reply),
    Disconnect(oneshot::Sender<()>),
    Read(bool),
}

/// A connection that got its CONNACK. Dropping it drops the socket.
struct Connection {
    commands: mpsc::UnboundedSender<Command>,
    inbox: tokio::sync::Mutex<mpsc::UnboundedReceiver<Message>>,
    /// Set when the task ends.
    ended: Arc<OnceLock<ClientError>>,
    task: Mutex<Option<JoinHandle<()>>>,
    deadline: Duration,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task {
            task.abort();
        }
    }
}

impl Connection {
    async fn open<W: Wire>(
        broker: &Broker,
        options: &ConnectOptions,
    ) -> Result<(Self, SessionPresent), ClientError> {
        let failed = |reason: String| ClientError::Connect {
            broker: broker.address,
            reason: reason.into(),
        };
        let (requests, mut packets) = W::open(broker, options).map_err(failed)?;
        let session = match timeout(options.deadline, packets.next()).await {
            Ok(Ok(Packet::Connected(session))) => session,
            Ok(Ok(_)) => return Err(failed("something else came before CONNACK".to_owned())),
            Ok(Err(reason)) => return Err(failed(reason)),
            Err(_) => return Err(failed(format!("no CONNACK within {:?}", options.deadline))),
        };
        let (commands, orders) = mpsc::unbounded_channel();
        let (arrived, inbox) = mpsc::unbounded_channel();
        let ended = Arc::new(OnceLock::new());
        let driver = Driver {
            requests,
            orders,
            ledger: Ledger::default(),
            arrived,
            reading: true,
            disconnecting: Disconnecting::No,
        };
        let end = ended.clone();
        let task = tokio::spawn(async move {
            let _ = end.set(driver.run(packets).await);
        });
        let connection = Self {
            commands,
            inbox: tokio::sync::Mutex::new(inbox),
            ended,
            task: Mutex::new(Some(task)),
            deadline: options.deadline,
        };
        Ok((connection, session))
    }

    async fn ask(&self, what: String, command: impl FnOnce(Reply) -> Command) -> Result<Answer, ClientError> {
        let (reply, answer) = oneshot::channel();
        self.command(command(reply))?;
        match timeout(self.deadline, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(self.end()),
            Err(_) => Err(ClientError::Unanswered {
                what: what.into(),
                within: self.deadline,
            }),
        }
    }

    fn command(&self, command: Command) -> Result<(), ClientError> {
        self.commands.send(command).map_err(|_| self.end())
    }

    /// Why there is no connection any more.
    fn end(&self) -> ClientError {
        self.ended.get().cloned().unwrap_or(ClientError::NotConnected)
    }

    async fn next(&self, within: Duration) -> Result<Message, ClientError> {
        let receive = async { self.inbox.lock().await.recv().await };
        match timeout(within, receive).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(self.end()),
            Err(_) => Err(ClientError::NoMessage { within }),
        }
    }

    /// Waits for the end of the task, and ends it after `within`.
    async fn close(&self, within: Duration) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut task) = task
            && timeout(within, &mut task).await.is_err()
        {
            task.abort();
            // Its end is a cancellation, which is what was asked for.
            let _ = task.await;
        }
    }
}

/// What the task of a connection owns besides the library's event loop.
struct Driver<R> {
    requests: R,
    orders: mpsc::UnboundedReceiver<Command>,
    ledger: Ledger,
    arrived: mpsc::UnboundedSender<Message>,
    reading: bool,
    disconnecting: Disconnecting,
}

/// How far a DISCONNECT got.
enum Disconnecting {
    No,
    Asked(oneshot::Sender<()>),
    /// What arrives until the broker closes is still read, because closing a socket that has unread data
    /// resets the connection, and a reset can overtake the DISCONNECT.
    Sent,
}

impl<R: Requests> Driver<R> {
    /// Polls until the connection ends, and says why it did.
    async fn run(mut self, mut packets: impl Packets) -> ClientError {
        let end = self.poll(&mut packets).await;
        // First the socket, then who waits: whoever hears of the end may rely on it.
        drop(packets);
        self.ledger.fail_all(&end);
        end
    }

    async fn poll(&mut self, packets: &mut impl Packets) -> ClientError {
        loop {
            let outcome = {
                // Never cancelled but by the end: the library may be in the middle of a write.
                let mut next = pin!(packets.next());
                loop {
                    tokio::select! {
                        outcome = &mut next, if self.reading => break outcome,
                        order = self.orders.recv() => match order {
                            Some(order) => self.obey(order),
                            None => return ClientError::NotConnected,
                        },
                    }
                }
            };
            let told = match outcome {
                Ok(packet) => self.take(packet),
                Err(_) if matches!(self.disconnecting, Disconnecting::Sent) => {
                    return ClientError::NotConnected;
                }
                Err(reason) => Err(reason),
            };
            if let Err(reason) = told {
                let reason = reason.into();
                return ClientError::Lost { reason };
            }
        }
    }

    fn obey(&mut self, order: Command) {
        let (kind, taken) = match order {
            Command::Publish(message, reply) => {
                let what = format!("publish to {}", message.topic).into();
                self.ledger.asked(Kind::Publish, message.qos, what, reply);
                (Kind::Publish, self.requests.publish(message))
            }
            Command::Subscribe(filter, qos, reply) => {
                let what = format!("subscribe to {filter}").into();
                self.ledger.asked(Kind::Subscribe, qos, what, reply);
                (Kind::Subscribe, self.requests.subscribe(&filter, qos))
            }
            Command::Unsubscribe(filter, reply) => {
                let what = format!("unsubscribe from {filter}").into();
                self.ledger.asked(Kind::Unsubscribe, Qos::AtMostOnce, what, reply);
                (Kind::Unsubscribe, self.requests.unsubscribe(&filter))
            }
            Command::Disconnect(sent) => {
                self.reading = true;
                // Otherwise `sent` is dropped, and the caller hears of it.
                if self.requests.disconnect().is_ok() {
                    self.disconnecting = Disconnecting::Asked(sent);
                }
                return;
            }
            Command::Read(reading) => {
                self.reading = reading;
                return;
            }
        };
        if let Err(reason) = taken {
            self.ledger.not_taken(kind, reason.into());
        }
    }

    fn take(&mut self, packet: Packet) -> Result<(), String> {
        match packet {
            Packet::Sent(kind, id) => self.ledger.sent(kind, id),
            Packet::Answered(kind, id, outcome) => self.ledger.answered(kind, id, outcome),
            Packet::Message(message) => {
                // Nobody to receive it: the client is being dropped.
                let _ = self.arrived.send(message);
                Ok(())
            }
            Packet::Connected(_) => Err("the broker sent a second CONNACK".to_owned()),
            Packet::Disconnecting => {
                if let Disconnecting::Asked(sent) =
                    std::mem::replace(&mut self.disconnecting, Disconnecting::Sent)
                {
                    let _ = sent.send(());
                }
                Ok(())
            }
            Packet::Other => Ok(()),
        }
    }
}

/// A client over `W`.
pub(crate) struct Over<W> {
    broker: Broker,
    state: Mutex<(ConnectOptions, Option<Arc<Connection>>)>,
    wire: std::marker::PhantomData<W>,
}

impl<W: Wire> Over<W> {
    /// Connects.
    pub(crate) async fn connect(
        broker: Broker,
        options: ConnectOptions,
    ) -> Result<Box<dyn MqttClient>, ClientError> {
        let client = Self {
            broker,
            state: Mutex::new((options.clone(), None)),
            wire: std::marker::PhantomData,
        };
        MqttClient::connect(&client, options).await?;
        Ok(Box::new(client))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, (ConnectOptions, Option<Arc<Connection>>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> Result<Arc<Connection>, ClientError> {
        self.state().1.clone().ok_or(ClientError::NotConnected)
    }
}

#[async_trait]
impl<W: Wire> MqttClient for Over<W> {
    fn protocol(&self) -> Protocol {
        W::PROTOCOL
    }

    fn options(&self) -> ConnectOptions {
        self.state().0.clone()
    }

    async fn open(
        &self,
        broker: Broker,
        options: ConnectOptions,
    ) -> Result<Box<dyn MqttClient>, ClientError> {
        Self::connect(broker, options).await
    }

    async fn connect(&self, options: ConnectOptions) -> Result<SessionPresent, ClientError> {
        // An error is a connection that had ended.
        let _ = self.disconnect().await;
        self.abort().await;
        self.state().0 = options.clone();
        let (connection, session) = Connection::open::<W>(&self.broker, &options).await?;
        self.state().1 = Some(Arc::new(connection));
        Ok(session)
    }

    async fn send(&self, message: Message) -> Result<(), ClientError> {
        let what = format!("publish to {} at {}", message.topic, message.qos);
        let connection = self.connection()?;
        let answer = connection.ask(what, |reply| Command::Publish(message, reply));
        answer.await.map(drop)
    }

    async fn subscribe(&self, filter: &str, qos: Qos) -> Result<Qos, ClientError> {
        let connection = self.connection()?;
        let what = format!("subscribe to {filter}");
        let command = |reply| Command::Subscribe(filter.to_owned(), qos, reply);
        match connection.ask(what, command).await? {
            Answer::SubAck(granted) => Ok(granted),
            other => Err(ClientError::Refused {
                what: format!("subscribe to {filter}").into(),
                reason: format!("answered by {other:?}").into(),
            }),
        }
    }

    async fn unsubscribe(&self, filter: &str) -> Result<(), ClientError> {
        let connection = self.connection()?;
        let what = format!("unsubscribe from {filter}");
        let command = |reply| Command::Unsubscribe(filter.to_owned(), reply);
        connection.ask(what, command).await.map(drop)
    }

    async fn next(&self, within: Duration) -> Result<Message, ClientError> {
        self.connection()?.next(within).await
    }

    async fn disconnect(&self) -> Result<(), ClientError> {
        let connection = self.connection()?;
        let (reply, sent) = oneshot::channel();
        connection.command(Command::Disconnect(reply))?;
        let outcome = match timeout(connection.deadline, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(connection.end()),
            Err(_) => Err(ClientError::Unanswered {
                what: "sending DISCONNECT".into(),
                within: connection.deadline,
            }),
        };
        connection.close(CLOSE_WAIT).await;
        outcome
    }

    async fn abort(&self) {
        let connection = self.state().1.take();
        if let Some(connection) = connection {
            connection.close(Duration::ZERO).await;
        }
    }

    fn stop_reading(&self) -> Result<(), ClientError> {
        self.connection()?.command(Command::Read(false))
    }

    fn resume_reading(&self) -> Result<(), ClientError> {
        self.connection()?.command(Command::Read(true))
    }
}
