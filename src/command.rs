//! Starting a node: a program as a child process, or a server inside this one.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::human;
use crate::exit::{Exit, Signal};
use crate::in_process::{InProcess, Serve};
use crate::instance::{Instance, Runs};
use crate::listener::Process;
use crate::log::LogTail;
use crate::place::{Place, ProgramError};
use crate::process::ProcessGroup;
use crate::readiness::{Ready, wait};

const READY_WITHIN: Duration = Duration::from_secs(10);
const STOP_WITHIN: Duration = Duration::from_secs(5);

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

/// What both ways of running share.
#[derive(Debug)]
struct Plan {
    place: Arc<Place>,
    ready_when: Vec<Ready>,
    ready_within: Duration,
    stop_signal: Signal,
    stop_within: Duration,
}

impl Plan {
    fn new(place: Arc<Place>) -> Self {
        Self {
            place,
            ready_when: Vec::new(),
            ready_within: READY_WITHIN,
            stop_signal: Signal::Term,
            stop_within: STOP_WITHIN,
        }
    }

    fn open_log(&self, what: &str) -> Result<(std::fs::File, u64), StartError> {
        let log = self.place.log();
        log.begin(self.place.next_start(), what)
            .map_err(|source| StartError::Log {
                node: self.place.name().to_owned(),
                path: log.path().to_owned(),
                source,
            })
    }

    fn refused(&self, program: PathBuf) -> impl FnOnce(std::io::Error) -> StartError {
        let node = self.place.name().to_owned();
        move |source| StartError::Spawn {
            node,
            program,
            source,
        }
    }

    /// The instance once it is ready; it is ended when it is not.
    async fn watch(mut self, runs: Runs, log_begin: u64) -> Result<Instance, StartError> {
        let place = self.place;
        let instance = Instance::new(runs, place.clone(), log_begin, self.stop_signal, self.stop_within);
        let ready = wait(&mut self.ready_when, self.ready_within, &place, &instance).await;
        if let Err(error) = ready {
            // What went wrong first is what counts; a group that cannot be ended is found by the harness.
            let _ = instance.end().await;
            return Err(error);
        }
        tracing::info!(node = place.name(), pid = instance.pid(), "ready");
        Ok(instance)
    }
}

/// A program to run as a node, made by [`crate::node::Node::command`]: a child process without input, in a
/// process group of its own, with the node's log as output.
#[derive(Debug)]
#[must_use = "nothing starts before `spawn().await`"]
pub struct ServerCommand {
    plan: Plan,
    program: PathBuf,
    command: Command,
}

impl ServerCommand {
    pub(crate) fn new(place: Arc<Place>, program: &Path) -> Self {
        Self {
            // As it is when it cannot be found: `spawn` says so.
            command: Command::new(place.resolve(program).as_deref().unwrap_or(program)),
            plan: Plan::new(place),
            program: program.to_owned(),
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of the environment, which is otherwise inherited.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Where the program runs; otherwise where this process runs.
    pub fn current_dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Adds a condition for readiness; they are waited for in order. A node without any is ready when its
    /// program has started.
    pub fn ready_when(mut self, condition: Ready) -> Self {
        self.plan.ready_when.push(condition);
        self
    }

    /// How long it may take until it is ready; 10 s otherwise.
    pub fn ready_within(mut self, limit: Duration) -> Self {
        self.plan.ready_within = limit;
        self
    }

    /// What asks the program to stop, sent to its first process; [`Signal::Term`] otherwise.
    pub fn stop_signal(mut self, signal: Signal) -> Self {
        self.plan.stop_signal = signal;
        self
    }

    /// How long it may take to stop before it is killed; 5 s otherwise.
    pub fn stop_within(mut self, limit: Duration) -> Self {
        self.plan.stop_within = limit;
        self
    }

    /// Starts the program and waits until it is ready.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn spawn(mut self) -> Result<Instance, StartError> {
        let place = self.plan.place.clone();
        let program = place
            .resolve(&self.program)
            .map_err(|missing| StartError::Program {
                node: place.name().to_owned(),
                missing,
            })?;
        let (log, log_begin) = self.plan.open_log(&shown(&self.command))?;
        let process = ProcessGroup::spawn(&mut self.command, &log).map_err(self.plan.refused(program))?;
        drop(log);
        tracing::info!(node = place.name(), pid = process.pid(), "started");
        self.plan.watch(Runs::Process(process), log_begin).await
    }
}

/// A command as one would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words
        .map(|word| {
            let word = word.to_string_lossy();
            let plain = |char: char| char.is_ascii_alphanumeric() || "-_=./:,@%+".contains(char);
            if !word.is_empty() && word.chars().all(plain) {
                word.into_owned()
            } else {
                // Escaped, so that the line stays one line.
                format!("'{}'", word.escape_debug())
            }
        })
        .collect();
    words.join(" ")
}

/// A server to run inside this process, made by [`crate::node::Node::task`] and
/// [`crate::node::Node::thread`].
#[must_use = "nothing starts before `spawn().await`"]
pub struct Embedded {
    plan: Plan,
    serve: Serve,
    on_kill: Option<Box<dyn FnOnce() + Send>>,
}

impl Embedded {
    pub(crate) fn new(place: Arc<Place>, serve: Serve) -> Self {
        Self {
            plan: Plan::new(place),
            serve,
            on_kill: None,
        }
    }

    /// What a kill does: for a thread it must make the function return soon (close its listener, say). It
    /// runs at every end that is not a completed stop, at most once. Without it a kill asks the thread to
    /// stop; a task is dropped in any case.
    pub fn on_kill(mut self, end: impl FnOnce() + Send + 'static) -> Self {
        self.on_kill = Some(Box::new(end));
        self
    }

    /// As [`ServerCommand::ready_when`].
    pub fn ready_when(mut self, condition: Ready) -> Self {
        self.plan.ready_when.push(condition);
        self
    }

    /// As [`ServerCommand::ready_within`].
    pub fn ready_within(mut self, limit: Duration) -> Self {
        self.plan.ready_within = limit;
        self
    }

    /// As [`ServerCommand::stop_within`].
    pub fn stop_within(mut self, limit: Duration) -> Self {
        self.plan.stop_within = limit;
        self
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Errors
    /// [`StartError`]; a task does not run any more then, a thread was asked to end.
    pub async fn spawn(self) -> Result<Instance, StartError> {
        let (log, log_begin) = self.plan.open_log("in process")?;
        drop(log);
        let node = self.plan.place.name().to_owned();
        let refused = self.plan.refused(PathBuf::from("a thread"));
        let server = InProcess::spawn(&node, self.serve, self.on_kill).map_err(refused)?;
        self.plan.watch(Runs::InProcess(server), log_begin).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_on_one_line() {
        let mut command = Command::new("redis-server");
        command.args(["--port", "1", "--save", "", "a\nb"]);
        assert_eq!(shown(&command), "redis-server --port 1 --save '' 'a\\nb'");
    }
}
