//! What a run prints: libtest's formats, as pure functions from verdicts to text.
//!
//! Tools read libtest's output, so ours is held against a real libtest binary's in a test. It differs on
//! purpose in this: the block of a failing case comes at once and not at the end, and says how to run the
//! case again; what libtest has no words for (flaky, known failures, seeds) is added in places where readers
//! of libtest's output look at nothing. Colors are the plain ANSI ones.
//!
//! It knows no terminal and writes nothing: see [`super::live`] and [`super::Reporter`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::event::{CaseFinished, SubCase};
use crate::outcome::Outcome;
use crate::report::suite::Suite;
use crate::report::totals::{Status, Totals};
use crate::seed::Seed;
use crate::variant;

/// So many sub-cases of a case are told; the reports have all.
const SUB_CASES_MAX: usize = 100;

/// libtest's `--format`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum FormatKind {
    /// A line a case.
    #[default]
    Pretty,
    /// A character a case.
    Terse,
    /// A JSON object a line.
    Json,
}

/// What changes a format's output.
#[derive(Debug, Default, Clone, Copy)]
pub struct Style {
    /// Whether words are colored.
    pub color: bool,
    /// Whether the output of passing cases is shown.
    pub show_output: bool,
    /// Whether each case's time is shown.
    pub report_time: bool,
    /// The seed of `--shuffle`.
    pub shuffle_seed: Option<u64>,
}

/// Appends text to a buffer as things happen.
pub trait Format: Send {
    /// `total` cases are going to run.
    fn run_started(&mut self, out: &mut String, total: u64);
    /// A case starts; those that do not run have no start.
    fn case_started(&mut self, out: &mut String, case: &str) {
        let _ = (out, case);
    }
    /// A case has been running for a long time.
    fn case_slow(&mut self, out: &mut String, case: &str, seconds: u64);
    /// A case has its verdict.
    fn case_finished(&mut self, out: &mut String, case: &CaseFinished);
    /// Nothing comes after this.
    fn run_finished(&mut self, out: &mut String, summary: &Summary);
}

impl FormatKind {
    /// The formatter.
    pub fn formatter(self, style: Style) -> Box<dyn Format> {
        match self {
            Self::Pretty => Box::new(super::pretty::Pretty::new(style)),
            Self::Terse => Box::new(super::terse::Terse::new(style)),
            Self::Json => Box::new(super::json::Json::new(style)),
        }
    }
}

/// What the end of a run tells.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many cases have which verdict.
    pub totals: Totals,
    /// Cases left out by filters, tags or the shard.
    pub filtered_out: u64,
    /// Of the run, in microseconds.
    pub duration_us: u64,
    /// The root seeds, one for most runs.
    pub seeds: Vec<Seed>,
    /// The most cases that ran at the same time.
    pub concurrency_max: u32,
    /// The signal that ended the run.
    pub interrupted: Option<String>,
    /// Names of bad cases with a verdict, sorted.
    pub failures: Vec<String>,
    /// Names of passing cases, sorted; only with `show_output`.
    pub successes: Vec<String>,
    /// Reasons of skips (their first lines) and how many cases had them, the most frequent first.
    pub skips: Vec<(String, u64)>,
}

impl Summary {
    /// The summary of a suite.
    pub fn of(suite: &Suite, show_output: bool) -> Self {
        let mut summary = Self {
            totals: *suite.cases.totals(),
            filtered_out: suite.filtered_out(),
            duration_us: suite.duration_us(),
            ..Self::default()
        };
        for run in &suite.runs {
            if !summary.seeds.contains(&run.started.seed) {
                summary.seeds.push(run.started.seed);
            }
            if let Some(finished) = &run.finished {
                summary.concurrency_max = summary.concurrency_max.max(finished.concurrency_max);
                summary.interrupted = summary.interrupted.or_else(|| finished.interrupted.clone());
            }
        }
        let mut skips = BTreeMap::<String, u64>::new();
        for case in suite.cases.cases() {
            match case.status() {
                Status::Passed | Status::Flaky if show_output => summary.successes.push(case.name().into()),
                Status::Failed | Status::Errored | Status::Unknown => {
                    summary.failures.push(case.name().into())
                }
                Status::Skipped => {
                    if let Outcome::Skipped { reason } = &*case.outcome() {
                        *skips.entry(first_line(reason).into()).or_default() += 1;
                    }
                }
                _ => {}
            }
        }
        summary.failures.sort();
        summary.successes.sort();
        summary.skips = skips.into_iter().collect();
        summary.skips.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        summary
    }

