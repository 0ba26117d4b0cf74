//! A node's log: everything its processes print, over all its starts, in one file of the case's folder.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many lines of a log an error shows.
const TAIL_LINES: usize = 20;
/// How much of a log is read for them.
const TAIL_BYTES: u64 = 64 * 1024;
const NOTE: &str = "--- ";
/// Of a log that is too long, so much of its beginning and of its end is kept.
const KEPT_BYTES: u64 = 4 << 20;

/// The log file of one node.
#[derive(Debug)]
pub(crate) struct Log {
    path: Arc<Path>,
    /// Where the present case's part begins: not at 0 where its node served other cases before.
    begin: AtomicU64,
}

impl Log {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path: path.into(),
            begin: AtomicU64::new(0),
        }
    }

    /// Where the present case's part begins, in bytes.
    pub(crate) fn begin_of_case(&self) -> u64 {
        self.begin.load(Ordering::Relaxed)
    }

    /// What follows is the part of the case called `case`, begun by a line that says so. The file is in that case's
    /// folder as well from now on.
    pub(crate) fn enter(&self, case: &str, folder: &Path) -> io::Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        Self::note(&file, &format!("case {case}"));
        self.begin.store(file.metadata()?.len(), Ordering::Relaxed);
        match self.path.file_name() {
            Some(name) => std::fs::hard_link(&self.path, folder.join(name)),
            None => Ok(()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it for another start, begun by the line `--- start N: WHAT ---`. Returns the file and the
    /// length before anything of this start is in it.
    pub(crate) fn begin(&self, start: u32, what: &str) -> io::Result<(File, u64)> {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(&self.path)?;
        let length = file.metadata()?.len();
        let mut line = format!("{NOTE}start {start}: {what} ---\n");
        if length > 0 {
            let mut last = [0];
            file.seek(SeekFrom::Start(length - 1))?;
            file.read_exact(&mut last)?;
            if last[0] != b'\n' {
                line.insert(0, '\n');
            }
        }
        file.write_all(line.as_bytes())?;
        let begin = length + line.len() as u64;
        Ok((file, begin))
    }

    /// Writes `--- NOTE ---` between the node's own lines.
    pub(crate) fn note(mut file: &File, note: &str) {
        // The log is for people; a full disk shows elsewhere.
        let _ = file.write_all(format!("{NOTE}{note} ---\n").as_bytes());
    }

    /// All of the present case's; empty when the node has printed nothing yet.
    pub(crate) fn text(&self) -> io::Result<String> {
        let bytes = self.since(self.begin_of_case())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What stands in it from `offset` on.
    pub(crate) fn since(&self, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match File::open(&self.path) {
            Ok(mut file) => {
                file.seek(SeekFrom::Start(offset))?;
                file.read_to_end(&mut bytes)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(bytes)
    }

    /// Keeps the beginning and the end of a log that is too long.
    pub(crate) fn leave_out_middle(&self) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        let length = file.metadata()?.len();
        if length <= 2 * KEPT_BYTES {
            return Ok(());
        }
        let mut end = Vec::new();
        file.seek(SeekFrom::Start(length - KEPT_BYTES))?;
        file.read_to_end(&mut end)?;
        file.set_len(KEPT_BYTES)?;
        file.seek(SeekFrom::End(0))?;
        writeln!(file, "\n{NOTE}{} bytes left out ---", length - 2 * KEPT_BYTES)?;
        file.write_all(&end)
    }

    /// The last lines from `begin` on, in the present case.
    pub(crate) fn tail(&self, begin: u64) -> LogTail {
        let begin = begin.max(self.begin_of_case());
        let length = self.path.metadata().map_or(0, |metadata| metadata.len());
        let bytes = self
            .since(begin.max(length.saturating_sub(TAIL_BYTES)))
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with(NOTE)).collect();
        let skipped = lines.len().saturating_sub(TAIL_LINES);
        LogTail {
            path: self.path.clone(),
            lines: lines[skipped..].iter().map(|&line| line.to_owned()).collect(),
        }
    }
}

/// The last lines a node printed before something went wrong, for error messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTail {
    /// The node's log, where it is while the case runs.
    pub path: Arc<Path>,
    /// At most 20 lines of the last start, oldest first.
    pub lines: Box<[String]>,
}

impl fmt::Display for LogTail {
    /// Begins with a line break: the first line of an error stays short.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the whole path: the case's folder moves when the case fails, and the report says where to.
        let file = self.path.file_name().unwrap_or_default().display();
        if self.lines.is_empty() {
            return write!(f, "\n  it printed nothing to {file}");
        }
        write!(f, "\n  the end of {file}, among the case's artifacts:")?;
        for line in &*self.lines {
            write!(f, "\n  | {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_told_apart_and_the_tail_is_of_the_last_one() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::new(folder.path().join("broker.log"));
        assert_eq!(log.text().unwrap(), "");
        let (mut file, _) = log.begin(1, "mosquitto -c x").unwrap();
        file.write_all(b"half a line").unwrap();
        let (mut file, begin) = log.begin(2, "mosquitto -c x").unwrap();
        Log::note(&file, "pid 7");
        for line in 0..30 {
            writeln!(file, "line {line}").unwrap();
        }
        let text = log.text().unwrap();
        assert!(
            text.starts_with(
                "--- start 1: mosquitto -c x ---\nhalf a line\n--- start 2: mosquitto -c x ---\n--- pid 7 ---\nline 0\n"
            ),
            "{text}"
        );
        let tail = log.tail(begin);
        assert_eq!(tail.lines.len(), TAIL_LINES);
        assert_eq!(tail.lines[0], "line 10");
        assert!(tail.to_string().ends_with("\n  | line 29"), "{tail}");
    }
}
