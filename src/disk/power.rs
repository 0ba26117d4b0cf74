//! What a loss of power leaves in the backing directory, and how a disk begins with what is there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use rand_chacha::ChaCha8Rng;

use super::content::Content;
use super::data::{Data, allocated, lock};
use super::names::{self, Id, Kind, Names, ROOT, Reversal};
use super::store::{Store, Tree, kind_of, old_path};
use super::switches::Lost;

impl Store {
    /// Everything that is not durable is gone, and nothing is open any more. Also returns the names that were in the
    /// root, which the system may remember.
    pub(super) fn lose_power(&self, mut torn: Option<ChaCha8Rng>) -> io::Result<(Lost, Vec<OsString>)> {
        let lost = {
            let _off = self.power.write().unwrap_or_else(PoisonError::into_inner);
            let mut tree = self.tree();
            let names: Vec<OsString> = tree
                .names
                .entries(ROOT)
                .map(|(name, _)| name.to_owned())
                .collect();
            if let Some(rng) = &mut torn {
                tree.names.tear(rng);
            }
            let mut lost = self.revert_contents(&tree, torn.as_mut())?;
            let reversals = tree.names.reversals();
            lost.entries = reversals.len() as u64;
            lost.renames = names::renames(&reversals) as u64;
            self.revert_names(&mut tree, &reversals)?;
            self.handles
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
            let next = tree.names.next();
            tree.data.clear();
            std::fs::remove_dir_all(&self.aside)?;
            std::fs::create_dir(&self.aside)?;
            let used;
            (*tree, used) = scan(&self.root, &self.aside, next)?;
            let mut switches = lock(&self.switches);
            switches.set_used(used);
            switches.lost(lost);
            (lost, names)
        };
        self.delays.release();
        Ok(lost)
    }

    fn revert_contents(&self, tree: &Tree, mut torn: Option<&mut ChaCha8Rng>) -> io::Result<Lost> {
        let mut lost = Lost::default();
        // In an order that does not depend on who came first.
        let mut volatile: BTreeMap<PathBuf, Id> = BTreeMap::new();
        for (&id, data) in &tree.data {
            if let Some(bytes) = data.volatile() {
                lost.files += 1;
                lost.bytes += bytes;
                volatile.insert(tree.names.path(id, &self.root, &self.aside), id);
            }
        }
        for (path, id) in volatile {
            if tree.names.is_durable(id)
                && let Some(data) = tree.data.get(&id)
            {
                data.revert(&path, torn.as_deref_mut())?;
            }
        }
        Ok(lost)
    }

    /// Takes out what is not there durably, then puts in what is. Each step is a step of the model too, so that it knows
    /// where everything is meanwhile.
    fn revert_names(&self, tree: &mut Tree, reversals: &[Reversal]) -> io::Result<()> {
        for Reversal { slot, live, .. } in reversals {
            let Some(id) = *live else {
                continue;
            };
            let path = tree.names.path(slot.0, &self.root, &self.aside).join(&slot.1);
            if tree.names.links(id) > 1 {
                std::fs::remove_file(path)?;
            } else {
                std::fs::rename(path, self.aside.join(id.to_string()))?;
            }
            tree.names.unlink(slot.clone());
        }
        for Reversal { slot, durable, .. } in reversals {
            let Some(id) = *durable else {
                continue;
            };
            let path = tree.names.path(slot.0, &self.root, &self.aside).join(&slot.1);
            let from = tree.names.path(id, &self.root, &self.aside);
            if tree.names.links(id) > 0 {
                std::fs::hard_link(from, path)?;
            } else {
                std::fs::rename(from, path)?;
            }
            tree.names.link(id, slot.clone());
        }
        Ok(())
    }
}

/// What is below `root`, all of it durable, and how much of the disk it uses.
pub(super) fn scan(root: &Path, aside: &Path, next: Id) -> io::Result<(Tree, u64)> {
    let mut names = Names::new(next);
    let mut data = BTreeMap::new();
    let mut used = 0;
    // Files with more names than one, by what the machine knows them by.
    let mut linked: BTreeMap<(u64, u64), Id> = BTreeMap::new();
    let mut folders = vec![(ROOT, root.to_owned())];
    while let Some((folder_id, folder)) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let (path, metadata) = (entry.path(), entry.metadata()?);
            let kind = kind_of(rustix::fs::FileType::from_raw_mode(metadata.mode()));
            let slot = (folder_id, entry.file_name());
            let machine = (metadata.dev(), metadata.ino());
            if let Some(&id) = linked.get(&machine) {
                names.add_durable_link(slot, id);
                continue;
            }
            let id = names.add_durable(slot, kind);
            if kind != Kind::Directory && metadata.nlink() > 1 {
                linked.insert(machine, id);
            }
            match kind {
                Kind::Directory => folders.push((id, path)),
                Kind::File => {
                    let blocks = allocated(&path, metadata.len(), metadata.blocks() * 512)?;
                    used += blocks.total();
                    let content = Content::durable(metadata.len(), blocks);
                    data.insert(id, Arc::new(Data::new(content, old_path(aside, id))));
                }
                _ => {}
            }
        }
    }
    Ok((Tree { names, data }, used))
}
