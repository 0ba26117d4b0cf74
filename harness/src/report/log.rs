//! `events.jsonl`: the file every report can be rebuilt from.
//!
//! Written in whole lines, one write a batch: what has been written survives whatever happens to the run.
//! [`super::recording`] reads it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::event::Event;
use crate::report::line;

/// The events of a run could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The folder could not be made.
    #[error(
        "cannot create the folder {} for the events of this run; choose another with --report-dir",
        path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file could not be created.
    #[error("cannot create {}, the events of this run; choose another folder with --report-dir", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Lines could not be written.
    #[error(
        "cannot write to {}, reports cannot be rebuilt from it; make room or choose another folder with --report-dir",
        path.display()
    )]
    Append {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Appends events to a file.
#[derive(Debug)]
pub struct EventLog {
    file: File,
    path: PathBuf,
    line_is_torn: bool,
    buffer: Vec<u8>,
}

impl EventLog {
    /// Starts the events of a run: makes the folders, and empties the file where an earlier run left one.
    ///
    /// # Errors
    /// Where the folder or the file cannot be made.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, LogError> {
        let log = Self::open(path.into())?;
        log.file
            .set_len(0)
            .or_else(ignore_pipes)
            .map_err(|source| LogError::Create {
                path: log.path.clone(),
                source,
            })?;
        Ok(log)
    }

    /// Goes on with a file that may have events, and may end in a torn line.
    ///
    /// # Errors
    /// Where the folder or the file cannot be made.
    pub fn resume(path: impl Into<PathBuf>) -> Result<Self, LogError> {
        let mut log = Self::open(path.into())?;
        let mut last = [b'\n'];
        if log.file.seek(SeekFrom::End(-1)).is_ok() && log.file.read_exact(&mut last).is_ok() {
            log.line_is_torn = last != [b'\n'];
        }
        Ok(log)
    }

    fn open(path: PathBuf) -> Result<Self, LogError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| LogError::Folder {
                path: folder.to_owned(),
                source,
            })?;
        }
        match OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(&path)
        {
            Ok(file) => Ok(Self {
                file,
                path,
                line_is_torn: false,
                buffer: Vec::new(),
            }),
            Err(source) => Err(LogError::Create { path, source }),
        }
    }

    /// Appends the events, a line each, in one write. After an error the next call starts on a line of its
    /// own, so that nothing but the batch that failed is lost.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn append(&mut self, events: &[Event]) -> Result<(), LogError> {
        if events.is_empty() {
            return Ok(());
        }
        self.buffer.clear();
        if self.line_is_torn {
            self.buffer.push(b'\n');
        }
        let written = events
            .iter()
            .try_for_each(|event| {
                line::push(&mut self.buffer, event)?;
                self.buffer.push(b'\n');
                Ok(())
            })
            .and_then(|()| {
                self.line_is_torn = true;
                self.file.write_all(&self.buffer)?;
                self.file.flush()
            });
        match written {
            Ok(()) => {
                self.line_is_torn = false;
                self.buffer.shrink_to(1 << 20);
                Ok(())
            }
            Err(source) => Err(LogError::Append {
                path: self.path.clone(),
                source,
            }),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A pipe or a device has no length to set.
fn ignore_pipes(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::InvalidInput {
        Ok(())
    } else {
        Err(error)
    }
}
