//! A clock of a node's own, which goes wrong.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use robust_test_harness::error::Result;
use robust_test_harness::mechanism::FaultKind;

use super::{Fault, Ongoing, unusable};
use crate::clock::human;
use crate::node_clock::{self, NoClock, VDSO};
use crate::server::Server;
use crate::service::{BoxFuture, Service};

/// The time of day of a node jumps: its programs take it for later or earlier than it is. Healing lets it jump back. A node
/// that is started meanwhile begins with the wrong time; it may be injected while the node is down.
///
/// - **Which clocks**: those that somebody sets (`CLOCK_REALTIME`, its coarse one, `CLOCK_TAI`, `gettimeofday`, `time`),
///   as a step by NTP or an operator does. `CLOCK_MONOTONIC` and timers that count from now go on as they did.
/// - **How**: the vDSO of its processes is rewritten, from outside, while they stand still for some milliseconds. Every
///   program reads the clock by that, in whatever language it is written; reading costs it a system call meanwhile.
/// - **Proved** when one of its processes has read a time that is not the true one.
/// - **Not moved** is what the kernel does by its own clock: the times of files, and waits *until* a time of day, as
///   `pthread_cond_timedwait` does where it was not told to count by the monotonic clock; nor a program that makes the system call
///   itself. A process that executes another program (a script that is not `exec`ed into it) gives it the true time; one that
///   is forked goes on with the time that its parent had then, until it is healed.
///
/// Jepsen's nemesis for clocks has `bump` and `strobe`; these are [`ClockSkew::ahead`] and [`ClockSkew::strobe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSkew {
    by: Duration,
    is_behind: bool,
    strobe: Option<Duration>,
}

/// The most that a clock can be wrong: a hundred years.
const MOST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// The shortest time between two jumps.
const STROBE_LEAST: Duration = Duration::from_millis(1);
/// How often it is seen what was read, for the proof of processes that end soon.
const LOOK: Duration = Duration::from_millis(20);

impl ClockSkew {
    /// It is later than it is; at most 100 years.
    pub fn ahead(by: Duration) -> Self {
        Self {
            by,
            is_behind: false,
            strobe: None,
        }
    }

    /// It is earlier than it is, 1970 at the earliest; at most 100 years.
    pub fn behind(by: Duration) -> Self {
        Self {
            is_behind: true,
            ..Self::ahead(by)
        }
    }

    /// It jumps to the wrong time and back, each after so long; at least 1 ms.
    #[must_use]
    pub fn strobe(self, every: Duration) -> Self {
        Self {
            strobe: Some(every.max(STROBE_LEAST)),
            ..self
        }
    }

    /// Whether the clocks of nodes can be moved here. It is tried once.
    ///
    /// # Errors
    /// When not: why, in one line, with what to do about it.
    pub fn available() -> Result<(), NoClock> {
        node_clock::available()
    }

    /// `None` of more than there can be.
    fn nanos(self) -> Option<i64> {
        let nanos = i64::try_from(self.by.as_nanos())
            .ok()
            .filter(|_| self.by <= MOST)?;
        Some(if self.is_behind { -nanos } else { nanos })
    }
}

fault_kinds! {
    target: "node", mechanism: VDSO,
    CLOCK_SKEW = "clock-skew": "its programs take it for later or earlier than it is";
}

impl<S: Service> Fault<Server<S>> for ClockSkew {
    fn kind(&self) -> &'static FaultKind {
        &CLOCK_SKEW
    }

    fn describe(&self) -> String {
        let side = if self.is_behind { "behind" } else { "ahead" };
        let strobe = self
            .strobe
            .map(|every| format!(" and back, every {}", human(every)));
        format!(
            "{} of {} {side}{}",
            CLOCK_SKEW.name,
            human(self.by),
            strobe.unwrap_or_default()
        )
    }

    fn begin<'a>(&'a self, server: &'a Server<S>) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        Box::pin(async move {
            let cannot = |why: &str| unusable(CLOCK_SKEW.name, server.name(), why);
            let nanos = self
                .nanos()
                .ok_or_else(|| cannot("a clock can be wrong by 100 years at most"))?;
            let clock = server.place().clock();
            clock.claim(nanos).map_err(|error| cannot(&error.to_string()))?;
            // From here on its end undoes what was done.
            let mut skewed = Skewed {
                server: server.clone(),
                keeper: None,
            };
            if let Err(problem) = skewed.begin(nanos, self.strobe).await {
                if skewed.undo().await.is_err() {
                    // What went wrong first is what counts, and fails the case.
                    clock.let_go();
                }
                return Err(problem);
            }
            Ok(Box::new(skewed) as Box<dyn Ongoing>)
        })
    }
}

struct Skewed<S: Service> {
    server: Server<S>,
    keeper: Option<Keeper>,
}

impl<S: Service> Skewed<S> {
    async fn begin(&mut self, nanos: i64, strobe: Option<Duration>) -> Result {
        let clock = || self.server.place().clock();
        self.server
            .supervisor()
            .while_still(|pids| clock().take_in(pids))
            .await?;
        self.keeper = Some(Keeper::start(&self.server, nanos, strobe)?);
        Ok(())
    }

    async fn undo(&mut self) -> Result {
        self.keeper = None;
        let clock = self.server.place().clock();
        // Nothing is started with it any more, whatever comes of those that run.
        clock.set(0)?;
        self.server
            .supervisor()
            .while_still(|pids| clock.undo(pids).map(Some))
            .await?;
        Ok(())
    }
}

impl<S: Service> Ongoing for Skewed<S> {
    fn proof(&self) -> Option<String> {
        let readings = self.server.place().clock().readings();
        (readings > 0).then(|| format!("{readings} readings of the clock were moved"))
    }

    fn heal(&mut self) -> BoxFuture<'_, Result> {
        Box::pin(self.undo())
    }

    /// The processes end with the case.
    fn clean_up(&mut self) -> BoxFuture<'_, Result> {
        self.keeper = None;
        self.server.place().clock().let_go();
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Has a clock jump, and sees what was read. On a thread of its own, since a scenario may have stopped tokio's time.
struct Keeper {
    /// Dropped when it is to end.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    fn start<S: Service>(server: &Server<S>, nanos: i64, strobe: Option<Duration>) -> io::Result<Self> {
        let (end, ended) = channel();
        let place = server.place().clone();
        let name = format!("clock of {}", place.name());
        let keep = move || {
            let mut is_moved = true;
            while ended.recv_timeout(strobe.unwrap_or(LOOK)) == Err(RecvTimeoutError::Timeout) {
                let clock = place.clock();
                if strobe.is_some() {
                    is_moved = !is_moved;
                    // One that cannot be reached is told of when it is healed.
                    let _gone = clock.set(if is_moved { nanos } else { 0 });
                }
                clock.readings();
            }
        };
        Ok(Self {
            end: Some(end),
            thread: Some(thread::Builder::new().name(name).spawn(keep)?),
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It has no reason to panic, and nothing is lost with it.
            let _panicked = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{millis, secs};

    #[test]
    fn a_clock_is_wrong_by_a_hundred_years_at_most() {
        assert_eq!(ClockSkew::ahead(secs(2)).nanos(), Some(2_000_000_000));
        assert_eq!(ClockSkew::behind(millis(3)).nanos(), Some(-3_000_000));
        assert!(ClockSkew::ahead(MOST).nanos().is_some());
        assert_eq!(ClockSkew::behind(MOST + millis(1)).nanos(), None);
        assert_eq!(ClockSkew::ahead(Duration::MAX).nanos(), None);
    }
}
