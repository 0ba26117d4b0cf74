//! One case in its slot: attempts until it is decided, what was kept of it, and the event that says so.

use std::cell::OnceCell;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::ahead::Ahead;
use crate::artifacts::{self, Source};
use crate::attempt::{self, Attempted, Surroundings};
use crate::capture::Capture;
use crate::deadline::{self, Seen};
use crate::event::{Attempt, CaseFinished};
use crate::interrupt::Urgency;
use crate::keep::{Keeping, Outside};
use crate::known_failure;
use crate::outcome::Outcome;
use crate::protocol::Order;
use crate::registry::Isolation;
use crate::rules::{CaseToRun, Prepared, Rules};
use crate::symbols::Symbols;
use crate::variant::{Assignment, Mode};
use crate::wall_clock::unix_ms;
use crate::worker_handle::WorkerHandle;

/// What a slot keeps from case to case.
pub(crate) struct Slot {
    pub(crate) held: Option<WorkerHandle>,
    pub(crate) waker: Arc<OwnedFd>,
    pub(crate) buffer: Vec<u8>,
    pub(crate) capture: Capture,
    /// Made for its first case that ends by its deadline.
    symbols: Symbols,
}

/// A case's event, and whether more cases can run.
pub(crate) struct Finished {
    pub(crate) event: CaseFinished,
    pub(crate) usable: bool,
    /// Whether the reporter has it.
    pub(crate) is_told: bool,
}

impl Finished {
    /// Of a case that did not run.
    pub(crate) fn untold(event: CaseFinished) -> Self {
        Self {
            event,
            usable: true,
            is_told: false,
        }
    }
}

impl Slot {
    pub(crate) fn new(number: usize, rules: &Rules) -> std::io::Result<Self> {
        Ok(Self {
            held: None,
            waker: rules.interrupt.waker()?,
            buffer: vec![0; 64 << 10],
            capture: Capture::new(rules.launcher.folder.join(format!("out{number}"))),
            symbols: Symbols::default(),
        })
    }

    /// Whether the order was sent to the slot's worker, so that it may have begun.
    pub(crate) fn has_sent(&self, order: &Order) -> bool {
        self.held.as_ref().is_some_and(|worker| worker.has_sent(order))
    }

    /// Runs a case to its verdict; its worker may go on with those `ahead`.
    pub(crate) fn run(
        &mut self,
        rules: &Rules,
        prepared: Prepared<'_>,
        ahead: &mut Ahead<'_>,
        outside: Outside<'_>,
    ) -> Finished {
        let Prepared {
            case,
            mut event,
            mut order,
            variants,
            ..
        } = prepared;
        let known = case.matrix.known_failures(case.cell, &variants);
        let retries = rules.retries(case, !known.is_empty());
        let started = Instant::now();
        event.started_unix_ms = unix_ms();
        let mut usable = true;
        let mut took_us = None;
        for attempt in 0..=retries {
            let began = Instant::now();
            self.capture.clear();
            if attempt > 0 {
                order = rules.order(case, event.seed, attempt);
            }
            let keep = rules.keep.as_deref().filter(|_| attempt == retries);
            let keeping = keep.map(|keep| Keeping {
                keep,
                rules,
                outside,
                case,
                order: &order,
                variants: &variants,
                known: &known,
                event: &event,
                started,
                told: OnceCell::new(),
            });
            let mut attempted = self.attempt(rules, case, &order, ahead, keeping.as_ref(), &mut usable);
            if let Some(mut keeping) = keeping
                && let Some(told) = keeping.told.take()
            {
                let leftovers = self.leftovers(rules, &order);
                let event = keeping.end(told, &attempted.outcome, &mut self.capture, &leftovers);
                remove(&leftovers);
                return Finished {
                    event,
                    usable,
                    is_told: true,
                };
            }
            if let Some(seen) = attempted.seen.take() {
                let seen = (&seen, &mut self.symbols);
                attempted.files |= tell_of_deadline(rules, &order, case, seen, &mut attempted.outcome);
            }
            event.outcome = known_failure::judge(attempted.outcome, &known);
            event.sub_cases = attempted.sub_cases;
            known_failure::hold_for_sub_cases(&event.outcome, &mut event.sub_cases);
            took_us = attempted.took_us.filter(|_| attempt == 0);
            let last = attempt == retries
                || !event.outcome.is_bad()
                || !usable
                || rules.interrupt.urgency() != Urgency::None;
            let leftovers = if attempted.files {
                self.leftovers(rules, &order)
            } else {
                Vec::new()
            };
            if last {
                if let Some(keep) = &rules.keep
                    && event.outcome.is_bad()
                    && rules.interrupt.urgency() == Urgency::None
                    && !keep.is_taken()
                {
                    outside.tell_of_nothing(&event.case);
                }
                let files = Source::Moved(&leftovers);
                fill(rules, &mut event, &variants, case, &mut self.capture, files);
            } else if let Some(problem) = event.outcome.problem() {
                event.earlier.push(Attempt {
                    problem: problem.clone(),
                    duration_us: micros(began.elapsed()),
                    output: self.capture.text(),
                });
            }
            remove(&leftovers);
            if last {
                break;
            }
        }
        event.duration_us = took_us.unwrap_or_else(|| micros(started.elapsed()));
        Finished {
            event,
            usable,
            is_told: false,
        }
    }

