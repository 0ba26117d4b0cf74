//! The requests of the system, as operations of the [`Store`].

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow,
    WriteFlags,
};
use rustix::fs::{FallocateFlags, SeekFrom, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;

use super::data::{Allocate, lock};
use super::names::{Kind, Sync};
use super::store::{Entry, Found, Make, Owner, Store};
use super::switches::Fate;

/// How long the system may remember names and attributes: nobody else changes them, and a loss of power says so.
const REMEMBERED: Duration = Duration::from_secs(3600);

pub(super) struct Requests {
    store: Arc<Store>,
    /// What was in directories when they were opened.
    listings: Mutex<HashMap<u64, Vec<Entry>>>,
    next_listing: AtomicU64,
    /// Dropped when there are no more requests.
    _ended: Sender<()>,
}

impl Requests {
    pub(super) fn new(store: Arc<Store>, ended: Sender<()>) -> Self {
        Self {
            store,
            listings: Mutex::default(),
            next_listing: AtomicU64::new(1),
            _ended: ended,
        }
    }

    fn listings(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Vec<Entry>>> {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides what becomes of a sync, and does that now or later.
    fn sync(&self, then: impl FnOnce(&Store, bool) + Send + 'static) {
        let Fate { delay, fails } = lock(&self.store.switches).next_sync();
        match delay {
            None => then(&self.store, fails),
            Some(delay) => {
                let store = Arc::clone(&self.store);
                self.store.delays.after(delay, move || then(&store, fails));
            }
        }
    }
}

fn failed(error: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(error.raw_os_error())
}

fn owner(request: &Request) -> Owner {
    Owner {
        uid: request.uid(),
        gid: request.gid(),
    }
}

fn attributes(found: &Found) -> FileAttr {
    let stat = &found.stat;
    let time = |seconds: i64, nanoseconds: u64| {
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let from = if seconds < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(whole)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(whole)
        };
        from.unwrap_or(SystemTime::UNIX_EPOCH) + Duration::from_nanos(nanoseconds)
    };
    FileAttr {
        ino: INodeNo(found.id),
        size: stat.st_size as u64,
        blocks: stat.st_blocks as u64,
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(found.kind),
        perm: (stat.st_mode & 0o7777) as u16,
        nlink: found.links as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: stat.st_rdev as u32,
        blksize: super::content::BLOCK as u32,
        flags: 0,
    }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::File => FileType::RegularFile,
        Kind::Symlink => FileType::Symlink,
        Kind::Pipe => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::Device => FileType::CharDevice,
    }
}

fn enter(reply: ReplyEntry, found: Result<Found, Errno>) {
    match found {
        Ok(found) => reply.entry(&REMEMBERED, &attributes(&found), Generation(0)),
        Err(error) => reply.error(failed(error)),
    }
}

fn done(reply: ReplyEmpty, result: Result<(), Errno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(failed(error)),
    }
}

fn timestamp(time: Option<TimeOrNow>) -> Timespec {
    let special = |nanoseconds| Timespec {
        tv_sec: 0,
        tv_nsec: nanoseconds,
    };
    match time {
        None => special(UTIME_OMIT),
        Some(TimeOrNow::Now) => special(UTIME_NOW),
        Some(TimeOrNow::SpecificTime(time)) => {
            let since = time.duration_since(SystemTime::UNIX_EPOCH);
            let (seconds, nanoseconds) = match since {
                Ok(since) => (since.as_secs() as i64, since.subsec_nanos()),
                // Before 1970 in whole seconds.
                Err(before) => (-(before.duration().as_secs() as i64), 0),
            };
            Timespec {
                tv_sec: seconds,
                tv_nsec: nanoseconds.into(),
            }
        }
    }
}

