//! Mutations of one message: pure functions of its bytes and a random stream, each with a note of what was done.
//!
//! They know no protocol. What looks like a length is found by what it says of the bytes behind it.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// What became of a message, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mutated {
    pub(super) bytes: Vec<u8>,
    pub(super) note: String,
}

/// Lengths are looked for in so many bytes at the beginning.
const LENGTHS_WITHIN: usize = 256;
/// Numbers written in decimal that no message is as long as.
const DECIMALS: [&str; 6] = [
    "-1",
    "536870912",
    "2147483647",
    "2147483648",
    "4294967295",
    "9223372036854775807",
];
const EDITS_MAX: usize = 4;
const EDIT_BYTES_MAX: usize = 16;
const FLIPS_MAX: usize = 8;

/// Random bytes, so many.
pub(super) fn garbage(count: usize, draws: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = vec![0; count];
    draws.fill(&mut bytes[..]);
    bytes
}

/// Flips single bits or whole bytes, up to eight of them.
pub(super) fn flip(original: &[u8], draws: &mut ChaCha8Rng) -> Mutated {
    let mut bytes = original.to_vec();
    let mut places = Vec::new();
    for _ in 0..draws.random_range(1..=FLIPS_MAX) {
        let at = draws.random_range(0..bytes.len());
        bytes[at] ^= match draws.random_ratio(1, 4) {
            true => 0xFF,
            false => 1 << draws.random_range(0..8),
        };
        places.push(at);
    }
    places.sort_unstable();
    places.dedup();
    let note = format!("bits of the bytes {places:?} flipped");
    unlike(original, Mutated { bytes, note })
}

/// Puts bytes in or takes bytes out, up to four times.
pub(super) fn edit(original: &[u8], draws: &mut ChaCha8Rng) -> Mutated {
    let mut bytes = original.to_vec();
    let mut notes = Vec::new();
    for _ in 0..draws.random_range(1..=EDITS_MAX) {
        let count = draws.random_range(1..=EDIT_BYTES_MAX);
        let at = draws.random_range(0..=bytes.len());
        if draws.random_bool(0.5) {
            bytes.splice(at..at, garbage(count, draws));
            notes.push(format!("{count} bytes put in at {at}"));
        } else {
            let end = bytes.len().min(at + count);
            notes.push(format!("{} bytes taken out at {at}", end - at));
            bytes.drain(at..end);
        }
    }
    let note = notes.join(", ");
    unlike(original, Mutated { bytes, note })
}

/// Writes a number at which programs go wrong over a place of 1, 2, 4 or 8 bytes, in either byte order.
pub(super) fn write_integer(original: &[u8], draws: &mut ChaCha8Rng) -> Mutated {
    const EDGES: [u64; 10] = [
        0,
        u64::MAX,
        1,
        0x7F,
        0x80,
        0x7FFF,
        0x7FFF_FFFF,
        0x8000_0000,
        0x7FFF_FFFF_FFFF_FFFF,
        0x8000_0000_0000_0000,
    ];
    let widths = [1, 2, 4, 8].into_iter().filter(|width| *width <= original.len());
    let widths: Vec<usize> = widths.collect();
    let width = widths[draws.random_range(0..widths.len())];
    let at = draws.random_range(0..=original.len() - width);
    let (big, first) = (draws.random_bool(0.5), draws.random_range(0..EDGES.len()));
    let mut bytes = original.to_vec();
    let mut written = 0;
    // The next one where it is what is there.
    for step in 0..EDGES.len() {
        written = EDGES[(first + step) % EDGES.len()];
        put(&mut bytes[at..at + width], written, big);
        if bytes != original {
            break;
        }
    }
    let shown = written & (u64::MAX >> (64 - 8 * width));
    let note = format!("{shown:#x} written over {width} bytes at {at}, {}", order(big));
    unlike(original, Mutated { bytes, note })
}

