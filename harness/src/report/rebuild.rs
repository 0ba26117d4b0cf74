//! The reports of runs that are over, from their events (`--report-from`).

use std::num::NonZero;
use std::path::{Path, PathBuf};

use crate::report::errors::{Errors, say};
use crate::report::file::{Files, WriteError};
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
    write_both(
        &options.junit,
        options.html.as_deref(),
        &recording.suites,
        &mut errors,
    );
    Ok(Finished {
        totals: recording.totals(),
        errors: errors.all,
    })
}

/// Writes `junit.xml` on so many threads; one is the calling one.
pub(super) fn write_junit(paths: &[PathBuf], suites: &[Suite], threads: usize, errors: &mut Errors) {
    let mut files = Files::create(paths);
    let rendered = match files.is_empty() {
        true => Ok(()),
        false => junit::render(suites, threads, |xml| files.write(xml)),
    };
    let written = match errors.catch(rendered) {
        Some(()) => files.finish(),
        None => files.abandon(),
    };
    written.into_iter().for_each(|error| errors.add(error.into()));
}

/// Writes `junit.xml` and `report.html`, on all processors.
pub(super) fn write_both(junit: &[PathBuf], html: Option<&Path>, suites: &[Suite], errors: &mut Errors) {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let Some(path) = html else {
        return write_junit(junit, suites, threads, errors);
    };
    let write_html = || write_html(path, suites);
    let html_written = std::thread::scope(|scope| {
        let page = std::thread::Builder::new()
            .name("html".to_owned())
            .spawn_scoped(scope, write_html);
        write_junit(junit, suites, threads, errors);
        match page {
            Ok(page) => page
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            // No room for a thread.
            Err(_) => write_html(),
        }
    });
    html_written
        .into_iter()
        .for_each(|error| errors.add(error.into()));
}

fn write_html(path: &Path, suites: &[Suite]) -> Vec<WriteError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    // Links need to know where the page is; without that they are absolute.
    let folder = std::path::absolute(folder).unwrap_or_default();
    let mut files = Files::create(&[path]);
    if !files.is_empty() {
        // Where it breaks, there is nothing left to write to.
        let _ = html::render(suites, &folder, |page| files.write(page));
    }
    files.finish()
}
