//! One node of a server: what its kind's start function is given.
//!
//! A start function asks the node for ports and files, and ends in [`Node::command`] for a program or in
//! [`Node::task`] or [`Node::thread`] for a server inside this process. It is called again for a restart,
//! with the same node: the same ports, the same files. It knows nothing of kills, faults and teardown.
//!
//! ```
//! use robust_test::prelude::*;
//! # struct Mqtt;
//! # impl Service for Mqtt { type Client = (); type Settings = (); }
//!
//! async fn mosquitto(node: &mut Node<Mqtt>) -> Result<Instance> {
//!     let config = node.write_file("mosquitto.conf", format!("listener {}\n", node.port("mqtt")))?;
//!     let command = node.command("mosquitto").arg("-c").arg(config);
//!     Ok(command.ready_when(tcp("mqtt")).spawn().await?)
//! }
//! ```

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::command::{Embedded, ServerCommand};
use crate::in_process::{self, Ending, Stopping};
use crate::member::{Member, Members};
use crate::place::{Place, ProgramError, View, WriteFileError};
use crate::port::local;
use crate::service::Service;
use crate::tls::{TlsError, TlsFiles};
use crate::view::{Internals, InternalsView};

pub use crate::instance::Instance;

/// What a start function is given.
#[derive(Debug)]
pub struct Node<S: Service> {
    place: Arc<Place>,
    settings: Arc<S::Settings>,
    members: Members,
    internals: Internals,
}

impl<S: Service> Node<S> {
    pub(crate) fn new(
        place: Arc<Place>,
        settings: Arc<S::Settings>,
        members: Members,
        internals: Internals,
    ) -> Self {
        Self {
            place,
            settings,
            members,
            internals,
        }
    }

    pub(crate) fn set_settings(&mut self, settings: S::Settings) {
        self.settings = Arc::new(settings);
    }

    /// The node's name in messages and file names: the scenario's parameter, `broker`; the second one of a
    /// parameter that holds several is `broker-2`, the second one of the cluster `db` is `db-2`.
    pub fn name(&self) -> &str {
        self.place.name()
    }

    /// Its number in its cluster, from 1 on; 1 for a server on its own.
    pub fn number(&self) -> usize {
        self.place.number()
    }

    /// The nodes of its cluster, itself included, by number; itself alone for a server on its own. They are
    /// prepared: their addresses can be told, whether they run or not.
    ///
    /// ```
    /// # use robust_test::prelude::*;
    /// # fn example<S: Service>(node: &Node<S>) {
    /// let peers: Vec<String> = node
    ///     .members()
    ///     .iter()
    ///     .map(|member| format!("{}=http://{}", member.name(), member.address("peer")))
    ///     .collect();
    /// # }
    /// ```
    pub fn members(&self) -> Vec<Member> {
        self.members.all()
    }

    /// Whether it was added to a cluster that had been formed without it.
    pub fn is_joining(&self) -> bool {
        self.members.joined_later(self.number())
    }

    /// Which start this is: 1 for the first one, 2 for that after the first restart.
    pub fn start(&self) -> u32 {
        self.place.starts() + 1
    }

    /// Hands what is inside of a server in this process to [`crate::server::Server::internals`], until the node
    /// stops.
    pub fn expose(&self, internals: impl Into<Arc<S::Internals>>)
    where
        S: InternalsView,
    {
        self.internals.put(internals.into());
    }

    /// The port called `name`, for the server to listen on at 127.0.0.1 (or every address): leased for this
    /// node when it is first asked for, and the same after a restart. No other node of any case on this
    /// machine gets it meanwhile.
    ///
    /// # Panics
    /// When no port of this machine is free.
    #[track_caller]
    pub fn port(&self, name: &str) -> u16 {
        self.place.expect_port(name, View::Client)
    }

    /// As [`Node::port`], for what operators talk to and clients do not: [`crate::view::NodeLink`] has it,
    /// [`crate::client::ClientLink`] does not.
    ///
    /// # Panics
    /// As [`Node::port`].
    #[track_caller]
    pub fn admin_port(&self, name: &str) -> u16 {
        self.place.expect_port(name, View::Admin)
    }

    /// Where the server listens: `127.0.0.1` and [`Node::port`]. On a host of its own, where the scenario's parameter is
    /// `#[hosts]`, the host's address and that port.
    ///
    /// # Panics
    /// As [`Node::port`].
    #[track_caller]
    pub fn address(&self, name: &str) -> SocketAddr {
        self.place.own_address(self.port(name))
    }

    /// Where this process reaches the port called `name`, for probes: always `127.0.0.1` and [`Node::port`]. The same as
    /// [`Node::address`], unless the node is on a host of its own.
    ///
    /// # Panics
    /// As [`Node::port`].
    #[track_caller]
    pub fn local_address(&self, name: &str) -> SocketAddr {
        local(self.port(name))
    }

