//! What happened in a case, when: the lives of its faults, and what its author notes.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use robust_test_harness::case::Case;

/// More moments than this are counted and not kept.
const MOMENTS_MAX: usize = 10_000;
/// The file in the case's folder.
const FILE: &str = "timeline.log";

/// One line of a case's timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Since the case began.
    pub at: Duration,
    /// Where: a fault's target.
    pub place: String,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:9.3} s  {:16}  {}",
            self.at.as_secs_f64(),
            self.place,
            self.what
        )
    }
}

/// The moments of one case.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    moments: Vec<Moment>,
    left_out: usize,
    /// Open once there is anything to write.
    file: Option<File>,
}

impl Timeline {
    /// Adds what happens now. Each line is written at once, so that it is there whatever becomes of the process.
    pub(super) fn add(&mut self, case: &Case, place: &str, what: &str) {
        tracing::info!(target: "timeline", "{place}: {what}");
        if self.moments.len() >= MOMENTS_MAX {
            self.left_out += 1;
            return;
        }
        let moment = Moment {
            at: case.elapsed(),
            place: place.to_owned(),
            what: what.replace('\n', " "),
        };
        if let Err(error) = self.write(case, &moment) {
            tracing::warn!(%error, "{FILE} cannot be written");
        }
        self.moments.push(moment);
    }

    fn write(&mut self, case: &Case, moment: &Moment) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(
                File::options()
                    .create(true)
                    .append(true)
                    .open(case.folder()?.join(FILE))?,
            ),
        };
        writeln!(file, "{moment}")
    }

    pub(super) fn moments(&self) -> Vec<Moment> {
        self.moments.clone()
    }

    /// The case ends: nothing of it stays open.
    pub(super) fn close(&mut self) {
        self.file = None;
        if self.left_out > 0 {
            tracing::warn!("{} more moments are not in {FILE}", self.left_out);
        }
    }
}
