//! The kinds of attack there are, by name.

use std::fmt;
use std::str::FromStr;

use robust_test_harness::matrix::Hint;

/// What a hostile peer does on its connections.
///
/// ```
/// use robust_test::hostile::Attack;
///
/// assert_eq!("half-open".parse(), Ok(Attack::HalfOpen));
/// let error = "halfopen".parse::<Attack>().unwrap_err();
/// assert!(error.to_string().contains("did you mean `half-open`?"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Attack {
    /// Recorded traffic up to anywhere, then an end of the stream (FIN) or silence.
    Truncated,
    /// A length in a message says far more than there is; then silence, an end, or up to a megabyte of anything.
    Oversized,
    /// One message again and again, up to four megabytes.
    Repeated,
    /// Two messages, or two parts of one, change places.
    Reordered,
    /// A message, or a part of it, comes twice.
    Duplicated,
    /// Up to eight bits or bytes of a message are flipped.
    Flipped,
    /// Bytes are put into a message or taken out of it.
    Edited,
    /// 0, -1, the greatest, 2^31 and the like are written over 1, 2, 4 or 8 bytes, in either byte order.
    Integers,
    /// The beginning of one conversation and the rest of another.
    Spliced,
    /// Random bytes, up to 64 KiB.
    Garbage,
    /// Many connections that send a byte at a time.
    Slowloris,
    /// A connection that says nothing, or a part of a message and then nothing more.
    HalfOpen,
    /// Many connections, each of which is reset (RST) as soon as it is there.
    ResetFlood,
    /// The traffic as it is, for bytes that were found to do harm. Never drawn: only what is named is sent.
    Verbatim,
}

impl Attack {
    /// Those that are drawn where nothing else is said: all but [`Attack::Verbatim`].
    pub const DRAWN: [Self; 13] = [
        Self::Truncated,
        Self::Oversized,
        Self::Repeated,
        Self::Reordered,
        Self::Duplicated,
        Self::Flipped,
        Self::Edited,
        Self::Integers,
        Self::Spliced,
        Self::Garbage,
        Self::Slowloris,
        Self::HalfOpen,
        Self::ResetFlood,
    ];

    /// Its name in messages and file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Oversized => "oversized",
            Self::Repeated => "repeated",
            Self::Reordered => "reordered",
            Self::Duplicated => "duplicated",
            Self::Flipped => "flipped",
            Self::Edited => "edited",
            Self::Integers => "integers",
            Self::Spliced => "spliced",
            Self::Garbage => "garbage",
            Self::Slowloris => "slowloris",
            Self::HalfOpen => "half-open",
            Self::ResetFlood => "reset-flood",
            Self::Verbatim => "verbatim",
        }
    }

    /// Whether it changes traffic, and so is nothing without any.
    pub const fn needs_traffic(self) -> bool {
        !matches!(
            self,
            Self::Garbage | Self::Slowloris | Self::HalfOpen | Self::ResetFlood
        )
    }

    /// Whether it is nothing without bytes that are sent; the others may keep silent.
    pub(super) const fn has_to_send(self) -> bool {
        !matches!(self, Self::HalfOpen | Self::ResetFlood | Self::Truncated)
    }
}

/// Those to draw from: what was named, else those of `drawn` that are not `useless`.
///
/// # Errors
/// With one that was named and is.
pub(super) fn choose(
    named: &[Attack],
    drawn: &[Attack],
    useless: impl Fn(Attack) -> bool,
) -> Result<Vec<Attack>, Attack> {
    match named.iter().copied().find(|attack| useless(*attack)) {
        Some(attack) => Err(attack),
        None if named.is_empty() => Ok(drawn.iter().copied().filter(|attack| !useless(*attack)).collect()),
        None => Ok(named.to_vec()),
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no attack of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown attack `{name}`{hint}")]
pub struct UnknownAttack {
    /// What was asked for.
    pub name: String,
    /// What there is.
    pub hint: Hint,
}

impl FromStr for Attack {
    type Err = UnknownAttack;

    fn from_str(name: &str) -> Result<Self, UnknownAttack> {
        let all = || Self::DRAWN.into_iter().chain([Self::Verbatim]);
        all()
            .find(|attack| attack.name() == name)
            .ok_or_else(|| UnknownAttack {
                name: name.to_owned(),
                hint: Hint::new(name, all().map(Self::name)),
            })
    }
}
