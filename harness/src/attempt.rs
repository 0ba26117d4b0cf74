//! One attempt at a case, from the slot's side: the order goes out, output and verdict come in, deadlines
//! hold, and whatever happens there is exactly one outcome.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ahead::Ahead;
use crate::capture::Capture;
use crate::deadline::Seen;
use crate::event::SubCase;
use crate::interrupt::{Interrupt, Urgency};
use crate::keep::{Judged, Keeping};
use crate::launcher::Launcher;
use crate::leak::AllowedBy;
use crate::mounts;
use crate::outcome::{Class, Outcome, Problem};
use crate::patience::Patience;
use crate::protocol::{Bad, Done, FromWorker, Order, encode_cancel, encode_look, encode_tear_down};
use crate::signal;
use crate::worker_handle::{WorkerHandle, describe};

/// How long a case that was asked to end may go on computing before it is killed.
pub(crate) const UNWIND_WITHIN: Duration = Duration::from_secs(2);

/// How long a worker may take to tell what it does before its case is asked to end.
const LOOK_WITHIN: Duration = Duration::from_secs(3);
/// How long a worker that was killed may take to be gone.
const DIE_WITHIN: Duration = Duration::from_secs(2);

/// A case that takes longer gives those behind it to other slots.
const QUICK: Duration = Duration::from_millis(2);
/// How long a new worker may take to begin, where its first case's deadline is not longer.
const START_WITHIN: Duration = Duration::from_secs(20);
/// What the slot has at hand for an attempt.
pub(crate) struct Surroundings<'a> {
    pub(crate) launcher: &'a Launcher,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) waker: &'a OwnedFd,
    /// How long a case that began to unwind may take for teardown and leak check.
    pub(crate) teardown_within: Duration,
    /// See [`crate::rules::Rules::allowed`].
    pub(crate) allowed: &'a Mutex<BTreeSet<AllowedBy>>,
    /// Decides whether the case is kept up where it is bad; `None`: it is not.
    pub(crate) keeping: Option<&'a Keeping<'a>>,
}

/// Why a case was asked to end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reason {
    Deadline,
    Interrupt,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Running,
    /// The body ended by itself; teardown and leak check have their own deadline.
    Ending,
    /// Its time is over, and it tells what it does; `None`: in teardown or leak check.
    Told(Option<Reason>),
    /// It is bad and has its verdict; what it started is kept up.
    Kept,
    /// Asked to end; `bool`: the body is over.
    Unwinding(Reason, bool),
    /// `None`: teardown or leak check did not end.
    Killed(Option<Reason>),
}

/// What the worker's side came to.
enum End {
    /// Its verdict.
    Verdict(Done),
    /// It is gone, or speaks nonsense.
    Lost(String),
    /// It ended before it took the order.
    Unready(io::Error),
}

/// What an attempt came to.
pub(crate) struct Attempted {
    /// Of a case that was kept up, what it came to after its verdict.
    pub(crate) outcome: Outcome,
    /// Whether it may have left files.
    pub(crate) files: bool,
    /// How long it took by its worker's clock, where it told.
    pub(crate) took_us: Option<u64>,
    /// Its parts with a verdict of their own, as far as it told.
    pub(crate) sub_cases: Vec<SubCase>,
    /// What it was doing when its time was over.
    pub(crate) seen: Option<Seen>,
}

impl Attempted {
    fn errored(problem: Problem) -> Self {
        Self {
            outcome: Outcome::Errored(problem),
            files: false,
            took_us: None,
            sub_cases: Vec::new(),
            seen: None,
        }
    }
}

