//! What holds for every case of a run, and a case before it starts.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::event::CaseFinished;
use crate::in_process::InProcess;
use crate::interrupt::Interrupt;
use crate::keep::Keep;
use crate::launcher::Launcher;
use crate::leak::AllowedBy;
use crate::matrix::Matrix;
use crate::outcome::Outcome;
use crate::protocol::Order;
use crate::registry::Isolation;
use crate::scheduler::JobNumber;
use crate::seed::Seed;
use crate::variant::{Assignment, Mode};
use crate::wall_clock::unix_ms;

/// What holds for every case of a run.
pub(crate) struct Rules {
    pub(crate) root_seed: Seed,
    pub(crate) timeout: Duration,
    pub(crate) retries: u32,
    pub(crate) isolation: Option<Isolation>,
    /// How long a case that began to unwind may take.
    pub(crate) teardown_within: Duration,
    /// The folder `cases` of the report.
    pub(crate) cases: PathBuf,
    /// Whether reports show the output of cases that passed.
    pub(crate) show_output: bool,
    /// Whether reports show the logs of the nodes of a case that did not pass.
    pub(crate) show_logs: bool,
    /// Whether the files of cases that passed are kept too.
    pub(crate) keep_logs: bool,
    /// What comes before the case's name and seed in the command that runs it again.
    pub(crate) reproduce: String,
    /// What comes after them, where anything does: the programs that were given.
    pub(crate) reproduce_programs: String,
    /// `--variants`.
    pub(crate) mode: Mode,
    pub(crate) launcher: Launcher,
    pub(crate) interrupt: Arc<Interrupt>,
    /// Where cases run that run in this process.
    pub(crate) in_process: Option<Mutex<InProcess>>,
    pub(crate) orders: AtomicU64,
    /// `--keep-on-failure`.
    pub(crate) keep: Option<Arc<Keep>>,
    /// The allowances that took effect.
    pub(crate) allowed: Arc<Mutex<BTreeSet<AllowedBy>>>,
}

/// A case to run.
#[derive(Clone, Copy)]
pub(crate) struct CaseToRun<'a> {
    pub(crate) matrix: &'a Matrix,
    /// The scenario's number in [`crate::registry::unsorted`].
    pub(crate) registered: u32,
    pub(crate) cell: u64,
    pub(crate) iteration: u32,
}

/// A case with everything that can be had before it starts.
pub(crate) struct Prepared<'a> {
    pub(crate) job: JobNumber,
    /// The job's class in the scheduler.
    pub(crate) class: usize,
    pub(crate) case: CaseToRun<'a>,
    pub(crate) event: CaseFinished,
    pub(crate) variants: Assignment,
    /// Of the first attempt.
    pub(crate) order: Order,
}

impl<'a> Prepared<'a> {
    pub(crate) fn new(rules: &Rules, job: JobNumber, class: usize, case: CaseToRun<'a>) -> Self {
        let mut event = blank_event(case, rules.root_seed);
        let variants = case.matrix.assignment(case.cell, event.seed);
        if !variants.is_empty() {
            event.variants = variants.list();
            event.forbidden = variants.forbidden();
        }
        Self {
            job,
            class,
            case,
            order: rules.order(case, event.seed, 0),
            event,
            variants,
        }
    }
}

impl Rules {
    pub(crate) fn order(&self, case: CaseToRun<'_>, seed: Seed, attempt: u32) -> Order {
        Order {
            number: self.orders.fetch_add(1, Ordering::Relaxed) + 1,
            ahead: false,
            scenario: case.registered,
            attempt,
            cell: case.cell,
            seed,
        }
    }

    /// How often the case is tried again. A known failure that passes on the second try would look fixed.
    pub(crate) fn retries(&self, case: CaseToRun<'_>, is_known_failure: bool) -> u32 {
        if is_known_failure {
            return 0;
        }
        case.matrix.scenario.options.retries.unwrap_or(self.retries)
    }

    /// Whether the case may be ordered before the one in front of it is over: it runs once, in a worker that
    /// others share, and its output needs no place of its own.
    pub(crate) fn may_order_ahead(&self, case: CaseToRun<'_>) -> bool {
        self.in_process.is_none()
            && self.keep.is_none()
            && !self.launcher.show
            && self.isolation(case) == Isolation::Worker
            && (self.retries(case, false) == 0 || is_known_failure(case))
    }

    /// `--isolation none` is for debuggers and holds for all; otherwise the scenario knows what it needs.
    pub(crate) fn isolation(&self, case: CaseToRun<'_>) -> Isolation {
        let own = case.matrix.scenario.options.isolation;
        own.or(self.isolation).unwrap_or(Isolation::Worker)
    }
}

/// Whether it is a known failure whatever its variants are.
fn is_known_failure(case: CaseToRun<'_>) -> bool {
    let known = case.matrix.known_failures_of_some(case.cell);
    known.iter().any(|(_, of_all)| *of_all)
}

/// An event with everything that is known before a case runs.
pub(crate) fn blank_event(case: CaseToRun<'_>, root_seed: Seed) -> CaseFinished {
    let name = case.matrix.case_name(case.cell);
    let mut event = event_named(case.matrix, name, root_seed.iteration(case.iteration));
    event.iteration = case.iteration;
    let labels = case.matrix.labels(case.cell);
    let names = case.matrix.axes.iter().map(|axis| axis.name);
    event.axes = if case.matrix.is_expanded() {
        let owned = |(name, label): (&str, &str)| (Cow::Owned(name.to_owned()), label.to_owned());
        labels.into_iter().map(owned).collect()
    } else {
        let axes = names.zip(labels);
        axes.map(|(name, (_, label))| (Cow::Borrowed(name), label.to_owned()))
            .collect()
    };
    event
}

/// The event of a scenario of which an axis is empty: one case, without a cell.
pub(crate) fn cellless_event(matrix: &Matrix, root_seed: Seed) -> CaseFinished {
    event_named(matrix, matrix.name.clone(), root_seed)
}

fn event_named(matrix: &Matrix, name: String, root_seed: Seed) -> CaseFinished {
    let scenario = matrix.scenario;
    CaseFinished {
        seed: root_seed.derive(&name),
        case: name,
        module: Cow::Borrowed(scenario.module),
        file: Cow::Borrowed(scenario.file),
        line: scenario.line,
        iteration: 0,
        outcome: Outcome::Passed,
        root_seed,
        axes: Vec::new(),
        variants: Vec::new(),
        forbidden: Vec::new(),
        tags: scenario.options.tags.iter().copied().map(Cow::Borrowed).collect(),
        started_unix_ms: unix_ms(),
        duration_us: 0,
        earlier: Vec::new(),
        output: String::new(),
        output_bytes: 0,
        artifacts: None,
        attachments: Vec::new(),
        reproduce: String::new(),
        sub_cases: Vec::new(),
    }
}
