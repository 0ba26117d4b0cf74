//! A started node, whichever way it runs, and how it is ended.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use robust_test_harness::error::Result as AuthorsResult;

use crate::clock::{Backoff, Deadline, human, within};
use crate::exit::{Exit, Signal};
use crate::in_process::InProcess;
use crate::listener::{Family, Owner, owner};
use crate::log::LogTail;
use crate::place::Place;
use crate::process::{EndError, ProcessGroup};
use crate::readiness::{Ready, holds_now};
use crate::service::{BoxFuture, Cause};

/// How long a process may take to freeze.
const PAUSE_WITHIN: Duration = Duration::from_secs(5);
/// How long the sockets of a server inside this process may stay open after its end.
const PORTS_CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// A started node: what a kind's start function returns. Made by [`crate::command::ServerCommand::spawn`]
/// and [`crate::command::Embedded::spawn`].
///
/// The node ends with the last clone of its instance, if nothing ended it before.
#[derive(Debug, Clone)]
pub struct Instance(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    runs: Runs,
    place: Arc<Place>,
    /// The length of the log before this start.
    log_begin: u64,
    /// What it is asked about its health; held meanwhile.
    health: tokio::sync::Mutex<Vec<Ready>>,
    manner: Manner,
}

/// How a node is asked to stop, and how long its log may get.
pub(crate) struct Manner {
    pub(crate) stop_signal: Signal,
    pub(crate) stop_within: Duration,
    pub(crate) quiesce: Option<Quiesce>,
    pub(crate) log_bytes_max: u64,
}

/// See [`crate::launch::Launch::quiesce`].
pub(crate) type Quiesce = Box<dyn Fn() -> BoxFuture<'static, AuthorsResult> + Send + Sync>;

impl fmt::Debug for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manner")
            .field("stop_signal", &self.stop_signal)
            .field("stop_within", &self.stop_within)
            .finish_non_exhaustive()
    }
}

/// The two ways a node runs.
#[derive(Debug)]
pub(crate) enum Runs {
    Process(ProcessGroup),
    InProcess(InProcess),
}

/// A node ended that nobody had ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node `{node}` died unexpectedly: it {exit}{log}")]
pub struct Death {
    /// The node's name.
    pub node: String,
    /// How it ended.
    pub exit: Exit,
    /// What it printed last.
    pub log: LogTail,
}

/// A node that runs somewhere else was to be started, stopped or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "node `{node}` runs somewhere else (`[external.{kind}]` in robust.toml), so it cannot be started, ended or changed: \
     skip such scenarios where `Server::is_external`"
)]
pub struct External {
    /// The node's name.
    pub node: String,
    /// The name of its kind.
    pub kind: &'static str,
}

