//! The rules for names one by one, and random histories of which every outcome must be one that they admit.

use std::collections::BTreeMap;

use rand::SeedableRng as _;

use super::*;

fn slot(directory: Id, name: &str) -> Slot {
    (directory, name.into())
}

/// The tree that a power loss leaves, by path.
fn after(names: &Names) -> BTreeMap<String, Id> {
    let mut all = BTreeMap::new();
    let mut work = vec![(ROOT, String::new())];
    while let Some((directory, path)) = work.pop() {
        for (name, &id) in &names.nodes[&directory].kept {
            let path = format!("{path}/{}", name.display());
            if names.kind(id) == Some(Kind::Directory) {
                work.push((id, path.clone()));
            }
            assert_eq!(all.insert(path, id), None);
        }
    }
    all
}

fn paths(names: &Names) -> Vec<String> {
    after(names).into_keys().collect()
}

#[test]
fn a_new_file_is_there_by_a_sync_of_it_or_of_its_directory() {
    for of_file in [true, false] {
        for sync in [Sync::All, Sync::Data] {
            let mut names = Names::new(0);
            let directory = names.create(slot(ROOT, "d"), Kind::Directory);
            let file = names.create(slot(directory, "f"), Kind::File);
            names.create(slot(directory, "g"), Kind::File);
            assert_eq!(paths(&names), [""; 0]);
            names.synced(if of_file { file } else { directory }, sync);
            // The directory is new too, and needs no sync of its own.
            let all: &[&str] = if of_file {
                &["/d", "/d/f"]
            } else {
                &["/d", "/d/f", "/d/g"]
            };
            assert_eq!(paths(&names), all);
        }
    }
}

#[test]
fn a_rename_is_durable_as_a_whole_by_either_directory_or_the_file() {
    for by in ["from", "to", "file", "data", "nothing"] {
        let mut names = Names::new(0);
        let from = names.add_durable(slot(ROOT, "from"), Kind::Directory);
        let to = names.add_durable(slot(ROOT, "to"), Kind::Directory);
        let file = names.add_durable(slot(from, "f"), Kind::File);
        let replaced = names.add_durable(slot(to, "g"), Kind::File);
        names.rename(slot(from, "f"), slot(to, "g"));
        match by {
            "from" => drop(names.synced(from, Sync::All)),
            "to" => drop(names.synced(to, Sync::All)),
            "file" => drop(names.synced(file, Sync::All)),
            "data" => drop(names.synced(file, Sync::Data)),
            _ => {}
        }
        let after = after(&names);
        if matches!(by, "nothing" | "data") {
            assert_eq!(after["/from/f"], file);
            assert_eq!(after["/to/g"], replaced);
            assert_eq!(renames(&names.reversals()), 1);
            assert!(names.is_needed(replaced));
        } else {
            assert_eq!(paths(&names), ["/from", "/to", "/to/g"], "{by}");
            assert_eq!(after["/to/g"], file);
            assert_eq!(names.reversals(), []);
            assert_eq!(names.reap([replaced]), [replaced]);
        }
    }
}

#[test]
fn a_removed_file_is_back_until_its_directory_is_synced() {
    let mut names = Names::new(0);
    let file = names.add_durable(slot(ROOT, "f"), Kind::File);
    names.unlink(slot(ROOT, "f"));
    assert_eq!(
        names.path(file, Path::new("/root"), Path::new("/aside")),
        Path::new("/aside/2")
    );
    assert!(names.reap([file]).is_empty());
    // Another one of that name, of which nothing is durable.
    let other = names.create(slot(ROOT, "f"), Kind::File);
    assert_eq!(after(&names)["/f"], file);
    names.unlink(slot(ROOT, "f"));
    assert_eq!(names.reap([other]), [other]);
    assert_eq!(names.synced(ROOT, Sync::All), [file]);
    assert_eq!(names.reap([file]), [file]);
    assert_eq!(paths(&names), [""; 0]);
}

#[test]
fn what_is_held_is_not_reaped_and_a_removed_directory_takes_what_it_had_durably() {
    let mut names = Names::new(0);
    let directory = names.add_durable(slot(ROOT, "d"), Kind::Directory);
    let file = names.add_durable(slot(directory, "f"), Kind::File);
    names.unlink(slot(directory, "f"));
    names.unlink(slot(ROOT, "d"));
    names.hold(directory);
    names.synced(ROOT, Sync::All);
    assert!(names.reap([directory, file]).is_empty());
    names.forget(directory, 1);
    assert_eq!(names.reap([directory]), [directory, file]);
}

