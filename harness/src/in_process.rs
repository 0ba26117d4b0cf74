//! `--isolation none`: cases in the runner's own process, for debuggers. Nothing is captured, and a case
//! that does not unwind cannot be killed: the run then ends with it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::drive::Cancel;
use crate::event::SubCase;
use crate::executor::Executor;
use crate::interrupt::{Interrupt, Urgency};
use crate::outcome::{Class, Outcome, Problem};
use crate::protocol::{Done, Order, WorkerConfig};
use crate::signal;

/// A thread that runs cases.
pub(crate) struct InProcess {
    orders: Sender<Order>,
    verdicts: Receiver<Done>,
    cancel: Arc<Cancel>,
}

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
        let (their_verdicts, verdicts) = channel();
        let cancel = Arc::new(Cancel::default());
        crate::panics::install(|_| ());
        let executor_cancel = Arc::clone(&cancel);
        std::thread::Builder::new()
            .name("case".to_owned())
            .spawn(move || {
                let mut executor = match Executor::new(config, executor_cancel, Box::new(|_| ())) {
                    Ok(executor) => executor.without_inspection(),
                    Err(error) => return eprintln!("robust-test: no tokio runtime could be made: {error}"),
                };
                for order in their_orders {
                    if their_verdicts.send(executor.run(&order)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            orders,
            verdicts,
            cancel,
        })
    }

    pub(crate) fn run(
        &self,
        order: &Order,
        timeout: Duration,
        unwind_within: Duration,
        interrupt: &Interrupt,
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
        let tick = Duration::from_millis(50);
        let interrupted = loop {
            match self.verdicts.recv_timeout(left.min(tick)) {
                Ok(done) => {
                    return Attempted {
                        outcome: done.outcome,
                        usable: true,
                        sub_cases: done.sub_cases,
                    };
                }
                Err(RecvTimeoutError::Disconnected) => return lost(),
                Err(RecvTimeoutError::Timeout) if interrupt.urgency() != Urgency::None => break true,
                Err(RecvTimeoutError::Timeout) if left <= tick => break false,
                Err(RecvTimeoutError::Timeout) => left -= tick,
            }
        };
        self.cancel.cancel(order.number);
        let ended = self.verdicts.recv_timeout(unwind_within);
        let mut problem = if interrupted {
            let signal = interrupt.signal().map_or_else(String::new, signal::name);
            Problem::new(Class::Interrupted, format!("the run was interrupted by {signal}"))
        } else {
            let timeout = humantime::format_duration(timeout);
            Problem::new(
                Class::Deadline,
                format!("it did not end within its deadline of {timeout}"),
            )
        };
        match &ended {
            Ok(Done {
                outcome: Outcome::Failed(failed),
                ..
            }) => problem.details = format!("it failed: {failed}"),
            Ok(_) => {}
            Err(_) => {
                problem.details = "it did not unwind when asked to; in the runner's own process \
                    (--isolation none) it cannot be killed, so the run ends here"
                    .to_owned();
            }
        }
        Attempted {
            outcome: Outcome::Errored(problem),
            usable: ended.is_ok(),
            sub_cases: ended.map(|done| done.sub_cases).unwrap_or_default(),
        }
    }
}
