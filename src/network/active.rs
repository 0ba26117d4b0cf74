//! A toxic on one lane: since when, what it has drawn and counted there, and the proof that it bites.

use std::sync::Arc;
use std::time::Instant;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::entry::{Connection, Entry};
use super::toxic::{Effect, Stream};

#[derive(Debug)]
pub(super) struct Active {
    entry: Arc<Entry>,
    connection: Connection,
    since: Instant,
    pub(super) draws: ChaCha8Rng,
    /// How many bytes have passed since.
    pub(super) passed: u64,
    /// A bandwidth's: when the piece after the last one may begin.
    pub(super) free_at: Instant,
    /// A stall's: it is known to hold something.
    holds: bool,
}

impl Active {
    pub(super) fn new(entry: &Arc<Entry>, connection: &Connection, stream: Stream, now: Instant) -> Self {
        Self {
            draws: connection.draws(entry, stream),
            entry: Arc::clone(entry),
            connection: connection.clone(),
            since: now,
            passed: 0,
            free_at: now,
            holds: false,
        }
    }

    /// The same toxic as it is now: one that was changed begins anew, and draws and counts on.
    pub(super) fn updated(self, entry: &Arc<Entry>, now: Instant) -> Self {
        if self.entry.revision == entry.revision {
            return self;
        }
        Self {
            entry: Arc::clone(entry),
            since: now,
            passed: 0,
            ..self
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.entry.number
    }

    pub(super) fn effect(&self) -> Effect {
        self.entry.toxic.effect()
    }

    /// Counts bytes that it delayed, held, lost or changed.
    pub(super) fn bites(&self, bytes: usize) {
        self.connection.bitten_by(&self.entry);
        self.entry.hits.bytes(bytes);
    }

    /// Counts a connection or stream that it closed.
    pub(super) fn closes(&self) {
        self.connection.bitten_by(&self.entry);
        self.entry.hits.closed();
    }

    /// When it does something by itself.
    pub(super) fn timer(&self) -> Option<Instant> {
        match self.effect() {
            Effect::ResetPeer { after }
            | Effect::HalfClose { after }
            | Effect::Timeout { after: Some(after) } => Some(self.since + after),
            _ => None,
        }
    }

    /// Whether it is a stall of which nothing is known to be held.
    pub(super) fn may_hold(&self) -> bool {
        self.effect() == Effect::Stall && !self.holds
    }

    /// Takes note that it holds so many bytes, and maybe more that nobody has read.
    pub(super) fn holds(&mut self, bytes: usize) {
        self.holds = true;
        self.bites(bytes);
    }

    /// Flips a bit in one byte of so many, on average.
    pub(super) fn flip(&mut self, bytes: &mut [u8], one_byte_in: u32) {
        let mut flipped = 0;
        for byte in bytes {
            if self.draws.random_ratio(1, one_byte_in) {
                *byte ^= 1 << self.draws.random_range(0..8);
                flipped += 1;
            }
        }
        if flipped > 0 {
            self.bites(flipped);
        }
    }
}
