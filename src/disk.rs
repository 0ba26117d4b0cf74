//! A disk that can fail: a directory on a file system of this project's own, in front of a *backing* directory.
//!
//! It knows no servers: a scenario mounts one, lets a node keep its data there, and switches faults on and off while the
//! node runs.
//! - **Power loss** ([`Disk::lose_power`]): what was not made durable is gone. A killed process loses nothing that it wrote,
//!   because the system still has it; a machine whose power goes does.
//! - **Full** ([`Disk::set_full`]): no more space than so many bytes.
//! - **Slow or failing syncs** ([`Disk::slow_fsync`], [`Disk::fail_fsync`]).
//!
//! Each counts what it hits ([`Disk::hits`]). It needs Linux and the right to mount ([`Disk::available`]).
//!
//! ```no_run
//! # use robust_test::{disk::Disk, prelude::*};
//! # async fn scenario(case: Case) -> Result {
//! let folder = case.folder()?;
//! let disk = Disk::mount(&case, "disk", folder.join("backing"), folder.join("data")).await?;
//! let log = disk.path().join("log");
//! std::fs::write(&log, "acknowledged")?;
//! std::fs::File::open(&log)?.sync_all()?;
//! std::fs::write(disk.path().join("other"), "soon")?;
//! // .. kill whoever has files open there, then:
//! let lost = disk.lose_power(None)?;
//! assert_eq!(lost.entries, 1);
//! assert_eq!(std::fs::read_to_string(&log)?, "acknowledged");
//! # Ok(()) }
//! ```
//!
//! # What is durable
//!
//! As much as POSIX and Linux's ext4 (with journal, `data=ordered`) promise, and no more:
//! - The **content** of a file, with its size, by `fsync`, `fdatasync`, `msync(MS_SYNC)` or a write with `O_SYNC` or
//!   `O_DSYNC` (POSIX `fsync`, "synchronized I/O"). `truncate` and `fallocate` are changes of content as writes are.
//!   `close`, `sync_file_range`, and time make nothing durable. Neither do `sync` and `syncfs`, which Linux does not pass on
//!   to file systems in user space: here this disk takes more than ext4 would.
//! - The **entries** of a directory by `fsync` of the directory (`fsync(2)`: that of a file "does not necessarily ensure
//!   that the entry in the directory containing the file has also reached disk").
//! - `fsync` of a file also makes **its own names** durable: that it was created, linked, renamed or removed, and the
//!   directories on the way to it; `fdatasync` only if it has no durable name yet. POSIX does not promise that; ext4 does,
//!   since what a file's metadata needs is in one journal with it, and programs rely on it. What other files became it leaves
//!   open, though ext4's journal would have committed them as well.
//! - A **rename** is durable by `fsync` of either directory, or of the file after it, and is so as a whole: never is the file
//!   at both names or at none. A file that it replaces is back as long as it is not durable. That the content of the new
//!   file is durable first is up to the program: ext4's `auto_da_alloc` is a heuristic and no promise.
//! - Modes, owners and times are never lost, nor is where a symbolic link points. There are no extended attributes.
//! - After a **failed** sync of a file its dirty bytes and size count as clean, and no later sync writes them, as on Linux
//!   since 4.13: programs still read them, and they are gone with the power. Who writes them again can make them durable.
//!   A failed sync of a directory changes nothing.
//!
//! What is left after a power loss is the durable state. Where it is *torn*, of what was not durable a random part arrived
//! all the same: of dirty content each sector of 512 bytes whole or not at all (what did not arrive of new content reads as
//! zeros, as from an extent that was never written), of growth any number of sectors, of entries any that do not depend on
//! others. Each sector has its durable content or its last one, never one between.
//!
//! A sync is not passed on to the machine's own disk.
//!
//! # How it is kept
//!
//! The backing directory has everything as programs see it, so reads and writes pass through, and a worker that is killed
//! leaves a node's files there as that node wrote them. What a power loss would bring back is aside, beside the backing
//! directory (`BACKING.aside`), while it is needed. While the disk is mounted nobody else may change either of them.
//!
//! Reading order: `ranges`, `content` and `names` decide what is durable, `switches` what the faults hit; all four are pure.
//! `data`, `store`, `entries`, `power` do it to files, `delays` lets syncs wait, `fuse` answers the system's requests, `mount`.

