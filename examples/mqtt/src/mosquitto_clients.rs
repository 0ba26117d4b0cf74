//! The client `mosquitto-clients`: the programs `mosquitto_pub` and `mosquitto_sub`, MQTT 3.1.1.
//!
//! A connection of these programs is a process, with what it does in its arguments; so this is what there is:
//!
//! - Connected, and not subscribed: a `mosquitto_pub -l` that is given no line to publish. It has the client's name
//!   and last will.
//! - Subscribed: a `mosquitto_sub` under the same name in its place. It subscribes once, when it connects. With a
//!   persistent session it is the only one that ever connects under that name, since the other program would
//!   be sent the session's messages: without a subscription, [`MqttClient::connect`] starts nothing then, and later
//!   ones subscribe again to what was subscribed to.
//! - What is published goes through further `mosquitto_pub`s under names of their own, one after another: one
//!   for a message that differs from the one before in topic, QoS or RETAIN, and one for all that follow it and do not,
//!   which needs 100 ms before it reads its first line. At QoS 0 it is one for all in any case, since nothing else
//!   keeps their order; of messages to different topics nothing does.
//!
//! They end as soon as their DISCONNECT is written; one counts as ended when the broker has closed its connection too, so that
//! the next one finds it gone. They cannot unsubscribe and stay, nor tell whether there was a session, nor leave
//! anything unread. They connect again by themselves; this client ends them when they do, and the connection counts as
//! lost. Until the broker is there again, they do not say that it is not. They have no limits for a packet or a
//! socket's buffer.
//!
//! Into a pipe they print whole blocks only, so they run under `stdbuf`, which becomes the program.

mod arguments;
mod closing;
mod program;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

use crate::client::{
    Broker, ClientError, ConnectOptions, Message, MqttClient, Protocol, Qos, Retain, Session, SessionPresent,
};
use crate::printed::MESSAGE_FORMAT;
use arguments::Arguments;
use program::Program;

/// Where the programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// `mosquitto_sub`.
    pub subscribe: PathBuf,
    /// `mosquitto_pub`.
    pub publish: PathBuf,
}

/// Connects to a broker that speaks MQTT 3.1.1 at `broker`.
///
/// # Errors
/// [`ClientError::Connect`].
pub async fn connect(
    programs: Programs,
    broker: impl Into<Broker>,
    options: ConnectOptions,
) -> Result<Box<dyn MqttClient>, ClientError> {
    let client = MosquittoClients {
        programs,
        broker: broker.into(),
        state: Mutex::new(State {
            options: options.clone(),
            subscribed: None,
            connection: None,
            publishers: 0,
        }),
        publishing: tokio::sync::Mutex::default(),
    };
    client.connect(options).await?;
    Ok(Box::new(client))
}

struct MosquittoClients {
    programs: Programs,
    broker: Broker,
    state: Mutex<State>,
    publishing: tokio::sync::Mutex<Publishing>,
}

struct State {
    options: ConnectOptions,
    /// What the session is subscribed to.
    subscribed: Option<(String, Qos)>,
    connection: Option<Arc<Connection>>,
    /// How many there have been, for their names.
    publishers: u64,
}

enum Connection {
    /// With a session at the broker that nobody is connected to yet.
    Later,
    Publishing(Program),
    Subscribed(Program),
}

/// What was published last, and what is there to publish more of it.
#[derive(Default)]
struct Publishing {
    last: Option<Address>,
    /// A `mosquitto_pub` that publishes lines to `last`.
    program: Option<Program>,
}

/// What messages of one `mosquitto_pub` have in common.
#[derive(PartialEq, Eq)]
struct Address {
    topic: String,
    qos: Qos,
    retain: bool,
}

impl Address {
    fn of(message: &Message) -> Self {
        Self {
            topic: message.topic.clone(),
            qos: message.qos,
            retain: message.retain.into(),
        }
    }
}

/// Whether a payload can be a line of `mosquitto_pub -l`, which ends at a line break and, as a text of C, at a zero.
fn is_line(payload: &[u8]) -> bool {
    !payload.is_empty() && !payload.iter().any(|byte| matches!(byte, b'\n' | 0))
}

