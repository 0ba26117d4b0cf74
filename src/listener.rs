//! Who listens on a port: the node's own processes, or somebody else.
//!
//! A port that accepts connections does not prove that the node is up: an orphan of an earlier run or a
//! service of the machine may hold it, and tests against those pass and fail for the wrong reasons. On
//! Linux the listening socket ([`listening`]) is looked up among the descriptors of the node's
//! processes; elsewhere nothing is known ([`Owner::Unknown`]).

use std::collections::BTreeSet;
use std::path::PathBuf;

pub use robust_test_harness::processes::Process;
use robust_test_harness::processes::{Entry, all, entry};

use crate::listening;

/// Who owns the listening sockets that answer on `127.0.0.1:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nobody listens.
    Nobody,
    /// The processes that were asked about.
    Ours,
    /// Another process.
    Other(Process),
    /// Somebody listens, and it cannot be seen who.
    Unknown,
}

/// Which processes count as the node's.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Family {
    /// This process group, and all descendants of its members.
    Group(u32),
    /// This very process: the node runs inside.
    Myself,
}

/// Who answers on `127.0.0.1:port`.
pub(crate) fn owner(port: u16, family: Family) -> Owner {
    let sockets = listening::inodes(port);
    if sockets.is_empty() {
        return if cfg!(target_os = "linux") {
            Owner::Nobody
        } else {
            Owner::Unknown
        };
    }
    // Nearly always it is the first process, which spares a look at all of them.
    let first = match family {
        Family::Myself => std::process::id(),
        Family::Group(leader) => leader,
    };
    if holds(first, &sockets) == Some(true) {
        return Owner::Ours;
    }
    let ours = match family {
        Family::Myself => BTreeSet::from([first]),
        Family::Group(group) => self::family(group),
    };
    let mut hidden = false;
    for &pid in &ours {
        match holds(pid, &sockets) {
            Some(true) => return Owner::Ours,
            Some(false) => {}
            // It changed its user, as servers do that are started as root.
            None => hidden |= is_alive(pid),
        }
    }
    if hidden {
        return Owner::Unknown;
    }
    all()
        .into_iter()
        .map(|process| process.pid)
        .filter(|pid| !ours.contains(pid))
        .find(|&pid| holds(pid, &sockets) == Some(true))
        .map_or(Owner::Unknown, |pid| Owner::Other(Process::of(pid)))
}

/// The name of the process group that has one of the sockets open: by its leader, or by another of its members.
pub(crate) fn holder<'a>(
    sockets: &BTreeSet<u64>,
    groups: impl Iterator<Item = (&'a str, u32)>,
) -> Option<&'a str> {
    let groups: Vec<(&str, u32)> = groups.collect();
    let has = |pid| holds(pid, sockets) == Some(true);
    let by_leader = groups.iter().find(|(_, leader)| has(*leader));
    let all = || {
        let all = all();
        groups
            .iter()
            .find(|(_, leader)| members(&all, *leader).into_iter().any(has))
    };
    by_leader.or_else(all).map(|(name, _)| *name)
}

/// The processes of a group that have not ended yet.
pub(crate) fn alive_in_group(group: u32) -> Vec<Process> {
    all()
        .into_iter()
        .filter(|process| process.group == group && !process.zombie)
        .map(|process| Process::of(process.pid))
        .collect()
}

/// The processes of a group, and every descendant of its members.
pub(crate) fn family(group: u32) -> BTreeSet<u32> {
    members(&all(), group)
}

/// The group and every descendant of its members.
fn members(all: &[Entry], group: u32) -> BTreeSet<u32> {
    let mut members: BTreeSet<u32> = all
        .iter()
        .filter(|process| process.group == group || process.pid == group)
        .map(|process| process.pid)
        .collect();
    loop {
        let before = members.len();
        for process in all {
            if members.contains(&process.parent) {
                members.insert(process.pid);
            }
        }
        if members.len() == before {
            return members;
        }
    }
}

/// Whether a process has one of the sockets open; `None` when its descriptors cannot be seen.
fn holds(pid: u32, sockets: &BTreeSet<u64>) -> Option<bool> {
    let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let inode = |path: PathBuf| -> Option<u64> {
        let text = path.to_str()?;
        text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    Some(
        folder
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .filter_map(inode)
            .any(|socket| sockets.contains(&socket)),
    )
}

fn is_alive(pid: u32) -> bool {
    entry(pid).is_some_and(|process| !process.zombie)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_a_group_and_its_descendants_in_other_groups() {
        let entry = |pid, parent, group| Entry {
            pid,
            parent,
            group,
            zombie: false,
        };
        // 20 left the group, 30 is its child; 40 is an orphan that stayed; 50 is foreign.
        let all = [
            entry(30, 20, 20),
            entry(20, 10, 20),
            entry(10, 1, 10),
            entry(40, 1, 10),
            entry(50, 1, 50),
        ];
        assert_eq!(members(&all, 10), BTreeSet::from([10, 20, 30, 40]));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_listener_of_this_process_is_ours_and_foreign_to_a_group() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(owner(port, Family::Myself), Owner::Ours);
        // A process that another test is just starting holds the socket too, until it executes.
        let until = |expected: &dyn Fn(Owner) -> bool, family| {
            let deadline = crate::clock::Deadline::after(crate::secs(5));
            while !expected(owner(port, family)) {
                assert!(!deadline.passed(), "still {:?}", owner(port, family));
                std::thread::yield_now();
            }
        };
        let me = |owner| matches!(owner, Owner::Other(process) if process.pid == std::process::id());
        until(&me, Family::Group(u32::MAX));
        drop(listener);
        until(&|owner| owner == Owner::Nobody, Family::Myself);
    }
}
