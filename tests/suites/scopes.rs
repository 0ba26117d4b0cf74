//! Scopes that do not stop cleanly, and runs of many clients of which some go wrong. Run by `tests/scopes.rs` as a
//! child process; each case's verdict is written there.
#![allow(missing_docs)]

use std::future::pending;
use std::time::Duration;

use robust_test::prelude::*;
use robust_test::run_n::RunNError;

robust_test::main!();

// ---- Scopes ----

/// A closer that says its name.
fn says(scope: &Scope, name: &'static str) -> Result {
    scope.defer(name, move || async move { println!("closed {name}") })?;
    Ok(())
}

#[robust_test]
async fn a_scope_is_not_used(scope: Scope) {
    assert!(!scope.is_quiescing());
}

#[robust_test]
async fn tasks_that_watch_their_scope_end_with_it(scope: Scope) -> Result {
    let group = scope.limited("group", 10);
    for _ in 0..10 {
        let watched = scope.clone();
        drop(group.spawn(async move { watched.quiescing().await }).await?);
    }
    let watched = scope.clone();
    drop(scope.spawn("ticker", async move {
        while watched
            .until_quiesced(tokio::time::sleep(millis(1)))
            .await
            .is_some()
        {}
    })?);
    says(&scope, "the last")
}

#[robust_test(start_paused)]
async fn a_paused_clock_is_no_reason_to_wait(scope: Scope) -> Result {
    let watched = scope.clone();
    drop(scope.spawn("sleeper", async move {
        watched
            .until_quiesced(tokio::time::sleep(secs(1 << 30)))
            .await
            .map_or(Ok(()), |()| Err("it slept for thirty years"))
    })?);
    scope.stop().await?;
    Ok(())
}

#[robust_test]
fn a_plain_function_has_its_tasks_begin_at_its_end(scope: Scope) -> Result {
    drop(scope.spawn("task", async { println!("the task ran") })?);
    says(&scope, "closer")
}

#[robust_test]
async fn a_task_ignores_its_cancellation(scope: Scope) -> Result {
    drop(scope.spawn("stubborn", pending::<()>())?); // line of the stubborn task
    says(&scope, "what comes after it")
}

#[robust_test(flavor = "multi_thread")]
async fn a_task_blocks_its_thread(scope: Scope) -> Result {
    drop(scope.spawn("blocked", async { std::thread::sleep(Duration::from_secs(7304)) })?);
    tokio::time::sleep(millis(50)).await;
    says(&scope, "what comes after it")
}

#[robust_test]
async fn a_task_fails_and_nobody_looks(scope: Scope) -> Result {
    drop(scope.spawn("importer", async { Err::<(), _>("the file is torn") })?);
    Ok(())
}

#[robust_test]
async fn a_task_fails_long_after_its_scope_has_stopped(scope: Scope) -> Result {
    let child = scope.child("child")?;
    let kept = child.spawn("kept", async { Err::<(), _>("the file is torn") })?;
    child.stop().await?;
    drop(kept);
    Ok(())
}

#[robust_test]
async fn a_task_panics(scope: Scope) -> Result {
    let task = scope.spawn("judge", async { panic!("a task's own assertion") })?;
    let error = task.await.expect_err("it panicked");
    println!("told: {error}");
    Ok(())
}

#[robust_test]
async fn thousands_of_tasks_panic(scope: Scope) -> Result {
    for _ in 0..2000 {
        drop(scope.spawn("judge", async { panic!("one of many") })?);
    }
    Ok(())
}

#[robust_test]
async fn closers_run_after_a_panic(scope: Scope) {
    for name in ["first", "second", "third"] {
        says(&scope, name).expect("it is open");
    }
    panic!("the body's panic");
}

#[robust_test(timeout = "300ms")]
async fn closers_run_after_a_deadline(scope: Scope) {
    let watched = scope.clone();
    drop(scope.spawn("task", async move {
        watched.quiescing().await;
        println!("task cancelled");
    }));
    for name in ["first", "second"] {
        says(&scope, name).expect("it is open");
    }
    pending::<()>().await;
}

#[robust_test]
async fn closers_go_wrong_in_every_way(scope: Scope, _server: Server<Idle>) -> Result {
    says(&scope, "first")?;
    scope.defer_within(millis(50), "hanging", pending::<()>)?;
    scope.defer("panicking", || async { panic!("in a closer") })?;
    scope.defer("failing", || async { Err::<(), _>(error("no such bucket")) })?;
    scope.on_quiesce("deaf", || async { Err::<(), _>("deaf") })?;
    says(&scope, "last")
}

#[robust_test]
async fn closers_hang_for_longer_than_a_teardown_has(scope: Scope, server: Server<Idle>) -> Result {
    says(&scope, "first")?;
    for name in ["one", "two", "three"] {
        scope.defer(name, pending::<()>)?;
    }
    let running = server.clone();
    scope.defer("last", move || async move {
        println!("the server runs: {}", running.is_running());
    })?;
    Ok(())
}

