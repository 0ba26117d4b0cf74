//! Services, and the kinds of server and client that implement them.

use std::any::{Any, TypeId};
use std::future::Future;
use std::pin::Pin;

use robust_test_harness::error::Result;

use crate::client::ClientLink;
use crate::node::{Instance, Node};

/// A kind of system: what its clients can do and what configures its servers, whoever wrote them.
///
/// ```
/// # use robust_test::prelude::*;
/// struct Mqtt;
///
/// trait MqttClient: Send {
///     fn publish(&mut self, topic: &str, payload: &[u8]);
/// }
///
/// impl Service for Mqtt {
///     type Client = dyn MqttClient;
///     type Settings = ();
/// }
/// ```
pub trait Service: 'static {
    /// What scenarios hold: usually `dyn Trait` of the author's own trait.
    type Client: ?Sized + Send + 'static;
    /// What `#[settings(..)]` gives to the kinds' start functions; its default otherwise.
    type Settings: Default + Send + Sync + 'static;
}

/// A way to start a server, declared by `#[robust_server(..)]`.
pub struct ServerKind {
    /// The label on the axis.
    pub name: &'static str,
    /// `TypeId::of::<S>`.
    pub service: fn() -> TypeId,
    /// The service's type, as written.
    pub service_name: &'static str,
    /// `file!()`.
    pub file: &'static str,
    /// The attribute's line.
    pub line: u32,
    /// `provides(..)`.
    pub provides: &'static [&'static str],
    /// `program = ".."`.
    pub program: Option<&'static str>,
    /// A `StartFn<S>`.
    pub start: &'static (dyn Any + Send + Sync),
}

inventory::collect!(&'static ServerKind);

/// A way to connect a client, declared by `#[robust_client(..)]`.
pub struct ClientKind {
    /// The label on the axis.
    pub name: &'static str,
    /// `TypeId::of::<S>`.
    pub service: fn() -> TypeId,
    /// The service's type, as written.
    pub service_name: &'static str,
    /// `file!()`.
    pub file: &'static str,
    /// The attribute's line.
    pub line: u32,
    /// `provides(..)`.
    pub provides: &'static [&'static str],
    /// `program = ".."`.
    pub program: Option<&'static str>,
    /// A `ConnectFn<S>`.
    pub connect: &'static (dyn Any + Send + Sync),
}

inventory::collect!(&'static ClientKind);

/// The function under `#[robust_server(S)]`.
pub struct StartFn<S: Service>(pub for<'a> fn(&'a mut Node<S>) -> StartFuture<'a>);

/// See [`StartFn`].
pub type StartFuture<'a> = Pin<Box<dyn Future<Output = Result<Instance>> + Send + 'a>>;

/// The function under `#[robust_client(S)]`.
pub struct ConnectFn<S: Service>(pub fn(ClientLink) -> ConnectFuture<S>);

/// See [`ConnectFn`].
pub type ConnectFuture<S> = Pin<Box<dyn Future<Output = Result<Box<<S as Service>::Client>>> + Send>>;
