//! Control groups of runs: where the kernel shows them, how those of a run are named, and their end when their worker or
//! runner was killed. It knows nothing of what a group limits or counts.
//!
//! A group is called `FOLDER.WORKER.NUMBER` after the run's temporary folder and its worker's process id, wherever it is
//! made; so it is found by its name, and told from those of runs that go on. A file in that folder says that there are any:
//! nobody looks for them otherwise.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::{mounts, process_tree, reaper};

/// The file in a run's temporary folder that says that the run has made groups.
const NOTE: &str = "groups";
/// How long the processes of a group may take to end after SIGKILL, and the group to be removable.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A tree of control groups, as it is mounted here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub at: PathBuf,
    /// Which of its groups is seen there.
    pub root: PathBuf,
    /// Whether it is the one of version 2, which has all controllers.
    pub is_unified: bool,
    /// Its controllers and other options, where it is of version 1.
    pub options: Vec<String>,
}

/// Every tree of control groups that is mounted.
pub fn hierarchies() -> Vec<Hierarchy> {
    hierarchies_of(&mounts::table())
}

/// As [`hierarchies`], of this table of mounts (`proc_pid_mountinfo(5)`).
pub fn hierarchies_of(table: &[u8]) -> Vec<Hierarchy> {
    let hierarchy = |line: mounts::Line<'_>| {
        let is_unified = line.kind == b"cgroup2";
        (is_unified || line.kind == b"cgroup").then(|| Hierarchy {
            at: line.at(),
            root: line.root(),
            is_unified,
            options: String::from_utf8_lossy(line.options)
                .split(',')
                .map(str::to_owned)
                .collect(),
        })
    };
    mounts::lines(table).filter_map(hierarchy).collect()
}

/// The name of one more group of this process, which belongs to the run with this temporary folder. The run will look for
/// it.
///
/// # Errors
/// When that cannot be noted in the folder.
pub fn claim(run_folder: &Path) -> io::Result<String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    std::fs::write(run_folder.join(NOTE), "")?;
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    Ok(format!("{}{number}", start(run_folder, Some(std::process::id()))))
}

/// What the names of the groups of a run begin with, or of one of its workers.
fn start(run_folder: &Path, worker: Option<u32>) -> String {
    let run = run_folder.file_name().unwrap_or_default().to_string_lossy();
    match worker {
        Some(worker) => format!("{run}.{worker}."),
        None => format!("{run}."),
    }
}

/// A group that its worker or runner left.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) at: PathBuf,
    /// How many processes were ended for it.
    pub(crate) ended: usize,
    /// Whether it could be removed.
    pub(crate) removed: io::Result<()>,
}

/// Ends and removes the groups of a run, or of one of its workers, if it has made any.
pub(crate) fn remove_of(run_folder: &Path, worker: Option<u32>) -> Vec<Left> {
    if !run_folder.join(NOTE).exists() {
        return Vec::new();
    }
    let start = start(run_folder, worker);
    let found = find(|name| name.as_encoded_bytes().starts_with(start.as_bytes()));
    found.into_iter().map(end).collect()
}

/// The folders in `temporary`, with names that begin with `prefix`, of runs that have made groups and were killed, reaper
/// and all.
pub(crate) fn left_by_killed_runs(temporary: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(temporary).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries
        .filter(|entry| {
            entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(prefix.as_bytes())
        })
        .filter(|entry| entry.path().join(NOTE).exists() && !reaper::waits_for(&entry.file_name()))
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    folders
}

