//! Sub-cases: parts of a case with a verdict of their own, such as one client of many.
//!
//! They are told in every report beside their case, and one that is bad makes its case bad. What a suite counts
//! are its cases all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::case::Case;
use crate::error::Error;
use crate::event::SubCase;
use crate::outcome::{Class, Outcome, Problem};

/// A case has no more sub-cases than this.
pub const MAX: usize = 10_000;

/// Longer names are of no use in a report; in bytes.
const NAME_BYTES_MAX: usize = 200;
/// What one of them may tell, in bytes.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// What all sub-cases of a case may tell together; after that each has [`MESSAGE_BYTES_LEFT`].
const TEXT_BYTES_MAX_ALL: usize = 4 << 20;
const MESSAGE_BYTES_LEFT: usize = 200;
/// So many are named in the message of their case.
const NAMED_MAX: usize = 10;

/// A sub-case could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubCaseError {
    /// The case has one of that name.
    #[error("the case has a sub-case `{name}` already: each needs a name of its own")]
    Taken {
        /// The name.
        name: String,
    },
    /// The name is empty or too long.
    #[error("a sub-case cannot be called {name:?}: a name has 1 to {NAME_BYTES_MAX} bytes")]
    Unusable {
        /// The name.
        name: String,
    },
    /// There are too many.
    #[error("a case has at most {MAX} sub-cases: report several things as one")]
    TooMany,
}

/// A sub-case that has no verdict yet. Dropped without one, it was interrupted, which is no success.
#[must_use = "dropped at once it counts as interrupted"]
#[derive(Debug)]
pub struct OpenSubCase {
    case: Case,
    number: usize,
    name: String,
    started: Instant,
    /// Once it has a verdict.
    took_us: Option<u64>,
}

/// Those of one case.
#[derive(Default)]
pub(crate) struct SubCases {
    all: Vec<SubCase>,
    names: BTreeSet<String>,
    /// How many names were made of each base.
    numbered: BTreeMap<String, usize>,
}

impl SubCases {
    /// Makes room for one; returns its number.
    pub(crate) fn enter(&mut self, name: &str) -> Result<usize, SubCaseError> {
        let name = name.to_owned();
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(SubCaseError::Unusable { name });
        }
        if self.all.len() >= MAX {
            return Err(SubCaseError::TooMany);
        }
        if !self.names.insert(name.clone()) {
            return Err(SubCaseError::Taken { name });
        }
        self.all.push(SubCase {
            name,
            outcome: interrupted(),
            duration_us: 0,
        });
        Ok(self.all.len() - 1)
    }

    /// `base-1`, `base-2`, .. after those that were asked for before.
    pub(crate) fn next_names(&mut self, base: &str, count: usize) -> Result<Vec<String>, SubCaseError> {
        if count > MAX - self.all.len() {
            return Err(SubCaseError::TooMany);
        }
        let used = self.numbered.entry(base.to_owned()).or_default();
        let names = (*used + 1..).take(count).map(|number| format!("{base}-{number}"));
        let names = names.collect();
        *used += count;
        Ok(names)
    }

    pub(crate) fn end(&mut self, number: usize, outcome: Outcome, duration_us: u64) {
        // Gone when the case is over.
        if let Some(one) = self.all.get_mut(number) {
            (one.outcome, one.duration_us) = (outcome, duration_us);
        }
    }

    /// Whether none of them is bad.
    pub(crate) fn are_fine(&self) -> bool {
        let is_fine = |one: &SubCase| matches!(one.outcome, Outcome::Passed | Outcome::Skipped { .. });
        self.all.iter().all(is_fine)
    }

    /// In the order they were opened.
    pub(crate) fn into_all(self) -> Vec<SubCase> {
        self.all
    }
}

fn interrupted() -> Outcome {
    let text = "it had no verdict when its case ended";
    Outcome::Errored(Problem::new(Class::Interrupted, text))
}

