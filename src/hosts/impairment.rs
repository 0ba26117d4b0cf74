//! Faults: what happens to packets between hosts, as values.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::net::Host;
use super::packet::Checksum;
use crate::clock::human;

/// What an [`Impairment`] does. Where there are several they act in the order of this list, and those of a kind in the order in
/// which they were added.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Effect {
    /// Every packet is lost, and nobody is told: also those that are on their way.
    Cut,
    /// Packets are lost.
    Loss {
        /// Each one with this probability.
        probability: f64,
    },
    /// One bit of a packet is flipped.
    Corrupt {
        /// Of each one with this probability.
        probability: f64,
        /// Whether the receiving system can tell.
        checksum: Checksum,
    },
    /// Packets arrive twice.
    Duplicate {
        /// Each one with this probability.
        probability: f64,
    },
    /// Packets leave one after another at this rate; those that find the queue full are lost.
    Bandwidth {
        /// In bytes a second, headers included.
        bytes_per_second: u64,
        /// So many bytes may wait.
        queue_bytes: u64,
    },
    /// Packets arrive later.
    Delay {
        /// By so much.
        delay: Duration,
        /// Give or take up to so much, drawn for each one.
        jitter: Duration,
        /// Whether one may so arrive before an earlier one; otherwise it waits for that.
        may_reorder: bool,
    },
    /// Packets are overtaken by later ones.
    Reorder {
        /// Each one with this probability.
        probability: f64,
        /// It is held for so long.
        held: Duration,
    },
}

impl Effect {
    /// Where among others it acts.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Cut => 0,
            Self::Loss { .. } => 1,
            Self::Corrupt { .. } => 2,
            Self::Duplicate { .. } => 3,
            Self::Bandwidth { .. } => 4,
            Self::Delay { .. } => 5,
            Self::Reorder { .. } => 6,
        }
    }

    /// Whether packets may leave it in another order.
    pub(super) fn may_reorder(&self) -> bool {
        match self {
            Self::Delay { may_reorder, .. } => *may_reorder,
            Self::Reorder { .. } => true,
            _ => false,
        }
    }
}

/// What happens to packets, in some directions between hosts: in all of them unless it is said.
///
/// ```
/// use robust_test::hosts::Impairment;
/// use robust_test::prelude::*;
///
/// let slow = Impairment::delay(millis(50)).jitter(millis(10));
/// assert_eq!(slow.to_string(), "delay of 50 ms, give or take 10 ms (all hosts)");
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "it does nothing until it is added to a net"]
pub struct Impairment {
    pub(super) effect: Effect,
    pub(super) ways: Ways,
    /// The nets of the hosts that it names.
    pub(super) nets: BTreeSet<String>,
}

/// In which directions, by the hosts' numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ways {
    /// `None`: whichever.
    Along { from: Option<usize>, to: Option<usize> },
    /// From, to.
    Pairs(BTreeSet<(usize, usize)>),
}

impl Ways {
    pub(super) fn have(&self, from: usize, to: usize) -> bool {
        match self {
            Self::Along { from: its, to: whose } => {
                its.is_none_or(|its| its == from) && whose.is_none_or(|whose| whose == to)
            }
            Self::Pairs(pairs) => pairs.contains(&(from, to)),
        }
    }
}

impl Impairment {
    /// In all directions.
    ///
    /// # Panics
    /// When a probability is not between 0 and 1, and when a bandwidth is 0: that is [`Impairment::cut`].
    #[track_caller]
    pub fn new(effect: Effect) -> Self {
        match effect {
            Effect::Loss { probability }
            | Effect::Corrupt { probability, .. }
            | Effect::Duplicate { probability }
            | Effect::Reorder { probability, .. } => assert!(
                (0.0..=1.0).contains(&probability),
                "a probability is between 0 and 1, and not {probability}"
            ),
            Effect::Bandwidth { bytes_per_second, .. } => assert!(
                bytes_per_second > 0,
                "a bandwidth of 0 bytes a second: use `Impairment::cut()`"
            ),
            Effect::Cut | Effect::Delay { .. } => {}
        }
        Self {
            effect,
            ways: Ways::Along { from: None, to: None },
            nets: BTreeSet::new(),
        }
    }

    /// What it does.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Loses every packet, as a cut cable does: nobody is told, and what is on its way is lost too.
    pub fn cut() -> Self {
        Self::new(Effect::Cut)
    }

    /// Loses each packet with this probability.
    ///
    /// # Panics
    /// When it is not between 0 and 1.
    #[track_caller]
    pub fn loss(probability: f64) -> Self {
        Self::new(Effect::Loss { probability })
    }

    /// Has packets arrive `delay` later, in order. What is on its way when that is healed arrives at once.
    pub fn delay(delay: Duration) -> Self {
        Self::new(Effect::Delay {
            delay,
            jitter: Duration::ZERO,
            may_reorder: false,
        })
    }

    /// Draws each packet's delay from `delay - jitter` to `delay + jitter`.
    ///
    /// # Panics
    /// When it is no delay.
    #[track_caller]
    pub fn jitter(mut self, amount: Duration) -> Self {
        match &mut self.effect {
            Effect::Delay { jitter, .. } => *jitter = amount,
            _ => panic!("only a delay has jitter, not: {self}"),
        }
        self
    }