mod content;
mod data;
mod delays;
mod entries;
mod fuse;
mod mount;
mod names;
mod power;
mod ranges;
mod store;
mod switches;

use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fuser::{Config, INodeNo, Notifier, Session, SessionACL};
use rand_chacha::ChaCha8Rng;

use robust_test_harness::case::WeakCase;
use robust_test_harness::mechanism::Mechanism;

use crate::Case;
use data::lock;
pub use mount::Unavailable;
use names::ROOT;
use store::Store;
pub use switches::{DiskHits, Lost};

/// What these disks are mounted by.
pub static FUSE: Mechanism = Mechanism {
    name: "fuse",
    privilege: "root or CAP_SYS_ADMIN, and /dev/fuse",
    probe: || mount::available().map_err(|why| why.to_string()),
};

/// So many requests are answered at once; those that wait for something have threads of their own.
const THREADS: usize = 2;
/// How long the last requests may take when it is unmounted.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A mounted disk; clones share it. It is unmounted when its case ends, or the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Disk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    case: WeakCase,
    name: String,
    at: PathBuf,
    store: Arc<Store>,
    /// `None` once it is unmounted.
    mounted: Mutex<Option<Mounted>>,
}

#[derive(Debug)]
struct Mounted {
    notifier: Notifier,
    ended: Receiver<()>,
    thread: JoinHandle<io::Result<()>>,
}

