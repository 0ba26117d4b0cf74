//! Services, and the kinds of server and client that implement them.

use std::any::{Any, TypeId};
use std::future::Future;
use std::pin::Pin;

use robust_test_harness::error::{Error, Result};
use robust_test_harness::variant::Declared;

use crate::client::ClientLink;
use crate::node::{Instance, Node};
use crate::serve::Serve;
use crate::view::NodeLink;

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

/// What an async method of a client trait returns, since a trait with `async fn` cannot be used as `dyn`.
///
/// The same type as `BoxFuture` of the crate `futures`, and what the macro `async_trait` writes. Methods that
/// take `&self` can be called again and again by [`eventually`](crate::eventually::eventually), whose attempts
/// share what they capture.
///
/// ```
/// # use robust_test::prelude::*;
/// trait MqttClient: Send {
///     fn publish<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result>;
/// }
///
/// struct Printing;
///
/// impl MqttClient for Printing {
///     fn publish<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result> {
///         Box::pin(async move {
///             println!("{topic}");
///             Ok(())
///         })
///     }
/// }
/// ```
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

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
    /// `shared(..)`: what resets it between cases.
    pub shared: Option<Reset>,
    /// `cluster`: its nodes can form clusters, and start like this.
    pub cluster: Option<StartOrder>,
    /// How it is started by hand.
    pub serve: Serve,
    /// `variants(..)`.
    pub variants: &'static [Declared],
    /// A `StartFn<S>`.
    pub start: &'static (dyn Any + Send + Sync),
}

inventory::collect!(&'static ServerKind);

/// How the nodes of a cluster start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartOrder {
    /// All at once: where each waits for the others.
    Parallel,
    /// One after another, by number: where the first one must be there before the second.
    Serial,
}

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
    /// `requires(..)`: what the server that it connects to must provide.
    pub requires: &'static [&'static str],
    /// `program = ".."`.
    pub program: Option<&'static str>,
    /// `variants(..)`.
    pub variants: &'static [Declared],
    /// A `ConnectFn<S>`.
    pub connect: &'static (dyn Any + Send + Sync),
}

inventory::collect!(&'static ClientKind);

/// The function under `#[robust_server(S)]`.
pub struct StartFn<S: Service>(pub for<'a> fn(&'a mut Node<S>) -> StartFuture<'a>);

/// See [`StartFn`].
pub type StartFuture<'a> = BoxFuture<'a, Result<Instance>>;

/// The function under `#[robust_client(S)]`.
pub struct ConnectFn<S: Service>(pub fn(ClientLink) -> ConnectFuture<S>);

/// See [`ConnectFn`].
pub type ConnectFuture<S> = BoxFuture<'static, Result<Box<<S as Service>::Client>>>;

/// The function that `shared(..)` names: it makes a server that served a case as if it were new.
pub type Reset = fn(NodeLink) -> BoxFuture<'static, Result>;

/// The names of every registered kind, sorted.
pub fn kinds() -> Vec<&'static str> {
    let servers = inventory::iter::<&'static ServerKind>().map(|kind| kind.name);
    let clients = inventory::iter::<&'static ClientKind>().map(|kind| kind.name);
    let mut names: Vec<&'static str> = servers.chain(clients).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The server kinds of `S`, sorted by file, line and name: the order of the axis.
pub(crate) fn server_kinds<S: Service>() -> Vec<&'static ServerKind> {
    let all = inventory::iter::<&'static ServerKind>().copied();
    let mut kinds: Vec<_> = all.filter(|kind| (kind.service)() == TypeId::of::<S>()).collect();
    kinds.sort_by_key(|kind| (kind.file, kind.line, kind.name));
    kinds
}

/// The client kinds of `S`, sorted as [`server_kinds`].
pub(crate) fn client_kinds<S: Service>() -> Vec<&'static ClientKind> {
    let all = inventory::iter::<&'static ClientKind>().copied();
    let mut kinds: Vec<_> = all.filter(|kind| (kind.service)() == TypeId::of::<S>()).collect();
    kinds.sort_by_key(|kind| (kind.file, kind.line, kind.name));
    kinds
}

/// Why an axis of kinds is empty: `robust_server` or `robust_client` was used for no kind of `S`.
pub(crate) fn none_registered<S: Service>(attribute: &str) -> String {
    let name = std::any::type_name::<S>();
    let short = name.rsplit("::").next().unwrap_or(name);
    format!(
        "no #[{attribute}({short})] is registered (kinds in another crate are linked in by `use that_crate as _;`)"
    )
}

/// What a start or connect function failed with, inside of an error that names the server or client.
#[derive(Debug)]
pub struct Cause(pub Error);

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Cause {}
