//! The backing directory, which has everything as programs see it, and what is kept beside it: the two together are the
//! disk. Every operation of the file system is one of these; which of them is durable when, `names` and `content` decide.
//!
//! Beside the backing directory is another one, *aside*: files and directories without a name that a power loss would
//! give them back or that are still open (`<id>`), and the durable bytes of files that were changed (`<id>.old`).

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use rustix::fs::{AtFlags, CWD, Mode, Stat};
use rustix::io::Errno;

use super::data::{Allocate, Data, errno, lock};
use super::delays::Delays;
use super::names::{Id, Kind, Names, ROOT, Slot, Sync};
use super::switches::Switches;

#[derive(Debug)]
pub(super) struct Store {
    pub(super) root: PathBuf,
    pub(super) aside: PathBuf,
    /// Held for reading by each operation, and for writing by a loss of power.
    pub(super) power: RwLock<()>,
    pub(super) tree: Mutex<Tree>,
    pub(super) handles: RwLock<HashMap<u64, Handle>>,
    next_handle: AtomicU64,
    pub(super) switches: Mutex<Switches>,
    pub(super) delays: Arc<Delays>,
}

#[derive(Debug)]
pub(super) struct Tree {
    pub(super) names: Names,
    /// Of each regular file.
    pub(super) data: BTreeMap<Id, Arc<Data>>,
}

/// A file that somebody has open.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    id: Id,
    file: Arc<File>,
    data: Arc<Data>,
    /// What the last write to it made durable: some systems ask for the sync of such a write once more.
    synced: Arc<Mutex<Option<Sync>>>,
}

/// What is known of something with an id.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: Id,
    pub(super) stat: Stat,
    pub(super) kind: Kind,
    /// How many names it has.
    pub(super) links: u64,
}

/// Who makes something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// One entry of a directory.
pub(super) type Entry = (OsString, Id, Kind);

/// A thing to make that is not a regular file that is opened.
#[derive(Debug, Clone, Copy)]
pub(super) enum Make<'a> {
    Directory,
    Symlink(&'a Path),
    /// With its type and device.
    Node(rustix::fs::FileType, u64),
}

impl Handle {
    pub(super) fn new(id: Id, file: Arc<File>, data: Arc<Data>) -> Self {
        Self {
            id,
            file,
            data,
            synced: Arc::default(),
        }
    }

