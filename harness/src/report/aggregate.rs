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

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::event::CaseFinished;
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
    /// Hash of a name to its place in `cases`; the next hash where two names share one.
    index: HashMap<u64, u32>,
    /// The order of reports, once the plan is known to be complete.
    order: Option<Vec<u32>>,
    places: Interner<Place>,
    commands: Interner<String>,
    totals: Totals,
    passing_output_bytes: usize,
}

impl Aggregate {
    /// Takes one verdict in. Iterations of a case become one report: the worst verdict is told, durations
    /// are summed. A verdict replaces an interruption of the same case.
    pub fn add(&mut self, finished: &CaseFinished) {
        self.totals.runs += 1;
        let new = self.compact(finished);
        match self.find(&finished.case) {
            Ok(at) => {
                let old = &mut self.cases[at as usize];
                self.totals.count(old.status(), -1);
                old.merge(new);
                self.totals.count(old.status(), 1);
            }
            Err(hash) => {
                self.totals.count(new.status(), 1);
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
                    let place = self.places.intern(Place {
                        module: case.module.to_owned(),
                        file: case.file.to_owned(),
                        line: case.line,
                        tags: Vec::new(),
                    });
                    let report = CaseReport {
                        seed: case.root_seed.derive(&case.name),
                        name: case.name.into(),
                        place,
                        command: self.commands.intern(String::new()),
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
        (0..self.cases.len()).map(|at| {
            let at = self.order.as_ref().map_or(at, |order| order[at] as usize);
            Case {
                report: &self.cases[at],
                place: self.places.get(self.cases[at].place),
                command: self.commands.get(self.cases[at].command),
            }
        })
    }

    /// The place of a name, or where the index would point to it.
    fn find(&self, name: &str) -> Result<u32, u64> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let mut hash = hasher.finish();
        while let Some(&at) = self.index.get(&hash) {
            if *self.cases[at as usize].name == *name {
                return Ok(at);
            }
            hash = hash.wrapping_add(1);
        }
        Err(hash)
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

    fn compact(&mut self, finished: &CaseFinished) -> CaseReport {
        let place = self.places.intern_by(
            |place| {
                place.line == finished.line
                    && place.module == finished.module
                    && place.file == finished.file
                    && place.tags == finished.tags
            },
            || Place {
                module: finished.module.clone(),
                file: finished.file.clone(),
                line: finished.line,
                tags: finished.tags.clone(),
            },
        );
        let command = self
            .commands
            .intern(finished.reproduce.replacen(&finished.case, NAME_MARK, 1));
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
        let plain = passed && axes.is_none() && finished.output.is_empty() && finished.artifacts.is_none();
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
                })
            }),
        }
    }
}

/// Values kept once, with a number each.
#[derive(Debug)]
struct Interner<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32>,
    last: u32,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            numbers: HashMap::new(),
            last: 0,
        }
    }
}

impl<T: Clone + Eq + Hash> Interner<T> {
    fn intern(&mut self, value: T) -> u32 {
        let next = self.values.len() as u32;
        self.last = *self.numbers.entry(value).or_insert_with_key(|value| {
            self.values.push(value.clone());
            next
        });
        self.last
    }

    /// As `intern`; makes the value only where the last one was another.
    fn intern_by(&mut self, same: impl FnOnce(&T) -> bool, make: impl FnOnce() -> T) -> u32 {
        match self.values.get(self.last as usize) {
            Some(value) if same(value) => self.last,
            _ => self.intern(make()),
        }
    }

    fn get(&self, number: u32) -> &T {
        &self.values[number as usize]
    }
}

#[cfg(test)]
#[path = "aggregate_tests.rs"]
mod tests;
