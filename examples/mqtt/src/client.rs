//! What a scenario can do with a client, whoever wrote it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

/// A client of an MQTT broker. Its methods may be called concurrently; each wait is bounded by
/// [`ConnectOptions::deadline`] or by its argument.
///
/// Nothing reconnects by itself: when the connection ends, what waits for it fails with
/// [`ClientError::Lost`]. Dropping a client drops its connection without DISCONNECT, as [`abort`] does.
///
/// [`abort`]: MqttClient::abort
#[async_trait]
pub trait MqttClient: Send + Sync {
    /// The version of MQTT this client speaks.
    fn protocol(&self) -> Protocol;

    /// The options of the present connection, or of the last one.
    fn options(&self) -> ConnectOptions;

    /// Opens another client of the same kind, to any broker. It is not closed by the end of a case, but by its drop.
    async fn open(&self, broker: Broker, options: ConnectOptions)
    -> Result<Box<dyn MqttClient>, ClientError>;

    /// Ends the connection there is, as [`MqttClient::disconnect`] does, and opens one with `options`. Says
    /// whether the broker had kept a session for this client.
    async fn connect(&self, options: ConnectOptions) -> Result<SessionPresent, ClientError>;

    /// Sends `message` and waits for what the broker owes for its quality of service: nothing for
    /// QoS 0 (the packet is written to the socket), PUBACK for QoS 1, PUBCOMP for QoS 2.
    async fn send(&self, message: Message) -> Result<(), ClientError>;

    /// Subscribes and waits for SUBACK; the quality of service is the granted one.
    async fn subscribe(&self, filter: &str, qos: Qos) -> Result<Qos, ClientError>;

    /// Unsubscribes and waits for UNSUBACK.
    async fn unsubscribe(&self, filter: &str) -> Result<(), ClientError>;

    /// The next message, in order of arrival.
    ///
    /// # Errors
    /// [`ClientError::NoMessage`] after `within`; [`ClientError::Lost`] when none is left and the
    /// connection has ended.
    async fn next(&self, within: Duration) -> Result<Message, ClientError>;

    /// Sends DISCONNECT, and waits until the broker has closed the connection.
    async fn disconnect(&self) -> Result<(), ClientError>;

    /// Drops the TCP connection without DISCONNECT: the broker publishes the last will.
    async fn abort(&self);

    /// Leaves what arrives in the socket, so that the broker cannot send on once its buffers are full;
    /// nothing is sent either, not even a PINGREQ. See [`ConnectOptions::receive_buffer_bytes`].
    fn stop_reading(&self) -> Result<(), ClientError>;

    /// Undoes [`MqttClient::stop_reading`].
    fn resume_reading(&self) -> Result<(), ClientError>;

    /// [`MqttClient::send`] of a message that is not retained.
    async fn publish(&self, topic: &str, payload: &[u8], qos: Qos) -> Result<(), ClientError> {
        self.send(Message::new(topic, payload, qos)).await
    }

    /// [`MqttClient::send`] of a message that the broker retains for `topic`; an empty payload removes
    /// the one that is retained.
    async fn retain(&self, topic: &str, payload: &[u8], qos: Qos) -> Result<(), ClientError> {
        self.send(Message::new(topic, payload, qos).retained()).await
    }
}

/// A version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.
    V5,
}

/// A quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
    /// QoS 2.
    ExactlyOnce,
}

impl TryFrom<u8> for Qos {
    type Error = ClientError;

    fn try_from(level: u8) -> Result<Self, ClientError> {
        match level {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            2 => Ok(Self::ExactlyOnce),
            _ => Err(ClientError::NoSuchQos { level }),
        }
    }
}

impl fmt::Display for Qos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QoS {}", *self as u8)
    }
}

/// The RETAIN flag of a PUBLISH packet. To a broker: keep this as the topic's last message. From a broker:
/// this was kept, and was sent because of a new subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retain {
    /// 0.
    No,
    /// 1.
    Yes,
}

impl From<bool> for Retain {
    fn from(flag: bool) -> Self {
        if flag { Self::Yes } else { Self::No }
    }
}

impl From<Retain> for bool {
    fn from(retain: Retain) -> Self {
        retain == Retain::Yes
    }
}

/// An application message, as published or as received.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Where to, without wildcards.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// As published, or as delivered.
    pub qos: Qos,
    /// See [`Retain`].
    pub retain: Retain,
    /// The DUP flag of what was received: an earlier attempt may have been delivered. Not sent.
    pub duplicate: bool,
}

impl Message {
    /// A message that is not retained.
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>, qos: Qos) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos,
            retain: Retain::No,
            duplicate: false,
        }
    }

    /// The same, to be retained.
    #[must_use]
    pub fn retained(mut self) -> Self {
        self.retain = Retain::Yes;
        self
    }

    /// The payload as text.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.payload)
    }
}