/// Runs `order` on the worker in `held`, or on a new one, which learns of the orders `ahead` too. Leaves a worker
/// in `held` if it may run more.
pub(crate) fn run(
    around: &Surroundings<'_>,
    held: &mut Option<WorkerHandle>,
    order: &Order,
    ahead: &mut Ahead<'_>,
    timeout: Duration,
    capture: &mut Capture,
    buffer: &mut [u8],
) -> Attempted {
    let mut patience = Patience::default();
    let (mut worker, mut watch, end) = loop {
        let within = if held.is_some() {
            timeout
        } else {
            timeout.max(START_WITHIN)
        };
        let started = held.take().map_or_else(|| around.launcher.start(), Ok);
        let error = match started {
            Ok(mut worker) => {
                let now = Instant::now();
                let mut watch = Watch {
                    around,
                    order,
                    ahead: &mut *ahead,
                    timeout,
                    started: now,
                    stage: Stage::Running,
                    until: now + within,
                    panicked: None,
                    seen: None,
                    bad: None,
                };
                match watch.until_the_end(&mut worker, capture, buffer) {
                    End::Unready(error) => {
                        let _status = worker.end(around.launcher);
                        capture.clear();
                        error
                    }
                    end => break (worker, watch, end),
                }
            }
            Err(error) => error,
        };
        if !patience.wait_for_room(&error, around.launcher, around.interrupt) {
            let text = format!("no worker process could be started: {error}");
            return Attempted::errored(Problem::new(Class::Harness, text));
        }
    };
    worker.drain_to_the_end(capture, buffer);
    if watch.stage == Stage::Kept {
        around.interrupt.take_keeping();
    }
    match end {
        End::Verdict(done) => {
            let in_time = matches!(watch.stage, Stage::Running | Stage::Ending);
            // After a pass it may be at the next case already; there is nothing to retire it for.
            let stays = done.is_plain() || (in_time && done.dirty.is_none());
            let attempted = Attempted {
                outcome: watch.judge(done.outcome),
                files: done.files || !stays,
                took_us: in_time.then_some(done.took_us),
                sub_cases: done.sub_cases,
                seen: watch.seen.take(),
            };
            if stays {
                *held = Some(worker);
            } else {
                let _status = worker.end_with_case(around.launcher, order, capture, buffer);
            }
            attempted
        }
        End::Unready(_) => {
            Attempted::errored(Problem::new(Class::Harness, "the worker did not begin to serve"))
        }
        End::Lost(why) => {
            worker.kill();
            let status = worker.end_with_case(around.launcher, order, capture, buffer);
            Attempted {
                outcome: watch.judge_lost(&why, status),
                files: true,
                took_us: None,
                sub_cases: Vec::new(),
                seen: watch.seen.take(),
            }
        }
    }
}

struct Watch<'a, 'c> {
    around: &'a Surroundings<'a>,
    order: &'a Order,
    ahead: &'a mut Ahead<'c>,
    timeout: Duration,
    started: Instant,
    stage: Stage,
    /// When the present stage is over.
    until: Instant,
    /// The first panic it told of.
    panicked: Option<Problem>,
    seen: Option<Seen>,
    /// What it told, until that is answered.
    bad: Option<Bad>,
}

impl Watch<'_, '_> {
    fn until_the_end(&mut self, worker: &mut WorkerHandle, capture: &mut Capture, buffer: &mut [u8]) -> End {
        if let Err(error) = worker.order(self.order, self.ahead.orders(), capture) {
            // It may have said why before it ended.
            return match self.listen(worker, capture) {
                Ok(Some(unready @ End::Unready(_))) => unready,
                _ => End::Lost(format!("the worker took no order: {error}")),
            };
        }
        // What it said after its last answer may have been read together with that.
        match self.listen(worker, capture) {
            Ok(Some(end)) => return end,
            Ok(None) => self.answer_bad(worker, capture, buffer),
            Err(error) => return End::Lost(format!("the worker's answer is broken: {error}")),
        }
        let mut silent = false;
        loop {
            // What came in time counts, also when this process was stopped or starved meanwhile: a time that is
            // over presses only a worker of which nothing is heard.
            if silent || self.around.interrupt.urgency() != Urgency::None {
                self.press(worker);
            }
            let now = Instant::now();
            let mut left = self.until.saturating_duration_since(now);
            if worker.may_recall() {
                let patience = (self.started + QUICK).saturating_duration_since(now);
                if patience.is_zero() {
                    worker.recall();
                } else {
                    left = left.min(patience);
                }
            }
            let ready = match worker.wait(self.around.waker, left) {
                Ok(ready) => ready,
                Err(error) => return End::Lost(format!("waiting for the worker failed: {error}")),
            };
            silent = !ready.orders && !ready.died;
            if ready.woken {
                let _counted = rustix::io::read(self.around.waker, &mut [0; 8][..]);
            }
            if ready.output {
                worker.drain(capture, buffer);
            }
            if ready.orders || ready.died {
                match self.listen(worker, capture) {
                    Ok(Some(end)) => return end,
                    Ok(None) if ready.died => return End::Lost(String::new()),
                    Ok(None) => self.answer_bad(worker, capture, buffer),
                    Err(error) => return End::Lost(format!("the worker's answer is broken: {error}")),
                }
            }
        }
    }