    /// Where other nodes and clients reach the port called `name`: for what a server tells others of itself. The same as
    /// [`Node::address`], unless the scenario's parameter is `#[proxied]`: that of the proxy then, but where it is on a host
    /// of its own.
    ///
    /// # Panics
    /// As [`Node::port`].
    #[track_caller]
    pub fn advertised(&self, name: &str) -> SocketAddr {
        self.place.expect_advertised(name)
    }

    /// The value of one of the kind's `variants(..)` that this node has: the same over restarts.
    ///
    /// # Panics
    /// When the kind declares no such axis; the message tells those that it does.
    #[track_caller]
    pub fn variant(&self, axis: &str) -> &str {
        self.place.variant(axis)
    }

    /// What `#[settings(..)]` says, else the default.
    pub fn settings(&self) -> &S::Settings {
        &self.settings
    }

    /// The node's folder, made on first use and kept over restarts; the same one that [`Node::write_file`]
    /// writes to.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self) -> io::Result<&Path> {
        self.place.folder()
    }

    /// A folder for the server's data, empty at the first start and kept over restarts.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn data_dir(&self) -> io::Result<PathBuf> {
        self.place.data_dir()
    }

    /// Writes a file into the node's folder, over what a former start wrote; returns its path. The name may
    /// contain folders, which are made.
    ///
    /// # Errors
    /// When it cannot be written, or the name leads out of the folder.
    pub fn write_file(
        &self,
        name: impl AsRef<Path>,
        contents: impl AsRef<[u8]>,
    ) -> Result<PathBuf, WriteFileError> {
        self.place.write_file(name.as_ref(), contents.as_ref())
    }

    /// The node's certificate and key, and the authority that every node and client of the run trusts: made when
    /// they are first asked for, and the same after a restart. Valid for 127.0.0.1, ::1, `localhost` and the node's
    /// name, as a server and, towards its peers, as a client. See [`tls`](crate::tls).
    ///
    /// # Errors
    /// When they cannot be made, or the node's name is longer than 64 characters.
    pub fn tls(&self) -> Result<TlsFiles, TlsError> {
        self.tls_for::<String>([])
    }

    /// As [`Node::tls`], for these host names (`db.example`, `*.example`) and addresses (`10.0.0.1`) as well. A
    /// certificate that lacks one of them is replaced.
    ///
    /// # Errors
    /// As [`Node::tls`], and for what is neither a host name nor an address.
    pub fn tls_for<N: Into<String>>(&self, names: impl IntoIterator<Item = N>) -> Result<TlsFiles, TlsError> {
        self.place.tls(names)
    }

    /// The node's log: `<case folder>/<node>.log`. A program's output goes there; a server inside this
    /// process may write to it.
    pub fn log_path(&self) -> &Path {
        self.place.log().path()
    }

    /// The path of the kind's program (`program = ".."`): what `--bin` says, else as found on the path.
    ///
    /// # Errors
    /// When the attribute names no program, or it is not installed.
    pub fn program(&self) -> Result<PathBuf, ProgramError> {
        self.place.program()
    }

    /// A program to run as this node: a path, a name on the path, or the kind's own `program`, which `--bin`
    /// replaces.
    pub fn command(&self, program: impl AsRef<Path>) -> ServerCommand {
        ServerCommand::of(self.place.clone(), program.as_ref())
    }

    /// An async server to run inside the case's process: on a thread and tokio runtime of its own, so that a
    /// kill drops it and every task it spawned. It should return soon after its [`Stopping`] says so.
    ///
    /// ```
    /// # use robust_test::prelude::*;
    /// # struct Echo;
    /// # impl Service for Echo { type Client = (); type Settings = (); }
    /// async fn embedded(node: &mut Node<Echo>) -> Result<Instance> {
    ///     let address = node.address("echo");
    ///     let serve = move |stopping: Stopping| async move {
    ///         let listener = tokio::net::TcpListener::bind(address).await?;
    ///         tokio::select! {
    ///             () = stopping.requested() => {}
    ///             accepted = listener.accept() => drop(accepted?),
    ///         }
    ///         Ok::<(), std::io::Error>(())
    ///     };
    ///     Ok(node.task(serve).ready_when(tcp("echo")).spawn().await?)
    /// }
    /// ```
    pub fn task<F, Fut>(&self, serve: F) -> Embedded
    where
        F: FnOnce(Stopping) -> Fut + Send + 'static,
        Fut: Future<Output: Ending> + Send + 'static,
    {
        Embedded::of(self.place.clone(), in_process::task(serve))
    }

    /// A blocking server to run on a thread of the case's process. A thread cannot be killed: give it
    /// [`Embedded::on_kill`].
    pub fn thread<F, R>(&self, serve: F) -> Embedded
    where
        F: FnOnce(Stopping) -> R + Send + 'static,
        R: Ending,
    {
        Embedded::of(self.place.clone(), in_process::thread(serve))
    }
}
