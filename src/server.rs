//! Servers: the handle on a node, and the parameter that adds an axis of server kinds.
//!
//! A server starts when its parameter is built and ends with the case: killed, its ports released. One that dies
//! without anybody having ended it ends the case at once.

mod param;
mod reach;
mod restart;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use robust_test_harness::case::Case;
use robust_test_harness::error::Error;
use tokio::net::TcpStream;

use crate::clock::{Backoff, Deadline, human, within};
use crate::disk::Disk;
use crate::down::Down;
use crate::exit::{Exit, Signal};
use crate::hosts::Host;
use crate::instance::{KillError, PauseError, StopError};
use crate::network::Proxy;
use crate::node::Node;
use crate::place::{Place, View};
use crate::service::{Cause, ServerKind, Service, StartFn};
use crate::supervisor::{StandInError, Supervisor};
use crate::tls::{TlsError, TlsFiles};
use crate::view::{AdminView, Internals, InternalsView, NodeLink, ViewError};

pub(crate) use param::{Target, axis, token};
use reach::reach;
pub use restart::{Restart, RestartError};

/// How long an admin view may take to connect.
const ADMIN_WITHIN: Duration = Duration::from_secs(10);
/// How long one look at a node's health may take.
const LOOK_WITHIN: Duration = Duration::from_secs(5);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(50);

/// A running server of service `S`, as a parameter: `broker: Server<Mqtt>` runs the scenario with every
/// kind of server that is registered for `Mqtt`. Clones share the server. The nodes of a
/// [`Cluster`](crate::cluster::Cluster) are servers too.
///
/// Its methods may be called from several tasks; those that change whether it runs wait for one another.
pub struct Server<S: Service>(Arc<Inner<S>>);

struct Inner<S: Service> {
    kind: &'static ServerKind,
    start: &'static StartFn<S>,
    node: tokio::sync::Mutex<Node<S>>,
    supervisor: Arc<Supervisor>,
    internals: Internals,
    case: Case,
}

/// Waiting for a server to end by itself failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExitError {
    /// It was killed or stopped before.
    #[error("node `{node}` does not run, so it cannot end by itself")]
    Down {
        /// The node's name.
        node: String,
    },
    /// It ended, but processes that it started go on.
    #[error(transparent)]
    Kill(#[from] KillError),
}

/// A server is not healthy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node `{node}` was not healthy within {}: {ailment}", human(*within))]
pub struct Unhealthy {
    /// The node's name.
    pub node: String,
    /// How long it had.
    pub within: Duration,
    /// What the last look said.
    pub ailment: String,
}

/// The end of a server that was declared with [`Server::expect_exit`].
#[derive(Debug)]
#[must_use = "it waits for nothing until `wait` is called"]
pub struct ExpectedExit {
    /// `None`: it did not run.
    instance: Option<crate::node::Instance>,
    supervisor: Arc<Supervisor>,
}

impl ExpectedExit {
    /// Waits until it has ended. It is down then, and can be restarted.
    ///
    /// # Errors
    /// When it did not run, or leaves processes behind that cannot be killed.
    pub async fn wait(self) -> Result<Exit, ExitError> {
        let Some(instance) = &self.instance else {
            let node = self.supervisor.place().name().to_owned();
            return Err(ExitError::Down { node });
        };
        Ok(self.supervisor.expected_exit(instance).await?)
    }
}

