//! The rules for content one by one, and all of them against a file whose every byte is looked at alone.

use std::collections::BTreeSet;

use rand::SeedableRng as _;

use super::*;

/// A file with the bytes that the rules are about, as `data` has them.
#[derive(Debug, Default, Clone)]
struct File {
    content: Content,
    live: Vec<u8>,
    aside: Vec<u8>,
}

impl File {
    fn put_aside(&mut self, range: Range<u64>) {
        for part in self.content.to_put_aside(range).iter() {
            let (start, end) = (part.start as usize, part.end as usize);
            if self.aside.len() < end {
                self.aside.resize(end, 0);
            }
            self.aside[start..end].copy_from_slice(&self.live[start..end]);
        }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        let range = at as u64..(at + bytes.len()) as u64;
        self.put_aside(range.clone());
        if self.live.len() < at + bytes.len() {
            self.live.resize(at + bytes.len(), 0);
        }
        self.live[at..at + bytes.len()].copy_from_slice(bytes);
        self.content.written(range);
    }

    fn resize(&mut self, size: usize) {
        self.put_aside(size as u64..u64::MAX);
        self.live.resize(size, 0);
        self.content.resized(size as u64);
    }

    fn zero(&mut self, start: usize, end: usize) {
        self.put_aside(start as u64..end as u64);
        let (start_live, end_live) = (start.min(self.live.len()), end.min(self.live.len()));
        self.live[start_live..end_live].fill(0);
        self.content.zeroed(start as u64..end as u64, false);
    }

    fn sync(&mut self) {
        for free in self.content.synced().iter() {
            let end = free.end.min(self.aside.len() as u64) as usize;
            self.aside[(free.start as usize).min(end)..end].fill(0);
        }
    }

    /// What is left without power.
    fn after(&self, torn: Option<&mut ChaCha8Rng>) -> Vec<u8> {
        let loss = self.content.loss(torn);
        let mut left = self.live.clone();
        for range in loss.restore.iter() {
            for at in range.start as usize..range.end as usize {
                if left.len() <= at {
                    left.resize(at + 1, 0);
                }
                left[at] = self.aside.get(at).copied().unwrap_or(0);
            }
        }
        left.resize(loss.size as usize, 0);
        left
    }
}

/// The same rules a byte at a time, and nothing put aside: the durable content is simply there.
#[derive(Debug, Default, Clone)]
struct Naive {
    live: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    lost: BTreeSet<usize>,
    size_lost: bool,
}

impl Naive {
    fn change(&mut self, start: usize, end: usize) {
        for at in start..end {
            self.lost.remove(&at);
            self.dirty.insert(at);
        }
    }

    /// What a failed sync lost between the end and `start` is zeros now.
    fn grow_to(&mut self, start: usize) {
        for at in self.live.len()..start {
            if self.lost.remove(&at) {
                self.dirty.insert(at);
            }
        }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        self.change(at, end);
        if end > self.live.len().min(self.durable.len()) {
            self.size_lost = false;
        }
        self.grow_to(at);
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[at..end].copy_from_slice(bytes);
    }

    fn resize(&mut self, size: usize) {
        let before = self.live.len();
        self.change(size, before);
        self.grow_to(size);
        self.size_lost &= size == before;
        self.live.resize(size, 0);
    }

    fn sync(&mut self) {
        if !self.size_lost {
            self.durable.resize(self.live.len(), 0);
            self.lost.retain(|&at| at < self.live.len());
        }
        for at in 0..self.durable.len().min(self.live.len()) {
            if !self.lost.contains(&at) {
                self.durable[at] = self.live[at];
            }
        }
        self.dirty.clear();
    }

    fn fail(&mut self) {
        self.lost.append(&mut self.dirty);
        self.size_lost = self.live.len() != self.durable.len();
    }
}

#[test]
fn random_histories_leave_what_the_rules_say_byte_by_byte() {
    for seed in 0..100 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut file, mut naive) = (File::default(), Naive::default());
        // Several sectors, in steps that meet their ends.
        let place = |rng: &mut ChaCha8Rng| rng.random_range(0..40_usize) * 64;
        for step in 1..40_u8 {
            let (start, length) = (place(&mut rng), 1 + place(&mut rng) / 4);
            match rng.random_range(0..12) {
                0..6 => {
                    let bytes = vec![step; length];
                    file.write(start, &bytes);
                    naive.write(start, &bytes);
                }
                6 | 7 => {
                    file.resize(start);
                    naive.resize(start);
                }
                8 => {
                    file.zero(start, start + length);
                    let end = (start + length).min(naive.live.len());
                    naive.change(start, end);
                    if start < end {
                        naive.live[start..end].fill(0);
                    }
                }
                9 => {
                    file.content.failed();
                    naive.fail();
                }
                _ => {
                    file.sync();
                    naive.sync();
                }
            }
            assert_eq!(file.live, naive.live);
            assert_eq!(file.after(None), naive.durable, "seed {seed} step {step}");
            if file.content.is_durable() {
                assert_eq!(file.live, naive.durable, "seed {seed} step {step}");
            }
            let torn = file.after(Some(&mut rng));
            check_torn(&torn, &naive, seed);
        }
    }
}

