//! `--last-failed`: the names of the cases whose last verdict was bad.
//!
//! The set outlives runs that choose other cases: a case leaves it by passing. It lives in the file
//! `last-failed` of the suite's report folder, one name a line, and what the last run added is read from its
//! `events.jsonl`, so a run that was killed counts as far as it came.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use crate::event::Event;
use crate::outcome::Outcome;

/// The name of the file.
pub(crate) const FILE: &str = "last-failed";

/// Brings the file in `folder` up to date with the `events.jsonl` there, and returns what it holds. Called at
/// the start of a run, before its events replace those of the last one; calling it twice changes nothing.
///
/// # Errors
/// When a file exists and cannot be read, or the folder cannot be written to. Without any file the set is
/// empty.
pub(crate) fn carry_over(folder: &Path) -> io::Result<BTreeSet<String>> {
    let file = folder.join(FILE);
    let mut names = BTreeSet::new();
    if let Some(reader) = open(&file)? {
        for line in reader.lines() {
            names.insert(line?);
        }
    }
    let Some(events) = open(&folder.join("events.jsonl"))? else {
        return Ok(names);
    };
    let before = names.clone();
    apply(&mut names, events)?;
    if names != before {
        write(folder, &file, &names)?;
    }
    Ok(names)
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

fn open(path: &Path) -> io::Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(folder: &Path, path: &Path, names: &BTreeSet<String>) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    for name in names {
        writeln!(file, "{name}")?;
    }
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::CaseFinished;
    use crate::outcome::{Class, Problem};
    use crate::seed::Seed;

    fn line(case: &str, outcome: Outcome) -> String {
        let event = Event::CaseFinished(Box::new(CaseFinished {
            case: case.to_owned(),
            module: "suite".to_owned(),
            file: "tests/suite.rs".to_owned(),
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

    fn names(folder: &Path) -> Vec<String> {
        carry_over(folder).unwrap().into_iter().collect()
    }

    #[test]
    fn a_case_enters_by_failing_and_leaves_by_passing_in_a_later_run() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |lines: &[String]| std::fs::write(folder.path().join("events.jsonl"), lines.concat()).unwrap();
        assert!(names(folder.path()).is_empty());
        let unknown = Outcome::Unknown { reason: "r".into() };
        write(&[
            line("a[x=1]", failed()),
            line("b", unknown),
            line("c", Outcome::Passed),
        ]);
        assert_eq!(names(folder.path()), ["a[x=1]", "b"]);
        assert_eq!(names(folder.path()), ["a[x=1]", "b"], "twice is as once");
        let skipped = Outcome::Skipped { reason: "r".into() };
        write(&[line("b", Outcome::Passed), line("a[x=1]", skipped)]);
        assert_eq!(names(folder.path()), ["a[x=1]"]);
        std::fs::remove_file(folder.path().join("events.jsonl")).unwrap();
        assert_eq!(names(folder.path()), ["a[x=1]"]);
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
}
