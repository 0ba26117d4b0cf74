//! Scopes: what is stopped when, what is told of what does not end, and that nothing keeps the rest from its turn.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::Fixture;
use crate::prelude::*;
use crate::scope::{Quiesced, ScopeError, StopProblem, TaskError};

/// What happened, in order.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, note: &str) {
        self.0.lock().unwrap().push(note.to_owned());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// A closer that adds this note.
    fn closer(&self, note: &'static str) -> impl FnOnce() -> std::future::Ready<()> + Send + 'static {
        let notes = self.clone();
        move || {
            notes.add(note);
            std::future::ready(())
        }
    }
}

fn scope(fixture: &Fixture) -> Scope {
    Scope::of(&fixture.case)
}

/// `src/tests/scope.rs:LINE`, where this is called `before` lines further up.
#[track_caller]
fn here(before: u32) -> String {
    let line = std::panic::Location::caller().line() - before;
    format!("src/tests/scope.rs:{line}")
}

#[tokio::test]
async fn everything_is_quiesced_before_anything_is_closed_and_closers_are_last_in_first_out() {
    let fixture = Fixture::new();
    let (scope, notes) = (scope(&fixture), Notes::default());
    fixture.case.defer("server", {
        let notes = notes.clone();
        || async move {
            notes.add("server");
            Ok(())
        }
    });
    scope.defer("first", notes.closer("first")).unwrap();
    let older = scope.child("older").unwrap();
    let newer = scope.child("newer").unwrap();
    for (scope, name) in [(&scope, "root"), (&older, "older"), (&newer, "newer")] {
        let (watched, notes_of_task) = (scope.clone(), notes.clone());
        drop(scope.spawn("watcher", async move {
            watched.quiescing().await;
            // Its end takes more than one turn.
            tokio::task::yield_now().await;
            notes_of_task.add(&format!("task of {name}"));
        }));
        let notes_of_quiescer = notes.clone();
        scope
            .on_quiesce("quiescer", move || async move {
                notes_of_quiescer.add(&format!("quiescer of {name}"));
            })
            .unwrap();
    }
    older.defer("older", notes.closer("closer of older")).unwrap();
    newer.defer("newer", notes.closer("closer of newer")).unwrap();
    scope.defer("last", notes.closer("last")).unwrap();

    assert_eq!(fixture.end().await, [""; 0]);
    let mut all = notes.all();
    let tasks: Vec<String> = all.extract_if(.., |note| note.starts_with("task of")).collect();
    assert_eq!(tasks.len(), 3);
    assert_eq!(
        all,
        [
            "quiescer of newer",
            "quiescer of older",
            "quiescer of root",
            "closer of newer",
            "closer of older",
            "last",
            "first",
            "server"
        ]
    );
    let position = |note: &str| notes.all().iter().position(|other| other == note).unwrap();
    assert!(
        tasks
            .iter()
            .all(|task| position(task) < position("closer of newer"))
    );
}

#[tokio::test]
async fn a_closer_that_fails_hangs_or_panics_keeps_no_other_from_its_turn() {
    let fixture = Fixture::new();
    let (scope, notes) = (scope(&fixture), Notes::default());
    scope.defer("first", notes.closer("first")).unwrap();
    scope
        .defer("fails", || async { Err::<(), _>(error("no such bucket")) })
        .unwrap();
    scope.defer_within(millis(30), "hangs", pending::<()>).unwrap();
    scope.defer("panics", || async { panic!("boom") }).unwrap();
    scope
        .defer("panics at once", || -> std::future::Ready<()> { panic!("bang") })
        .unwrap();
    scope
        .on_quiesce("quiescer", || async { Err::<(), _>("deaf") })
        .unwrap();
    scope.defer("last", notes.closer("last")).unwrap();
    let report = scope.stop().await.unwrap_err();
    let told: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    let [quiescer, at_once, panics, hangs, fails] = &told[..] else {
        panic!("{told:#?}")
    };
    assert_eq!(notes.all(), ["last", "first"]);
    assert!(quiescer.ends_with("failed: deaf"), "{quiescer}");
    assert!(at_once.contains("panicked: bang"), "{at_once}");
    assert!(panics.contains("panicked: boom"), "{panics}");
    assert!(
        hangs.starts_with("closer `hangs`, deferred at src/tests/scope.rs:")
            && hangs.contains("was not done within 30 ms; "),
        "{hangs}"
    );
    assert!(fails.contains("failed: no such bucket"), "{fails}");
    assert!(report.to_string().starts_with("5 problems\n"), "{report}");
}