/// A disk could not be mounted, unmounted or brought back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// Not on this machine.
    #[error("disk `{name}` cannot be mounted")]
    Unavailable {
        /// The disk's name.
        name: String,
        /// Why.
        source: Unavailable,
    },
    /// A folder for it cannot be made or read.
    #[error("disk `{name}`: cannot use {}", path.display())]
    Folder {
        /// The disk's name.
        name: String,
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Files would be hidden or mixed up.
    #[error(
        "disk `{name}` cannot be mounted at {}: it is in or above its backing directory {}; give it a folder beside that",
        at.display(), backing.display()
    )]
    Nested {
        /// The disk's name.
        name: String,
        /// Where it was to be.
        at: PathBuf,
        /// Its backing directory.
        backing: PathBuf,
    },
    /// Files would be hidden.
    #[error("disk `{name}` cannot be mounted at {}: there are files in it, which it would hide", at.display())]
    NotEmpty {
        /// The disk's name.
        name: String,
        /// Where it was to be.
        at: PathBuf,
    },
    /// The system refused.
    #[error("disk `{name}` cannot be mounted at {}", at.display())]
    Mount {
        /// The disk's name.
        name: String,
        /// Where it was to be.
        at: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused, or a request did not end.
    #[error("disk `{name}` cannot be unmounted from {}", at.display())]
    Unmount {
        /// The disk's name.
        name: String,
        /// Where it is.
        at: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The durable state could not be restored: what is there now means nothing.
    #[error("the durable state of disk `{name}` cannot be restored in {}", backing.display())]
    Power {
        /// The disk's name.
        name: String,
        /// Its backing directory.
        backing: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Disk {
    /// Whether one can be mounted here; asked of the system once a process.
    ///
    /// # Errors
    /// When not: why, in one line, with what to do about it.
    pub fn available() -> Result<(), Unavailable> {
        mount::available()
    }

    /// Mounts a disk at the folder `at`, made if need be. What is in the folder `backing`, made if need be, is on it,
    /// durably.
    ///
    /// Mount it before what uses it is started: what a case starts last it ends first.
    ///
    /// # Errors
    /// Where it is not available, or one of the folders cannot be used.
    pub async fn mount(
        case: &Case,
        name: impl Into<String>,
        backing: impl Into<PathBuf>,
        at: impl Into<PathBuf>,
    ) -> Result<Self, DiskError> {
        Self::mount_in(case, name.into(), backing.into(), at.into())
    }

    /// As [`Disk::mount`].
    pub(crate) fn mount_in(
        case: &Case,
        name: String,
        backing: PathBuf,
        at: PathBuf,
    ) -> Result<Self, DiskError> {
        let disk = Self::mount_for_good(case.downgrade(), name, backing, at)?;
        let mounted = disk.clone();
        case.defer(format!("disk `{}`", disk.0.name), move || async move {
            Ok(mounted.0.unmount()?)
        });
        Ok(disk)
    }

    fn mount_for_good(
        case: WeakCase,
        name: String,
        backing: PathBuf,
        at: PathBuf,
    ) -> Result<Self, DiskError> {
        if let Err(source) = Self::available() {
            return Err(DiskError::Unavailable { name, source });
        }
        let folder = |path: &Path| {
            let made = std::fs::create_dir_all(path).and_then(|()| path.canonicalize());
            made.map_err(|source| DiskError::Folder {
                name: name.clone(),
                path: path.to_owned(),
                source,
            })
        };
        let (backing, at) = (folder(&backing)?, folder(&at)?);
        if at.starts_with(&backing) || backing.starts_with(&at) {
            return Err(DiskError::Nested { name, at, backing });
        }
        if !std::fs::read_dir(&at).is_ok_and(|mut entries| entries.next().is_none()) {
            return Err(DiskError::NotEmpty { name, at });
        }
        let mut aside = backing.clone().into_os_string();
        aside.push(".aside");
        let aside = folder(Path::new(&aside))?;
        let store = Store::new(backing.clone(), aside).map_err(|source| DiskError::Folder {
            name: name.clone(),
            path: backing.clone(),
            source,
        })?;
        let store = Arc::new(store);
        match Mounted::new(Arc::clone(&store), &at) {
            Ok(mounted) => Ok(Self(Arc::new(Inner {
                case,
                name,
                at,
                store,
                mounted: Mutex::new(Some(mounted)),
            }))),
            Err(source) => {
                let _gone = std::fs::remove_dir(&store.aside);
                Err(DiskError::Mount { name, at, source })
            }
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its case; `None` when that is over.
    pub(crate) fn case(&self) -> Option<Case> {
        self.0.case.upgrade()
    }

    /// Where it is mounted: for whoever keeps files on it.
    pub fn path(&self) -> &Path {
        &self.0.at
    }

    /// The directory that has its files, also when it is not mounted. Nobody may change anything there while it is.
    pub fn backing(&self) -> &Path {
        &self.0.store.root
    }

    /// Takes the power away: everything that is not durable is gone, or, where it is `torn`, a random part of it. The
    /// disk is back at once. Whoever still has files open gets errors, so kill what uses it first.
    ///
    /// # Errors
    /// When the durable state cannot be restored in the backing directory, which then has something between.
    pub fn lose_power(&self, torn: Option<ChaCha8Rng>) -> Result<Lost, DiskError> {
        let lost = self.0.store.lose_power(torn);
        let (lost, names) = lost.map_err(|source| DiskError::Power {
            name: self.0.name.clone(),
            backing: self.backing().to_owned(),
            source,
        })?;
        if let Some(mounted) = &*self.0.mounted() {
            // The system remembers nothing of what was: where it does not listen, it asks for things that are gone and is
            // told so.
            for name in names {
                let _asks_again = mounted.notifier.inval_entry(INodeNo(ROOT), &name);
            }
            let _asks_again = mounted.notifier.inval_inode(INodeNo(ROOT), -1, 0);
        }
        tracing::info!(disk = self.0.name, %lost, "power lost");
        Ok(lost)
    }

    /// Writes that need more space than `bytes`, together with what is used already, fail with `ENOSPC`; one that begins
    /// below gets what fits. Files use whole blocks of 4096 bytes, holes none, and what was given by `fallocate` counts as
    /// used. `None`: as much as the backing directory has.
    pub fn set_full(&self, bytes: Option<u64>) {
        lock(&self.0.store.switches).set_full(bytes);
        self.tell("disk full", &bytes);
    }

    /// How much of it is used, in bytes.
    pub fn used(&self) -> u64 {
        lock(&self.0.store.switches).used()
    }

    /// Every sync takes so long before it does anything; nothing else does, but that Linux lets nobody else write to or sync
    /// the same file meanwhile. `None`: those that wait go on at once.
    pub fn slow_fsync(&self, delay: Option<Duration>) {
        let slow = {
            let mut switches = lock(&self.0.store.switches);
            switches.set_slow(delay);
            switches.slow()
        };
        if slow.is_none() {
            self.0.store.delays.release();
        }
        self.tell("slow fsync", &delay);
    }

    /// Every `one_in`th sync from now on fails with `EIO`: 1 is each. `None`: no more.
    pub fn fail_fsync(&self, one_in: Option<NonZeroU32>) {
        lock(&self.0.store.switches).set_failing(one_in);
        self.tell("failing fsync", &one_in);
    }

    /// Switches all of that off. What was lost stays lost.
    pub fn heal(&self) {
        lock(&self.0.store.switches).heal();
        self.0.store.delays.release();
        tracing::info!(disk = self.0.name, "healed");
    }

    /// What its faults hit since it was mounted.
    pub fn hits(&self) -> DiskHits {
        lock(&self.0.store.switches).hits()
    }

    fn tell(&self, fault: &str, value: &dyn std::fmt::Debug) {
        tracing::info!(disk = self.0.name, fault, ?value, "disk");
    }
}

impl Mounted {
    fn new(store: Arc<Store>, at: &Path) -> io::Result<Self> {
        let device = mount::open_device()?;
        mount::mount(&device, at)?;
        let (ends, ended) = channel();
        let mut config = Config::default();
        config.n_threads = Some(THREADS);
        let requests = fuse::Requests::new(store, ends);
        let session = Session::from_fd(requests, device, SessionACL::All, config);
        let started = session.and_then(|session| {
            let notifier = session.notifier();
            let thread = std::thread::Builder::new().name("disk".to_owned());
            let thread = thread.spawn(move || session.run())?;
            Ok((notifier, thread))
        });
        match started {
            Ok((notifier, thread)) => Ok(Self {
                notifier,
                ended,
                thread,
            }),
            Err(error) => {
                mount::unmount(at)?;
                Err(error)
            }
        }
    }
}

impl Inner {
    fn mounted(&self) -> MutexGuard<'_, Option<Mounted>> {
        self.mounted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unmount(&self) -> Result<(), DiskError> {
        let Some(mounted) = self.mounted().take() else {
            return Ok(());
        };
        let failed = |source| DiskError::Unmount {
            name: self.name.clone(),
            at: self.at.clone(),
            source,
        };
        self.store.delays.release();
        mount::unmount(&self.at).map_err(failed)?;
        let until = Instant::now() + END_WITHIN;
        let is_ended = mounted.ended.recv_timeout(END_WITHIN) != Err(RecvTimeoutError::Timeout);
        if !is_ended || !self.store.delays.ended(until) {
            let message = "a request is not answered yet";
            return Err(failed(io::Error::new(io::ErrorKind::TimedOut, message)));
        }
        let _said_before = mounted.thread.join();
        let _none = std::fs::remove_dir_all(&self.store.aside);
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            tracing::warn!(disk = self.name, %error, "left mounted");
        }
    }
}
