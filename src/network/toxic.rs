//! Toxics: what a proxy does to the bytes of a connection, as values.
//!
//! The names and meanings are those of [toxiproxy](https://github.com/Shopify/toxiproxy) where it has them: `latency`,
//! `bandwidth`, `slow_close`, `timeout`, `reset_peer`, `slicer`, `limit_data`. Beyond them: `stall`, which holds bytes as a
//! cut cable does, where `timeout` loses them; `half_close`; `corrupt`; `truncate`.

use std::fmt;
use std::time::Duration;

use crate::clock::human;

/// Which of a connection's two streams, by toxiproxy's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// From the client to the server.
    Upstream,
    /// From the server to the client.
    Downstream,
}

impl Stream {
    /// The name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Downstream => "downstream",
        }
    }
}

/// What a [`Toxic`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Bytes arrive later, in order.
    Latency {
        /// By so much.
        latency: Duration,
        /// Give or take up to so much, drawn for each piece.
        jitter: Duration,
    },
    /// Bytes pass at this rate.
    Bandwidth {
        /// In bytes a second.
        bytes_per_second: u64,
    },
    /// Bytes arrive in small pieces.
    Slicer {
        /// Of so many bytes.
        average_size: usize,
        /// Give or take up to so many, drawn for each piece.
        size_variation: usize,
        /// Time between two pieces.
        delay: Duration,
    },
    /// The connection is closed once so many bytes have passed.
    LimitData {
        /// Bytes.
        bytes: u64,
    },
    /// Bytes are lost, and the connection is closed after a while.
    Timeout {
        /// `None`: never.
        after: Option<Duration>,
    },
    /// The connection is reset (RST) after a while.
    ResetPeer {
        /// How long after it was made, or after the toxic was added.
        after: Duration,
    },
    /// The receiver sees an orderly end of the stream (FIN) after a while, and what is sent to it later is lost; the other
    /// stream goes on.
    HalfClose {
        /// How long after it was made, or after the toxic was added.
        after: Duration,
    },
    /// The end of the stream arrives later.
    SlowClose {
        /// By so much.
        delay: Duration,
    },
    /// Bytes are held and nothing more is read, until the toxic is removed: nothing is lost.
    Stall,
    /// Single bits are flipped.
    Corrupt {
        /// Each byte is hit with the probability 1 in this.
        one_byte_in: u32,
    },
    /// Of what arrives at once the end is lost, and the stream goes on without it.
    Truncate {
        /// So many bytes of it pass.
        bytes: usize,
    },
}

/// What a proxy does to connections: an effect, on one stream or both, on every connection or on some.
///
/// ```
/// use robust_test::prelude::*;
///
/// let slow = Toxic::latency(millis(50)).jitter(millis(10)).both();
/// let flaky = Toxic::reset_peer(millis(200)).probability(0.1);
/// assert_eq!(slow.to_string(), "latency of 50 ms, give or take 10 ms (both streams)");
/// # let _ = flaky;
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "it does nothing until it is added to a proxy"]
pub struct Toxic {
    effect: Effect,
    /// `None`: both.
    stream: Option<Stream>,
    probability: f64,
    /// `None`: of anybody.
    of: Option<String>,
}

impl Toxic {
    /// Downstream and on every connection, as toxiproxy has it.
    pub fn new(effect: Effect) -> Self {
        Self {
            effect,
            stream: Some(Stream::Downstream),
            probability: 1.0,
            of: None,
        }
    }

    /// Bytes arrive `latency` later. What is on its way when the toxic is removed arrives at once.
    pub fn latency(latency: Duration) -> Self {
        let jitter = Duration::ZERO;
        Self::new(Effect::Latency { latency, jitter })
    }

    /// Draws each piece's latency from `latency - jitter` to `latency + jitter`; the order is kept.
    ///
    /// # Panics
    /// When it is no latency.
    #[track_caller]
    pub fn jitter(mut self, amount: Duration) -> Self {
        match &mut self.effect {
            Effect::Latency { jitter, .. } => *jitter = amount,
            _ => panic!("only a latency has jitter, not: {self}"),
        }
        self
    }

    /// Bytes pass at this rate.
    ///
    /// # Panics
    /// When the rate is 0: that is [`Toxic::stall`].
    #[track_caller]
    pub fn bandwidth(bytes_per_second: u64) -> Self {
        assert!(
            bytes_per_second > 0,
            "a bandwidth of 0 bytes a second: use `Toxic::stall()`"
        );
        Self::new(Effect::Bandwidth { bytes_per_second })
    }

    /// Bytes arrive in pieces of `average_size`, give or take up to `size_variation`, with `delay` between them (which is
    /// kept to the millisecond).
    ///
    /// # Panics
    /// When the variation is not less than the size.
    #[track_caller]
    pub fn slicer(average_size: usize, size_variation: usize, delay: Duration) -> Self {
        assert!(
            size_variation < average_size,
            "slices of {average_size} bytes, give or take {size_variation}: some would have none"
        );
        Self::new(Effect::Slicer {
            average_size,
            size_variation,
            delay,
        })
    }

