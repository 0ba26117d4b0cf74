//! What a toxic did, counted: the proof that it bit.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a toxic has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hits {
    /// Connections on which it did anything.
    pub connections: u64,
    /// Bytes that it delayed, held, lost or changed.
    pub bytes: u64,
    /// Connections or streams that it closed or reset.
    pub closed: u64,
}

impl Hits {
    /// Whether it did anything.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

impl std::iter::Sum for Hits {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            connections: sum.connections + one.connections,
            bytes: sum.bytes + one.bytes,
            closed: sum.closed + one.closed,
        })
    }
}

/// The same while it counts.
#[derive(Debug, Default)]
pub(super) struct Counter {
    connections: AtomicU64,
    bytes: AtomicU64,
    closed: AtomicU64,
}

impl Counter {
    pub(super) fn connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self, count: usize) {
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Hits {
        Hits {
            connections: self.connections.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            closed: self.closed.load(Ordering::Relaxed),
        }
    }
}
