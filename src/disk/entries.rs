//! What changes the entries of directories: makes, links, renames and removes, in the backing directory and in the model of
//! it. What loses its last name while a power loss would bring it back, or somebody has it open, goes aside.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::content::Content;
use super::data::Data;
use super::names::{Id, Kind, ROOT, Slot};
use super::store::{Found, Handle, Make, Owner, Store, Tree, kind_of, old_path};

impl Store {
    /// The way from the system's answer to a new place: nothing may be there.
    fn new_place(&self, tree: &Tree, slot: &Slot) -> Result<PathBuf, Errno> {
        match tree.names.kind(slot.0) {
            None => return Err(Errno::STALE),
            Some(Kind::Directory) => {}
            Some(_) => return Err(Errno::NOTDIR),
        }
        // One that was removed and is still somebody's current directory.
        if slot.0 != ROOT && tree.names.links(slot.0) == 0 {
            return Err(Errno::NOENT);
        }
        match tree.names.lookup(slot.0, &slot.1) {
            Some(_) => Err(Errno::EXIST),
            None => Ok(self.place(tree, slot)),
        }
    }

    pub(super) fn make(&self, slot: Slot, make: Make<'_>, mode: u32, owner: Owner) -> Result<Found, Errno> {
        let _on = self.power();
        let mut tree = self.tree();
        let path = self.new_place(&tree, &slot)?;
        let permissions = Mode::from_raw_mode(mode & 0o7777);
        let kind = match make {
            Make::Directory => {
                rustix::fs::mkdir(&path, permissions)?;
                Kind::Directory
            }
            Make::Symlink(target) => {
                rustix::fs::symlink(target, &path)?;
                Kind::Symlink
            }
            Make::Node(file_type, device) => {
                rustix::fs::mknodat(CWD, &path, file_type, permissions, device)?;
                kind_of(file_type)
            }
        };
        if kind != Kind::Symlink {
            // Whatever this process masks.
            rustix::fs::chmod(&path, permissions)?;
        }
        own(&path, owner)?;
        let id = self.enter(&mut tree, slot, kind);
        self.hold(&mut tree, id)
    }

    fn enter(&self, tree: &mut Tree, slot: Slot, kind: Kind) -> Id {
        let id = tree.names.create(slot, kind);
        if kind == Kind::File {
            let data = Data::new(Content::default(), old_path(&self.aside, id));
            tree.data.insert(id, Arc::new(data));
        }
        id
    }