#[tokio::test]
async fn a_task_that_goes_on_is_named_with_its_place_and_aborted() {
    struct Dropped(Notes);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.add("dropped");
        }
    }
    let fixture = Fixture::new();
    let (scope, notes) = (scope(&fixture), Notes::default());
    let load = scope.child("load").unwrap();
    let dropped = Dropped(notes.clone());
    let task = load
        .spawn("pump", async move {
            let _dropped = dropped;
            pending::<()>().await;
        })
        .unwrap();
    let place = here(5);
    scope.defer("closer", notes.closer("closer")).unwrap();
    let ended = fixture.end().await;
    let [told] = &ended[..] else { panic!("{ended:#?}") };
    assert!(
        told.starts_with(&format!("task `load/pump`, opened at {place} and open for ")),
        "{told}"
    );
    assert!(told.contains("and was aborted"), "{told}");
    assert_eq!(notes.all(), ["dropped", "closer"]);
    let aborted = task.await.unwrap_err();
    assert!(matches!(aborted, TaskError::Aborted { .. }), "{aborted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_blocks_its_thread_is_told_as_one_that_cannot_be_aborted() {
    let fixture = Fixture::new();
    let scope = scope(&fixture);
    let (end, ended) = std::sync::mpsc::channel::<()>();
    drop(scope.spawn("blocked", async move {
        let _closed = ended.recv();
    }));
    let report = scope.stop().await.unwrap_err();
    drop(end);
    let [StopProblem::TaskLeft { aborted: false, .. }] = &report.problems[..] else {
        panic!("{report:#?}")
    };
    assert!(report.to_string().contains("it blocks its thread"), "{report}");
}

#[tokio::test]
async fn an_error_of_a_task_is_told_unless_somebody_looked_at_it() {
    let fixture = Fixture::new();
    let scope = scope(&fixture);
    let fails = || async { Err::<u8, _>(error("refused")) };
    let looked_at = scope.spawn("looked at", fails()).unwrap();
    assert!(looked_at.await.unwrap().is_err());
    drop(scope.spawn("dropped at once", fails()).unwrap());
    let later = scope.spawn("dropped later", fails()).unwrap();
    while !later.is_over() {
        tokio::task::yield_now().await;
    }
    drop(later);
    let aborted = scope
        .spawn("aborted", async {
            pending::<()>().await;
            Err::<(), _>("never")
        })
        .unwrap();
    aborted.abort();
    drop(aborted);
    let waits = |scope: Scope| async move { scope.until_quiesced(pending::<()>()).await.ok_or(Quiesced) };
    drop(scope.spawn("quiesced", waits(scope.clone())).unwrap());
    let watched = scope.clone();
    drop(scope.spawn("quiesced, in an error", async move {
        waits(watched).await.context("waiting")
    }));
    drop(scope.spawn("value", async { Done(7) }).unwrap());
    let value = scope.spawn("value that is kept", fails()).unwrap();
    let report = scope.stop().await.unwrap_err();
    let told: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:#?}");
    for (told, name) in told.iter().zip(["dropped at once", "dropped later"]) {
        let begin = format!("task `{name}`, opened at src/tests/scope.rs:");
        assert!(
            told.starts_with(&begin) && told.contains(", failed: refused"),
            "{told}"
        );
    }
    assert!(value.await.unwrap().is_err());
}

