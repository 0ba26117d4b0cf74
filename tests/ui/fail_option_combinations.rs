//! Options that contradict each other or the function.
use robust_test::prelude::*;

#[robust_test(start_paused)]
fn sync_and_paused() {}

#[robust_test(flavor = "multi_thread", start_paused = true)]
async fn many_threads_and_paused() {}

#[robust_test(worker_threads = 2)]
async fn threads_without_flavor() {}

#[robust_test(flavor = "current_thread", worker_threads = 2)]
async fn threads_on_one_thread() {}

#[robust_test(should_panic, known_failure(because = "bug 1"))]
fn panics_and_fails() {}

fn main() {
    // Beside its errors the function is there: editors and callers see it.
    panics_and_fails();
}