    /// Presses a case whose time is over: asks it to end, then kills it.
    fn press(&mut self, worker: &mut WorkerHandle) {
        let urgency = self.around.interrupt.urgency();
        let over = Instant::now() >= self.until;
        match &self.stage {
            Stage::Ending | Stage::Told(None) if urgency == Urgency::Now => self.kill(worker, None),
            Stage::Ending if over => self.look(worker, None),
            Stage::Told(None) if over => self.kill(worker, None),
            Stage::Running if over => self.look(worker, Some(Reason::Deadline)),
            Stage::Running if urgency != Urgency::None => self.ask_to_end(worker, Reason::Interrupt),
            Stage::Told(Some(reason)) if over || urgency == Urgency::Now => {
                let reason = reason.clone();
                self.ask_to_end(worker, reason);
            }
            Stage::Unwinding(reason, _) if over || urgency == Urgency::Now => {
                let reason = reason.clone();
                self.kill(worker, Some(reason));
            }
            Stage::Kept if over || urgency != Urgency::None || !self.around.interrupt.is_keeping() => {
                self.around.interrupt.take_keeping();
                self.tear_down(worker, true);
                self.stage = Stage::Ending;
                self.until = Instant::now() + self.around.teardown_within;
            }
            Stage::Killed(_) if over => {
                // One that waits for an answer of a file system that it serves itself does not die of that.
                let _unmounted = mounts::unmount_below(&self.order.folder(&self.around.launcher.folder));
                self.until = Instant::now() + Duration::from_secs(60);
            }
            _ => {}
        }
    }

    /// Decides whether the case is kept up, where it told that it is bad.
    fn answer_bad(&mut self, worker: &mut WorkerHandle, capture: &mut Capture, buffer: &mut [u8]) {
        let Some(bad) = self.bad.take() else { return };
        let began = Instant::now();
        worker.drain(capture, buffer);
        let judged = Judged {
            outcome: self.judge(bad.outcome),
            sub_cases: bad.sub_cases,
            seen: self.seen.as_ref(),
            reach: &bad.reach,
        };
        let keeping = self
            .around
            .keeping
            .filter(|_| !matches!(self.stage, Stage::Killed(_)));
        match keeping.and_then(|keeping| keeping.keep(judged, capture)) {
            Some(within) => {
                self.stage = Stage::Kept;
                self.until = Instant::now() + within;
            }
            None => {
                self.tear_down(worker, false);
                self.until += began.elapsed();
            }
        }
    }

    fn tear_down(&self, worker: &mut WorkerHandle, was_kept: bool) {
        // One that cannot be told is dead, which is noticed elsewhere.
        let _gone = io::Write::write_all(&mut worker.watch, &encode_tear_down(self.order.number, was_kept));
    }

    /// Has the worker tell what it does; what the system knows of it is looked at here.
    fn look(&mut self, worker: &mut WorkerHandle, reason: Option<Reason>) {
        let folder = self.order.folder(&self.around.launcher.folder);
        self.seen = Some(Seen::now(worker.pid(), &folder));
        // One that cannot be told is dead, which is noticed elsewhere.
        let _gone = io::Write::write_all(&mut worker.watch, &encode_look());
        self.stage = Stage::Told(reason);
        self.until = Instant::now() + LOOK_WITHIN;
    }

    fn ask_to_end(&mut self, worker: &mut WorkerHandle, reason: Reason) {
        // As above.
        let _gone = io::Write::write_all(&mut worker.watch, &encode_cancel(self.order.number));
        self.stage = Stage::Unwinding(reason, false);
        self.until = Instant::now() + UNWIND_WITHIN;
    }

    fn kill(&mut self, worker: &mut WorkerHandle, reason: Option<Reason>) {
        self.stage = Stage::Killed(reason);
        worker.kill();
        self.until = Instant::now() + DIE_WITHIN;
    }

