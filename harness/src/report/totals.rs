//! Kinds of verdicts, and how many cases have which.

use crate::event::SubCase;
use crate::outcome::Outcome;

/// How many cases have which verdict.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// The property held, flaky ones included.
    pub passed: u64,
    /// Of the passed: those that did not pass at once.
    pub flaky: u64,
    /// The property broke.
    pub broken: u64,
    /// The property could not be judged.
    pub errored: u64,
    /// A checker gave up.
    pub unknown: u64,
    /// Did not run, with a reason.
    pub skipped: u64,
    /// Failed as announced.
    pub known_failures: u64,
    /// Planned, without a verdict; none before [`super::Aggregate::settle`].
    pub pending: u64,
    /// Verdicts of any kind, each iteration counted.
    pub runs: u64,
    /// Parts of cases with verdicts of their own; those are no cases.
    pub sub_cases: SubTotals,
}

/// How many sub-cases have which verdict.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SubTotals {
    /// Of any verdict.
    pub all: u64,
    /// The property broke.
    pub broken: u64,
    /// The property could not be judged, or a checker gave up.
    pub errored: u64,
    /// Did not run, with a reason.
    pub skipped: u64,
}

impl Totals {
    /// Cases of any verdict, and those without.
    pub fn cases(&self) -> u64 {
        self.passed + self.failed() + self.ignored()
    }

    /// What libtest calls failed: everything that makes the run fail.
    pub fn failed(&self) -> u64 {
        self.broken + self.all_errors()
    }

    /// What JUnit calls errors: errored, unknown, and without a verdict.
    pub fn all_errors(&self) -> u64 {
        self.errored + self.unknown + self.pending
    }

    /// What libtest calls ignored: skipped, and failed as announced.
    pub fn ignored(&self) -> u64 {
        self.skipped + self.known_failures
    }

    /// Counts a case in (`by` 1) or out (-1).
    pub(super) fn count(&mut self, status: Status, by: i64) {
        let counter = match status {
            Status::Pending => &mut self.pending,
            Status::Passed => &mut self.passed,
            Status::Flaky => {
                self.flaky = self.flaky.wrapping_add_signed(by);
                &mut self.passed
            }
            Status::Failed => &mut self.broken,
            Status::Errored => &mut self.errored,
            Status::Skipped => &mut self.skipped,
            Status::Unknown => &mut self.unknown,
            Status::KnownFailure => &mut self.known_failures,
        };
        *counter = counter.wrapping_add_signed(by);
    }

    /// Counts a case's sub-cases in (`by` 1) or out (-1).
    pub(super) fn count_sub_cases(&mut self, sub_cases: &[SubCase], by: i64) {
        let totals = &mut self.sub_cases;
        for sub_case in sub_cases {
            totals.all = totals.all.wrapping_add_signed(by);
            let counter = match sub_case.outcome {
                Outcome::Passed => continue,
                Outcome::Failed(_) => &mut totals.broken,
                Outcome::Errored(_) | Outcome::Unknown { .. } => &mut totals.errored,
                Outcome::Skipped { .. } | Outcome::KnownFailure { .. } => &mut totals.skipped,
            };
            *counter = counter.wrapping_add_signed(by);
        }
    }

    /// Adds the counts of another suite.
    pub fn add(&mut self, other: &Totals) {
        self.passed += other.passed;
        self.flaky += other.flaky;
        self.broken += other.broken;
        self.errored += other.errored;
        self.unknown += other.unknown;
        self.skipped += other.skipped;
        self.known_failures += other.known_failures;
        self.pending += other.pending;
        self.runs += other.runs;
        self.sub_cases.all += other.sub_cases.all;
        self.sub_cases.broken += other.sub_cases.broken;
        self.sub_cases.errored += other.sub_cases.errored;
        self.sub_cases.skipped += other.sub_cases.skipped;
    }
}

/// The kind of a verdict, as reports tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Planned, without a verdict.
    Pending,
    /// See [`Outcome::Skipped`].
    Skipped,
    /// See [`Outcome::Passed`].
    Passed,
    /// Passed, but not at once.
    Flaky,
    /// See [`Outcome::KnownFailure`].
    KnownFailure,
    /// See [`Outcome::Unknown`].
    Unknown,
    /// See [`Outcome::Errored`].
    Errored,
    /// See [`Outcome::Failed`].
    Failed,
}

impl Status {
    /// The word used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "no verdict",
            Self::Skipped => "skipped",
            Self::Passed => "passed",
            Self::Flaky => "flaky",
            Self::KnownFailure => "known failure",
            Self::Unknown => "unknown",
            Self::Errored => "errored",
            Self::Failed => "failed",
        }
    }

    /// Which of two iterations of a case is told: the higher one, the earlier of equals.
    pub(super) fn rank(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Skipped => 1,
            Self::Passed => 2,
            Self::Flaky => 3,
            Self::KnownFailure => 4,
            Self::Unknown => 5,
            Self::Errored | Self::Failed => 6,
        }
    }
}
