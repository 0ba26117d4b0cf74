//! JSON on its way into the page, in pieces.

use std::ops::ControlFlow;

/// About how many bytes a piece has.
const BYTES: usize = 1 << 16;

/// Gathers JSON, and gives it away where it is a piece. See the module.
pub(super) struct Pieces<T> {
    piece: Vec<u8>,
    take: T,
}

impl<T: FnMut(&[u8]) -> ControlFlow<()>> Pieces<T> {
    pub(super) fn new(take: T) -> Self {
        let piece = Vec::with_capacity(BYTES);
        Self { piece, take }
    }

    /// Appends something, up to the end of a character.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> ControlFlow<()> {
        write(&mut self.piece);
        if self.piece.len() < BYTES {
            return ControlFlow::Continue(());
        }
        self.flush()
    }

    /// Appends what is between the brackets of an array.
    pub(super) fn push_each<'a, V>(
        &mut self,
        values: &'a [V],
        write: impl Fn(&mut Vec<u8>, &'a V),
    ) -> ControlFlow<()> {
        for (at, value) in values.iter().enumerate() {
            self.push(|json| {
                if at > 0 {
                    json.push(b',');
                }
                write(json, value);
            })?;
        }
        ControlFlow::Continue(())
    }

    /// Appends pieces that were gathered already, as values of an array.
    pub(super) fn put_all(&mut self, pieces: Vec<Vec<u8>>) -> ControlFlow<()> {
        for (at, piece) in pieces.into_iter().enumerate() {
            self.flush()?;
            self.piece = piece;
            if at > 0 {
                self.piece.insert(0, b',');
            }
        }
        ControlFlow::Continue(())
    }

    /// Gives away what there is. Only strings hold `<`, and in JSON's strings the escape means the same.
    pub(super) fn flush(&mut self) -> ControlFlow<()> {
        let flow = match std::str::from_utf8(&self.piece) {
            Ok(text) if text.contains('<') => (self.take)(text.replace('<', "\\u003c").as_bytes()),
            _ => (self.take)(&self.piece),
        };
        self.piece.clear();
        flow
    }
}

/// The piece to gather the next value in, which a comma comes before where it is not the first there.
pub(super) fn last(pieces: &mut Vec<Vec<u8>>) -> &mut Vec<u8> {
    match pieces.last_mut() {
        Some(piece) if piece.len() < BYTES => piece.push(b','),
        _ => pieces.push(Vec::with_capacity(BYTES + BYTES / 16)),
    }
    let at = pieces.len() - 1;
    &mut pieces[at]
}
