//! One case as reports see it, and how little of it is kept.

use std::borrow::Cow;

use crate::event::{Attempt, CaseFinished, SubCase, short_name};
use crate::outcome::{Class, Outcome, Problem};
use crate::report::totals::Status;
use crate::seed::Seed;
use crate::variant::{self, Assigned, Forbidden};

/// What is said about a case that was planned and has no verdict.
pub const NO_VERDICT: &str = "the run ended before this case had a verdict";

/// The place of the case's name in a reproduce command whose rest is shared.
pub(super) const NAME_MARK: &str = "\0";

#[derive(Debug)]
pub(super) struct CaseReport {
    pub(super) name: Box<str>,
    pub(super) place: u32,
    pub(super) command: u32,
    pub(super) seed: Seed,
    pub(super) root_seed: Seed,
    pub(super) started_unix_ms: u64,
    pub(super) duration_us: u64,
    pub(super) runs: u32,
    pub(super) bad_runs: u32,
    pub(super) detail: Option<Box<Detail>>,
}

/// What only few cases have.
#[derive(Debug)]
pub(super) struct Detail {
    pub(super) outcome: Outcome,
    /// Where they are not those of the name.
    pub(super) axes: Option<Vec<(Cow<'static, str>, String)>>,
    pub(super) earlier: Vec<Attempt>,
    pub(super) output: String,
    pub(super) output_bytes: u64,
    pub(super) artifacts: Option<String>,
    pub(super) attachments: Vec<String>,
    pub(super) variants: Vec<Assigned>,
    pub(super) forbidden: Vec<Forbidden>,
    pub(super) sub_cases: Vec<SubCase>,
}

/// What the cases of a scenario share.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) module: Cow<'static, str>,
    pub(super) file: Cow<'static, str>,
    pub(super) line: u32,
    pub(super) tags: Vec<Cow<'static, str>>,
}

impl CaseReport {
    pub(super) fn status(&self) -> Status {
        if self.runs == 0 {
            return Status::Pending;
        }
        let Some(detail) = &self.detail else {
            return Status::Passed;
        };
        match &detail.outcome {
            Outcome::Passed if detail.earlier.is_empty() => Status::Passed,
            Outcome::Passed => Status::Flaky,
            Outcome::Failed(_) => Status::Failed,
            Outcome::Errored(_) => Status::Errored,
            Outcome::Skipped { .. } => Status::Skipped,
            Outcome::Unknown { .. } => Status::Unknown,
            Outcome::KnownFailure { .. } => Status::KnownFailure,
        }
    }

    pub(super) fn sub_cases(&self) -> &[SubCase] {
        self.detail.as_ref().map_or(&[], |detail| &detail.sub_cases)
    }

    /// Whether it says no more than that the run ended.
    fn is_interrupted(&self) -> bool {
        self.runs == 0
            || self.detail.as_ref().is_some_and(|detail| {
                matches!(&detail.outcome, Outcome::Errored(problem) if problem.class == Class::Interrupted)
            })
    }

    /// Takes in another verdict of the same case.
    pub(super) fn merge(&mut self, new: CaseReport) {
        match (self.is_interrupted(), new.is_interrupted()) {
            (true, _) => *self = new,
            (false, true) => {}
            (false, false) => {
                let runs = self.runs.saturating_add(new.runs);
                let bad_runs = self.bad_runs.saturating_add(new.bad_runs);
                let duration_us = self.duration_us.saturating_add(new.duration_us);
                let started_unix_ms = self.started_unix_ms.min(new.started_unix_ms);
                if new.status().rank() > self.status().rank() {
                    *self = new;
                }
                self.runs = runs;
                self.bad_runs = bad_runs;
                self.duration_us = duration_us;
                self.started_unix_ms = started_unix_ms;
            }
        }
    }
}

/// One case as reports see it.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    pub(super) report: &'a CaseReport,
    pub(super) place: &'a Place,
    pub(super) command: &'a str,
}