impl OpenSubCase {
    pub(crate) fn new(case: Case, number: usize, name: String) -> Self {
        Self {
            case,
            number,
            name,
            started: Instant::now(),
            took_us: None,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its time begins now, and not when it was opened.
    pub fn begin(&mut self) {
        self.started = Instant::now();
    }

    /// Its verdict: passed for `Ok`, skipped for an error made by [`crate::error::skip`], else failed.
    pub fn end(self, result: Result<(), Error>) {
        self.end_as(match result {
            Ok(()) => Outcome::Passed,
            Err(error) => outcome(&error),
        });
    }

    /// Its verdict, whatever it is.
    pub fn end_as(mut self, outcome: Outcome) {
        self.judge(outcome);
    }

    /// Its verdict, which a later one replaces; its time ends with the first. Returns how long it took.
    pub fn judge(&mut self, outcome: Outcome) -> Duration {
        let elapsed = || u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let took_us = *self.took_us.get_or_insert_with(elapsed);
        self.case.end_sub_case(self.number, outcome, took_us);
        Duration::from_micros(took_us)
    }
}

impl Drop for OpenSubCase {
    fn drop(&mut self) {
        if self.took_us.is_none() {
            self.judge(interrupted());
        }
    }
}

/// What an error makes of a sub-case: skipped, or failed.
pub fn outcome(error: &Error) -> Outcome {
    match error.skip_reason() {
        Some(reason) => Outcome::Skipped { reason },
        None => Outcome::Failed(Problem::new(Class::Error, format!("{error:?}"))),
    }
}

/// `2 of 16 clients failed: client-3, client-7`, with what each came to; `None` where none is bad. `what` are
/// clients, or whatever the sub-cases are.
pub fn summary(what: &str, all: &[SubCase]) -> Option<String> {
    let bad: Vec<&SubCase> = all.iter().filter(|one| one.outcome.is_bad()).collect();
    if bad.is_empty() {
        return None;
    }
    let names: Vec<&str> = bad.iter().take(NAMED_MAX).map(|one| &*one.name).collect();
    let mut text = format!(
        "{} of {} {what} failed: {}",
        bad.len(),
        all.len(),
        names.join(", ")
    );
    if bad.len() > names.len() {
        let _infallible = write!(text, " and {} more", bad.len() - names.len());
    }
    for one in bad {
        let _infallible = write!(
            text,
            "\n{}: {}",
            one.name,
            told(&one.outcome).replace('\n', "\n  ")
        );
    }
    Some(text)
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Unknown { reason } => format!("unknown: {reason}"),
        outcome => outcome.problem().map_or_else(String::new, |problem| {
            format!("{}: {problem}", problem.class.name())
        }),
    }
}

/// What sub-cases make of their case: nothing, or a problem of the class of the first that broke a property, or else
/// of the first that is bad.
pub(crate) fn verdict(all: &[SubCase]) -> Option<Outcome> {
    let text = summary("sub-cases", all)?;
    let bad = || {
        all.iter()
            .map(|one| &one.outcome)
            .filter(|outcome| outcome.is_bad())
    };
    let failed = bad().find(|outcome| matches!(outcome, Outcome::Failed(_)));
    let class = failed.or_else(|| bad().next()).and_then(Outcome::problem);
    let class = match class.map(|problem| problem.class) {
        // That one is of the run: here nothing interrupted it.
        None | Some(Class::Interrupted) => Class::Error,
        Some(class) => class,
    };
    let problem = Problem::new(class, text);
    Some(match failed {
        Some(_) => Outcome::Failed(problem),
        None => Outcome::Errored(problem),
    })
}

/// The same, with texts left out that no report can show.
pub(crate) fn bounded(mut all: Vec<SubCase>) -> Vec<SubCase> {
    let mut left = TEXT_BYTES_MAX_ALL;
    for one in &mut all {
        let outcome = std::mem::replace(&mut one.outcome, Outcome::Passed);
        one.outcome = outcome.bounded_to(TEXT_BYTES_MAX.min(left).max(MESSAGE_BYTES_LEFT));
        left = left.saturating_sub(one.outcome.text_bytes());
    }
    all
}

#[cfg(test)]
#[path = "sub_case_tests.rs"]
mod tests;
