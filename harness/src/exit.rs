//! How a run ends, as its exit code.

use std::process::ExitCode;

/// The exit codes of a suite. A run that was interrupted has none: it ends by the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: every case that ran passed (also known failures and skips), or what was asked for was printed.
    Passed,
    /// 101, as libtest's: a case failed or errored, or nothing ran where something should.
    Failed,
    /// 2: arguments, environment or the suite's set-up are unusable; nothing was run.
    Unusable,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 101,
            Self::Unusable => 2,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
