//! What went through a proxy, as it was sent: for messages that somebody reads, and for peers that send it again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::toxic::Stream;

/// One connection's bytes, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recording {
    /// The connection's number on its proxy, from 1 on.
    pub connection: u64,
    /// What was read at once, each.
    pub chunks: Vec<Chunk>,
    /// How many bytes were left out, because there were too many.
    pub left_out_bytes: u64,
}

/// Bytes that came together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// When, since the recording began.
    pub at: Duration,
    /// Who sent them.
    pub stream: Stream,
    /// They, as they were sent: before any toxic.
    pub bytes: Vec<u8>,
}

impl Recording {
    /// All that was sent on one of its streams.
    pub fn sent(&self, stream: Stream) -> Vec<u8> {
        let chunks = self.chunks.iter().filter(|chunk| chunk.stream == stream);
        chunks.flat_map(|chunk| chunk.bytes.iter().copied()).collect()
    }
}

/// Keeps what it is given while it is on.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    is_on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    began: Option<Instant>,
    bytes_left: usize,
    recordings: Vec<Recording>,
}

impl Recorder {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew, and keeps at most so many bytes of all connections together.
    pub(super) fn begin(&self, bytes_max: usize) {
        *self.state() = State {
            began: Some(Instant::now()),
            bytes_left: bytes_max,
            recordings: Vec::new(),
        };
        self.is_on.store(true, Ordering::Relaxed);
    }

    /// What was recorded so far, by connection; it goes on.
    pub(super) fn recordings(&self) -> Vec<Recording> {
        self.state().recordings.clone()
    }

    pub(super) fn push(&self, connection: u64, stream: Stream, bytes: &[u8]) {
        if !self.is_on.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state();
        let at = state.began.map(|began| began.elapsed()).unwrap_or_default();
        let kept = bytes.len().min(state.bytes_left);
        state.bytes_left -= kept;
        let place = state
            .recordings
            .binary_search_by_key(&connection, |recording| recording.connection);
        let place = place.unwrap_or_else(|place| {
            let new = Recording {
                connection,
                ..Recording::default()
            };
            state.recordings.insert(place, new);
            place
        });
        let recording = &mut state.recordings[place];
        recording.left_out_bytes += (bytes.len() - kept) as u64;
        if kept > 0 {
            recording.chunks.push(Chunk {
                at,
                stream,
                bytes: bytes[..kept].to_vec(),
            });
        }
    }
}
