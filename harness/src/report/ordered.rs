//! Parts made on several threads and taken in order, few at a time.

use std::ops::ControlFlow;
use std::sync::{Mutex, mpsc};
use std::thread;

/// How many parts may be ahead of the one that is being taken, by thread.
const AHEAD: usize = 2;

/// Makes something of each part and takes it in the order of the parts, until `take` breaks. What is made waits
/// to be taken only in a number that depends on the threads alone. Of no or one thread it is the calling one.
///
/// # Panics
/// Where one of the functions does.
pub(super) fn in_order<P: Send, T: Send, B>(
    name: &str,
    threads: usize,
    parts: impl Iterator<Item = P> + Send,
    make: impl Fn(P) -> T + Sync,
    mut take: impl FnMut(T) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let parts = Mutex::new(parts);
    let next = || parts.lock().ok()?.next();
    let (queue, coming) = mpsc::sync_channel(threads * AHEAD);
    let work = |queue: mpsc::SyncSender<mpsc::Receiver<T>>| {
        // The queue hears of a part before another thread can have the next one, so it is in order.
        while let Ok(mut parts) = parts.lock()
            && let Some(part) = parts.next()
        {
            let (made, to_come) = mpsc::sync_channel(1);
            if queue.send(to_come).is_err() {
                return;
            }
            drop(parts);
            // Where it fails, nobody wants it any more.
            let _ = made.send(make(part));
        }
    };
    thread::scope(|scope| {
        let count = if threads > 1 { threads } else { 0 };
        let spawn = |_| {
            let (work, queue) = (&work, queue.clone());
            let builder = thread::Builder::new().name(name.to_owned());
            builder.spawn_scoped(scope, move || work(queue)).ok()
        };
        // Where there is no room for a thread, there is none for those after it.
        let threads: Vec<_> = (0..count).map_while(spawn).collect();
        drop(queue);
        if threads.is_empty() {
            while let Some(part) = next() {
                take(make(part))?;
            }
            return ControlFlow::Continue(());
        }
        let mut flow = ControlFlow::Continue(());
        for made in coming {
            // A thread that sends nothing panicked.
            let Ok(made) = made.recv() else { break };
            flow = take(made);
            if flow.is_break() {
                break;
            }
        }
        for thread in threads {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        flow
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use super::*;

    /// Makes parts of which some take longer, and returns what was taken.
    fn taken(threads: usize, count: usize, until: usize) -> Vec<usize> {
        let (made, mut taken) = (AtomicUsize::new(0), Vec::new());
        let make = |part: usize| {
            if part.is_multiple_of(7) {
                thread::sleep(Duration::from_millis(1));
            }
            made.fetch_add(1, SeqCst);
            part
        };
        let flow = in_order("part", threads, 0..count, make, |part| {
            taken.push(part);
            assert!(made.load(SeqCst) - part <= threads * (AHEAD + 1) + 2);
            if part == until {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert_eq!(flow.is_break(), taken.last() == Some(&until));
        taken
    }

    #[test]
    fn parts_are_taken_in_order_and_few_are_ahead() {
        for threads in [0, 1, 2, 5] {
            for count in [0, 1, 2, 200] {
                let all: Vec<_> = (0..count).collect();
                assert_eq!(taken(threads, count, usize::MAX), all);
            }
        }
    }

    #[test]
    fn nothing_is_taken_after_a_break() {
        for threads in [1, 3] {
            assert_eq!(taken(threads, 1000, 50).len(), 51);
        }
    }

    #[test]
    fn a_panic_in_any_place_ends_it() {
        for (threads, place) in [1, 3]
            .into_iter()
            .flat_map(|threads| [0, 1, 2].map(|place| (threads, place)))
        {
            let fail = |at: usize, number: usize| assert!(at != place || number != 20, "planted");
            let parts = (0..1000).inspect(move |&part| fail(0, part));
            let ended = std::panic::catch_unwind(|| {
                in_order(
                    "part",
                    threads,
                    parts,
                    |part| {
                        fail(1, part);
                        part
                    },
                    |part| {
                        fail(2, part);
                        ControlFlow::<()>::Continue(())
                    },
                )
            });
            let panic = ended.unwrap_err();
            assert!(
                panic
                    .downcast_ref::<&str>()
                    .is_some_and(|text| *text == "planted")
            );
        }
    }
}
