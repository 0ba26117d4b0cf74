//! A set of bytes of a file. Pure.

use std::collections::BTreeMap;
use std::ops::Range;

/// Ranges that neither overlap nor touch, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    pub(super) fn of(range: Range<u64>) -> Self {
        let mut ranges = Self::default();
        ranges.insert(range);
        ranges
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().map(|(&start, &end)| start..end)
    }

    /// How many bytes it has.
    pub(super) fn total(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }

    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        while let Some((&before, &before_end)) = self.0.range(..=end).next_back()
            && before_end >= start
        {
            start = start.min(before);
            end = end.max(before_end);
            self.0.remove(&before);
        }
        self.0.insert(start, end);
    }

    pub(super) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((&start, &end)) = self.0.range(..range.end).next_back()
            && end > range.start
        {
            self.0.remove(&start);
            if end > range.end {
                self.0.insert(range.end, end);
            }
            if start < range.start {
                self.0.insert(start, range.start);
            }
        }
    }

    /// What it has of `range`.
    pub(super) fn within(&self, range: Range<u64>) -> Self {
        let before = self.0.range(..range.start).next_back();
        let inside = self.0.range(range.start..range.end.max(range.start));
        let parts = before.into_iter().chain(inside);
        let cut = parts.map(|(&start, &end)| start.max(range.start)..end.min(range.end));
        Self(
            cut.filter(|part| !part.is_empty())
                .map(|part| (part.start, part.end))
                .collect(),
        )
    }

    /// What it has not of `range`.
    pub(super) fn missing(&self, range: Range<u64>) -> Self {
        let mut missing = Self::of(range.clone());
        for part in self.within(range).iter() {
            missing.remove(part);
        }
        missing
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for range in other.iter() {
            all.insert(range);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt as _, SeedableRng as _};

    #[test]
    fn random_sets_are_as_sets_of_single_bytes() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for _ in 0..200 {
            let (mut ranges, mut bytes) = (Ranges::default(), [false; 64]);
            for _ in 0..20 {
                let start = rng.random_range(0..64_usize);
                let end = rng.random_range(start..=64);
                let is_in = rng.random_bool(0.6);
                let range = start as u64..end as u64;
                if is_in {
                    ranges.insert(range);
                } else {
                    ranges.remove(range);
                }
                bytes[start..end].fill(is_in);
            }
            let start = rng.random_range(0..64_u64);
            let end = rng.random_range(start..=64);
            for (parts, wanted) in [
                (ranges.clone(), true),
                (ranges.within(start..end), true),
                (ranges.missing(start..end), false),
            ] {
                let is_all = parts == ranges;
                let has = |byte: u64| parts.iter().any(|part| part.contains(&byte));
                for byte in 0..64_u64 {
                    let inside = is_all || (start..end).contains(&byte);
                    assert_eq!(
                        has(byte),
                        inside && bytes[byte as usize] == wanted,
                        "{ranges:?} {byte}"
                    );
                }
                let list: Vec<_> = parts.iter().collect();
                assert!(
                    list.windows(2).all(|pair| pair[0].end < pair[1].start),
                    "{list:?}"
                );
                assert_eq!(
                    parts.total(),
                    list.iter().map(|part| part.end - part.start).sum::<u64>()
                );
            }
        }
    }
}
