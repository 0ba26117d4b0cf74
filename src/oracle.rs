//! Log oracles: lines in a node's log that mean a defect, whatever the scenario looks at.
//!
//! A sanitizer's report, a panic or a data race ends up in a log that nobody reads while the case passes. Each
//! node's log is searched when the case ends, and such a line fails the case with the node's name. The list knows
//! the reports of compilers and languages; what a program calls a defect, its kind adds
//! ([`crate::command::ServerCommand::fail_on_log`]).

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Of a log that is longer, the beginning and the end are searched.
const SEARCHED_BYTES_MAX: u64 = 64 << 20;
/// How much of a line is looked at and shown.
const LINE_BYTES_MAX: u64 = 4096;
/// So many findings are shown.
const SHOWN_MAX: usize = 5;

/// A text that means a defect when it is in a node's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Oracle {
    /// What it finds: `a data race`.
    pub(crate) what: Cow<'static, str>,
    pub(crate) text: Cow<'static, str>,
    /// Whether the line must begin with it.
    pub(crate) at_begin: bool,
}

const fn oracle(what: &'static str, text: &'static str, at_begin: bool) -> Oracle {
    Oracle {
        what: Cow::Borrowed(what),
        text: Cow::Borrowed(text),
        at_begin,
    }
}

/// What every node's log is searched for.
const GENERAL: &[Oracle] = &[
    oracle("a report of AddressSanitizer", "ERROR: AddressSanitizer", false),
    oracle("a report of LeakSanitizer", "ERROR: LeakSanitizer", false),
    oracle("a report of ThreadSanitizer", "WARNING: ThreadSanitizer", false),
    oracle("a report of MemorySanitizer", "WARNING: MemorySanitizer", false),
    oracle("a report of valgrind", "Invalid read of size", false),
    oracle("a report of valgrind", "Invalid write of size", false),
    oracle("a data race (Go)", "WARNING: DATA RACE", false),
    oracle("a panic (Go)", "panic: ", true),
    oracle("a fatal error (Go)", "fatal error: ", true),
    // After the panics of Go, some of which are runtime errors.
    oracle(
        "a report of UndefinedBehaviorSanitizer",
        ": runtime error: ",
        false,
    ),
    oracle("a panic (Rust)", "' panicked at ", false),
    oracle("a panic (Rust)", ") panicked at ", false),
    oracle("a damaged heap (glibc)", "double free or corruption", false),
    oracle("a damaged heap (glibc)", "malloc(): ", true),
    oracle(
        "a damaged stack (glibc)",
        "*** stack smashing detected ***",
        false,
    ),
    oracle("a failed assertion", "Assertion `", false),
];

impl Oracle {
    fn finds(&self, line: &str) -> bool {
        match self.at_begin {
            true => line.starts_with(&*self.text),
            false => line.contains(&*self.text),
        }
    }
}

/// What is searched for in the log of one node.
#[derive(Debug, Default)]
pub(crate) struct Oracles {
    /// Those of its kind.
    own: Vec<Oracle>,
    /// Lines that hold one of these are no defect.
    allowed: Vec<String>,
}

/// A line that an oracle found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    what: Cow<'static, str>,
    line: String,
}

/// What the log of a node says against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) node: String,
    /// In the order of the log; not empty.
    findings: Vec<Finding>,
    /// Bytes in the middle that were not searched.
    left_out: u64,
}

impl Oracles {
    /// Searches for one more thing. A node that starts again may say so again.
    pub(crate) fn add(&mut self, oracle: Oracle) {
        if !self.own.contains(&oracle) {
            self.own.push(oracle);
        }
    }

    /// Forgets what was allowed: it was so in another case.
    pub(crate) fn allow_nothing(&mut self) {
        self.allowed.clear();
    }

    pub(crate) fn allow(&mut self, text: String) {
        self.allowed.push(text);
    }

    fn judge(&self, line: &str) -> Option<Finding> {
        let found = GENERAL
            .iter()
            .chain(&self.own)
            .find(|oracle| oracle.finds(line))?;
        let allowed = self.allowed.iter().any(|text| line.contains(&**text));
        (!allowed).then(|| Finding {
            what: found.what.clone(),
            line: line.trim_end().to_owned(),
        })
    }

