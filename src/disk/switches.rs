//! Which faults a disk has at the moment, what each does to the next request, and what each has hit. Pure.

use std::num::NonZeroU32;
use std::time::Duration;

use super::content::{BLOCK, Content};
use std::ops::Range;

/// What a power loss took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// Files whose content was not all durable.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Names that came or went, and do so no longer; a rename is two of them.
    pub entries: u64,
    /// Renames among them.
    pub renames: u64,
}

impl Lost {
    /// Whether everything was durable.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_nothing() {
            return f.write_str("nothing");
        }
        let Self {
            files,
            bytes,
            entries,
            renames,
        } = self;
        write!(
            f,
            "{bytes} bytes of {files} files, {entries} entries of directories ({renames} renames)"
        )
    }
}

/// What the faults of a disk have hit since it was mounted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskHits {
    /// Syncs of files and directories, and writes with `O_SYNC` or `O_DSYNC`.
    pub syncs: u64,
    /// Those that were delayed.
    pub syncs_delayed: u64,
    /// Those that failed.
    pub syncs_failed: u64,
    /// Requests that did not get all the space they wanted.
    pub writes_refused: u64,
    /// How often the power was lost.
    pub power_losses: u64,
    /// What that took, all together.
    pub lost: Lost,
}

/// What becomes of one sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) delay: Option<Duration>,
    pub(super) fails: bool,
}

#[derive(Debug, Default)]
pub(super) struct Switches {
    /// How much may be used, in bytes.
    full_at: Option<u64>,
    /// How much is used.
    used: u64,
    slow: Option<Duration>,
    /// One in so many fails.
    failing: Option<NonZeroU32>,
    /// Syncs since then.
    syncs: u32,
    hits: DiskHits,
}

impl Switches {
    pub(super) fn set_full(&mut self, bytes: Option<u64>) {
        self.full_at = bytes;
    }

    pub(super) fn set_slow(&mut self, delay: Option<Duration>) {
        self.slow = delay.filter(|delay| !delay.is_zero());
    }

    pub(super) fn set_failing(&mut self, one_in: Option<NonZeroU32>) {
        self.failing = one_in;
        self.syncs = 0;
    }

    pub(super) fn heal(&mut self) {
        self.set_full(None);
        self.set_slow(None);
        self.set_failing(None);
    }

    pub(super) fn slow(&self) -> Option<Duration> {
        self.slow
    }

    pub(super) fn hits(&self) -> DiskHits {
        self.hits
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn set_used(&mut self, bytes: u64) {
        self.used = bytes;
    }

    /// A file that used `before` uses `after`.
    pub(super) fn uses(&mut self, before: u64, after: u64) {
        self.used = (self.used + after).saturating_sub(before);
    }

    /// A sync begins.
    pub(super) fn next_sync(&mut self) -> Fate {
        self.hits.syncs += 1;
        self.hits.syncs_delayed += u64::from(self.slow.is_some());
        let fails = self.failing.is_some_and(|one_in| {
            self.syncs = (self.syncs + 1) % one_in;
            self.syncs == 0
        });
        self.hits.syncs_failed += u64::from(fails);
        Fate {
            delay: self.slow,
            fails,
        }
    }

    /// How much of a write to `range` there is room for, from its beginning on. Empty: none.
    pub(super) fn room_for(&mut self, content: &Content, range: Range<u64>) -> Range<u64> {
        let Some(full_at) = self.full_at else {
            return range;
        };
        let fitting = content.fitting(range.clone(), full_at.saturating_sub(self.used));
        self.hits.writes_refused += u64::from(fitting != range);
        fitting
    }

    /// The power was lost.
    pub(super) fn lost(&mut self, lost: Lost) {
        self.hits.power_losses += 1;
        let all = &mut self.hits.lost;
        all.files += lost.files;
        all.bytes += lost.bytes;
        all.entries += lost.entries;
        all.renames += lost.renames;
    }

    /// How many blocks of the disk there are and how many are free, where it is full at some size.
    pub(super) fn blocks(&self) -> Option<(u64, u64)> {
        let full_at = self.full_at?;
        Some((full_at / BLOCK, full_at.saturating_sub(self.used) / BLOCK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::ranges::Ranges;

    #[test]
    fn one_in_so_many_syncs_fails_until_it_is_healed() {
        let mut switches = Switches::default();
        let fails = |switches: &mut Switches, count: usize| -> Vec<bool> {
            (0..count).map(|_| switches.next_sync().fails).collect()
        };
        assert_eq!(fails(&mut switches, 2), [false; 2]);
        switches.set_failing(NonZeroU32::new(3));
        assert_eq!(fails(&mut switches, 6), [false, false, true, false, false, true]);
        switches.set_failing(NonZeroU32::new(1));
        assert_eq!(fails(&mut switches, 2), [true; 2]);
        switches.heal();
        assert_eq!(fails(&mut switches, 2), [false; 2]);
        let hits = switches.hits();
        assert_eq!((hits.syncs, hits.syncs_failed, hits.syncs_delayed), (12, 4, 0));
    }

    #[test]
    fn a_sync_is_delayed_while_that_is_switched_on() {
        let mut switches = Switches::default();
        assert_eq!(switches.next_sync().delay, None);
        let delay = Duration::from_millis(7);
        switches.set_slow(Some(delay));
        assert_eq!(switches.next_sync().delay, Some(delay));
        switches.set_slow(Some(Duration::ZERO));
        assert_eq!(switches.next_sync().delay, None);
        assert_eq!(switches.hits().syncs_delayed, 1);
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_what_needs_no_room() {
        let mut switches = Switches::default();
        let mut content = Content::durable(2 * BLOCK, Ranges::of(0..2 * BLOCK));
        switches.set_used(content.used());
        assert_eq!(switches.room_for(&content, 0..1 << 40), 0..1 << 40);
        switches.set_full(Some(3 * BLOCK));
        // One block more, in the middle of a write that begins in a block it has.
        let begins = BLOCK + 10;
        assert_eq!(switches.room_for(&content, begins..5 * BLOCK), begins..3 * BLOCK);
        content.written(begins..3 * BLOCK);
        switches.uses(2 * BLOCK, content.used());
        assert_eq!(switches.used(), 3 * BLOCK);
        assert!(switches.room_for(&content, 3 * BLOCK..3 * BLOCK + 1).is_empty());
        assert_eq!(switches.room_for(&content, 0..3 * BLOCK), 0..3 * BLOCK);
        assert_eq!(switches.hits().writes_refused, 2);
        assert_eq!(switches.blocks(), Some((3, 0)));
        switches.heal();
        assert_eq!(
            switches.room_for(&content, 3 * BLOCK..9 * BLOCK),
            3 * BLOCK..9 * BLOCK
        );
        assert_eq!(switches.blocks(), None);
    }
}