/// What each place was since it was last made durable for sure, and what that tells of the outcome.
struct History {
    seen: BTreeMap<Slot, Vec<Option<Id>>>,
    /// What had a durable name at some time, and a name ever since.
    kept: BTreeSet<Id>,
}

impl History {
    fn note(&mut self, names: &Names, slots: &[Slot]) {
        for (&id, node) in &names.nodes {
            if node.live.is_empty() {
                self.kept.remove(&id);
            } else if !node.durable.is_empty() {
                self.kept.insert(id);
            }
        }
        for slot in slots {
            let now = names.lookup(slot.0, &slot.1);
            self.seen
                .entry(slot.clone())
                .or_insert_with(|| vec![None])
                .push(now);
        }
    }

    fn synced(&mut self, names: &Names, of: impl Fn(&Slot) -> bool) {
        for (slot, seen) in &mut self.seen {
            if of(slot) {
                *seen = vec![names.lookup(slot.0, &slot.1)];
            }
        }
    }
}

#[test]
fn random_histories_leave_nothing_that_the_rules_do_not_admit() {
    for seed in 0..1500 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut names = Names::new(0);
        let mut history = History {
            seen: BTreeMap::new(),
            kept: BTreeSet::new(),
        };
        let mut directories = vec![ROOT];
        let mut files: Vec<Id> = Vec::new();
        for _ in 0..40 {
            let pick = |rng: &mut ChaCha8Rng, of: &[Id]| of[rng.random_range(0..of.len())];
            let any = |rng: &mut ChaCha8Rng, of: &[Id]| {
                slot(pick(rng, of), ["a", "b", "c"][rng.random_range(0..3)])
            };
            let (one, other) = (any(&mut rng, &directories), any(&mut rng, &directories));
            let there = names.lookup(one.0, &one.1);
            let is_directory = |id| names.kind(id) == Some(Kind::Directory);
            match (rng.random_range(0..10), there) {
                (0..3, None) => files.push(names.create(one.clone(), Kind::File)),
                (3, None) if directories.len() < 4 => {
                    directories.push(names.create(one.clone(), Kind::Directory));
                }
                (4, None) if !files.is_empty() => {
                    let file = pick(&mut rng, &files);
                    if names.links(file) > 0 {
                        names.link(file, one.clone());
                    }
                }
                (0..3, Some(id)) if !is_directory(id) => names.unlink(one.clone()),
                (3..7, Some(id)) if !is_directory(id) && one != other => {
                    let replaced = names.lookup(other.0, &other.1);
                    if replaced.is_none_or(|replaced| !is_directory(replaced) && replaced != id) {
                        names.rename(one.clone(), other.clone());
                    }
                }
                (7 | 8, _) => {
                    let directory = pick(&mut rng, &directories);
                    names.synced(directory, Sync::All);
                    history.synced(&names, |slot| slot.0 == directory);
                }
                (9, Some(id)) => {
                    names.synced(id, Sync::All);
                    let own: Vec<Slot> = names.nodes[&id].live.iter().cloned().collect();
                    history.synced(&names, |slot| own.contains(slot));
                }
                _ => {}
            }
            history.note(&names, &[one, other]);

            let mut torn = names.clone();
            torn.tear(&mut rng);
            for names in [&names, &torn] {
                check(names, &history, seed);
            }
        }
    }
}

fn check(names: &Names, history: &History, seed: u64) {
    let after = after(names);
    // Each place has something that was there at its last sync or since.
    for (slot, seen) in &history.seen {
        let left = names.nodes[&slot.0].kept.get(&slot.1).copied();
        assert!(
            seen.contains(&left),
            "seed {seed}: {slot:?} has {left:?} of {seen:?}"
        );
    }
    for (&id, node) in &names.nodes {
        // What is in a directory that is not there is not there, though it was synced; nothing is twice.
        let reached = after.values().filter(|there| **there == id).count();
        assert_eq!(reached, node.durable.len(), "seed {seed}: {id}");
        // No rename takes away the last name, whichever of its ends was synced.
        assert!(
            !node.durable.is_empty() || !history.kept.contains(&id),
            "seed {seed}: {id}"
        );
        // The indexes agree with the directories.
        for (is_live, slots) in [(true, &node.live), (false, &node.durable)] {
            for slot in slots {
                let directory = &names.nodes[&slot.0];
                let entries = if is_live {
                    &directory.entries
                } else {
                    &directory.kept
                };
                assert_eq!(entries.get(&slot.1), Some(&id));
            }
        }
    }
    let differ = names.reversals().iter().all(|one| one.live != one.durable);
    assert!(differ && names.changed.len() == names.reversals().len());
}