#[tokio::test]
async fn a_scope_that_stops_takes_nothing_more_but_closers_until_the_last_one_ran() {
    let fixture = Fixture::new();
    let (scope, notes) = (scope(&fixture), Notes::default());
    scope.defer("first", notes.closer("first")).unwrap();
    scope
        .defer("closer", {
            let (scope, notes) = (scope.clone(), notes.clone());
            move || async move {
                scope.defer("late", notes.closer("late")).unwrap();
                let refused = scope.spawn("task", async {}).unwrap_err();
                assert_eq!(refused.to_string(), "the scope takes no `task`: it is stopping");
                assert!(scope.on_quiesce("quiescer", || async {}).is_err());
                assert!(scope.child("child").is_err());
            }
        })
        .unwrap();
    let child = scope.child("child").unwrap();
    assert!(!scope.is_quiescing() && !child.is_quiescing());
    scope.stop().await.unwrap();
    assert!(scope.is_quiescing() && child.is_quiescing());
    assert_eq!(notes.all(), ["late", "first"]);
    assert_eq!(
        scope.defer("too late", || async {}),
        Err(ScopeError::Stopping {
            what: "too late".to_owned()
        })
    );
    assert!(child.defer("too late", || async {}).is_err());
    assert_eq!(scope.until_quiesced(pending::<()>()).await, None);
    scope.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_goes_on_when_its_caller_is_dropped_and_others_wait_for_it() {
    let fixture = Fixture::new();
    let (scope, notes) = (scope(&fixture), Notes::default());
    let (open, opened) = tokio::sync::oneshot::channel::<()>();
    scope.defer("fails", || async { Err::<(), _>("no") }).unwrap();
    scope
        .defer("waits", {
            let notes = notes.clone();
            move || async move {
                notes.add("began");
                let _closed = opened.await;
                notes.add("ended");
            }
        })
        .unwrap();
    let first = tokio::time::timeout(millis(20), scope.stop());
    assert!(first.await.is_err(), "it waits for the closer");
    let (second, third) = (scope.stop(), scope.stop());
    open.send(()).unwrap();
    let (second, third) = tokio::join!(second, third);
    assert_eq!(notes.all(), ["began", "ended"]);
    assert_eq!(second, third);
    assert_eq!(second.unwrap_err().problems.len(), 1);
}

#[tokio::test]
async fn a_child_is_stopped_on_its_own_and_its_parent_goes_on() {
    let fixture = Fixture::new();
    let (scope, notes) = (scope(&fixture), Notes::default());
    let child = scope.child("child").unwrap();
    child.defer("closer", notes.closer("closer of child")).unwrap();
    let grandchild = child.child("grandchild").unwrap();
    grandchild
        .defer("fails", || async { Err::<(), _>("no") })
        .unwrap();
    let report = child.stop().await.unwrap_err();
    let told = report.to_string();
    assert!(
        told.starts_with("closer `child/grandchild/fails`, deferred at"),
        "{told}"
    );
    assert_eq!(notes.all(), ["closer of child"]);
    assert_eq!(
        scope.spawn("task", async { Done(1) }).unwrap().await.unwrap().0,
        1
    );
    // It was told to who stopped it, and is not told again.
    assert_eq!(fixture.end().await, [""; 0]);
}

#[tokio::test]
async fn a_parent_waits_for_a_child_that_somebody_else_stops() {
    let fixture = Fixture::new();
    let (scope, notes) = (scope(&fixture), Notes::default());
    scope.defer("closer", notes.closer("closer")).unwrap();
    let child = scope.child("child").unwrap();
    let (open, opened) = tokio::sync::oneshot::channel::<()>();
    child
        .defer("closer", {
            let notes = notes.clone();
            move || async move {
                let _closed = opened.await;
                notes.add("closer of child");
            }
        })
        .unwrap();
    let stop_child = tokio::spawn(async move { child.stop().await });
    let stop = tokio::spawn({
        let scope = scope.clone();
        async move { scope.stop().await }
    });
    scope.quiescing().await;
    open.send(()).unwrap();
    stop.await.unwrap().unwrap();
    stop_child.await.unwrap().unwrap();
    assert_eq!(notes.all(), ["closer of child", "closer"]);
}

#[tokio::test]
async fn the_end_of_a_case_hurries_a_stop_that_has_all_the_time_in_the_world() {
    let fixture = Fixture::new();
    let (scope, notes) = (scope(&fixture), Notes::default());
    for number in ["first", "second"] {
        scope.defer(number, notes.closer(number)).unwrap();
    }
    scope.defer_within(secs(3600), "hangs", pending::<()>).unwrap();
    drop(tokio::spawn({
        let scope = scope.clone();
        async move { scope.stop().await }
    }));
    scope.quiescing().await;
    let began = Instant::now();
    let ended = fixture.end().await;
    assert!(began.elapsed() < secs(9), "{:?}", began.elapsed());
    let [told] = &ended[..] else { panic!("{ended:#?}") };
    assert!(
        told.starts_with("closer `hangs`, ")
            && told.contains(" s, which was left for it at the end of its case"),
        "{told}"
    );
    assert_eq!(notes.all(), ["second", "first"]);
}

#[tokio::test]
async fn a_group_runs_so_many_at_a_time_and_waits_no_longer_than_its_scope() {
    let fixture = Fixture::new();
    let scope = scope(&fixture);
    let group = scope.limited("fetch", 2);
    let (open, _) = tokio::sync::broadcast::channel::<()>(1);
    let waits = || {
        let mut opened = open.subscribe();
        async move {
            let _closed = opened.recv().await;
        }
    };
    let first = group.try_spawn(waits()).unwrap();
    let second = group.spawn(waits()).await.unwrap();
    assert_eq!((first.name(), second.name()), ("fetch-1", "fetch-2"));
    let full = group.try_spawn(async {}).unwrap_err();
    assert_eq!(
        full,
        ScopeError::Full {
            group: "fetch".to_owned(),
            limit: 2
        }
    );
    let mut third = Box::pin(group.spawn(async { Done("third") }));
    assert!(tokio::time::timeout(millis(10), &mut third).await.is_err());
    open.send(()).unwrap();
    assert_eq!(third.await.unwrap().await.unwrap().0, "third");
    first.await.unwrap();
    second.await.unwrap();

    let full = [
        group.try_spawn(waits()).unwrap(),
        group.try_spawn(waits()).unwrap(),
    ];
    let waiting = async {
        let refused = group.spawn(async {}).await.unwrap_err();
        assert!(matches!(refused, ScopeError::Stopping { .. }), "{refused}");
        // What made it wait ends only now.
        open.send(()).unwrap();
    };
    let ((), stopped) = tokio::join!(waiting, scope.stop());
    stopped.unwrap();
    drop(full);
}

#[test]
#[should_panic(expected = "the group `none` is limited to 0 tasks")]
fn a_group_of_none_is_refused() {
    scope(&Fixture::new()).limited("none", 0);
}

#[test]
fn a_task_needs_a_runtime() {
    let fixture = Fixture::new();
    let refused = scope(&fixture).spawn("task", async {}).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "task `task` cannot start here: it needs the case's runtime, which this thread is not part of"
    );
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_changes_no_deadline() {
    let fixture = Fixture::new();
    let scope = scope(&fixture);
    let (ended, thread) = tokio::sync::oneshot::channel();
    // Ends by the machine's clock, long after every timer of a paused one has fired.
    let thread_ends = std::thread::spawn(move || {
        std::thread::sleep(millis(300));
        ended.send(())
    });
    scope.spawn("of the machine", thread).unwrap();
    let began = Instant::now();
    drop(scope.spawn("stubborn", pending::<()>()));
    let report = scope.stop().await.unwrap_err();
    assert!(began.elapsed() >= secs(2), "{:?}", began.elapsed());
    assert_eq!(report.problems.len(), 1, "{report}");
    thread_ends.join().unwrap().unwrap();
}

#[tokio::test]
async fn a_scope_that_is_only_dropped_cancels_and_aborts() {
    let notes = Notes::default();
    struct Dropped(Notes);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.add("dropped");
        }
    }
    let dropped = Dropped(notes.clone());
    let fixture = Fixture::new();
    let scope = scope(&fixture);
    let quiescing = scope.quiescing();
    let task = scope.spawn("task", async move {
        let _dropped = dropped;
        loop {
            tokio::time::sleep(secs(3600)).await;
        }
    });
    drop((fixture, scope));
    quiescing.await;
    assert!(task.unwrap().await.is_err());
    assert_eq!(notes.all(), ["dropped"]);
}
