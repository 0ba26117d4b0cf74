//! What a scenario may ask of a broker, whichever it is, and where it listens.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Limits that brokers of every kind know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerSettings {
    /// Connections at a time. Default: 1,000.
    pub max_connections: usize,
    /// The longest packet. Default: 1 MiB.
    pub max_packet_bytes: usize,
    /// Messages of QoS 1 and 2 sent to a client and not yet acknowledged. rumqttd always has 100.
    /// Default: 20, which is mosquitto's.
    pub max_in_flight: u16,
    /// Messages kept for a client that is away or slow, beyond those in flight. rumqttd does not count: it
    /// keeps 1 GiB a filter. Default: 1,000, which is mosquitto's.
    pub max_queued: usize,
    /// What outlives the broker. Default: [`Persistence::OnExit`], which mosquitto's Debian package has.
    pub persistence: Persistence,
}

/// What a broker keeps on disk: retained messages, persistent sessions and their messages. rumqttd never
/// keeps anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing.
    Off,
    /// Everything, written at a clean exit (and every 30 minutes).
    OnExit,
    /// Everything, written after every change.
    OnChange,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self {
            max_connections: 1_000,
            max_packet_bytes: 1024 * 1024,
            max_in_flight: 20,
            max_queued: 1_000,
            persistence: Persistence::OnExit,
        }
    }
}

/// Where a broker listens, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// For MQTT 3.1.1.
    pub v4: SocketAddr,
    /// For MQTT 5; for 3.1.1 too, where one listener speaks both.
    pub v5: SocketAddr,
    /// What it proves itself by; `None`: it listens without TLS.
    pub tls: Option<ServerTls>,
}

/// The files by which a broker proves who it is, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// Its certificate.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}
