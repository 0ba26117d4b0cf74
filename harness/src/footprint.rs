//! What a worker looks like from outside, so that a case that changed it is noticed.
//!
//! Looking costs a handful of system calls where nothing changed; only a difference is looked into.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use crate::leak::{Leak, LeakClass};
use crate::sockets::Sockets;
use crate::stash::Holdings;
use crate::surface::{Alone, Surface, Texts, size_and_links, umask};
use rustix::fs::{Mode, OFlags};

/// The state of this process that a case must leave as it found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// How many descriptors are open.
    descriptors: u64,
    /// How many threads there are.
    threads: u64,
    umask: u32,
    texts: Texts,
    surface: Surface,
}

/// Looks at this process. It keeps two folders of `/proc` open, which spares finding them each time.
#[derive(Debug)]
pub(crate) struct Observer {
    descriptors: Option<OwnedFd>,
    threads: Option<OwnedFd>,
}

/// The same with names, for telling what is new.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inventory {
    /// Descriptor and what it is: a path, `socket:[inode]`, `anon_inode:[eventpoll]`.
    descriptors: BTreeMap<u32, String>,
    /// Thread id and name.
    threads: BTreeMap<u32, String>,
}

impl Observer {
    pub(crate) fn new() -> Self {
        let folder = |path: &str| {
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).ok()
        };
        Self {
            descriptors: folder(DESCRIPTORS),
            threads: folder(THREADS),
        }
    }

    /// Without the descriptors that are `kept`.
    pub(crate) fn footprint(&self, kept: &Holdings) -> Footprint {
        Footprint {
            descriptors: self
                .descriptor_count()
                .saturating_sub(kept.descriptors.len() as u64),
            threads: self.thread_count(),
            umask: umask(),
            texts: Texts::now(),
            surface: Surface::now(),
        }
    }

    /// Whether everything is as it was `before` any case. May say no where it is: a [`Observer::footprint`]
    /// then tells. It is asked after every case, and builds nothing.
    pub(crate) fn sees(&self, before: &Footprint, kept: &Holdings) -> bool {
        let Some(alone) = Alone::when_no_thread_came(self.thread_count(), before.threads) else {
            return false;
        };
        self.descriptor_count() == before.descriptors + kept.descriptors.len() as u64
            && umask() == before.umask
            && Surface::now() == before.surface
            && before.texts.are_still(&alone)
    }

    /// Linux 6.2 and later tell the number of open descriptors as the folder's size.
    fn descriptor_count(&self) -> u64 {
        match look(self.descriptors.as_ref(), DESCRIPTORS) {
            Some((size, _)) if size > 0 => size,
            _ => descriptors().len() as u64,
        }
    }

    /// The thread folder has a link for each thread, beside `.` and `..`.
    fn thread_count(&self) -> u64 {
        match look(self.threads.as_ref(), THREADS) {
            Some((_, links)) => links.saturating_sub(2),
            None => 0,
        }
    }
}

/// Size and links of the open folder; of the path where a case closed that.
fn look(folder: Option<&OwnedFd>, path: &str) -> Option<(u64, u64)> {
    if let Some(folder) = folder
        && let Some(found) = size_and_links(folder.as_fd())
    {
        return Some(found);
    }
    let found = std::fs::metadata(path).ok()?;
    Some((found.size(), found.nlink()))
}

const DESCRIPTORS: &str = "/proc/self/fd";
const THREADS: &str = "/proc/self/task";

impl Footprint {
    /// Whether descriptors and threads are as many as `before`.
    pub(crate) fn same_resources(&self, before: &Self) -> bool {
        self.descriptors == before.descriptors && self.threads == before.threads
    }

    /// What else changed since `before`, in words: reasons to retire the process, not to fail the case.
    pub(crate) fn changes(&self, before: &Self) -> Option<String> {
        let mut changed = Vec::new();
        if self.texts.folder != before.texts.folder {
            changed.push("the current directory");
        }
        if self.umask != before.umask {
            changed.push("the umask");
        }
        if self.texts.variables != before.texts.variables {
            changed.push("the environment");
        }
        changed.extend(self.surface.changes(&before.surface));
        (!changed.is_empty()).then(|| format!("changed {}", changed.join(", ")))
    }
}

impl Inventory {
    /// Without the descriptors that are `kept`.
    pub(crate) fn now(kept: &Holdings) -> Self {
        let mut descriptors = descriptors();
        descriptors.retain(|number, _| !kept.descriptors.contains(number));
        Self {
            descriptors,
            threads: threads(),
        }
    }

    /// What is here and was not `before`.
    pub(crate) fn beyond(&self, before: &Self) -> Vec<Leak> {
        let mut sockets = None;
        let descriptors = self
            .descriptors
            .iter()
            .filter(|(number, target)| before.descriptors.get(number) != Some(target))
            .map(|(number, target)| descriptor(*number, target, &mut sockets));
        let threads = self
            .threads
            .iter()
            .filter(|(id, _)| !before.threads.contains_key(id))
            .map(|(id, name)| Leak {
                class: LeakClass::Threads,
                name: name.clone(),
                text: format!("thread {id} ({name})"),
            });
        descriptors.chain(threads).collect()
    }

    /// Whether something that was here `before` is not any more.
    pub(crate) fn lacks(&self, before: &Self) -> bool {
        let here = |(number, target)| self.descriptors.get(number) == Some(target);
        !before.descriptors.iter().all(here) || !before.threads.keys().all(|id| self.threads.contains_key(id))
    }
}

