//! Scenarios that do not end, each in its own way. Run by `tests/stuck.rs`: the verdict must tell the line marked
//! `here: NAME`, where NAME is the scenario's.
#![allow(missing_docs, unsafe_code)]

use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use robust_test::prelude::*;
use tokio::sync::Notify;

#[robust_test(timeout = "300ms")]
fn spins() {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1)); // here: spins
    }
}

#[robust_test(timeout = "300ms")]
fn sleeps() {
    std::thread::sleep(Duration::from_secs(7701)); // here: sleeps
}

#[robust_test(timeout = "300ms")]
fn receives() {
    let (_send, receive) = std::sync::mpsc::channel::<()>();
    receive.recv().unwrap(); // here: receives
}

#[robust_test(timeout = "300ms")]
fn locks_what_another_thread_has() {
    let (one, two) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)));
    let both_have_one = Arc::new(Barrier::new(2));
    let theirs = (Arc::clone(&one), Arc::clone(&two), Arc::clone(&both_have_one));
    std::thread::Builder::new()
        .name("other".into())
        .spawn(move || {
            let _two = theirs.1.lock().unwrap();
            theirs.2.wait();
            let _one = theirs.0.lock().unwrap(); // here: the other thread
        })
        .unwrap();
    let _one = one.lock().unwrap();
    both_have_one.wait();
    let _two = two.lock().unwrap(); // here: locks_what_another_thread_has
}

async fn told(notify: &Notify) {
    notify.notified().await; // here: the inner function
}

#[robust_test(timeout = "300ms")]
async fn awaits_for_ever() {
    tokio::spawn(std::future::pending::<()>());
    let notify = Notify::new();
    told(&notify).await; // here: awaits_for_ever
}

#[robust_test(timeout = "300ms")]
async fn awaits_what_takes_no_waker() {
    tokio::task::yield_now().await;
    std::future::pending::<()>().await; // here: awaits_what_takes_no_waker
}

#[robust_test(timeout = "300ms", flavor = "multi_thread", worker_threads = 2)]
async fn joins_a_task_that_blocks() {
    let task = tokio::spawn(async {
        std::thread::sleep(Duration::from_secs(7702)); // here: the task
    });
    task.await.unwrap(); // here: joins_a_task_that_blocks
}

#[robust_test(timeout = "300ms")]
async fn sleeps_in_async_code() {
    tokio::task::yield_now().await;
    std::thread::sleep(Duration::from_secs(7703)); // here: sleeps_in_async_code
}

#[robust_test(timeout = "300ms")]
fn spins_and_blocks_signals() {
    // SAFETY: plain calls; the set is made by the first one.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&mut set);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
    loop {
        std::hint::spin_loop();
    }
}

#[robust_test(timeout = "300ms")]
fn holds_the_allocator() {
    loop {
        drop(std::hint::black_box(vec![1_u8; 64])); // here: holds_the_allocator
    }
}

robust_test::main!();
