//! Reading `events.jsonl`: damage costs no more than the line it is in.
//!
//! Several files (shards, one file a case under cargo-nextest) are read as one recording. It knows nothing
//! of how anything is shown.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use crate::event::{Event, FORMAT};
use crate::report::suite::Suite;
use crate::report::totals::Totals;

/// Events cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No file was named, or a folder has none.
    #[error("no events file (*.jsonl) in {place}; --report-from takes the events.jsonl of one or more runs")]
    Nothing {
        /// Where it was looked for.
        place: String,
    },
    /// The file cannot be read.
    #[error("cannot read {}; --report-from takes the events.jsonl of one or more runs", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Not an events file, or nothing of its start is left.
    #[error("{} has no readable \"run_started\" line: it is not the events.jsonl of a run", path.display())]
    NoRun {
        /// The file.
        path: PathBuf,
    },
    /// Written by a newer harness.
    #[error(
        "{} has format {format}, this version reads up to {FORMAT}: use the version that wrote it, or a newer one",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

/// A line that was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.reason)
    }
}

/// What was read.
#[derive(Debug, Default)]
pub struct Recording {
    /// The suites, by package and name; each has its cases in the plan's order.
    pub suites: Vec<Suite>,
    /// What was lost on the way.
    pub warnings: Vec<Warning>,
}

impl Recording {
    /// The counts over all suites.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.suites
            .iter()
            .for_each(|suite| totals.add(suite.cases.totals()));
        totals
    }
}

/// Reads events files, and the `*.jsonl` files of folders, as one recording.
///
/// # Errors
/// Where a file cannot be read, is not an events file, or is of a newer format.
pub fn read<P: AsRef<Path>>(paths: &[P]) -> Result<Recording, ReadError> {
    let mut files = Vec::new();
    for path in paths {
        collect(path.as_ref(), true, &mut files)?;
    }
    if files.is_empty() {
        let places: Vec<_> = paths
            .iter()
            .map(|path| path.as_ref().display().to_string())
            .collect();
        return Err(ReadError::Nothing {
            place: if places.is_empty() {
                "an empty list".into()
            } else {
                places.join(", ")
            },
        });
    }
    let mut recording = Recording::default();
    let mut suites = HashMap::new();
    for file in files {
        read_file(&file, &mut recording, &mut suites)?;
    }
    recording
        .suites
        .sort_by(|a, b| (&a.package, &a.name).cmp(&(&b.package, &b.name)));
    for suite in &mut recording.suites {
        suite.cases.settle(&suite.plan);
    }
    Ok(recording)
}

/// Adds a named file, or the events files below a folder in order of their names.
fn collect(path: &Path, named: bool, files: &mut Vec<PathBuf>) -> Result<(), ReadError> {
    let unreadable = |source| ReadError::Unreadable {
        path: path.to_owned(),
        source,
    };
    if path.is_dir() {
        let entries = std::fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries: Vec<_> = entries
            .map_err(unreadable)?
            .iter()
            .map(|entry| entry.path())
            .collect();
        entries.sort();
        entries.iter().try_for_each(|entry| collect(entry, false, files))
    } else {
        if named || path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path.to_owned());
        }
        Ok(())
    }
}

/// As much of a line as tells that it is not for us.
#[derive(serde::Deserialize)]
struct Probe {
    event: String,
    format: Option<u32>,
}

fn read_file(
    path: &Path,
    recording: &mut Recording,
    suites: &mut HashMap<(String, String), usize>,
) -> Result<(), ReadError> {
    let unreadable = |source| ReadError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(unreadable)?);
    let mut current = None;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let mut warn = |reason: String| {
            recording.warnings.push(Warning {
                path: path.to_owned(),
                line: number,
                reason,
            });
        };
        let event = match serde_json::from_slice(&line) {
            Ok(event) => event,
            Err(error) => {
                if let Ok(Probe {
                    event,
                    format: Some(format),
                }) = serde_json::from_slice(&line)
                    && event == "run_started"
                    && format > FORMAT
                {
                    let path = path.to_owned();
                    return Err(ReadError::Newer { path, format });
                }
                warn(if line.ends_with(b"\n") {
                    format!("not an event, skipped: {error}")
                } else {
                    "the last line is not complete, skipped: the run was killed while it wrote it".into()
                });
                continue;
            }
        };
        match (event, current) {
            (Event::RunStarted(started), _) => {
                if started.format > FORMAT {
                    let format = started.format;
                    let path = path.to_owned();
                    return Err(ReadError::Newer { path, format });
                }
                let key = (started.package.clone(), started.suite.clone());
                let at = *suites.entry(key).or_insert(recording.suites.len());
                match recording.suites.get_mut(at) {
                    Some(suite) => suite.push(started),
                    None => recording.suites.push(Suite::new(started)),
                }
                current = Some((at, recording.suites[at].runs.len() - 1));
            }
            (Event::CaseFinished(finished), Some((at, _))) => recording.suites[at].cases.add(&finished),
            (Event::RunFinished(finished), Some((at, run))) => {
                recording.suites[at].runs[run].finished = Some(finished);
            }
            (_, None) => warn("comes before any \"run_started\" line, skipped".into()),
        }
    }
    if current.is_some() {
        Ok(())
    } else {
        Err(ReadError::NoRun {
            path: path.to_owned(),
        })
    }
}

#[cfg(test)]
#[path = "recording_tests.rs"]
mod tests;
