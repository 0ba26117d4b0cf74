//! `--isolation none`: cases in the runner's own process, for debuggers. Nothing is captured, and a case
//! that does not unwind cannot be killed: the run then ends with it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::capture::Capture;
use crate::drive::Cancel;
use crate::event::SubCase;
use crate::executor::Executor;
use crate::interrupt::{Interrupt, Urgency};
use crate::keep::{Judged, Keeping};
use crate::outcome::{Class, Outcome, Problem};
use crate::protocol::{Bad, Done, FromWorker, Order, WorkerConfig};
use crate::signal;

/// A thread that runs cases.
pub(crate) struct InProcess {
    orders: Sender<Order>,
    said: Receiver<Said>,
    cancel: Arc<Cancel>,
}

/// What the thread says.
enum Said {
    Done(Done),
    Bad(Bad),
    Meanwhile(String),
}

/// How often an interrupt is looked for.
const TICK: Duration = Duration::from_millis(50);

/// An outcome, and whether the thread can run another case.
pub(crate) struct Attempted {
    pub(crate) outcome: Outcome,
    pub(crate) usable: bool,
    pub(crate) sub_cases: Vec<SubCase>,
}

impl InProcess {
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub(crate) fn start(config: WorkerConfig) -> std::io::Result<Self> {
        let (orders, their_orders) = channel::<Order>();
        let (say, said) = channel();
        let tell_early = say.clone();
        let tell_early = move |message: &FromWorker| {
            let _run_over = match message {
                FromWorker::Bad(bad) => tell_early.send(Said::Bad(bad.clone())),
                FromWorker::Meanwhile(text) => tell_early.send(Said::Meanwhile(text.clone())),
                _ => Ok(()),
            };
        };
        let cancel = Arc::new(Cancel::default());
        crate::panics::install(|_| ());
        let executor_cancel = Arc::clone(&cancel);
        std::thread::Builder::new()
            .name("case".to_owned())
            .spawn(move || {
                let mut executor = match Executor::new(config, executor_cancel, Box::new(tell_early)) {
                    Ok(executor) => executor.without_inspection(),
                    Err(error) => return eprintln!("robust-test: no tokio runtime could be made: {error}"),
                };
                for order in their_orders {
                    if say.send(Said::Done(executor.run(&order))).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { orders, said, cancel })
    }

    pub(crate) fn run(
        &self,
        order: &Order,
        timeout: Duration,
        unwind_within: Duration,
        interrupt: &Interrupt,
        mut keeping: Option<(&Keeping<'_>, &mut Capture)>,
    ) -> Attempted {
        let lost = || Attempted {
            outcome: Outcome::Errored(Problem::new(Class::Harness, "the thread of the cases is gone")),
            usable: false,
            sub_cases: Vec::new(),
        };
        if self.orders.send(*order).is_err() {
            return lost();
        }
        let mut left = timeout;
        let interrupted = loop {
            match self.said.recv_timeout(left.min(TICK)) {
                Ok(Said::Done(done)) => return in_time(done),
                Ok(Said::Bad(bad)) => {
                    let outcome = bad.outcome.clone();
                    if self.is_kept(order, bad, outcome, interrupt, &mut keeping) {
                        return self.torn_down(unwind_within);
                    }
                }
                Ok(Said::Meanwhile(_)) => {}
                Err(RecvTimeoutError::Disconnected) => return lost(),
                Err(RecvTimeoutError::Timeout) if interrupt.urgency() != Urgency::None => break true,
                Err(RecvTimeoutError::Timeout) if left <= TICK => break false,
                Err(RecvTimeoutError::Timeout) => left -= TICK,
            }
        };
        self.cancel.cancel(order.number);
        let problem = if interrupted {
            let signal = interrupt.signal().map_or_else(String::new, signal::name);
            Problem::new(Class::Interrupted, format!("the run was interrupted by {signal}"))
        } else {
            let timeout = humantime::format_duration(timeout);
            Problem::new(
                Class::Deadline,
                format!("it did not end within its deadline of {timeout}"),
            )
        };
        let until = Instant::now() + unwind_within;
        loop {
            match self
                .said
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(Said::Done(done)) => {
                    return Attempted {
                        outcome: too_late(problem, &done.outcome),
                        ..in_time(done)
                    };
                }
                Ok(Said::Bad(bad)) => {
                    let outcome = too_late(problem.clone(), &bad.outcome);
                    if self.is_kept(order, bad, outcome, interrupt, &mut keeping) {
                        return self.torn_down(unwind_within);
                    }
                }
                Ok(Said::Meanwhile(_)) => {}
                Err(_) => return stuck(problem),
            }
        }
    }

    /// Answers a case that is bad; returns whether it was kept up, when it is no longer.
    fn is_kept(
        &self,
        order: &Order,
        bad: Bad,
        outcome: Outcome,
        interrupt: &Interrupt,
        keeping: &mut Option<(&Keeping<'_>, &mut Capture)>,
    ) -> bool {
        let judged = Judged {
            outcome,
            sub_cases: bad.sub_cases,
            seen: None,
            reach: &bad.reach,
        };
        let kept = keeping
            .as_mut()
            .and_then(|(keeping, capture)| Some((*keeping, keeping.keep(judged, capture)?)));
        if let Some((keeping, within)) = kept {
            let until = Instant::now() + within;
            while interrupt.is_keeping() && interrupt.urgency() == Urgency::None && Instant::now() < until {
                let left = until.saturating_duration_since(Instant::now());
                match self.said.recv_timeout(left.min(TICK)) {
                    Ok(Said::Meanwhile(text)) => keeping.meanwhile(&text),
                    Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            interrupt.take_keeping();
        }
        self.cancel.tear_down(order.number, kept.is_some());
        kept.is_some()
    }

    /// What a case that was kept came to afterwards.
    fn torn_down(&self, within: Duration) -> Attempted {
        let until = Instant::now() + within;
        loop {
            match self
                .said
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(Said::Done(done)) => return in_time(done),
                Ok(_) => {}
                Err(_) => {
                    let within = humantime::format_duration(within);
                    let text = format!("teardown and leak check did not end within {within}");
                    return stuck(Problem::new(Class::Teardown, text));
                }
            }
        }
    }
}

fn in_time(done: Done) -> Attempted {
    Attempted {
        outcome: done.outcome,
        usable: true,
        sub_cases: done.sub_cases,
    }
}

/// What a case came to that ended when it was asked to.
fn too_late(mut problem: Problem, outcome: &Outcome) -> Outcome {
    if let Outcome::Failed(failed) = outcome {
        problem.details = format!("it failed: {failed}");
    }
    Outcome::Errored(problem)
}

fn stuck(mut problem: Problem) -> Attempted {
    problem.details =
        "it did not unwind when asked to; in the runner's own process (--isolation none) it cannot be \
                       killed, so the run ends here"
            .to_owned();
    Attempted {
        outcome: Outcome::Errored(problem),
        usable: false,
        sub_cases: Vec::new(),
    }
}
