//! Which names there are, as programs see them and durably. Pure.
//!
//! Both trees are kept whole, and the places (a directory and a name in it) at which they differ. A sync makes places
//! durable and, with each, all other places of what is or was named there: so a rename is durable at both its ends or
//! at none, and what is named in a new directory has a durable way to it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// A file, directory or anything else that has names; never used again for another.
pub(super) type Id = u64;

pub(super) const ROOT: Id = 1;

/// A directory and a name in it.
pub(super) type Slot = (Id, OsString);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    Symlink,
    Pipe,
    Socket,
    Device,
}

/// How much of a file a sync is asked to make durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sync {
    /// `fsync`.
    All,
    /// `fdatasync`.
    Data,
}

#[derive(Debug, Clone)]
pub(super) struct Names {
    nodes: BTreeMap<Id, Node>,
    /// Where the two trees differ.
    changed: BTreeSet<Slot>,
    next: Id,
}

#[derive(Debug, Clone)]
struct Node {
    kind: Kind,
    /// Its names as programs see them.
    live: BTreeSet<Slot>,
    /// Its durable names.
    durable: BTreeSet<Slot>,
    /// Of a directory: what is in it.
    entries: BTreeMap<OsString, Id>,
    /// The same durably.
    kept: BTreeMap<OsString, Id>,
    /// How often the system was told of it and did not forget it.
    held: u64,
}

/// One place that a power loss changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reversal {
    pub(super) slot: Slot,
    /// What is there.
    pub(super) live: Option<Id>,
    /// What is there durably.
    pub(super) durable: Option<Id>,
}

impl Node {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            live: BTreeSet::new(),
            durable: BTreeSet::new(),
            entries: BTreeMap::new(),
            kept: BTreeMap::new(),
            held: 0,
        }
    }
}

