//! The file `history` of the suite's report folder: what [`crate::history`] remembers, and what `--last-failed` and
//! `--budget` ask.
//!
//! It outlives runs that choose other cases. A run that ends, also one that was interrupted, appends its verdicts at
//! its end ([`enter`]) and then says so in the last line of its `events.jsonl`. Where that line is missing, the next
//! run reads the verdicts from there ([`begin`]), so a run that was killed counts as far as it came. Entering the
//! verdicts of a run twice is as once. Appended lines are taken together when there are as many as lines before them,
//! so a run of one case does not pay for all cases that the suite ever had.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::event::Event;
use crate::history::{History, Past, Ran, Verdict, push_case};
use crate::report::case::Case;
use crate::report::file::{WriteError, replace};

/// The name of the file.
const FILE: &str = "history";
/// The first line: this, and how many bytes there were when it was last written as a whole, in 16 digits.
const HEAD: &[u8] = b"robust-test history 1 ";
const HEAD_BYTES: usize = HEAD.len() + 17;

/// A file that is shorter than this is not worth taking together.
const TOGETHER_BYTES_MIN: u64 = 256 << 10;

/// How long a case that does not exist any more is remembered: it may be on another branch.
const FORGOTTEN_AFTER_MS: u64 = 90 * 24 * 60 * 60 * 1000;

/// The last line of a run is shorter than this, in bytes.
const LAST_LINE_BYTES_MAX: i64 = 4 << 10;

/// The history cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    /// A file is there and cannot be read.
    #[error("cannot read {}: {source} (--report-dir DIR names another report folder)", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Lines cannot be appended.
    #[error("cannot write to {}: {source} (--report-dir DIR names another report folder)", path.display())]
    Append {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It cannot be written as a whole.
    #[error(transparent)]
    Replace(WriteError),
}

/// The history as the last run in `folder` left it, and what is to be told: lines that could not be read.
///
/// # Errors
/// When a file exists and cannot be read. Without any file nothing is known.
pub(crate) fn read(folder: &Path) -> Result<(History, Vec<String>), HistoryError> {
    let events = Events::open(folder)?;
    read_with(folder, events)
}

/// Brings the file in `folder` up to date with the run before. Called at the start of a run that has the folder to
/// itself, before its events replace those of that run; calling it twice changes nothing. `exists` says whether the
/// suite has a case. Returns what is to be told.
///
/// # Errors
/// As [`read`], and when the folder cannot be written to.
pub(crate) fn begin(
    folder: &Path,
    now_unix_ms: u64,
    exists: impl Fn(&str) -> bool,
) -> Result<Vec<String>, HistoryError> {
    let events = Events::open(folder)?;
    let path = folder.join(FILE);
    match state(&path).map_err(|source| read_failed(&path, source))? {
        State::Good { is_due: false } if events.are_entered => return Ok(Vec::new()),
        State::Missing if events.file.is_none() => return Ok(Vec::new()),
        _ => {}
    }
    let (mut history, told) = read_with(folder, events)?;
    history.forget(now_unix_ms.saturating_sub(FORGOTTEN_AFTER_MS), exists);
    let lines = history.lines();
    let text = [head(lines.len() + HEAD_BYTES), lines].concat();
    replace(&path, &text).map_err(HistoryError::Replace)?;
    Ok(told)
}

/// What a run says of its cases.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// For [`enter`].
    pub(crate) lines: Vec<u8>,
    /// How often a case ran to its end.
    pub(crate) runs: u64,
    /// How long those took together.
    pub(crate) busy_us: u64,
}

impl Entry {
    /// From the cases of a run; `bad` are those that had a bad verdict, also where another one replaced it.
    pub(crate) fn new<'a>(cases: impl Iterator<Item = Case<'a>>, bad: &BTreeSet<String>) -> Self {
        let mut entry = Self::default();
        for case in cases.filter(|case| case.runs() > 0) {
            let ran = Ran {
                started_unix_ms: case.started_unix_ms(),
                duration_us: case.duration_us() / u64::from(case.runs()),
            };
            let Some(mut past) = Past::new(&case.outcome(), ran) else {
                continue;
            };
            if past.ran.is_some() {
                entry.runs += u64::from(case.runs());
                entry.busy_us += case.duration_us();
                if bad.contains(case.name()) {
                    past.verdict = Verdict::Bad;
                }
            }
            push_case(&mut entry.lines, case.name(), past);
        }
        entry
    }
}

/// Enters a run that ends.
///
/// # Errors
/// When the folder cannot be written to.
pub(crate) fn enter(folder: &Path, lines: &[u8]) -> Result<(), HistoryError> {
    let path = folder.join(FILE);
    let append = || {
        let mut file = File::options().create(true).append(true).open(&path)?;
        if file.metadata()?.len() > 0 {
            return file.write_all(lines);
        }
        file.write_all(&[&head(0), lines].concat())
    };
    append().map_err(|source| HistoryError::Append {
        path: path.clone(),
        source,
    })
}

fn head(bytes: usize) -> Vec<u8> {
    [HEAD, format!("{bytes:016}\n").as_bytes()].concat()
}

/// What the file is like, without reading all of it.
enum State {
    Missing,
    Good {
        /// Whether it is to be written as a whole.
        is_due: bool,
    },
    Broken,
}

