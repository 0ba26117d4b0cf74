//! A restart in which something changes between the end of a server and its next start.

use std::io;

use robust_test_harness::error::Result as AuthorsResult;

use super::Server;
use crate::instance::{Death, External, StopError};
use crate::node::Node;
use crate::service::{Cause, Service};

type Hook<S> = Box<dyn FnOnce(&Node<S>) -> AuthorsResult + Send>;

/// A restart that [`Server::restarting`] describes and [`Restart::run`] does.
#[must_use = "nothing restarts before `run().await`"]
pub struct Restart<S: Service> {
    server: Server<S>,
    wipe: bool,
    fresh_ports: bool,
    settings: Option<S::Settings>,
    version: Option<String>,
    before_start: Option<Hook<S>>,
}

/// A server could not be restarted; it is down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestartError {
    /// It runs somewhere else (`[external.KIND]` in robust.toml).
    #[error(transparent)]
    External(#[from] External),
    /// It had died before.
    #[error(transparent)]
    Died(#[from] Death),
    /// It had to be stopped first, and that went wrong.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// Its data could not be removed.
    #[error("cannot wipe the data of server `{node}`")]
    Wipe {
        /// The node's name.
        node: String,
        /// What the system said.
        source: io::Error,
    },
    /// There are no other ports for it.
    #[error("server `{node}` gets no fresh ports")]
    Ports {
        /// The node's name.
        node: String,
        /// What the system said.
        source: io::Error,
    },
    /// What was to be done before its start failed.
    #[error("what is done before server `{node}` ({kind}) starts again failed")]
    Hook {
        /// The node's name.
        node: String,
        /// The kind's name.
        kind: &'static str,
        /// What went wrong.
        #[source]
        cause: Cause,
    },
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

impl<S: Service> Restart<S> {
    pub(super) fn new(server: Server<S>) -> Self {
        Self {
            server,
            wipe: false,
            fresh_ports: false,
            settings: None,
            version: None,
            before_start: None,
        }
    }

    /// Removes its data ([`Node::data_dir`]); it is kept otherwise. Files of its own folder stay.
    pub fn wipe_data(mut self) -> Self {
        self.wipe = true;
        self
    }

    /// Gives it other ports of the same names, as a machine that comes back under another address: who knows the ones before
    /// reaches nobody. Proxies stay where they are, and reach it at its new ports.
    pub fn fresh_ports(mut self) -> Self {
        self.fresh_ports = true;
        self
    }

    /// The settings from this start on.
    pub fn settings(mut self, settings: S::Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// The version of its program from this start on, over the data of the one before: an upgrade or a downgrade. One
    /// of those that `--bin KIND@VERSION=PATH` gives, or `installed`; without it the start fails and says so.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Runs after its end and before its start: to damage its data, say, or to replace a file.
    pub fn before_start(mut self, hook: impl FnOnce(&Node<S>) -> AuthorsResult + Send + 'static) -> Self {
        self.before_start = Some(Box::new(hook));
        self
    }

    /// Stops it if it runs, makes the changes, and starts it. Returns when it is ready.
    ///
    /// # Errors
    /// When one of these fails; it is down then.
    pub async fn run(self) -> Result<(), RestartError> {
        let server = &self.server;
        let _turn = server.0.supervisor.turn().await;
        server.0.supervisor.stop_in_turn().await?;
        if self.wipe {
            server.place().wipe_data().map_err(|source| RestartError::Wipe {
                node: server.name().to_owned(),
                source,
            })?;
        }
        if self.fresh_ports {
            // What listens in its place does so on those before.
            server.0.supervisor.free_ports().await;
            let renewed = server.place().renew_ports();
            renewed.map_err(|source| RestartError::Ports {
                node: server.name().to_owned(),
                source,
            })?;
        }
        if let Some(version) = self.version {
            server.place().set_version(version);
        }
        {
            let mut node = server.0.node.lock().await;
            if let Some(settings) = self.settings {
                node.set_settings(settings);
            }
            if let Some(hook) = self.before_start {
                hook(&node).map_err(|error| RestartError::Hook {
                    node: server.name().to_owned(),
                    kind: server.kind(),
                    cause: Cause(error),
                })?;
            }
        }
        server.start_in_turn().await
    }
}
