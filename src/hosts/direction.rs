//! What becomes of a packet on its way from one host to another. Knows no descriptor and no clock.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::impairment::{Effect, HitCounter, Impairment};
use super::packet::corrupt;

/// So many bytes may be on their way in one direction; more are lost, as in a queue that is full.
const ON_THEIR_WAY_MAX: usize = 64 << 20;

/// A fault of a net.
#[derive(Debug)]
pub(super) struct Entry {
    /// By the order in which they were added, from 1.
    pub(super) number: u64,
    pub(super) fault: Impairment,
    pub(super) hits: Arc<HitCounter>,
}

/// What went from one host to another so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Packets that arrived, copies included.
    pub packets: u64,
    /// Bytes in them, headers included.
    pub bytes: u64,
    /// Packets lost by [`Effect::Cut`].
    pub cut: u64,
    /// Packets lost by [`Effect::Loss`].
    pub lost: u64,
    /// Packets lost because too many waited: by [`Effect::Bandwidth`], or with 64 MiB on their way.
    pub overflowed: u64,
    /// Packets of which a bit was flipped.
    pub corrupted: u64,
    /// Packets that arrived twice.
    pub duplicated: u64,
    /// Packets that arrived later, by whatever fault.
    pub delayed: u64,
    /// Packets held by [`Effect::Reorder`].
    pub reordered: u64,
    /// Packets that the receiving system did not take.
    pub refused: u64,
}

/// One direction between two hosts.
#[derive(Debug, Default)]
pub(super) struct Direction {
    faults: Vec<Active>,
    pub(super) traffic: Traffic,
    /// Of packets that are on their way.
    pub(super) bytes_waiting: usize,
}

/// A fault in one direction.
#[derive(Debug)]
struct Active {
    entry: Arc<Entry>,
    rng: ChaCha8Rng,
    /// When the last packet leaves it.
    last: Duration,
}

/// By how much a fault delays a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) fault: u64,
    pub(super) by: Duration,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Lost,
    Arrives {
        copies: u32,
        /// When, by the clock that [`Direction::decide`] is told: now, and all holds.
        due: Duration,
        holds: Vec<Hold>,
    },
}

impl Direction {
    /// Puts a fault where it belongs among the others. `rng` is what it draws from here.
    pub(super) fn add(&mut self, entry: &Arc<Entry>, rng: ChaCha8Rng) {
        let rank = entry.fault.effect.rank();
        let at = self
            .faults
            .partition_point(|active| active.entry.fault.effect.rank() <= rank);
        let active = Active {
            entry: Arc::clone(entry),
            rng,
            last: Duration::ZERO,
        };
        self.faults.insert(at, active);
    }

    /// Takes a fault away.
    pub(super) fn remove(&mut self, fault: u64) {
        self.faults.retain(|active| active.entry.number != fault);
    }

    /// Whether nothing can happen to a packet, so that nobody has to look at the clock.
    pub(super) fn is_clear(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether what is on its way arrives in the order in which it was sent.
    pub(super) fn keeps_order(&self) -> bool {
        !self
            .faults
            .iter()
            .any(|active| active.entry.fault.effect.may_reorder())
    }

    /// Decides on the next packet, and changes it where it is to be corrupted.
    pub(super) fn decide(&mut self, now: Duration, packet: &mut [u8]) -> Verdict {
        let Self {
            faults,
            traffic,
            bytes_waiting,
        } = self;
        let bytes = packet.len();
        let mut copies = 1;
        let mut due = now;
        let mut holds = Vec::new();
        for Active { entry, rng, last } in faults {
            let before = due;
            match entry.fault.effect {
                Effect::Cut => {
                    entry.hits.packet(bytes);
                    traffic.cut += 1;
                    return Verdict::Lost;
                }
                Effect::Loss { probability } => {
                    if rng.random_bool(probability) {
                        entry.hits.packet(bytes);
                        traffic.lost += 1;
                        return Verdict::Lost;
                    }
                }
                Effect::Corrupt {
                    probability,
                    checksum,
                } => {
                    if rng.random_bool(probability) && corrupt(packet, checksum, rng) {
                        entry.hits.packet(bytes);
                        traffic.corrupted += 1;
                    }
                }
                Effect::Duplicate { probability } => {
                    if rng.random_bool(probability) {
                        entry.hits.packet(bytes);
                        traffic.duplicated += 1;
                        copies += 1;
                    }
                }
                Effect::Bandwidth {
                    bytes_per_second,
                    queue_bytes,
                } => {
                    let bytes = bytes as u64 * u64::from(copies);
                    let wait = last.saturating_sub(before);
                    let waiting = u128::from(bytes_per_second) * wait.as_nanos() / 1_000_000_000;
                    // One that need not wait always passes, however large it is.
                    if waiting > 0 && waiting + u128::from(bytes) > u128::from(queue_bytes) {
                        entry.hits.packet(packet.len());
                        traffic.overflowed += 1;
                        return Verdict::Lost;
                    }
                    let takes = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second);
                    *last = before + wait + Duration::from_nanos_u128(takes);
                    due = *last;
                }
                Effect::Delay {
                    delay,
                    jitter,
                    may_reorder,
                } => {
                    due += drawn(delay, jitter, rng);
                    if !may_reorder {
                        due = due.max(*last);
                        *last = due;
                    }
                }
                Effect::Reorder { probability, held } => {
                    if rng.random_bool(probability) {
                        due += held;
                        traffic.reordered += 1;
                    }
                }
            }
            if due > before {
                entry.hits.packet(bytes);
                holds.push(Hold {
                    fault: entry.number,
                    by: due - before,
                });
            }
        }
        if due > now {
            if *bytes_waiting + bytes > ON_THEIR_WAY_MAX {
                traffic.overflowed += 1;
                return Verdict::Lost;
            }
            traffic.delayed += 1;
        }
        Verdict::Arrives { copies, due, holds }
    }
}

fn drawn(delay: Duration, jitter: Duration, rng: &mut ChaCha8Rng) -> Duration {
    if jitter.is_zero() {
        return delay;
    }
    let least = delay.saturating_sub(jitter);
    rng.random_range(least..=delay + jitter)
}
