//! Looking for bytes eight at a time: texts are long, seldom have what is looked for, and a loop over single
//! bytes is slow where nothing is optimised. There a call costs more than what is called here, so that goes inline.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = ONES << 7;

/// Not zero where a byte of the word is less than `limit`, which is at most 128.
#[inline(always)]
pub(super) fn less_than(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * limit as u64) & !word & HIGHS
}

/// Not zero where a byte of the word is `byte`.
#[inline(always)]
pub(super) fn equal_to(word: u64, byte: u8) -> u64 {
    less_than(word ^ (ONES * byte as u64), 1)
}

/// The first place from `from` on whose byte `is` what is looked for. `may_be` is not zero for words of eight
/// bytes that have such a byte, and may be so for others.
pub(super) fn find(
    bytes: &[u8],
    from: usize,
    may_be: impl Fn(u64) -> u64,
    is: impl Fn(u8) -> bool,
) -> Option<usize> {
    let (words, _) = bytes[from..].as_chunks::<8>();
    let (mut at, mut word, count) = (from, 0, words.len());
    while word <= count {
        while word < count && may_be(u64::from_ne_bytes(words[word])) == 0 {
            word += 1;
            at += 8;
        }
        word += 1;
        let end = bytes.len().min(at + 8);
        while at < end {
            if is(bytes[at]) {
                return Some(at);
            }
            at += 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_found_at_every_place() {
        let may_be = |word| less_than(word, 0x20) | equal_to(word, 0xEF) | equal_to(word, b'"');
        let is = |byte: u8| byte < 0x20 || byte == 0xEF || byte == b'"';
        for byte in 0..=255 {
            for at in 0..40 {
                let mut bytes = vec![b'x'; 41];
                bytes[at] = byte;
                let found = is(byte).then_some(at);
                assert_eq!(find(&bytes, 0, may_be, is), found, "{byte} at {at}");
                assert_eq!(find(&bytes, at + 1, may_be, is), None);
            }
        }
        assert_eq!(find(b"", 0, may_be, is), None);
    }

    #[test]
    fn a_word_that_may_be_and_is_not_ends_nothing() {
        let bytes = [b"12345678".repeat(1000), b"!".to_vec()].concat();
        assert_eq!(find(&bytes, 3, |_| 1, |byte| byte == b'!'), Some(8000));
    }
}
