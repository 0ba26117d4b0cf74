//! What was going to run: the planned cases of all runs of a suite, each named once.
//!
//! Ranges of cells stay ranges until somebody asks for the names, so a plan of a million cases is small.

use crate::event::{Planned, RunStarted};
use crate::index::{self, Index};
use crate::seed::Seed;

/// The union of what runs of one suite planned.
#[derive(Debug, Default)]
pub struct Plan {
    scenarios: Vec<Scenario>,
    /// The names of `scenarios`: one has several places when runs disagree about the axes.
    index: Index,
}

#[derive(Debug)]
struct Scenario {
    planned: Planned,
    cells: Vec<Range>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    start: u64,
    end: u64,
    root_seed: Seed,
    started_unix_ms: u64,
}

/// A case that was planned.
#[derive(Debug)]
pub struct PlannedCase<'a> {
    /// The full name.
    pub name: String,
    /// The module path.
    pub module: &'a str,
    /// The source file.
    pub file: &'a str,
    /// The line of the attribute.
    pub line: u32,
    /// The root seed of the run that planned it.
    pub root_seed: Seed,
    /// The start of that run.
    pub started_unix_ms: u64,
}

impl Plan {
    /// Adds what a run planned, and takes it out of `run`: the plan is the largest part of it. Returns the
    /// number of its cases.
    pub fn take(&mut self, run: &mut RunStarted) -> u64 {
        let mut count = 0;
        for mut planned in std::mem::take(&mut run.planned) {
            let cells = std::mem::take(&mut planned.cells);
            let size = size(&planned);
            let is = |at: u32| {
                let known = &self.scenarios[at as usize].planned;
                known.scenario == planned.scenario && known.axes == planned.axes
            };
            let found = self.index.find(index::hash(&planned.scenario), is);
            let at = found.unwrap_or_else(|hash| {
                let at = u32::try_from(self.scenarios.len()).expect("a suite has fewer than 2^32 scenarios");
                self.index.insert(hash, at);
                self.scenarios.push(Scenario {
                    planned,
                    cells: Vec::new(),
                });
                at
            });
            let ranges = &mut self.scenarios[at as usize].cells;
            for (start, end) in cells {
                let end = end.min(size);
                count += end.saturating_sub(start);
                ranges.push(Range {
                    start,
                    end,
                    root_seed: run.seed,
                    started_unix_ms: run.started_unix_ms,
                });
            }
        }
        count
    }

    /// Every planned case, by file, line, name and cell; each cell of a scenario once.
    pub fn each(&self, mut visit: impl FnMut(PlannedCase<'_>)) {
        let mut scenarios: Vec<&Scenario> = self.scenarios.iter().collect();
        scenarios.sort_by(|a, b| {
            let key = |scenario: &Scenario| scenario.planned.line;
            (&a.planned.file, key(a), &a.planned.scenario).cmp(&(
                &b.planned.file,
                key(b),
                &b.planned.scenario,
            ))
        });
        for Scenario { planned, cells } in scenarios {
            let mut cells = cells.clone();
            cells.sort_unstable();
            let mut next = 0;
            for range in cells {
                for cell in range.start.max(next)..range.end {
                    visit(PlannedCase {
                        name: case_name(planned, cell),
                        module: &planned.module,
                        file: &planned.file,
                        line: planned.line,
                        root_seed: range.root_seed,
                        started_unix_ms: range.started_unix_ms,
                    });
                }
                next = next.max(range.end);
            }
        }
    }
}

/// The number of planned cases of a run.
pub(super) fn count(planned: &[Planned]) -> u64 {
    let cells = |planned: &Planned| {
        let size = size(planned);
        let cells = planned.cells.iter();
        cells
            .map(|&(start, end)| end.min(size).saturating_sub(start))
            .sum::<u64>()
    };
    planned.iter().map(cells).sum()
}

/// The number of cells of a scenario's matrix.
fn size(planned: &Planned) -> u64 {
    let sizes = planned.axes.iter().map(|(_, labels)| labels.len() as u64);
    sizes.fold(1, u64::saturating_mul)
}

/// The name of a cell, which must be less than the matrix's size: `scenario[axis=label,..]`.
fn case_name(planned: &Planned, cell: u64) -> String {
    let mut name = planned.scenario.clone();
    let mut weight = size(planned);
    let mut rest = cell;
    for (at, (axis, labels)) in planned.axes.iter().enumerate() {
        weight /= labels.len() as u64;
        name.push(if at == 0 { '[' } else { ',' });
        name.push_str(axis);
        name.push('=');
        name.push_str(&labels[(rest / weight) as usize]);
        rest %= weight;
    }
    if !planned.axes.is_empty() {
        name.push(']');
    }
    name
}
