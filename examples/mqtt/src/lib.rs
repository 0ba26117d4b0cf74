//! MQTT for robustness scenarios: what a client can do, and two brokers to do it with.
//!
//! - [`client`]: the trait scenarios are written against, its options, messages and errors.
//! - [`rumqttc_v4`] (MQTT 3.1.1) and [`rumqttc_v5`] (MQTT 5): that trait over the crate `rumqttc`. What
//!   both share, who is answered by which packet and a connection's task, is in `ledger` and `connection`.
//! - [`embedded`]: the broker `rumqttd` inside this process, and stoppable.
//! - [`mosquitto`]: the configuration of the broker `mosquitto`, a program.
//! - [`settings`]: what scenarios may ask of a broker, whichever it is.
//!
//! Nothing here knows a scenario, nor how the harness places nodes and clients.

pub mod client;
mod connection;
pub mod embedded;
mod ledger;
pub mod monitor;
pub mod mosquitto;
pub mod mosquitto_clients;
pub mod nats_server;
mod printed;
pub mod rumqttc_v4;
pub mod rumqttc_v5;
pub mod settings;
mod trust;

pub use client::{
    Broker, ClientError, ConnectOptions, Message, MqttClient, Protocol, Qos, Retain, Session, SessionPresent,
    Will,
};
pub use settings::{BrokerSettings, Listen, Persistence, ServerTls};
