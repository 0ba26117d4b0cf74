//! Syncs that wait: each on a thread of its own, so that nothing else waits with it, until its time is over, the fault is
//! healed, or the power is lost.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(super) struct Delays {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// So many threads wait.
    waiting: usize,
    /// How often all were let go.
    released: u64,
}

impl Delays {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `then` after the delay; here and at once when there can be no thread.
    pub(super) fn after(self: &Arc<Self>, delay: Duration, then: impl FnOnce() + Send + 'static) {
        let until = Instant::now() + delay;
        let released = {
            let mut state = self.state();
            state.waiting += 1;
            state.released
        };
        let then = Arc::new(Mutex::new(Some(then)));
        let (delays, on_thread) = (Arc::clone(self), Arc::clone(&then));
        let thread = std::thread::Builder::new()
            .name("disk-delay".to_owned())
            .spawn(move || {
                delays.wait(until, released);
                if let Some(then) = take(&on_thread) {
                    then();
                }
                delays.end();
            });
        if thread.is_err() {
            if let Some(then) = take(&then) {
                then();
            }
            self.end();
        }
    }

    fn wait(&self, until: Instant, released: u64) {
        let mut state = self.state();
        while state.released == released {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn end(&self) {
        self.state().waiting -= 1;
        self.changed.notify_all();
    }

    /// Lets all that wait go on.
    pub(super) fn release(&self) {
        self.state().released += 1;
        self.changed.notify_all();
    }

    /// Waits until none waits any more. False: some still did `until` then.
    pub(super) fn ended(&self, until: Instant) -> bool {
        let mut state = self.state();
        while state.waiting > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}
