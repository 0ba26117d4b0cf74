//! What a proxy's connections are to do, and what they count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpStream;

use super::entry::Entry;
use super::link::{Ended, reset};
use super::record::Recorder;
use super::toxic::Stream;

/// What every connection of a proxy goes by; replaced as a whole when anything changes.
#[derive(Debug, Clone, Default)]
pub(super) struct Setup {
    pub(super) toxics: Vec<Arc<Entry>>,
    /// How those that there are are to end, while they are to.
    pub(super) ended: Option<Ended>,
}

/// What went through a proxy so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Connections that were accepted.
    pub connections: u64,
    /// Those that are open now, or are being opened.
    pub open: u64,
    /// Those that could not be passed on, because the server took none.
    pub refused: u64,
    /// How often the system would give no descriptor for one more; they wait in the backlog meanwhile.
    pub starved: u64,
    /// Those that were accepted while it was down, and closed or never answered; the ones that the system refused are not
    /// counted.
    pub turned_away: u64,
    /// Bytes that clients sent.
    pub upstream_bytes: u64,
    /// Bytes that the server sent.
    pub downstream_bytes: u64,
}

/// Where a proxy's connections are counted and recorded.
#[derive(Debug, Default)]
pub(super) struct Tap {
    connections: AtomicU64,
    open: AtomicU64,
    refused: AtomicU64,
    pub(super) starved: AtomicU64,
    /// Counted by what listens while it is down.
    pub(super) turned_away: Arc<AtomicU64>,
    upstream_bytes: AtomicU64,
    downstream_bytes: AtomicU64,
    last_refusal: Mutex<Option<String>>,
    pub(super) recorder: Recorder,
}

impl Tap {
    /// Takes note of a connection that the server did not take, which ends with that.
    pub(super) fn refused(&self, client: &TcpStream, why: String) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        *self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        reset(client);
    }

    /// Why the server did not take the last one of those.
    pub(super) fn last_refusal(&self) -> Option<String> {
        self.last_refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes note of what one side of a connection sent.
    pub(super) fn sent(&self, connection: u64, stream: Stream, bytes: &[u8]) {
        let total = match stream {
            Stream::Upstream => &self.upstream_bytes,
            Stream::Downstream => &self.downstream_bytes,
        };
        total.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.recorder.push(connection, stream, bytes);
    }

    pub(super) fn traffic(&self) -> Traffic {
        let read = |total: &AtomicU64| total.load(Ordering::Relaxed);
        Traffic {
            connections: read(&self.connections),
            open: read(&self.open),
            refused: read(&self.refused),
            starved: read(&self.starved),
            turned_away: read(&self.turned_away),
            upstream_bytes: read(&self.upstream_bytes),
            downstream_bytes: read(&self.downstream_bytes),
        }
    }
}

/// A connection that counts as open until this is dropped.
pub(super) struct OpenConnection(Arc<Tap>);

impl OpenConnection {
    pub(super) fn of(tap: &Arc<Tap>) -> Self {
        tap.connections.fetch_add(1, Ordering::Relaxed);
        tap.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(tap))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
