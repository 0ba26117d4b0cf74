//! The two ways to start a node: a program as a child process, or a server inside this one.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::exit::Signal;
use crate::in_process::{InProcess, Serve};
use crate::instance::{Instance, Runs};
pub use crate::launch::{Launch, StartError};
use crate::place::Place;
use crate::process::ProcessGroup;

/// A program to run as a node, made by [`crate::node::Node::command`]: a child process without input, in a
/// process group of its own, with the node's log as output.
pub type ServerCommand = Launch<Program>;

/// What a [`ServerCommand`] runs.
#[derive(Debug)]
pub struct Program {
    program: PathBuf,
    command: Command,
}

impl ServerCommand {
    pub(crate) fn of(place: Arc<Place>, program: &Path) -> Self {
        let runs = Program {
            // As it is when it cannot be found: `spawn` says so.
            command: Command::new(place.resolve(program).as_deref().unwrap_or(program)),
            program: program.to_owned(),
        };
        Self::new(place, runs)
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.runs.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.runs.command.args(arguments);
        self
    }

    /// Sets a variable of the environment, which is otherwise inherited.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.runs.command.env(name, value);
        self
    }

    /// Where the program runs; otherwise where this process runs.
    pub fn current_dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.runs.command.current_dir(folder);
        self
    }

    /// What asks the program to stop, sent to its first process; [`Signal::Term`] otherwise.
    pub fn stop_signal(mut self, signal: Signal) -> Self {
        self.plan.manner.stop_signal = signal;
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
            .resolve(&self.runs.program)
            .map_err(|missing| StartError::Program {
                node: place.name().to_owned(),
                missing,
            })?;
        let (log, log_begin) = self.plan.open_log(&shown(&self.runs.command))?;
        if let Some(seat) = place.seat() {
            seat.enter(&mut self.runs.command)
                .map_err(self.plan.refused(program.clone()))?;
        }
        let held = place.clock().traced();
        if let Some(held) = &held {
            held.hold(&mut self.runs.command);
        }
        let process =
            ProcessGroup::spawn(&mut self.runs.command, &log).map_err(self.plan.refused(program))?;
        if let Some(held) = held {
            held.let_go(process.pid(), place.clock())
                .map_err(|source| StartError::Clock {
                    node: place.name().to_owned(),
                    source,
                })?;
        }
        drop(log);
        place.set_leader(process.pid());
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
pub type Embedded = Launch<Inside>;

/// What an [`Embedded`] runs.
pub struct Inside {
    serve: Serve,
    on_kill: Option<Box<dyn FnOnce() + Send>>,
}

impl Embedded {
    pub(crate) fn of(place: Arc<Place>, serve: Serve) -> Self {
        Self::new(place, Inside { serve, on_kill: None })
    }

    /// What a kill does: for a thread it must make the function return soon (close its listener, say). It
    /// runs at every end that is not a completed stop, at most once. Without it a kill asks the thread to
    /// stop; a task is dropped in any case.
    pub fn on_kill(mut self, end: impl FnOnce() + Send + 'static) -> Self {
        self.runs.on_kill = Some(Box::new(end));
        self
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Errors
    /// [`StartError`]; a task does not run any more then, a thread was asked to end.
    pub async fn spawn(self) -> Result<Instance, StartError> {
        let node = self.plan.place.name().to_owned();
        if self.plan.place.seat().is_some() {
            return Err(StartError::Inside { node });
        }
        let (log, log_begin) = self.plan.open_log("in process")?;
        let refused = self.plan.refused(PathBuf::from("a thread"));
        let server = InProcess::spawn(&node, self.runs.serve, self.runs.on_kill, log).map_err(refused)?;
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
