//! Where a run's files go: the report's folder, one for each package and suite, and the lock on it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::case_run::shell_quoted;
use crate::report::file::TORN;
use crate::runner::Suite;

/// How many runs of one suite may go on at the same time, each with a folder of its own.
const FOLDERS_MAX: u32 = 100;

/// The files of one run.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) folder: PathBuf,
    /// Held until the run ends, so that another run of the suite takes another folder.
    _lock: Option<File>,
}

/// Why there is no place for reports.
#[derive(Debug, thiserror::Error)]
#[error("the report folder {path} cannot be used: {source} (--report-dir DIR names another)")]
pub(crate) struct LayoutError {
    path: String,
    source: io::Error,
}

impl Layout {
    /// `folder`, or where another run of the suite is using that, the first free of `folder-2`, `folder-3`, ..
    pub(crate) fn take(folder: &Path) -> Result<Self, LayoutError> {
        let failed = |source| LayoutError {
            path: folder.display().to_string(),
            source,
        };
        for number in 1..=FOLDERS_MAX {
            let candidate = if number == 1 {
                folder.to_owned()
            } else {
                numbered(folder, number)
            };
            std::fs::create_dir_all(&candidate).map_err(failed)?;
            let lock = File::options()
                .create(true)
                .append(true)
                .open(candidate.join(".lock"))
                .map_err(failed)?;
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    remove_torn(&candidate);
                    return Ok(Self {
                        folder: candidate,
                        _lock: Some(lock),
                    });
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                // A file system without locks: two runs at once would share the folder.
                Err(_) => {
                    return Ok(Self {
                        folder: candidate,
                        _lock: None,
                    });
                }
            }
        }
        Err(failed(io::Error::other(format!(
            "{FOLDERS_MAX} runs are using it and its siblings"
        ))))
    }

    /// A folder that many processes share, each with files of its own.
    pub(crate) fn shared(folder: PathBuf) -> Self {
        Self { folder, _lock: None }
    }

    pub(crate) fn events(&self) -> PathBuf {
        self.folder.join("events.jsonl")
    }

    pub(crate) fn junit(&self) -> PathBuf {
        self.folder.join("junit.xml")
    }

    pub(crate) fn explanation(&self) -> PathBuf {
        self.folder.join("explain.txt")
    }

    pub(crate) fn html(&self) -> PathBuf {
        self.folder.join("report.html")
    }

    pub(crate) fn cases(&self) -> PathBuf {
        self.folder.join("cases")
    }
}

/// Removes reports that a killed run was about to put in their place.
fn remove_torn(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(TORN.0) && name.ends_with(TORN.1) {
            let _gone = std::fs::remove_file(entry.path());
        }
    }
}

fn numbered(folder: &Path, number: u32) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(format!("-{number}"));
    folder.with_file_name(name)
}

/// `<target>/robust/<package>/<suite>`.
pub(crate) fn default_folder(suite: &Suite, program: &Path) -> PathBuf {
    target(suite, program)
        .join("robust")
        .join(suite.package)
        .join(suite.name)
}

/// Cargo's target folder: the parent of what it tells test targets, else the nearest folder above the
/// program with cargo's tag, else the folder `target` here.
fn target(suite: &Suite, program: &Path) -> PathBuf {
    if let Some(folder) = suite.target_tmpdir.and_then(|tmpdir| Path::new(tmpdir).parent()) {
        return folder.to_owned();
    }
    let tagged = program
        .ancestors()
        .skip(1)
        .find(|folder| folder.join("CACHEDIR.TAG").is_file());
    tagged.map_or_else(|| PathBuf::from("target"), Path::to_owned)
}

/// The command that runs the suite with one case under the same profile, up to that case's name.
pub(crate) fn reproduce_prefix(suite: &Suite, program: &Path, profile: Option<&str>) -> String {
    let run = match suite.binary {
        None => format!("cargo test -p {} --test {} --", suite.package, suite.name),
        Some(_) => shell_quoted(&program.to_string_lossy()),
    };
    let profile = profile.map(|name| format!(" --profile {}", shell_quoted(name)));
    format!("{run}{} --exact", profile.unwrap_or_default())
}

/// The programs of kinds that a run was given, as options after the case's name.
pub(crate) fn reproduce_programs(bins: &BTreeMap<String, PathBuf>) -> String {
    let option = |(kind, path): (&String, &PathBuf)| {
        format!(
            " --bin {}",
            crate::case_run::shell_quoted(&format!("{kind}={}", path.display()))
        )
    };
    bins.iter().map(option).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_at_the_same_time_takes_another_folder() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("suite");
        let first = Layout::take(&folder).unwrap();
        let second = Layout::take(&folder).unwrap();
        assert_eq!(first.folder, folder);
        assert_eq!(second.folder, home.path().join("suite-2"));
        drop(first);
        assert_eq!(Layout::take(&folder).unwrap().folder, folder);
    }

    #[test]
    fn what_a_killed_run_was_writing_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let torn = home.path().join(".robust-x1.tmp");
        std::fs::write(&torn, "<testsuites>").unwrap();
        std::fs::write(home.path().join("junit.xml"), "").unwrap();
        let _layout = Layout::take(home.path()).unwrap();
        assert!(!torn.exists() && home.path().join("junit.xml").exists());
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("suite");
        std::fs::write(&folder, "").unwrap();
        let error = Layout::take(&folder).unwrap_err().to_string();
        assert!(
            error.contains("suite") && error.contains("--report-dir"),
            "{error}"
        );
    }
}
