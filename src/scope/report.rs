//! What a scope says: where something was opened, why it takes no more, and what its stop found wrong.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crate::clock::human;

/// The place in an author's code that opened something; shown as `file:line`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place(&'static Location<'static>);

impl Place {
    #[track_caller]
    pub(super) fn caller() -> Self {
        Self(Location::caller())
    }

    /// The source file, as the compiler was given it.
    pub fn file(&self) -> &'static str {
        self.0.file()
    }

    /// The line, from 1.
    pub fn line(&self) -> u32 {
        self.0.line()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file(), self.line())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A scope does not take something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError {
    /// It is stopping, or has stopped.
    #[error("the scope takes no `{what}`: it is stopping")]
    Stopping {
        /// The task, closer or scope that was to be opened.
        what: String,
    },
    /// So many tasks of the group run as may.
    #[error(
        "the group `{group}` takes no other task: {limit} run, as many as may; wait for room with `spawn`"
    )]
    Full {
        /// The group.
        group: String,
        /// How many may run.
        limit: usize,
    },
    /// There is no runtime to run it.
    #[error("task `{task}` cannot start here: it needs the case's runtime, which this thread is not part of")]
    NoRuntime {
        /// The task.
        task: String,
    },
}

/// The error of a task that ended because its scope stops: it is no failure.
///
/// ```
/// # use robust_test::{prelude::*, scope::Quiesced};
/// # async fn publish() -> Result { Ok(()) }
/// # async fn task(scope: Scope) -> Result {
/// scope.until_quiesced(publish()).await.ok_or(Quiesced)??;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the scope stops")]
pub struct Quiesced;

/// What the stop of a scope found wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct StopReport {
    /// At least one, in the order they were found.
    pub problems: Vec<StopProblem>,
}

impl fmt::Display for StopReport {
    /// The one problem, or how many there are and a line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problems[..] {
            [problem] => problem.fmt(f),
            problems => {
                write!(f, "{} problems", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n{problem}"))
            }
        }
    }
}

/// One thing that the stop of a scope found wrong. Names are those of tasks and closers, after those of the scopes
/// within the case's that they belong to: `load/pump`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopProblem {
    /// A task went on after it was cancelled, and was aborted.
    TaskLeft {
        /// Its name.
        task: String,
        /// Where it was started.
        place: Place,
        /// How long ago.
        open: Duration,
        /// For how long it was waited for.
        waited: Duration,
        /// Whether it ended when it was aborted. One that blocks its thread does not.
        aborted: bool,
    },
    /// A task returned an error that nobody looked at.
    TaskFailed {
        /// Its name.
        task: String,
        /// Where it was started.
        place: Place,
        /// Its error.
        error: String,
    },
    /// A closer or quiescer returned an error.
    Failed {
        /// Its name.
        closer: String,
        /// Where it was deferred.
        place: Place,
        /// Its error.
        error: String,
    },
    /// A closer or quiescer panicked.
    Panicked {
        /// Its name.
        closer: String,
        /// Where it was deferred.
        place: Place,
        /// The panic's message and place.
        panic: String,
    },
    /// A closer or quiescer was not done in time.
    Hung {
        /// Its name.
        closer: String,
        /// Where it was deferred.
        place: Place,
        /// How long it had.
        limit: Duration,
        /// Whether that is less than it asked for, because the case is over.
        cut: bool,
    },
}

impl fmt::Display for StopProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TaskLeft {
                task,
                place,
                open,
                waited,
                aborted,
            } => {
                let (open, waited) = (human(*open), human(*waited));
                write!(f, "task `{task}`, opened at {place} and open for {open}, ")?;
                if *aborted {
                    write!(
                        f,
                        "did not end within {waited} of being cancelled, and was aborted; tasks watch `scope.quiescing()`"
                    )
                } else {
                    write!(
                        f,
                        "did not end within {waited} of being cancelled, and cannot be aborted: it blocks its thread"
                    )
                }
            }
            Self::TaskFailed { task, place, error } => {
                write!(f, "task `{task}`, opened at {place}, failed: {error}")
            }
            Self::Failed { closer, place, error } => {
                write!(f, "closer `{closer}`, deferred at {place}, failed: {error}")
            }
            Self::Panicked { closer, place, panic } => {
                write!(f, "closer `{closer}`, deferred at {place}, panicked: {panic}")
            }
            Self::Hung {
                closer,
                place,
                limit,
                cut,
            } => {
                let limit = human(*limit);
                write!(
                    f,
                    "closer `{closer}`, deferred at {place}, was not done within {limit}"
                )?;
                if *cut {
                    f.write_str(", which was left for it at the end of its case")
                } else {
                    f.write_str("; one that may take longer is deferred with `defer_within`")
                }
            }
        }
    }
}