#[robust_test]
async fn scopes_within_are_stopped_before_what_is_around_them(scope: Scope) -> Result {
    says(&scope, "outer")?;
    let inner = scope.child("inner")?;
    says(&inner, "inner")?;
    let innermost = inner.child("innermost")?;
    says(&innermost, "innermost")?;
    let alone = scope.child("alone")?;
    says(&alone, "alone")?;
    alone.stop().await?;
    println!("body over");
    Ok(())
}

#[robust_test]
async fn a_scope_is_stopped_before_the_servers_wherever_it_stands(
    scope: Scope,
    server: Server<Idle>,
    case: Case,
) -> Result {
    case.defer("a closer of the case", || async {
        println!("closed the case's");
        Ok(())
    });
    scope.defer("uses the server", move || async move {
        println!("the server runs: {}", server.is_running());
    })?;
    Ok(())
}

#[robust_test(timeout = "500ms")]
async fn a_stop_that_the_deadline_cuts_off_goes_on(scope: Scope) -> Result {
    says(&scope, "first")?;
    scope.defer_within(secs(3600), "endless", pending::<()>)?;
    scope.stop().await?;
    Ok(())
}

// ---- Many clients ----

/// A service whose clients know their ids alone.
struct Idle;

impl Service for Idle {
    type Client = String;
    type Settings = ();
}

#[robust_server(Idle)]
async fn embedded(node: &mut Node<Idle>) -> Result<Instance> {
    let server = node.task(|stopping| async move { stopping.requested().await });
    Ok(server.spawn().await?)
}

#[robust_client(Idle)]
async fn named(link: ClientLink) -> Result<Box<String>> {
    if link.client_id() == "deaf-client-2" {
        pending::<()>().await;
    }
    Ok(Box::new(link.client_id().to_owned()))
}

#[robust_test]
async fn many_sixteen_are_fine(_server: Server<Idle>, client: Client<Idle>) -> Result {
    let report = Client::run_n(&client, 16, async |client, part| {
        println!("{} is {}", part.name(), **client);
        Ok(part.number())
    })
    .await?;
    assert_eq!(report.into_values(), (1..=16).collect::<Vec<_>>());
    Ok(())
}

#[robust_test]
async fn many_sixty_four_meet(_server: Server<Idle>, client: Client<Idle>) -> Result {
    let all = tokio::sync::Barrier::new(64);
    Client::run_n(&client, RunN::new(64).within(secs(20)), async |_, _| {
        all.wait().await;
        Ok(())
    })
    .await?;
    Ok(())
}

#[robust_test]
async fn many_one_fails(_server: Server<Idle>, client: Client<Idle>) -> Result {
    Client::run_n(&client, 4, async |_, part| match part.number() {
        2 => Err(error("lost what it wrote")),
        _ => Ok(()),
    })
    .await?;
    Ok(())
}

#[robust_test]
async fn many_one_fails_and_the_body_does_not_mind(_server: Server<Idle>, client: Client<Idle>) {
    let ended = Client::run_n(&client, 4, async |_, part| match part.number() {
        2 => Err(error("lost what it wrote")),
        3 => Err(skip("too old")),
        _ => Ok(()),
    });
    let error = ended.await.expect_err("one failed");
    assert!(matches!(error, RunNError::Failed { .. }));
}

#[robust_test]
async fn many_one_panics(_server: Server<Idle>, client: Client<Idle>) -> Result {
    Client::run_n(&client, 4, async |_, part| {
        tokio::task::yield_now().await;
        assert_ne!(part.number(), 3, "the third is wrong");
        Ok(())
    })
    .await?;
    Ok(())
}

#[robust_test]
async fn many_one_panics_in_a_task(_server: Server<Idle>, client: Client<Idle>, scope: Scope) -> Result {
    let task = scope.spawn("run", async move {
        let ended = Client::run_n(&client, 2, async |_, part| {
            assert_ne!(part.number(), 2, "the second is wrong");
            Ok(())
        });
        ended.await.map(drop)
    })?;
    task.await??;
    Ok(())
}

#[robust_test]
async fn many_one_hangs_in_connect(_server: Server<Idle>, deaf: Client<Idle>) -> Result {
    Client::run_n(&deaf, RunN::new(4).within(millis(300)), async |_, _| Ok(())).await?;
    Ok(())
}

#[robust_test(timeout = "500ms")]
async fn many_one_hangs_until_the_deadline(_server: Server<Idle>, client: Client<Idle>) -> Result {
    Client::run_n(&client, 4, async |_, part| {
        if part.number() == 2 {
            pending::<()>().await;
        }
        Ok(())
    })
    .await?;
    Ok(())
}

#[robust_test(known_failure(because = "forgets under load"))]
async fn many_one_fails_as_known(_server: Server<Idle>, client: Client<Idle>) -> Result {
    Client::run_n(&client, 2, async |_, part| match part.number() {
        2 => Err(error("lost what it wrote")),
        _ => Ok(()),
    })
    .await?;
    Ok(())
}

#[robust_test]
fn many_parts_by_hand(case: Case) -> Result {
    for file in ["a ]]> \u{1b}", "b"] {
        case.sub_case(file)?.end(match file {
            "b" => Err(error("torn\nat byte 7")),
            _ => Ok(()),
        });
    }
    drop(case.sub_case("forgotten")?);
    Ok(())
}
