//! An empty folder that a worker keeps: a case takes it as its own and gives it back if nothing is in it. To rename a
//! folder twice takes a file system a fifth of what making and removing one does.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where it is while no case has it; one case at a time may.
#[derive(Debug)]
pub struct SpareFolder {
    path: PathBuf,
    /// What it was made with; it is not kept if a case changed that.
    rights: OnceLock<Rights>,
}

#[derive(Debug, PartialEq, Eq)]
struct Rights {
    mode: u32,
    user: u32,
    group: u32,
}

impl Rights {
    fn of(folder: &Path) -> io::Result<Self> {
        let found = std::fs::symlink_metadata(folder)?;
        Ok(Self {
            mode: found.mode(),
            user: found.uid(),
            group: found.gid(),
        })
    }
}

impl SpareFolder {
    /// One that is made for the first case that asks. `path` is in the folder that the cases' are in, and no case's.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            rights: OnceLock::new(),
        }
    }

    /// Lets there be an empty folder at `path`.
    ///
    /// # Errors
    /// When none can be made.
    pub(crate) fn take(&self, path: &Path) -> io::Result<()> {
        if self.rights.get().is_some() && std::fs::rename(&self.path, path).is_ok() {
            return Ok(());
        }
        std::fs::create_dir_all(path)?;
        let rights = Rights::of(path)?;
        self.rights.get_or_init(|| rights);
        Ok(())
    }

    /// Takes the folder back if it is empty and as it was. Returns whether it did, so that nothing is at `path`.
    pub(crate) fn take_back(&self, path: &Path) -> bool {
        let is_empty = || std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
        Rights::of(path).is_ok_and(|now| self.rights.get() == Some(&now))
            && is_empty()
            && std::fs::rename(path, &self.path).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_empty_folder_is_given_from_case_to_case_and_what_a_case_changed_is_not() {
        let run = tempfile::tempdir().unwrap();
        let spare = SpareFolder::new(run.path().join("spare"));
        let case = |number: u32| run.path().join(number.to_string());
        let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();

        spare.take(&case(1)).unwrap();
        let first = inode(&case(1));
        assert!(spare.take_back(&case(1)));
        assert!(!case(1).exists());
        spare.take(&case(2)).unwrap();
        assert_eq!(inode(&case(2)), first);

        std::fs::write(case(2).join(".hidden"), "x").unwrap();
        assert!(!spare.take_back(&case(2)));
        assert!(case(2).join(".hidden").exists());

        // The spare one is with the case before: another is made.
        spare.take(&case(3)).unwrap();
        std::fs::set_permissions(case(3), std::fs::Permissions::from_mode(0o500)).unwrap();
        assert!(!spare.take_back(&case(3)));

        spare.take(&case(4)).unwrap();
        std::fs::remove_dir(case(4)).unwrap();
        std::os::unix::fs::symlink(run.path(), case(4)).unwrap();
        assert!(!spare.take_back(&case(4)));
        let missing = case(5);
        assert!(!spare.take_back(&missing));
    }

    #[test]
    fn where_none_can_be_made_the_error_says_so() {
        let run = tempfile::tempdir().unwrap();
        let file = run.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let spare = SpareFolder::new(run.path().join("spare"));
        let error = spare.take(&file.join("1")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }
}