impl<'a> Case<'a> {
    /// The full name: `module::scenario[axis=label,..]`.
    pub fn name(&self) -> &'a str {
        &self.report.name
    }

    /// The name without its module.
    pub fn short_name(&self) -> &'a str {
        short_name(&self.report.name)
    }

    /// The module path.
    pub fn module(&self) -> &'a str {
        &self.place.module
    }

    /// The source file, relative to the workspace.
    pub fn file(&self) -> &'a str {
        &self.place.file
    }

    /// The line of the attribute.
    pub fn line(&self) -> u32 {
        self.place.line
    }

    /// Labels of the scenario.
    pub fn tags(&self) -> &'a [Cow<'static, str>] {
        &self.place.tags
    }

    /// The kind of its verdict.
    pub fn status(&self) -> Status {
        self.report.status()
    }

    /// The verdict; a case without one has errored.
    pub fn outcome(&self) -> Cow<'a, Outcome> {
        match &self.report.detail {
            _ if self.report.runs == 0 => Cow::Owned(Outcome::Errored(Problem {
                class: Class::Interrupted,
                message: NO_VERDICT.into(),
                details: String::new(),
            })),
            Some(detail) if self.report.runs > 1 && detail.outcome.is_bad() => {
                Cow::Owned(self.counted(&detail.outcome))
            }
            Some(detail) => Cow::Borrowed(&detail.outcome),
            None => Cow::Owned(Outcome::Passed),
        }
    }

    /// The outcome with the number of runs it stands for.
    fn counted(&self, outcome: &Outcome) -> Outcome {
        let count = |message: &str| {
            format!(
                "failed in {} of {} runs: {message}",
                self.report.bad_runs, self.report.runs
            )
        };
        let mut outcome = outcome.clone();
        match &mut outcome {
            Outcome::Failed(problem) | Outcome::Errored(problem) => problem.message = count(&problem.message),
            Outcome::Unknown { reason } => *reason = count(reason),
            _ => {}
        }
        outcome
    }

    /// The case's seed.
    pub fn seed(&self) -> Seed {
        self.report.seed
    }

    /// The root seed that gives it.
    pub fn root_seed(&self) -> Seed {
        self.report.root_seed
    }

    /// Milliseconds since the Unix epoch.
    pub fn started_unix_ms(&self) -> u64 {
        self.report.started_unix_ms
    }

    /// The sum over its iterations, in microseconds.
    pub fn duration_us(&self) -> u64 {
        self.report.duration_us
    }

    /// How often it ran.
    pub fn runs(&self) -> u32 {
        self.report.runs
    }

    /// Axis and label, in parameter order.
    pub fn axes(&self) -> Vec<(&'a str, &'a str)> {
        match self
            .report
            .detail
            .as_ref()
            .and_then(|detail| detail.axes.as_ref())
        {
            Some(axes) => axes.iter().map(|(axis, label)| (&**axis, &**label)).collect(),
            None => axes_of_name(&self.report.name),
        }
    }

    /// The variants of its parameters.
    pub fn variants(&self) -> &'a [Assigned] {
        self.report.detail.as_ref().map_or(&[], |detail| &detail.variants)
    }

    /// The variants that its scenario forbids.
    pub fn forbidden(&self) -> &'a [Forbidden] {
        self.report
            .detail
            .as_ref()
            .map_or(&[], |detail| &detail.forbidden)
    }

    /// Both on one line; empty where there are none.
    pub(super) fn variants_line(&self) -> String {
        variant::line(self.variants(), self.forbidden())
    }

    /// The attempts before the last, oldest first.
    pub fn earlier(&self) -> &'a [Attempt] {
        self.report.detail.as_ref().map_or(&[], |detail| &detail.earlier)
    }

    /// What it wrote, as far as it was kept.
    pub fn output(&self) -> &'a str {
        self.report.detail.as_ref().map_or("", |detail| &detail.output)
    }

    /// How many bytes it wrote.
    pub fn output_bytes(&self) -> u64 {
        self.report
            .detail
            .as_ref()
            .map_or(0, |detail| detail.output_bytes)
    }

    /// The folder of what was kept, absolute.
    pub fn artifacts(&self) -> Option<&'a str> {
        self.report
            .detail
            .as_ref()
            .and_then(|detail| detail.artifacts.as_deref())
    }

    /// Files in that folder, relative to it.
    pub fn attachments(&self) -> &'a [String] {
        self.report
            .detail
            .as_ref()
            .map_or(&[], |detail| &detail.attachments)
    }

    /// Its parts with a verdict of their own, in the order they began.
    pub fn sub_cases(&self) -> &'a [SubCase] {
        self.report.sub_cases()
    }

    /// The command that runs it again; empty where there is none.
    pub fn reproduce(&self) -> Cow<'a, str> {
        if !self.command.is_empty() && self.command.contains(NAME_MARK) {
            Cow::Owned(self.command.replacen(NAME_MARK, self.name(), 1))
        } else {
            Cow::Borrowed(self.command)
        }
    }

    /// The report as one event, iterations taken together.
    pub fn to_finished(&self) -> CaseFinished {
        let own = |(axis, label): (&str, &str)| (axis.to_owned().into(), label.to_owned());
        CaseFinished {
            case: self.name().into(),
            module: self.place.module.clone(),
            file: self.place.file.clone(),
            line: self.line(),
            iteration: 0,
            outcome: self.outcome().into_owned(),
            seed: self.seed(),
            root_seed: self.root_seed(),
            axes: self.axes().into_iter().map(own).collect(),
            variants: self.variants().to_vec(),
            forbidden: self.forbidden().to_vec(),
            tags: self.tags().to_vec(),
            started_unix_ms: self.started_unix_ms(),
            duration_us: self.duration_us(),
            earlier: self.earlier().to_vec(),
            output: self.output().into(),
            output_bytes: self.output_bytes(),
            artifacts: self.artifacts().map(str::to_owned),
            attachments: self.attachments().to_vec(),
            reproduce: self.reproduce().into_owned(),
            sub_cases: self.sub_cases().to_vec(),
        }
    }
}

/// The axes as a name tells them, as far as it can be taken apart.
pub(super) fn axes_of_name(name: &str) -> Vec<(&str, &str)> {
    let Some(cell) = name.find('[').and_then(|open| name[open + 1..].strip_suffix(']')) else {
        return Vec::new();
    };
    cell.split(',')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect()
}
