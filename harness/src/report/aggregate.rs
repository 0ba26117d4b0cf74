//! The verdicts of one suite, one report a case however often it ran, in little memory.
//!
//! A suite may have a million cases and nearly all of them pass: such a case costs its name, a few numbers
//! and references to what it shares with its scenario. What passing cases wrote is kept until
//! [`PASSING_OUTPUT_BYTES_MAX`] in total. Every operation is linear in what it is given.
//!
//! It knows neither files nor formats. The runner may use it live; reports are rendered from it.
//!
//! ```
//! use robust_test_harness::report::Aggregate;
//! let aggregate = Aggregate::default();
//! assert_eq!(aggregate.totals().failed(), 0);
//! ```

use std::borrow::Cow;
use std::ops::Range;

use crate::event::CaseFinished;
use crate::index::{self, Index, Interner};
use crate::outcome::Outcome;
use crate::report::case::{Case, CaseReport, Detail, NAME_MARK, Place, axes_of_name};
use crate::report::plan::Plan;
use crate::report::totals::Totals;

/// What passing cases wrote is kept up to this much in total, in bytes; the events file has all of it.
pub const PASSING_OUTPUT_BYTES_MAX: usize = 16 << 20;

/// The verdicts of one suite; see the module.
#[derive(Debug, Default)]
pub struct Aggregate {
    cases: Vec<CaseReport>,
    /// The names of `cases`.
    index: Index,
    /// The order of reports, once the plan is known to be complete.
    order: Option<Vec<u32>>,
    places: Interner<Place>,
    commands: Interner<String>,
    totals: Totals,
    passing_output_bytes: usize,
}

impl Aggregate {
    /// Makes room for so many cases more.
    pub(super) fn reserve(&mut self, cases: u64) {
        // More than this is not worth having before it is needed.
        let cases = cases.min(1 << 16) as usize;
        self.cases.reserve(cases);
        self.index.reserve(cases);
    }

    /// Takes one verdict in. Iterations of a case become one report: the worst verdict is told, durations
    /// are summed. A verdict replaces an interruption of the same case.
    pub fn add(&mut self, finished: &CaseFinished) {
        self.totals.runs += 1;
        let new = self.compact(finished);
        match self.find(&finished.case) {
            Ok(at) => {
                let old = &mut self.cases[at as usize];
                self.totals.count(old.status(), -1);
                self.totals.count_sub_cases(old.sub_cases(), -1);
                old.merge(new);
                self.totals.count(old.status(), 1);
                self.totals.count_sub_cases(old.sub_cases(), 1);
            }
            Err(hash) => {
                self.totals.count(new.status(), 1);
                self.totals.count_sub_cases(new.sub_cases(), 1);
                self.push(hash, new);
            }
        }
    }

    /// Enters what was planned and has no verdict, and puts the cases in the plan's order: by file, line and
    /// cell. Verdicts may still come afterwards.
    pub fn settle(&mut self, plan: &Plan) {
        let mut order = Vec::with_capacity(self.cases.len());
        let mut placed = vec![false; self.cases.len()];
        plan.each(|case| {
            let at = match self.find(&case.name) {
                Ok(at) => at,
                Err(hash) => {
                    let place = self.place(case.line, (case.module, case.file), &[], || Place {
                        module: case.module.to_owned().into(),
                        file: case.file.to_owned().into(),
                        line: case.line,
                        tags: Vec::new(),
                    });
                    let report = CaseReport {
                        seed: case.root_seed.derive(&case.name),
                        place,
                        command: self.command("", &case.name),
                        name: case.name.into(),
                        root_seed: case.root_seed,
                        started_unix_ms: case.started_unix_ms,
                        duration_us: 0,
                        runs: 0,
                        bad_runs: 0,
                        detail: None,
                    };
                    self.totals.count(report.status(), 1);
                    self.push(hash, report)
                }
            };
            placed.resize(self.cases.len(), false);
            if !std::mem::replace(&mut placed[at as usize], true) {
                order.push(at);
            }
        });
        order.extend((0..self.cases.len() as u32).filter(|&at| !placed[at as usize]));
        self.order = Some(order);
    }

