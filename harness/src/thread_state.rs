//! What the system knows of a process's threads: what each does or waits for in the kernel. Read from `/proc`, as
//! far as this user may.

use crate::processes;

/// What a thread does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ThreadState {
    pub(crate) id: u32,
    pub(crate) name: String,
    /// `sleeping`, `running`, ..
    pub(crate) state: String,
    /// The function of the kernel it waits in, where that can be had.
    pub(crate) waits_in: Option<String>,
    /// The system call it is in, by name or number.
    pub(crate) call: Option<String>,
    /// Where in the kernel it is, innermost first; empty where it cannot be had.
    pub(crate) kernel: Vec<String>,
}

impl std::fmt::Display for ThreadState {
    /// ``thread 7 `case`: sleeping in futex_wait_queue (system call futex)``
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "thread {} `{}`: {}", self.id, self.name, self.state)?;
        if let Some(place) = &self.waits_in {
            write!(f, " in {place}")?;
        }
        if let Some(call) = &self.call {
            write!(f, " (system call {call})")?;
        }
        Ok(())
    }
}

/// The threads of a process, by id; empty when it is gone. Kernel stacks only where `with_stacks`.
pub(crate) fn threads_of(process: u32, with_stacks: bool) -> Vec<ThreadState> {
    let folder = format!("/proc/{process}/task");
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut ids: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    ids.sort_unstable();
    let read = |id: u32| {
        let read = |file: &str| std::fs::read_to_string(format!("{folder}/{id}/{file}")).ok();
        let stat = read("stat")?;
        let stack = if with_stacks { read("stack") } else { None };
        Some(ThreadState {
            id,
            name: read("comm").unwrap_or_default().trim_end().to_owned(),
            state: state(&stat).to_owned(),
            waits_in: read("wchan").filter(|place| !place.is_empty() && place != "0"),
            call: read("syscall").as_deref().and_then(call),
            kernel: stack.as_deref().map(kernel).unwrap_or_default(),
        })
    };
    ids.into_iter().filter_map(read).collect()
}

fn state(stat: &str) -> &'static str {
    let state = processes::after_name(stat).and_then(|mut fields| fields.next());
    match state.and_then(|state| state.chars().next()) {
        Some('R') => "running",
        Some('S') => "sleeping",
        Some('D') => "sleeping, and not to be woken",
        Some('T' | 't') => "stopped",
        Some('Z' | 'X') => "ended",
        Some('I') => "idle",
        _ => "in an unknown state",
    }
}

/// The first word of `syscall`, which is `running` or a number.
fn call(text: &str) -> Option<String> {
    let number: i64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    let known = [
        (libc::SYS_futex, "futex"),
        (libc::SYS_clock_nanosleep, "clock_nanosleep"),
        (libc::SYS_epoll_pwait, "epoll_pwait"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_epoll_wait, "epoll_wait"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_poll, "poll"),
        (libc::SYS_ppoll, "ppoll"),
        (libc::SYS_read, "read"),
        (libc::SYS_write, "write"),
        (libc::SYS_recvfrom, "recvfrom"),
        (libc::SYS_recvmsg, "recvmsg"),
        (libc::SYS_sendto, "sendto"),
        (libc::SYS_accept, "accept"),
        (libc::SYS_accept4, "accept4"),
        (libc::SYS_connect, "connect"),
        (libc::SYS_wait4, "wait4"),
        (libc::SYS_waitid, "waitid"),
        (libc::SYS_flock, "flock"),
        (libc::SYS_fsync, "fsync"),
        (libc::SYS_fdatasync, "fdatasync"),
    ];
    let name = known
        .iter()
        .find(|(known, _)| i128::from(*known) == i128::from(number));
    (number >= 0).then(|| name.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned()))
}

/// `[<0>] function+0x1/0x2` a line.
fn kernel(stack: &str) -> Vec<String> {
    let name = |line: &str| {
        let function = line.split_ascii_whitespace().nth(1)?;
        Some(function.split('+').next()?.to_owned())
    };
    stack.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_waits_is_told_with_what_it_waits_in() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("waits a while".to_owned())
            .spawn(move || ended.recv().unwrap_err())
            .unwrap();
        let found = loop {
            let all = threads_of(std::process::id(), true);
            let found = all.into_iter().find(|thread| thread.name == "waits a while");
            if let Some(found) = found.filter(|found| found.state == "sleeping") {
                break found;
            }
            std::thread::yield_now();
        };
        // The rest depends on what this user may see.
        assert!(found.call.is_none_or(|call| call == "futex"));
        drop(end);
        thread.join().unwrap();
        assert_eq!(threads_of(u32::MAX, true), []);
    }

    #[test]
    fn the_texts_of_the_system_are_read() {
        assert_eq!(state("7 (a) R (b)) D 1 2"), "sleeping, and not to be woken");
        assert_eq!(state(""), "in an unknown state");
        assert_eq!(call("running"), None);
        assert_eq!(call("-1 0x0"), None);
        assert_eq!(call("99999 0x0"), Some("99999".to_owned()));
        assert_eq!(
            call(&format!("{} 0x0", libc::SYS_futex)),
            Some("futex".to_owned())
        );
        assert_eq!(kernel("[<0>] a+0x1/0x2\n[<0>] b.c+0x3/0x4\n"), ["a", "b.c"]);
    }
}
