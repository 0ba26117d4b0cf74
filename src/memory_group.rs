//! Control groups that limit the memory of processes: where this process can make them, and by which files they work in
//! both versions of the kernel's interface (`admin-guide/cgroup-v1/memory` and `admin-guide/cgroup-v2` of its
//! documentation). What of a run is left behind is the harness's (`robust_test_harness::groups`).

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use robust_test_harness::groups::{self, Hierarchy};
use robust_test_harness::mechanism::Mechanism;
use robust_test_harness::processes;
use rustix::io::Errno;

use crate::clock::{Backoff, Deadline, human};
use crate::listener::family;

/// Control groups with the controller `memory`.
pub(crate) static CGROUP_MEMORY: Mechanism = Mechanism {
    name: "cgroup-memory",
    privilege: "root, or a delegated control group",
    probe: || available().map_err(|why| why.to_string()),
};

/// How long it may take to move a node that forks all the time, or the kernel to let go of a group.
const MOVED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_MAX: Duration = Duration::from_millis(20);

/// Why no memory can be limited on this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoMemoryGroups {
    /// The kernel has none, or they are not mounted.
    #[error(
        "no control groups with the controller `memory` are mounted: mount them at /sys/fs/cgroup, or boot with \
         `cgroup_enable=memory`"
    )]
    NoController,
    /// This process is in a group that is not to be seen.
    #[error(
        "the control group {} of this process is not among those mounted at {}: give the container its own control \
         groups (`--cgroupns=private`)", group.display(), at.display()
    )]
    Outside {
        /// As the kernel names it.
        group: PathBuf,
        /// Where groups are mounted.
        at: PathBuf,
    },
    /// Version 2 has no group in which children get the controller.
    #[error(
        "no control group above {} passes the controller `memory` on: write `+memory` into the `cgroup.subtree_control` of \
         one that has no processes of its own", .0.display()
    )]
    NotPassedOn(PathBuf),
    /// This user may not make one.
    #[error(
        "this user may not make control groups in {}: run as root, or in a group of the user's own (`systemd-run --user \
         --scope`)", .0.display()
    )]
    NotMade(PathBuf),
    /// They cannot be changed.
    #[error(
        "control groups are mounted read-only at {}: give the container writable ones, or run it with `--privileged`",
        .0.display()
    )]
    ReadOnly(PathBuf),
    /// The system said something else.
    #[error("no control group that limits memory can be made in {}: {said}", at.display())]
    Other {
        /// Where.
        at: PathBuf,
        /// What the system said.
        said: String,
    },
}

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

/// The versions of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

impl Version {
    /// What to write into which files for a limit, in this order. The kernel is not to put anonymous memory aside, where there
    /// is swap, and has to kill whom it can give nothing more.
    fn limit(self, bytes: u64) -> [(&'static str, String); 3] {
        match self {
            // Of `memory.memsw.limit_in_bytes`, which not every kernel has, it does not count what it hit.
            Self::One => [
                ("memory.swappiness", "0".to_owned()),
                ("memory.oom_control", "0".to_owned()),
                ("memory.limit_in_bytes", bytes.to_string()),
            ],
            Self::Two => [
                ("memory.swap.max", "0".to_owned()),
                ("memory.oom.group", "0".to_owned()),
                ("memory.max", bytes.to_string()),
            ],
        }
    }

    /// Files that not every kernel has: without swap, or before 4.19.
    fn is_optional(file: &str) -> bool {
        matches!(file, "memory.swap.max" | "memory.oom.group" | "memory.swappiness")
    }

    fn no_limit(self) -> (&'static str, &'static str) {
        match self {
            Self::One => ("memory.limit_in_bytes", "-1"),
            Self::Two => ("memory.max", "max"),
        }
    }

    /// The file with what the group has now, in bytes.
    fn usage(self) -> &'static str {
        match self {
            Self::One => "memory.usage_in_bytes",
            Self::Two => "memory.current",
        }
    }

    /// What a group has hit, of the contents of its files.
    fn hits(self, read: impl Fn(&str) -> Option<String>) -> Option<MemoryHits> {
        let (limited, told) = match self {
            Self::One => (
                read("memory.failcnt")?.trim().parse().ok()?,
                read("memory.oom_control")?,
            ),
            Self::Two => {
                let told = read("memory.events")?;
                (value(&told, "max")?, told)
            }
        };
        Some(MemoryHits {
            limited,
            // Not before Linux 4.13.
            killed: value(&told, "oom_kill").unwrap_or(0),
        })
    }
}

/// The number after a word in a file with one of both a line.
fn value(text: &str, word: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == word)?.1.trim().parse().ok()
}