/// A node could not be killed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KillError {
    /// It had died before.
    #[error(transparent)]
    Died(#[from] Death),
    /// It runs somewhere else (`[external.KIND]` in robust.toml).
    #[error(transparent)]
    External(#[from] External),
    /// The signal could not be sent.
    #[error("cannot send SIGKILL to node `{node}`: does it run as another user?")]
    Signal {
        /// The node's name.
        node: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It did not end.
    #[error("node `{node}` does not end after a kill: {what}")]
    Survives {
        /// The node's name.
        node: String,
        /// What is left.
        what: String,
    },
}

/// A node could not be stopped, or not in an orderly way. It does not run any more, unless the error is
/// [`StopError::Kill`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StopError {
    /// It had died before.
    #[error(transparent)]
    Died(#[from] Death),
    /// It runs somewhere else (`[external.KIND]` in robust.toml).
    #[error(transparent)]
    External(#[from] External),
    /// It went on running, and was killed.
    #[error("node `{node}` ignored {asked} for {} and was killed{log}", human(*waited))]
    Ignored {
        /// The node's name.
        node: String,
        /// What asked it to stop: `SIGTERM`, or `its stopping token`.
        asked: String,
        /// How long it had.
        waited: Duration,
        /// What it printed last.
        log: LogTail,
    },
    /// It broke on the way out.
    #[error("node `{node}` was asked to stop, and {exit}{log}")]
    Crashed {
        /// The node's name.
        node: String,
        /// How it ended.
        exit: Exit,
        /// What it printed last.
        log: LogTail,
    },
    /// What its kind does before a stop failed; the node was stopped all the same.
    #[error("node `{node}` could not be quiesced")]
    Quiesce {
        /// The node's name.
        node: String,
        /// What went wrong.
        #[source]
        cause: Cause,
    },
    /// It did not end even when killed.
    #[error(transparent)]
    Kill(KillError),
}

/// A node could not be paused, resumed or signalled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PauseError {
    /// It had died before.
    #[error(transparent)]
    Died(#[from] Death),
    /// It runs somewhere else (`[external.KIND]` in robust.toml).
    #[error(transparent)]
    External(#[from] External),
    /// It was killed or stopped.
    #[error("node `{node}` does not run: restart it first")]
    Down {
        /// The node's name.
        node: String,
    },
    /// Threads cannot be paused, and have no signals of their own.
    #[error("node `{node}` runs inside the case's process, and only a process can be paused or signalled")]
    InProcess {
        /// The node's name.
        node: String,
    },
    /// The signal could not be sent.
    #[error("cannot send {signal} to node `{node}`")]
    Signal {
        /// The node's name.
        node: String,
        /// Which signal.
        signal: Signal,
        /// What the system said.
        source: std::io::Error,
    },
    /// It did not freeze.
    #[error("node `{node}` has not frozen within {} of SIGSTOP", human(PAUSE_WITHIN))]
    StillRuns {
        /// The node's name.
        node: String,
    },
}

impl Instance {
    pub(crate) fn new(runs: Runs, place: Arc<Place>, log_begin: u64, manner: Manner) -> Self {
        Self(Arc::new(Inner {
            runs,
            place,
            log_begin,
            health: tokio::sync::Mutex::default(),
            manner,
        }))
    }

    /// The conditions for its health, from when it is ready on.
    pub(crate) async fn healthy_when(&self, conditions: Vec<Ready>) {
        *self.0.health.lock().await = conditions;
    }

    /// Why it is not healthy now; one look at each condition, all within `limit`.
    pub(crate) async fn ailment(&self, limit: Duration) -> Option<String> {
        if let Some(exit) = self.exit_now() {
            return Some(format!("it {exit}"));
        }
        let mut health = self.0.health.lock().await;
        holds_now(&mut health, limit, &self.0.place, self).await.err()
    }

    pub(crate) fn log_bytes_max(&self) -> u64 {
        self.0.manner.log_bytes_max
    }

    /// What its kind does before it is asked to stop; nothing where it named nothing.
    pub(crate) async fn quiesce(&self) -> Result<(), StopError> {
        let Some(quiesce) = &self.0.manner.quiesce else {
            return Ok(());
        };
        let waited = self.0.manner.stop_within;
        let failed = |cause| StopError::Quiesce {
            node: self.node(),
            cause,
        };
        match within(waited, quiesce()).await {
            Ok(quiesced) => quiesced.map_err(|error| failed(Cause(error))),
            Err(_) => Err(failed(Cause(robust_test_harness::error::error(format!(
                "it has not returned within {}",
                human(waited)
            ))))),
        }
    }

    /// Whether both are the same start of the same node.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Takes it off the present runtime and ends nothing. Its process goes on and nothing watches it; false for one inside
    /// this process, which stays as it is.
    pub(crate) fn detach(&self) -> bool {
        match &self.0.runs {
            Runs::Process(process) => {
                process.detach();
                true
            }
            Runs::InProcess(_) => false,
        }
    }

    /// Attaches it to the present runtime after [`Instance::detach`].
    pub(crate) fn attach(&self) -> std::io::Result<()> {
        match &self.0.runs {
            Runs::Process(process) => process.attach(),
            Runs::InProcess(_) => Ok(()),
        }
    }

    fn node(&self) -> String {
        self.0.place.name().to_owned()
    }

    pub(crate) fn tail(&self) -> LogTail {
        self.0.place.log().tail(self.0.log_begin)
    }

    pub(crate) fn log_begin(&self) -> u64 {
        self.0.log_begin
    }

    /// The process id; `None` in process.
    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.0.runs {
            Runs::Process(process) => Some(process.pid()),
            Runs::InProcess(_) => None,
        }
    }

    pub(crate) fn family(&self) -> Family {
        self.pid().map_or(Family::Myself, Family::Group)
    }

    /// How it ended, if it has.
    pub(crate) fn exit_now(&self) -> Option<Exit> {
        match &self.0.runs {
            Runs::Process(process) => process.exit_now(),
            Runs::InProcess(server) => server.exit_now(),
        }
    }

    pub(crate) async fn exited(&self) -> Exit {
        match &self.0.runs {
            Runs::Process(process) => process.exited().await,
            Runs::InProcess(server) => server.exited().await,
        }
    }

    /// Ends when it has ended, and does not keep it.
    pub(crate) fn end_notice(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match &self.0.runs {
            Runs::Process(process) => Box::pin(process.end_notice()),
            Runs::InProcess(server) => Box::pin(server.end_notice()),
        }
    }

    /// The error to raise when it has ended and nobody had ended it.
    pub(crate) fn death(&self) -> Option<Death> {
        self.exit_now().map(|exit| Death {
            node: self.node(),
            exit,
            log: self.tail(),
        })
    }

    /// The error to raise when it was ended at once, and had ended by itself just before: clients see that sooner
    /// than this process does.
    pub(crate) fn death_before_end(&self) -> Option<Death> {
        let by_itself = match (&self.0.runs, self.exit_now()?) {
            (Runs::Process(_), Exit::Signaled(number)) => number != Signal::Kill.raw().as_raw(),
            (Runs::Process(_), exit) => matches!(exit, Exit::Status(_)),
            (Runs::InProcess(server), exit) => server.is_dropped_by_kill() && exit != Exit::Dropped,
        };
        if by_itself { self.death() } else { None }
    }

    /// Ends it at once, and all its processes; also cleans up after one that ended by itself.
    pub(crate) async fn end(&self) -> Result<(), KillError> {
        let survives = |what| KillError::Survives {
            node: self.node(),
            what,
        };
        match &self.0.runs {
            Runs::Process(process) => process.end().await.map_err(|error| match error {
                EndError::Signal(source) => KillError::Signal {
                    node: self.node(),
                    source,
                },
                EndError::Survivors(_) => survives(error.to_string()),
            }),
            Runs::InProcess(server) if server.end().await => match self.still_listened_on().await {
                None => Ok(()),
                Some(port) => Err(survives(format!(
                    "this process still listens on its port `{port}`; let its `on_kill` close that"
                ))),
            },
            Runs::InProcess(_) => Err(survives(
                "its thread still runs; let its `on_kill` make it return".to_owned(),
            )),
        }
    }

    /// The name of a port on which this process listens after the end of a server inside it.
    ///
    /// A child process of another node that is just starting has this process's sockets too, until it
    /// executes its program: connections succeed that long, and a restart finds its port taken. That is
    /// waited for.
    async fn still_listened_on(&self) -> Option<String> {
        let mut backoff = Backoff::up_to(Duration::from_millis(20));
        let deadline = Deadline::after(PORTS_CLOSE_WITHIN);
        for (name, port) in self.0.place.leased() {
            loop {
                match owner(port, Family::Myself) {
                    Owner::Nobody => break,
                    Owner::Unknown if cfg!(not(target_os = "linux")) => break,
                    Owner::Ours if deadline.passed() => return Some(name),
                    _ if deadline.passed() => break,
                    _ => tokio::time::sleep(backoff.next()).await,
                }
            }
        }
        None
    }

    /// Asks it to stop, and kills it when it does not, or what it leaves behind.
    pub(crate) async fn stop(&self, paused: bool) -> Result<(), StopError> {
        let (signal, waited) = (self.0.manner.stop_signal, self.0.manner.stop_within);
        let asked = match &self.0.runs {
            Runs::Process(process) => {
                let sent = process.signal_leader(signal);
                if paused {
                    // A frozen process takes the signal when it goes on.
                    let _ = process.signal_group(Signal::Continue);
                }
                sent.map_err(|source| {
                    StopError::Kill(KillError::Signal {
                        node: self.node(),
                        source,
                    })
                })?;
                signal.to_string()
            }
            Runs::InProcess(server) => {
                server.stop();
                "its stopping token".to_owned()
            }
        };
        let exit = within(waited, self.exited()).await;
        self.end().await.map_err(StopError::Kill)?;
        match exit {
            Ok(exit) if exit.is_orderly(signal) => Ok(()),
            Ok(exit) => Err(StopError::Crashed {
                node: self.node(),
                exit,
                log: self.tail(),
            }),
            Err(_) => Err(StopError::Ignored {
                node: self.node(),
                asked,
                waited,
                log: self.tail(),
            }),
        }
    }

    /// Freezes its processes, and waits until the first one is frozen.
    pub(crate) async fn pause(&self) -> Result<(), PauseError> {
        let process = self.freeze()?;
        let deadline = Deadline::after(PAUSE_WITHIN);
        let mut backoff = Backoff::up_to(Duration::from_millis(20));
        while !process.is_stopped() {
            if let Some(death) = self.death() {
                return Err(death.into());
            }
            if deadline.passed() {
                return Err(PauseError::StillRuns { node: self.node() });
            }
            tokio::time::sleep(backoff.next()).await;
        }
        Ok(())
    }

    /// Has its processes freeze, without waiting for that.
    pub(crate) fn freeze(&self) -> Result<&ProcessGroup, PauseError> {
        self.signal(Signal::Stop)
    }

    /// Sends a signal to its first process.
    pub(crate) fn send(&self, signal: Signal) -> Result<(), PauseError> {
        let Runs::Process(process) = &self.0.runs else {
            return Err(PauseError::InProcess { node: self.node() });
        };
        process
            .signal_leader(signal)
            .map_err(|source| PauseError::Signal {
                node: self.node(),
                signal,
                source,
            })
    }

    /// Lets them go on.
    pub(crate) fn resume(&self) -> Result<(), PauseError> {
        self.signal(Signal::Continue).map(drop)
    }

    fn signal(&self, signal: Signal) -> Result<&ProcessGroup, PauseError> {
        let Runs::Process(process) = &self.0.runs else {
            return Err(PauseError::InProcess { node: self.node() });
        };
        process
            .signal_group(signal)
            .map_err(|source| PauseError::Signal {
                node: self.node(),
                signal,
                source,
            })?;
        Ok(process)
    }
}
