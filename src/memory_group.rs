//! Control groups that limit the memory of processes: where this process can make them, and by which files they work in
//! both versions of the kernel's interface (`admin-guide/cgroup-v1/memory` and `admin-guide/cgroup-v2` of its
//! documentation). What of a run is left behind is the harness's (`robust_test_harness::groups`).

mod home;
mod version;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use robust_test_harness::groups;
use robust_test_harness::mechanism::Mechanism;
use robust_test_harness::processes;
use rustix::io::Errno;

use crate::clock::{Backoff, Deadline, human};
use crate::listener::family;

pub use home::NoMemoryGroups;
pub(crate) use home::available;
use home::{Home, home, make};
pub(crate) use version::{MemoryHits, Version};

/// Control groups with the controller `memory`.
pub(crate) static CGROUP_MEMORY: Mechanism = Mechanism {
    name: "cgroup-memory",
    privilege: "root, or a delegated control group",
    probe: || available().map_err(|why| why.to_string()),
};

/// How long it may take to move a node that forks all the time, or the kernel to let go of a group.
const MOVED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_MAX: Duration = Duration::from_millis(20);

/// A group cannot be made or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GroupError {
    #[error(transparent)]
    Unavailable(#[from] NoMemoryGroups),
    #[error("the control group {} cannot be set up: {file}", group.display())]
    SetUp {
        group: PathBuf,
        file: &'static str,
        source: io::Error,
    },
    #[error("process {pid} cannot be moved into the control group {}", group.display())]
    Move {
        pid: u32,
        group: PathBuf,
        source: io::Error,
    },
    #[error(
        "it forks faster than it can be moved into a control group, for {}",
        human(MOVED_WITHIN)
    )]
    KeepsForking,
    #[error("the control group {} cannot be removed", group.display())]
    Remove { group: PathBuf, source: io::Error },
}

/// A control group of one node; removed at the latest when it is dropped.
#[derive(Debug)]
pub(crate) struct MemoryGroup {
    home: Home,
    at: PathBuf,
    /// The groups that its processes were in before. Who is born in it belongs where this process is.
    came_from: BTreeMap<u32, PathBuf>,
    is_removed: bool,
}

impl MemoryGroup {
    /// Makes one of the run with this temporary folder.
    pub(crate) fn make(run_folder: &Path) -> Result<Self, GroupError> {
        let home = Home::of_this_process()?;
        let name = groups::claim(run_folder).map_err(|source| GroupError::SetUp {
            group: home.own.clone(),
            file: "the note in the run's folder",
            source,
        })?;
        let at = make(&home, &name)?;
        Ok(Self {
            home,
            at,
            came_from: BTreeMap::new(),
            is_removed: false,
        })
    }

    pub(crate) fn version(&self) -> Version {
        self.home.version
    }

    #[cfg(test)]
    pub(crate) fn at(&self) -> &Path {
        &self.at
    }

    /// Moves every process of the group of processes with this leader into it, and their descendants; returns when none is
    /// outside. Who is born from then on is born in it.
    pub(crate) async fn take_in(&mut self, leader: u32) -> Result<(), GroupError> {
        let (mut backoff, deadline) = (Backoff::up_to(LOOK_MAX), Deadline::after(MOVED_WITHIN));
        let trees = groups::hierarchies();
        loop {
            let mut is_one_outside = false;
            for pid in family(leader) {
                // One that has ended cannot be moved.
                if processes::entry(pid).is_none_or(|process| process.zombie) {
                    continue;
                }
                let Ok(groups) = std::fs::read_to_string(format!("/proc/{pid}/cgroup")) else {
                    continue;
                };
                let now = home(&groups, &trees)?.own;
                if now != self.at {
                    is_one_outside = true;
                    self.came_from.insert(pid, now);
                    add(&self.at, pid).map_err(|source| GroupError::Move {
                        pid,
                        group: self.at.clone(),
                        source,
                    })?;
                }
            }
            // What a process forked before it was moved was there when the last look began.
            match is_one_outside {
                false => return Ok(()),
                true if deadline.passed() => return Err(GroupError::KeepsForking),
                true => tokio::time::sleep(backoff.next()).await,
            }
        }
    }

    /// From now on its processes get so many bytes more.
    pub(crate) fn limit(&self, spare: u64) -> Result<(), GroupError> {
        let failed = |file| {
            move |source| GroupError::SetUp {
                group: self.at.clone(),
                file,
                source,
            }
        };
        let file = self.home.version.usage();
        let usage = std::fs::read_to_string(self.at.join(file)).map_err(failed(file))?;
        let usage: u64 = usage
            .trim()
            .parse()
            .map_err(io::Error::other)
            .map_err(failed(file))?;
        for (file, text) in self.home.version.limit(usage.saturating_add(spare)) {
            match write(&self.at.join(file), &text) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && Version::is_optional(file) => {}
                other => other.map_err(failed(file))?,
            }
        }
        Ok(())
    }

    /// What it hit so far; `None` once it is removed.
    pub(crate) fn hits(&self) -> Option<MemoryHits> {
        let version = self.home.version;
        version.hits(|file| std::fs::read_to_string(self.at.join(file)).ok())
    }

    /// Lifts the limit, moves its processes to where they came from, and removes it.
    pub(crate) async fn remove(&mut self) -> Result<(), GroupError> {
        let (mut backoff, deadline) = (Backoff::up_to(LOOK_MAX), Deadline::after(MOVED_WITHIN));
        loop {
            match self.try_to_remove() {
                // Somebody was born in it meanwhile, or ends right now.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) && !deadline.passed() => {
                    tokio::time::sleep(backoff.next()).await;
                }
                other => {
                    return other.map_err(|source| GroupError::Remove {
                        group: self.at.clone(),
                        source,
                    });
                }
            }
        }
    }

    fn try_to_remove(&mut self) -> io::Result<()> {
        let (file, text) = self.home.version.no_limit();
        gone_is_fine(write(&self.at.join(file), text))?;
        for pid in groups::members(&self.at)? {
            let origin = self.came_from.get(&pid).filter(|origin| origin.exists());
            add(origin.unwrap_or(&self.home.own), pid)?;
        }
        gone_is_fine(std::fs::remove_dir(&self.at))?;
        self.is_removed = true;
        Ok(())
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        if !self.is_removed {
            // The runner removes at its end what is busy now.
            let _busy = self.try_to_remove();
        }
    }
}

/// Writes into a file that the kernel has to have.
fn write(file: &Path, text: &str) -> io::Result<()> {
    std::fs::File::options()
        .write(true)
        .open(file)?
        .write_all(text.as_bytes())
}

/// Puts a process into a group; one that has ended is fine.
fn add(group: &Path, pid: u32) -> io::Result<()> {
    match write(&group.join("cgroup.procs"), &pid.to_string()) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::SRCH) => Ok(()),
        other => other,
    }
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