/// Has a length in the message say far more than there is; where nothing looks like one, writes a great number
/// somewhere.
pub(super) fn blow_up(original: &[u8], draws: &mut ChaCha8Rng) -> Mutated {
    let (exact, plausible) = lengths(original);
    let from = match (exact.is_empty(), plausible.is_empty()) {
        (true, true) => return write_integer(original, draws),
        (false, true) => exact,
        (true, false) => plausible,
        (false, false) if draws.random_ratio(3, 4) => exact,
        (false, false) => plausible,
    };
    let mut bytes = original.to_vec();
    let note = match from[draws.random_range(0..from.len())] {
        Length::Binary { at, width: 1, .. } if draws.random_bool(0.5) => {
            // As many protocols write a length of up to four bytes, seven bits each.
            bytes.splice(at..=at, [0xFF, 0xFF, 0xFF, 0x7F]);
            format!("the length at {at} is ff ff ff 7f, seven bits a byte")
        }
        Length::Binary { at, width, big } => {
            let all = u64::MAX >> (64 - 8 * width);
            let values = [all, all >> 1, (all >> 1) + 1, all >> 2, all - 1];
            let value = values[draws.random_range(0..values.len())];
            put(&mut bytes[at..at + width], value, big);
            format!("the length at {at} is {value:#x}, {width} bytes, {}", order(big))
        }
        Length::Decimal { at, digits } => {
            let value = DECIMALS[draws.random_range(0..DECIMALS.len())];
            bytes.splice(at..at + digits, value.bytes());
            format!("the number at {at} is {value}")
        }
    };
    unlike(original, Mutated { bytes, note })
}

/// Lets two parts of it change places.
pub(super) fn reorder(original: &[u8], draws: &mut ChaCha8Rng) -> Mutated {
    let at = draws.random_range(0..original.len());
    let mut bytes = original.to_vec();
    bytes.rotate_left(at);
    let note = format!("what comes after byte {at} is before it");
    unlike(original, Mutated { bytes, note })
}

/// Has a part of it come twice.
pub(super) fn duplicate(original: &[u8], draws: &mut ChaCha8Rng) -> Mutated {
    let from = draws.random_range(0..original.len());
    let to = draws.random_range(from + 1..=original.len());
    let mut bytes = original.to_vec();
    bytes.splice(to..to, original[from..to].iter().copied());
    let note = format!("the bytes {from}..{to} come twice");
    Mutated { bytes, note }
}

/// The same where it differs from what it was made of; else with its first bit flipped.
fn unlike(original: &[u8], mut mutated: Mutated) -> Mutated {
    if mutated.bytes == original
        && let Some(first) = mutated.bytes.first_mut()
    {
        *first ^= 1;
        mutated
            .note
            .push_str(", which changed nothing: the first bit flipped");
    }
    mutated
}

/// A place that may say how long something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Binary { at: usize, width: usize, big: bool },
    Decimal { at: usize, digits: usize },
}

/// Places that say exactly how many bytes follow, and those that could be the length of a part of those.
fn lengths(bytes: &[u8]) -> (Vec<Length>, Vec<Length>) {
    let (mut exact, mut plausible) = (Vec::new(), Vec::new());
    for at in 0..bytes.len().min(LENGTHS_WITHIN) {
        for (width, big) in [(1, true), (2, true), (2, false), (4, true), (4, false), (8, true)] {
            let Some(field) = bytes.get(at..at + width) else {
                continue;
            };
            let (value, behind) = (get(field, big), (bytes.len() - at - width) as u64);
            let length = Length::Binary { at, width, big };
            if value > 0 && value == behind {
                exact.push(length);
            } else if width > 1 && value > 0 && value < behind {
                plausible.push(length);
            }
        }
        let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let begins = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
        if begins && is_digit(at) {
            let digits = (at..).take_while(|&at| is_digit(at)).count();
            plausible.push(Length::Decimal { at, digits });
        }
    }
    (exact, plausible)
}

fn get(field: &[u8], big: bool) -> u64 {
    let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    match big {
        true => field.iter().fold(0, add),
        false => field.iter().rev().fold(0, add),
    }
}

/// Its lowest bytes.
fn put(field: &mut [u8], value: u64, big: bool) {
    let low = value.to_le_bytes();
    field.copy_from_slice(&low[..field.len()]);
    if big {
        field.reverse();
    }
}