impl<S: Service> Server<S> {
    /// The name of its kind, as in the case's name.
    pub fn kind(&self) -> &'static str {
        self.0.kind.name
    }

    /// Its node's name: the parameter's.
    pub fn name(&self) -> &str {
        self.place().name()
    }

    /// Its number in its cluster, from 1 on; 1 for a server on its own.
    pub fn number(&self) -> usize {
        self.place().number()
    }

    /// The value of one of its kind's `variants(..)` that it has.
    ///
    /// # Panics
    /// When its kind declares no such axis; the message tells those that it does.
    #[track_caller]
    pub fn variant(&self, axis: &str) -> &str {
        self.place().variant(axis)
    }

    /// The version of its kind's program that it runs: what `--bin KIND@VERSION=PATH` calls it, or `installed`.
    pub fn version(&self) -> String {
        self.place().version()
    }

    /// Where it listens: the port that its start function asked for by this name. The same after a restart. Of a node on a
    /// host of its own, where this process and clients reach it.
    ///
    /// # Panics
    /// When its start function asked for no port of that name, or for one that is not for clients
    /// ([`Node::admin_port`]).
    #[track_caller]
    pub fn endpoint(&self, name: &str) -> SocketAddr {
        self.place().expect_endpoint(name, View::Client)
    }

    /// The proxy in front of the port that its start function asked for by this name, where the parameter is `#[proxied]`:
    /// clients and other nodes reach the port through it ([`Server::endpoint`] is its address), operators do not.
    ///
    /// # Panics
    /// When the parameter is not `#[proxied]`, and as [`Server::endpoint`].
    #[track_caller]
    pub fn proxy(&self, name: &str) -> Proxy {
        self.place().proxy(name)
    }

    /// The host that it is on, where the parameter is `#[hosts]`.
    ///
    /// # Panics
    /// When the parameter is not `#[hosts]`.
    #[track_caller]
    pub fn host(&self) -> &Host {
        match self.place().seat() {
            Some(seat) => seat.host(),
            None => panic!(
                "node `{}` is on no host of its own: write `#[hosts]` on the parameter of its cluster",
                self.name()
            ),
        }
    }

    /// The disk that its data is on, where the parameter is `#[disk]`: to take its power away, fill it, or slow down or fail
    /// its syncs.
    ///
    /// # Panics
    /// When the parameter is not `#[disk]`.
    #[track_caller]
    pub fn disk(&self) -> &Disk {
        match self.place().disk() {
            Some(disk) => disk,
            None => panic!(
                "the data of node `{}` is on no disk of its own: write `#[disk]` on the parameter",
                self.name()
            ),
        }
    }

    /// The folder that its start function knows as [`Node::data_dir`]: empty at first, kept over restarts. It is
    /// made here if the start function asked for none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn data_dir(&self) -> io::Result<PathBuf> {
        self.place().data_dir()
    }

    /// The files that its start function knows as [`Node::tls`], to be renewed or spoiled. They are made here if the
    /// start function asked for none.
    ///
    /// # Errors
    /// As [`Node::tls`].
    pub fn tls(&self) -> Result<TlsFiles, TlsError> {
        self.0.supervisor.disturb();
        self.place().tls::<String>([])
    }

    /// The process id of its first process; `None` when it is down, and for a server inside this process.
    pub fn pid(&self) -> Option<u32> {
        self.0.supervisor.instance()?.pid()
    }

    /// Whether it runs somewhere else, as `[external.KIND]` in robust.toml says: it is not started, cannot be ended or
    /// changed, and does not end with the case; its ports have the addresses that are given there.
    pub fn is_external(&self) -> bool {
        self.place().external().is_some()
    }

    /// Whether it runs (also when paused). One that runs somewhere else is taken to.
    pub fn is_running(&self) -> bool {
        if self.is_external() {
            return true;
        }
        let instance = self.0.supervisor.instance();
        instance.is_some_and(|instance| instance.exit_now().is_none())
    }

    /// Whether it runs and its processes are frozen.
    pub fn is_paused(&self) -> bool {
        self.is_running() && self.0.supervisor.is_paused()
    }

    /// What it has printed so far in this case, over all its starts; bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> io::Result<String> {
        self.place().log().text()
    }

    /// The file that [`Server::log`] reads. That of a shared server has what it printed in the cases before as well.
    pub fn log_path(&self) -> &Path {
        self.place().log().path()
    }

    /// Lines of its log with this text are no defect in this case, whatever they look like; the case's log tells
    /// why.
    pub fn allow_log(&self, text: impl Into<String>, because: &str) {
        let text = text.into();
        tracing::info!(node = self.name(), text, because, "allowed in its log");
        self.place().oracles().allow(text);
    }

    /// Kills it: SIGKILL to all its processes, or the drop of a server inside this process. Returns when
    /// they are gone. Nothing happens when it is down.
    ///
    /// # Errors
    /// When it had died before, or does not end.
    pub async fn kill(&self) -> Result<(), KillError> {
        self.0.supervisor.kill().await
    }

    /// Stops it: what its kind does before, its stop signal, then SIGKILL when that is ignored for 5 s (or what its
    /// kind says). Returns when all its processes are gone. Nothing happens when it is down.
    ///
    /// # Errors
    /// When it had died before, ignored the signal, or crashed on the way out. It is down then.
    pub async fn stop(&self) -> Result<(), StopError> {
        let _turn = self.0.supervisor.turn().await;
        self.0.supervisor.stop_in_turn().await
    }

    /// What its kind does before a stop, without the stop.
    pub(crate) async fn quiesce(&self) -> Result<(), StopError> {
        let _turn = self.0.supervisor.turn().await;
        self.0.supervisor.quiesce().await
    }

    /// Stops it after [`Server::quiesce`].
    pub(crate) async fn stop_quiesced(&self) -> Result<(), StopError> {
        let _turn = self.0.supervisor.turn().await;
        self.0.supervisor.stop_quiesced().await
    }

    /// Starts it, if it is down. Returns when it is ready.
    ///
    /// # Errors
    /// When it does not start, or had died.
    pub async fn start(&self) -> Result<(), RestartError> {
        self.0.supervisor.in_charge()?;
        let _turn = self.0.supervisor.turn().await;
        if self.0.supervisor.is_up().await? {
            return Ok(());
        }
        self.start_in_turn().await
    }

    /// Starts it again, on the same ports and data, with the same start function; stops it before if it
    /// runs. Returns when it is ready.
    ///
    /// # Errors
    /// As [`Server::stop`] (it is not started then), and when it does not start.
    pub async fn restart(&self) -> Result<(), RestartError> {
        self.restarting().run().await
    }

    /// A restart in which something changes: its data, its settings, its files.
    ///
    /// ```
    /// # use robust_test::prelude::*;
    /// # async fn example<S: Service>(server: Server<S>) -> Result {
    /// server.restarting().wipe_data().run().await?;
    /// # Ok(()) }
    /// ```
    pub fn restarting(&self) -> Restart<S> {
        Restart::new(self.clone())
    }

    /// What connections to its ports come to from now on while it is down. Ends when it starts again.
    ///
    /// # Errors
    /// When it runs, or one of its ports cannot be listened on.
    pub async fn while_down(&self, down: Down) -> Result<(), StandInError> {
        self.0.supervisor.stand_in(down).await
    }

    /// Freezes its processes (SIGSTOP): connections stay open, and nothing answers. Returns when they are
    /// frozen. Nothing happens when they are.
    ///
    /// # Errors
    /// When it does not run, had died, or runs inside this process.
    pub async fn pause(&self) -> Result<(), PauseError> {
        self.0.supervisor.pause().await
    }

    /// Lets frozen processes go on (SIGCONT).
    ///
    /// # Errors
    /// As [`Server::pause`].
    pub async fn resume(&self) -> Result<(), PauseError> {
        self.0.supervisor.resume().await
    }

    /// Sends a signal to its first process, as an operator does. A server that ends by it dies, unless
    /// [`Server::expect_exit`] was called before.
    ///
    /// # Errors
    /// When it does not run, had died, or runs inside this process.
    pub async fn signal(&self, signal: Signal) -> Result<(), PauseError> {
        self.0.supervisor.signal(signal).await
    }

    /// Declares that it is going to end by itself, before what makes it: an end that nobody declared ends the case.
    /// Holds for its present start; after a restart it is expected to run again.
    pub fn expect_exit(&self) -> ExpectedExit {
        ExpectedExit {
            instance: self.0.supervisor.expect_exit(),
            supervisor: Arc::clone(&self.0.supervisor),
        }
    }

    /// Says that this case changes it in a way that its kind's reset (`shared(..)`) does not undo: it ends with the case,
    /// and the next one gets a fresh server. Killed, stopped, paused, signalled and restarted ones do so anyway, and all
    /// servers of kinds that are not shared.
    pub fn retire(&self) {
        self.0.supervisor.disturb();
    }

    /// Why it is not healthy; `None` when it is. One look at what its kind calls health
    /// ([`crate::launch::Launch::healthy_when`]), which takes at most 5 s.
    pub async fn ailment(&self) -> Option<String> {
        if let Some(ports) = self.place().external() {
            return unreachable(ports).await;
        }
        match self.0.supervisor.instance() {
            Some(instance) => instance.ailment(LOOK_WITHIN).await,
            None => Some("it does not run".to_owned()),
        }
    }

    /// Waits until it is healthy.
    ///
    /// # Errors
    /// When it is not within `limit`, with what the last look said.
    pub async fn until_healthy(&self, limit: Duration) -> Result<(), Unhealthy> {
        let deadline = Deadline::after(limit);
        let mut backoff = Backoff::up_to(LOOK_PAUSE_MAX);
        let mut last = "it has not answered".to_owned();
        loop {
            match within(deadline.left(), self.ailment()).await {
                Ok(None) => return Ok(()),
                Ok(Some(ailment)) => last = ailment,
                Err(_) => {}
            }
            if deadline.passed() {
                return Err(Unhealthy {
                    node: self.name().to_owned(),
                    within: limit,
                    ailment: last,
                });
            }
            tokio::time::sleep(backoff.next().min(deadline.left())).await;
        }
    }

    /// The admin view: what operators of this node can do, of a service that has one.
    ///
    /// # Errors
    /// When it cannot be had, within 10 s.
    pub async fn admin(&self) -> Result<S::Admin, ViewError>
    where
        S: AdminView,
    {
        let (node, kind) = (|| self.name().to_owned(), self.kind());
        match within(ADMIN_WITHIN, S::admin(self.node_link())).await {
            Ok(Ok(admin)) => Ok(admin),
            Ok(Err(error)) => Err(ViewError::Failed {
                node: node(),
                kind,
                cause: Cause(error),
            }),
            Err(_) => Err(ViewError::TimedOut {
                node: node(),
                kind,
                within: ADMIN_WITHIN,
            }),
        }
    }

    /// What its start function exposed; `None` when it is down, and for a kind that exposes nothing, such as a
    /// process.
    pub fn internals(&self) -> Option<Arc<S::Internals>>
    where
        S: InternalsView,
    {
        self.0.internals.get()
    }

    /// How to reach it by hand: its process, ports, files; several lines.
    pub fn reach(&self) -> String {
        reach(&self.0.supervisor).text
    }

    pub(crate) fn node_link(&self) -> NodeLink {
        NodeLink::new(Arc::clone(self.place()), self.0.case.clone())
    }

    pub(crate) fn case(&self) -> &Case {
        &self.0.case
    }

    pub(crate) fn supervisor(&self) -> &Supervisor {
        &self.0.supervisor
    }

    pub(crate) fn place(&self) -> &Arc<Place> {
        self.0.supervisor.place()
    }

    /// Runs the start function, for a holder of the supervisor's turn.
    async fn start_in_turn(&self) -> Result<(), RestartError> {
        self.0.supervisor.free_ports().await;
        let node = || self.name().to_owned();
        let instance = self.run_start().await.map_err(|error| RestartError::Start {
            node: node(),
            kind: self.kind(),
            cause: Cause(error),
        })?;
        let adopted = self.0.supervisor.adopt(instance).await;
        adopted.map_err(|_| RestartError::Closed { node: node() })
    }

    async fn run_start(&self) -> Result<crate::node::Instance, Error> {
        let mut node = self.0.node.lock().await;
        let started = (self.0.start.0)(&mut node).await;
        if started.is_err() {
            self.0.internals.clear();
        }
        started
    }
}

/// Why a server that runs somewhere else is of no use: one of its ports accepts no connection.
async fn unreachable(ports: &BTreeMap<String, SocketAddr>) -> Option<String> {
    for (name, address) in ports {
        let why = match within(LOOK_WITHIN, TcpStream::connect(address)).await {
            Ok(Ok(_)) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {}", human(LOOK_WITHIN)),
        };
        return Some(format!("nothing answers at its port `{name}`, {address}: {why}"));
    }
    None
}

impl<S: Service> Clone for Server<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Service> fmt::Debug for Server<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name())
            .field("kind", &self.kind())
            .field("pid", &self.pid())
            .finish()
    }
}