fn descriptors() -> BTreeMap<u32, String> {
    numbered(DESCRIPTORS, |path| {
        std::fs::read_link(path).map(|target| target.to_string_lossy().into_owned())
    })
    .into_iter()
    // The folder that is being read is itself open.
    .filter(|(_, target)| !(target.starts_with("/proc/") && target.ends_with("/fd")))
    .collect()
}

fn threads() -> BTreeMap<u32, String> {
    numbered(THREADS, |path| {
        std::fs::read_to_string(path.join("comm")).map(|name| name.trim_end().to_owned())
    })
}

fn numbered(
    folder: &str,
    read: impl Fn(&std::path::Path) -> std::io::Result<String>,
) -> BTreeMap<u32, String> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let (Some(number), Ok(text)) = (number, read(&entry.path())) {
            all.insert(number, text);
        }
    }
    all
}

/// What an open descriptor is, in words. The tables of sockets are read for the first socket.
fn descriptor(number: u32, target: &str, sockets: &mut Option<Sockets>) -> Leak {
    let (mut class, mut what) = (LeakClass::Descriptors, target.to_owned());
    if let Some(inode) = inner(target, "socket:[") {
        if let Some(socket) = sockets.get_or_insert_with(Sockets::read).find(inode) {
            what = socket.text;
            if socket.is_reachable {
                class = LeakClass::Listeners;
            }
        }
    } else if let Some(pipe) = inner(target, "pipe:[") {
        let end = match flags(number) & libc::O_ACCMODE {
            libc::O_RDONLY => "reading end",
            libc::O_WRONLY => "writing end",
            _ => "both ends",
        };
        what = format!("the {end} of pipe {pipe}");
    }
    Leak {
        class,
        text: format!("file descriptor {number}: {what}"),
        name: what,
    }
}

fn inner<'a>(target: &'a str, before: &str) -> Option<&'a str> {
    target.strip_prefix(before)?.strip_suffix(']')
}

/// The flags it was opened with; 0 when they cannot be had.
fn flags(descriptor: u32) -> i32 {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    flags
        .and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    #[test]
    fn every_change_is_seen_and_told_until_it_is_undone() {
        const ALONE: &str = "ROBUST_TEST_ALONE";
        if std::env::var_os(ALONE).is_none() {
            // It changes the process, and other tests have threads: once more in a process of its own.
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--test-threads=1"])
                .arg("footprint::tests::every_change_is_seen_and_told_until_it_is_undone")
                .env(ALONE, "1")
                .stdout(Stdio::null())
                .status();
            assert!(status.unwrap().success());
            return;
        }
        let observer = Observer::new();
        let before = observer.footprint(&Holdings::default());
        let told = || {
            let now = observer.footprint(&Holdings::default());
            (
                observer.sees(&before, &Holdings::default()),
                now.same_resources(&before),
                now.changes(&before),
            )
        };
        let same = (true, true, None);
        let changed = |what: &str| (false, true, Some(format!("changed {what}")));
        let more = (false, false, None);
        assert_eq!(told(), same);

        let folder = std::env::current_dir().unwrap();
        std::env::set_current_dir("/").unwrap();
        assert_eq!(told(), changed("the current directory"));
        std::env::set_current_dir(folder).unwrap();
        assert_eq!(told(), same);

        let mask = rustix::process::umask(Mode::from_raw_mode(0o123));
        assert_eq!(told(), changed("the umask"));
        rustix::process::umask(mask);
        assert_eq!(told(), same);

        let limit = getrlimit(Resource::Nofile);
        let current = Some(limit.current.unwrap_or(1000) - 1);
        setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
        assert_eq!(told(), changed("the limit of open files"));
        setrlimit(Resource::Nofile, limit).unwrap();
        assert_eq!(told(), same);

        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(told(), more);
        drop(file);
        assert_eq!(told(), same);

        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv().unwrap_err());
        assert_eq!(told(), more);
        drop(stop);
        thread.join().unwrap();
        while observer.thread_count() != before.threads {
            // A thread is gone a moment after it was joined.
            std::thread::yield_now();
        }
        assert_eq!(told(), same);
    }

    #[test]
    fn what_is_new_is_named() {
        let before = Inventory::now(&Holdings::default());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let (up, is_up) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("left-behind".into())
            .spawn(move || {
                up.send(()).unwrap();
                wait.recv().unwrap_err()
            });
        is_up.recv().unwrap();
        let (_reading, writing) = std::io::pipe().unwrap();
        let file = std::fs::File::open("/etc/passwd").unwrap();
        let now = Inventory::now(&Holdings::default());
        let new = now.beyond(&before);
        let has = |class, text: &str| {
            let found = |leak: &Leak| leak.class == class && leak.text.contains(text);
            assert!(new.iter().any(found), "{text}: {new:?}");
        };
        has(
            LeakClass::Listeners,
            &format!(": TCP socket that listens on 127.0.0.1:{port}"),
        );
        has(LeakClass::Threads, "(left-behind)");
        has(LeakClass::Descriptors, ": the reading end of pipe ");
        let number = std::os::fd::AsRawFd::as_raw_fd(&writing);
        has(
            LeakClass::Descriptors,
            &format!("file descriptor {number}: the writing end of pipe "),
        );
        has(LeakClass::Descriptors, ": /etc/passwd");
        // Other tests open and close descriptors meanwhile.
        assert!(!now.lacks(&now));
        drop(file);
        assert!(Inventory::now(&Holdings::default()).lacks(&now));
        drop(stop);
        thread.unwrap().join().unwrap();
    }
}
