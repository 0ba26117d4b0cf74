//! What one attack does: drawn, a pure function of the traffic, the seed and the attack's number.

use std::fmt;
use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use robust_test_harness::seed::Seed;

use super::attack::Attack;
use super::corpus::{Conversation, Corpus, Piece};
use super::mutate::{self, Mutated};
use crate::clock::human;

const GARBAGE_BYTES_MAX: usize = 64 << 10;
/// What comes after an oversized message, where anything does.
const FILLER_BYTES_MAX: usize = 1 << 20;
const REPEATED_BYTES_MAX: usize = 4 << 20;
/// How long a slowloris waits from byte to byte, in milliseconds.
const PACE_MS: std::ops::RangeInclusive<u64> = 5..=50;
const SLOW_BYTES_MAX: usize = 64;

/// One attack, ready to be made: the same for the same traffic, seed, number and kind, on every machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    pub(super) attack: Attack,
    pub(super) number: u64,
    /// What was drawn, for people.
    pub(super) note: String,
    /// On how many connections it is done.
    pub(super) connections: u32,
    pub(super) pieces: Vec<Piece>,
    /// The time from byte to byte; `None`: each piece at once.
    pub(super) pace: Option<Duration>,
    pub(super) end: End,
}

/// What the attacker does when it has sent everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Ends its stream (FIN).
    Close,
    /// Says nothing more.
    Silence,
    /// Resets the connection.
    Reset,
}

impl Script {
    /// The attack of this number, of a kind drawn from `among`, which must not be empty.
    pub(super) fn draw(corpus: &Corpus, seed: Seed, number: u64, among: &[Attack]) -> Self {
        let mut draws = seed.stream(&format!("kind of attack {number}"));
        Self::of(corpus, seed, number, among[draws.random_range(0..among.len())])
    }

    /// The attack of this kind and number.
    pub(super) fn of(corpus: &Corpus, seed: Seed, number: u64, attack: Attack) -> Self {
        let mut draws = seed.stream(&format!("attack {number} {attack}"));
        let draft = draft(corpus, attack, number, &mut draws);
        Self {
            attack,
            number,
            note: draft.note,
            connections: draft.connections,
            pieces: draft.pieces,
            pace: draft.pace,
            end: draft.end,
        }
    }

    /// Its kind.
    pub fn attack(&self) -> Attack {
        self.attack
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// All that it sends on a connection.
    pub fn bytes(&self) -> Vec<u8> {
        joined(&self.pieces)
    }

    pub(super) fn size(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes.len()).sum()
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attack {} ({}: {}): ", self.number, self.attack, self.note)?;
        write!(f, "{} bytes", self.size())?;
        if self.pieces.len() > 1 {
            write!(f, " in {} pieces", self.pieces.len())?;
        }
        if let Some(pace) = self.pace {
            write!(f, ", a byte each {}", human(pace))?;
        }
        if self.connections > 1 {
            write!(f, ", on {} connections", self.connections)?;
        }
        f.write_str(match self.end {
            End::Close => ", then FIN",
            End::Silence => ", then silence",
            End::Reset => ", then RST",
        })
    }
}

fn joined(pieces: &[Piece]) -> Vec<u8> {
    let all: Vec<&[u8]> = pieces.iter().map(|piece| &piece.bytes[..]).collect();
    all.concat()
}

/// What is drawn.
struct Draft {
    note: String,
    connections: u32,
    pieces: Vec<Piece>,
    pace: Option<Duration>,
    end: End,
}

impl Draft {
    fn new(note: impl Into<String>, pieces: Vec<Piece>, end: End) -> Self {
        Self {
            note: note.into(),
            connections: 1,
            pieces,
            pace: None,
            end,
        }
    }
}

