//! The processes of a run: who descends from whom, who carries the run's marker, and their end.
//!
//! Everything is read from `/proc`. A process is only ever signalled when it descends from the caller or
//! carries the run's marker in its environment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::processes::{self, Process};

/// The environment variable every process of a run carries.
pub(crate) const MARKER: &str = "ROBUST_RUN_ID";

/// How much of a command line messages show.
const COMMAND_CHARS_MAX: usize = 200;

fn told(pid: u32) -> Process {
    let mut process = Process::of(pid);
    process.command_line = process.command_line.chars().take(COMMAND_CHARS_MAX).collect();
    process
}

/// Every process that descends from `root`, without it, parents first; zombies are left out.
pub(crate) fn descendants(root: u32, skip: &BTreeSet<u32>) -> Vec<Process> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for process in processes::all().into_iter().filter(|process| !process.zombie) {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let (mut found, mut open) = (Vec::new(), vec![root]);
    while let Some(parent) = open.pop() {
        for &pid in children.get(&parent).map_or(&[][..], Vec::as_slice) {
            if !skip.contains(&pid) {
                found.push(told(pid));
                open.push(pid);
            }
        }
    }
    found
}

/// Every process whose environment says that it belongs to the run `run_id`, without the caller.
pub(crate) fn marked(run_id: &str) -> Vec<Process> {
    let needle = format!("{MARKER}={run_id}");
    let own = std::process::id();
    processes::pids()
        .filter(|&pid| pid != own)
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment
                    .split(|&byte| byte == 0)
                    .any(|entry| entry == needle.as_bytes())
            })
        })
        .map(told)
        .collect()
}

/// Ends every descendant of the calling process but `skip`, and reaps what was its own child. Processes that
/// appear meanwhile are ended too, for at most a second.
pub(crate) fn end_descendants(skip: &BTreeSet<u32>) {
    if !has_children() {
        return;
    }
    let mut ended = BTreeSet::new();
    let until = Instant::now() + Duration::from_secs(1);
    loop {
        let alive = descendants(std::process::id(), skip);
        for process in &alive {
            kill(process.pid);
            ended.insert(process.pid);
        }
        for &pid in &ended {
            reap(pid);
        }
        if alive.is_empty() || Instant::now() > until {
            return;
        }
        std::thread::yield_now();
    }
}

/// Sends SIGKILL; a process that is gone is fine.
pub(crate) fn kill(pid: u32) {
    if let Some(pid) = as_pid(pid) {
        let _gone = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// Sends SIGKILL to a process group; one that is gone is fine.
pub(crate) fn kill_group(leader: u32) {
    if let Some(pid) = as_pid(leader) {
        let _gone = rustix::process::kill_process_group(pid, Signal::KILL);
    }
}

/// Whether the calling process has any child, dead or alive, without scanning `/proc`.
pub(crate) fn has_children() -> bool {
    crate::surface::has_children()
}

/// Whether the calling process has any child, dead or alive, that is in none of the process groups `kept`.
pub(crate) fn has_children_beside(kept: &BTreeSet<u32>) -> bool {
    has_children() && (kept.is_empty() || !children(kept, false).is_empty())
}

/// The children of the calling process, dead or alive, that are in one of the process groups `kept`; those are skipped
/// where its other descendants are looked for.
pub(crate) fn kept_children(kept: &BTreeSet<u32>) -> BTreeSet<u32> {
    match kept.is_empty() {
        true => BTreeSet::new(),
        false => children(kept, true),
    }
}

/// The children of the calling process, dead or alive, in one of these process groups or (not `inside`) in none.
fn children(groups: &BTreeSet<u32>, inside: bool) -> BTreeSet<u32> {
    let own = std::process::id();
    let all = match processes::children() {
        Some(children) => children.into_iter().filter_map(processes::entry).collect(),
        None => processes::all(),
    };
    all.into_iter()
        .filter(|process| process.parent == own && groups.contains(&process.group) == inside)
        .map(|process| process.pid)
        .collect()
}

/// Takes the status of a dead child that nobody waits for; anything else is left alone.
pub(crate) fn reap(pid: u32) {
    if let Some(pid) = as_pid(pid) {
        let _not_ours =
            rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

/// Takes the status of every dead child that is in none of the process groups `kept`. Only for a process that waits for
/// none of those children itself.
pub(crate) fn reap_all(kept: &BTreeSet<u32>) {
    if !kept.is_empty() {
        children(kept, false).into_iter().for_each(reap);
        return;
    }
    while let Ok(Some(_)) =
        rustix::process::waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    {}
}

pub(crate) fn as_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn descendants_and_marked_processes_are_found() {
        let mut child = Command::new("sh")
            .args(["-c", "sh -c 'echo up; exec sleep 60'; true"])
            .env(MARKER, "a-test-of-descendants")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut up = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).unwrap();
        // The inner shell has written and is about to become `sleep`.
        let below = loop {
            let below = descendants(std::process::id(), &BTreeSet::new());
            if below.iter().any(|process| process.command_line == "sleep 60") {
                break below;
            }
        };
        assert!(below.iter().any(|process| process.pid == child.id()));
        let marked: Vec<_> = marked("a-test-of-descendants");
        assert_eq!(marked.len(), 2, "{marked:?}");
        for process in &marked {
            kill(process.pid);
        }
        child.wait().unwrap();
    }
}
