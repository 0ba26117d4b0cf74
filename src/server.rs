//! Servers: the parameter that adds an axis of server kinds, and the handle on the started node.
//!
//! A server starts when its parameter is built and ends with the case: killed, its ports released. One that dies
//! without anybody having ended it ends the case at once.

use std::any::TypeId;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use robust_test_harness::error::{Error, error};
use robust_test_harness::param::{
    Axis, AxisValue, Build, Environment, Param, Shape, TakesKinds, TakesSettings, Token,
};
use robust_test_harness::registry::Site;

use crate::command::StartError;
use crate::exit::Exit;
use crate::instance::{KillError, PauseError, StopError};
use crate::node::Node;
use crate::place::{Place, unavailable};
use crate::service::{Cause, ServerKind, Service, StartFn, none_registered, server_kinds};
use crate::supervisor::Supervisor;

/// A running server of service `S`, as a parameter: `broker: Server<Mqtt>` runs the scenario with every
/// kind of server that is registered for `Mqtt`. Clones share the server.
///
/// Its methods may be called from several tasks; those that change whether it runs wait for one another.
pub struct Server<S: Service>(Arc<Inner<S>>);

struct Inner<S: Service> {
    kind: &'static ServerKind,
    start: &'static StartFn<S>,
    node: tokio::sync::Mutex<Node<S>>,
    supervisor: Arc<Supervisor>,
}

/// A server could not be restarted; it is down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestartError {
    /// It had to be stopped first, and that went wrong.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// Its start function failed.
    #[error("cannot start server `{node}` ({kind}) again")]
    Start {
        /// The node's name.
        node: String,
        /// The kind's name.
        kind: &'static str,
        /// What the start function says.
        #[source]
        cause: Cause,
    },
    /// Nothing starts after the end of the case.
    #[error("server `{node}` cannot be restarted: its case is over")]
    Closed {
        /// The node's name.
        node: String,
    },
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

    /// Where it listens: the port that its start function asked for by this name. The same after a restart.
    ///
    /// # Panics
    /// When its start function asked for no port of that name.
    #[track_caller]
    pub fn endpoint(&self, name: &str) -> SocketAddr {
        endpoint(self.place(), name)
    }

    /// The folder that its start function knows as [`Node::data_dir`]: empty at first, kept over restarts. It is
    /// made here if the start function asked for none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn data_dir(&self) -> io::Result<PathBuf> {
        self.place().data_dir()
    }

    /// The process id of its first process; `None` when it is down, and for a server inside this process.
    pub fn pid(&self) -> Option<u32> {
        self.0.supervisor.instance()?.pid()
    }

    /// Whether it runs (also when paused).
    pub fn is_running(&self) -> bool {
        let instance = self.0.supervisor.instance();
        instance.is_some_and(|instance| instance.exit_now().is_none())
    }

    /// What it has printed so far, over all its starts; bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> io::Result<String> {
        self.place().log().text()
    }

    /// The file that [`Server::log`] reads.
    pub fn log_path(&self) -> &Path {
        self.place().log().path()
    }

    /// Kills it: SIGKILL to all its processes, or the drop of a server inside this process. Returns when
    /// they are gone. Nothing happens when it is down.
    ///
    /// # Errors
    /// When it had died before, or does not end.
    pub async fn kill(&self) -> Result<(), KillError> {
        self.0.supervisor.kill().await
    }

    /// Stops it: its stop signal, then SIGKILL when that is ignored for 5 s (or what its kind says). Returns
    /// when all its processes are gone. Nothing happens when it is down.
    ///
    /// # Errors
    /// When it had died before, ignored the signal, or crashed on the way out. It is down then.
    pub async fn stop(&self) -> Result<(), StopError> {
        self.0.supervisor.stop().await
    }

    /// Starts it again, on the same ports and data, with the same start function; stops it before if it
    /// runs. Returns when it is ready.
    ///
    /// # Errors
    /// As [`Server::stop`] (it is not started then), and when it does not start.
    pub async fn restart(&self) -> Result<(), RestartError> {
        let _turn = self.0.supervisor.turn().await;
        self.0.supervisor.stop_in_turn().await?;
        let node = || self.name().to_owned();
        let instance = self.start().await.map_err(|error| RestartError::Start {
            node: node(),
            kind: self.kind(),
            cause: Cause(error),
        })?;
        let adopted = self.0.supervisor.adopt(instance).await;
        adopted.map_err(|_| RestartError::Closed { node: node() })
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

    /// Declares that it is going to end by itself, before what makes it: an end that nobody declared ends the case.
    /// Holds for its present start; after a restart it is expected to run again.
    pub fn expect_exit(&self) -> ExpectedExit {
        ExpectedExit {
            instance: self.0.supervisor.expect_exit(),
            supervisor: Arc::clone(&self.0.supervisor),
        }
    }

    fn place(&self) -> &Arc<Place> {
        self.0.supervisor.place()
    }

    async fn start(&self) -> Result<crate::node::Instance, Error> {
        let mut node = self.0.node.lock().await;
        (self.0.start.0)(&mut node).await
    }
}

