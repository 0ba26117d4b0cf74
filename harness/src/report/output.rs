//! Lines to stdout, above the status lines where there are any, until nobody reads them.

use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use crate::report::console::{Format, FormatKind, Style, Summary};
use crate::report::errors::{Errors, ReportError, say};
use crate::report::live::Live;
use crate::report::suite::Suite;

/// The least time between two status lines or two writes to a terminal.
pub(super) const TERMINAL_PAUSE: Duration = Duration::from_millis(50);

/// Where console output goes, and how.
pub struct ConsoleOptions {
    /// libtest's `--format`.
    pub format: FormatKind,
    /// What changes it.
    pub style: Style,
    /// Whether status lines may be shown: the output is read on a terminal. Only pretty has them.
    pub terminal: bool,
    /// Where the lines go.
    pub writer: Box<dyn Write + Send>,
}

impl ConsoleOptions {
    /// The format on stdout, with status lines where it is a terminal.
    pub fn stdout(format: FormatKind, style: Style) -> Self {
        Self {
            format,
            style,
            terminal: io::stdout().is_terminal() && io::stderr().is_terminal(),
            writer: Box::new(io::stdout()),
        }
    }
}

/// The console: a format, a buffer, and a writer until that fails.
pub(super) struct Console {
    format: Box<dyn Format>,
    style: Style,
    pub(super) live: Option<Live>,
    buffer: String,
    writer: Option<Box<dyn Write + Send>>,
    flushed: Option<Instant>,
}

impl Console {
    pub(super) fn new(options: ConsoleOptions) -> Self {
        Self {
            format: options.format.formatter(options.style),
            style: options.style,
            // Below terse's unfinished lines there is no place for others, and json is for programs.
            live: (options.terminal && options.format == FormatKind::Pretty).then(Live::new),
            buffer: String::new(),
            writer: Some(options.writer),
            flushed: None,
        }
    }

    pub(super) fn tell(&mut self, tell: impl FnOnce(&mut dyn Format, &mut String)) {
        if self.writer.is_some() {
            tell(&mut *self.format, &mut self.buffer);
        }
    }

    /// Writes what was told. On a terminal a moment's lines go together: each time the status lines are
    /// taken away and put back.
    pub(super) fn flush(&mut self, now_or_never: bool, errors: &mut Errors) {
        let is_soon = self.live.is_some() && self.flushed.is_some_and(|last| last.elapsed() < TERMINAL_PAUSE);
        if self.buffer.is_empty() || (is_soon && !now_or_never) {
            return;
        }
        let Some(writer) = &mut self.writer else { return };
        let mut write = || {
            writer
                .write_all(self.buffer.as_bytes())
                .and_then(|()| writer.flush())
        };
        let written = match &self.live {
            Some(live) => live.above(write),
            None => write(),
        };
        if let Err(error) = written {
            // Whoever read it went away (`| head`): the run goes on without a word.
            if error.kind() != io::ErrorKind::BrokenPipe {
                errors.add(ReportError::Console(error));
            }
            self.writer = None;
            self.live = None;
        }
        self.buffer.clear();
        self.flushed = Some(Instant::now());
    }

    /// Says a text on stderr, above the status lines.
    pub(super) fn aside(&self, text: &str) {
        match &self.live {
            Some(live) => live.above(|| say(text)),
            None => say(text),
        }
    }

    pub(super) fn end(&mut self, suite: &Suite, errors: &mut Errors) {
        if self.writer.is_some() {
            let summary = Summary::of(suite, self.style.show_output);
            self.tell(|format, out| format.run_finished(out, &summary));
        }
        if let Some(live) = self.live.take() {
            live.clear();
        }
        self.flush(true, errors);
    }
}