    fn synced(&self) -> MutexGuard<'_, Option<Sync>> {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    pub(super) fn new(root: PathBuf, aside: PathBuf) -> std::io::Result<Self> {
        let (tree, used) = super::power::scan(&root, &aside, ROOT)?;
        let mut switches = Switches::default();
        switches.set_used(used);
        Ok(Self {
            root,
            aside,
            power: RwLock::new(()),
            tree: Mutex::new(tree),
            handles: RwLock::default(),
            next_handle: AtomicU64::new(1),
            switches: Mutex::new(switches),
            delays: Arc::default(),
        })
    }

    pub(super) fn power(&self) -> RwLockReadGuard<'_, ()> {
        self.power.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the power was lost.
    pub(super) fn era(&self) -> u64 {
        lock(&self.switches).hits().power_losses
    }

    fn handle(&self, handle: u64) -> Result<Handle, Errno> {
        let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
        // After a loss of power nothing is open any more.
        handles.get(&handle).cloned().ok_or(Errno::IO)
    }

    pub(super) fn add_handle(&self, handle: Handle) -> u64 {
        let number = self.next_handle.fetch_add(1, Ordering::Relaxed);
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        handles.insert(number, handle);
        number
    }

    pub(super) fn path(&self, tree: &Tree, id: Id) -> PathBuf {
        tree.names.path(id, &self.root, &self.aside)
    }

    pub(super) fn place(&self, tree: &Tree, slot: &Slot) -> PathBuf {
        self.path(tree, slot.0).join(&slot.1)
    }

    fn found(&self, tree: &Tree, id: Id) -> Result<Found, Errno> {
        let kind = tree.names.kind(id).ok_or(Errno::STALE)?;
        let stat = rustix::fs::lstat(self.path(tree, id))?;
        let links = match kind {
            Kind::Directory => stat.st_nlink as u64,
            _ => tree.names.links(id) as u64,
        };
        Ok(Found {
            id,
            stat,
            kind,
            links,
        })
    }

    /// The same of something that the system is told of, and will forget.
    pub(super) fn hold(&self, tree: &mut Tree, id: Id) -> Result<Found, Errno> {
        let found = self.found(tree, id)?;
        tree.names.hold(id);
        Ok(found)
    }

    pub(super) fn lookup(&self, directory: Id, name: &OsStr) -> Result<Found, Errno> {
        let _on = self.power();
        let mut tree = self.tree();
        tree.names.kind(directory).ok_or(Errno::STALE)?;
        let id = tree.names.lookup(directory, name).ok_or(Errno::NOENT)?;
        self.hold(&mut tree, id)
    }

    pub(super) fn forget(&self, id: Id, times: u64) {
        let _on = self.power();
        let mut tree = self.tree();
        tree.names.forget(id, times);
        self.settle(&mut tree, id);
    }

    pub(super) fn attributes(&self, id: Id) -> Result<Found, Errno> {
        let _on = self.power();
        self.found(&self.tree(), id)
    }

    /// Changes what is not content: none of it is ever lost.
    pub(super) fn change_attributes(
        &self,
        id: Id,
        mode: Option<u32>,
        owner: (Option<u32>, Option<u32>),
        times: Option<rustix::fs::Timestamps>,
    ) -> Result<(), Errno> {
        let _on = self.power();
        let tree = self.tree();
        tree.names.kind(id).ok_or(Errno::STALE)?;
        let path = self.path(&tree, id);
        if owner != (None, None) {
            let (uid, gid) = owner;
            let uid = uid.map(rustix::fs::Uid::from_raw);
            let gid = gid.map(rustix::fs::Gid::from_raw);
            rustix::fs::chownat(CWD, &path, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if let Some(mode) = mode {
            rustix::fs::chmodat(CWD, &path, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
        }
        if let Some(times) = times {
            rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    pub(super) fn read_link(&self, id: Id) -> Result<OsString, Errno> {
        let _on = self.power();
        let tree = self.tree();
        tree.names.kind(id).ok_or(Errno::STALE)?;
        let target = std::fs::read_link(self.path(&tree, id)).map_err(errno)?;
        Ok(target.into_os_string())
    }

    pub(super) fn entries(&self, directory: Id) -> Result<Vec<Entry>, Errno> {
        let _on = self.power();
        let tree = self.tree();
        tree.names.kind(directory).ok_or(Errno::STALE)?;
        let entries = tree.names.entries(directory);
        let with_kind = |(name, id): (&OsStr, Id)| Some((name.to_owned(), id, tree.names.kind(id)?));
        Ok(entries.filter_map(with_kind).collect())
    }

    pub(super) fn open(&self, id: Id) -> Result<u64, Errno> {
        let _on = self.power();
        let tree = self.tree();
        let data = tree.data.get(&id).cloned().ok_or(Errno::STALE)?;
        let file = data.open(&self.path(&tree, id))?;
        Ok(self.add_handle(Handle::new(id, file, data)))
    }

    pub(super) fn close(&self, handle: u64) {
        let _on = self.power();
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(Handle { file, data, .. }) = handles.remove(&handle) {
            drop(file);
            data.closed();
        }
    }

    pub(super) fn read(&self, handle: u64, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        let _on = self.power();
        let handle = self.handle(handle)?;
        let mut read = 0;
        while read < bytes.len() {
            match rustix::io::pread(&*handle.file, &mut bytes[read..], offset + read as u64)? {
                0 => break,
                count => read += count,
            }
        }
        Ok(read)
    }

    pub(super) fn write(&self, handle: u64, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let _on = self.power();
        let Handle { file, data, .. } = self.handle(handle)?;
        data.write(&file, &self.switches, offset, bytes)
    }

    pub(super) fn resize(&self, id: Id, size: u64) -> Result<(), Errno> {
        let _on = self.power();
        let tree = self.tree();
        let data = tree.data.get(&id).cloned().ok_or(Errno::STALE)?;
        let file = data.open(&self.path(&tree, id))?;
        drop(tree);
        let resized = data.resize(&file, &self.switches, size);
        drop(file);
        data.closed();
        resized
    }

    pub(super) fn allocate(
        &self,
        handle: u64,
        range: std::ops::Range<u64>,
        how: Allocate,
    ) -> Result<(), Errno> {
        let _on = self.power();
        let Handle { file, data, .. } = self.handle(handle)?;
        data.allocate(&file, &self.switches, range, how)
    }

    pub(super) fn seek(&self, handle: u64, to: rustix::fs::SeekFrom) -> Result<u64, Errno> {
        let _on = self.power();
        let handle = self.handle(handle)?;
        rustix::fs::seek(&*handle.file, to)
    }

    /// A write with `O_SYNC` or `O_DSYNC` was made durable.
    pub(super) fn write_synced(&self, handle: u64, sync: Sync) {
        if let Ok(handle) = self.handle(handle) {
            *handle.synced() = Some(sync);
        }
    }

    /// Whether a sync is only that of a write which is durable already. Linux 6.17 sends both; before, programs had to rely
    /// on the write alone.
    pub(super) fn is_synced_write(&self, handle: u64, sync: Sync) -> bool {
        let _on = self.power();
        self.handle(handle).is_ok_and(|handle| {
            let was = handle.synced().take();
            was == Some(sync) && handle.data.volatile().is_none()
        })
    }

    /// The fate of a sync was decided; this is it.
    pub(super) fn sync(&self, handle: u64, sync: Sync, fails: bool) -> Result<(), Errno> {
        let _on = self.power();
        let Handle { id, data, .. } = self.handle(handle)?;
        if fails {
            data.failed();
            return Err(Errno::IO);
        }
        data.synced()?;
        self.sync_names(id, sync);
        Ok(())
    }

    /// The same of a directory, in the era in which that sync began.
    pub(super) fn sync_directory(&self, id: Id, era: u64, fails: bool) -> Result<(), Errno> {
        let _on = self.power();
        if fails || self.era() != era || self.tree().names.kind(id).is_none() {
            return Err(Errno::IO);
        }
        self.sync_names(id, Sync::All);
        Ok(())
    }

    fn sync_names(&self, id: Id, sync: Sync) {
        let mut tree = self.tree();
        let unnamed = tree.names.synced(id, sync);
        self.reap(&mut tree, unnamed);
    }

    /// Something lost a name or was forgotten: forgets it too, if there is no use for it.
    pub(super) fn settle(&self, tree: &mut Tree, id: Id) {
        if tree.names.links(id) > 0 {
            return;
        }
        if !tree.names.is_held(id)
            && let Some(data) = tree.data.get(&id)
        {
            data.discount(&self.switches);
        }
        self.reap(tree, [id]);
    }

    fn reap(&self, tree: &mut Tree, candidates: impl IntoIterator<Item = Id>) {
        for id in tree.names.reap(candidates) {
            let path = self.aside.join(id.to_string());
            match tree.data.remove(&id) {
                Some(data) => {
                    data.discount(&self.switches);
                    data.remove();
                    let _none = std::fs::remove_file(path);
                }
                None => {
                    let removed = std::fs::remove_file(&path);
                    let _none = removed.or_else(|_| std::fs::remove_dir_all(&path));
                }
            }
        }
    }

    /// Blocks of the disk, those that are free, and files that can still be made.
    pub(super) fn space(&self) -> Result<rustix::fs::StatVfs, Errno> {
        let mut space = rustix::fs::statvfs(&self.root)?;
        if let Some((blocks, free)) = lock(&self.switches).blocks() {
            space.f_frsize = super::content::BLOCK;
            space.f_bsize = super::content::BLOCK;
            space.f_blocks = blocks;
            space.f_bfree = free;
            space.f_bavail = free;
        }
        Ok(space)
    }
}

/// Where the durable bytes of a file are put aside.
pub(super) fn old_path(aside: &Path, id: Id) -> PathBuf {
    aside.join(format!("{id}.old"))
}

pub(super) fn kind_of(file_type: rustix::fs::FileType) -> Kind {
    use rustix::fs::FileType;
    match file_type {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Pipe,
        FileType::Socket => Kind::Socket,
        _ => Kind::Device,
    }
}