impl Filesystem for Requests {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Older systems do without.
        let _without = config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        enter(reply, self.store.lookup(parent.0, name));
    }

    fn forget(&self, _: &Request, ino: INodeNo, nlookup: u64) {
        self.store.forget(ino.0, nlookup);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.store.attributes(ino.0) {
            Ok(found) => reply.attr(&REMEMBERED, &attributes(&found)),
            Err(error) => reply.error(failed(error)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let times = (atime.is_some() || mtime.is_some()).then(|| Timestamps {
            last_access: timestamp(atime),
            last_modification: timestamp(mtime),
        });
        let resized = size.map_or(Ok(()), |size| self.store.resize(ino.0, size));
        let changed = resized
            .and_then(|()| self.store.change_attributes(ino.0, mode, (uid, gid), times))
            .and_then(|()| self.store.attributes(ino.0));
        match changed {
            Ok(found) => reply.attr(&REMEMBERED, &attributes(&found)),
            Err(error) => reply.error(failed(error)),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.store.read_link(ino.0) {
            Ok(target) => reply.data(target.as_encoded_bytes()),
            Err(error) => reply.error(failed(error)),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let node = Make::Node(rustix::fs::FileType::from_raw_mode(mode), rdev.into());
        let slot = (parent.0, name.to_owned());
        enter(reply, self.store.make(slot, node, mode, owner(request)));
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let slot = (parent.0, name.to_owned());
        enter(
            reply,
            self.store.make(slot, Make::Directory, mode, owner(request)),
        );
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.store.unlink((parent.0, name.to_owned())));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.store.remove_directory((parent.0, name.to_owned())));
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        link_name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let slot = (parent.0, link_name.to_owned());
        enter(
            reply,
            self.store
                .make(slot, Make::Symlink(target), 0o777, owner(request)),
        );
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        let (from, to) = ((parent.0, name.to_owned()), (newparent.0, newname.to_owned()));
        done(reply, self.store.rename(from, to, flags));
    }

    fn link(&self, _: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        enter(reply, self.store.link(ino.0, (newparent.0, newname.to_owned())));
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.store.open(ino.0) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(failed(error)),
        }
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let slot = (parent.0, name.to_owned());
        match self.store.create(slot, mode, owner(request)) {
            Ok((found, handle)) => reply.created(
                &REMEMBERED,
                &attributes(&found),
                Generation(0),
                FileHandle(handle),
                FopenFlags::FOPEN_KEEP_CACHE,
            ),
            Err(error) => reply.error(failed(error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; size as usize];
        match self.store.read(fh.0, offset, &mut bytes) {
            Ok(count) => reply.data(&bytes[..count]),
            Err(error) => reply.error(failed(error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = match self.store.write(fh.0, offset, data) {
            Ok(written) => written as u32,
            Err(error) => return reply.error(failed(error)),
        };
        let flags = flags.0 as u32;
        let sync = if flags & O_SYNC == O_SYNC {
            Sync::All
        } else if flags & O_DSYNC != 0 {
            Sync::Data
        } else {
            return reply.written(written);
        };
        self.sync(move |store, fails| match store.sync(fh.0, sync, fails) {
            Ok(()) => {
                store.write_synced(fh.0, sync);
                reply.written(written);
            }
            Err(error) => reply.error(failed(error)),
        });
    }

    /// The end of one descriptor changes nothing, and the system asks no more.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(failed(Errno::NOSYS));
    }

    /// There are none, and the system asks no more.
    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(failed(Errno::NOSYS));
    }

    fn listxattr(&self, _: &Request, _: INodeNo, _: u32, reply: ReplyXattr) {
        reply.error(failed(Errno::NOSYS));
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.store.close(fh.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        let sync = if datasync { Sync::Data } else { Sync::All };
        if self.store.is_synced_write(fh.0, sync) {
            return reply.ok();
        }
        self.sync(move |store, fails| done(reply, store.sync(fh.0, sync, fails)));
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let era = self.store.era();
        self.sync(move |store, fails| done(reply, store.sync_directory(ino.0, era, fails)));
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let listing = self.next_listing.fetch_add(1, Ordering::Relaxed);
        reply.opened(FileHandle(listing), FopenFlags::empty());
    }

    fn readdir(&self, _: &Request, ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut listings = self.listings();
        // Who begins anew sees what is new.
        if offset == 0 {
            match self.store.entries(ino.0) {
                Ok(entries) => listings.insert(fh.0, entries),
                Err(error) => return reply.error(failed(error)),
            };
        }
        let entries = listings.get(&fh.0).map(Vec::as_slice).unwrap_or_default();
        let dots = [(".", ino.0), ("..", ino.0)].map(|(name, id)| (OsStr::new(name), id, Kind::Directory));
        let entries = entries
            .iter()
            .map(|(name, id, kind)| (name.as_os_str(), *id, *kind));
        let all = (1..).zip(dots.into_iter().chain(entries));
        for (next, (name, id, kind)) in all.skip(offset as usize) {
            if reply.add(INodeNo(id), next, file_type(kind), name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.listings().remove(&fh.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.store.space() {
            Ok(space) => reply.statfs(
                space.f_blocks,
                space.f_bfree,
                space.f_bavail,
                space.f_files,
                space.f_ffree,
                space.f_bsize as u32,
                space.f_namemax as u32,
                space.f_frsize as u32,
            ),
            Err(error) => reply.error(failed(error)),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let flags = FallocateFlags::from_bits_retain(mode as u32);
        let grows = !flags.contains(FallocateFlags::KEEP_SIZE);
        let how = match flags - FallocateFlags::KEEP_SIZE {
            rest if rest.is_empty() => Allocate::Reserve { grows },
            FallocateFlags::PUNCH_HOLE => Allocate::Punch,
            FallocateFlags::ZERO_RANGE => Allocate::Zero { grows },
            _ => return reply.error(failed(Errno::OPNOTSUPP)),
        };
        let Some(end) = offset.checked_add(length) else {
            return reply.error(failed(Errno::FBIG));
        };
        done(reply, self.store.allocate(fh.0, offset..end, how));
    }

    fn lseek(&self, _: &Request, _: INodeNo, fh: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let at = offset.max(0) as u64;
        // The system asks for nothing else.
        let to = if whence == SEEK_HOLE {
            SeekFrom::Hole(at)
        } else {
            SeekFrom::Data(at)
        };
        match self.store.seek(fh.0, to) {
            Ok(found) => reply.offset(found as i64),
            Err(error) => reply.error(failed(error)),
        }
    }
}

/// From `linux/fs.h`.
const SEEK_HOLE: i32 = 4;
/// From `asm-generic/fcntl.h`, which x86, ARM and RISC-V have.
const O_DSYNC: u32 = 0o10000;
const O_SYNC: u32 = 0o4010000;