fn draft(corpus: &Corpus, attack: Attack, number: u64, draws: &mut ChaCha8Rng) -> Draft {
    // In turn: so that the first of them are what is sent where few attacks are asked for by name.
    let all = corpus.conversations();
    let conversation = match (all.len(), attack) {
        (0, _) => None,
        (count, Attack::Verbatim) => all.get((number % count as u64) as usize),
        (count, _) => all.get(draws.random_range(0..count)),
    };
    match (attack, conversation) {
        (Attack::Slowloris, talk) => slowloris(talk, draws),
        (Attack::HalfOpen, talk) => half_open(talk, draws),
        (Attack::ResetFlood, talk) => reset_flood(talk, draws),
        (Attack::Garbage, _) | (_, None) => {
            let count = 1 << draws.random_range(0..=GARBAGE_BYTES_MAX.ilog2());
            let count = draws.random_range(count / 2 + 1..=count);
            let pieces = vec![Piece::unanswered(mutate::garbage(count, draws))];
            Draft::new("random bytes", pieces, end(draws))
        }
        (Attack::Truncated, Some(talk)) => {
            let (pieces, cut) = cut(talk, draws);
            Draft::new(format!("cut at byte {cut}"), pieces, end(draws))
        }
        (Attack::Oversized, Some(talk)) => oversized(talk, draws),
        (Attack::Repeated, Some(talk)) => repeated(talk, draws),
        (Attack::Reordered, Some(talk)) => reordered(talk, draws),
        (Attack::Duplicated, Some(talk)) => duplicated(talk, draws),
        (Attack::Flipped, Some(talk)) => mutated(talk, mutate::flip, draws),
        (Attack::Edited, Some(talk)) => mutated(talk, mutate::edit, draws),
        (Attack::Integers, Some(talk)) => mutated(talk, mutate::write_integer, draws),
        (Attack::Spliced, Some(talk)) => spliced(talk, all, draws),
        (Attack::Verbatim, Some(talk)) => Draft::new("as it is", talk.clone(), End::Close),
    }
}

fn end(draws: &mut ChaCha8Rng) -> End {
    match draws.random_bool(0.5) {
        true => End::Close,
        false => End::Silence,
    }
}

/// The whole conversation with one message mutated.
fn mutated(
    talk: &Conversation,
    mutate: fn(&[u8], &mut ChaCha8Rng) -> Mutated,
    draws: &mut ChaCha8Rng,
) -> Draft {
    let mut pieces = talk.clone();
    let at = draws.random_range(0..pieces.len());
    let Mutated { bytes, note } = mutate(&pieces[at].bytes, draws);
    pieces[at].bytes = bytes;
    Draft::new(format!("message {at}, {note}"), pieces, end(draws))
}

/// What comes before a byte that is drawn, which is not behind the last one; and which.
fn cut(talk: &Conversation, draws: &mut ChaCha8Rng) -> (Vec<Piece>, usize) {
    let mut pieces = talk.clone();
    let at = draws.random_range(0..pieces.len());
    let before: usize = pieces[..at].iter().map(|piece| piece.bytes.len()).sum();
    let within = draws.random_range(0..pieces[at].bytes.len());
    pieces.truncate(at + 1);
    pieces[at].bytes.truncate(within);
    pieces[at].is_answered = false;
    if within == 0 {
        pieces.pop();
    }
    (pieces, before + within)
}

fn oversized(talk: &Conversation, draws: &mut ChaCha8Rng) -> Draft {
    let mut draft = mutated(talk, mutate::blow_up, draws);
    if draws.random_ratio(1, 3) {
        let count = draws.random_range(1..=FILLER_BYTES_MAX);
        draft
            .pieces
            .push(Piece::unanswered(mutate::garbage(count, draws)));
        draft.note.push_str(&format!(", and {count} random bytes"));
    }
    draft
}

fn repeated(talk: &Conversation, draws: &mut ChaCha8Rng) -> Draft {
    let mut pieces = talk.clone();
    let at = draws.random_range(0..pieces.len());
    let message = &pieces[at].bytes;
    let most = (REPEATED_BYTES_MAX / message.len()).max(2);
    let times = draws.random_range(2..=most);
    let flood = Piece::unanswered(message.repeat(times));
    pieces.truncate(at);
    pieces.push(flood);
    Draft::new(format!("message {at} {times} times"), pieces, end(draws))
}

fn reordered(talk: &Conversation, draws: &mut ChaCha8Rng) -> Draft {
    let mut pieces = talk.clone();
    if pieces.len() > 1 {
        let one = draws.random_range(0..pieces.len());
        let other = (one + draws.random_range(1..pieces.len())) % pieces.len();
        pieces.swap(one, other);
        if pieces[one].bytes != pieces[other].bytes {
            return Draft::new(
                format!("messages {one} and {other} change places"),
                pieces,
                end(draws),
            );
        }
    }
    mutated(talk, mutate::reorder, draws)
}

fn duplicated(talk: &Conversation, draws: &mut ChaCha8Rng) -> Draft {
    if draws.random_bool(0.5) {
        return mutated(talk, mutate::duplicate, draws);
    }
    let mut pieces = talk.clone();
    let (at, to) = (
        draws.random_range(0..pieces.len()),
        draws.random_range(0..=pieces.len()),
    );
    pieces.insert(to, pieces[at].clone());
    Draft::new(format!("message {at} comes again as {to}"), pieces, end(draws))
}

