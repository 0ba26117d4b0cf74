//! Scenarios that go wrong in every way the runner must survive. Run by `tests/disasters.rs` as a child
//! process; each case's verdict is written there.
#![allow(missing_docs)]

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use robust_test::prelude::*;

#[robust_test]
async fn passes() {}

#[robust_test]
fn passes_sync() {}

#[robust_test]
fn fails_with_an_error() -> Result {
    std::fs::read("/nonexistent/config").context("reading the config")?;
    Ok(())
}

#[robust_test]
async fn panics() {
    println!("said before the panic");
    panic!("the panic's text");
}

#[robust_test]
fn aborts() {
    eprintln!("last words");
    std::process::abort();
}

#[robust_test]
fn panics_then_aborts() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::process::abort();
        }
    }
    let _bomb = Bomb;
    panic!("the reason of the abort");
}

#[robust_test]
#[allow(unsafe_code)]
fn segfaults() {
    let nowhere = std::hint::black_box(8) as *const u64;
    // SAFETY: none; this is the disaster.
    println!("{}", unsafe { nowhere.read_volatile() });
}

#[robust_test]
fn overflows_its_stack() {
    #[expect(unconditional_recursion, reason = "this is the disaster")]
    fn deeper(depth: u64) -> u64 {
        let here = std::hint::black_box(depth) + 1;
        std::hint::black_box(deeper(here)) + 1
    }
    println!("{}", deeper(0));
}

#[robust_test]
fn exits_with_zero() {
    std::process::exit(0);
}

#[robust_test(timeout = "300ms")]
fn loops_for_ever() {
    loop {
        std::hint::spin_loop();
    }
}

#[robust_test(timeout = "300ms")]
async fn never_wakes() {
    std::future::pending::<()>().await;
}

#[robust_test(timeout = "300ms")]
async fn blocks_past_its_deadline_and_returns_ok() {
    std::thread::sleep(Duration::from_millis(900));
}

#[robust_test]
fn panics_on_another_thread() {
    let _ignored = std::thread::spawn(|| panic!("on a thread")).join();
}

#[robust_test]
async fn panics_in_a_task() {
    let _ignored = tokio::spawn(async { panic!("in a task") }).await;
}

#[robust_test]
fn leaves_a_child() {
    std::mem::forget(Command::new("sleep").arg("7301").spawn().unwrap());
}

#[robust_test]
fn leaves_a_daemon() {
    Command::new("sh")
        .args(["-c", "setsid sleep 7302 >/dev/null 2>&1 </dev/null &"])
        .status()
        .unwrap();
}

#[robust_test]
fn leaves_a_thread() {
    std::thread::Builder::new()
        .name("left-thread".into())
        .spawn(|| std::thread::sleep(Duration::from_secs(7303)))
        .unwrap();
}

#[robust_test]
async fn leaves_a_task() {
    tokio::spawn(std::future::pending::<()>());
}

#[robust_test(flavor = "multi_thread", worker_threads = 2)]
async fn leaves_tasks_of_several_threads() {
    tokio::spawn(std::future::pending::<()>());
    tokio::spawn(std::future::pending::<()>());
}

#[robust_test]
async fn runs_local_tasks() {
    let local = tokio::task::LocalSet::new();
    let sum = std::rc::Rc::new(std::cell::Cell::new(0));
    let theirs = std::rc::Rc::clone(&sum);
    local
        .run_until(async move {
            for number in 1..=3 {
                let sum = std::rc::Rc::clone(&theirs);
                tokio::task::spawn_local(async move {
                    tokio::task::yield_now().await;
                    sum.set(sum.get() + number);
                })
                .await
                .unwrap();
            }
        })
        .await;
    assert_eq!(sum.get(), 6);
}

/// It goes with its set, which is the body's.
#[robust_test]
async fn leaves_a_local_task_behind() {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            tokio::task::spawn_local(std::future::pending::<()>());
            tokio::task::yield_now().await;
        })
        .await;
}

#[robust_test]
async fn aborts_a_task_and_ends() {
    tokio::spawn(std::future::pending::<()>()).abort();
}

