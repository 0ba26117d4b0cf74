//! Key-value servers for robustness scenarios: what a client can do, and two servers to do it with.
//!
//! - [`client`]: the trait scenarios are written against, its options, commands, replies and errors.
//! - [`redis_rs`] and [`fred_rs`]: that trait over the crates `redis` and `fred`.
//! - [`redis_server`]: the configuration of `redis-server`, a program. [`operator`]: what its operators do.
//! - [`settings`]: what scenarios may ask of a server, whichever it is.
//!
//! The server `mini-redis` needs nothing here: its crate runs it inside this process.
//!
//! Nothing here knows a scenario, nor how the harness places nodes and clients.

pub mod client;
pub mod fred_rs;
pub mod operator;
pub mod redis_rs;
pub mod redis_server;
pub mod settings;

pub use client::{ClientError, Command, ConnectOptions, KvClient, Message, Reply, Subscriber};
pub use operator::{Operator, Role};
pub use settings::{KvSettings, Persistence};
