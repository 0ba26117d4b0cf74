//! Scenarios that leave something behind, of each class, and scenarios that may. Run by `tests/leaks.rs`.
#![allow(missing_docs)]

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::Duration;

use robust_test::prelude::*;

robust_test::allow_leak!(
    threads = "of a library's",
    because = "it is started once and kept"
);
robust_test::allow_leak!(listeners = "that nobody opens", because = "this never happens");

fn forget<T>(thing: T) {
    std::mem::forget(thing);
}

fn thread(name: &str) {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(|| std::thread::sleep(Duration::from_secs(7801)))
        .unwrap();
}

#[robust_test]
async fn a_task() {
    tokio::spawn(std::future::pending::<()>());
}

#[robust_test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_many_threads() {
    tokio::spawn(std::future::pending::<()>());
    tokio::spawn(std::future::pending::<()>());
}

#[robust_test]
fn a_thread() {
    thread("left-thread");
}

#[robust_test]
fn a_child() {
    forget(Command::new("sleep").arg("7802").spawn().unwrap());
}

#[robust_test]
fn a_daemon() {
    Command::new("sh")
        .args(["-c", "setsid sleep 7803 >/dev/null 2>&1 </dev/null &"])
        .status()
        .unwrap();
}

#[robust_test]
fn a_file_that_is_open() {
    forget(std::fs::File::open("/etc/hostname").unwrap());
}

#[robust_test]
fn a_pipe() {
    let (reading, writing) = std::io::pipe().unwrap();
    drop(reading);
    forget(writing);
}

#[robust_test]
fn a_tcp_listener() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("it listens on {}", listener.local_addr().unwrap());
    forget(listener);
}

#[robust_test]
fn a_tcp_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let _far = listener.accept().unwrap();
    forget(near);
}

#[robust_test]
fn a_udp_socket() {
    forget(UdpSocket::bind("127.0.0.1:0").unwrap());
}

#[robust_test]
fn a_unix_listener(case: Case) {
    let path = case.folder().unwrap().join("socket");
    forget(UnixListener::bind(path).unwrap());
}

#[robust_test]
fn a_temporary_file() {
    std::fs::write(std::env::temp_dir().join("left-file"), "123").unwrap();
}

#[robust_test]
fn a_temporary_folder() {
    let folder = tempfile::Builder::new().prefix("left-folder-").tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "").unwrap();
    forget(folder);
}

#[robust_test(retries = 1)]
fn only_the_first_attempt_leaves_a_thread(case: Case) {
    if case.attempt() == 0 {
        thread("first-attempt");
    }
}

/// Quick ones, which are ordered ahead.
#[robust_test]
async fn one_of_many(#[values(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)] tens: u32, #[values(0, 1, 2, 3, 4)] ones: u32) {
    match (tens, ones) {
        (3, 2) => thread("left-by-3-2"),
        (5, 1) => forget(TcpListener::bind("127.0.0.1:0").unwrap()),
        (7, 4) => drop(std::fs::write(std::env::temp_dir().join("left-by-7-4"), "")),
        (8, 0) => drop(tokio::spawn(std::future::pending::<()>())),
        _ => {}
    }
}

#[robust_test(allow_leak(threads = "kept-for-a-reason", because = "the driver cannot be stopped"))]
fn allowed_thread() {
    thread("kept-for-a-reason");
}

#[robust_test(
    allow_leak(tasks, because = "background work"),
    allow_leak(processes = "sleep 7804", because = "it ends by itself"),
    allow_leak(descriptors = "/etc/hostname", because = "kept open"),
    allow_leak(listeners, because = "kept open too"),
    allow_leak(files = "cache", because = "a cache")
)]
async fn allowed_of_each_class() {
    tokio::spawn(std::future::pending::<()>());
    forget(Command::new("sleep").arg("7804").spawn().unwrap());
    forget(std::fs::File::open("/etc/hostname").unwrap());
    forget(TcpListener::bind("127.0.0.1:0").unwrap());
    std::fs::write(std::env::temp_dir().join("cache.db"), "").unwrap();
}

#[robust_test(allow_leak(threads = "kept", because = "not this one"))]
fn a_thread_of_another_name() {
    thread("left-all-the-same");
}

#[robust_test(allow_leak(files = "never", because = "no longer so"))]
fn allowed_for_nothing() {}

#[robust_test]
fn a_library_starts_a_thread_once(#[values(0, 1, 2, 3)] _round: u8) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| thread("of a library's own"));
    println!("in process {}", std::process::id());
}

/// Runs after what is above, and finds a process without it.
#[robust_test]
fn z_finds_nothing_of_others() {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names: Vec<String> = threads
        .map(|thread| std::fs::read_to_string(thread.path().join("comm")).unwrap())
        .collect();
    let others = names.iter().filter(|name| !name.starts_with("of a library"));
    assert_eq!(others.count(), 2, "{names:?}");
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let mut open = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    assert!(!open.any(|path| path == std::path::Path::new("/etc/hostname")));
    assert_eq!(std::fs::read_dir(std::env::temp_dir()).unwrap().count(), 0);
}

robust_test::main!();