#[robust_test(flavor = "multi_thread", worker_threads = 2)]
async fn aborts_a_task_of_several_threads_and_ends() {
    tokio::spawn(std::future::pending::<()>()).abort();
}

#[robust_test]
async fn blocks_a_helper_thread_a_little_longer() {
    tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(300)));
}

#[robust_test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_one_of_several_helper_threads_a_little_longer() {
    tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(300)));
}

#[robust_test]
fn leaves_a_socket() {
    std::mem::forget(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
}

#[robust_test]
fn has_files_of_its_own(case: Case) {
    std::fs::write(case.folder().unwrap().join("kept-if-it-fails"), "x").unwrap();
}

#[robust_test]
fn leaves_files() {
    std::fs::write(std::env::temp_dir().join("in-the-temporary-folder"), "y").unwrap();
}

#[robust_test]
fn fails_and_leaves_files(case: Case) {
    std::fs::write(case.folder().unwrap().join("evidence"), "x").unwrap();
    std::fs::write(std::env::temp_dir().join("more-evidence"), "y").unwrap();
    panic!("look at the files");
}

#[robust_test]
fn changes_the_current_directory() {
    std::env::set_current_dir("/").unwrap();
}

#[robust_test]
fn finds_the_directory_it_expects() {
    assert_ne!(std::env::current_dir().unwrap(), std::path::Path::new("/"));
}

#[robust_test(timeout = "50s")]
fn prints_100_megabytes() {
    let line = [b'x'; 1000];
    let mut out = std::io::stdout().lock();
    for _ in 0..100_000 {
        out.write_all(&line).unwrap();
    }
    out.write_all(b"\n").unwrap();
    drop(out);
    panic!("after 100 megabytes");
}

#[robust_test]
fn prints_what_xml_cannot_hold() {
    std::io::stdout()
        .write_all(b"nul \0 escape \x1b[31mred\x1b[0m invalid \xff\xfe end ]]> \xef\xbf\xbe\n")
        .unwrap();
    panic!("with ]]> and \u{1b}[31m and \0 and \u{fffe} in its message");
}

#[robust_test]
fn closes_its_own_stdout() {
    Command::new("sh").args(["-c", "exec >&- 2>&-"]).status().unwrap();
    println!("still here");
}

#[robust_test]
fn writes_after_its_verdict() {
    std::thread::Builder::new()
        .name("late-writer".into())
        .spawn(|| {
            loop {
                println!("too late");
                std::thread::sleep(Duration::from_millis(1));
            }
        })
        .unwrap();
}

#[robust_test(timeout = "300ms")]
async fn hangs_in_teardown_of_a_deadline(case: Case) {
    case.defer("a slow thing", || async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        println!("teardown was awaited");
        Ok(())
    });
    std::future::pending::<()>().await;
}

#[robust_test]
async fn panics_in_teardown(case: Case) {
    case.defer("a bad thing", || async { panic!("in teardown") });
}

#[robust_test]
async fn tears_down_in_reverse_also_after_a_panic(case: Case) {
    for step in 1..=3 {
        case.defer(format!("step {step}"), move || async move {
            println!("undone {step}");
            Ok(())
        });
    }
    panic!("before teardown");
}

#[robust_test]
async fn skips_itself() -> Result {
    Err(skip("there is no IPv6 here"))
}

#[robust_test(ignore = "too slow")]
fn is_ignored() {}

#[robust_test(should_panic = "expected text")]
fn should_panic_and_does() {
    panic!("the expected text and more");
}

#[robust_test(should_panic)]
fn should_panic_and_does_not() {}

#[robust_test(known_failure(because = "upstream issue 7"))]
fn known_failure_fails() {
    panic!("as known");
}

#[robust_test(known_failure(because = "upstream issue 9", expected = "are missing"))]
fn known_failure_fails_otherwise() {
    panic!("no connection");
}

#[robust_test(known_failure(because = "upstream issue 8"))]
fn known_failure_passes() {}

#[robust_test(known_failure(because = "upstream issue 9", expected = "are missing", intermittent = true))]
fn known_failure_passes_at_times() {}

#[robust_test(retries = 2)]
fn flaky(case: Case) {
    assert!(case.attempt() == 2, "attempt {}", case.attempt());
}

robust_test::main!();
