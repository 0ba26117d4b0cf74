//! The slots: threads that take cases from the scheduler until there are none, as many as the machine bears.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::ahead::Ahead;
use crate::case_run::{Finished, Slot};
use crate::interrupt::Urgency;
use crate::keep::Outside;
use crate::matrix::Matrix;
use crate::outcome::{Class, Outcome, Problem};
use crate::pressure::{Controller, Meter, TICK};
use crate::report::Progress;
use crate::rules::{CaseToRun, Prepared, Rules, blank_event};
use crate::scheduler::{Constraint, JobNumber, Next, Scheduler};
use crate::serial_lock::SerialLocks;
use crate::signal;

/// What the pool works on.
pub(crate) struct Work {
    pub(crate) rules: Rules,
    pub(crate) matrices: Vec<Matrix>,
    /// For each matrix, its scenario's number in [`crate::registry::unsorted`].
    pub(crate) registered: Vec<u32>,
    /// Matrix and cell, in plan order.
    pub(crate) jobs: Vec<(u32, u64)>,
    /// How often the whole plan runs; `None`: until `until`. A job's number is
    /// `iteration * jobs.len() + position`.
    pub(crate) iterations: Option<u32>,
    /// Stop after so many bad cases.
    pub(crate) bad_max: Option<usize>,
    /// `serial` across processes, where several run the same suite.
    pub(crate) serial_locks: Option<SerialLocks>,
}

/// When nothing starts any more.
pub(crate) struct Until {
    pub(crate) at: Instant,
    pub(crate) why: String,
}

/// So many cases a slot takes ahead at most.
const AHEAD_MAX: usize = 8;
/// After a case that took longer, in microseconds, a slot takes none ahead.
const QUICK_US: u64 = 1000;

struct Shared {
    work: Work,
    state: Mutex<State>,
    changed: Condvar,
    /// Whether somebody watches what starts.
    tell_starts: bool,
}

struct State {
    scheduler: Scheduler,
    /// The next repetition of the plan that the scheduler is to be given.
    iteration: u32,
    target: u32,
    live: u32,
    /// Slots that wait for something to finish.
    idle: u32,
    bad: usize,
    /// Why nothing more starts.
    stopped: Option<String>,
    /// Whether that is an interrupt.
    interrupted: bool,
    /// Jobs that will not run.
    left: Vec<JobNumber>,
}

fn constraint(matrix: &Matrix) -> Constraint {
    let options = &matrix.scenario.options;
    Constraint {
        serial: options.serial.to_vec(),
        weight: options.weight.max(1),
    }
}

/// How the pool's work ended.
#[derive(Debug)]
pub(crate) struct PoolEnd {
    pub(crate) running_max: u32,
    slots: Vec<JoinHandle<()>>,
}

impl PoolEnd {
    /// Waits until the last workers have ended.
    pub(crate) fn join(self) {
        for slot in self.slots {
            // A slot that panicked is a defect of the harness; its case is among those left.
            let _panicked = slot.join();
        }
    }
}

impl Work {
    fn case(&self, job: JobNumber) -> CaseToRun<'_> {
        let length = self.jobs.len().max(1);
        let (scenario, cell) = self.jobs[(job % length as u64) as usize];
        CaseToRun {
            matrix: &self.matrices[scenario as usize],
            registered: self.registered[scenario as usize],
            cell,
            iteration: u32::try_from(job / length as u64).unwrap_or(u32::MAX),
        }
    }
}