/// The address of a port that a start function asked for.
#[track_caller]
pub(crate) fn endpoint(place: &Place, name: &str) -> SocketAddr {
    match place.endpoint(name) {
        Ok(address) => address,
        Err(others) => panic!(
            "node `{}` ({}) has no port `{name}`: its start function asked for {others:?}",
            place.name(),
            place.kind()
        ),
    }
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

/// What clients of `S` connect to.
pub(crate) fn token<S: Service>() -> Token {
    Token {
        id: TypeId::of::<S>(),
        what: "a server",
    }
}

/// What a server gives to the parameters that connect to it.
pub(crate) struct Target(pub(crate) Arc<Place>);

impl<S: Service> Param for Server<S> {
    fn shape(_: &Site, environment: &Environment) -> Shape {
        let values = server_kinds::<S>().into_iter().map(|kind| AxisValue {
            label: kind.name.into(),
            provides: kind.provides,
            unavailable: unavailable(kind.name, kind.program, environment),
        });
        let values: Vec<_> = values.collect();
        Shape {
            axis: Some(Axis {
                empty_because: values.is_empty().then(|| none_registered::<S>("robust_server")),
                values,
            }),
            gives: Some(token::<S>()),
            needs: None,
        }
    }

    async fn build(build: &mut Build) -> Result<Self, Error> {
        let (case, site) = (build.case().clone(), build.site());
        let kind = *server_kinds::<S>()
            .get(build.choice())
            .ok_or_else(|| error(none_registered::<S>("robust_server")))?;
        let start = kind.start.downcast_ref::<StartFn<S>>().ok_or_else(|| {
            error(format!(
                "server kind `{}` ({}:{}) holds no start function of its service",
                kind.name, kind.file, kind.line
            ))
        })?;
        let settings: Arc<S::Settings> = match site.settings {
            None => Arc::default(),
            Some(make) => make()
                .downcast()
                .map(|settings| Arc::new(*settings))
                .map_err(|_| error(format!("#[settings] of `{}` are of another type", site.name)))?,
        };
        let place = Arc::new(Place::new(
            case.unique_name(site.name),
            kind.name,
            kind.program,
            case.environment().clone(),
            case.folder()?,
        ));
        let supervisor = Arc::new(Supervisor::new(place.clone(), &case));
        case.defer(format!("server `{}`", place.name()), {
            let supervisor = supervisor.clone();
            move || async move { supervisor.tear_down().await }
        });
        let server = Self(Arc::new(Inner {
            kind,
            start,
            node: tokio::sync::Mutex::new(Node::new(place.clone(), settings)),
            supervisor,
        }));
        let instance = server.start().await.map_err(|error| {
            // A skip is its reason, and the node's own errors name it.
            if error.skip_reason().is_some() || error.downcast_ref::<StartError>().is_some() {
                error
            } else {
                error.context(format!("cannot start server `{}` ({})", place.name(), kind.name))
            }
        })?;
        let adopted = server.0.supervisor.adopt(instance).await;
        adopted.map_err(|_| error("the case ended while its server started"))?;
        build.give(Target(place));
        Ok(server)
    }
}

impl<S: Service> TakesKinds for Server<S> {}

impl<S: Service> TakesSettings for Server<S> {
    type Settings = S::Settings;
}