fn state(path: &Path) -> io::Result<State> {
    let Some(mut file) = open(path)? else {
        return Ok(State::Missing);
    };
    let mut start = Vec::with_capacity(HEAD_BYTES);
    (&file).take(HEAD_BYTES as u64).read_to_end(&mut start)?;
    let Some(whole) = bytes_when_whole(&start) else {
        return Ok(State::Broken);
    };
    let bytes = file.seek(SeekFrom::End(-1))? + 1;
    let mut last = [0];
    file.read_exact(&mut last)?;
    let is_torn = last != *b"\n";
    Ok(State::Good {
        is_due: is_torn || bytes > 2 * whole.max(TOGETHER_BYTES_MIN),
    })
}

/// What the first line says.
fn bytes_when_whole(text: &[u8]) -> Option<u64> {
    let rest = text.get(..HEAD_BYTES)?.strip_prefix(HEAD)?.strip_suffix(b"\n")?;
    str::from_utf8(rest).ok()?.parse().ok()
}

fn read_with(folder: &Path, events: Events) -> Result<(History, Vec<String>), HistoryError> {
    let path = folder.join(FILE);
    let mut text = Vec::new();
    let file = open(&path).and_then(|file| match file {
        Some(mut file) => file.read_to_end(&mut text).map(|_| true),
        None => Ok(false),
    });
    let is_there = file.map_err(|source| read_failed(&path, source))?;
    let mut history = History::default();
    let mut told = Vec::new();
    let is_good = bytes_when_whole(&text).is_some();
    let shown = path.display();
    if is_good {
        let unreadable = history.read(&text[HEAD_BYTES..]);
        if unreadable > 0 {
            told.push(format!(
                "{shown}: lines that cannot be read are passed over: {unreadable}"
            ));
        }
    } else if is_there {
        told.push(format!(
            "{shown} is no history of cases that can be read; it is begun anew"
        ));
    }
    if !(events.are_entered && is_good) {
        let path = folder.join("events.jsonl");
        events
            .apply_to(&mut history)
            .map_err(|source| read_failed(&path, source))?;
    }
    Ok((history, told))
}

/// The events of the last run.
struct Events {
    file: Option<BufReader<File>>,
    /// Whether they say that its verdicts were entered; also where there are none.
    are_entered: bool,
}

impl Events {
    fn open(folder: &Path) -> Result<Self, HistoryError> {
        let path = folder.join("events.jsonl");
        let opened = open(&path).and_then(|file| {
            let mut file = file.map(BufReader::new);
            let are_entered = match &mut file {
                Some(file) => says_entered(file.get_mut())?,
                None => true,
            };
            Ok(Self { file, are_entered })
        });
        opened.map_err(|source| read_failed(&path, source))
    }

    fn apply_to(self, history: &mut History) -> io::Result<()> {
        self.file.map_or(Ok(()), |events| apply(history, events))
    }
}

/// Whether the last line of the events says that the verdicts were entered. Leaves the file at its start.
fn says_entered(events: &mut File) -> io::Result<bool> {
    let mut end = Vec::new();
    // Where there is less than that, or no place to go to (a pipe), all of it is looked at or none.
    let found = events
        .seek(SeekFrom::End(-LAST_LINE_BYTES_MAX))
        .or_else(|_| events.rewind().map(|()| 0));
    if found.is_err() {
        return Ok(false);
    }
    events.read_to_end(&mut end)?;
    events.rewind()?;
    let Some(line) = end
        .strip_suffix(b"\n")
        .and_then(|lines| lines.rsplit(|&byte| byte == b'\n').next())
    else {
        return Ok(false);
    };
    Ok(matches!(
        serde_json::from_slice(line),
        Ok(Event::RunFinished(finished)) if finished.history_entered
    ))
}

/// What the verdicts of one case in one run come to.
#[derive(Debug, Default)]
struct Verdicts {
    started_unix_ms: u64,
    duration_us: u64,
    runs: u64,
    is_bad: bool,
}

/// Applies the verdicts of one run. Of a case that ran several times one bad verdict counts, and the average of its
/// durations. Lines that are no event are passed over (a killed run's last line may be torn).
fn apply(history: &mut History, events: impl BufRead) -> io::Result<()> {
    let mut cases: BTreeMap<String, Verdicts> = BTreeMap::new();
    for line in events.split(b'\n') {
        let Ok(Event::CaseFinished(finished)) = serde_json::from_slice(&line?) else {
            continue;
        };
        let ran = Ran {
            started_unix_ms: finished.started_unix_ms,
            duration_us: finished.duration_us,
        };
        let Some(past) = Past::new(&finished.outcome, ran) else {
            continue;
        };
        let verdicts = cases.entry(finished.case).or_default();
        verdicts.is_bad |= past.is_bad();
        if let Some(ran) = past.ran {
            verdicts.started_unix_ms = match verdicts.runs {
                0 => ran.started_unix_ms,
                _ => verdicts.started_unix_ms.min(ran.started_unix_ms),
            };
            verdicts.duration_us = verdicts.duration_us.saturating_add(ran.duration_us);
            verdicts.runs += 1;
        }
    }
    for (name, verdicts) in cases {
        let ran = Ran {
            started_unix_ms: verdicts.started_unix_ms,
            duration_us: verdicts.duration_us / verdicts.runs.max(1),
        };
        let past = Past {
            ran: (verdicts.runs > 0).then_some(ran),
            verdict: match (verdicts.is_bad, verdicts.runs) {
                (false, _) => Verdict::Good,
                (true, 0) => Verdict::NotRun,
                (true, _) => Verdict::Bad,
            },
        };
        history.enter(&name, past);
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_failed(path: &Path, source: io::Error) -> HistoryError {
    HistoryError::Read {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
#[path = "history_file_tests.rs"]
mod tests;