/// The groups with such names. What is in one of them is not looked at.
fn find(is_wanted: impl Fn(&OsStr) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = hierarchies().into_iter().map(|tree| tree.at).collect();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if is_wanted(&entry.file_name()) {
                found.push(entry.path());
            } else if entry.metadata().is_ok_and(|group| group.nlink() > 2) {
                // It has groups in it.
                open.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Ends every process in a group, and removes it.
fn end(at: PathBuf) -> Left {
    let (mut ended, until) = (BTreeSet::new(), Instant::now() + END_WITHIN);
    let removed = remove(&at, &mut ended, until);
    Left {
        at,
        ended: ended.len(),
        removed,
    }
}

fn remove(group: &Path, ended: &mut BTreeSet<u32>, until: Instant) -> io::Result<()> {
    loop {
        for entry in std::fs::read_dir(group).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path(), ended, until)?;
            }
        }
        for pid in members(group)? {
            process_tree::kill(pid);
            ended.insert(pid);
        }
        match rustix::fs::rmdir(group) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Those that were killed are on their way.
            Err(Errno::BUSY) if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The ids of the processes in a group; none when there is no such group.
///
/// # Errors
/// When it cannot be read; when it has one that cannot be seen from here.
pub fn members(group: &Path) -> io::Result<Vec<u32>> {
    let list = match std::fs::read_to_string(group.join("cgroup.procs")) {
        // The second, where it is removed between opening and reading.
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::NODEV)) => {
            String::new()
        }
        other => other?,
    };
    let pids: Option<Vec<u32>> = list
        .lines()
        .map(|line| line.parse().ok().filter(|pid| *pid > 0))
        .collect();
    pids.ok_or_else(|| io::Error::other("processes of another pid namespace are in it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    #[test]
    fn trees_of_both_versions_are_told_from_other_mounts() {
        let table = b"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
            35 31 0:32 /docker/a\\040b /sys/fs/cgroup/memory ro shared:3 - cgroup cgroup rw,memory\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = hierarchies_of(table);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].root.to_str(), found[0].is_unified),
            (Some("/docker/a b"), false)
        );
        assert!(found[0].options.contains(&"memory".to_owned()));
        assert_eq!(
            (found[1].at.to_str(), found[1].is_unified),
            (Some("/sys/fs/cgroup/unified"), true)
        );
    }

    #[test]
    fn names_tell_the_run_and_the_worker_and_are_all_different() {
        let run = tempfile::tempdir().unwrap();
        let (one, other) = (claim(run.path()).unwrap(), claim(run.path()).unwrap());
        assert_ne!(one, other);
        assert!(one.starts_with(&start(run.path(), Some(std::process::id()))));
        assert!(one.starts_with(&start(run.path(), None)));
    }

    /// A group with a process; neither outlives it.
    struct Held {
        at: PathBuf,
        child: Child,
    }

    impl Held {
        fn is_gone(&mut self) -> bool {
            !self.at.exists() && self.child.wait().is_ok_and(|status| !status.success())
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            let _left = end(self.at.clone());
            let _ended = self.child.kill().and_then(|()| self.child.wait());
        }
    }

    /// A group in that of this process, in the tree of version 2 or else in the one for memory, with a process in it. It
    /// needs the right to make one.
    fn group(name: &str) -> Option<Held> {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let make = |is_unified: bool, start: &str| {
            let is_it = |tree: &Hierarchy| match is_unified {
                true => tree.is_unified,
                false => tree.options.contains(&"memory".to_owned()),
            };
            let tree = hierarchies().into_iter().find(is_it)?;
            let (_, path) = own.lines().find_map(|line| line.split_once(start))?;
            let at = tree
                .at
                .join(Path::new(path).strip_prefix(&tree.root).ok()?)
                .join(name);
            Some(std::fs::create_dir(&at).map(|()| at))
        };
        let made = make(true, "0::").or_else(|| make(false, ":memory:"));
        let made = made.unwrap_or_else(|| Err(io::Error::other("none are mounted")));
        if !crate::privilege_tests::is_allowed("make a control group", &made) {
            return None;
        }
        let at = made.unwrap();
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        std::fs::write(at.join("cgroup.procs"), child.id().to_string()).unwrap();
        Some(Held { at, child })
    }

    #[test]
    fn groups_of_a_worker_or_run_are_ended_and_those_of_others_are_not() {
        let run = tempfile::tempdir().unwrap();
        let name = claim(run.path()).unwrap();
        let Some(mut one) = group(&name) else { return };
        let mut other = group(&format!("{}1.0", start(run.path(), None))).unwrap();
        let mut nested = group(&format!("{name}/nested")).unwrap();
        assert!(remove_of(Path::new("/nowhere"), None).is_empty());
        assert!(remove_of(run.path(), Some(2)).is_empty());
        let left = remove_of(run.path(), Some(std::process::id()));
        assert_eq!(
            (left.len(), &left[0].at, left[0].ended),
            (1, &one.at, 2),
            "{left:?}"
        );
        assert!(left[0].removed.is_ok() && one.is_gone() && nested.is_gone());
        assert!(other.at.exists() && other.child.try_wait().unwrap().is_none());
        let left = remove_of(run.path(), None);
        assert_eq!((left.len(), &left[0].at), (1, &other.at));
        assert!(other.is_gone());
    }

    #[test]
    fn killed_runs_that_have_made_groups_are_found_and_those_that_go_on_are_not() {
        let home = tempfile::tempdir().unwrap();
        let [alive, dead, none, other] =
            ["robust-alive", "robust-dead", "robust-none", "other"].map(|name| {
                let folder = home.path().join(name);
                std::fs::create_dir(&folder).unwrap();
                folder
            });
        for folder in [&alive, &dead, &other] {
            claim(folder).unwrap();
        }
        let mut waiting = Command::new("sh")
            .args(["-c", "echo up; read line", "reaper"])
            .arg(&alive)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It is what it will be, not still this program.
        io::Read::read_exact(waiting.stdout.as_mut().unwrap(), &mut [0; 3]).unwrap();
        let left = || left_by_killed_runs(home.path(), "robust-");
        assert_eq!(left(), std::slice::from_ref(&dead));
        drop(waiting.stdin.take());
        waiting.wait().unwrap();
        assert_eq!(left(), [alive, dead]);
        assert!(none.exists());
    }
}