/// Runs all of `work`; every job gets exactly one `Finished`. `until` ends the starting of jobs. Returns when the
/// last verdict is in; workers may be ending then.
pub(crate) fn run(
    work: Work,
    mut controller: Controller,
    until: Option<Until>,
    progress: SyncSender<Progress>,
    tell_starts: bool,
) -> PoolEnd {
    let constraints: Vec<Constraint> = work.matrices.iter().map(constraint).collect();
    let repetitions = work.iterations.map_or(u64::MAX, u64::from);
    let jobs = u32::try_from(repetitions.saturating_mul(work.jobs.len() as u64)).unwrap_or(u32::MAX);
    let state = State {
        scheduler: Scheduler::new(&constraints),
        iteration: 0,
        target: controller.target(),
        live: 0,
        idle: 0,
        bad: 0,
        stopped: None,
        interrupted: false,
        left: Vec::new(),
    };
    let shared = Arc::new(Shared {
        work,
        state: Mutex::new(state),
        changed: Condvar::new(),
        tell_starts,
    });
    shared.refill(&mut shared.lock());
    let mut slots = Vec::new();
    let mut meter = Meter::new();
    let mut spawned: usize = 0;
    loop {
        let mut state = shared.lock();
        let wanted = state.target.min(jobs);
        let waiting = state.scheduler.waiting();
        while state.live < wanted && waiting > 0 && state.stopped.is_none() {
            let number = spawned;
            let (theirs, progress) = (Arc::clone(&shared), progress.clone());
            let thread = std::thread::Builder::new()
                .name(format!("slot-{number}"))
                .spawn(move || theirs.slot(number, progress));
            match thread {
                Ok(thread) => slots.push(thread),
                Err(error) if state.live == 0 => {
                    shared.stop(&mut state, &format!("no thread could be started: {error}"));
                    break;
                }
                // As many as there can be.
                Err(_) => break,
            }
            state.live += 1;
            spawned += 1;
        }
        if state.live == 0 {
            break;
        }
        let (mut state, _) = shared
            .changed
            .wait_timeout_while(state, TICK, |state| state.live > 0)
            .unwrap_or_else(PoisonError::into_inner);
        let urgency = shared.work.rules.interrupt.urgency();
        if urgency != Urgency::None && state.stopped.is_none() {
            let signal = shared
                .work
                .rules
                .interrupt
                .signal()
                .map_or_else(String::new, signal::name);
            state.interrupted = true;
            shared.stop(&mut state, &format!("the run was interrupted by {signal}"));
        }
        if let Some(until) = &until
            && Instant::now() >= until.at
            && state.stopped.is_none()
        {
            shared.stop(&mut state, &until.why);
        }
        if !controller.is_fixed() {
            let hungry =
                state.scheduler.waiting() > 0 && state.idle == 0 && state.live >= state.target.min(jobs);
            state.target = controller.tick(meter.sample(), hungry);
        }
    }
    shared.report_left(&progress);
    let running_max = shared.lock().scheduler.running_max();
    PoolEnd { running_max, slots }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the scheduler the next repetition when it is nearly out of jobs, so that none waits for the end
    /// of the one before.
    fn refill(&self, state: &mut State) {
        let more = self.work.iterations.is_none_or(|most| state.iteration < most);
        let few = state.scheduler.waiting() <= 2 * u64::from(state.target);
        if more && few && state.stopped.is_none() && !self.work.jobs.is_empty() {
            let first = u64::from(state.iteration) * self.work.jobs.len() as u64;
            state
                .scheduler
                .append(first, self.work.jobs.iter().map(|&(scenario, _)| scenario));
            state.iteration += 1;
        }
    }

    fn stop(&self, state: &mut State, why: &str) {
        state.stopped = Some(why.to_owned());
        let left = state.scheduler.stop();
        state.left.extend(left);
        self.changed.notify_all();
    }

    fn slot(&self, number: usize, progress: SyncSender<Progress>) {
        let mut slot = match Slot::new(number, &self.work.rules) {
            Ok(slot) => slot,
            Err(error) => {
                let mut state = self.lock();
                state.live -= 1;
                if state.live == 0 {
                    self.stop(&mut state, &format!("no slot could be made: {error}"));
                }
                return;
            }
        };
        let give_back = |cases: Vec<Prepared<'_>>| self.give_back(&cases);
        let stop = |why: &str| {
            let mut state = self.lock();
            if state.stopped.is_none() {
                self.stop(&mut state, why);
            }
        };
        let outside = Outside {
            progress: &progress,
            stop: &stop,
        };
        let mut ahead = Ahead::new(&give_back);
        // How long the slot's last case took.
        let mut last_us = u64::MAX;
        while let Some(prepared) = self.next_case(&slot, &mut ahead) {
            if last_us < QUICK_US {
                self.take_ahead(&prepared, &mut ahead);
            }
            let (case, class) = (prepared.case, prepared.class);
            if self.tell_starts {
                let _reporter_gone = progress.send(Progress::Started {
                    case: prepared.event.case.clone(),
                });
            }
            let run = AssertUnwindSafe(|| self.run_locked(&mut slot, prepared, &mut ahead, outside));
            let finished = std::panic::catch_unwind(run).unwrap_or_else(|payload| {
                let text = payload.downcast_ref::<&str>().copied();
                let text = text
                    .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
                    .unwrap_or_default();
                let mut event = blank_event(case, self.work.rules.root_seed);
                let text = format!("a defect of robust-test itself: its runner panicked: {text}");
                event.outcome = Outcome::Errored(Problem::new(Class::Harness, text));
                Finished::untold(event)
            });
            let bad = finished.event.outcome.is_bad();
            last_us = finished.event.duration_us;
            if !finished.is_told {
                let _reporter_gone = progress.send(Progress::Finished(Box::new(finished.event)));
            }
            let mut state = self.lock();
            state.scheduler.finished(class);
            if bad {
                state.bad += 1;
            }
            if state.stopped.is_none() {
                if self.work.bad_max.is_some_and(|most| state.bad >= most) {
                    let why = format!(
                        "the run stopped after {} bad cases (--max-fail, --fail-fast)",
                        state.bad
                    );
                    self.stop(&mut state, &why);
                } else if !finished.usable {
                    self.stop(
                        &mut state,
                        "an earlier case did not unwind and could not be killed",
                    );
                }
            }
            if state.idle > 0 {
                self.changed.notify_all();
            }
        }
        // The reports need not wait for the worker's end.
        drop(progress);
        let mut state = self.lock();
        state.live -= 1;
        if state.live == 0 {
            self.changed.notify_all();
        }
        drop(state);
        if let Some(worker) = slot.held.take() {
            let _status = worker.end(&self.work.rules.launcher);
        }
    }

    /// The slot's next case: the first of those it took ahead, else the scheduler's.
    fn next_case<'a>(&'a self, slot: &Slot, ahead: &mut Ahead<'a>) -> Option<Prepared<'a>> {
        if ahead.len() > 0 {
            let mut state = self.lock();
            let begun = ahead.orders().next().is_some_and(|order| slot.has_sent(order));
            if state.stopped.is_none() || begun {
                let next = ahead.pop()?;
                state.scheduler.start_ahead(next.class);
                return Some(next);
            }
            drop(state);
            ahead.keep(0);
        }
        let (job, class) = self.next_job()?;
        Some(Prepared::new(&self.work.rules, job, class, self.work.case(job)))
    }

    /// Takes cases like the present one, which will be quick as the one before was, while there are many.
    fn take_ahead<'a>(&'a self, present: &Prepared<'a>, ahead: &mut Ahead<'a>) {
        let rules = &self.work.rules;
        if self.work.bad_max.is_some() || !rules.may_order_ahead(present.case) {
            return;
        }
        let class = present.class;
        while ahead.len() < AHEAD_MAX {
            let mut state = self.lock();
            let few = state.scheduler.waiting() <= (2 * AHEAD_MAX * state.live as usize) as u64;
            if few || state.stopped.is_some() || !state.scheduler.is_plain(class) {
                return;
            }
            let Some(job) = state.scheduler.next_ahead(class) else {
                return;
            };
            let case = self.work.case(job);
            if !rules.may_order_ahead(case) {
                return state.scheduler.give_back(job, class);
            }
            drop(state);
            ahead.push(Prepared::new(rules, job, class, case));
        }
    }

    /// Takes back what a slot took ahead and did not begin.
    fn give_back(&self, cases: &[Prepared<'_>]) {
        let mut state = self.lock();
        for case in cases {
            if state.stopped.is_some() {
                state.left.push(case.job);
            } else {
                state.scheduler.give_back(case.job, case.class);
            }
        }
        self.changed.notify_all();
    }

    /// The next job; `None` when there is none, or this slot is one too many.
    fn next_job(&self) -> Option<(JobNumber, usize)> {
        let mut state = self.lock();
        loop {
            if state.live > state.target {
                return None;
            }
            self.refill(&mut state);
            let capacity = state.target;
            match state.scheduler.next(capacity) {
                Next::Start(job, class) => return Some((job, class)),
                Next::End => return None,
                Next::Wait => {
                    state.idle += 1;
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.idle -= 1;
                }
            }
        }
    }

    fn run_locked(
        &self,
        slot: &mut Slot,
        prepared: Prepared<'_>,
        ahead: &mut Ahead<'_>,
        outside: Outside<'_>,
    ) -> Finished {
        let groups = prepared.case.matrix.scenario.options.serial;
        let Some(locks) = self.work.serial_locks.as_ref().filter(|_| !groups.is_empty()) else {
            return slot.run(&self.work.rules, prepared, ahead, outside);
        };
        match locks.acquire(groups, &self.work.rules.interrupt) {
            Ok(_held) => slot.run(&self.work.rules, prepared, ahead, outside),
            Err(error) => {
                let mut event = prepared.event;
                event.outcome = Outcome::Errored(Problem::new(Class::Harness, error.to_string()));
                Finished::untold(event)
            }
        }
    }

    /// Gives a verdict to every job that did not run. With `--for`, later repetitions are simply not made.
    fn report_left(&self, progress: &SyncSender<Progress>) {
        let mut state = self.lock();
        let why = state
            .stopped
            .clone()
            .unwrap_or_else(|| "the runner failed".to_owned());
        let interrupted = state.interrupted;
        for job in std::mem::take(&mut state.left) {
            let case = self.work.case(job);
            if case.iteration > 0 {
                continue;
            }
            let mut event = blank_event(case, self.work.rules.root_seed);
            event.outcome = if interrupted {
                Outcome::Errored(Problem::new(Class::Interrupted, format!("it did not run: {why}")))
            } else {
                Outcome::Skipped {
                    reason: format!("it did not run: {why}"),
                }
            };
            let _reporter_gone = progress.send(Progress::Finished(Box::new(event)));
        }
    }
}
