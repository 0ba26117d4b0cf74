//! Code whose panic is its caller's to judge, and neither the case's own nor a foreign one.
//!
//! For what runs several things side by side and tells of each by its name: the panic is printed as any other,
//! and fails nothing by itself.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use crate::outcome::Problem;
use crate::panics;

/// The future's output, or its panic: message, place and backtrace. It is not polled again after a panic.
pub async fn caught<F: Future>(future: F) -> Result<F::Output, Problem> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| poll(future.as_mut(), context)).await
}

fn poll<F: Future>(future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<Result<F::Output, Problem>> {
    match panics::caught(|| future.poll(context)) {
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(problem) => Poll::Ready(Err(problem)),
    }
}

/// What `work` returns, or its panic.
///
/// # Errors
/// The panic.
pub fn caught_now<T>(work: impl FnOnce() -> T) -> Result<T, Problem> {
    panics::caught(work)
}