    /// Closes the connection once so many bytes have passed, counted from when it was made or the toxic was added.
    pub fn limit_data(bytes: u64) -> Self {
        Self::new(Effect::LimitData { bytes })
    }

    /// Loses all bytes, and closes the connection after so long.
    pub fn timeout(after: Duration) -> Self {
        Self::new(Effect::Timeout { after: Some(after) })
    }

    /// Loses all bytes, for as long as it is there; the connection stays. toxiproxy's `timeout` of 0.
    pub fn black_hole() -> Self {
        Self::new(Effect::Timeout { after: None })
    }

    /// Resets the connection (RST) after so long.
    pub fn reset_peer(after: Duration) -> Self {
        Self::new(Effect::ResetPeer { after })
    }

    /// Ends the stream in an orderly way (FIN) after so long; the other stream goes on.
    pub fn half_close(after: Duration) -> Self {
        Self::new(Effect::HalfClose { after })
    }

    /// The end of the stream arrives so much later.
    pub fn slow_close(delay: Duration) -> Self {
        Self::new(Effect::SlowClose { delay })
    }

    /// Holds all bytes for as long as it is there, as a cut cable does: neither lost nor answered.
    pub fn stall() -> Self {
        Self::new(Effect::Stall)
    }

    /// Flips a bit in one byte of so many, on average.
    ///
    /// # Panics
    /// When it is 0.
    #[track_caller]
    pub fn corrupt(one_byte_in: u32) -> Self {
        assert!(one_byte_in > 0, "one byte in 0 cannot be hit");
        Self::new(Effect::Corrupt { one_byte_in })
    }

    /// Of what arrives at once only the first bytes pass.
    pub fn truncate(bytes: usize) -> Self {
        Self::new(Effect::Truncate { bytes })
    }

    /// On the bytes that the client sends.
    pub fn upstream(self) -> Self {
        self.on(Some(Stream::Upstream))
    }

    /// On the bytes that the server sends: what it is when nothing is said.
    pub fn downstream(self) -> Self {
        self.on(Some(Stream::Downstream))
    }

    /// On both streams.
    pub fn both(self) -> Self {
        self.on(None)
    }

    fn on(self, stream: Option<Stream>) -> Self {
        Self { stream, ..self }
    }

    /// On so large a part of the connections, from 0 to 1, drawn for each one from the case's seed: toxiproxy's
    /// `toxicity`.
    ///
    /// # Panics
    /// When it is not between 0 and 1.
    #[track_caller]
    pub fn probability(self, probability: f64) -> Self {
        assert!(
            (0.0..=1.0).contains(&probability),
            "a probability is between 0 and 1, and not {probability}"
        );
        Self { probability, ..self }
    }

    /// On the connections that this node of the cluster makes, and on no others: where the proxy is that of another node,
    /// which can tell ([`Cluster`](crate::cluster::Cluster) with `#[proxied]`, whose nodes are processes, on Linux).
    pub fn of_node(self, name: impl Into<String>) -> Self {
        let of = Some(name.into());
        Self { of, ..self }
    }

    /// The node whose connections it is for, where it is not for all.
    pub(super) fn node(&self) -> Option<&str> {
        self.of.as_deref()
    }

    /// What it does.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// On how large a part of the connections.
    pub(super) fn part(&self) -> f64 {
        self.probability
    }

    /// Whether it is for this stream.
    pub(super) fn is_on(&self, stream: Stream) -> bool {
        self.stream.is_none_or(|own| own == stream)
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Latency { latency, jitter } if jitter.is_zero() => {
                write!(f, "latency of {}", human(latency))
            }
            Self::Latency { latency, jitter } => {
                write!(f, "latency of {}, give or take {}", human(latency), human(jitter))
            }
            Self::Bandwidth { bytes_per_second } => {
                write!(f, "bandwidth of {bytes_per_second} bytes a second")
            }
            Self::Slicer {
                average_size,
                size_variation,
                delay,
            } => write!(
                f,
                "slices of {average_size} bytes, give or take {size_variation}, {} apart",
                human(delay)
            ),
            Self::LimitData { bytes } => write!(f, "limit of {bytes} bytes"),
            Self::Timeout { after: Some(after) } => write!(f, "timeout after {}", human(after)),
            Self::Timeout { after: None } => f.write_str("black hole"),
            Self::ResetPeer { after } => write!(f, "reset after {}", human(after)),
            Self::HalfClose { after } => write!(f, "half-close after {}", human(after)),
            Self::SlowClose { delay } => write!(f, "close {} late", human(delay)),
            Self::Stall => f.write_str("stall"),
            Self::Corrupt { one_byte_in } => write!(f, "corruption of one byte in {one_byte_in}"),
            Self::Truncate { bytes } => write!(f, "truncation to {bytes} bytes"),
        }
    }
}

impl fmt::Display for Toxic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stream = self.stream.map_or("both streams", Stream::name);
        write!(f, "{} ({stream}", self.effect)?;
        if let Some(node) = &self.of {
            write!(f, ", connections of {node}")?;
        }
        if self.probability < 1.0 {
            write!(f, ", with probability {}", self.probability)?;
        }
        f.write_str(")")
    }
}
