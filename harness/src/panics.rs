//! Panics: whose they are, and their text, from the hook.
//!
//! A panic of the code the executor is calling belongs to the phase it is in. Any other one (of a thread, or
//! of a task on the same thread) is *foreign* and fails the case whatever its body returns. What [`crate::caught`]
//! runs has panics of a third sort: they are its caller's to judge.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, PanicHookInfo};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::outcome::{Class, Problem};

/// What the executor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing of a case.
    Outside,
    /// Building parameters.
    Case,
    /// The scenario's own code.
    Body,
    /// Undoing.
    Teardown,
}

/// What the hook and the executor tell each other.
struct RunningCase {
    name: String,
    /// Its last panic, until the executor has caught it.
    own: Option<Problem>,
}

thread_local! {
    static PHASE: Cell<Phase> = const { Cell::new(Phase::Outside) };
    /// Whose panics those of this thread are now.
    static OWNER: Cell<Owner> = const { Cell::new(Owner::Nobody) };
    /// The last one of [`Owner::Catcher`], until it is taken.
    static CAUGHT: RefCell<Option<Problem>> = const { RefCell::new(None) };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Some task or thread: its panic is foreign.
    Nobody,
    /// The case: inside [`within`].
    Case,
    /// Who called [`caught`].
    Catcher,
}

static CASE: Mutex<RunningCase> = Mutex::new(RunningCase {
    name: String::new(),
    own: None,
});
static FOREIGN: Mutex<Vec<Problem>> = Mutex::new(Vec::new());
/// Foreign panics that were only counted.
static FOREIGN_MORE: AtomicU64 = AtomicU64::new(0);
/// Where the hook is, to see whether it still is the one.
static HOOK: AtomicUsize = AtomicUsize::new(0);

/// So many foreign panics of a case are told; the others are in its output.
const FOREIGN_MAX: usize = 20;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}

/// Forgets the case before; `write_name` appends the name of the one that begins, which the hook prints.
pub(crate) fn begin_case(write_name: impl FnOnce(&mut String)) {
    let mut case = lock(&CASE);
    case.own = None;
    case.name.clear();
    write_name(&mut case.name);
}

/// Sets this thread's phase and returns the one before.
pub(crate) fn set_phase(phase: Phase) -> Phase {
    PHASE.replace(phase)
}

/// Runs code whose panics are the case's own.
pub(crate) fn within<T>(work: impl FnOnce() -> T) -> T {
    with(Owner::Case, work)
}

/// Runs code whose panics are not: a runtime, which polls other tasks too.
pub(crate) fn outside<T>(work: impl FnOnce() -> T) -> T {
    with(Owner::Nobody, work)
}

/// Runs code whose panic is a value to its caller and fails no case by itself.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Problem> {
    let work = AssertUnwindSafe(|| with(Owner::Catcher, work));
    std::panic::catch_unwind(work).map_err(|payload| {
        let seen = CAUGHT.with_borrow_mut(Option::take);
        seen.unwrap_or_else(|| Problem::new(Class::Panic, message(&*payload)))
    })
}

fn with<T>(owner: Owner, work: impl FnOnce() -> T) -> T {
    struct Restore(Owner);
    impl Drop for Restore {
        fn drop(&mut self) {
            OWNER.set(self.0);
        }
    }
    let _restore = Restore(OWNER.replace(owner));
    work()
}

/// The panics since the last call that were not the case's own, oldest first.
pub(crate) fn take_foreign() -> Vec<Problem> {
    let mut foreign = lock(&FOREIGN);
    if foreign.is_empty() {
        return Vec::new();
    }
    let mut all = std::mem::take(&mut *foreign);
    drop(foreign);
    let more = FOREIGN_MORE.swap(0, Ordering::Relaxed);
    if more > 0 {
        all.push(Problem::new(
            Class::Panic,
            format!("{more} more panics outside of the body"),
        ));
    }
    all
}

/// Whether a case put another panic hook in the place of this one, which then does not see every panic.
pub(crate) fn hook_was_replaced() -> bool {
    let hook = std::panic::take_hook();
    let here = address(&*hook);
    std::panic::set_hook(hook);
    here != HOOK.load(Ordering::Relaxed)
}

