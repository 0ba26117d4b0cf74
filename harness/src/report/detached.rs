//! A writer that never waits for whoever reads: what is written goes through a thread of its own.
//!
//! A pager at rest, or a program that started the run and does not read its pipe, would else hold up the
//! events and `junit.xml`, and an interrupt.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// With more than this not yet taken, writing waits after all.
const BACKLOG_BYTES_MAX: usize = 64 << 20;

/// The end that is written to. Dropping it ends the thread when all is written.
#[derive(Debug)]
pub(crate) struct Detached(Arc<Shared>);

/// What is not yet written.
#[derive(Debug)]
pub(crate) struct Backlog(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Vec<u8>>,
    bytes: usize,
    closed: bool,
    done: bool,
    error: Option<io::Error>,
}

/// Gives `writer` to a thread.
///
/// # Errors
/// When there can be none.
pub(crate) fn detached(mut writer: impl Write + Send + 'static) -> io::Result<(Detached, Backlog)> {
    let shared = Arc::new(Shared::default());
    let theirs = Arc::clone(&shared);
    std::thread::Builder::new()
        .name("console".to_owned())
        .spawn(move || {
            while let Some(piece) = theirs.next() {
                let written = writer.write_all(&piece).and_then(|()| writer.flush());
                let mut state = theirs.lock();
                state.bytes -= piece.len();
                if let Err(error) = written {
                    state.error = Some(error);
                    break;
                }
                theirs.changed.notify_all();
            }
            theirs.lock().done = true;
            theirs.changed.notify_all();
        })?;
    Ok((Detached(Arc::clone(&shared)), Backlog(shared)))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Vec<u8>> {
        let ready = |state: &mut State| state.pieces.is_empty() && !state.closed;
        let mut state = self
            .changed
            .wait_while(self.lock(), ready)
            .unwrap_or_else(PoisonError::into_inner);
        state.pieces.pop_front()
    }
}

impl Write for Detached {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let full = |state: &mut State| state.bytes > BACKLOG_BYTES_MAX && !state.done;
        let mut state = self
            .0
            .changed
            .wait_while(self.0.lock(), full)
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        if state.done {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        state.bytes += bytes.len();
        state.pieces.push_back(bytes.to_vec());
        self.0.changed.notify_all();
        Ok(bytes.len())
    }

    /// Says nothing about what was written: that is what this is for.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

impl Backlog {
    /// Waits until all is written, or cannot be; `false` after `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let waited = self
            .0
            .changed
            .wait_timeout_while(self.0.lock(), timeout, |state| !state.done);
        waited.unwrap_or_else(PoisonError::into_inner).0.done
    }

    /// Why something was not written, if nobody was told yet.
    pub(crate) fn error(&self) -> Option<io::Error> {
        self.0.lock().error.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_the_reader_and_everything_arrives_in_order() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let (mut writer, backlog) = detached(pipe).unwrap();
        let piece = vec![b'x'; 100_000];
        for _ in 0..20 {
            writer.write_all(&piece).unwrap();
        }
        writer.write_all(b"end").unwrap();
        drop(writer);
        assert!(!backlog.wait(Duration::from_millis(20)));
        let mut all = Vec::new();
        io::Read::read_to_end(&mut reader, &mut all).unwrap();
        assert_eq!(all.len(), 2_000_003);
        assert!(all.ends_with(b"xend"));
        assert!(backlog.wait(Duration::from_secs(60)) && backlog.error().is_none());
    }

    #[test]
    fn a_reader_that_went_away_is_an_error_of_a_later_write() {
        let (reader, pipe) = io::pipe().unwrap();
        drop(reader);
        let (mut writer, backlog) = detached(pipe).unwrap();
        writer.write_all(b"x").unwrap();
        assert!(backlog.wait(Duration::from_secs(60)));
        assert_eq!(
            writer.write_all(b"y").unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }
}