    /// Searches the log of `node` from the byte `begin` on; `None` when nothing is found, or there is no log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) fn search(&self, node: &str, log: &Path, begin: u64) -> io::Result<Option<Report>> {
        let mut file = match std::fs::File::open(log) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(begin))?;
        let length = file.metadata()?.len().saturating_sub(begin);
        let mut findings = Vec::new();
        let left_out = length.saturating_sub(SEARCHED_BYTES_MAX);
        if left_out == 0 {
            self.read(&mut file, length, &mut findings)?;
        } else {
            self.read(&mut file, SEARCHED_BYTES_MAX / 2, &mut findings)?;
            file.seek(SeekFrom::End(-((SEARCHED_BYTES_MAX / 2) as i64)))?;
            self.read(&mut file, SEARCHED_BYTES_MAX / 2, &mut findings)?;
        }
        Ok((!findings.is_empty()).then(|| Report {
            node: node.to_owned(),
            findings,
            left_out,
        }))
    }

    fn read(&self, file: &mut std::fs::File, bytes: u64, findings: &mut Vec<Finding>) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(64 << 10, file.take(bytes));
        let mut line = Vec::new();
        loop {
            line.clear();
            // Of a longer line, the pieces.
            if reader
                .by_ref()
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line)?
                == 0
            {
                return Ok(());
            }
            findings.extend(self.judge(&String::from_utf8_lossy(&line)));
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, findings, .. } = self;
        write!(f, "the log of node `{node}` holds {}", findings[0].what)?;
        for finding in findings.iter().take(SHOWN_MAX) {
            write!(f, "\n  | {}", finding.line)?;
        }
        let more = findings.len().saturating_sub(SHOWN_MAX);
        if more > 0 {
            write!(f, "\n  and {more} more such lines")?;
        }
        if self.left_out > 0 {
            write!(f, "\n  ({} bytes in its middle were not searched)", self.left_out)?;
        }
        write!(
            f,
            "\n  if that is expected here, say so: `server.allow_log(\"..\", \"why\")`"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(oracles: &Oracles, text: impl AsRef<[u8]>) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("x.log");
        std::fs::write(&log, text).unwrap();
        let report = oracles.search("db-1", &log, 0).unwrap();
        report.map(|report| report.to_string())
    }

    #[test]
    fn a_report_of_a_sanitizer_a_panic_and_a_data_race_are_found() {
        for (line, what) in [
            (
                "==7==ERROR: AddressSanitizer: heap-use-after-free on",
                "AddressSanitizer",
            ),
            ("WARNING: DATA RACE", "a data race"),
            ("panic: runtime error: index out of range", "a panic (Go)"),
            ("thread 'main' panicked at src/main.rs:3:5:", "a panic (Rust)"),
            (
                "thread 'main' (77) panicked at src/main.rs:3:5:",
                "a panic (Rust)",
            ),
            ("x.c:3:5: runtime error: signed integer overflow", "Undefined"),
        ] {
            let told = search(&Oracles::default(), format!("fine\n{line}\nmore\n")).unwrap();
            assert!(
                told.contains("`db-1`") && told.contains(what) && told.contains(line),
                "{told}"
            );
        }
    }

    #[test]
    fn what_a_server_says_about_its_work_is_no_defect() {
        let log = "do not panic: all is well\nhandled a fatal error: none\nreload after panic\n";
        assert_eq!(search(&Oracles::default(), log), None);
        let nothing = Oracles::default()
            .search("x", Path::new("/nonexistent/x.log"), 0)
            .unwrap();
        assert_eq!(nothing, None);
    }

    #[test]
    fn kinds_add_and_scenarios_allow() {
        let mut oracles = Oracles::default();
        let own = Oracle {
            what: "a lost page".into(),
            text: "PAGE LOST".into(),
            at_begin: false,
        };
        oracles.add(own.clone());
        oracles.add(own);
        let told = search(&oracles, "a PAGE LOST\nPAGE LOST 2\n").unwrap();
        assert!(
            told.contains("a lost page") && told.contains("PAGE LOST 2"),
            "{told}"
        );
        oracles.allow("PAGE LOST".into());
        assert_eq!(search(&oracles, "a PAGE LOST\n"), None);
    }

    #[test]
    fn the_end_of_a_very_long_log_is_searched_too() {
        let mut log = b"filler\n".repeat((SEARCHED_BYTES_MAX / 7 + 100_000) as usize);
        log.extend(b"WARNING: DATA RACE\n");
        let told = search(&Oracles::default(), log).unwrap();
        assert!(told.contains("were not searched"), "{told}");
    }
}