impl MosquittoClients {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn options(&self) -> ConnectOptions {
        self.state().options.clone()
    }

    fn connection(&self) -> Result<Arc<Connection>, ClientError> {
        self.state().connection.clone().ok_or(ClientError::NotConnected)
    }

    /// The connection under the client's own name.
    fn own(&self, program: &std::path::Path, options: &ConnectOptions) -> Result<Arguments, ClientError> {
        let mut arguments = Arguments::new(program, &self.broker, &options.client_id, options);
        if options.session == Session::Persistent {
            arguments.flag("-c");
        }
        if let Some(will) = &options.will {
            arguments.will(&will.0)?;
        }
        Ok(arguments)
    }

    async fn open_subscribed(
        &self,
        options: &ConnectOptions,
        filter: &str,
        qos: Qos,
    ) -> Result<(Connection, Qos), ClientError> {
        let mut arguments = self.own(&self.programs.subscribe, options)?;
        arguments.option("-t", filter);
        arguments.option("-q", (qos as u8).to_string());
        arguments.option("-F", MESSAGE_FORMAT);
        let program = arguments.connect(options.deadline).await?;
        let what = format!("subscribe to {filter}");
        let granted = program.granted(&what, options.deadline).await?;
        Ok((Connection::Subscribed(program), granted))
    }

    /// The arguments of a further `mosquitto_pub`, for `message`.
    fn publishing(&self, message: &Message) -> Arguments {
        let (options, number) = {
            let mut state = self.state();
            state.publishers += 1;
            (state.options.clone(), state.publishers)
        };
        let name = format!("{}-pub-{number}", options.client_id);
        let mut arguments = Arguments::new(&self.programs.publish, &self.broker, &name, &options);
        arguments.option("-M", options.max_in_flight.to_string());
        arguments.option("-t", &message.topic);
        arguments.option("-q", (message.qos as u8).to_string());
        if message.retain == Retain::Yes {
            arguments.flag("-r");
        }
        arguments
    }

    async fn publish_line(
        &self,
        publishing: &mut Publishing,
        message: &Message,
        deadline: Duration,
    ) -> Result<(), ClientError> {
        let program = match publishing.program.take() {
            Some(program) => program,
            None => {
                let mut arguments = self.publishing(message);
                arguments.flag("-l");
                arguments.connect(deadline).await?
            }
        };
        program.publish(message, deadline).await?;
        // Of one that failed it is not known what it still does.
        publishing.program = Some(program);
        Ok(())
    }
}

/// Ends the program that publishes lines. What was acknowledged is done; of QoS 0 it may still have some to write.
async fn leave(publishing: &mut Publishing, deadline: Duration) -> Result<(), ClientError> {
    let last = publishing.last.take();
    match (publishing.program.take(), last) {
        (Some(program), Some(last)) if last.qos == Qos::AtMostOnce => program.finish(deadline).await,
        (Some(program), _) => {
            program.kill().await;
            Ok(())
        }
        (None, _) => Ok(()),
    }
}

#[async_trait]
impl MqttClient for MosquittoClients {
    fn protocol(&self) -> Protocol {
        Protocol::V311
    }

    fn options(&self) -> ConnectOptions {
        self.options()
    }

    async fn open(
        &self,
        broker: Broker,
        options: ConnectOptions,
    ) -> Result<Box<dyn MqttClient>, ClientError> {
        connect(self.programs.clone(), broker, options).await
    }

    async fn connect(&self, options: ConnectOptions) -> Result<SessionPresent, ClientError> {
        // An error is a connection that had ended.
        let _ = self.disconnect().await;
        self.abort().await;
        let resumed = {
            let mut state = self.state();
            if options.session == Session::Clean || options.client_id != state.options.client_id {
                state.subscribed = None;
            }
            state.options = options.clone();
            state.subscribed.clone()
        };
        let connection = match (options.session, resumed) {
            (Session::Persistent, Some((filter, qos))) => {
                self.open_subscribed(&options, &filter, qos).await?.0
            }
            (Session::Persistent, None) => Connection::Later,
            (Session::Clean, _) => {
                let mut arguments = self.own(&self.programs.publish, &options)?;
                // It is given nothing to publish there.
                arguments.option("-t", "nothing");
                arguments.flag("-l");
                Connection::Publishing(arguments.connect(options.deadline).await?)
            }
        };
        self.state().connection = Some(Arc::new(connection));
        Ok(SessionPresent::Unknown)
    }

