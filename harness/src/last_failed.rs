//! `--last-failed`: the names of the cases whose last verdict was bad.
//!
//! The set outlives runs that choose other cases: a case leaves it by passing. It lives in the file
//! `last-failed` of the suite's report folder, one name a line. A run that ends by itself enters its verdicts
//! at its end ([`enter`]), and then says so in the last line of its `events.jsonl`. Where that line is missing,
//! the next run reads the verdicts from there ([`carry_over`]), so a run that was killed counts as far as it
//! came. Entering the verdicts of a run twice is as once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write};
use std::path::Path;

use crate::event::Event;
use crate::outcome::Outcome;

/// The name of the file.
pub(crate) const FILE: &str = "last-failed";

/// The last line of a run is shorter than this, in bytes.
const LAST_LINE_BYTES_MAX: i64 = 4 << 10;

/// The names as the last run in `folder` left them.
///
/// # Errors
/// When a file exists and cannot be read. Without any file the set is empty.
pub(crate) fn names(folder: &Path) -> io::Result<BTreeSet<String>> {
    known_and_names(folder).map(|(_, names)| names)
}

/// As [`names`], and brings the file in `folder` up to date with them. Called at the start of a run that has the
/// folder to itself, before its events replace those of the last one; calling it twice changes nothing.
///
/// # Errors
/// As [`names`], and when the folder cannot be written to.
pub(crate) fn carry_over(folder: &Path) -> io::Result<BTreeSet<String>> {
    let (known, names) = known_and_names(folder)?;
    if known.unwrap_or_default() != names {
        write(folder, &names)?;
    }
    Ok(names)
}

/// Enters the verdicts of a run that ends: `before` is what [`carry_over`] returned, `bad` are the cases that
/// had a bad verdict, and `has_verdict` tells of a case of `before` whether it had one and was not skipped.
///
/// # Errors
/// When the folder cannot be written to.
pub(crate) fn enter(
    folder: &Path,
    before: &BTreeSet<String>,
    bad: &BTreeSet<String>,
    has_verdict: impl Fn(&str) -> bool,
) -> io::Result<()> {
    let stays = |name: &&String| bad.contains(*name) || !has_verdict(name);
    let after: BTreeSet<String> = before.iter().filter(stays).chain(bad).cloned().collect();
    // Also an empty file: without one a next run would not rely on what the events say of it.
    if after != *before || !folder.join(FILE).is_file() {
        write(folder, &after)?;
    }
    Ok(())
}

/// What the file holds, if there is one, and what it should hold.
fn known_and_names(folder: &Path) -> io::Result<(Option<BTreeSet<String>>, BTreeSet<String>)> {
    let events = open(&folder.join("events.jsonl"))?;
    let mut events = events.map(BufReader::new);
    // Before the file is read: a run that is ending writes that first.
    let is_entered = match &mut events {
        Some(events) => says_entered(events.get_mut())?,
        None => true,
    };
    let known = match open(&folder.join(FILE))? {
        Some(file) => Some(
            BufReader::new(file)
                .lines()
                .collect::<io::Result<BTreeSet<_>>>()?,
        ),
        None => None,
    };
    let mut names = known.clone().unwrap_or_default();
    if let Some(events) = events
        && !(is_entered && known.is_some())
    {
        apply(&mut names, events)?;
    }
    Ok((known, names))
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
        Ok(Event::RunFinished(finished)) if finished.last_failed_entered
    ))
}