    fn listen(&mut self, worker: &mut WorkerHandle, capture: &mut Capture) -> io::Result<Option<End>> {
        loop {
            while let Some(frame) = worker.frames.next()? {
                match FromWorker::decode(&frame)? {
                    FromWorker::Panicked(problem) => {
                        self.panicked.get_or_insert(problem);
                    }
                    FromWorker::BodyOver => {
                        match &mut self.stage {
                            Stage::Running => self.stage = Stage::Ending,
                            Stage::Unwinding(_, over) => *over = true,
                            // It ended while it was looked at, too late.
                            Stage::Told(Some(reason)) => self.stage = Stage::Unwinding(reason.clone(), true),
                            Stage::Ending | Stage::Kept | Stage::Told(None) | Stage::Killed(_) => continue,
                        }
                        self.until = Instant::now() + self.around.teardown_within;
                    }
                    FromWorker::Began => {
                        if self.stage == Stage::Running {
                            self.started = Instant::now();
                            self.until = self.started + self.timeout;
                        }
                    }
                    FromWorker::Bad(bad) => self.bad = Some(bad),
                    FromWorker::Meanwhile(text) => {
                        if let (Stage::Kept, Some(keeping)) = (&self.stage, self.around.keeping) {
                            keeping.meanwhile(&text);
                        }
                    }
                    FromWorker::Allowed(by) => {
                        let allowed = self.around.allowed.lock();
                        allowed.unwrap_or_else(PoisonError::into_inner).insert(by);
                    }
                    FromWorker::Seen(stacks) => {
                        if let Some(seen) = &mut self.seen {
                            seen.stacks = Some(stacks);
                        }
                        match &self.stage {
                            Stage::Told(Some(reason)) => {
                                let reason = reason.clone();
                                self.ask_to_end(worker, reason);
                            }
                            Stage::Told(None) => self.kill(worker, None),
                            _ => {}
                        }
                    }
                    FromWorker::Unready(error) => {
                        return Ok(Some(End::Unready(io::Error::from_raw_os_error(error))));
                    }
                    FromWorker::Recalled(begun) => {
                        let kept = worker.recalled(begun);
                        self.ahead.keep(kept.saturating_sub(1));
                        if kept == 0 {
                            worker.order(self.order, std::iter::empty(), capture)?;
                        }
                    }
                    FromWorker::Done(done) if done.number == self.order.number => {
                        worker.answered(&done);
                        return Ok(Some(End::Verdict(done)));
                    }
                    FromWorker::Done(done) => {
                        return Err(io::Error::other(format!(
                            "a verdict on case number {}",
                            done.number
                        )));
                    }
                }
            }
            match worker.frames.fill(&worker.orders) {
                Ok(true) => {}
                Ok(false) => return Ok(Some(End::Lost(worker.why_its_channel_ended()))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The outcome of a case that gave a verdict, in time or not.
    fn judge(&self, outcome: Outcome) -> Outcome {
        let (Stage::Unwinding(reason, _) | Stage::Told(Some(reason))) = &self.stage else {
            return outcome;
        };
        let mut problem = self.asked_to_end(reason);
        match outcome {
            Outcome::Passed | Outcome::Skipped { .. } if *reason == Reason::Interrupt => return outcome,
            Outcome::Passed | Outcome::Skipped { .. } => {
                problem.details = format!(
                    "it came to its end {:.1?} after its start, too late",
                    self.started.elapsed()
                );
            }
            Outcome::Errored(inner) if inner.class == Class::Interrupted => problem.details = inner.details,
            Outcome::Failed(inner) => {
                let told = format!("{}\n\nalso, {}: {problem}", inner.details, problem.class.name());
                return Outcome::Failed(Problem {
                    details: told.trim_start().to_owned(),
                    ..inner
                });
            }
            other => problem.details = other.problem().map(ToString::to_string).unwrap_or_default(),
        }
        Outcome::Errored(problem)
    }

    fn judge_lost(&self, why: &str, status: io::Result<std::process::ExitStatus>) -> Outcome {
        let ended = status.map_or_else(|error| format!("was lost: {error}"), describe);
        let mut problem = match &self.stage {
            Stage::Killed(Some(reason)) | Stage::Unwinding(reason, true) | Stage::Told(Some(reason)) => {
                let mut problem = self.asked_to_end(reason);
                problem.details = match &self.stage {
                    Stage::Killed(_) => format!(
                        "it did not unwind within {} when asked to, and was killed",
                        humantime::format_duration(UNWIND_WITHIN)
                    ),
                    Stage::Told(_) => format!("while it was looked at, the worker {ended}"),
                    _ => format!("while it was torn down, the worker {ended}"),
                };
                problem
            }
            Stage::Killed(None) | Stage::Told(None) => {
                let within = humantime::format_duration(self.around.teardown_within);
                Problem::new(
                    Class::Teardown,
                    format!("teardown and leak check did not end within {within}"),
                )
            }
            Stage::Kept => Problem::new(Class::Crash, format!("while it was kept up, the worker {ended}")),
            _ if why.is_empty() => Problem::new(Class::Crash, format!("the worker {ended} in mid-case")),
            _ => Problem::new(Class::Crash, format!("{why}; the worker {ended}")),
        };
        if let Some(panicked) = &self.panicked {
            problem
                .details
                .push_str(&format!("\n\nbefore that it panicked: {panicked}"));
            problem.details = problem.details.trim_start().to_owned();
        }
        Outcome::Errored(problem)
    }

    fn asked_to_end(&self, reason: &Reason) -> Problem {
        match reason {
            Reason::Deadline => {
                let timeout = humantime::format_duration(self.timeout);
                Problem::new(
                    Class::Deadline,
                    format!("it did not end within its deadline of {timeout}"),
                )
            }
            Reason::Interrupt => {
                let signal = self
                    .around
                    .interrupt
                    .signal()
                    .map_or_else(String::new, signal::name);
                Problem::new(Class::Interrupted, format!("the run was interrupted by {signal}"))
            }
        }
    }
}
