//! Starting a node, whichever way it runs: when it is ready and healthy, how it is asked to stop, what in its log
//! is a defect.
//!
//! [`crate::command::ServerCommand`] and [`crate::command::Embedded`] are launches of a program and of a server
//! inside this process; what they have in common is here.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use robust_test_harness::error::Result;

use crate::clock::human;
use crate::exit::{Exit, Signal};
use crate::instance::{Instance, Manner, Runs};
use crate::listener::Process;
use crate::log::LogTail;
use crate::oracle::Oracle;
use crate::place::{Place, ProgramError};
use crate::readiness::{Ready, wait};

const READY_WITHIN: Duration = Duration::from_secs(10);
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// A log that grows beyond this ends its case: the disk is everybody's.
const LOG_BYTES_MAX: u64 = 256 << 20;

/// A node did not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its program is not there.
    #[error("cannot start node `{node}`: {missing}")]
    Program {
        /// The node's name.
        node: String,
        /// Which program, and what to do.
        missing: ProgramError,
    },
    /// Its log cannot be written.
    #[error("cannot write {}, the log of node `{node}`", path.display())]
    Log {
        /// The node's name.
        node: String,
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system refuses to start it.
    #[error("cannot start node `{node}`: {} does not execute", program.display())]
    Spawn {
        /// The node's name.
        node: String,
        /// What was to be executed; the node itself for one inside this process.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ended before it was ready.
    #[error("node `{node}` {exit} before it was ready{hint}{log}")]
    Exited {
        /// The node's name.
        node: String,
        /// How it ended.
        exit: Exit,
        /// What may be the reason; empty, or in parentheses.
        hint: &'static str,
        /// What it printed last.
        log: LogTail,
    },
    /// It is not ready in time.
    #[error("node `{node}` was not ready within {}: waited until {probed}, and {last}{log}", human(*within))]
    NotReady {
        /// The node's name.
        node: String,
        /// How long it had.
        within: Duration,
        /// The condition that did not hold.
        probed: String,
        /// What the last look at it said.
        last: String,
        /// What it printed last.
        log: LogTail,
    },
    /// Its clock is to be wrong from its begin on ([`ClockSkew`](crate::fault::ClockSkew)), and cannot be.
    #[error("cannot start node `{node}` with a clock that is wrong")]
    Clock {
        /// The node's name.
        node: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It is to be on a host of its own, and would run inside this process.
    #[error(
        "node `{node}` cannot be on a host of its own (`#[hosts]`), as it runs inside this process: have its kind start a \
         program, or take `hosts` out of its `provides(..)`"
    )]
    Inside {
        /// The node's name.
        node: String,
    },
    /// Another process listens on its port.
    #[error("port {port} of node `{node}` is answered by {owner}, not by the node: end that process")]
    ForeignListener {
        /// The node's name.
        node: String,
        /// The port's number.
        port: u16,
        /// Who listens.
        owner: Process,
    },
}

/// A node about to start; `R` is what runs it. Made by [`crate::node::Node::command`],
/// [`crate::node::Node::task`] and [`crate::node::Node::thread`].
#[derive(Debug)]
#[must_use = "nothing starts before `spawn().await`"]
pub struct Launch<R> {
    pub(crate) plan: Plan,
    pub(crate) runs: R,
}

/// What both ways of running share.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) place: Arc<Place>,
    ready_when: Vec<Ready>,
    ready_within: Duration,
    healthy_when: Vec<Ready>,
    pub(crate) manner: Manner,
}

impl Plan {
    pub(crate) fn new(place: Arc<Place>) -> Self {
        Self {
            place,
            ready_when: Vec::new(),
            ready_within: READY_WITHIN,
            healthy_when: Vec::new(),
            manner: Manner {
                stop_signal: Signal::Term,
                stop_within: STOP_WITHIN,
                quiesce: None,
                log_bytes_max: LOG_BYTES_MAX,
            },
        }
    }

    pub(crate) fn open_log(&self, what: &str) -> Result<(std::fs::File, u64), StartError> {
        let log = self.place.log();
        log.begin(self.place.next_start(), what)
            .map_err(|source| StartError::Log {
                node: self.place.name().to_owned(),
                path: log.path().to_owned(),
                source,
            })
    }

    pub(crate) fn refused(&self, program: PathBuf) -> impl FnOnce(std::io::Error) -> StartError {
        let node = self.place.name().to_owned();
        move |source| StartError::Spawn {
            node,
            program,
            source,
        }
    }

    /// The instance once it is ready; it is ended when it is not.
    pub(crate) async fn watch(mut self, runs: Runs, log_begin: u64) -> Result<Instance, StartError> {
        let place = self.place;
        let instance = Instance::new(runs, place.clone(), log_begin, self.manner);
        let ready = wait(&mut self.ready_when, self.ready_within, &place, &instance).await;
        if let Err(error) = ready {
            // What went wrong first is what counts; a group that cannot be ended is found by the harness.
            let _ = instance.end().await;
            return Err(error);
        }
        // Where nothing else is said, it is healthy as long as it would count as ready.
        let health = match self.healthy_when.is_empty() {
            true => self.ready_when,
            false => self.healthy_when,
        };
        instance.healthy_when(health).await;
        tracing::info!(node = place.name(), pid = instance.pid(), "ready");
        Ok(instance)
    }
}

impl<R> Launch<R> {
    pub(crate) fn new(place: Arc<Place>, runs: R) -> Self {
        Self {
            plan: Plan::new(place),
            runs,
        }
    }

    /// Adds a condition for readiness; they are waited for in order. A node without any is ready when it has
    /// started.
    pub fn ready_when(mut self, condition: Ready) -> Self {
        self.plan.ready_when.push(condition);
        self
    }

    /// How long it may take until it is ready; 10 s otherwise.
    pub fn ready_within(mut self, limit: Duration) -> Self {
        self.plan.ready_within = limit;
        self
    }

    /// Adds a condition for health, which is asked for at any time while the node runs
    /// ([`crate::server::Server::until_healthy`]). A node without any is healthy while the conditions for
    /// readiness hold.
    pub fn healthy_when(mut self, condition: Ready) -> Self {
        self.plan.healthy_when.push(condition);
        self
    }

    /// How long it may take to stop before it is killed; 5 s otherwise.
    pub fn stop_within(mut self, limit: Duration) -> Self {
        self.plan.manner.stop_within = limit;
        self
    }

    /// What is done before it is asked to stop, such as handing its clients to other nodes. A cluster that stops
    /// does this for every node before it stops any. It has as long as the stop that follows.
    pub fn quiesce<F, Fut>(mut self, quiesce: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result> + Send + 'static,
    {
        self.plan.manner.quiesce = Some(Box::new(move || Box::pin(quiesce())));
        self
    }

    /// A line with this text in the node's log is a defect: `what` names it. Reports of sanitizers, panics of Rust and
    /// Go, data races, damaged heaps and failed assertions are that in every log.
    pub fn fail_on_log(self, what: impl Into<String>, text: impl Into<String>) -> Self {
        self.plan.place.oracles().add(Oracle {
            what: what.into().into(),
            text: text.into().into(),
            at_begin: false,
        });
        self
    }

    /// How long its log may get, over all its starts; 256 MiB otherwise. A log that is longer ends the case.
    pub fn log_bytes_max(mut self, bytes: u64) -> Self {
        self.plan.manner.log_bytes_max = bytes;
        self
    }
}