/// What the kernel counted in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryHits {
    /// So often its processes would have had more than the limit, and something was reclaimed before they went on.
    pub(crate) limited: u64,
    /// So many were killed, because there was nothing to reclaim.
    pub(crate) killed: u64,
}

/// Where a process is among the groups that count memory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Home {
    version: Version,
    /// Its group.
    own: PathBuf,
    /// Where they are mounted.
    top: PathBuf,
}

/// From a process's groups (`/proc/PID/cgroup`) and what is mounted. Where version 1 has the controller, version 2 has not.
fn home(groups: &str, trees: &[Hierarchy]) -> Result<Home, NoMemoryGroups> {
    // NUMBER:CONTROLLER,..:GROUP, without controllers that of version 2.
    let lines = || {
        groups.lines().filter_map(|line| {
            let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
            Some((controllers, Path::new(group)))
        })
    };
    let is_memory = |word: &str| word == "memory";
    let one = lines().find(|(controllers, _)| controllers.split(',').any(is_memory));
    let (version, group) = match one {
        Some((_, group)) => (Version::One, group),
        None => {
            let two = lines().find(|(controllers, _)| controllers.is_empty());
            (Version::Two, two.ok_or(NoMemoryGroups::NoController)?.1)
        }
    };
    let mut mounted = trees.iter().filter(|tree| match version {
        Version::One => !tree.is_unified && tree.options.iter().any(|word| is_memory(word)),
        Version::Two => tree.is_unified,
    });
    let first = mounted.clone().next().ok_or(NoMemoryGroups::NoController)?;
    let seen = mounted.find_map(|tree| {
        // One beyond the root of its namespace begins with `/..`.
        let within = group
            .strip_prefix(&tree.root)
            .ok()
            .filter(|path| !path.starts_with(".."))?;
        Some((tree.at.join(within), tree.at.clone()))
    });
    match seen {
        Some((own, top)) => Ok(Home { version, own, top }),
        None => Err(NoMemoryGroups::Outside {
            group: group.to_owned(),
            at: first.at.clone(),
        }),
    }
}

impl Home {
    /// The group to make others in: the process's own, so that what limits that one limits these too. In version 2 that is one
    /// above it, since groups that have processes cannot pass controllers on.
    fn parent(&self, passes_on: impl Fn(&Path) -> bool) -> Result<&Path, NoMemoryGroups> {
        match self.version {
            Version::One => Ok(&self.own),
            Version::Two => {
                let mut groups = self
                    .own
                    .ancestors()
                    .take_while(|group| group.starts_with(&self.top));
                groups
                    .find(|group| passes_on(group))
                    .ok_or_else(|| NoMemoryGroups::NotPassedOn(self.own.clone()))
            }
        }
    }

    fn of_this_process() -> Result<Self, NoMemoryGroups> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        home(&groups, &groups::hierarchies())
    }
}

/// Whether the children of a group of version 2 have the controller.
fn passes_memory_on(group: &Path) -> bool {
    let passed = std::fs::read_to_string(group.join("cgroup.subtree_control")).unwrap_or_default();
    passed.split_whitespace().any(|controller| controller == "memory")
}

pub(crate) fn available() -> Result<(), NoMemoryGroups> {
    static AVAILABLE: OnceLock<Result<(), NoMemoryGroups>> = OnceLock::new();
    AVAILABLE.get_or_init(probe).clone()
}

/// Makes a group with a limit, and removes it.
fn probe() -> Result<(), NoMemoryGroups> {
    let home = Home::of_this_process()?;
    let name = format!("robust-probe-{}", std::process::id());
    let at = make(&home, &name)?;
    let (file, text) = home.version.no_limit();
    let limited = write(&at.join(file), text);
    let removed = std::fs::remove_dir(&at);
    limited.and(removed).map_err(|error| NoMemoryGroups::Other {
        at,
        said: error.to_string(),
    })
}

