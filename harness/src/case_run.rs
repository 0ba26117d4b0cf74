//! One case in its slot: attempts until it is decided, what was kept of it, and the event that says so.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::artifacts;
use crate::attempt::{self, Surroundings};
use crate::capture::Capture;
use crate::event::{Attempt, CaseFinished};
use crate::in_process::InProcess;
use crate::interrupt::{Interrupt, Urgency};
use crate::matrix::Matrix;
use crate::outcome::{Class, Outcome, Problem};
use crate::protocol::Order;
use crate::registry::{Isolation, Rule};
use crate::seed::Seed;
use crate::worker_handle::{Launcher, WorkerHandle};

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
    /// What comes before the case's name and seed in the command that runs it again.
    pub(crate) reproduce: String,
    pub(crate) launcher: Launcher,
    pub(crate) interrupt: Arc<Interrupt>,
    /// Where cases run that run in this process.
    pub(crate) in_process: Option<Mutex<InProcess>>,
    pub(crate) orders: AtomicU64,
}

/// What a slot keeps from case to case.
pub(crate) struct Slot {
    pub(crate) held: Option<WorkerHandle>,
    pub(crate) waker: Arc<OwnedFd>,
    pub(crate) buffer: Vec<u8>,
    pub(crate) capture: Capture,
}

/// A case to run.
#[derive(Clone, Copy)]
pub(crate) struct CaseToRun<'a> {
    pub(crate) matrix: &'a Matrix,
    /// The scenario's number in [`crate::registry::scenarios`].
    pub(crate) registered: u32,
    pub(crate) cell: u64,
    pub(crate) iteration: u32,
}

/// A case's event, and whether more cases can run.
pub(crate) struct Finished {
    pub(crate) event: CaseFinished,
    pub(crate) usable: bool,
}

impl Slot {
    pub(crate) fn new(number: usize, rules: &Rules) -> std::io::Result<Self> {
        Ok(Self {
            held: None,
            waker: rules.interrupt.waker()?,
            buffer: vec![0; 64 << 10],
            capture: Capture::new(rules.launcher.folder.join(format!("out{number}"))),
        })
    }

    /// Runs a case to its verdict.
    pub(crate) fn run(&mut self, rules: &Rules, case: CaseToRun<'_>) -> Finished {
        let mut event = blank_event(case, rules.root_seed);
        let options = &case.matrix.scenario.options;
        let known = case.matrix.known_failure(case.cell);
        // A known failure that passes on the second try would look fixed.
        let retries = if known.is_some() {
            0
        } else {
            options.retries.unwrap_or(rules.retries)
        };
        let started = Instant::now();
        event.started_unix_ms = unix_ms();
        let mut usable = true;
        for attempt in 0..=retries {
            let began = Instant::now();
            self.capture.clear();
            let number = rules.orders.fetch_add(1, Ordering::Relaxed) + 1;
            let order = Order {
                number,
                scenario: case.registered,
                attempt,
                cell: case.cell,
                seed: event.seed,
                folder: rules
                    .launcher
                    .folder
                    .join(number.to_string())
                    .to_string_lossy()
                    .into_owned(),
            };
            let outcome = self.attempt(rules, case, &order, &mut usable);
            event.outcome = apply_known_failure(outcome, known);
            let last = attempt == retries
                || !event.outcome.is_bad()
                || !usable
                || rules.interrupt.urgency() != Urgency::None;
            let leftovers = self.leftovers(rules, &order);
            if last {
                self.report(rules, &mut event, options.ignore.is_some(), &leftovers);
            } else if let Some(problem) = event.outcome.problem() {
                event.earlier.push(Attempt {
                    problem: problem.clone(),
                    duration_us: micros(began.elapsed()),
                    output: self.capture.text(),
                });
            }
            for leftover in leftovers {
                let _moved_or_of_no_use = artifacts::remove_all(&leftover);
            }
            if last {
                break;
            }
        }
        event.duration_us = micros(started.elapsed());
        Finished { event, usable }
    }

    fn attempt(&mut self, rules: &Rules, case: CaseToRun<'_>, order: &Order, usable: &mut bool) -> Outcome {
        let options = &case.matrix.scenario.options;
        let timeout = options.timeout.unwrap_or(rules.timeout);
        // `--isolation none` is for debuggers and holds for all; otherwise the scenario knows what it needs.
        let isolation = options.isolation.or(rules.isolation).unwrap_or(Isolation::Worker);
        if let Some(in_process) = &rules.in_process {
            let within = attempt::UNWIND_WITHIN + rules.teardown_within;
            let in_process = in_process.lock().unwrap_or_else(PoisonError::into_inner);
            let attempted = in_process.run(order, timeout, within, &rules.interrupt);
            *usable = attempted.usable;
            return attempted.outcome;
        }
        let around = Surroundings {
            launcher: &rules.launcher,
            interrupt: &rules.interrupt,
            waker: &self.waker,
            teardown_within: rules.teardown_within,
        };
        let mut fresh = None;
        let alone = isolation == Isolation::Process;
        let held = if alone { &mut fresh } else { &mut self.held };
        let outcome = attempt::run(&around, held, order, timeout, &mut self.capture, &mut self.buffer);
        if let Some(worker) = fresh {
            let _status = worker.end_with_case(&rules.launcher, order, &mut self.capture, &mut self.buffer);
        }
        outcome
    }

