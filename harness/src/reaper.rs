//! The reaper: this binary once more, waiting on a pipe from the runner.
//!
//! When the pipe ends and the runner did not say that it had finished, the runner was killed: the reaper
//! ends every process that carries the run's marker, and removes the run's control groups and temporary folder.
//! It has its own session, so that a signal to the runner's terminal or group does not reach it.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::{groups, process_tree, processes};

/// The argument that makes a process a reaper; the run's id and its folder follow.
pub(crate) const ARGUMENT: &str = "--robust-reaper";

/// The runner's end of the pipe. Dropping it without [`Reaper::dismiss`] is what a killed runner looks like.
#[derive(Debug)]
pub(crate) struct Reaper {
    child: Child,
}

impl Reaper {
    /// # Errors
    /// When the process cannot be started.
    pub(crate) fn start(run_id: &str, folder: &Path) -> io::Result<Self> {
        let child = Command::new("/proc/self/exe")
            .arg0("robust-test-reaper")
            .arg(ARGUMENT)
            .arg(run_id)
            .arg(folder)
            .env_remove(process_tree::MARKER)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { child })
    }

    /// Waits until it is in its own session, out of the reach of what ends the runner.
    ///
    /// # Errors
    /// When it ended instead.
    pub(crate) fn is_ready(&mut self) -> io::Result<()> {
        match self.child.stdout.take() {
            Some(mut ready) => ready.read_exact(&mut [0]),
            None => Ok(()),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The run ended by itself: nothing is left to do.
    pub(crate) fn dismiss(mut self) {
        if let Some(mut pipe) = self.child.stdin.take() {
            let _already_dead = pipe.write_all(b"q");
        }
        let _status = self.child.wait();
    }
}

/// Whether a temporary folder of this name is that of a run that is not over: its reaper has it as an argument.
pub(crate) fn waits_for(name: &OsStr) -> bool {
    processes::pids().any(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
            let mut arguments = line.split(|&byte| byte == 0);
            arguments.any(|argument| Path::new(OsStr::from_bytes(argument)).file_name() == Some(name))
        })
    })
}

/// The whole life of a reaper process.
pub(crate) fn main(run_id: &str, folder: &Path) -> ExitCode {
    // It is no group's leader, so this succeeds: no terminal, group or session of the runner's reaches it.
    let _already_leader = rustix::process::setsid();
    let _runner_gone = io::stdout().write_all(b"r").and_then(|()| io::stdout().flush());
    let _closed = std::fs::File::open("/dev/null").map(|nowhere| rustix::stdio::dup2_stdout(&nowhere));
    let mut last_words = Vec::new();
    let _closed = io::stdin().read_to_end(&mut last_words);
    if last_words == b"q" {
        return ExitCode::SUCCESS;
    }
    let until = Instant::now() + Duration::from_secs(10);
    let mut quiet = 0;
    // Twice in a row nothing: a process that was just being forked shows in the second look.
    while quiet < 2 && Instant::now() < until {
        let left = process_tree::marked(run_id);
        quiet = if left.is_empty() { quiet + 1 } else { 0 };
        for process in &left {
            process_tree::kill(process.pid);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _nobody_to_tell = groups::remove_of(folder, None);
    let _gone = crate::artifacts::remove_all(folder);
    ExitCode::SUCCESS
}
