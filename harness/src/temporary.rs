//! The temporary folder of a worker, looked at after each case: what a case left there is kept with it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// File systems tell the time of a change in steps of a few milliseconds: two changes within one look like one.
const SETTLED: Duration = Duration::from_millis(20);

/// The folder that `TMPDIR` names.
#[derive(Debug)]
pub(crate) struct Temporary {
    path: PathBuf,
    /// The time of the folder's last change when it was found empty, if that was long enough before.
    empty_since: Option<SystemTime>,
}

impl Temporary {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            empty_since: None,
        }
    }

    /// Whether anything is in it, or it is gone itself.
    pub(crate) fn has_files(&mut self) -> bool {
        let looked = SystemTime::now();
        let Ok(changed) = std::fs::metadata(&self.path).and_then(|folder| folder.modified()) else {
            return true;
        };
        if self.empty_since == Some(changed) {
            return false;
        }
        let is_empty = std::fs::read_dir(&self.path).is_ok_and(|mut entries| entries.next().is_none());
        let settled = looked.duration_since(changed).is_ok_and(|age| age > SETTLED);
        self.empty_since = (is_empty && settled).then_some(changed);
        !is_empty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_noticed_also_right_after_an_empty_look() {
        let folder = tempfile::tempdir().unwrap();
        let mut temporary = Temporary::new(folder.path().to_owned());
        for round in 0..50 {
            assert!(!temporary.has_files());
            let file = folder.path().join(format!("file-{round}"));
            std::fs::write(&file, "x").unwrap();
            assert!(temporary.has_files());
            std::fs::remove_file(file).unwrap();
        }
        std::fs::remove_dir(folder.path()).unwrap();
        assert!(temporary.has_files());
    }
}
