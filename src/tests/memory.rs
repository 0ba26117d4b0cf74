//! Control groups of real processes that limit their memory. Where they cannot be made these tests are skipped, and say so;
//! with `ROBUST_REQUIRE=all` they fail.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use robust_test_harness::processes;

use crate::fault::MemoryLimit;
use crate::listener::family;
use crate::memory_group::MemoryGroup;

/// A shell in a process group of its own, ended with all it started.
struct Shell(Child);

impl Shell {
    fn run(script: &str) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).process_group(0);
        Self(shell.stdin(Stdio::piped()).spawn().unwrap())
    }

    fn leader(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let leader = rustix::process::Pid::from_child(&self.0);
        let _ended = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        let _status = self.0.wait();
    }
}

/// The control groups of a process.
fn groups(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default()
}

/// Whether one of a family lives in these control groups. One that is just ending seems to be in the root of all.
fn is_one_in(leader: u32, these: &str) -> bool {
    let lives = |pid: u32| processes::entry(pid).is_some_and(|process| !process.zombie);
    let is_in = |pid: u32| groups(pid) == these && lives(pid);
    family(leader).into_iter().any(|pid| {
        (0..3).all(|_| {
            std::thread::yield_now();
            is_in(pid)
        })
    })
}

#[tokio::test]
async fn one_that_forks_all_the_time_is_moved_whole_and_back() {
    if !super::is_allowed(MemoryLimit::available()) {
        return;
    }
    let run = tempfile::tempdir().unwrap();
    let shell = Shell::run("while :; do sh -c 'sleep 0.002; true' & sh -c 'sleep 0.003; true' & wait; done");
    let leader = shell.leader();
    let before = groups(leader);
    for _ in 0..3 {
        let mut group = MemoryGroup::make(run.path()).unwrap();
        group.take_in(leader).await.unwrap();
        let own = groups(leader);
        assert_ne!(own, before);
        group.limit(64 << 20).unwrap();
        for _ in 0..10 {
            assert!(!is_one_in(leader, &before));
        }
        assert_eq!(group.hits().unwrap().killed, 0);
        group.remove().await.unwrap();
        assert_eq!(group.hits(), None);
        for _ in 0..10 {
            assert!(!is_one_in(leader, &own));
        }
    }
}

#[tokio::test]
async fn one_that_is_dropped_leaves_its_processes_where_they_were_and_no_group() {
    if !super::is_allowed(MemoryLimit::available()) {
        return;
    }
    let run = tempfile::tempdir().unwrap();
    let shell = Shell::run("read line");
    let before = groups(shell.leader());
    let mut group = MemoryGroup::make(run.path()).unwrap();
    group.take_in(shell.leader()).await.unwrap();
    group.limit(0).unwrap();
    let at = group.at().to_owned();
    assert!(at.exists());
    assert_ne!(groups(shell.leader()), before);
    drop(group);
    assert_eq!(groups(shell.leader()), before);
    assert!(!at.exists());
}
