//! A limit on the length of a node's log.
//!
//! Servers write to their logs directly, so nobody sees a write; the length is looked at a few times a second. By a
//! timer of the kernel's: one of tokio's would move a clock that a scenario has paused.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How often the length is looked at.
const EVERY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 250_000_000,
};

/// The limit of one log.
#[derive(Debug)]
pub(crate) struct LogLimit {
    path: PathBuf,
    bytes_max: u64,
}

impl LogLimit {
    pub(crate) fn new(path: &Path, bytes_max: u64) -> Self {
        Self {
            path: path.to_owned(),
            bytes_max,
        }
    }

    /// Ends with the log's length when that has passed the limit.
    pub(crate) async fn passed(self) -> u64 {
        let Ok(ticks) = ticks() else {
            // Without descriptors the case has other worries.
            return std::future::pending().await;
        };
        loop {
            let length = self.path.metadata().map_or(0, |metadata| metadata.len());
            if length > self.bytes_max {
                return length;
            }
            let Ok(mut ready) = ticks.readable().await else {
                return std::future::pending().await;
            };
            let _ticked = ready.try_io(|ticks| Ok(rustix::io::read(ticks.get_ref(), &mut [0; 8][..])?));
        }
    }
}

#[expect(
    deprecated,
    reason = "the replacement is an `unsafe fn`, for types that may close or change their descriptor; `OwnedFd` cannot"
)]
fn ticks() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    let ticking = Itimerspec {
        it_interval: EVERY,
        it_value: EVERY,
    };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &ticking)?;
    AsyncFd::with_interest(timer, Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_that_grows_beyond_its_limit_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("x.log");
        let limit = LogLimit::new(&log, 10);
        let watch = tokio::spawn(limit.passed());
        std::fs::write(&log, [b'x'; 10]).unwrap();
        tokio::task::yield_now().await;
        std::fs::write(&log, [b'x'; 11]).unwrap();
        assert_eq!(
            crate::clock::within(crate::secs(5), watch)
                .await
                .unwrap()
                .unwrap(),
            11
        );
    }
}
