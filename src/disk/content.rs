//! What of one file's content is durable. Pure: it moves no bytes, it says which to put aside and which to put back.
//!
//! A file has its content as programs see it and its durable content. They differ in the ranges that are *dirty*
//! (written since the last sync) or *lost* (dirty when a sync failed). For those the durable bytes are *aside*; where
//! nothing was put aside, the aside content is zeros. Everywhere else both are the same as far as both files reach.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use super::ranges::Ranges;
use rand::RngExt as _;

/// What a disk writes whole or not at all, in bytes.
pub(super) const SECTOR: u64 = 512;
/// What a file system gives to a file at a time, in bytes.
pub(super) const BLOCK: u64 = 4096;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    size: u64,
    durable_size: u64,
    /// A sync failed since the size was changed.
    size_lost: bool,
    dirty: Ranges,
    lost: Ranges,
    /// The blocks it has of the disk.
    allocated: Ranges,
}

/// What a power loss does to a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loss {
    /// The bytes to be put back from aside.
    pub(super) restore: Ranges,
    /// The size it then has.
    pub(super) size: u64,
}

impl Content {
    /// Of a file that was there before: all of it is durable.
    pub(super) fn durable(size: u64, allocated: Ranges) -> Self {
        Self {
            size,
            durable_size: size,
            allocated,
            ..Self::default()
        }
    }

    pub(super) fn is_durable(&self) -> bool {
        self.size == self.durable_size && self.dirty.is_empty() && self.lost.is_empty()
    }

    /// How many bytes would go with the power.
    pub(super) fn volatile(&self) -> u64 {
        let bytes = self.dirty.union(&self.lost).total();
        bytes.max(self.size.abs_diff(self.durable_size))
    }

    /// How much of the disk it uses, in bytes.
    pub(super) fn used(&self) -> u64 {
        self.allocated.total()
    }

    /// As much of a write to `range` as `room` more bytes of the disk allow, from its beginning on.
    pub(super) fn fitting(&self, range: Range<u64>, room: u64) -> Range<u64> {
        let mut left = room / BLOCK * BLOCK;
        for part in self.allocated.missing(blocks(range.clone())).iter() {
            let length = part.end - part.start;
            if length > left {
                let end = (part.start + left).clamp(range.start, range.end);
                return range.start..end;
            }
            left -= length;
        }
        range
    }

    /// What is to be put aside before `range` changes or is cut off.
    pub(super) fn to_put_aside(&self, range: Range<u64>) -> Ranges {
        let end = range.end.min(self.durable_size).min(self.size);
        let mut needed = Ranges::of(range.start..end.max(range.start));
        for known in self
            .dirty
            .within(range.clone())
            .union(&self.lost.within(range))
            .iter()
        {
            needed.remove(known);
        }
        needed
    }

    /// `range` was written.
    pub(super) fn written(&mut self, range: Range<u64>) {
        self.changed(range.clone());
        self.allocated.insert(blocks(range.clone()));
        if range.end > self.size.min(self.durable_size) {
            self.size_lost = false;
        }
        self.zeros_up_to(range.start);
        self.size = self.size.max(range.end);
    }

    /// `range` was given to the file; `grows` it to that range's end.
    pub(super) fn preallocated(&mut self, range: Range<u64>, grows: bool) {
        self.allocated.insert(blocks(range.clone()));
        if grows && range.end > self.size {
            self.resized(range.end);
        }
    }

    /// `range` became zeros, and is given back to the disk if it was `punched`.
    pub(super) fn zeroed(&mut self, range: Range<u64>, punched: bool) {
        let range = range.start..range.end.min(self.size).max(range.start);
        self.changed(range.clone());
        if punched {
            let whole = range.start.next_multiple_of(BLOCK)..range.end / BLOCK * BLOCK;
            if whole.start < whole.end {
                self.allocated.remove(whole);
            }
        } else {
            self.allocated.insert(blocks(range));
        }
    }

    /// It was cut off or extended with zeros.
    pub(super) fn resized(&mut self, size: u64) {
        if size < self.size {
            self.changed(size..self.size);
            self.allocated.remove(size.next_multiple_of(BLOCK)..u64::MAX);
        }
        self.zeros_up_to(size);
        if size != self.size {
            self.size_lost = false;
        }
        self.size = size;
    }

    /// Between its end and `start` it now has zeros: a cut that a failed sync lost is made anew.
    fn zeros_up_to(&mut self, start: u64) {
        let beyond = self.size..start.max(self.size);
        for part in self.lost.within(beyond).iter() {
            self.changed(part);
        }
    }

    fn changed(&mut self, range: Range<u64>) {
        self.lost.remove(range.clone());
        self.dirty.insert(range);
    }

    /// A sync succeeded. Returns what need no longer be aside: there it has to be zeros from now on.
    pub(super) fn synced(&mut self) -> Ranges {
        let mut free = std::mem::take(&mut self.dirty);
        if !self.size_lost {
            // What was lost beyond a cut that is now durable can never come back.
            for part in self.lost.within(self.size..u64::MAX).iter() {
                free.insert(part);
            }
            self.lost.remove(self.size..u64::MAX);
            self.durable_size = self.size;
        }
        free
    }

    /// A sync failed: as with Linux, what was dirty counts as clean from now on and is not written again.
    pub(super) fn failed(&mut self) {
        for range in std::mem::take(&mut self.dirty).iter() {
            self.lost.insert(range);
        }
        self.size_lost = self.size != self.durable_size;
    }

    /// What is left after a power loss: the durable content, or `torn`.
    pub(super) fn loss(&self, torn: Option<&mut ChaCha8Rng>) -> Loss {
        let gone = self.dirty.union(&self.lost);
        let Some(rng) = torn else {
            let size = self.durable_size;
            return Loss {
                restore: gone.within(0..size),
                size,
            };
        };
        let size = self.torn_size(rng);
        let mut restore = self.lost.within(0..size);
        for sector in sectors(&self.dirty) {
            let parts = self.dirty.within(sector.clone());
            if rng.random_bool(0.5) {
                // It arrived, as far as there is anything: what was cut off comes back as it was.
                for part in parts.within(self.size..u64::MAX).iter() {
                    restore.insert(part);
                }
            } else {
                for part in parts.iter() {
                    restore.insert(part);
                }
            }
        }
        Loss {
            restore: restore.within(0..size),
            size,
        }
    }

    /// A file grows by sectors, and is cut off at once.
    fn torn_size(&self, rng: &mut ChaCha8Rng) -> u64 {
        let (old, new) = (self.durable_size, self.size);
        if self.size_lost || old == new {
            return old;
        }
        if new < old {
            return if rng.random_bool(0.5) { new } else { old };
        }
        let steps = (new - old).div_ceil(SECTOR);
        match rng.random_range(0..=steps) {
            0 => old,
            step if step == steps => new,
            step => ((old / SECTOR + step) * SECTOR).min(new),
        }
    }
}

/// The sectors that `ranges` touch, in order.
fn sectors(ranges: &Ranges) -> Vec<Range<u64>> {
    let mut sectors: Vec<Range<u64>> = Vec::new();
    for range in ranges.iter() {
        let mut start = range.start / SECTOR * SECTOR;
        while start < range.end {
            if sectors.last().is_none_or(|last| last.start < start) {
                sectors.push(start..start + SECTOR);
            }
            start += SECTOR;
        }
    }
    sectors
}

fn blocks(range: Range<u64>) -> Range<u64> {
    if range.is_empty() {
        return 0..0;
    }
    range.start / BLOCK * BLOCK..range.end.next_multiple_of(BLOCK)
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