    /// The line for what libtest's result line has no words for; empty where there is nothing.
    pub fn beyond_libtest(&self) -> String {
        let mut parts = Vec::new();
        let totals = &self.totals;
        for (count, what) in [
            (totals.flaky, "flaky"),
            (totals.known_failures, "known failures"),
            (totals.unknown, "unknown"),
            (totals.errored, "errored"),
            (totals.pending, "without a verdict"),
        ] {
            if count > 0 {
                parts.push(format!("{what}: {count}"));
            }
        }
        let sub_cases = &totals.sub_cases;
        if sub_cases.all > 0 {
            let bad = sub_cases.broken + sub_cases.errored;
            let bad = if bad > 0 {
                format!(" ({bad} failed)")
            } else {
                String::new()
            };
            parts.push(format!("sub-cases: {}{bad}", sub_cases.all));
        }
        if let Some(signal) = &self.interrupted {
            parts.push(format!("interrupted by {signal}"));
        }
        if totals.runs > totals.cases() - totals.pending {
            parts.push(format!("{} runs", totals.runs));
        }
        if !self.seeds.is_empty() {
            let seeds: Vec<_> = self.seeds.iter().map(Seed::to_string).collect();
            parts.push(format!("seed {}", seeds.join(", ")));
        }
        if !parts.is_empty() && self.concurrency_max > 1 {
            parts.push(format!("up to {} cases at a time", self.concurrency_max));
        }
        parts.join("; ")
    }
}

/// libtest's colors of words.
#[derive(Debug, Clone, Copy)]
pub(super) enum Color {
    Green,
    Red,
    Yellow,
}

impl Style {
    pub(super) fn paint(self, out: &mut String, word: &str, color: Color) {
        let code = match color {
            Color::Red => "31",
            Color::Green => "32",
            Color::Yellow => "33",
        };
        if self.color {
            write(out, format_args!("\x1b[{code}m{word}\x1b[0m"));
        } else {
            out.push_str(word);
        }
    }

    pub(super) fn running(self, out: &mut String, total: u64) {
        let noun = if total == 1 { "test" } else { "tests" };
        write(out, format_args!("\nrunning {total} {noun}"));
        if let Some(seed) = self.shuffle_seed {
            write(out, format_args!(" (shuffle seed: {seed})"));
        }
        out.push('\n');
    }

    /// The block of a case that is to be read now: why it is bad, or what it wrote where that was asked for.
    pub(super) fn block(self, out: &mut String, case: &CaseFinished) {
        if case.outcome.is_bad() {
            write(
                out,
                format_args!("\n---- {} stdout ----\n{}\n", case.case, explanation(case)),
            );
        } else if self.show_output && case.outcome == Outcome::Passed && !case.output.is_empty() {
            write(
                out,
                format_args!("\n---- {} stdout ----\n{}\n", case.case, case.output),
            );
        }
    }

    /// libtest's end of a run, names without blocks: those came at once.
    pub(super) fn end(self, out: &mut String, summary: &Summary) {
        let names = |out: &mut String, title: &str, names: &[String]| {
            write(out, format_args!("\n{title}:\n"));
            names
                .iter()
                .for_each(|name| write(out, format_args!("    {name}\n")));
        };
        if self.show_output {
            names(out, "successes", &summary.successes);
        }
        let totals = &summary.totals;
        if totals.failed() > 0 {
            names(out, "failures", &summary.failures);
            if totals.pending > 0 {
                let pending = totals.pending;
                write(
                    out,
                    format_args!("    and {pending} without a verdict: the run ended before\n"),
                );
            }
        }
        out.push_str("\ntest result: ");
        if totals.failed() == 0 {
            self.paint(out, "ok", Color::Green);
        } else {
            self.paint(out, "FAILED", Color::Red);
        }
        write(
            out,
            format_args!(
                ". {} passed; {} failed; {} ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
                totals.passed,
                totals.failed(),
                totals.ignored(),
                summary.filtered_out,
                summary.duration_us as f64 / 1e6
            ),
        );
        let more = summary.beyond_libtest();
        if !more.is_empty() {
            write(out, format_args!("{more}\n"));
        }
    }
}

