//! libtest's `--quiet`: a character a case, a line of its own for what failed.

use crate::event::CaseFinished;
use crate::outcome::Outcome;
use crate::report::console::{Color, Format, Style, Summary, write};

/// Characters in a line before the count; libtest says 88 and breaks after 87.
const COLUMNS: u64 = 87;

/// See the module.
#[derive(Debug)]
pub struct Terse {
    style: Style,
    total: u64,
    count: u64,
    column: u64,
}

impl Terse {
    /// The format.
    pub fn new(style: Style) -> Self {
        Self {
            style,
            total: 0,
            count: 0,
            column: 0,
        }
    }

    /// Ends a line with how far the run is, where the line has anything.
    fn end_line(&mut self, out: &mut String) {
        if self.column > 0 {
            // More than was planned have run where cases are repeated.
            let total = self.total.max(self.count);
            write(out, format_args!(" {}/{total}\n", self.count));
            self.column = 0;
        }
    }
}

impl Format for Terse {
    fn run_started(&mut self, out: &mut String, total: u64) {
        self.total = total;
        self.style.running(out, total);
    }

    fn case_slow(&mut self, out: &mut String, case: &str, seconds: u64) {
        self.end_line(out);
        write(
            out,
            format_args!("test {case} has been running for over {seconds} seconds\n"),
        );
    }

    fn case_finished(&mut self, out: &mut String, case: &CaseFinished) {
        let (short, color) = match &case.outcome {
            Outcome::Passed => (".", Color::Green),
            Outcome::Skipped { .. } | Outcome::KnownFailure { .. } => ("i", Color::Yellow),
            Outcome::Failed(_) | Outcome::Errored(_) | Outcome::Unknown { .. } => {
                self.end_line(out);
                self.count += 1;
                write(out, format_args!("{} --- ", case.case));
                self.style.paint(out, "FAILED", Color::Red);
                out.push('\n');
                self.style.block(out, case);
                return;
            }
        };
        self.style.paint(out, short, color);
        self.count += 1;
        self.column += 1;
        let has_block = self.style.show_output && !case.output.is_empty();
        if self.column == COLUMNS || has_block {
            self.end_line(out);
        }
        self.style.block(out, case);
    }

    fn run_finished(&mut self, out: &mut String, summary: &Summary) {
        if self.column > 0 {
            out.push('\n');
        }
        // libtest's blank line after a line of dots is the end of that line.
        let mut end = String::new();
        self.style.end(&mut end, summary);
        out.push_str(if self.column > 0 { &end[1..] } else { &end });
        out.push('\n');
    }
}