fn order(big: bool) -> &'static str {
    if big { "big-endian" } else { "little-endian" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use robust_test_harness::seed::Seed;

    type Mutation = fn(&[u8], &mut ChaCha8Rng) -> Mutated;

    const MUTATIONS: [(&str, Mutation); 6] = [
        ("flip", flip),
        ("edit", edit),
        ("integer", write_integer),
        ("blow up", blow_up),
        ("reorder", reorder),
        ("duplicate", duplicate),
    ];

    #[test]
    fn every_mutation_of_every_message_differs_from_it_and_is_the_same_again() {
        for number in 0..2_000 {
            let mut shape = Seed(number).stream("message");
            let count = shape.random_range(1..40);
            let mut message = garbage(count, &mut shape);
            if number % 3 == 0 {
                // What is all alike is hard to change by moving it.
                message.fill(b'7');
            }
            for (name, mutate) in MUTATIONS {
                let one = mutate(&message, &mut Seed(number).stream(name));
                assert_ne!(one.bytes, message, "{name} with seed {number}: {}", one.note);
                assert_eq!(one, mutate(&message, &mut Seed(number).stream(name)));
            }
        }
    }

    #[test]
    fn lengths_are_found_in_both_byte_orders_and_in_decimal() {
        // MQTT's PINGREQ-like: a type, then how many bytes follow.
        let (exact, _) = lengths(&[0x30, 3, b'a', b'b', b'c']);
        let (width, big) = (1, true);
        assert_eq!(exact, [Length::Binary { at: 1, width, big }]);
        let little = [4, 0, 0, 0, 9, 9, 9, 9];
        let (width, big) = (4, false);
        assert!(lengths(&little).0.contains(&Length::Binary { at: 0, width, big }));
        let (_, plausible) = lengths(b"$5\r\nabcde\r\nx1");
        assert!(plausible.contains(&Length::Decimal { at: 1, digits: 1 }));
        assert!(
            !plausible.contains(&Length::Decimal { at: 12, digits: 1 }),
            "`x1` is a word"
        );
    }

    #[test]
    fn a_length_that_is_blown_up_says_more_than_there_is() {
        let mut told = std::collections::BTreeSet::new();
        for number in 0..200 {
            let one = blow_up(b"$5\r\nabcde\r\n", &mut Seed(number).stream("x"));
            let text = String::from_utf8_lossy(&one.bytes).into_owned();
            told.extend(
                text.strip_prefix('$')
                    .and_then(|rest| rest.split_once("\r\nabcde"))
                    .map(|it| it.0.to_owned()),
            );
        }
        assert!(DECIMALS.iter().all(|value| told.contains(*value)), "{told:?}");
        let message = [&[0, 0, 0, 5][..], b"abcde"].concat();
        let grows = |number| {
            let one = blow_up(&message, &mut Seed(number).stream("x"));
            get(&one.bytes[..4], true) > 1 << 20
        };
        assert!((0..200).filter(|number| grows(*number)).count() > 60);
    }

    #[test]
    fn integers_are_written_in_every_width_and_order() {
        let notes: std::collections::BTreeSet<String> = (0..500)
            .map(|number| write_integer(&[9; 16], &mut Seed(number).stream("x")).note)
            .collect();
        for width in [1, 2, 4, 8] {
            for order in ["big", "little"] {
                let written =
                    |note: &&String| note.contains(&format!("over {width} bytes")) && note.contains(order);
                assert!(notes.iter().any(|note| written(&note)), "{width} {order}");
            }
        }
        let mut field = [0; 4];
        put(&mut field, 0x1234, true);
        assert_eq!((field, get(&field, true)), ([0, 0, 0x12, 0x34], 0x1234));
        put(&mut field, 0x1234, false);
        assert_eq!((field, get(&field, false)), ([0x34, 0x12, 0, 0], 0x1234));
    }

    #[test]
    fn a_mutation_is_the_same_in_every_release() {
        let one = flip(b"GET key", &mut Seed(42).stream("attack 1"));
        let again = edit(b"GET key", &mut Seed(42).stream("attack 1"));
        assert_eq!(one.note, "bits of the bytes [1, 2, 5, 6] flipped");
        assert_eq!(
            again.note,
            "6 bytes put in at 1, 9 bytes put in at 12, 7 bytes taken out at 10"
        );
    }
}
