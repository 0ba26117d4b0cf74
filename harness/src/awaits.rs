//! Where a future waits, which no stack tells: it is polled once more, with a waker that notes who takes it.
//!
//! Whatever waits takes a clone of the waker, from inside the calls that lead to it: the stack of that moment has the
//! line of every `.await` on the way. A future may be polled at any time, so this changes nothing but which waker is
//! kept, and the noting one wakes as the real one does.
//!
//! What takes no waker (`pending()`) can never be woken. It is polled over and over for a moment instead, while another
//! thread takes the stack: the deepest one is from where it ends.
#![allow(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use crate::stack;

/// More that one future waits for at the same time is not told.
const NOTED_MAX: usize = 16;

struct Noting {
    real: Waker,
    is_on: AtomicBool,
    stacks: Mutex<Vec<Vec<usize>>>,
}

const TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

fn raw(noting: Arc<Noting>) -> RawWaker {
    RawWaker::new(Arc::into_raw(noting).cast(), &TABLE)
}

/// # Safety
/// `data` is from [`raw`], and its count is not given away.
unsafe fn borrowed<'a>(data: *const ()) -> &'a Noting {
    // SAFETY: see above.
    unsafe { &*data.cast() }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: every function of the table is called with what `raw` made.
    let noting = unsafe { borrowed(data) };
    if noting.is_on.load(Ordering::Relaxed) {
        let mut stacks = noting.stacks.lock().unwrap_or_else(PoisonError::into_inner);
        if stacks.len() < NOTED_MAX {
            stacks.push(stack::own());
        }
    }
    // SAFETY: as above; the new count belongs to what is returned.
    unsafe { Arc::increment_strong_count(data.cast::<Noting>()) };
    RawWaker::new(data, &TABLE)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: as above; the count comes with the call.
    unsafe { Arc::from_raw(data.cast::<Noting>()) }.real.wake_by_ref();
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: as above.
    unsafe { borrowed(data) }.real.wake_by_ref();
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: as above; the count comes with the call.
    drop(unsafe { Arc::from_raw(data.cast::<Noting>()) });
}

/// Polls once and notes the stacks that take the waker, innermost frame first.
pub(crate) fn poll_noting<F: Future>(
    future: Pin<&mut F>,
    context: &Context<'_>,
) -> (Poll<F::Output>, Vec<Vec<usize>>) {
    let noting = Arc::new(Noting {
        real: context.waker().clone(),
        is_on: AtomicBool::new(true),
        stacks: Mutex::default(),
    });
    // SAFETY: the table's functions keep the counts of what `raw` makes, and `Noting` can be used from any thread.
    let waker = unsafe { Waker::from_raw(raw(Arc::clone(&noting))) };
    let polled = future.poll(&mut Context::from_waker(&waker));
    noting.is_on.store(false, Ordering::Relaxed);
    let mut stacks = noting.stacks.lock().unwrap_or_else(PoisonError::into_inner);
    (polled, std::mem::take(&mut *stacks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    #[test]
    fn what_waits_is_noted_and_still_woken() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (send, receive) = tokio::sync::oneshot::channel();
            let mut both = pin!(async {
                let late = tokio::time::sleep(std::time::Duration::from_secs(60));
                tokio::select! {
                    value = receive => value.unwrap(),
                    () = late => 0,
                }
            });
            let mut noted = Vec::new();
            let mut send = Some(send);
            let value = std::future::poll_fn(|context| {
                if !noted.is_empty() {
                    return both.as_mut().poll(context);
                }
                let polled;
                (polled, noted) = poll_noting(both.as_mut(), context);
                assert!(polled.is_pending());
                send.take().unwrap().send(7).unwrap();
                Poll::Pending
            });
            let value = tokio::time::timeout(std::time::Duration::from_secs(10), value);
            assert_eq!(value.await.unwrap(), 7);
            assert_eq!(noted.len(), 2);
            let mut never = pin!(std::future::pending::<()>());
            std::future::poll_fn(|context| {
                let (polled, noted) = poll_noting(never.as_mut(), context);
                assert!(polled.is_pending() && noted.is_empty());
                Poll::Ready(())
            })
            .await;
        });
    }
}