fn make(home: &Home, name: &str) -> Result<PathBuf, NoMemoryGroups> {
    let parent = home.parent(passes_memory_on)?;
    let at = parent.join(name);
    match std::fs::create_dir(&at) {
        Ok(()) => Ok(at),
        Err(error) => Err(match Errno::from_io_error(&error) {
            Some(Errno::ACCESS | Errno::PERM) => NoMemoryGroups::NotMade(parent.to_owned()),
            Some(Errno::ROFS) => NoMemoryGroups::ReadOnly(home.top.clone()),
            _ => NoMemoryGroups::Other {
                at: parent.to_owned(),
                said: error.to_string(),
            },
        }),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTED: &str = "\
        30 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        35 30 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        36 30 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
        41 30 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    fn home_of(groups: &str, mounted: &str) -> Result<Home, NoMemoryGroups> {
        home(groups, &groups::hierarchies_of(mounted.as_bytes()))
    }

    fn at(version: Version, own: &str, top: &str) -> Home {
        Home {
            version,
            own: own.into(),
            top: top.into(),
        }
    }

    #[test]
    fn the_group_of_a_process_is_found_where_it_is_mounted() {
        let one = "9:name=systemd:/\n8:pids:/\n4:memory:/docker/abc/x y\n0::/\n";
        let found = at(Version::One, "/sys/fs/cgroup/memory/x y", "/sys/fs/cgroup/memory");
        assert_eq!(home_of(one, MOUNTED), Ok(found));
        let only_two = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = at(
            Version::Two,
            "/sys/fs/cgroup/user.slice/a:b.scope",
            "/sys/fs/cgroup",
        );
        assert_eq!(home_of("0::/user.slice/a:b.scope\n", only_two), Ok(found));
        // With others in one tree.
        let together = "35 30 0:32 / /cg rw - cgroup cgroup rw,cpuset,memory\n";
        let found = at(Version::One, "/cg/a", "/cg");
        assert_eq!(home_of("4:cpuset,memory:/a\n", together), Ok(found));
    }

    #[test]
    fn where_there_is_none_it_is_told_why() {
        let none = Err(NoMemoryGroups::NoController);
        assert_eq!(home_of("8:pids:/\n", MOUNTED), none);
        assert_eq!(home_of("", MOUNTED), none);
        assert_eq!(home_of("4:memory:/a\n", ""), none);
        let outside = |group: &str, at: &str| {
            Err(NoMemoryGroups::Outside {
                group: group.into(),
                at: at.into(),
            })
        };
        assert_eq!(
            home_of("4:memory:/other\n", MOUNTED),
            outside("/other", "/sys/fs/cgroup/memory")
        );
        assert_eq!(
            home_of("0::/../other\n", MOUNTED),
            outside("/../other", "/sys/fs/cgroup/unified")
        );
    }

    #[test]
    fn in_version_2_groups_are_made_in_the_nearest_one_that_passes_the_controller_on() {
        let home = at(Version::Two, "/cg/user/app/own", "/cg");
        let passing =
            |those: &'static [&str]| move |group: &Path| those.iter().any(|one| group == Path::new(one));
        let parent = home.parent(passing(&["/", "/cg", "/cg/user/app"]));
        assert_eq!(parent, Ok(Path::new("/cg/user/app")));
        // Not above what is mounted.
        let none = home.parent(passing(&["/"]));
        assert_eq!(none, Err(NoMemoryGroups::NotPassedOn("/cg/user/app/own".into())));
        let one = at(Version::One, "/cg/own", "/cg");
        assert_eq!(one.parent(|_| false), Ok(Path::new("/cg/own")));
    }

    #[test]
    fn what_was_hit_is_read_from_the_files_of_both_versions() {
        let read = |files: &'static [(&str, &str)]| {
            move |name: &str| {
                let file = files.iter().find(|(file, _)| *file == name);
                file.map(|(_, text)| (*text).to_owned())
            }
        };
        let one: &[_] = &[
            ("memory.failcnt", "12\n"),
            (
                "memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            ),
        ];
        let hits = |limited, killed| Some(MemoryHits { limited, killed });
        assert_eq!(Version::One.hits(read(one)), hits(12, 2));
        let old: &[_] = &[("memory.failcnt", "1\n"), ("memory.oom_control", "under_oom 0\n")];
        assert_eq!(Version::One.hits(read(old)), hits(1, 0));
        let two: &[_] = &[(
            "memory.events",
            "low 0\nhigh 7\nmax 34\noom 3\noom_kill 1\noom_group_kill 0\n",
        )];
        assert_eq!(Version::Two.hits(read(two)), hits(34, 1));
        assert_eq!(Version::Two.hits(read(one)), None);
    }

    #[test]
    fn a_limit_is_written_last_into_the_files_of_its_version() {
        let names = |version: Version| version.limit(4096).map(|(file, _)| file);
        assert_eq!(
            names(Version::One),
            ["memory.swappiness", "memory.oom_control", "memory.limit_in_bytes"]
        );
        assert_eq!(
            names(Version::Two),
            ["memory.swap.max", "memory.oom.group", "memory.max"]
        );
        for version in [Version::One, Version::Two] {
            let [.., (file, text)] = version.limit(4096);
            assert_eq!((text.as_str(), file), ("4096", version.no_limit().0));
            assert!(!Version::is_optional(file));
        }
    }
}
