//! The reports of runs that are over, from their events (`--report-from`).

use std::path::{Path, PathBuf};

use crate::report::errors::{Errors, say};
use crate::report::file::{WriteError, write_atomically};
use crate::report::output::{Console, ConsoleOptions};
use crate::report::recording::{ReadError, read};
use crate::report::reporter::Finished;
use crate::report::suite::Suite;
use crate::report::{html, junit};

/// Where reports rebuilt from events go.
pub struct RebuildOptions {
    /// Every place for a `junit.xml`.
    pub junit: Vec<PathBuf>,
    /// `report.html`.
    pub html: Option<PathBuf>,
    /// The console: what is bad, and the summary.
    pub console: ConsoleOptions,
}

/// Makes the reports of runs that are over from their events (`--report-from`). Damage in the files is said
/// on stderr.
///
/// # Errors
/// Where a file cannot be used at all.
pub fn rebuild<P: AsRef<Path>>(paths: &[P], options: RebuildOptions) -> Result<Finished, ReadError> {
    let recording = read(paths)?;
    let mut errors = Errors::default();
    for warning in &recording.warnings {
        say(&format!("warning: {warning}"));
    }
    let mut console = Console::new(ConsoleOptions {
        terminal: false,
        ..options.console
    });
    for suite in &recording.suites {
        console.tell(|format, out| format.run_started(out, suite.cases.totals().cases()));
        for case in suite
            .cases
            .cases()
            .filter(|case| case.runs() > 0 && case.outcome().is_bad())
        {
            console.tell(|format, out| format.case_finished(out, &case.to_finished()));
        }
        console.end(suite, &mut errors);
    }
    write_junit(&options.junit, &recording.suites, &mut errors);
    if let Some(path) = &options.html {
        errors.catch(write_html(path, &recording.suites));
    }
    Ok(Finished {
        totals: recording.totals(),
        errors: errors.all,
    })
}

pub(super) fn write_junit(paths: &[PathBuf], suites: &[Suite], errors: &mut Errors) {
    if paths.is_empty() {
        return;
    }
    if let Some(xml) = errors.catch(junit::render(suites)) {
        for path in paths {
            errors.catch(write_atomically(path, &xml));
        }
    }
}

pub(super) fn write_html(path: &Path, suites: &[Suite]) -> Result<(), WriteError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    // Links need to know where the page is; without that they are absolute.
    let folder = std::path::absolute(folder).unwrap_or_default();
    write_atomically(path, &html::render(suites, &folder))
}
