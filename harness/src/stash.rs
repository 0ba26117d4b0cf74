//! What a worker keeps from one case to the next, such as servers that are slow to start.
//!
//! Who puts something here says which processes and descriptors belong to it: those are no leak of the cases that run
//! meanwhile. It knows nothing of servers, and a worker that ends takes everything with it.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many things a worker keeps; one more, and the one that was kept longest is dropped.
const KEPT_MAX: usize = 4;

/// Something to be kept. Dropped, it ends with everything that belongs to it.
pub trait Kept: Any + Send {
    /// The process groups that belong to it, by their leaders' ids: children of this process, and what they started.
    fn groups(&self) -> Vec<u32>;

    /// The descriptors of this process that belong to it.
    fn descriptors(&self) -> Vec<u32>;
}

/// The things one worker keeps.
#[derive(Default)]
pub struct Stash {
    /// The one that was kept longest first.
    things: Mutex<Vec<(String, Box<dyn Kept>)>>,
    /// Whether there is any; most workers keep nothing, and look at this alone.
    is_used: AtomicBool,
}

/// What belongs to the things a worker keeps.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Holdings {
    /// Leaders of process groups.
    pub(crate) groups: BTreeSet<u32>,
    pub(crate) descriptors: BTreeSet<u32>,
}

impl std::fmt::Debug for Stash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<String> = self.things().iter().map(|(key, _)| key.clone()).collect();
        f.debug_tuple("Stash").field(&keys).finish()
    }
}

impl Stash {
    fn things(&self) -> MutexGuard<'_, Vec<(String, Box<dyn Kept>)>> {
        self.things.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the thing that was kept under `key` last, if there is one.
    pub fn take(&self, key: &str) -> Option<Box<dyn Any>> {
        let mut things = self.things();
        let place = things.iter().rposition(|(other, _)| other == key)?;
        let (_, thing) = things.remove(place);
        self.is_used.store(!things.is_empty(), Ordering::Relaxed);
        Some(thing)
    }

    /// Keeps a thing under `key`. Where there are too many then, the one that was kept longest is dropped.
    pub fn keep(&self, key: String, thing: Box<dyn Kept>) {
        let mut things = self.things();
        things.push((key, thing));
        self.is_used.store(true, Ordering::Relaxed);
        let too_many = (things.len() > KEPT_MAX).then(|| things.remove(0));
        drop(things);
        // What ends with it may take a moment.
        drop(too_many);
    }

    /// Of all things; made without a lock where there are none.
    pub(crate) fn holdings(&self) -> Holdings {
        let mut holdings = Holdings::default();
        if self.is_used.load(Ordering::Relaxed) {
            for (_, thing) in self.things().iter() {
                holdings.groups.extend(thing.groups());
                holdings.descriptors.extend(thing.descriptors());
            }
        }
        holdings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    struct Thing(u32, Arc<AtomicU32>);

    impl Kept for Thing {
        fn groups(&self) -> Vec<u32> {
            vec![self.0]
        }

        fn descriptors(&self) -> Vec<u32> {
            vec![self.0 + 100, self.0 + 200]
        }
    }

    impl Drop for Thing {
        fn drop(&mut self) {
            self.1.store(self.0, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_was_kept_longest_makes_room_and_what_is_left_is_told() {
        let (stash, dropped) = (Stash::default(), Arc::new(AtomicU32::new(0)));
        assert_eq!(stash.holdings(), Holdings::default());
        for number in 1..=5 {
            let key = if number == 4 { "three" } else { "other" };
            stash.keep(key.to_owned(), Box::new(Thing(number, Arc::clone(&dropped))));
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        assert!(stash.take("nothing").is_none());
        let taken: Box<Thing> = stash.take("other").unwrap().downcast().unwrap();
        assert_eq!(taken.0, 5, "the last one is warm");
        assert_eq!(stash.holdings().groups, BTreeSet::from([2, 3, 4]));
        assert_eq!(stash.holdings().descriptors.len(), 6);
        for key in ["three", "other", "other"] {
            assert!(stash.take(key).is_some());
        }
        assert_eq!(stash.holdings(), Holdings::default());
    }
}
