//! What attacks came to, counted by kind.

use std::collections::BTreeMap;
use std::fmt;

use super::attack::Attack;

/// How one connection of an attacker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reaction {
    /// The target took no connection.
    Refused,
    /// The target reset it (RST).
    Reset,
    /// The target closed it (FIN).
    Closed,
    /// The target had said something, and it was open at the attack's deadline.
    Answered,
    /// The target had said nothing, and it was open at the attack's deadline.
    Ignored,
    /// The attacker reset it itself, as it was to.
    Left,
}

impl Reaction {
    /// The name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Answered => "answered",
            Self::Ignored => "ignored",
            Self::Left => "left",
        }
    }
}

/// What became of the attacks of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many were made.
    pub attacks: u64,
    /// How their connections ended. Those of a slowloris and of a flood are many.
    pub reactions: BTreeMap<Reaction, u64>,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// Bytes that came back and were read.
    pub back_bytes: u64,
    /// Why the last connection that was refused was.
    pub last_refusal: Option<String>,
}

impl Tally {
    /// Connections that were made.
    pub fn reached(&self) -> u64 {
        let refused = self.reactions.get(&Reaction::Refused).unwrap_or(&0);
        self.reactions.values().sum::<u64>() - refused
    }

    /// Connections that ended so.
    pub fn count(&self, reaction: Reaction) -> u64 {
        self.reactions.get(&reaction).copied().unwrap_or_default()
    }
}

/// What hostile peers did and what came of it, by kind of attack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report(BTreeMap<Attack, Tally>);

/// What one connection came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Played {
    pub(super) reaction: Reaction,
    pub(super) sent_bytes: u64,
    pub(super) back_bytes: u64,
    pub(super) refusal: Option<String>,
}

impl Report {
    /// How many attacks there were.
    pub fn attacks(&self) -> u64 {
        self.0.values().map(|tally| tally.attacks).sum()
    }

    /// What became of one kind; nothing when none was made.
    pub fn of(&self, attack: Attack) -> Tally {
        self.0.get(&attack).cloned().unwrap_or_default()
    }

    /// All kinds of which any was made.
    pub fn by_kind(&self) -> &BTreeMap<Attack, Tally> {
        &self.0
    }

    /// How many connections ended so.
    pub fn count(&self, reaction: Reaction) -> u64 {
        self.0.values().map(|tally| tally.count(reaction)).sum()
    }

    pub(super) fn add(&mut self, attack: Attack, connections: &[Played]) {
        let tally = self.0.entry(attack).or_default();
        tally.attacks += 1;
        for played in connections {
            *tally.reactions.entry(played.reaction).or_default() += 1;
            tally.sent_bytes += played.sent_bytes;
            tally.back_bytes += played.back_bytes;
            tally.last_refusal = played.refusal.clone().or(tally.last_refusal.take());
        }
    }

    /// The kind that never reached the target, if there is one, and why.
    pub(super) fn inert(&self) -> Option<(Attack, String)> {
        let inert = |(attack, tally): (&Attack, &Tally)| {
            if tally.reached() == 0 {
                let why = tally.last_refusal.clone();
                return Some((
                    *attack,
                    why.unwrap_or_else(|| "no connection was made".to_owned()),
                ));
            }
            let is_silent = attack.has_to_send() && tally.sent_bytes == 0;
            is_silent.then(|| (*attack, "not a byte could be sent".to_owned()))
        };
        self.0.iter().find_map(inert)
    }
}

impl fmt::Display for Report {
    /// A line for each kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} attacks", self.attacks())?;
        for (attack, tally) in &self.0 {
            let Tally {
                attacks,
                sent_bytes,
                back_bytes,
                ..
            } = tally;
            write!(
                f,
                "\n{attack}: {attacks}, {sent_bytes} bytes sent, {back_bytes} came back"
            )?;
            for (reaction, count) in &tally.reactions {
                write!(f, ", {count} {}", reaction.name())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(reaction: Reaction, sent_bytes: u64) -> Played {
        Played {
            reaction,
            sent_bytes,
            back_bytes: 1,
            refusal: (reaction == Reaction::Refused).then(|| "nobody listens".to_owned()),
        }
    }

    #[test]
    fn attacks_are_counted_by_kind_and_told() {
        let mut report = Report::default();
        report.add(Attack::Garbage, &[played(Reaction::Closed, 10)]);
        report.add(Attack::Garbage, &[played(Reaction::Refused, 0)]);
        report.add(
            Attack::ResetFlood,
            &[played(Reaction::Left, 0), played(Reaction::Left, 0)],
        );
        assert_eq!((report.attacks(), report.count(Reaction::Left)), (3, 2));
        assert_eq!(report.of(Attack::Garbage).reached(), 1);
        assert_eq!(report.inert(), None);
        assert_eq!(
            report.to_string(),
            "3 attacks\ngarbage: 2, 10 bytes sent, 2 came back, 1 refused, 1 closed\n\
             reset-flood: 1, 0 bytes sent, 2 came back, 2 left"
        );
    }

    #[test]
    fn a_kind_that_reached_nobody_or_said_nothing_is_inert() {
        let mut report = Report::default();
        report.add(Attack::Garbage, &[played(Reaction::Closed, 10)]);
        report.add(Attack::Flipped, &[played(Reaction::Refused, 0)]);
        let why = "nobody listens".to_owned();
        assert_eq!(report.inert(), Some((Attack::Flipped, why)));
        let mut report = Report::default();
        report.add(Attack::HalfOpen, &[played(Reaction::Ignored, 0)]);
        assert_eq!(report.inert(), None);
        report.add(Attack::Flipped, &[played(Reaction::Closed, 0)]);
        assert!(report.inert().is_some());
    }
}
