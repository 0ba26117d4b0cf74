//! A toxic as it is on a proxy: numbered, counted, replaced when it is changed.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use robust_test_harness::seed::Seed;

use super::hits::Counter;
use super::toxic::{Stream, Toxic};

/// One toxic of a proxy.
#[derive(Debug)]
pub(super) struct Entry {
    /// From 1 on, in the order in which they were added; never used twice.
    pub(super) number: u64,
    /// Which version of it, from 0 on.
    pub(super) revision: u64,
    pub(super) toxic: Toxic,
    /// Kept over changes.
    pub(super) hits: Arc<Counter>,
}

/// One connection, for what is drawn and counted for it; clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The proxy's.
    seed: Seed,
    number: u64,
    /// Who made it: looked for when a toxic is for the connections of one node.
    maker: LazyLock<Option<String>, FindMaker>,
    /// The toxics that have bitten it.
    bitten: Mutex<Vec<u64>>,
}

/// Tells who made a connection, where that can be told.
pub(super) type FindMaker = Box<dyn FnOnce() -> Option<String> + Send>;

impl Connection {
    pub(super) fn new(seed: Seed, number: u64, find_maker: FindMaker) -> Self {
        Self(Arc::new(Inner {
            seed,
            number,
            maker: LazyLock::new(find_maker),
            bitten: Mutex::default(),
        }))
    }

    pub(super) fn number(&self) -> u64 {
        self.0.number
    }

    /// Whether the toxic is for this connection: the same answer whenever it is asked.
    pub(super) fn is_hit_by(&self, entry: &Entry) -> bool {
        if let Some(node) = entry.toxic.node()
            && self.0.maker.as_deref() != Some(node)
        {
            return false;
        }
        let part = entry.toxic.part();
        part >= 1.0 || self.stream("is hit by", entry).random_bool(part)
    }

    /// What the toxic draws on one of its streams.
    pub(super) fn draws(&self, entry: &Entry, stream: Stream) -> ChaCha8Rng {
        self.stream(stream.name(), entry)
    }

    fn stream(&self, purpose: &str, entry: &Entry) -> ChaCha8Rng {
        let name = format!("connection {} {purpose} toxic {}", self.0.number, entry.number);
        self.0.seed.stream(&name)
    }

    /// Takes note that the toxic bites it.
    pub(super) fn bitten_by(&self, entry: &Entry) {
        let mut bitten = self.0.bitten.lock().unwrap_or_else(PoisonError::into_inner);
        if !bitten.contains(&entry.number) {
            bitten.push(entry.number);
            entry.hits.connection();
        }
    }
}
