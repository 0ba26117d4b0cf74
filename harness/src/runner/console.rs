//! The console of a run: where it goes, and that it is read to its end.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use crate::cli::{self, Format, Settings};
use crate::interrupt::{Interrupt, Urgency};
use crate::report::detached::{Backlog, detached};
use crate::report::{self, ConsoleOptions, FormatKind, Style};
use crate::seed::Seed;

/// How long an interrupted run waits for somebody to read the rest of its console.
const READ_WITHIN: Duration = Duration::from_secs(1);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Tells on stderr; nobody is left to be told if that is gone.
pub(super) fn complain(text: &str) {
    let _closed = std::io::stderr().write_all(format!("robust-test: {text}\n").as_bytes());
}

/// What the settings say of it. A stdout that is no terminal gets a thread of its own, and what waits there.
///
/// # Errors
/// When the log file cannot be made, or no thread started.
pub(super) fn console(
    settings: &Settings,
    shuffle: Option<Seed>,
) -> std::io::Result<(ConsoleOptions, Option<Backlog>)> {
    let terminal = std::io::stdout().is_terminal();
    let style = Style {
        color: match settings.color {
            cli::Color::Always => true,
            cli::Color::Never => false,
            cli::Color::Auto => terminal && settings.logfile.is_none(),
        },
        show_output: settings.show_output,
        report_time: settings.report_time,
        shuffle_seed: shuffle.map(|seed| seed.0),
    };
    let format = match settings.format {
        Format::Pretty => FormatKind::Pretty,
        Format::Terse => FormatKind::Terse,
        Format::Json => FormatKind::Json,
    };
    let mut options = ConsoleOptions::stdout(format, style);
    if let Some(path) = &settings.logfile {
        let file = std::fs::File::create(path).map_err(|error| {
            std::io::Error::new(error.kind(), format!("--logfile {}: {error}", path.display()))
        })?;
        options.terminal = false;
        options.writer = Box::new(file);
    } else if !terminal {
        let (writer, backlog) = detached(std::io::stdout())?;
        options.writer = Box::new(writer);
        return Ok((options, Some(backlog)));
    }
    Ok((options, None))
}

/// Waits until what was told is read: as long as it takes, or a moment where the run was interrupted.
pub(super) fn read_by_somebody(
    backlog: &Backlog,
    finished: &mut report::Finished,
    interrupt: Option<&Interrupt>,
) {
    let is_over = || interrupt.is_some_and(|interrupt| interrupt.urgency() != Urgency::None);
    while !backlog.wait(LOOK) {
        if is_over() && !backlog.wait(READ_WITHIN) {
            return;
        }
    }
    if let Some(error) = backlog
        .error()
        .filter(|error| error.kind() != std::io::ErrorKind::BrokenPipe)
    {
        complain(&format!(
            "cannot write to stdout: {error}; the reports have what is missing there"
        ));
        finished.errors.push(report::ReportError::Console(error));
    }
}