    /// Lets packets arrive in the order of their own delays.
    ///
    /// # Panics
    /// When it is no delay.
    #[track_caller]
    pub fn reordering(mut self) -> Self {
        match &mut self.effect {
            Effect::Delay { may_reorder, .. } => *may_reorder = true,
            _ => panic!("only a delay reorders by its jitter, not: {self}"),
        }
        self
    }

    /// Delivers each packet twice with this probability.
    ///
    /// # Panics
    /// When it is not between 0 and 1.
    #[track_caller]
    pub fn duplicate(probability: f64) -> Self {
        Self::new(Effect::Duplicate { probability })
    }

    /// Holds each packet with this probability for so long, while later ones pass it.
    ///
    /// # Panics
    /// When the probability is not between 0 and 1.
    #[track_caller]
    pub fn reorder(probability: f64, held: Duration) -> Self {
        Self::new(Effect::Reorder { probability, held })
    }

    /// Flips a bit of each packet with this probability.
    ///
    /// # Panics
    /// When it is not between 0 and 1.
    #[track_caller]
    pub fn corrupt(probability: f64, checksum: Checksum) -> Self {
        Self::new(Effect::Corrupt {
            probability,
            checksum,
        })
    }

    /// Lets packets pass at this rate, headers included; `queue_bytes` of them may wait, and the rest is lost.
    ///
    /// # Panics
    /// When the rate is 0: that is [`Impairment::cut`].
    #[track_caller]
    pub fn bandwidth(bytes_per_second: u64, queue_bytes: u64) -> Self {
        Self::new(Effect::Bandwidth {
            bytes_per_second,
            queue_bytes,
        })
    }

    /// On what this host sends.
    pub fn from(self, host: &Host) -> Self {
        let to = self.along().1;
        self.named(Some(host.number()), to, host)
    }

    /// On what is sent to this host.
    pub fn to(self, host: &Host) -> Self {
        let from = self.along().0;
        self.named(from, Some(host.number()), host)
    }

    /// On what two hosts send each other.
    pub fn between(mut self, one: &Host, other: &Host) -> Self {
        let (a, b) = (one.number(), other.number());
        self.nets.extend([one, other].map(|host| host.net().to_owned()));
        self.ways = Ways::Pairs(BTreeSet::from([(a, b), (b, a)]));
        self
    }

    fn along(&self) -> (Option<usize>, Option<usize>) {
        match self.ways {
            Ways::Along { from, to } => (from, to),
            Ways::Pairs(_) => (None, None),
        }
    }

    fn named(mut self, from: Option<usize>, to: Option<usize>, host: &Host) -> Self {
        self.nets.insert(host.net().to_owned());
        self.ways = Ways::Along { from, to };
        self
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Cut => f.write_str("cut"),
            Self::Loss { probability } => write!(f, "loss of a packet with probability {probability}"),
            Self::Corrupt {
                probability,
                checksum,
            } => {
                let tells = match checksum {
                    Checksum::Wrong => "wrong",
                    Checksum::Right => "right",
                };
                write!(
                    f,
                    "corruption of a packet with probability {probability}, checksum {tells}"
                )
            }
            Self::Duplicate { probability } => {
                write!(f, "duplication of a packet with probability {probability}")
            }
            Self::Bandwidth {
                bytes_per_second,
                queue_bytes,
            } => write!(
                f,
                "bandwidth of {bytes_per_second} bytes a second, {queue_bytes} waiting"
            ),
            Self::Delay {
                delay,
                jitter,
                may_reorder,
            } => {
                write!(f, "delay of {}", human(delay))?;
                if !jitter.is_zero() {
                    write!(f, ", give or take {}", human(jitter))?;
                }
                f.write_str(if may_reorder { ", in any order" } else { "" })
            }
            Self::Reorder { probability, held } => write!(
                f,
                "hold of a packet with probability {probability} for {}",
                human(held)
            ),
        }
    }
}

impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.effect)?;
        match &self.ways {
            Ways::Along { from: None, to: None } => f.write_str("(all hosts)"),
            Ways::Along { from, to } => {
                let text = |number: &Option<usize>| number.map_or("all".to_owned(), |one| one.to_string());
                write!(f, "(host {} to host {})", text(from), text(to))
            }
            Ways::Pairs(pairs) => {
                let all: Vec<String> = pairs.iter().map(|(from, to)| format!("{from} to {to}")).collect();
                write!(f, "(hosts {})", all.join(", "))
            }
        }
    }
}

/// What a fault has done so far: lost, corrupted, duplicated, delayed or held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hits {
    /// Packets.
    pub packets: u64,
    /// Bytes in them, headers included.
    pub bytes: u64,
}

impl Hits {
    /// Whether it did anything.
    pub fn any(self) -> bool {
        self.packets > 0
    }
}

/// The same while it counts.
#[derive(Debug, Default)]
pub(super) struct HitCounter {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl HitCounter {
    pub(super) fn packet(&self, bytes: usize) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Hits {
        Hits {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}
