//! Waiting until something holds, with a deadline: the opposite of sleeping and hoping.
//!
//! ```
//! use robust_test::prelude::*;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result {
//! let started = std::time::Instant::now();
//! eventually("five milliseconds are over", secs(5), || async {
//!     started.elapsed() > millis(5)
//! })
//! .await?;
//! # Ok(()) }
//! ```

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::clock::{Backoff, human};

const PAUSE_MAX: Duration = Duration::from_millis(100);

/// What one look at a condition says: it holds, with a value, or not yet, and why.
///
/// | the attempt returns | it holds when | value |
/// | --- | --- | --- |
/// | `bool` | `true` | `()` |
/// | `Option<T>` | `Some` | `T` |
/// | `()`, `String`, `Vec<T>`, [`Done<T>`] | always (so only an error around it means "not yet") | itself |
/// | `Result<A, E>` | `Ok`, and `A` holds; `E` is told in the error | that of `A` |
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say whether the condition holds",
    note = "an attempt returns `bool`, `Option<T>`, `()`, or a `Result` of one of these whose error has `Display`",
    note = "any other value is wrapped: `.map(Done)` for a `Result<T, E>` whose `Ok` means that it holds"
)]
pub trait Attempt {
    /// What the condition yields when it holds.
    type Value;

    /// The value, or why the condition does not hold yet.
    ///
    /// # Errors
    /// When the condition does not hold yet.
    fn outcome(self) -> Result<Self::Value, String>;
}

/// A value of any type that means: the condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done<T>(pub T);

impl Attempt for bool {
    type Value = ();
    fn outcome(self) -> Result<(), String> {
        if self {
            Ok(())
        } else {
            Err("it was false".to_owned())
        }
    }
}

impl<T> Attempt for Option<T> {
    type Value = T;
    fn outcome(self) -> Result<T, String> {
        self.ok_or_else(|| "it was None".to_owned())
    }
}

impl<A: Attempt, E: Display> Attempt for Result<A, E> {
    type Value = A::Value;
    fn outcome(self) -> Result<A::Value, String> {
        match self {
            Ok(attempt) => attempt.outcome(),
            Err(error) => Err(format!("{error:#}")),
        }
    }
}

impl<T> Attempt for Done<T> {
    type Value = T;
    fn outcome(self) -> Result<T, String> {
        Ok(self.0)
    }
}

impl Attempt for () {
    type Value = ();
    fn outcome(self) -> Result<(), String> {
        Ok(())
    }
}

impl Attempt for String {
    type Value = Self;
    fn outcome(self) -> Result<Self, String> {
        Ok(self)
    }
}

impl<T> Attempt for Vec<T> {
    type Value = Self;
    fn outcome(self) -> Result<Self, String> {
        Ok(self)
    }
}

/// Something did not come to hold in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not within {}: {why} ({attempts} attempts; the last one: {last})", human(*deadline))]
pub struct EventuallyError {
    /// What was waited for.
    pub why: String,
    /// How long.
    pub deadline: Duration,
    /// How often it was tried; at least 1.
    pub attempts: u64,
    /// What the last attempt said.
    pub last: String,
}

/// Tries again and again until `attempt` holds ([`Attempt`]), for at most `deadline`.
///
/// The first attempt is made at once, the pauses between attempts double from 1 ms to 100 ms. An attempt
/// that is under way at the deadline is dropped. The time is tokio's, which a scenario may have paused.
///
/// Attempts share what they capture, so what they call takes `&self`; what needs `&mut self` goes into a
/// `tokio::sync::Mutex`.
///
/// # Errors
/// [`EventuallyError`] at the deadline, with what the last attempt said.
pub async fn eventually<M, F>(
    why: impl Into<String>,
    deadline: Duration,
    mut attempt: M,
) -> Result<<F::Output as Attempt>::Value, EventuallyError>
where
    M: FnMut() -> F,
    F: Future<Output: Attempt>,
{
    let until = Instant::now() + deadline;
    let mut backoff = Backoff::up_to(PAUSE_MAX);
    let mut attempts = 0;
    let mut last = None;
    loop {
        attempts += 1;
        match timeout_at(until, attempt()).await {
            Ok(output) => match output.outcome() {
                Ok(value) => return Ok(value),
                Err(reason) => last = Some(reason),
            },
            // What an earlier attempt said is worth more than that this one was cut short.
            Err(_) => {
                last.get_or_insert_with(|| "it had not answered".to_owned());
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(EventuallyError {
                why: why.into(),
                deadline,
                attempts,
                last: last.unwrap_or_default(),
            });
        }
        sleep(backoff.next().min(left)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{millis, secs};
    use std::cell::Cell;

    #[tokio::test(start_paused = true)]
    async fn every_kind_of_attempt_yields_its_value() {
        let calls = Cell::new(0);
        let third = || {
            calls.set(calls.get() + 1);
            calls.get() == 3
        };
        eventually("bool", secs(1), || async { third() }).await.unwrap();
        assert_eq!(calls.get(), 3);
        let value = eventually("option", secs(1), || async { Some(7) }).await.unwrap();
        assert_eq!(value, 7);
        calls.set(0);
        let value = eventually("result of option", secs(1), || async {
            if third() { Ok(Some(8)) } else { Err("no") }
        });
        assert_eq!(value.await.unwrap(), 8);
        let value = eventually("done", secs(1), || async { "9".parse::<u8>().map(Done) });
        assert_eq!(value.await.unwrap(), 9);
        eventually("unit", secs(1), || async { crate::Result::<()>::Ok(()) })
            .await
            .unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_error_says_what_how_long_and_what_was_last_seen() {
        let error = eventually("the port opens", millis(50), || async {
            Err::<(), _>(std::io::Error::other("refused"))
        })
        .await
        .unwrap_err();
        assert!(error.attempts > 3, "{error:?}");
        let text = error.to_string();
        assert!(text.starts_with("not within 50 ms: the port opens ("), "{text}");
        assert!(text.ends_with("attempts; the last one: refused)"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_is_cut_at_the_deadline() {
        let error = eventually("it answers", secs(3), std::future::pending::<bool>)
            .await
            .unwrap_err();
        assert_eq!(error.attempts, 1);
        assert_eq!(error.last, "it had not answered");
    }
}
