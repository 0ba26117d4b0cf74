//! What went wrong with reports: each said once on stderr, all returned in the end.

use std::io::{self, Write as _};

use crate::report::file::WriteError;
use crate::report::junit;
use crate::report::log::LogError;

/// A report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The events.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A file.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The content of a file.
    #[error(transparent)]
    Render(#[from] junit::RenderError),
    /// The console; a reader that went away is no error.
    #[error("cannot write to stdout; the reports have what is missing there")]
    Console(#[source] io::Error),
}

/// What went wrong, each said once.
#[derive(Debug, Default)]
pub(super) struct Errors {
    pub(super) all: Vec<ReportError>,
    said: std::collections::HashSet<String>,
}

impl Errors {
    pub(super) fn catch<T, E: Into<ReportError>>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(error.into())).ok()
    }

    pub(super) fn add(&mut self, error: ReportError) {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        if self.said.insert(text.clone()) {
            say(&format!("error: {text}"));
            self.all.push(error);
        }
    }
}

/// Says a line on stderr; where that is closed there is nobody to say it to.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
