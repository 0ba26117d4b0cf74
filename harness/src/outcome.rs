//! What became of a case.
//!
//! `Failed` is a property that broke; `Errored` is everything that kept the property from being judged
//! (set-up, teardown, crash, deadline, leak, the harness itself). Routing CI failures depends on the
//! difference, so nothing is ever "just red".

use serde::{Deserialize, Serialize};

/// The verdict of one case, after retries, `should_panic` and `known_failure` were taken into account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// The property held.
    Passed,
    /// The property broke.
    Failed(Problem),
    /// The property could not be judged.
    Errored(Problem),
    /// It did not run, and the reason is one to live with.
    Skipped {
        /// Why.
        reason: String,
    },
    /// A checker gave up within its limits: neither right nor wrong.
    Unknown {
        /// What gave up.
        reason: String,
    },
    /// It failed as a `known_failure` said it would: a defect of the system under test.
    KnownFailure {
        /// The defect.
        because: String,
        /// How it showed this time.
        problem: Problem,
    },
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The class, which routes the failure.
    pub class: Class,
    /// One line.
    pub message: String,
    /// The rest: causes, location, backtrace; empty where the message says all. May have many lines.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

/// Whose failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The scenario panicked.
    Panic,
    /// The scenario returned an error.
    Error,
    /// It ended without the panic `should_panic` asked for, or with another.
    ShouldPanic,
    /// A `known_failure` passed.
    UnexpectedPass,
    /// A parameter could not be built.
    Setup,
    /// A teardown failed.
    Teardown,
    /// The case did not end by its deadline.
    Deadline,
    /// The worker died.
    Crash,
    /// A server ended that nobody had ended.
    Death,
    /// A log holds what is a defect, or is too long.
    Log,
    /// Something outlived the case.
    Leak,
    /// The run was interrupted.
    Interrupted,
    /// The harness itself failed.
    Harness,
    /// Something that had to be available was not (`ROBUST_REQUIRE`).
    Required,
}

impl Class {
    /// The word used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::ShouldPanic => "should_panic",
            Self::UnexpectedPass => "unexpected_pass",
            Self::Setup => "setup",
            Self::Teardown => "teardown",
            Self::Deadline => "deadline",
            Self::Crash => "crash",
            Self::Death => "death",
            Self::Log => "log",
            Self::Leak => "leak",
            Self::Interrupted => "interrupted",
            Self::Harness => "harness",
            Self::Required => "required",
        }
    }
}

impl Problem {
    /// A problem from text whose first line becomes the message.
    pub fn new(class: Class, text: impl AsRef<str>) -> Self {
        let text = text.as_ref().trim_end();
        let (message, details) = text.split_once('\n').unwrap_or((text, ""));
        Self {
            class,
            message: message.to_owned(),
            details: details.to_owned(),
        }
    }
}

/// More of a message than this is of no use in a list of failures, and some readers of JUnit refuse it.
const MESSAGE_BYTES_MAX: usize = 2 << 10;
/// More of a problem's details than this is in the case's log only.
const DETAILS_BYTES_MAX: usize = 64 << 10;

impl Problem {
    /// The same, with the middle of texts left out that no report can show.
    #[must_use]
    pub(crate) fn bounded(self) -> Self {
        self.bounded_to(DETAILS_BYTES_MAX)
    }

    fn bounded_to(mut self, details_bytes_max: usize) -> Self {
        bound(
            &mut self.message,
            MESSAGE_BYTES_MAX.min(details_bytes_max),
            " [...] ",
        );
        bound(
            &mut self.details,
            details_bytes_max,
            "\n[... too long; what was written is in the log ...]\n",
        );
        self
    }
}

fn bound(text: &mut String, bytes_max: usize, gap: &str) {
    if text.len() > bytes_max {
        let head = text.floor_char_boundary(bytes_max / 2);
        let tail = text.ceil_char_boundary(text.len() - bytes_max / 2);
        text.replace_range(head..tail, gap);
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        if !self.details.is_empty() {
            write!(f, "\n{}", self.details)?;
        }
        Ok(())
    }
}

impl Outcome {
    /// The same, with the middle of texts left out that no report can show.
    #[must_use]
    pub(crate) fn bounded(self) -> Self {
        self.bounded_to(DETAILS_BYTES_MAX)
    }

    /// [`Outcome::bounded`], with so many bytes for details, and no more for a message.
    #[must_use]
    pub(crate) fn bounded_to(self, details_bytes_max: usize) -> Self {
        let bounded = |mut reason: String| {
            bound(&mut reason, details_bytes_max, " [...] ");
            reason
        };
        match self {
            Self::Passed => Self::Passed,
            Self::Failed(problem) => Self::Failed(problem.bounded_to(details_bytes_max)),
            Self::Errored(problem) => Self::Errored(problem.bounded_to(details_bytes_max)),
            Self::KnownFailure { because, problem } => Self::KnownFailure {
                because,
                problem: problem.bounded_to(details_bytes_max),
            },
            Self::Skipped { reason } => Self::Skipped {
                reason: bounded(reason),
            },
            Self::Unknown { reason } => Self::Unknown {
                reason: bounded(reason),
            },
        }
    }

    /// How many bytes of text it has.
    pub(crate) fn text_bytes(&self) -> usize {
        let problem = |problem: &Problem| problem.message.len() + problem.details.len();
        match self {
            Self::Passed => 0,
            Self::Failed(one) | Self::Errored(one) => problem(one),
            Self::KnownFailure {
                because,
                problem: one,
            } => because.len() + problem(one),
            Self::Skipped { reason } | Self::Unknown { reason } => reason.len(),
        }
    }

    /// Whether this verdict makes the run fail: failed, errored or unknown.
    pub fn is_bad(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Errored(_) | Self::Unknown { .. })
    }

    /// The problem, where there is one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Failed(problem) | Self::Errored(problem) | Self::KnownFailure { problem, .. } => {
                Some(problem)
            }
            _ => None,
        }
    }

    /// The word used in reports: `passed`, `failed`, `errored`, `skipped`, `unknown`, `known_failure`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Errored(_) => "errored",
            Self::Skipped { .. } => "skipped",
            Self::Unknown { .. } => "unknown",
            Self::KnownFailure { .. } => "known_failure",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_lose_their_middle_and_short_ones_nothing() {
        let short = Problem::new(Class::Panic, "one\ntwo");
        assert_eq!(short.clone().bounded(), short);
        let long = Problem::new(
            Class::Panic,
            format!("a{}z\nb{}y", "ü".repeat(9000), "漢".repeat(90_000)),
        );
        let bounded = long.bounded();
        assert!(bounded.message.starts_with("aü") && bounded.message.ends_with("üz"));
        assert!(bounded.details.starts_with("b漢") && bounded.details.ends_with("漢y"));
        assert!(bounded.message.len() < 3 << 10 && bounded.details.len() < 65 << 10);
    }
}
