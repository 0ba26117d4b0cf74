//! The bytes of one file: the live ones in the backing directory, and beside it those that a power loss brings back.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rand_chacha::ChaCha8Rng;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::content::Content;
use super::ranges::Ranges;
use super::switches::Switches;

/// So much is copied at a time, in bytes.
const CHUNK: u64 = 64 << 10;

#[derive(Debug)]
pub(super) struct Data {
    /// The file with the bytes that are aside; there while there are any.
    aside_path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    content: Content,
    aside: Option<File>,
    /// The live file, while anybody has it open.
    live: Weak<File>,
    /// Whether it counts as a user of the disk.
    counts: bool,
}

/// What to do with a part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allocate {
    /// Give it blocks, and let it grow to them or not.
    Reserve { grows: bool },
    /// Make it zeros that take no blocks.
    Punch,
    /// Make it zeros that do, and let it grow to them or not.
    Zero { grows: bool },
}

impl Data {
    pub(super) fn new(content: Content, aside_path: PathBuf) -> Self {
        let state = State {
            content,
            aside: None,
            live: Weak::new(),
            counts: true,
        };
        Self {
            aside_path,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The live file, which is at `path`.
    pub(super) fn open(&self, path: &Path) -> Result<Arc<File>, Errno> {
        let mut state = self.state();
        if let Some(live) = state.live.upgrade() {
            return Ok(live);
        }
        let file = File::options().read(true).write(true).open(path).map_err(errno)?;
        let live = Arc::new(file);
        state.live = Arc::downgrade(&live);
        Ok(live)
    }

    /// The live file was made, and is this one.
    pub(super) fn opened(&self, file: File) -> Arc<File> {
        let live = Arc::new(file);
        self.state().live = Arc::downgrade(&live);
        live
    }

    /// Somebody no longer has it open: nothing is kept open for it when that was the last one.
    pub(super) fn closed(&self) {
        let mut state = self.state();
        if state.live.strong_count() == 0 && state.content.is_durable() && state.aside.take().is_some() {
            let _gone = std::fs::remove_file(&self.aside_path);
        }
    }

    /// Writes what there is room for. Returns how many bytes that was.
    pub(super) fn write(
        &self,
        live: &File,
        switches: &Mutex<Switches>,
        offset: u64,
        bytes: &[u8],
    ) -> Result<usize, Errno> {
        let mut state = self.state();
        let wanted = offset..offset.checked_add(bytes.len() as u64).ok_or(Errno::FBIG)?;
        let range = lock(switches).room_for(&state.content, wanted);
        let bytes = &bytes[..(range.end - range.start) as usize];
        if bytes.is_empty() {
            return Err(Errno::NOSPC);
        }
        self.put_aside(&mut state, live, range)?;
        let written = live.write_at(bytes, offset).map_err(errno)?;
        state.change(switches, |content| {
            content.written(offset..offset + written as u64)
        });
        Ok(written)
    }

    pub(super) fn resize(&self, live: &File, switches: &Mutex<Switches>, size: u64) -> Result<(), Errno> {
        let mut state = self.state();
        self.put_aside(&mut state, live, size..u64::MAX)?;
        live.set_len(size).map_err(errno)?;
        state.change(switches, |content| content.resized(size));
        Ok(())
    }

    pub(super) fn allocate(
        &self,
        live: &File,
        switches: &Mutex<Switches>,
        range: Range<u64>,
        how: Allocate,
    ) -> Result<(), Errno> {
        let mut state = self.state();
        let length = range.end - range.start;
        if how != Allocate::Punch && lock(switches).room_for(&state.content, range.clone()) != range {
            return Err(Errno::NOSPC);
        }
        if !matches!(how, Allocate::Reserve { .. }) {
            self.put_aside(&mut state, live, range.clone())?;
        }
        let keep = |grows: bool| {
            if grows {
                FallocateFlags::empty()
            } else {
                FallocateFlags::KEEP_SIZE
            }
        };
        let flags = match how {
            Allocate::Reserve { grows } => keep(grows),
            Allocate::Punch => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            Allocate::Zero { grows } => FallocateFlags::ZERO_RANGE | keep(grows),
        };
        rustix::fs::fallocate(live, flags, range.start, length)?;
        state.change(switches, |content| match how {
            Allocate::Reserve { grows } => content.preallocated(range, grows),
            Allocate::Punch => content.zeroed(range, true),
            Allocate::Zero { grows } => {
                content.zeroed(range.clone(), false);
                content.preallocated(range, grows);
            }
        });
        Ok(())
    }

    /// A sync succeeded.
    pub(super) fn synced(&self) -> Result<(), Errno> {
        let mut state = self.state();
        let free = state.content.synced();
        let is_durable = state.content.is_durable();
        let Some(aside) = &state.aside else {
            return Ok(());
        };
        if is_durable {
            return aside.set_len(0).map_err(errno);
        }
        for range in free.iter() {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(aside, flags, range.start, range.end - range.start)?;
        }
        Ok(())
    }

    /// A sync failed.
    pub(super) fn failed(&self) {
        self.state().content.failed();
    }

    /// It no longer counts as a user of the disk: nobody can reach it any more.
    pub(super) fn discount(&self, switches: &Mutex<Switches>) {
        let mut state = self.state();
        if std::mem::take(&mut state.counts) {
            lock(switches).uses(state.content.used(), 0);
        }
    }

    /// Removes what is aside.
    pub(super) fn remove(&self) {
        if self.state().aside.take().is_some() {
            let _gone = std::fs::remove_file(&self.aside_path);
        }
    }

    /// How much of it is not durable, in bytes; `None` when all of it is.
    pub(super) fn volatile(&self) -> Option<u64> {
        let state = self.state();
        (!state.content.is_durable()).then(|| state.content.volatile())
    }

    /// The power is lost: makes the file at `path` what is left of it.
    pub(super) fn revert(&self, path: &Path, torn: Option<&mut ChaCha8Rng>) -> Result<(), Errno> {
        let state = self.state();
        if state.content.is_durable() {
            return Ok(());
        }
        let loss = state.content.loss(torn);
        let live = match state.live.upgrade() {
            Some(live) => live,
            None => Arc::new(File::options().read(true).write(true).open(path).map_err(errno)?),
        };
        for range in loss.restore.iter() {
            copy(state.aside.as_ref(), &live, range, Zeros::Written)?;
        }
        live.set_len(loss.size).map_err(errno)
    }

    fn put_aside(&self, state: &mut State, live: &File, range: Range<u64>) -> Result<(), Errno> {
        let needed = state.content.to_put_aside(range);
        if needed.is_empty() {
            return Ok(());
        }
        if state.aside.is_none() {
            let options = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .clone();
            state.aside = Some(options.open(&self.aside_path).map_err(errno)?);
        }
        let Some(aside) = &state.aside else {
            return Err(Errno::IO);
        };
        for range in needed.iter() {
            copy(Some(live), aside, range, Zeros::LeftOut)?;
        }
        Ok(())
    }
}

impl State {
    fn change(&mut self, switches: &Mutex<Switches>, change: impl FnOnce(&mut Content)) {
        let before = self.content.used();
        change(&mut self.content);
        if self.counts {
            lock(switches).uses(before, self.content.used());
        }
    }
}

/// What happens to chunks without anything in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zeros {
    Written,
    /// They are zeros there already.
    LeftOut,
}

/// Copies a part of a file to the same place in another; beyond its end it is zeros, and so is no file.
fn copy(from: Option<&File>, to: &File, range: Range<u64>, zeros: Zeros) -> Result<(), Errno> {
    let mut buffer = vec![0; CHUNK.min(range.end - range.start) as usize];
    let mut at = range.start;
    while at < range.end {
        let chunk = &mut buffer[..CHUNK.min(range.end - at) as usize];
        let mut read = 0;
        while let Some(from) = from
            && read < chunk.len()
        {
            match from
                .read_at(&mut chunk[read..], at + read as u64)
                .map_err(errno)?
            {
                0 => break,
                count => read += count,
            }
        }
        chunk[read..].fill(0);
        if zeros == Zeros::Written || chunk.iter().any(|&byte| byte != 0) {
            to.write_all_at(chunk, at).map_err(errno)?;
        }
        at += chunk.len() as u64;
    }
    Ok(())
}

pub(super) fn lock(switches: &Mutex<Switches>) -> MutexGuard<'_, Switches> {
    switches.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// The blocks that a file has on the machine's disk.
pub(super) fn allocated(path: &Path, size: u64, blocks_bytes: u64) -> std::io::Result<Ranges> {
    if blocks_bytes >= size {
        return Ok(Ranges::of(0..size.next_multiple_of(super::content::BLOCK)));
    }
    use rustix::fs::{SeekFrom, seek};
    let file = File::open(path)?;
    let (mut all, mut at) = (Ranges::default(), 0);
    while at < size {
        let data = match seek(&file, SeekFrom::Data(at)) {
            Ok(data) => data,
            // None after it.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        at = seek(&file, SeekFrom::Hole(data))?;
        all.insert(
            data / super::content::BLOCK * super::content::BLOCK..at.next_multiple_of(super::content::BLOCK),
        );
    }
    Ok(all)
}