impl Names {
    /// A root with nothing in it; the first other id is `next` or more.
    pub(super) fn new(next: Id) -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Node::new(Kind::Directory))]),
            changed: BTreeSet::new(),
            next: next.max(ROOT + 1),
        }
    }

    /// No id before this one is given to anything new.
    pub(super) fn next(&self) -> Id {
        self.next
    }

    fn node(&mut self, id: Id) -> Option<&mut Node> {
        self.nodes.get_mut(&id)
    }

    pub(super) fn kind(&self, id: Id) -> Option<Kind> {
        self.nodes.get(&id).map(|node| node.kind)
    }

    pub(super) fn lookup(&self, directory: Id, name: &OsStr) -> Option<Id> {
        self.nodes.get(&directory)?.entries.get(name).copied()
    }

    /// What is in a directory, by name.
    pub(super) fn entries(&self, directory: Id) -> impl Iterator<Item = (&OsStr, Id)> {
        let node = self.nodes.get(&directory);
        node.into_iter()
            .flat_map(|node| node.entries.iter().map(|(name, id)| (name.as_os_str(), *id)))
    }

    /// How many names it has.
    pub(super) fn links(&self, id: Id) -> usize {
        self.nodes.get(&id).map_or(0, |node| node.live.len())
    }

    pub(super) fn is_durable(&self, id: Id) -> bool {
        self.nodes.get(&id).is_some_and(|node| !node.durable.is_empty())
    }

    pub(super) fn is_held(&self, id: Id) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.held > 0)
    }

    pub(super) fn hold(&mut self, id: Id) {
        if let Some(node) = self.node(id) {
            node.held += 1;
        }
    }

    pub(super) fn forget(&mut self, id: Id, times: u64) {
        if let Some(node) = self.node(id) {
            node.held = node.held.saturating_sub(times);
        }
    }

    /// Something of which anybody still knows, or that a power loss would bring back.
    pub(super) fn is_needed(&self, id: Id) -> bool {
        id == ROOT
            || self
                .nodes
                .get(&id)
                .is_some_and(|node| node.held > 0 || !node.live.is_empty() || !node.durable.is_empty())
    }

    /// Where it is: below `root` by its names, or, when it has none, in `aside` by its id.
    pub(super) fn path(&self, id: Id, root: &Path, aside: &Path) -> PathBuf {
        let mut names = Vec::new();
        let mut at = id;
        let mut path = loop {
            if at == ROOT {
                break root.to_owned();
            }
            match self.nodes.get(&at).and_then(|node| node.live.first()) {
                Some((directory, name)) => {
                    names.push(name);
                    at = *directory;
                }
                None => break aside.join(at.to_string()),
            }
        };
        path.extend(names.into_iter().rev());
        path
    }

    /// Something that was there before, durably.
    pub(super) fn add_durable(&mut self, slot: Slot, kind: Kind) -> Id {
        let id = self.create(slot.clone(), kind);
        self.make_durable(vec![slot]);
        id
    }

    /// Another name of something that was there before.
    pub(super) fn add_durable_link(&mut self, slot: Slot, id: Id) {
        self.put(slot.clone(), Some(id));
        self.make_durable(vec![slot]);
    }

    pub(super) fn create(&mut self, slot: Slot, kind: Kind) -> Id {
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, Node::new(kind));
        self.put(slot, Some(id));
        id
    }

    pub(super) fn link(&mut self, id: Id, slot: Slot) {
        self.put(slot, Some(id));
    }

    pub(super) fn unlink(&mut self, slot: Slot) {
        self.put(slot, None);
    }

    pub(super) fn rename(&mut self, from: Slot, to: Slot) {
        let id = self.lookup(from.0, &from.1);
        self.put(from, None);
        self.put(to, id);
    }

    pub(super) fn exchange(&mut self, one: Slot, other: Slot) {
        let first = self.lookup(one.0, &one.1);
        let second = self.lookup(other.0, &other.1);
        self.put(one, second);
        self.put(other, first);
    }

    fn put(&mut self, slot: Slot, id: Option<Id>) {
        let Some(directory) = self.nodes.get_mut(&slot.0) else {
            return;
        };
        let before = match id {
            Some(id) => directory.entries.insert(slot.1.clone(), id),
            None => directory.entries.remove(&slot.1),
        };
        let durable = directory.kept.get(&slot.1).copied();
        if let Some(node) = before.and_then(|before| self.node(before)) {
            node.live.remove(&slot);
        }
        if let Some(node) = id.and_then(|id| self.node(id)) {
            node.live.insert(slot.clone());
        }
        if durable == id {
            self.changed.remove(&slot);
        } else {
            self.changed.insert(slot);
        }
    }

    /// A sync of this succeeded. Returns what may be unneeded now.
    pub(super) fn synced(&mut self, id: Id, sync: Sync) -> Vec<Id> {
        let Some(node) = self.nodes.get(&id) else {
            return Vec::new();
        };
        let mut slots: Vec<Slot> = Vec::new();
        // `fdatasync` writes what is needed to find the data: not the new name of a file that has a durable one.
        if sync == Sync::All || node.durable.is_empty() {
            slots.extend(node.live.union(&node.durable).cloned());
        }
        if node.kind == Kind::Directory {
            let own = self
                .changed
                .range((id, OsString::new())..(id + 1, OsString::new()));
            slots.extend(own.cloned());
        }
        self.make_durable(slots)
    }

    /// Returns what lost a durable name.
    fn make_durable(&mut self, mut work: Vec<Slot>) -> Vec<Id> {
        let mut unnamed = Vec::new();
        while let Some(slot) = work.pop() {
            if !self.changed.remove(&slot) {
                continue;
            }
            let Some(directory) = self.nodes.get_mut(&slot.0) else {
                continue;
            };
            // The way to it.
            work.extend(directory.live.union(&directory.durable).cloned());
            let live = directory.entries.get(&slot.1).copied();
            let kept = match live {
                Some(id) => directory.kept.insert(slot.1.clone(), id),
                None => directory.kept.remove(&slot.1),
            };
            if let Some(node) = kept.and_then(|id| self.node(id)) {
                node.durable.remove(&slot);
                work.extend(node.live.union(&node.durable).cloned());
                unnamed.extend(kept);
            }
            if let Some(node) = live.and_then(|id| self.node(id)) {
                node.durable.insert(slot);
                work.extend(node.live.union(&node.durable).cloned());
            }
        }
        unnamed
    }

    /// Removes everything that is not needed, and returns it.
    pub(super) fn reap(&mut self, candidates: impl IntoIterator<Item = Id>) -> Vec<Id> {
        let mut reaped = Vec::new();
        let mut work: Vec<Id> = candidates.into_iter().collect();
        while let Some(id) = work.pop() {
            if self.is_needed(id) {
                continue;
            }
            let Some(node) = self.nodes.remove(&id) else {
                continue;
            };
            reaped.push(id);
            for (name, child) in node.kept {
                let slot = (id, name);
                self.changed.remove(&slot);
                if let Some(child_node) = self.node(child) {
                    child_node.durable.remove(&slot);
                    work.push(child);
                }
            }
        }
        reaped
    }

    /// Some of the changes turn out to be durable.
    pub(super) fn tear(&mut self, rng: &mut ChaCha8Rng) {
        for slot in self.changed.clone() {
            if rng.random_bool(0.5) {
                self.make_durable(vec![slot]);
            }
        }
    }

    /// What a power loss changes.
    pub(super) fn reversals(&self) -> Vec<Reversal> {
        let reversal = |slot: &Slot| {
            let directory = self.nodes.get(&slot.0)?;
            Some(Reversal {
                slot: slot.clone(),
                live: directory.entries.get(&slot.1).copied(),
                durable: directory.kept.get(&slot.1).copied(),
            })
        };
        self.changed.iter().filter_map(reversal).collect()
    }
}

/// How many of these reversals are of something that only has, or had, another name.
pub(super) fn renames(reversals: &[Reversal]) -> usize {
    let live: BTreeSet<Id> = reversals.iter().filter_map(|one| one.live).collect();
    let durable: BTreeSet<Id> = reversals.iter().filter_map(|one| one.durable).collect();
    live.intersection(&durable).count()
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