    /// Makes a regular file and opens it.
    pub(super) fn create(&self, slot: Slot, mode: u32, owner: Owner) -> Result<(Found, u64), Errno> {
        let _on = self.power();
        let mut tree = self.tree();
        let path = self.new_place(&tree, &slot)?;
        let permissions = Mode::from_raw_mode(mode & 0o7777);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(&path, flags, permissions)?);
        rustix::fs::fchmod(&file, permissions)?;
        own(&path, owner)?;
        let id = self.enter(&mut tree, slot, Kind::File);
        let found = self.hold(&mut tree, id)?;
        let data = tree.data.get(&id).cloned().ok_or(Errno::STALE)?;
        let file = data.opened(file);
        Ok((found, self.add_handle(Handle::new(id, file, data))))
    }

    pub(super) fn link(&self, id: Id, slot: Slot) -> Result<Found, Errno> {
        let _on = self.power();
        let mut tree = self.tree();
        tree.names.kind(id).ok_or(Errno::STALE)?;
        let path = self.new_place(&tree, &slot)?;
        if tree.names.links(id) == 0 {
            return Err(Errno::NOENT);
        }
        rustix::fs::linkat(CWD, self.path(&tree, id), CWD, &path, AtFlags::empty())?;
        tree.names.link(id, slot);
        self.hold(&mut tree, id)
    }

    pub(super) fn unlink(&self, slot: Slot) -> Result<(), Errno> {
        let _on = self.power();
        let mut tree = self.tree();
        let id = tree.names.lookup(slot.0, &slot.1).ok_or(Errno::NOENT)?;
        let is_directory = tree.names.kind(id) == Some(Kind::Directory);
        if is_directory {
            return Err(Errno::ISDIR);
        }
        let path = self.place(&tree, &slot);
        if tree.names.links(id) > 1 {
            rustix::fs::unlink(&path)?;
        } else {
            self.move_aside(&path, id)?;
        }
        tree.names.unlink(slot);
        self.settle(&mut tree, id);
        Ok(())
    }

    pub(super) fn remove_directory(&self, slot: Slot) -> Result<(), Errno> {
        let _on = self.power();
        let mut tree = self.tree();
        let id = tree.names.lookup(slot.0, &slot.1).ok_or(Errno::NOENT)?;
        if tree.names.kind(id) != Some(Kind::Directory) {
            return Err(Errno::NOTDIR);
        }
        if tree.names.entries(id).next().is_some() {
            return Err(Errno::NOTEMPTY);
        }
        self.move_aside(&self.place(&tree, &slot), id)?;
        tree.names.unlink(slot);
        self.settle(&mut tree, id);
        Ok(())
    }

    fn move_aside(&self, path: &Path, id: Id) -> Result<(), Errno> {
        rustix::fs::rename(path, self.aside.join(id.to_string()))
    }

    pub(super) fn rename(&self, from: Slot, to: Slot, flags: RenameFlags) -> Result<(), Errno> {
        let _on = self.power();
        let mut tree = self.tree();
        let id = tree.names.lookup(from.0, &from.1).ok_or(Errno::NOENT)?;
        tree.names.kind(to.0).ok_or(Errno::STALE)?;
        let (from_path, to_path) = (self.place(&tree, &from), self.place(&tree, &to));
        let replaced = tree.names.lookup(to.0, &to.1);
        if flags == RenameFlags::EXCHANGE {
            replaced.ok_or(Errno::NOENT)?;
            rustix::fs::renameat_with(CWD, &from_path, CWD, &to_path, flags)?;
            tree.names.exchange(from, to);
            return Ok(());
        }
        if flags == RenameFlags::NOREPLACE && replaced.is_some() {
            return Err(Errno::EXIST);
        }
        if flags != RenameFlags::empty() && flags != RenameFlags::NOREPLACE {
            return Err(Errno::INVAL);
        }
        if replaced == Some(id) {
            // Two names of one file: nothing happens.
            return Ok(());
        }
        let Some(replaced) = replaced else {
            rustix::fs::rename(&from_path, &to_path)?;
            tree.names.rename(from, to);
            return Ok(());
        };
        let is_directory = |id| tree.names.kind(id) == Some(Kind::Directory);
        match (is_directory(id), is_directory(replaced)) {
            (true, false) => return Err(Errno::NOTDIR),
            (false, true) => return Err(Errno::ISDIR),
            (true, true) if tree.names.entries(replaced).next().is_some() => return Err(Errno::NOTEMPTY),
            _ => {}
        }
        if is_directory(replaced) || tree.names.links(replaced) == 1 {
            self.move_aside(&to_path, replaced)?;
        }
        if let Err(error) = rustix::fs::rename(&from_path, &to_path) {
            let aside = self.aside.join(replaced.to_string());
            let _was_not_moved = rustix::fs::rename(aside, &to_path);
            return Err(error);
        }
        tree.names.rename(from, to);
        self.settle(&mut tree, replaced);
        Ok(())
    }
}

/// Gives it to whoever made it, where that is not this process's user.
fn own(path: &Path, owner: Owner) -> Result<(), Errno> {
    let uid = rustix::fs::Uid::from_raw(owner.uid);
    let gid = rustix::fs::Gid::from_raw(owner.gid);
    if (uid, gid) == (rustix::process::geteuid(), rustix::process::getegid()) {
        return Ok(());
    }
    rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}
