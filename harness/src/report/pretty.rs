//! libtest's default format: a line a case.

use crate::event::CaseFinished;
use crate::outcome::Outcome;
use crate::report::console::{Color, Format, Style, Summary, reason, write};

/// How many reasons of skips are told; the reports have all.
const SKIP_REASONS_MAX: usize = 20;

/// See the module.
#[derive(Debug)]
pub struct Pretty {
    style: Style,
}

impl Pretty {
    /// The format.
    pub fn new(style: Style) -> Self {
        Self { style }
    }
}

impl Format for Pretty {
    fn run_started(&mut self, out: &mut String, total: u64) {
        self.style.running(out, total);
    }

    fn case_slow(&mut self, out: &mut String, case: &str, seconds: u64) {
        write(
            out,
            format_args!("test {case} has been running for over {seconds} seconds\n"),
        );
    }

    fn case_finished(&mut self, out: &mut String, case: &CaseFinished) {
        out.push_str("test ");
        out.push_str(&case.case);
        out.push_str(" ... ");
        match &case.outcome {
            Outcome::Passed if case.is_flaky() => {
                let word = format!("ok (flaky: passed on attempt {})", case.earlier.len() + 1);
                self.style.paint(out, &word, Color::Yellow);
            }
            Outcome::Passed => self.style.paint(out, "ok", Color::Green),
            Outcome::Failed(_) | Outcome::Errored(_) | Outcome::Unknown { .. } => {
                self.style.paint(out, "FAILED", Color::Red);
            }
            outcome @ (Outcome::Skipped { .. } | Outcome::KnownFailure { .. }) => {
                let word = match reason(outcome) {
                    Some(reason) if !reason.is_empty() => format!("ignored, {reason}"),
                    _ => "ignored".into(),
                };
                self.style.paint(out, &word, Color::Yellow);
            }
        }
        if self.style.report_time && !matches!(case.outcome, Outcome::Skipped { .. }) {
            write(out, format_args!(" <{:.3}s>", case.duration_us as f64 / 1e6));
        }
        out.push('\n');
        self.style.block(out, case);
    }

    fn run_finished(&mut self, out: &mut String, summary: &Summary) {
        self.style.end(out, summary);
        let told = summary.skips.iter().filter(|(reason, _)| !reason.is_empty());
        for (reason, count) in told.clone().take(SKIP_REASONS_MAX) {
            write(out, format_args!("{count} skipped: {reason}\n"));
        }
        let more: u64 = told.skip(SKIP_REASONS_MAX).map(|(_, count)| count).sum();
        if more > 0 {
            write(out, format_args!("{more} skipped for other reasons\n"));
        }
        out.push('\n');
    }
}