impl fmt::Debug for Message {
    /// On one line; of a long payload the beginning and the length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_BYTES: usize = 64;
        write!(f, "{}: ", self.topic)?;
        if self.payload.len() <= SHOWN_BYTES {
            write!(f, "{:?}", self.text())?;
        } else {
            let beginning = String::from_utf8_lossy(&self.payload[..SHOWN_BYTES]);
            write!(f, "{beginning:?}.. ({} bytes)", self.payload.len())?;
        }
        write!(f, " ({}", self.qos)?;
        if self.retain == Retain::Yes {
            f.write_str(", retained")?;
        }
        if self.duplicate {
            f.write_str(", duplicate")?;
        }
        f.write_str(")")
    }
}

/// Where a broker listens, and whom to trust for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Where.
    pub address: SocketAddr,
    /// The certificate of the authority that vouches for the broker, in PEM. `None`: no TLS.
    pub authority: Option<PathBuf>,
}

impl From<SocketAddr> for Broker {
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            authority: None,
        }
    }
}

/// How to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Names the session; a second connection with it takes the first one's place.
    pub client_id: String,
    /// Default: [`Session::Clean`].
    pub session: Session,
    /// Between PINGREQs, in whole seconds, at least 5. Default: 60 seconds.
    pub keep_alive: Duration,
    /// Published by the broker when the connection ends without DISCONNECT. Default: none.
    pub will: Option<Will>,
    /// How long the broker may take for an answer. Default: 10 seconds.
    pub deadline: Duration,
    /// The socket's receive buffer. A small one makes a client that stops reading felt soon.
    /// Default: the system's.
    pub receive_buffer_bytes: Option<u32>,
    /// How many publishes of QoS 1 and 2 may wait for their acknowledgement; later ones wait in the
    /// client. Default: 100.
    pub max_in_flight: u16,
    /// The longest packet accepted from the broker. Default: 1 MiB.
    pub max_packet_bytes: u32,
}

impl ConnectOptions {
    /// The defaults, with this client id.
    pub fn new(client_id: impl Into<String>) -> Self {
        Self {
            client_id: client_id.into(),
            session: Session::Clean,
            keep_alive: Duration::from_secs(60),
            will: None,
            deadline: Duration::from_secs(10),
            receive_buffer_bytes: None,
            max_in_flight: 100,
            max_packet_bytes: 1024 * 1024,
        }
    }

    /// With a session that outlives the connection.
    #[must_use]
    pub fn persistent(mut self) -> Self {
        self.session = Session::Persistent;
        self
    }

    /// With a session that ends with the connection.
    #[must_use]
    pub fn clean(mut self) -> Self {
        self.session = Session::Clean;
        self
    }

    /// With a last will.
    #[must_use]
    pub fn will(mut self, topic: impl Into<String>, payload: impl Into<Vec<u8>>, qos: Qos) -> Self {
        self.will = Some(Will(Message::new(topic, payload, qos)));
        self
    }
}

/// Whether the broker keeps subscriptions and undelivered messages between connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// It starts without, and keeps nothing.
    Clean,
    /// It resumes what it has kept, and keeps it without end (MQTT 5: an expiry interval of 0xFFFFFFFF).
    Persistent,
}

/// What the broker answered about a session of before, as far as the client tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionPresent {
    /// It had none, or dropped it.
    No,
    /// It resumed it.
    Yes,
    /// The client does not tell.
    Unknown,
}

impl From<bool> for SessionPresent {
    fn from(flag: bool) -> Self {
        if flag { Self::Yes } else { Self::No }
    }
}

/// A last will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will(pub Message);

/// Why a client could not do as it was told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// Before CONNACK, or instead of it.
    #[error("cannot connect to {broker}: {reason}")]
    Connect {
        /// The address.
        broker: SocketAddr,
        /// The library's words.
        reason: Arc<str>,
    },
    /// The connection ended, and with it what was under way.
    #[error("connection lost: {reason}")]
    Lost {
        /// The library's words.
        reason: Arc<str>,
    },
    /// Not connected, or no longer so by the client's own doing.
    #[error("not connected")]
    NotConnected,
    /// The broker said no, or the client library did before it was asked.
    #[error("{what} refused: {reason}")]
    Refused {
        /// Of what.
        what: Arc<str>,
        /// The reason code, or the library's words.
        reason: Arc<str>,
    },
    /// The broker did not answer in time.
    #[error("{what}: no answer within {within:?}")]
    Unanswered {
        /// To what.
        what: Arc<str>,
        /// [`ConnectOptions::deadline`].
        within: Duration,
    },
    /// No message arrived in time.
    #[error("no message within {within:?}")]
    NoMessage {
        /// As asked.
        within: Duration,
    },
    /// Not 0, 1 or 2.
    #[error("there is no QoS {level}")]
    NoSuchQos {
        /// The number.
        level: u8,
    },
}