fn address(hook: &(dyn Fn(&PanicHookInfo<'_>) + Send + Sync)) -> usize {
    std::ptr::from_ref(hook).cast::<()>().addr()
}

/// The panic that was just caught: as the hook saw it, else from its payload.
pub(crate) fn take_own(payload: &(dyn Any + Send)) -> Problem {
    lock(&CASE)
        .own
        .take()
        .unwrap_or_else(|| Problem::new(Class::Panic, message(payload)))
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("Box<dyn Any>")
}

/// Installs the hook. `tell` gets every panic at once, before anything unwinds: an abort may follow.
pub(crate) fn install(tell: impl Fn(&Problem) + Send + Sync + 'static) {
    let hook = Box::new(move |info: &PanicHookInfo<'_>| {
        let thread = std::thread::current();
        let owner = OWNER.get();
        let own = owner != Owner::Nobody;
        let message = info.payload_as_str().unwrap_or("Box<dyn Any>");
        let mut details = String::new();
        if let Some(location) = info.location() {
            let _infallible = write!(details, "at {location}");
        }
        let backtrace = std::backtrace::Backtrace::capture();
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            let _infallible = write!(details, "\nstack backtrace:\n{}", trimmed(&backtrace.to_string()));
        }
        let name = if own {
            lock(&CASE).name.clone()
        } else {
            thread.name().unwrap_or("<unnamed>").to_owned()
        };
        // Not `eprintln!`, which panics where stderr was closed or does not block: that would abort.
        let _closed = writeln!(
            std::io::stderr(),
            "\nthread '{name}' panicked: {message}\n{details}"
        );
        let (first, rest) = message.split_once('\n').unwrap_or((message, ""));
        let mut problem = Problem {
            class: Class::Panic,
            message: first.to_owned(),
            details: if rest.is_empty() {
                details
            } else {
                format!("{rest}\n{details}")
            },
        };
        if !own {
            problem.message = format!("a panic on thread '{name}', outside of the body: {first}");
        }
        if own {
            // Whole: `should_panic` may look for text anywhere in it.
            tell(&problem.clone().bounded());
            if owner == Owner::Case {
                lock(&CASE).own = Some(problem);
            } else {
                // Without the thread's own place for it, its payload tells enough.
                let _ending = CAUGHT.try_with(|caught| caught.replace(Some(problem)));
            }
            return;
        }
        let mut foreign = lock(&FOREIGN);
        if foreign.len() >= FOREIGN_MAX {
            FOREIGN_MORE.fetch_add(1, Ordering::Relaxed);
            return;
        }
        foreign.push(problem.bounded());
        let first = (foreign.len() == 1).then(|| foreign[0].clone());
        drop(foreign);
        if let Some(problem) = first {
            tell(&problem);
        }
    });
    HOOK.store(address(&*hook), Ordering::Relaxed);
    std::panic::set_hook(hook);
}

/// A backtrace without the frames of the panic's own machinery above and of this crate below; whole with
/// `RUST_BACKTRACE=full`.
fn trimmed(backtrace: &str) -> String {
    if std::env::var("RUST_BACKTRACE").is_ok_and(|mode| mode == "full") {
        return backtrace.to_owned();
    }
    let mut frames: Vec<Vec<&str>> = Vec::new();
    for line in backtrace.lines() {
        match frames.last_mut() {
            Some(frame) if line.trim_start().starts_with("at ") => frame.push(line),
            _ => frames.push(vec![line]),
        }
    }
    let begins = |frame: &[&str], what: &[&str]| {
        frame
            .first()
            .and_then(|line| line.split_once(": "))
            .is_some_and(|(_, name)| {
                what.iter()
                    .any(|what| name.trim_start_matches('<').starts_with(what))
            })
    };
    let machinery = [
        "core::panicking::",
        "std::panicking::",
        "core::result::unwrap_failed",
        "core::option::",
    ];
    let entry = frames
        .iter()
        .position(|frame| begins(frame, &machinery[..1]))
        .unwrap_or(0);
    let first = frames[entry..]
        .iter()
        .position(|frame| !begins(frame, &machinery))
        .map_or(0, |skip| entry + skip);
    let rest = &frames[first..];
    let own = [
        "robust_test_harness::expansion::",
        "robust_test_harness::param::",
        "robust_test_harness::executor::",
        "tokio::runtime::",
    ];
    let end = rest
        .iter()
        .position(|frame| begins(frame, &own))
        .unwrap_or(rest.len());
    let kept = if end == 0 { rest } else { &rest[..end] };
    kept.concat().join("\n")
}
