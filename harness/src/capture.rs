//! What a case wrote: every byte, in memory while it is little and in a file when it is much.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// More than this goes to the file.
const MEMORY_BYTES_MAX: usize = 256 << 10;
/// What reports show of a long output: this much of its beginning and this much of its end.
const SHOWN_BYTES: usize = 32 << 10;
/// Beyond this the file stops growing, so that a case that prints for ever does not fill the disk.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// The output of one attempt.
#[derive(Debug)]
pub(crate) struct Capture {
    memory: Vec<u8>,
    /// Where the bytes go once they are many.
    path: PathBuf,
    file: Option<File>,
    /// The last bytes, when there is a file.
    tail: VecDeque<u8>,
    total: u64,
    trouble: Option<String>,
}

impl Capture {
    /// An empty one; nothing is made at `path` unless it is needed.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            memory: Vec::new(),
            path,
            file: None,
            tail: VecDeque::new(),
            total: 0,
            trouble: None,
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        if self.file.is_none() && self.memory.len() + bytes.len() <= MEMORY_BYTES_MAX {
            self.memory.extend_from_slice(bytes);
            return;
        }
        let last = &bytes[bytes.len().saturating_sub(SHOWN_BYTES)..];
        if self.file.is_none() {
            self.tail
                .extend(&self.memory[self.memory.len().saturating_sub(SHOWN_BYTES)..]);
        }
        self.tail.extend(last);
        let surplus = self.tail.len().saturating_sub(SHOWN_BYTES);
        self.tail.drain(..surplus);
        if let Err(error) = self.spill(bytes) {
            self.trouble
                .get_or_insert_with(|| format!("{}: {error}", self.path.display()));
        }
    }

    fn spill(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.trouble.is_some() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let mut file = File::create(&self.path)?;
                file.write_all(&self.memory)?;
                self.file.insert(file)
            }
        };
        if self.total > FILE_BYTES_MAX {
            return Err(io::Error::other(format!("cut after {FILE_BYTES_MAX} bytes")));
        }
        file.write_all(bytes)
    }

    /// The output as reports show it: whole, or its beginning and its end; see [`readable`].
    pub(crate) fn text(&self) -> String {
        if self.file.is_none() && self.memory.len() <= 2 * SHOWN_BYTES {
            return readable(&self.memory);
        }
        let tail: Vec<u8> = if self.file.is_some() {
            self.tail.iter().copied().collect()
        } else {
            self.memory[self.memory.len() - SHOWN_BYTES..].to_vec()
        };
        let head = &self.memory[..SHOWN_BYTES.min(self.memory.len())];
        let left_out = self.total - (head.len() + tail.len()) as u64;
        let trouble = self
            .trouble
            .as_ref()
            .map(|trouble| format!("; the log is not whole: {trouble}"))
            .unwrap_or_default();
        format!(
            "{}\n[... {left_out} of {} bytes are left out here{trouble} ...]\n{}",
            readable(head),
            self.total,
            readable(&tail)
        )
    }

    /// Puts every byte into the file `to`.
    pub(crate) fn save(&mut self, to: &Path) -> io::Result<()> {
        match self.file.take() {
            None => std::fs::write(to, &self.memory),
            Some(_) if std::fs::rename(&self.path, to).is_ok() => Ok(()),
            Some(_) => {
                std::fs::copy(&self.path, to)?;
                std::fs::remove_file(&self.path)
            }
        }
    }

    /// Puts every byte so far into the file `to`, and goes on.
    pub(crate) fn copy(&self, to: &Path) -> io::Result<()> {
        match self.file {
            None => std::fs::write(to, &self.memory),
            Some(_) => std::fs::copy(&self.path, to).map(drop),
        }
    }

    /// Forgets it all.
    pub(crate) fn clear(&mut self) {
        if self.file.take().is_some() {
            let _gone = std::fs::remove_file(&self.path);
        }
        self.memory.clear();
        self.tail.clear();
        self.total = 0;
        self.trouble = None;
    }
}

/// Text of bytes that may not be UTF-8: those that are not are shown as `#xFF`. Not as U+FFFD: it does not say
/// which byte there was, and readers that guess encodings take a file with it for no UTF-8.
pub(crate) fn readable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("#x{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_shown_by_their_numbers() {
        assert_eq!(readable("a ä".as_bytes()), "a ä");
        assert_eq!(readable(b"\xff\xfe a \xc3"), "#xFF#xFE a #xC3");
    }

    #[test]
    fn every_byte_is_kept_and_reports_show_both_ends() {
        let folder = tempfile::tempdir().unwrap();
        for total in [
            0usize,
            10,
            70_000,
            MEMORY_BYTES_MAX,
            MEMORY_BYTES_MAX + 1,
            3_000_000,
        ] {
            let all: Vec<u8> = (0..total).map(|at| b'a' + (at % 23) as u8).collect();
            let mut capture = Capture::new(folder.path().join("spill"));
            for piece in all.chunks(65_536) {
                capture.push(piece);
            }
            assert_eq!(capture.total(), total as u64);
            let text = capture.text();
            assert!(text.len() < 2 * SHOWN_BYTES + 200);
            assert_eq!(text.as_bytes().first(), all.first());
            assert_eq!(text.as_bytes().last(), all.last());
            let saved = folder.path().join("saved");
            capture.save(&saved).unwrap();
            assert_eq!(std::fs::read(&saved).unwrap(), all);
        }
    }
}
