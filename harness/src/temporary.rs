//! The temporary folder of a worker, looked at after each case: what a case left there is kept with it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::leak::{Leak, LeakClass};

/// File systems tell the time of a change in steps of a few milliseconds: two changes within one look like one.
const SETTLED: Duration = Duration::from_millis(20);
/// More entries than this are counted and not named.
const NAMED_MAX: usize = 20;

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

    /// What is in it, by name. What was made elsewhere, also in another temporary folder, is not seen.
    pub(crate) fn left(&self) -> Vec<Leak> {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        let more = paths.len().saturating_sub(NAMED_MAX);
        paths.truncate(NAMED_MAX);
        let mut left: Vec<Leak> = paths.iter().map(|path| self.leak(path)).collect();
        if more > 0 {
            let text = format!("{more} more files or folders in the temporary folder");
            left.push(Leak::new(LeakClass::Files, text));
        }
        left
    }

    fn leak(&self, path: &Path) -> Leak {
        let name = path
            .strip_prefix(&self.path)
            .unwrap_or(path)
            .to_string_lossy()
            .into_owned();
        let what = match std::fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => match std::fs::read_dir(path).map(Iterator::count) {
                Ok(0) => "an empty folder".to_owned(),
                Ok(1) => "a folder with 1 entry".to_owned(),
                Ok(count) => format!("a folder with {count} entries"),
                Err(_) => "a folder that cannot be read".to_owned(),
            },
            Ok(found) if found.is_file() => format!("a file of {} bytes", found.len()),
            _ => "neither a file nor a folder".to_owned(),
        };
        Leak {
            class: LeakClass::Files,
            text: format!("`{name}` in the temporary folder, {what}"),
            name,
        }
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
        std::fs::create_dir(folder.path().join("a")).unwrap();
        for number in 0..30 {
            std::fs::write(folder.path().join(format!("b{number:02}")), "12").unwrap();
        }
        let texts: Vec<String> = temporary.left().into_iter().map(|leak| leak.text).collect();
        assert_eq!(texts.len(), NAMED_MAX + 1);
        assert_eq!(texts[0], "`a` in the temporary folder, an empty folder");
        assert_eq!(texts[1], "`b00` in the temporary folder, a file of 2 bytes");
        assert_eq!(
            texts[NAMED_MAX],
            "11 more files or folders in the temporary folder"
        );
        std::fs::remove_dir_all(folder.path()).unwrap();
        std::fs::create_dir(folder.path()).unwrap();
        assert_eq!(temporary.left(), []);
        std::fs::remove_dir(folder.path()).unwrap();
        assert!(temporary.has_files());
    }
}