/// From one conversation to another at any two messages, or from its beginning to its middle where there is one alone.
fn spliced(talk: &Conversation, all: &[Conversation], draws: &mut ChaCha8Rng) -> Draft {
    let other = draws.random_range(0..all.len());
    let rest = &all[other];
    let first = draws.random_range(1..=talk.len());
    let next = draws.random_range(0..rest.len());
    let pieces: Vec<Piece> = talk[..first].iter().chain(&rest[next..]).cloned().collect();
    let bytes = joined(&pieces);
    if all.iter().any(|recorded| joined(recorded) == bytes) {
        // Cut within messages, it is another one.
        return mutated(talk, mutate::edit, draws);
    }
    let note = format!("{first} messages, then those of conversation {other} from {next} on");
    Draft::new(note, pieces, end(draws))
}

fn slowloris(talk: Option<&Conversation>, draws: &mut ChaCha8Rng) -> Draft {
    let count = draws.random_range(8..=SLOW_BYTES_MAX);
    let bytes = match talk {
        Some(talk) => talk[0].bytes.iter().copied().take(count).collect(),
        None => mutate::garbage(count, draws),
    };
    Draft {
        connections: draws.random_range(8..=32),
        pace: Some(Duration::from_millis(draws.random_range(PACE_MS))),
        ..Draft::new("a byte at a time", vec![Piece::unanswered(bytes)], End::Silence)
    }
}

fn half_open(talk: Option<&Conversation>, draws: &mut ChaCha8Rng) -> Draft {
    match talk {
        Some(talk) if draws.random_ratio(2, 3) => {
            let (pieces, cut) = cut(talk, draws);
            Draft::new(format!("silent after byte {cut}"), pieces, End::Silence)
        }
        _ => Draft::new("says nothing", Vec::new(), End::Silence),
    }
}

fn reset_flood(talk: Option<&Conversation>, draws: &mut ChaCha8Rng) -> Draft {
    let (pieces, note) = match talk {
        Some(talk) if draws.random_bool(0.5) => (vec![talk[0].clone()], "reset after a message"),
        _ => (Vec::new(), "reset at once"),
    };
    let pieces = pieces.into_iter().map(|piece| Piece::unanswered(piece.bytes));
    Draft {
        connections: draws.random_range(16..=64),
        ..Draft::new(note, pieces.collect(), End::Reset)
    }
}

/// What a peer in between makes of what passes: how many messages pass before it, and what becomes of the next one.
pub(super) struct Between {
    pub(super) passes: u32,
    pub(super) mutation: fn(&[u8], &mut ChaCha8Rng) -> Mutated,
    pub(super) draws: ChaCha8Rng,
    pub(super) end: Option<End>,
}

impl Between {
    /// The kinds that make sense of traffic that is only known when it comes.
    pub(super) const DRAWN: [Attack; 8] = [
        Attack::Truncated,
        Attack::Oversized,
        Attack::Reordered,
        Attack::Duplicated,
        Attack::Flipped,
        Attack::Edited,
        Attack::Integers,
        Attack::Garbage,
    ];