    fn attempt(
        &mut self,
        rules: &Rules,
        case: CaseToRun<'_>,
        order: &Order,
        ahead: &mut Ahead<'_>,
        keeping: Option<&Keeping<'_>>,
        usable: &mut bool,
    ) -> Attempted {
        let timeout = case.matrix.scenario.options.timeout.unwrap_or(rules.timeout);
        if let Some(in_process) = &rules.in_process {
            let within = attempt::UNWIND_WITHIN + rules.teardown_within;
            let in_process = in_process.lock().unwrap_or_else(PoisonError::into_inner);
            let keeping = keeping.map(|keeping| (keeping, &mut self.capture));
            let attempted = in_process.run(order, timeout, within, &rules.interrupt, keeping);
            *usable = attempted.usable;
            return Attempted {
                outcome: attempted.outcome,
                files: true,
                took_us: None,
                sub_cases: attempted.sub_cases,
                seen: None,
            };
        }
        let around = Surroundings {
            launcher: &rules.launcher,
            interrupt: &rules.interrupt,
            waker: &self.waker,
            teardown_within: rules.teardown_within,
            allowed: &rules.allowed,
            keeping,
        };
        let (capture, buffer) = (&mut self.capture, &mut self.buffer);
        if rules.isolation(case) != Isolation::Process {
            return attempt::run(&around, &mut self.held, order, ahead, timeout, capture, buffer);
        }
        let mut fresh = None;
        let mut attempted = attempt::run(&around, &mut fresh, order, ahead, timeout, capture, buffer);
        if let Some(worker) = fresh {
            let _status = worker.end_with_case(&rules.launcher, order, capture, buffer);
            attempted.files = true;
        }
        attempted
    }

    /// Folders with files of the attempt: its own, and what it left in its worker's `TMPDIR`.
    fn leftovers(&mut self, rules: &Rules, order: &Order) -> Vec<PathBuf> {
        let run = &rules.launcher.folder;
        let aside = order.folder_aside(run);
        if let Some(worker) = &self.held
            && worker.empty_folder(&aside).is_err()
            && let Some(worker) = self.held.take()
        {
            // Its folder is gone, or cannot be had: the next case gets another worker.
            let _status = worker.end_with_case(&rules.launcher, order, &mut self.capture, &mut self.buffer);
        }
        [order.folder(run), aside]
            .into_iter()
            .filter(|folder| folder.exists())
            .collect()
    }
}

fn remove(leftovers: &[PathBuf]) {
    for leftover in leftovers {
        let _moved_or_of_no_use = artifacts::remove_all(leftover);
    }
}

/// Puts into the event what readers of a report want to see of the last attempt.
pub(crate) fn fill(
    rules: &Rules,
    event: &mut CaseFinished,
    variants: &Assignment,
    case: CaseToRun<'_>,
    capture: &mut Capture,
    files: Source<'_>,
) {
    event.output_bytes = capture.total();
    let passed = matches!(event.outcome, Outcome::Passed | Outcome::Skipped { .. });
    if !passed || rules.show_output {
        event.output = capture.text();
    }
    let keeps = rules.keep_logs && event.outcome == Outcome::Passed;
    if passed && !keeps {
        return;
    }
    let ignored = case.matrix.scenario.options.ignore.is_some();
    event.reproduce = format!(
        "{} {} --seed {}{}{}{}",
        rules.reproduce,
        shell_quoted(&event.case),
        event.root_seed,
        if ignored { " --include-ignored" } else { "" },
        variant_options(variants, rules.mode),
        rules.reproduce_programs,
    );
    match artifacts::keep(&rules.cases, &folder_name(event), capture, files) {
        Ok(kept) => {
            if rules.show_logs && !passed {
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

/// The options that give a case its variants again.
fn variant_options(variants: &Assignment, mode: Mode) -> String {
    let mut options = String::new();
    if mode != Mode::Random && !variants.is_empty() {
        options.push_str(&format!(" --variants {}", mode.name()));
    }
    for (name, value) in variants.said(mode) {
        options.push_str(&format!(
            " --variant {}",
            shell_quoted(&format!("{name}={value}"))
        ));
    }
    options
}

/// Puts what a case was doing when its time was over into its verdict and, whole, among its files. Returns whether it
/// did.
pub(crate) fn tell_of_deadline(
    rules: &Rules,
    order: &Order,
    case: CaseToRun<'_>,
    (seen, symbols): (&Seen, &mut Symbols),
    outcome: &mut Outcome,
) -> bool {
    let (Outcome::Failed(problem) | Outcome::Errored(problem)) = outcome else {
        return false;
    };
    let (whole, short) = seen.tell(symbols, case.matrix.scenario.file);
    let folder = order.folder(&rules.launcher.folder);
    let path = folder.join(deadline::FILE);
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(path, &whole));
    let lost = written
        .err()
        .map(|error| format!("\n\n{} could not be written: {error}", deadline::FILE));
    let told = format!(
        "{}\n\n{}{}",
        problem.details,
        deadline::shortened(&short),
        lost.unwrap_or_default()
    );
    problem.details = told.trim_start().to_owned();
    true
}

/// What the folder of a case is named after: each repetition keeps its own.
pub(crate) fn folder_name(event: &CaseFinished) -> String {
    match event.iteration {
        0 => event.case.clone(),
        iteration => format!("{}.{iteration}", event.case),
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

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_for_a_shell() {
        assert_eq!(shell_quoted("a::b"), "a::b");
        assert_eq!(shell_quoted("a[b=1]"), "'a[b=1]'");
        assert_eq!(shell_quoted("it's"), r"'it'\''s'");
    }
}
