//! A suite as reports see it: its runs, what they planned, and the verdicts.

use crate::event::{RunFinished, RunStarted};
use crate::report::aggregate::Aggregate;
use crate::report::plan::Plan;

/// One run of a suite.
#[derive(Debug)]
pub struct Run {
    /// How it started; `planned` has moved to [`Suite::plan`].
    pub started: RunStarted,
    /// How many cases it planned.
    pub planned: u64,
    /// How it ended, if by itself.
    pub finished: Option<RunFinished>,
}

/// Everything known about one suite: all runs of one test binary.
#[derive(Debug, Default)]
pub struct Suite {
    /// The package.
    pub package: String,
    /// The test target.
    pub name: String,
    /// Its runs, in the order they were read.
    pub runs: Vec<Run>,
    /// What they planned.
    pub plan: Plan,
    /// Their verdicts.
    pub cases: Aggregate,
}

impl Suite {
    /// A suite of one run that has just started.
    pub fn new(started: RunStarted) -> Self {
        let mut suite = Self {
            package: started.package.clone(),
            name: started.suite.clone(),
            ..Self::default()
        };
        suite.push(started);
        suite
    }

    /// Adds a run that has started.
    pub fn push(&mut self, mut started: RunStarted) {
        let planned = self.plan.take(&mut started);
        self.cases
            .reserve(planned.saturating_sub(self.cases.totals().cases()));
        self.runs.push(Run {
            started,
            planned,
            finished: None,
        });
    }

    /// The longest run's duration, in microseconds; of a run that did not end, up to its last verdict.
    pub fn duration_us(&self) -> u64 {
        let open = self.runs.iter().filter(|run| run.finished.is_none());
        let open = open
            .map(|run| run.started.started_unix_ms)
            .min()
            .map_or(0, |start| {
                let ends = self.cases.cases().filter(|case| case.runs() > 0);
                let ends =
                    ends.map(|case| case.started_unix_ms().saturating_sub(start) * 1000 + case.duration_us());
                ends.max().unwrap_or(0)
            });
        let finished = self.runs.iter().filter_map(|run| run.finished.as_ref());
        finished.map(|finished| finished.duration_us).fold(open, u64::max)
    }

    /// Cases that filters, tags or shards left out of every run.
    pub fn filtered_out(&self) -> u64 {
        let all = self
            .runs
            .iter()
            .map(|run| run.started.filtered_out + run.planned)
            .max();
        match &self.runs[..] {
            [run] => run.started.filtered_out,
            _ => all.unwrap_or(0).saturating_sub(self.cases.totals().cases()),
        }
    }
}
