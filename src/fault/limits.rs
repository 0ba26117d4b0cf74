//! Limits of a node's processes: how many descriptors they may have.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use robust_test_harness::error::Result;
use robust_test_harness::mechanism::{FaultKind, Mechanism};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::{Fault, Ongoing, process_of};
use crate::server::Server;
use crate::service::{BoxFuture, Service};

/// The system's limits of processes, set from outside (`prlimit(2)`).
static PRLIMIT: Mechanism = Mechanism {
    name: "prlimit",
    privilege: "none, for processes of the same user",
    probe: available,
};

/// Whether limits can be set so: tried once, by setting that of this process to what it is.
fn available() -> Result<(), String> {
    static AVAILABLE: OnceLock<Result<(), String>> = OnceLock::new();
    let set = || {
        let own = rustix::process::getpid();
        prlimit(Some(own), Resource::Nofile, getrlimit(Resource::Nofile)).map_err(|error| {
            let error = std::io::Error::from(error);
            format!(
                "the limits of a process cannot be set from outside ({error}): allow the system call prlimit64 (the seccomp \
                 profile of a container)"
            )
        })
    };
    AVAILABLE.get_or_init(|| set().map(|_before| ())).clone()
}

/// A node gets no more descriptors: opening files and accepting connections fail (`EMFILE`). Healing gives it back what it
/// had. It is proved when all of them are seen in use, but for one that may wait for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// So many more than its first process has open.
    pub spare: u64,
}

fault_kinds! {
    target: "node", mechanism: PRLIMIT,
    DESCRIPTOR_LIMIT = "descriptor-limit": "its first process gets so many descriptors more, and then none";
}

impl<S: Service> Fault<Server<S>> for DescriptorLimit {
    fn kind(&self) -> &'static FaultKind {
        &DESCRIPTOR_LIMIT
    }

    fn describe(&self) -> String {
        format!("{}, {} spare", DESCRIPTOR_LIMIT.name, self.spare)
    }

    fn begin<'a>(&'a self, server: &'a Server<S>) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        Box::pin(async move {
            let pid = process_of(&DESCRIPTOR_LIMIT, server)?;
            let most = limit(&open(pid)?, self.spare);
            // The maximum stays, so that this can be undone without privileges.
            let before = prlimit(
                Some(pid),
                Resource::Nofile,
                Rlimit {
                    current: Some(most),
                    maximum: maximum(pid)?,
                },
            )?;
            Ok(Box::new(Scarce { pid, before, most }) as Box<dyn Ongoing>)
        })
    }
}

struct Scarce {
    pid: Pid,
    before: Rlimit,
    /// Numbers from this one on are not given.
    most: u64,
}

/// The most that the process may allow itself, from the table of its limits (`proc_pid_limits(5)`).
fn maximum(pid: Pid) -> std::io::Result<Option<u64>> {
    let table = std::fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero()))?;
    let line = table.lines().find_map(|line| line.strip_prefix("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(hard.and_then(|hard| hard.parse().ok()))
}

/// The numbers of the descriptors that a process has open.
fn open(pid: Pid) -> std::io::Result<BTreeSet<u64>> {
    let entries = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()))?;
    let numbers = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(numbers.collect())
}

/// The number from which on none may be given, so that of those below so many are free.
fn limit(open: &BTreeSet<u64>, spare: u64) -> u64 {
    let mut free = (0..).filter(|number| !open.contains(number));
    let spare = usize::try_from(spare).unwrap_or(usize::MAX);
    free.nth(spare).unwrap_or(u64::MAX)
}

impl Ongoing for Scarce {
    /// All numbers below the limit are in use, but for one: a call that waits for a connection has one that the system does not
    /// show.
    fn proof(&self) -> Option<String> {
        let open = open(self.pid).ok()?;
        let used = open.range(..self.most).count() as u64;
        (used + 1 >= self.most).then(|| format!("{used} of its {} descriptors are in use", self.most))
    }

    fn heal(&mut self) -> BoxFuture<'_, Result> {
        let healed = prlimit(Some(self.pid), Resource::Nofile, self.before);
        Box::pin(std::future::ready(match healed {
            // One that ended has no limits.
            Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_below_the_limit_is_what_is_spared() {
        let open = BTreeSet::from([0, 1, 2, 4, 9]);
        assert_eq!(limit(&open, 0), 3);
        assert_eq!(limit(&open, 1), 5);
        assert_eq!(limit(&open, 5), 10);
        assert_eq!(limit(&open, 6), 11);
    }
}