    async fn send(&self, message: Message) -> Result<(), ClientError> {
        self.connection()?;
        let deadline = self.options().deadline;
        let mut publishing = self.publishing.lock().await;
        let address = Address::of(&message);
        let again = publishing.last.as_ref() == Some(&address);
        if !again {
            leave(&mut publishing, deadline).await?;
        }
        publishing.last = Some(address);
        if is_line(&message.payload) && (again || message.qos == Qos::AtMostOnce) {
            return self.publish_line(&mut publishing, &message, deadline).await;
        }
        let mut arguments = self.publishing(&message);
        arguments.flag(if message.payload.is_empty() { "-n" } else { "-s" });
        arguments.run(&message, deadline).await
    }

    async fn subscribe(&self, filter: &str, qos: Qos) -> Result<Qos, ClientError> {
        match &*self.connection()? {
            Connection::Subscribed(_) => {
                return Err(ClientError::Refused {
                    what: format!("subscribe to {filter}").into(),
                    reason: "mosquitto_sub subscribes when it connects, and not again".into(),
                });
            }
            Connection::Publishing(program) => program.finish(self.options().deadline).await?,
            Connection::Later => {}
        }
        let options = self.options();
        let (connection, granted) = self.open_subscribed(&options, filter, qos).await?;
        let mut state = self.state();
        state.connection = Some(Arc::new(connection));
        state.subscribed = Some((filter.to_owned(), qos));
        Ok(granted)
    }

    async fn unsubscribe(&self, filter: &str) -> Result<(), ClientError> {
        Err(ClientError::Refused {
            what: format!("unsubscribe from {filter}").into(),
            reason: "mosquitto_sub does so only when it connects".into(),
        })
    }

    async fn next(&self, within: Duration) -> Result<Message, ClientError> {
        match &*self.connection()? {
            Connection::Subscribed(program) => match timeout(within, program.next_message()).await {
                Ok(message) => message,
                Err(_) => Err(ClientError::NoMessage { within }),
            },
            Connection::Publishing(program) => match timeout(within, program.end()).await {
                Ok(end) => Err(end),
                Err(_) => Err(ClientError::NoMessage { within }),
            },
            Connection::Later => {
                tokio::time::sleep(within).await;
                Err(ClientError::NoMessage { within })
            }
        }
    }

    async fn disconnect(&self) -> Result<(), ClientError> {
        let deadline = self.options().deadline;
        leave(&mut *self.publishing.lock().await, deadline).await?;
        let connection = self.connection()?;
        self.state().connection = None;
        match &*connection {
            Connection::Later => Ok(()),
            Connection::Publishing(program) => program.finish(deadline).await,
            Connection::Subscribed(program) => program.interrupt(deadline).await,
        }
    }

    async fn abort(&self) {
        let publisher = std::mem::take(&mut *self.publishing.lock().await);
        if let Some(program) = publisher.program {
            program.kill().await;
        }
        let connection = self.state().connection.take();
        if let Some(Connection::Publishing(program) | Connection::Subscribed(program)) = connection.as_deref()
        {
            program.kill().await;
        }
    }

    fn stop_reading(&self) -> Result<(), ClientError> {
        Err(ClientError::Refused {
            what: "leaving messages unread".into(),
            reason: "mosquitto_sub reads all there is".into(),
        })
    }

    fn resume_reading(&self) -> Result<(), ClientError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_line_is_not_published_as_one() {
        assert!(is_line(b"rain") && is_line(b"a\rb\xff "));
        for payload in [&b""[..], b"a\nb", b"\n", b"a\0b"] {
            assert!(!is_line(payload), "{payload:?}");
        }
    }
}
