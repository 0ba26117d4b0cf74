//! Driving a case's code: the runtime it is on, its panics, and the request to end.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::outcome::Problem;
use crate::panics::{self, Phase};
use crate::probe::{Probe, Stacks};
use crate::registry::Flavor;

/// Asks a running case to unwind, from another thread.
#[derive(Debug, Default)]
pub(crate) struct Cancel {
    /// The order that is to end; orders count from 1.
    number: AtomicU64,
    /// The order whose bad case is to be torn down, and that of one that was kept up until now.
    go_on: AtomicU64,
    released: AtomicU64,
    notify: Notify,
    /// What can be told of it meanwhile.
    pub(crate) probe: Probe,
}

impl Cancel {
    pub(crate) fn cancel(&self, number: u64) {
        self.number.store(number, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    /// Lets the bad case of this order be torn down.
    pub(crate) fn tear_down(&self, number: u64, was_kept: bool) {
        let which = if was_kept { &self.released } else { &self.go_on };
        which.store(number, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    /// Waits until the bad case of this order may be torn down. Returns whether it was kept up.
    pub(crate) async fn was_kept(&self, number: u64) -> bool {
        loop {
            let notified = self.notify.notified();
            if self.released.load(Ordering::SeqCst) == number {
                return true;
            }
            if self.go_on.load(Ordering::SeqCst) == number {
                return false;
            }
            notified.await;
        }
    }

    /// Looks at the running case, before it is asked to end.
    pub(crate) fn look(&self) -> Stacks {
        self.probe.look(|| self.notify.notify_waiters())
    }

    async fn wait_for(&self, number: u64) {
        loop {
            let notified = self.notify.notified();
            if self.number.load(Ordering::SeqCst) == number {
                return;
            }
            notified.await;
        }
    }
}

pub(crate) fn new_runtime(flavor: Flavor, start_paused: bool) -> std::io::Result<Runtime> {
    let mut builder = match flavor {
        Flavor::CurrentThread => tokio::runtime::Builder::new_current_thread(),
        Flavor::MultiThread(threads) => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            if let Some(threads) = threads {
                builder.worker_threads(threads);
            }
            builder
        }
    };
    builder.enable_all();
    if start_paused {
        builder.start_paused(true);
    }
    builder.build()
}

/// Runs the future to its end; its panics, and no other task's, are the case's own.
pub(crate) fn drive<F: Future>(runtime: &Runtime, future: F) -> F::Output {
    panics::outside(|| {
        let mut future = pin!(future);
        runtime.block_on(std::future::poll_fn(|context| {
            panics::within(|| future.as_mut().poll(context))
        }))
    })
}

/// The future's output, unless the order is cancelled first.
pub(crate) async fn or_cancelled<F: Future>(cancel: &Cancel, number: u64, future: F) -> Option<F::Output> {
    let (mut future, mut cancelled) = (pin!(future), pin!(cancel.wait_for(number)));
    std::future::poll_fn(|context| {
        if cancelled.as_mut().poll(context).is_ready() {
            return std::task::Poll::Ready(None);
        }
        cancel.probe.poll(future.as_mut(), context).map(Some)
    })
    .await
}

/// Lets a frozen clock run again: timers that fire at once would end every teardown at once.
pub(crate) fn thaw(runtime: &Runtime) {
    let _context = runtime.enter();
    let before = tokio::time::Instant::now();
    let start = Instant::now();
    while start.elapsed() < Duration::from_nanos(500) {}
    if tokio::time::Instant::now() == before {
        tokio::time::resume();
    }
}

/// Runs `work`, which starts in `phase`; a panic becomes the phase it came in and the problem it is.
pub(crate) fn catch<T>(phase: Phase, work: impl FnOnce() -> T) -> Result<T, (Phase, Problem)> {
    panics::set_phase(phase);
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| panics::within(work)));
    let reached = panics::set_phase(Phase::Outside);
    result.map_err(|payload| (reached, panics::take_own(&*payload)))
}
