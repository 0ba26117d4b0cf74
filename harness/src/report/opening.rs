//! The start of a run's reports: what must be done before anything runs. [`super::Reporter::begin`] does the rest.

use std::path::PathBuf;

use crate::event::RunStarted;
use crate::report::errors::Errors;
use crate::report::file::remove;
use crate::report::log::EventLog;
use crate::report::output::{Console, ConsoleOptions};
use crate::report::plan::count;

/// What a run's reports are.
pub struct ReporterOptions {
    /// What is going to run.
    pub run: RunStarted,
    /// Cases beside those, which are skipped: libtest's "running N tests" counts them.
    pub skipped: u64,
    /// `events.jsonl`.
    pub events: Option<PathBuf>,
    /// Every place for a `junit.xml`.
    pub junit: Vec<PathBuf>,
    /// `report.html`.
    pub html: Option<PathBuf>,
    /// The console.
    pub console: ConsoleOptions,
}

/// Reports that are about to begin: nothing of an earlier run is left to be taken for this one's, and the console
/// told what is going to run.
pub(crate) struct Opening {
    pub(super) run: RunStarted,
    pub(super) total: u64,
    pub(super) log: Option<EventLog>,
    pub(super) junit: Vec<PathBuf>,
    pub(super) html: Option<PathBuf>,
    pub(super) console: Console,
    pub(super) errors: Errors,
}

impl Opening {
    /// Does what must be done before anything runs.
    pub(crate) fn new(options: ReporterOptions) -> Self {
        let mut errors = Errors::default();
        let log = options
            .events
            .and_then(|path| errors.catch(EventLog::create(path)));
        for path in options
            .junit
            .iter()
            .chain(&options.html)
            .filter(|path| path.is_file())
        {
            errors.catch(remove(path));
        }
        let total = count(&options.run.planned);
        let mut console = Console::new(options.console);
        console.tell(|format, out| format.run_started(out, total + options.skipped));
        console.flush(true, &mut errors);
        Self {
            run: options.run,
            total,
            log,
            junit: options.junit,
            html: options.html,
            console,
            errors,
        }
    }
}
