//! Who listens on a port: the node's own processes, or somebody else.
//!
//! A port that accepts connections does not prove that the node is up: an orphan of an earlier run or a
//! service of the machine may hold it, and tests against those pass and fail for the wrong reasons. On
//! Linux the listening socket is looked up in `/proc/net/tcp` and among the descriptors of the node's
//! processes; elsewhere nothing is known ([`Owner::Unknown`]).

use std::collections::BTreeSet;
use std::path::PathBuf;

pub use robust_test_harness::processes::Process;
use robust_test_harness::processes::{Entry, all, entry};

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
    let sockets = listening(port);
    if sockets.is_empty() {
        return if cfg!(target_os = "linux") {
            Owner::Nobody
        } else {
            Owner::Unknown
        };
    }
    let ours = match family {
        Family::Myself => BTreeSet::from([std::process::id()]),
        Family::Group(group) => members(&all(), group),
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

/// The processes of a group that have not ended yet.
pub(crate) fn alive_in_group(group: u32) -> Vec<Process> {
    all()
        .into_iter()
        .filter(|process| process.group == group && !process.zombie)
        .map(|process| Process::of(process.pid))
        .collect()
}

/// The inodes of the sockets that listen on `port` and answer `127.0.0.1`.
fn listening(port: u16) -> BTreeSet<u64> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .flat_map(|table| parse_listening(&table, port))
        .collect()
}

fn parse_listening(table: &str, port: u16) -> Vec<u64> {
    /// TCP_LISTEN.
    const LISTEN: &str = "0A";
    let port = format!("{port:04X}");
    let lines = table.lines().skip(1).filter_map(|line| {
        // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ..
        let mut fields = line.split_ascii_whitespace();
        let (address, local_port) = fields.nth(1)?.split_once(':')?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?.parse().ok()?;
        (state == LISTEN && local_port == port && answers_loopback(address)).then_some(inode)
    });
    lines.collect()
}

/// Whether a socket bound to this address, in the kernel's notation, answers 127.0.0.1. The kernel prints
/// each 32-bit word of the address in the machine's byte order.
fn answers_loopback(address: &str) -> bool {
    let any = address.bytes().all(|digit| digit == b'0');
    let loopback = format!("{:08X}", u32::from_ne_bytes([127, 0, 0, 1]));
    let mapped = format!(
        "0000000000000000{:08X}{loopback}",
        u32::from_ne_bytes([0, 0, 255, 255])
    );
    any || address == loopback || address == mapped
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
    fn only_listeners_that_answer_loopback_count() {
        let table =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 x
   1: 00000000:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 x
   2: 0100007F:075B 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 13 1 x
   3: 0100007F:075C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 14 1 x
   4: 0500000A:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 15 1 x
";
        assert_eq!(parse_listening(table, 1883), [11, 12]);
        assert!(answers_loopback("00000000000000000000000000000000"));
        assert!(answers_loopback("0000000000000000FFFF00000100007F"));
        assert!(!answers_loopback("00000000000000000000000001000000"), "::1");
    }

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
