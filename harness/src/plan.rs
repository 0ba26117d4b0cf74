//! What a run does: the chosen cells of every matrix, and why the others do not run.
//!
//! Pure: from matrices and a [`Selection`](crate::selection::Selection) to a [`Plan`]. A job is a scenario and
//! a cell number, 16 bytes; names are made only where a filter or a shard has to see them. Nothing here
//! starts, times or reports anything.

mod budget;
mod choose;
mod describe;
mod names;
mod prepare;
#[cfg(test)]
mod tests;
mod variants;

use std::sync::Arc;

pub(crate) use budget::{Budget, Slots, over};
pub use describe::{ListFormat, describe, list};
pub use prepare::{PlanError, PlanProblem, prepare};
use rand::Rng as _;
pub use variants::UnknownGiven;

use crate::event::Planned;
use crate::matrix::{Matrix, Skip, SkipKind};
use crate::seed::Seed;

/// What runs, what does not, and why.
pub struct Plan {
    /// The scenarios that were expanded, in declaration order. With `--exact` only those a filter names.
    pub matrices: Vec<Matrix>,
    /// What runs, in order.
    pub jobs: Vec<Job>,
    /// What was chosen and does not run, in order.
    pub skipped: Vec<Skipped>,
    /// How many cases were not chosen. A scenario that was not expanded, and one with an empty axis, count as
    /// one.
    pub filtered_out: u64,
    /// One a line for stderr: filters of `--exact` that name nothing, with the near miss, and tags that no
    /// scenario has.
    pub warnings: Vec<String>,
    /// Whether a filter of `--exact` names no case at all (rather than one that another option leaves out):
    /// nothing ran where something should, so the run exits with 101.
    pub not_found: bool,
}

/// A case that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Job {
    /// An index into [`Plan::matrices`].
    pub scenario: u32,
    /// A cell of that matrix.
    pub cell: u64,
}

/// A case that was chosen and does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// An index into [`Plan::matrices`].
    pub scenario: u32,
    /// A cell of that matrix; `None` where an empty axis leaves it without any.
    pub cell: Option<u64>,
    /// Why. Shared between the cases that have the same.
    pub reason: Arc<str>,
    /// The class of the reason.
    pub kind: SkipKind,
    /// `ROBUST_REQUIRE` asks for what is not available: the case is errored instead of skipped.
    pub required: bool,
}

/// What a plan without jobs means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nothing {
    /// The filters, tags, shard or last failures left nothing. Passes, as libtest does.
    Chosen,
    /// Everything chosen is skipped. Passes, and must be said loudly.
    Runnable,
}

impl Plan {
    /// The seed of the order, from the root seed or `--shuffle-seed`. Each job has the same chance at each
    /// place; the same seed and jobs give the same order in every release.
    pub fn shuffle(&mut self, seed: Seed) {
        let mut rng = seed.stream("shuffle");
        for last in (1..self.jobs.len()).rev() {
            // Fixed-point multiplication: an index below `last + 1`, whose bias of 2^-64 a run cannot show.
            let scaled = u128::from(rng.next_u64()) * (last as u128 + 1);
            self.jobs.swap((scaled >> 64) as usize, last);
        }
    }

    /// The matrix of a job.
    pub fn matrix(&self, job: Job) -> &Matrix {
        &self.matrices[job.scenario as usize]
    }

    /// The name of a job's case.
    pub fn job_name(&self, job: Job) -> String {
        self.matrix(job).case_name(job.cell)
    }

    /// The name of a skipped case.
    pub fn skipped_name(&self, skipped: &Skipped) -> String {
        let mut name = String::new();
        self.write_name(skipped.scenario, skipped.cell, &mut name);
        name
    }

    fn write_name(&self, scenario: u32, cell: Option<u64>, name: &mut String) {
        let matrix = &self.matrices[scenario as usize];
        match cell {
            Some(cell) => matrix.write_case_name(cell, name),
            None => name.push_str(&matrix.name),
        }
    }

    /// Why nothing is going to run; `None` where something is, or where a required skip is going to be an
    /// error.
    pub fn nothing(&self) -> Option<Nothing> {
        if !self.jobs.is_empty() || self.skipped.iter().any(|skipped| skipped.required) {
            None
        } else if self.skipped.is_empty() {
            Some(Nothing::Chosen)
        } else {
            Some(Nothing::Runnable)
        }
    }

    /// The jobs as the event log tells them: for each scenario that has any, in declaration order, the ranges
    /// of its cells. The order that [`Plan::shuffle`] made is not in it.
    pub fn planned(&self) -> Vec<Planned> {
        let mut jobs = std::borrow::Cow::Borrowed(&self.jobs);
        if !jobs.is_sorted() {
            jobs.to_mut().sort_unstable();
        }
        let of_one_scenario = jobs.chunk_by(|a, b| a.scenario == b.scenario);
        of_one_scenario
            .map(|jobs| {
                let matrix = self.matrix(jobs[0]);
                let (axes, cells) = if matrix.is_expanded() {
                    expanded(matrix, jobs)
                } else {
                    let labels = |values: &[crate::matrix::MatrixValue]| {
                        values.iter().map(|value| value.label.to_string()).collect()
                    };
                    let axes = matrix.axes.iter();
                    let axes = axes.map(|axis| (axis.name.to_owned(), labels(&axis.values)));
                    (axes.collect(), ranges(jobs.iter().map(|job| job.cell)))
                };
                Planned {
                    scenario: matrix.name.clone(),
                    module: matrix.scenario.module.to_owned(),
                    file: matrix.scenario.file.to_owned(),
                    line: matrix.scenario.line,
                    axes,
                    cells,
                }
            })
            .collect()
    }

    fn skip(&mut self, scenario: u32, cell: Option<u64>, skip: Skip, required: bool) {
        self.skipped.push(Skipped {
            scenario,
            cell,
            reason: skip.reason,
            kind: skip.kind,
            required,
        });
    }
}

/// Numbers in a row as half-open ranges.
fn ranges(cells: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for cell in cells {
        match ranges.last_mut() {
            Some((_, end)) if *end == cell => *end += 1,
            _ => ranges.push((cell, cell + 1)),
        }
    }
    ranges
}

/// See [`Planned::axes`].
type PlannedAxes = Vec<(String, Vec<String>)>;

/// The axes of jobs whose names tell variants, with those labels alone that a job has (a kind may have a million
/// combinations), and the jobs' cells in the product of these.
fn expanded(matrix: &Matrix, jobs: &[Job]) -> (PlannedAxes, Vec<(u64, u64)>) {
    let mut used = vec![std::collections::BTreeSet::new(); matrix.axes.len()];
    for job in jobs {
        for (used, place) in used.iter_mut().zip(matrix.places(job.cell)) {
            used.insert(place);
        }
    }
    let used: Vec<Vec<u64>> = used.into_iter().map(|used| used.into_iter().collect()).collect();
    let cells = jobs.iter().map(|job| {
        let places = matrix.places(job.cell).zip(&used);
        // Smaller than the matrix, whose cells have numbers too; every place is among those used.
        places.fold(0, |cell, (place, used)| {
            cell * used.len() as u64 + used.partition_point(|other| *other < place) as u64
        })
    });
    let cells = ranges(cells);
    let axes = matrix.axes.iter().zip(&used).enumerate();
    let axes = axes.map(|(index, (axis, used))| {
        let labels = used.iter().map(|place| matrix.place_label(index, *place));
        (axis.name.to_owned(), labels.collect())
    });
    (axes.collect(), cells)
}
