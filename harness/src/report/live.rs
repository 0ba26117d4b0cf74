//! The status lines of a run on a terminal: how far it is, and what has been running longest.
//!
//! Everything else goes through [`Live::above`], or lines would run into each other. It knows no formats.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::totals::Totals;

/// How many of the running cases are named.
pub const NAMED_MAX: usize = 4;

/// The status lines; invisible where stderr is no terminal.
#[derive(Debug)]
pub struct Live {
    lines: MultiProgress,
    counts: ProgressBar,
    named: Vec<ProgressBar>,
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl Live {
    /// Shows nothing until the first [`Live::update`].
    pub fn new() -> Self {
        let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        // Cut at the terminal's width: a line that wraps leaves parts of itself behind.
        let style =
            ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let counts = lines.add(ProgressBar::new_spinner().with_style(style.clone()));
        let named = (0..NAMED_MAX).map(|_| lines.add(ProgressBar::new_spinner().with_style(style.clone())));
        let named = named.collect();
        Self { lines, counts, named }
    }

    /// Shows the state of the run. `running` are cases and how long they have been running.
    pub fn update(&self, totals: &Totals, total: u64, elapsed: Duration, running: &[(&str, Duration)]) {
        self.counts
            .set_message(counts_line(totals, total, elapsed, running.len()));
        let longest = longest(running);
        for (at, line) in self.named.iter().enumerate() {
            line.set_message(longest.get(at).map_or(String::new(), |(name, time)| {
                format!("    {:>6}  {name}", clock(*time))
            }));
            line.tick();
        }
        self.counts.tick();
    }

    /// Runs what writes to the terminal, with the status lines out of the way.
    pub fn above<R>(&self, write: impl FnOnce() -> R) -> R {
        self.lines.suspend(write)
    }

    /// Takes the status lines away.
    pub fn clear(&self) {
        self.named.iter().for_each(ProgressBar::finish_and_clear);
        self.counts.finish_and_clear();
        // Where the terminal is gone there is nothing to clear.
        let _ = self.lines.clear();
    }
}

/// The few that have been running longest, longest first.
fn longest<'a>(running: &[(&'a str, Duration)]) -> Vec<(&'a str, Duration)> {
    let mut longest = running.to_vec();
    longest.sort_by_key(|(name, time)| (std::cmp::Reverse(*time), *name));
    longest.truncate(NAMED_MAX);
    longest
}

fn counts_line(totals: &Totals, total: u64, elapsed: Duration, running: usize) -> String {
    let mut line = format!("    {:>6}  {}/{total} cases", clock(elapsed), totals.cases());
    for (count, what) in [
        (totals.passed, "passed"),
        (totals.failed(), "failed"),
        (totals.flaky, "flaky"),
        (totals.ignored(), "skipped"),
        (running as u64, "running"),
    ] {
        if count > 0 {
            line.push_str(&format!(" · {count} {what}"));
        }
    }
    line
}

/// `8s`, `3:07`, `1:02:03`.
fn clock(time: Duration) -> String {
    let (hours, minutes, seconds) = (
        time.as_secs() / 3600,
        time.as_secs() / 60 % 60,
        time.as_secs() % 60,
    );
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_running_cases_are_named_first() {
        let names = ["a", "b", "c", "d", "e"];
        let running = names
            .iter()
            .zip([3, 9, 1, 9, 2])
            .map(|(n, s)| (*n, Duration::from_secs(s)));
        let running = running.collect::<Vec<_>>();
        let longest: Vec<_> = longest(&running).into_iter().map(|(name, _)| name).collect();
        assert_eq!(longest, ["b", "d", "a", "e"]);
    }

    #[test]
    fn the_counts_name_what_there_is() {
        let totals = Totals {
            passed: 3,
            broken: 1,
            ..Totals::default()
        };
        let line = counts_line(&totals, 10, Duration::from_secs(187), 2);
        assert_eq!(line, "      3:07  4/10 cases · 3 passed · 1 failed · 2 running");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
    }
}
