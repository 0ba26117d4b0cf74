//! SIGINT, SIGTERM and SIGHUP: the first stops the run cleanly, the second at once; more of them change nothing.
//! Where a bad case is kept up, the next one ends that and nothing else. One that whoever started the run chose to
//! ignore (`nohup`) stays ignored.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// An interrupted run is over after this time: more than a case may take to unwind and to tear down.
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// The same after the second signal, which waits for no teardown.
const NOW_WITHIN: Duration = Duration::from_secs(10);

/// How urgently the run is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// It goes on.
    None,
    /// Start nothing more; cases unwind and are torn down.
    Stop,
    /// Kill what runs.
    Now,
}

/// Shared by everything that waits.
#[derive(Debug, Default)]
pub(crate) struct Interrupt {
    urgency: AtomicU8,
    signal: AtomicI32,
    /// Whether something is kept up, which the next signal ends and nothing else.
    keeping: Mutex<bool>,
    wakers: Mutex<Vec<Arc<OwnedFd>>>,
}

impl Interrupt {
    /// Handles the signals from now on, in a thread of its own.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub(crate) fn install() -> io::Result<Arc<Self>> {
        let interrupt = Arc::new(Self::default());
        let ignored = ignored();
        let heard = [SIGINT, SIGTERM, SIGHUP]
            .into_iter()
            .filter(|signal| ignored & (1 << (signal - 1)) == 0);
        let mut signals = signal_hook::iterator::Signals::new(heard)?;
        let shared = Arc::clone(&interrupt);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    // The reports are being written, and how long that may take is limited already.
                    if shared.urgency() == Urgency::Now {
                        continue;
                    }
                    if shared.take_keeping() {
                        shared.wake();
                        continue;
                    }
                    shared.raise(signal);
                    let urgency = shared.urgency();
                    // Whatever holds the run up then (nobody reads its stdout, a disk hangs): the reaper does the rest.
                    let _ended_by_the_next_signal = std::thread::Builder::new()
                        .name("last resort".to_owned())
                        .spawn(move || {
                            std::thread::sleep(if urgency == Urgency::Now {
                                NOW_WITHIN
                            } else {
                                STOP_WITHIN
                            });
                            die_of(signal);
                        });
                }
            })?;
        Ok(interrupt)
    }

    /// From now on the next signal ends what is kept up, and does not interrupt the run. `false`: the run is
    /// interrupted already.
    pub(crate) fn begin_keeping(&self) -> bool {
        let mut keeping = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        *keeping = self.urgency() == Urgency::None;
        *keeping
    }

    /// Whether something is kept up, and no signal came that ends it.
    pub(crate) fn is_keeping(&self) -> bool {
        *self.keeping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is kept up any more; whether anything was.
    pub(crate) fn take_keeping(&self) -> bool {
        std::mem::take(&mut *self.keeping.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn raise(&self, signal: i32) {
        let _first = self
            .signal
            .compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
        let next = if self.urgency() == Urgency::None {
            Urgency::Stop
        } else {
            Urgency::Now
        };
        self.urgency.store(next as u8, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        for waker in self.wakers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _full_is_awake = rustix::io::write(waker, &1_u64.to_ne_bytes());
        }
    }

    pub(crate) fn urgency(&self) -> Urgency {
        match self.urgency.load(Ordering::SeqCst) {
            0 => Urgency::None,
            1 => Urgency::Stop,
            _ => Urgency::Now,
        }
    }

    /// The signal that came first.
    pub(crate) fn signal(&self) -> Option<i32> {
        Some(self.signal.load(Ordering::SeqCst)).filter(|&signal| signal != 0)
    }

    /// A descriptor that becomes readable when a signal comes.
    pub(crate) fn waker(&self) -> io::Result<Arc<OwnedFd>> {
        let waker = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        self.wakers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&waker));
        Ok(waker)
    }
}

/// The signals that this process was started to ignore, as a set of bits.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or(0)
}

/// Ends the process as the signal would have, so that whoever started it sees that.
pub(crate) fn die_of(signal: i32) {
    let _only_if_unknown = signal_hook::low_level::emulate_default_handler(signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_ended_by_one_signal_and_a_run_that_ends_keeps_nothing() {
        let interrupt = Interrupt::default();
        assert!(!interrupt.take_keeping() && !interrupt.is_keeping());
        assert!(interrupt.begin_keeping() && interrupt.is_keeping());
        assert!(interrupt.take_keeping());
        assert_eq!(interrupt.urgency(), Urgency::None);
        assert!(!interrupt.take_keeping());
        interrupt.raise(SIGINT);
        assert!(!interrupt.begin_keeping() && !interrupt.is_keeping());
    }
}