    /// How many cases have which verdict.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Every case once: in the plan's order after [`Aggregate::settle`], else in order of arrival.
    pub fn cases(&self) -> impl Iterator<Item = Case<'_>> {
        self.range(0..self.cases.len())
    }

    /// How many cases there are.
    pub(super) fn len(&self) -> usize {
        self.cases.len()
    }

    /// Some of [`Aggregate::cases`], by their places there.
    pub(super) fn range(&self, range: Range<usize>) -> impl Iterator<Item = Case<'_>> {
        range.map(|at| {
            let report = self.report(at);
            Case {
                report,
                place: self.places.get(report.place),
                command: self.commands.get(report.command),
            }
        })
    }

    /// How many bytes are kept of what the case at this place wrote and its sub-cases told.
    pub(super) fn output_bytes(&self, at: usize) -> usize {
        self.report(at).detail.as_ref().map_or(0, |detail| {
            let earlier = detail.earlier.iter().map(|attempt| attempt.output.len());
            let sub_cases = detail.sub_cases.iter();
            let sub_cases = sub_cases.map(|one| one.name.len() + one.outcome.text_bytes());
            detail.output.len() + earlier.sum::<usize>() + sub_cases.sum::<usize>()
        })
    }

    fn report(&self, at: usize) -> &CaseReport {
        let at = self.order.as_ref().map_or(at, |order| order[at] as usize);
        &self.cases[at]
    }

    /// The place of a name, or where the index would point to it.
    fn find(&self, name: &str) -> Result<u32, u64> {
        let is = |at: u32| *self.cases[at as usize].name == *name;
        self.index.find(index::hash(name), is)
    }

    fn push(&mut self, hash: u64, report: CaseReport) -> u32 {
        let at = u32::try_from(self.cases.len()).expect("a suite has fewer than 2^32 cases");
        self.cases.push(report);
        self.index.insert(hash, at);
        if let Some(order) = &mut self.order {
            order.push(at);
        }
        at
    }

    /// The number of what the cases of a scenario share, which `make` makes where it is new.
    fn place(
        &mut self,
        line: u32,
        (module, file): (&str, &str),
        tags: &[Cow<'static, str>],
        make: impl FnOnce() -> Place,
    ) -> u32 {
        self.places.intern(
            || index::mixed(index::hash(module), u64::from(line)),
            |place| place.line == line && place.module == module && place.file == file && place.tags == tags,
            make,
        )
    }

    /// The number of a command without the case's name in it.
    fn command(&mut self, reproduce: &str, case: &str) -> u32 {
        let shared = match reproduce {
            "" => Cow::Borrowed(""),
            command => Cow::Owned(command.replacen(case, NAME_MARK, 1)),
        };
        self.commands.intern(
            || index::hash(&shared),
            |command| **command == *shared,
            || shared.to_string(),
        )
    }

    fn compact(&mut self, finished: &CaseFinished) -> CaseReport {
        let named = (&*finished.module, &*finished.file);
        let place = self.place(finished.line, named, &finished.tags, || Place {
            module: finished.module.clone(),
            file: finished.file.clone(),
            line: finished.line,
            tags: finished.tags.clone(),
        });
        let command = self.command(&finished.reproduce, &finished.case);
        let told = axes_of_name(&finished.case);
        let same = told.len() == finished.axes.len()
            && told
                .iter()
                .zip(&finished.axes)
                .all(|(a, b)| a.0 == b.0 && a.1 == b.1);
        let axes = (!same).then(|| finished.axes.clone());
        let passed = finished.outcome == Outcome::Passed && finished.earlier.is_empty();
        let output = if !passed {
            finished.output.clone()
        } else if self.passing_output_bytes + finished.output.len() <= PASSING_OUTPUT_BYTES_MAX {
            self.passing_output_bytes += finished.output.len();
            finished.output.clone()
        } else {
            String::new()
        };
        let plain = passed
            && axes.is_none()
            && finished.output.is_empty()
            && finished.artifacts.is_none()
            && finished.variants.is_empty()
            && finished.sub_cases.is_empty();
        CaseReport {
            name: finished.case.as_str().into(),
            place,
            command,
            seed: finished.seed,
            root_seed: finished.root_seed,
            started_unix_ms: finished.started_unix_ms,
            duration_us: finished.duration_us,
            runs: 1,
            bad_runs: u32::from(finished.outcome.is_bad()),
            detail: (!plain).then(|| {
                Box::new(Detail {
                    outcome: finished.outcome.clone(),
                    axes,
                    earlier: finished.earlier.clone(),
                    output,
                    output_bytes: finished.output_bytes.max(finished.output.len() as u64),
                    artifacts: finished.artifacts.clone(),
                    attachments: finished.attachments.clone(),
                    variants: finished.variants.clone(),
                    forbidden: finished.forbidden.clone(),
                    sub_cases: finished.sub_cases.clone(),
                })
            }),
        }
    }
}

#[cfg(test)]
#[path = "aggregate_tests.rs"]
mod tests;