/// Every sector has its durable content or its last one, where that was neither durable nor given up; zeros where a file
/// grew are content too.
fn check_torn(torn: &[u8], naive: &Naive, seed: u64) {
    let (old, new) = (naive.durable.len(), naive.live.len());
    let (low, high) = if naive.size_lost {
        (old, old)
    } else {
        (old.min(new), old.max(new))
    };
    assert!(
        (low..=high).contains(&torn.len()),
        "seed {seed}: {} of {low}..={high}",
        torn.len()
    );
    let sector = SECTOR as usize;
    for (number, bytes) in torn.chunks(sector).enumerate() {
        let from = |content: &[u8], is_live: bool| {
            bytes.iter().enumerate().all(|(at, &byte)| {
                let at = number * sector + at;
                let is_last = is_live && !naive.lost.contains(&at) && at < new;
                let durable = naive.durable.get(at).copied().unwrap_or(0);
                byte == if is_last {
                    content.get(at).copied().unwrap_or(0)
                } else {
                    durable
                }
            })
        };
        let is_one = from(&naive.live, true) || from(&naive.durable, false);
        assert!(is_one, "seed {seed} sector {number}: {bytes:?}");
    }
}

#[test]
fn appended_bytes_are_there_once_synced_and_not_before() {
    let mut file = File::default();
    file.write(0, b"first ");
    assert_eq!(file.after(None), b"");
    file.sync();
    file.write(6, b"second");
    assert_eq!(file.content.volatile(), 6);
    assert_eq!(file.after(None), b"first ");
    file.sync();
    assert_eq!(file.after(None), b"first second");
    assert!(file.content.is_durable());
}

#[test]
fn what_a_failed_sync_lost_no_later_one_brings_back_unless_it_is_written_again() {
    let mut file = File::default();
    file.write(0, b"aaaa");
    file.sync();
    file.write(0, b"bb");
    file.content.failed();
    file.sync();
    assert_eq!(file.live, b"bbaa");
    assert_eq!(file.after(None), b"aaaa");
    file.write(1, b"c");
    file.sync();
    assert_eq!(file.after(None), b"acaa");
    file.write(4, b"dddd");
    file.content.failed();
    file.sync();
    assert_eq!(file.after(None), b"acaa");
    file.write(8, b"e");
    file.sync();
    assert_eq!(file.after(None), b"acaa\0\0\0\0e");
}

#[test]
fn a_cut_is_undone_with_all_that_it_cut_off() {
    let mut file = File::default();
    file.write(0, b"0123456789");
    file.sync();
    file.resize(2);
    file.write(4, b"x");
    assert_eq!(file.live, b"01\0\0x");
    assert_eq!(file.after(None), b"0123456789");
    file.sync();
    assert_eq!(file.after(None), b"01\0\0x");
}

#[test]
fn torn_writes_differ_by_seed_and_are_the_same_for_one() {
    let mut file = File::default();
    file.write(0, &[1; 64 * 512]);
    file.sync();
    file.write(0, &[2; 64 * 512]);
    let torn = |seed| file.after(Some(&mut ChaCha8Rng::seed_from_u64(seed)));
    assert_eq!(torn(1), torn(1));
    assert_ne!(torn(1), torn(2));
    let arrived = torn(1).chunks(512).filter(|sector| sector == &[2; 512]).count();
    assert!((10..=54).contains(&arrived), "{arrived}");
}

#[test]
fn blocks_are_used_by_what_is_written_or_reserved_and_not_by_holes() {
    let mut content = Content::default();
    content.resized(1 << 30);
    assert_eq!(content.used(), 0);
    content.written(10..11);
    content.preallocated(BLOCK..4 * BLOCK, false);
    assert_eq!(content.used(), 4 * BLOCK);
    content.zeroed(BLOCK + 1..3 * BLOCK, true);
    assert_eq!(content.used(), 3 * BLOCK);
    content.resized(BLOCK);
    assert_eq!(content.used(), BLOCK);
}
