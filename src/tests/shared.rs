//! Servers between two cases, where no case has them.

use std::sync::Arc;

use robust_test_harness::stash::Stash;
use rustix::process::{Pid, Signal as Raw, WaitId, WaitIdOptions, kill_process, waitid};

use super::{Fixture, is_alive, moody};
use crate::prelude::*;
use crate::service::{Reset, StartFuture};

struct Warm;

impl Service for Warm {
    type Client = ();
    type Settings = ();
}

const RESET: Reset = |_| Box::pin(async { Ok(()) });

server_kind!(Warm, "warm", Some("sh"), start, Some(RESET));

fn start(node: &mut Node<Warm>) -> StartFuture<'_> {
    Box::pin(async {
        Ok(moody::command(node, "serves")?
            .ready_when(tcp("tcp"))
            .spawn()
            .await?)
    })
}

/// A server as a case of this run gets it, and what its teardown says. The case's folder has its log.
async fn visit(run: &std::path::Path, name: &str, stash: &Arc<Stash>) -> u32 {
    let fixture = Fixture::within(run, name, Some(Arc::clone(stash)));
    let site = robust_test_harness::expansion::Site::new(
        "broker",
        <Server<Warm> as robust_test_harness::param::Param>::shape,
    );
    let (server,) = fixture.build::<(Server<Warm>,)>(vec![site]).await.unwrap();
    let pid = server.pid().unwrap();
    assert!(run.join(name).join("broker.log").exists());
    drop(server);
    assert_eq!(fixture.end().await, [""; 0]);
    pid
}

#[tokio::test]
async fn one_that_died_meanwhile_is_replaced_and_what_is_kept_ends_with_its_worker() {
    let run = tempfile::tempdir().unwrap();
    let stash = Arc::new(Stash::default());
    let first = visit(run.path(), "first", &stash).await;
    assert_eq!(visit(run.path(), "second", &stash).await, first);

    let pid = Pid::from_raw(first.cast_signed()).unwrap();
    kill_process(pid, Raw::KILL).unwrap();
    // Seen, and left for who keeps it.
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
    let third = visit(run.path(), "third", &stash).await;
    assert_ne!(third, first);
    assert!(is_alive(third));

    let homes = || {
        let entries = std::fs::read_dir(run.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        entries
            .filter(|name| name.to_string_lossy().starts_with("shared-"))
            .count()
    };
    assert_eq!(homes(), 1, "the first one's is gone");
    drop(stash);
    assert!(!is_alive(third));
    assert_eq!(homes(), 0);
}
