//! etcd for robustness scenarios: what a client can do, two clients, what operators do, and how a member starts.
//!
//! - [`client`]: the trait scenarios are written against, its values and errors.
//! - [`gateway`]: that trait over the JSON gateway of etcd, with the crate `hyper`.
//! - [`etcdctl`]: that trait over the program `etcdctl`, which speaks gRPC.
//! - [`operator`]: what operators ask of one member. What it and the gateway's client share is in `http` and `wire`.
//! - [`member`]: the flags of the program `etcd`, and what scenarios may ask of it.
//!
//! Nothing here knows a scenario, nor how the harness places nodes and clients.

pub mod client;
pub mod etcdctl;
pub mod gateway;
mod http;
pub mod member;
pub mod operator;
mod wire;

pub use client::{ClientError, Consistency, EtcdClient, Event, EventKind, KeyValue, Lease, Revision, Watch};
pub use member::{EtcdSettings, Join};
pub use operator::{Hash, MemberId, MemberInfo, Operator, Status};
