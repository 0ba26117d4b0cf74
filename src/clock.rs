//! Waiting for what happens outside of the runtime: child processes, sockets, threads.
//!
//! These waits go by the machine's clock, also while a scenario has tokio's clock paused: a paused clock
//! jumps to the next timer whenever the runtime is idle, which would end every such wait at once.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

/// Seconds, for deadlines in scenarios.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Milliseconds, for deadlines in scenarios.
pub const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The waits between looks at a condition: they double from 1 ms to a maximum.
pub(crate) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) fn up_to(max: Duration) -> Self {
        Self {
            next: Duration::from_millis(1),
            max,
        }
    }

    pub(crate) fn next(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.max);
        now
    }
}

/// When something began, by the machine's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Began(Instant);

impl Began {
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// A point in the machine's time after which a wait gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(limit: Duration) -> Self {
        // A limit that no clock can hold is as good as a year.
        let year = Duration::from_secs(365 * 24 * 3600);
        Self(Instant::now() + limit.min(year))
    }

    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    pub(crate) fn passed(self) -> bool {
        self.left().is_zero()
    }
}

/// The deadline of [`within`] or [`found_within`] passed.
#[derive(Debug)]
pub(crate) struct Elapsed;

/// The future's output, unless it takes longer than `limit`; it is dropped then.
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let deadline = Deadline::after(limit);
    let mut future = pin!(future);
    loop {
        // In steps, because a paused clock ends a sleep early.
        let step = deadline.left().min(Duration::from_millis(100));
        tokio::select! {
            biased;
            output = &mut future => return Ok(output),
            () = tokio::time::sleep(step) => if deadline.passed() {
                return Err(Elapsed);
            },
        }
    }
}

/// The longest pause between two looks of [`found_within`].
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(20);

/// What `look` finds, asked again and again until it does.
pub(crate) async fn found_within<T>(limit: Duration, look: impl Fn() -> Option<T>) -> Result<T, Elapsed> {
    let deadline = Deadline::after(limit);
    let mut backoff = Backoff::up_to(LOOK_PAUSE_MAX);
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if deadline.passed() {
            return Err(Elapsed);
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

/// A duration as people write it: `5 s`, `1.5 s`, `250 ms`.
pub(crate) fn human(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0..1000 => format!("{ms} ms"),
        _ if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_does_not_end_a_wait_for_the_machine() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || sender.send("from a thread"));
        let received = within(secs(10), receiver).await.unwrap().unwrap();
        assert_eq!(received, "from a thread");
        thread.join().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_wait_gives_up_at_its_limit() {
        within(millis(5), std::future::pending::<()>()).await.unwrap_err();
    }

    #[tokio::test]
    async fn what_is_there_is_found_at_once_and_what_comes_within_the_limit() {
        let looks = std::cell::Cell::new(0);
        let third = || {
            looks.set(looks.get() + 1);
            (looks.get() == 3).then_some("found")
        };
        assert_eq!(found_within(secs(10), third).await.unwrap(), "found");
        assert_eq!(found_within(Duration::ZERO, || Some(1)).await.unwrap(), 1);
        found_within(millis(5), || None::<()>).await.unwrap_err();
    }

    #[test]
    fn durations_read_like_prose() {
        assert_eq!(human(millis(250)), "250 ms");
        assert_eq!(human(secs(5)), "5 s");
        assert_eq!(human(millis(1500)), "1.5 s");
    }
}