/// Why a case is bad and how to see it again, after what it wrote. Ends with a line break.
pub(super) fn explanation(case: &CaseFinished) -> String {
    let mut text = case.output.clone();
    let line = |text: &mut String, line: std::fmt::Arguments<'_>| {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        write(text, line);
    };
    if !text.is_empty() {
        line(&mut text, format_args!("\n"));
    }
    match &case.outcome {
        Outcome::Unknown { reason } => line(&mut text, format_args!("unknown: {reason}\n")),
        outcome => {
            if let Some(problem) = outcome.problem() {
                line(
                    &mut text,
                    format_args!("{}: {}\n", problem.class.name(), problem.message),
                );
                // A panic's place and backtrace stand in what the case wrote.
                if !problem.details.is_empty() && !case.output.contains(problem.details.trim_end()) {
                    line(&mut text, format_args!("{}\n", problem.details));
                }
            }
        }
    }
    if !case.sub_cases.is_empty() {
        let told = case.outcome.problem().map_or("", |problem| &problem.details);
        push_sub_cases(&mut text, &case.sub_cases, told);
    }
    for (at, attempt) in case.earlier.iter().enumerate() {
        let problem = &attempt.problem;
        let class = problem.class.name();
        line(
            &mut text,
            format_args!("attempt {}: {class}: {}\n", at + 1, problem.message),
        );
    }
    if !case.variants.is_empty() {
        let variants = variant::line(&case.variants, &case.forbidden);
        line(&mut text, format_args!("variants: {variants}\n"));
    }
    line(
        &mut text,
        format_args!("seed: {} (the case's own: {})\n", case.root_seed, case.seed),
    );
    if let Some(folder) = &case.artifacts {
        line(&mut text, format_args!("artifacts: {folder}\n"));
    }
    if !case.reproduce.is_empty() {
        line(&mut text, format_args!("reproduce: {}\n", case.reproduce));
    }
    text
}

/// How many sub-cases there are and how many of them failed, and a line each, bad ones first where they are many.
/// What is `told` already is not told again.
fn push_sub_cases(text: &mut String, sub_cases: &[SubCase], told: &str) {
    let (bad, good): (Vec<_>, Vec<_>) = sub_cases.iter().partition(|one| one.outcome.is_bad());
    write(
        text,
        format_args!("sub-cases: {}, {} failed\n", sub_cases.len(), bad.len()),
    );
    let shown: Vec<_> = if sub_cases.len() <= SUB_CASES_MAX {
        sub_cases.iter().collect()
    } else {
        bad.into_iter().chain(good).take(SUB_CASES_MAX).collect()
    };
    for one in &shown {
        let word = match &one.outcome {
            Outcome::Passed => "ok",
            Outcome::Skipped { .. } | Outcome::KnownFailure { .. } => "ignored",
            Outcome::Failed(_) | Outcome::Errored(_) | Outcome::Unknown { .. } => "FAILED",
        };
        let seconds = one.duration_us as f64 / 1e6;
        write(text, format_args!("    {} ... {word} <{seconds:.3}s>", one.name));
        let why = match &one.outcome {
            Outcome::Unknown { reason } => first_line(reason).to_owned(),
            outcome => reason(outcome)
                .or_else(|| outcome.problem().map(|problem| problem.message.clone()))
                .unwrap_or_default(),
        };
        if !why.is_empty() && !told.contains(&why) {
            write(text, format_args!(", {why}"));
        }
        text.push('\n');
    }
    if shown.len() < sub_cases.len() {
        write(
            text,
            format_args!("    and {} more\n", sub_cases.len() - shown.len()),
        );
    }
}

/// The reason of a case that libtest would call ignored.
pub(super) fn reason(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Skipped { reason } => Some(first_line(reason).into()),
        Outcome::KnownFailure { because, .. } => Some(format!("known failure: {}", first_line(because))),
        _ => None,
    }
}

fn first_line(text: &str) -> &str {
    text.split('\n').next().unwrap_or_default()
}

/// Writing to a String cannot fail.
pub(super) fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
