//! How a node ended, and signals by their names.

use std::fmt;

use rustix::process::{Signal as Raw, WaitIdStatus};

/// The signals that scenarios and kinds send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// `SIGHUP`: many servers read their configuration again.
    Hup,
    /// `SIGINT`: as Ctrl-C.
    Int,
    /// `SIGQUIT`: stop and dump core, or stop at once.
    Quit,
    /// `SIGABRT`.
    Abort,
    /// `SIGKILL`: cannot be caught.
    Kill,
    /// `SIGUSR1`.
    User1,
    /// `SIGUSR2`.
    User2,
    /// `SIGTERM`: please stop.
    Term,
    /// `SIGSTOP`: freeze.
    Stop,
    /// `SIGCONT`: go on.
    Continue,
}

impl Signal {
    pub(crate) fn raw(self) -> Raw {
        match self {
            Self::Hup => Raw::HUP,
            Self::Int => Raw::INT,
            Self::Quit => Raw::QUIT,
            Self::Abort => Raw::ABORT,
            Self::Kill => Raw::KILL,
            Self::User1 => Raw::USR1,
            Self::User2 => Raw::USR2,
            Self::Term => Raw::TERM,
            Self::Stop => Raw::STOP,
            Self::Continue => Raw::CONT,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&robust_test_harness::signal::name(self.raw().as_raw()))
    }
}

/// How a node ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// The process exited with this status.
    Status(i32),
    /// A signal ended the process; the signal's number.
    Signaled(i32),
    /// The in-process server's function returned.
    Returned,
    /// The in-process server's function returned an error; its text.
    Failed(String),
    /// The in-process server panicked; the message.
    Panicked(String),
    /// The in-process server was dropped by a kill.
    Dropped,
    /// It ended, but something else in this process took the exit status.
    Unknown,
}

impl Exit {
    pub(crate) fn from_wait(status: &WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Status(code),
            (None, Some(signal)) => Self::Signaled(signal),
            (None, None) => Self::Unknown,
        }
    }

    /// Whether a node that was asked to stop by `signal` did so, or broke on the way.
    pub(crate) fn is_orderly(&self, signal: Signal) -> bool {
        match self {
            Self::Signaled(number) => *number == signal.raw().as_raw(),
            Self::Status(_) | Self::Returned | Self::Dropped | Self::Unknown => true,
            Self::Failed(_) | Self::Panicked(_) => false,
        }
    }
}

impl fmt::Display for Exit {
    /// The end of a sentence that begins with the node: `exited with status 3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(code) => write!(f, "exited with status {code}"),
            Self::Signaled(number) => {
                write!(
                    f,
                    "was ended by signal {number} ({})",
                    robust_test_harness::signal::name(*number)
                )
            }
            Self::Returned => f.write_str("returned from its function"),
            Self::Failed(error) => write!(f, "returned an error: {error}"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::Dropped => f.write_str("was dropped"),
            Self::Unknown => f.write_str("ended (something else took its exit status)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_read_as_the_end_of_a_sentence() {
        assert_eq!(Exit::Signaled(11).to_string(), "was ended by signal 11 (SIGSEGV)");
        assert_eq!(Exit::Signaled(6).to_string(), "was ended by signal 6 (SIGABRT)");
        assert_eq!(Exit::Status(3).to_string(), "exited with status 3");
        assert_eq!(Signal::Term.to_string(), "SIGTERM");
    }

    #[test]
    fn a_crash_on_the_way_out_is_not_an_orderly_stop() {
        assert!(Exit::Signaled(15).is_orderly(Signal::Term));
        assert!(Exit::Status(143).is_orderly(Signal::Term));
        assert!(!Exit::Signaled(11).is_orderly(Signal::Term));
        assert!(!Exit::Panicked(String::new()).is_orderly(Signal::Term));
    }
}