    pub(super) fn of(seed: Seed, number: u64, attack: Attack) -> Self {
        let mut draws = seed.stream(&format!("attack {number} {attack}"));
        let mutation: fn(&[u8], &mut ChaCha8Rng) -> Mutated = match attack {
            Attack::Oversized => mutate::blow_up,
            Attack::Reordered => mutate::reorder,
            Attack::Duplicated | Attack::Repeated => mutate::duplicate,
            Attack::Flipped => mutate::flip,
            Attack::Edited | Attack::Spliced => mutate::edit,
            Attack::Integers => mutate::write_integer,
            Attack::Verbatim => |original, _| Mutated {
                bytes: original.to_vec(),
                note: "as it is".to_owned(),
            },
            Attack::Garbage => |original, draws| Mutated {
                bytes: mutate::garbage(original.len(), draws),
                note: "random bytes".to_owned(),
            },
            Attack::Truncated | Attack::HalfOpen | Attack::Slowloris | Attack::ResetFlood => {
                |original, draws| {
                    let cut = draws.random_range(0..original.len());
                    Mutated {
                        bytes: original[..cut].to_vec(),
                        note: format!("cut at byte {cut}"),
                    }
                }
            }
        };
        let end = match attack {
            Attack::Truncated => Some(end(&mut draws)),
            Attack::HalfOpen | Attack::Slowloris => Some(End::Silence),
            Attack::ResetFlood => Some(End::Reset),
            _ => None,
        };
        Self {
            passes: draws.random_range(0..4),
            mutation,
            draws,
            end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn corpus() -> Corpus {
        Corpus::default()
            .conversation(["HELLO me\n", "PUT 5\nabcde", "GET\n", "BYE\n"])
            .conversation([&[0, 0, 0, 3, b'a', b'b', b'c'][..], &[0, 0, 0, 1, b'x']])
            .conversation(["PING\n"])
    }

    #[test]
    fn a_script_is_a_function_of_traffic_seed_number_and_kind() {
        for attack in Attack::DRAWN {
            for number in 0..50 {
                let one = Script::of(&corpus(), Seed(7), number, attack);
                assert_eq!(one, Script::of(&corpus(), Seed(7), number, attack));
            }
        }
        let among = |kinds: &[Attack]| {
            let all = (0..200).map(|number| Script::draw(&corpus(), Seed(7), number, kinds));
            all.map(|script| (script.number(), script))
                .collect::<BTreeMap<_, _>>()
        };
        let all = among(&Attack::DRAWN);
        for (number, script) in &all {
            // Named alone, it is the same as when it was drawn among others.
            assert_eq!(*script, Script::of(&corpus(), Seed(7), *number, script.attack()));
        }
        let kinds: BTreeSet<Attack> = all.values().map(Script::attack).collect();
        assert_eq!(
            kinds,
            BTreeSet::from(Attack::DRAWN),
            "200 attacks are of every kind"
        );
        assert_ne!(all[&1], Script::of(&corpus(), Seed(8), 1, all[&1].attack()));
    }

    #[test]
    fn no_mutation_sends_what_was_recorded() {
        let corpora = [
            corpus(),
            Corpus::default().conversation(["a"]),
            Corpus::default().conversation(["aa", "aa"]),
        ];
        for corpus in corpora {
            let recorded: Vec<Vec<u8>> = corpus.conversations().iter().map(|talk| joined(talk)).collect();
            for number in 0..400 {
                for attack in Attack::DRAWN.into_iter().filter(|attack| attack.needs_traffic()) {
                    let script = Script::of(&corpus, Seed(1), number, attack);
                    let bytes = script.bytes();
                    let is_new = |one: &Vec<u8>| *one != bytes || attack == Attack::Truncated;
                    assert!(recorded.iter().all(is_new), "{script}");
                    assert!(script.size() < 6 << 20, "{script}");
                    if attack.has_to_send() {
                        assert!(script.size() > 0 || attack == Attack::Edited, "{script}");
                    }
                }
            }
            let talk = &recorded[0];
            assert_eq!(Script::of(&corpus, Seed(1), 0, Attack::Verbatim).bytes(), *talk);
        }
    }

    #[test]
    fn a_truncated_one_is_a_beginning_and_both_ends_are_drawn() {
        let corpus = Corpus::default().conversation(["abc", "def"]);
        let mut cuts = BTreeSet::new();
        for number in 0..200 {
            let script = Script::of(&corpus, Seed(1), number, Attack::Truncated);
            assert!(b"abcdef".starts_with(&script.bytes()), "{script}");
            cuts.insert((script.size(), script.end == End::Close));
        }
        assert_eq!(cuts.len(), 12, "0 to 5 bytes, with either end: {cuts:?}");
    }

    #[test]
    fn without_traffic_there_is_garbage_and_silence() {
        for attack in Attack::DRAWN.into_iter().filter(|attack| !attack.needs_traffic()) {
            let scripts = (0..100).map(|number| Script::of(&Corpus::default(), Seed(3), number, attack));
            let sizes: BTreeSet<usize> = scripts.map(|script| script.size()).collect();
            let silent = matches!(attack, Attack::HalfOpen | Attack::ResetFlood);
            assert_eq!(sizes == BTreeSet::from([0]), silent, "{attack}: {sizes:?}");
            assert!(sizes.last().is_some_and(|most| *most <= GARBAGE_BYTES_MAX));
        }
    }

    #[test]
    fn a_script_says_what_it_does() {
        let corpus = Corpus::default().conversation(["PING\n"]);
        let script = Script::of(&corpus, Seed(1), 3, Attack::Verbatim);
        assert_eq!(
            script.to_string(),
            "attack 3 (verbatim: as it is): 5 bytes, then FIN"
        );
        let slow = Script::of(&corpus, Seed(1), 3, Attack::Slowloris).to_string();
        assert!(
            slow.contains("a byte each") && slow.contains("connections"),
            "{slow}"
        );
    }

    #[test]
    fn a_peer_in_between_draws_the_same_for_the_same_number() {
        for attack in Between::DRAWN {
            let mutate = |number| {
                let mut one = Between::of(Seed(1), number, attack);
                let bytes = (one.mutation)(b"+OK 12 abcdef\r\n", &mut one.draws).bytes;
                (one.passes, one.end, bytes)
            };
            for number in 0..50 {
                assert_eq!(mutate(number), mutate(number));
                assert_ne!(mutate(number).2, b"+OK 12 abcdef\r\n");
            }
        }
    }
}
