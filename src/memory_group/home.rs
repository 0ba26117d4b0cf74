//! Where this process can make control groups that count memory, and why it cannot.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use robust_test_harness::groups::{self, Hierarchy};
use rustix::io::Errno;

use super::version::Version;
use super::write;

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

/// Where a process is among the groups that count memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) version: Version,
    /// Its group.
    pub(super) own: PathBuf,
    /// Where they are mounted.
    pub(super) top: PathBuf,
}

/// From a process's groups (`/proc/PID/cgroup`) and what is mounted. Where version 1 has the controller, version 2 has not.
pub(super) fn home(groups: &str, trees: &[Hierarchy]) -> Result<Home, NoMemoryGroups> {
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

    pub(super) fn of_this_process() -> Result<Self, NoMemoryGroups> {
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

pub(super) fn make(home: &Home, name: &str) -> Result<PathBuf, NoMemoryGroups> {
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
}
