//! Whose output is whose, where a worker goes from case to case without waiting: pure.
//!
//! One pipe carries the output of a worker's cases, one after another. Before a case that was ordered ahead the
//! worker writes a mark; elsewhere the runner has read everything before the next case begins.

use crate::protocol::Mark;

/// Cuts the bytes of one worker's pipe into those of its cases.
#[derive(Debug)]
pub(crate) struct OutputStream {
    mark: Mark,
    /// Marks that may still come.
    due: usize,
    /// Those of them that come before what the present case writes.
    behind: usize,
    /// Read and not yet given out: of a later case, or what may be the beginning of a mark.
    held: Vec<u8>,
    /// Whether the mark that ends the present case has come.
    ended: bool,
}

impl OutputStream {
    pub(crate) fn new(mark: Mark) -> Self {
        Self {
            mark,
            due: 0,
            behind: 0,
            held: Vec::new(),
            ended: false,
        }
    }

    /// One more case was ordered ahead.
    pub(crate) fn ordered_ahead(&mut self) {
        self.due += 1;
    }

    /// Of the cases that were ordered ahead no more than the next `begun` have begun or will.
    pub(crate) fn none_ahead(&mut self, begun: usize) {
        let read = usize::from(self.ended);
        self.due = self.due.min((self.behind + begun).saturating_sub(read));
    }

    /// Everything the present case wrote was read.
    pub(crate) fn end_case(&mut self, keep: &mut impl FnMut(&[u8])) {
        if !self.ended && !self.held.is_empty() {
            // It looked like the beginning of a mark.
            keep(&std::mem::take(&mut self.held));
        }
    }

    /// The present case was ordered ahead, has not begun, and will be ordered once more.
    pub(crate) fn present_did_not_begin(&mut self) {
        self.behind = self.behind.saturating_sub(1);
        self.due = self.behind;
    }

    /// The next case is the present one; `ahead`: it was ordered ahead.
    pub(crate) fn next_case(&mut self, ahead: bool, keep: &mut impl FnMut(&[u8])) {
        if !std::mem::replace(&mut self.ended, false) {
            self.behind += usize::from(ahead);
            return;
        }
        let held = std::mem::take(&mut self.held);
        self.push(&held, keep);
    }

    /// Takes in what was read; `keep` gets what the present case wrote.
    pub(crate) fn push(&mut self, bytes: &[u8], keep: &mut impl FnMut(&[u8])) {
        if self.due == 0 && !self.ended && self.held.is_empty() {
            return keep(bytes);
        }
        self.held.extend_from_slice(bytes);
        while !self.ended {
            if self.due == 0 {
                return keep(&std::mem::take(&mut self.held));
            }
            let Some(at) = self.find() else {
                let certain = self.held.len() - self.partial();
                if certain > 0 {
                    keep(&self.held[..certain]);
                    self.held.drain(..certain);
                }
                return;
            };
            if at > 0 {
                keep(&self.held[..at]);
            }
            self.held.drain(..at + self.mark.len());
            self.due -= 1;
            if self.behind > 0 {
                self.behind -= 1;
            } else {
                self.ended = true;
            }
        }
    }

    fn find(&self) -> Option<usize> {
        if self.held.starts_with(&self.mark) {
            return Some(0);
        }
        self.held
            .windows(self.mark.len())
            .position(|window| window == self.mark)
    }

    /// How many bytes at the end may be the beginning of a mark.
    fn partial(&self) -> usize {
        let longest = self.held.len().min(self.mark.len() - 1);
        (1..=longest)
            .rev()
            .find(|&length| self.mark.starts_with(&self.held[self.held.len() - length..]))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = *b"<the-mark-of-16>";

    /// What each case gets, of a stream read in pieces of `size` bytes, with the next case told once `read` says.
    fn cut(stream: &[u8], cases: usize, size: usize) -> Vec<Vec<u8>> {
        let mut output = OutputStream::new(MARK);
        (1..cases).for_each(|_| output.ordered_ahead());
        let mut found = vec![Vec::new()];
        let mut pieces = stream.chunks(size);
        loop {
            let piece = pieces.next();
            if let Some(piece) = piece {
                output.push(piece, &mut |bytes| {
                    found.last_mut().unwrap().extend_from_slice(bytes)
                });
            }
            while output.ended {
                let mut next = Vec::new();
                output.next_case(true, &mut |bytes| next.extend_from_slice(bytes));
                found.push(next);
            }
            if piece.is_none() {
                return found;
            }
        }
    }

    #[test]
    fn each_case_gets_its_own_bytes_whatever_the_pieces() {
        let whole = [
            b"one<the-",
            &MARK[..],
            b"",
            &MARK[..],
            b"<th<the-mark-of",
            &MARK[..],
            b"four",
        ]
        .concat();
        for size in 1..=whole.len() {
            let found = cut(&whole, 4, size);
            assert_eq!(
                found,
                [&b"one<the-"[..], b"", b"<th<the-mark-of", b"four"],
                "{size}"
            );
        }
    }

    #[test]
    fn a_case_may_be_over_before_its_predecessors_mark_is_read() {
        let mut output = OutputStream::new(MARK);
        let mut kept = Vec::new();
        output.ordered_ahead();
        output.next_case(true, &mut |bytes| kept.extend_from_slice(bytes));
        output.push(&MARK, &mut |bytes| kept.extend_from_slice(bytes));
        output.push(b"second", &mut |bytes| kept.extend_from_slice(bytes));
        assert_eq!(kept, b"second");
    }

    #[test]
    fn what_comes_after_the_last_mark_is_the_next_cases() {
        let mut output = OutputStream::new(MARK);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        output.ordered_ahead();
        for piece in [&b"one<the"[..], &MARK, b"two"] {
            output.push(piece, &mut |bytes| first.extend_from_slice(bytes));
        }
        output.end_case(&mut |bytes| first.extend_from_slice(bytes));
        output.next_case(true, &mut |bytes| second.extend_from_slice(bytes));
        output.push(b"!", &mut |bytes| second.extend_from_slice(bytes));
        assert_eq!((&first[..], &second[..]), (&b"one<the"[..], &b"two!"[..]));
    }

    #[test]
    fn a_recall_leaves_the_marks_of_what_had_begun() {
        let mut output = OutputStream::new(MARK);
        let mut kept = Vec::new();
        (0..3).for_each(|_| output.ordered_ahead());
        output.push(&[&MARK[..], b"second"].concat(), &mut |_| {
            panic!("it is not the first's")
        });
        // The first is the present one, the second has begun, and its mark was read.
        output.none_ahead(1);
        output.next_case(true, &mut |bytes| kept.extend_from_slice(bytes));
        output.push(&MARK, &mut |bytes| kept.extend_from_slice(bytes));
        assert_eq!(kept, [b"second", &MARK[..]].concat());
    }

    #[test]
    fn without_a_mark_to_come_everything_is_the_present_cases() {
        let mut output = OutputStream::new(MARK);
        let mut kept = Vec::new();
        (0..3).for_each(|_| output.ordered_ahead());
        output.push(b"x<the", &mut |bytes| kept.extend_from_slice(bytes));
        output.none_ahead(0);
        output.push(&MARK, &mut |bytes| kept.extend_from_slice(bytes));
        assert_eq!(kept, [b"x<the", &MARK[..]].concat());
    }
}