    /// Folders with files of the attempt: its own, and what it left in its worker's `TMPDIR`.
    fn leftovers(&mut self, rules: &Rules, order: &Order) -> Vec<PathBuf> {
        let aside = order.folder_aside();
        if let Some(worker) = &mut self.held
            && worker.empty_folder(&aside).is_err()
            && let Some(worker) = self.held.take()
        {
            // Its folder is gone, or cannot be had: the next case gets another worker.
            let _status = worker.end_with_case(&rules.launcher, order, &mut self.capture, &mut self.buffer);
        }
        [PathBuf::from(&order.folder), aside]
            .into_iter()
            .filter(|folder| folder.exists())
            .collect()
    }

    /// Puts into the event what readers of a report want to see of the last attempt.
    fn report(&mut self, rules: &Rules, event: &mut CaseFinished, ignored: bool, leftovers: &[PathBuf]) {
        event.output_bytes = self.capture.total();
        let passed = matches!(event.outcome, Outcome::Passed | Outcome::Skipped { .. });
        if !passed || rules.show_output {
            event.output = self.capture.text();
        }
        if passed {
            return;
        }
        event.reproduce = format!(
            "{} {} --seed {}{}",
            rules.reproduce,
            shell_quoted(&event.case),
            event.root_seed,
            if ignored { " --include-ignored" } else { "" }
        );
        match artifacts::keep(&rules.cases, &folder_name(event), &mut self.capture, leftovers) {
            Ok(kept) => {
                if rules.show_logs {
                    event.output.push_str(&kept.logs());
                }
                event.artifacts = Some(kept.folder.to_string_lossy().into_owned());
                event.attachments = kept.files;
            }
            Err(error) => {
                if let Outcome::Failed(problem) | Outcome::Errored(problem) = &mut event.outcome {
                    problem
                        .details
                        .push_str(&format!("\n\nits files could not be kept: {error}"));
                    problem.details = problem.details.trim_start().to_owned();
                }
            }
        }
    }
}

/// What the folder of a case is named after: each repetition keeps its own.
fn folder_name(event: &CaseFinished) -> String {
    match event.iteration {
        0 => event.case.clone(),
        iteration => format!("{}.{iteration}", event.case),
    }
}

/// An event with everything that is known before a case runs.
pub(crate) fn blank_event(case: CaseToRun<'_>, root_seed: Seed) -> CaseFinished {
    let name = case.matrix.case_name(case.cell);
    let mut event = event_named(case.matrix, name, root_seed.iteration(case.iteration));
    event.iteration = case.iteration;
    let labels = case.matrix.labels(case.cell);
    event.axes = labels
        .into_iter()
        .map(|(axis, label)| (axis.to_owned(), label.to_owned()))
        .collect();
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
        module: scenario.module.to_owned(),
        file: scenario.file.to_owned(),
        line: scenario.line,
        iteration: 0,
        outcome: Outcome::Passed,
        root_seed,
        axes: Vec::new(),
        tags: scenario.options.tags.iter().map(|&tag| tag.to_owned()).collect(),
        started_unix_ms: unix_ms(),
        duration_us: 0,
        earlier: Vec::new(),
        output: String::new(),
        output_bytes: 0,
        artifacts: None,
        attachments: Vec::new(),
        reproduce: String::new(),
    }
}

/// A known failure that fails is reported as such; one that passes fails. What the harness or the set-up
/// broke is not the defect that is known.
fn apply_known_failure(outcome: Outcome, known: Option<&Rule>) -> Outcome {
    let Some(Rule { because, .. }) = known else {
        return outcome;
    };
    match outcome {
        Outcome::Passed => Outcome::Failed(Problem::new(
            Class::UnexpectedPass,
            format!(
                "it passed, and is declared a known failure: {because}\nremove the `known_failure` if the defect is gone"
            ),
        )),
        Outcome::Failed(problem) => Outcome::KnownFailure {
            because: (*because).to_owned(),
            problem,
        },
        Outcome::Errored(problem) if matches!(problem.class, Class::Deadline | Class::Crash) => {
            Outcome::KnownFailure {
                because: (*because).to_owned(),
                problem,
            }
        }
        other => other,
    }
}

/// For a POSIX shell.
pub(crate) fn shell_quoted(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "_-./:=,@%+".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds since the Unix epoch: the only use of the wall clock.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_failure_must_fail_and_only_by_its_defect() {
        let rule = Rule {
            when: &[],
            because: "it forgets",
        };
        let judged = |outcome| apply_known_failure(outcome, Some(&rule));
        assert!(matches!(judged(Outcome::Passed), Outcome::Failed(_)));
        let failed = Problem::new(Class::Error, "lost");
        assert!(matches!(
            judged(Outcome::Failed(failed)),
            Outcome::KnownFailure { .. }
        ));
        let setup = Outcome::Errored(Problem::new(Class::Setup, "no port"));
        assert_eq!(judged(setup.clone()), setup);
        let skipped = Outcome::Skipped { reason: "no".into() };
        assert_eq!(judged(skipped.clone()), skipped);
    }

    #[test]
    fn names_are_quoted_for_a_shell() {
        assert_eq!(shell_quoted("a::b"), "a::b");
        assert_eq!(shell_quoted("a[b=1]"), "'a[b=1]'");
        assert_eq!(shell_quoted("it's"), r"'it'\''s'");
    }
}