/// Applies the verdicts of one run to the names: bad ones enter, good ones leave, skipped ones stay as they
/// were. Of a case that ran several times, one bad verdict counts. Lines that are no event are passed over (a
/// killed run's last line may be torn).
///
/// # Errors
/// Those of the reader.
pub(crate) fn apply(names: &mut BTreeSet<String>, events: impl BufRead) -> io::Result<()> {
    let mut bad_ones: BTreeMap<String, bool> = BTreeMap::new();
    for line in events.split(b'\n') {
        let Ok(Event::CaseFinished(finished)) = serde_json::from_slice(&line?) else {
            continue;
        };
        if !matches!(finished.outcome, Outcome::Skipped { .. }) {
            let bad = finished.outcome.is_bad();
            *bad_ones.entry(finished.case).or_default() |= bad;
        }
    }
    for (name, bad) in bad_ones {
        if bad {
            names.insert(name);
        } else {
            names.remove(&name);
        }
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

fn write(folder: &Path, names: &BTreeSet<String>) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    for name in names {
        writeln!(file, "{name}")?;
    }
    file.persist(folder.join(FILE))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{CaseFinished, RunFinished};
    use crate::outcome::{Class, Problem};
    use crate::seed::Seed;

    fn line(case: &str, outcome: Outcome) -> String {
        let event = Event::CaseFinished(Box::new(CaseFinished {
            case: case.to_owned(),
            module: "suite".into(),
            file: "tests/suite.rs".into(),
            line: 1,
            iteration: 0,
            outcome,
            seed: Seed(1),
            root_seed: Seed(1),
            axes: Vec::new(),
            tags: Vec::new(),
            started_unix_ms: 0,
            duration_us: 0,
            earlier: Vec::new(),
            output: String::new(),
            output_bytes: 0,
            artifacts: None,
            attachments: Vec::new(),
            reproduce: String::new(),
        }));
        serde_json::to_string(&event).unwrap() + "\n"
    }

    fn failed() -> Outcome {
        Outcome::Failed(Problem::new(Class::Error, "x"))
    }

    fn carried(folder: &Path) -> Vec<String> {
        carry_over(folder).unwrap().into_iter().collect()
    }

    #[test]
    fn a_case_enters_by_failing_and_leaves_by_passing_in_a_later_run() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |lines: &[String]| std::fs::write(folder.path().join("events.jsonl"), lines.concat()).unwrap();
        assert!(carried(folder.path()).is_empty());
        let unknown = Outcome::Unknown { reason: "r".into() };
        write(&[
            line("a[x=1]", failed()),
            line("b", unknown),
            line("c", Outcome::Passed),
        ]);
        assert_eq!(carried(folder.path()), ["a[x=1]", "b"]);
        assert_eq!(carried(folder.path()), ["a[x=1]", "b"], "twice is as once");
        let skipped = Outcome::Skipped { reason: "r".into() };
        write(&[line("b", Outcome::Passed), line("a[x=1]", skipped)]);
        assert_eq!(carried(folder.path()), ["a[x=1]"]);
        std::fs::remove_file(folder.path().join("events.jsonl")).unwrap();
        assert_eq!(carried(folder.path()), ["a[x=1]"]);
    }

    #[test]
    fn one_bad_repetition_counts_and_a_torn_line_does_not() {
        let mut names = BTreeSet::from(["torn".to_owned()]);
        let mut events = line("a", failed()) + &line("a", Outcome::Passed) + &line("torn", Outcome::Passed);
        events.truncate(events.len() - 20);
        events.push('\u{e9}');
        apply(&mut names, events.as_bytes()).unwrap();
        assert_eq!(names, BTreeSet::from(["a".to_owned(), "torn".to_owned()]));
    }

    fn ended(entered: bool) -> String {
        let event = Event::RunFinished(RunFinished {
            duration_us: 1,
            concurrency_max: 1,
            interrupted: None,
            last_failed_entered: entered,
        });
        serde_json::to_string(&event).unwrap() + "\n"
    }

    #[test]
    fn events_are_read_where_their_end_does_not_say_that_they_were_entered() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let events = |lines: &[String]| {
            std::fs::write(folder.path().join("events.jsonl"), lines.concat()).unwrap();
        };
        let many: Vec<_> = (0..100)
            .map(|number| line(&format!("c{number}"), Outcome::Passed))
            .collect();
        std::fs::write(&file, "old\n").unwrap();
        events(&[many.concat(), line("a", failed()), ended(true)]);
        assert_eq!(carried(folder.path()), ["old"]);
        for end in [
            ended(false),
            ended(true) + &line("b", failed()),
            ended(true).trim_end().to_owned(),
            String::new(),
        ] {
            std::fs::write(&file, "old\n").unwrap();
            events(&[many.concat(), line("a", failed()), end.clone()]);
            assert!(carried(folder.path()).contains(&"a".to_owned()), "{end}");
        }
        // The file was removed: what the events tell of it is no longer so.
        std::fs::remove_file(&file).unwrap();
        events(&[line("a", failed()), ended(true)]);
        assert_eq!(names(folder.path()).unwrap(), BTreeSet::from(["a".to_owned()]));
        assert!(!file.exists(), "who only asks changes nothing");
        assert_eq!(carried(folder.path()), ["a"]);
    }

    #[test]
    fn entering_is_as_reading_the_events() {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        let folder = tempfile::tempdir().unwrap();
        let before = set(&["absent", "bad", "passed", "skipped"]);
        let verdict = |name: &str| ["bad", "passed"].contains(&name);
        let bad = set(&["bad", "new"]);
        let skipped = Outcome::Skipped { reason: "r".into() };
        let events = [
            line("bad", failed()),
            line("bad", Outcome::Passed),
            line("passed", Outcome::Passed),
            line("skipped", skipped),
            line("new", failed()),
        ];
        let mut read = before.clone();
        apply(&mut read, events.concat().as_bytes()).unwrap();
        for _ in 0..2 {
            enter(folder.path(), &before, &bad, verdict).unwrap();
            let entered = names(folder.path()).unwrap();
            assert_eq!(entered, read);
            assert_eq!(entered, set(&["absent", "bad", "new", "skipped"]));
        }
        // Nothing changed, and there is a file all the same.
        let folder = tempfile::tempdir().unwrap();
        enter(folder.path(), &set(&[]), &set(&[]), verdict).unwrap();
        assert!(folder.path().join(FILE).exists());
    }
}
