//! The machine's processes, as `/proc` tells them. Signals none of them.

use std::str::SplitAsciiWhitespace;

/// A process for messages: `pid 123 (mosquitto -p 1883)`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its arguments, joined by spaces; its name when it hides them.
    pub command_line: String,
}

impl Process {
    /// The process with this id; with an empty command line when there is none.
    pub fn of(pid: u32) -> Self {
        Self {
            pid,
            command_line: command_line(pid),
        }
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pid {} ({})", self.pid, self.command_line)
    }
}

/// Where a process stands among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub pid: u32,
    /// Its parent's id.
    pub parent: u32,
    /// Its process group's id.
    pub group: u32,
    /// Whether it has ended, and nobody has taken its status.
    pub zombie: bool,
}

/// The ids of all processes, in no order.
pub fn pids() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The process with this id; `None` when there is none.
pub fn entry(pid: u32) -> Option<Entry> {
    parse_stat(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// All processes, in no order.
pub fn all() -> Vec<Entry> {
    pids().filter_map(entry).collect()
}

/// The ids of this process's children, dead or alive, in no order; `None` when that cannot be told from lists
/// of the kernel's, as without CONFIG_PROC_CHILDREN.
pub fn children() -> Option<Vec<u32>> {
    let mut all = Vec::new();
    // The thread that started a process has it in its list; an orphan is in that of any.
    for thread in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        // A thread that ended meanwhile has left its children to another one: nothing is certain then.
        let list = std::fs::read_to_string(thread.path().join("children")).ok()?;
        all.extend(
            list.split_ascii_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    Some(all)
}

/// Whether no thread of a process can run on: each is stopped by a signal or a tracer, or has ended; one that waits for a disk in
/// the kernel stops before it comes back, where it was told to. So is a process that is gone.
pub fn is_still(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    threads.into_iter().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        after_name(&stat)
            .and_then(|mut fields| fields.next())
            .is_none_or(|state| "TtZXD".contains(state))
    })
}

/// The fields of a `stat` behind the name: state, parent, group, ..
pub(crate) fn after_name(stat: &str) -> Option<SplitAsciiWhitespace<'_>> {
    // pid (name) state parent group ..; the name may hold anything, also parentheses and spaces.
    Some(stat[stat.rfind(')')? + 1..].split_ascii_whitespace())
}

fn parse_stat(pid: u32, stat: &str) -> Option<Entry> {
    let mut fields = after_name(stat)?;
    let state = fields.next()?;
    Some(Entry {
        pid,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
        zombie: matches!(state, "Z" | "X"),
    })
}

fn command_line(pid: u32) -> String {
    let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let arguments = read("cmdline");
    let text = String::from_utf8_lossy(&arguments);
    let joined = text.trim_end_matches('\0').replace('\0', " ");
    if joined.is_empty() {
        String::from_utf8_lossy(&read("comm")).trim_end().to_owned()
    } else {
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_cannot_confuse_the_parser() {
        let entry = parse_stat(7, "7 (a) Z 1 (b)) S 3 4 5 6").unwrap();
        assert_eq!((entry.parent, entry.group, entry.zombie), (3, 4, false));
    }
}
