//! The traffic that attacks start from: conversations, each the messages of one peer on one connection.

use crate::network::{Recording, Stream};

/// What a peer said on connections of its own, to be mutated. Empty, it is good for garbage and silence alone.
///
/// ```
/// # use robust_test::prelude::*;
/// # use robust_test::hostile::Corpus;
/// # use robust_test::network::Stream;
/// # fn example(proxy: Proxy) {
/// let recorded = Corpus::recorded(&proxy.recordings(), Stream::Upstream);
/// let by_hand = Corpus::default().conversation(["PING\r\n", "GET key\r\n"]);
/// # let _ = (recorded, by_hand);
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Corpus(Vec<Conversation>);

/// Of one connection, in order; never empty.
pub(super) type Conversation = Vec<Piece>;

/// Bytes that are sent at once; never empty in a corpus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    /// Whether the other side said something before the next piece.
    pub(super) is_answered: bool,
}

impl Piece {
    /// After which nothing is waited for.
    pub(super) fn unanswered(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            is_answered: false,
        }
    }
}

impl Corpus {
    /// What was sent on one stream of each recorded connection. Where the other side answered in the recording, an attack
    /// waits for it too, for a moment, so that it gets as far as the recorded peer did.
    pub fn recorded(recordings: &[Recording], stream: Stream) -> Self {
        Self(recordings.iter().filter_map(|one| pieces(one, stream)).collect())
    }

    /// One conversation more, of these messages. Empty ones are left out.
    #[must_use]
    pub fn conversation<M: Into<Vec<u8>>>(mut self, messages: impl IntoIterator<Item = M>) -> Self {
        let pieces = messages.into_iter().map(|message| Piece {
            bytes: message.into(),
            is_answered: true,
        });
        let pieces: Conversation = pieces.filter(|piece| !piece.bytes.is_empty()).collect();
        self.0.extend(Some(pieces).filter(|pieces| !pieces.is_empty()));
        self
    }

    /// Whether there is nothing to mutate.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many conversations there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn conversations(&self) -> &[Conversation] {
        &self.0
    }
}

fn pieces(recording: &Recording, stream: Stream) -> Option<Conversation> {
    let mut pieces: Conversation = Vec::new();
    for chunk in &recording.chunks {
        if chunk.stream == stream {
            pieces.push(Piece::unanswered(chunk.bytes.clone()));
        } else if let Some(last) = pieces.last_mut() {
            last.is_answered = true;
        }
    }
    (!pieces.is_empty()).then_some(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Chunk;
    use std::time::Duration;

    #[test]
    fn a_recording_is_its_messages_and_where_it_was_answered() {
        let chunk = |stream, bytes: &[u8]| Chunk {
            at: Duration::ZERO,
            stream,
            bytes: bytes.to_vec(),
        };
        let (up, down) = (Stream::Upstream, Stream::Downstream);
        let recording = |chunks| Recording {
            connection: 1,
            chunks,
            left_out_bytes: 0,
        };
        let talk = [
            (down, "hello"),
            (up, "a"),
            (up, "b"),
            (down, "yes"),
            (down, "no"),
            (up, "c"),
        ];
        let talk = talk.map(|(stream, text)| chunk(stream, text.as_bytes()));
        let silent = recording(vec![chunk(down, b"banner")]);
        let corpus = Corpus::recorded(&[recording(talk.to_vec()), silent], up);
        let [conversation] = corpus.conversations() else {
            panic!("{corpus:?}")
        };
        let told: Vec<_> = conversation
            .iter()
            .map(|piece| (&piece.bytes[..], piece.is_answered))
            .collect();
        assert_eq!(told, [(&b"a"[..], false), (b"b", true), (b"c", false)]);
    }

    #[test]
    fn nothing_empty_is_in_it() {
        let corpus = Corpus::default().conversation(["", "a", ""]).conversation([""]);
        assert_eq!(corpus, Corpus::default().conversation(["a"]));
        assert!(Corpus::default().is_empty());
    }
}
