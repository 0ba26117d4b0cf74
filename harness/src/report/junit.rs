//! `junit.xml`, for CI: a suite a test binary, a testcase a case; sub-cases are testcases too, whose class is
//! their case, and come after it.
//!
//! The crate `junit-report` writes it, between two steps of ours. Before it, [`clean`] makes text that XML
//! 1.0 can hold and `cdata` splits `]]>`. After it, `finish` adds what the crate has no words for: the
//! suites' counts and properties, times with three decimals, `flakyFailure` and `rerunFailure`, and line
//! breaks in attributes, which readers would otherwise take for spaces. It also adds module and file, which
//! many cases share.
//!
//! It is made in parts, of some cases each and on several threads, between the parts of a frame that has the
//! suites without their cases. So it costs little memory however many cases there are.
//!
//! Valid against Jenkins' `junit-10.xsd` but for the attribute `file` of testcases, which GitLab and
//! GitHub's reporters read. It knows no files.

mod facts;
mod finish;
mod parts;
mod text;
mod walk;

use std::fmt::Write as _;
use std::ops::ControlFlow;

use junit_report::{Duration, OffsetDateTime, Report, TestCase, TestResult, TestSuite};

use crate::event::SubCase;
use crate::outcome::{Outcome, Problem};
use crate::report::case::Case;
use crate::report::ordered::in_order;
use crate::report::suite::Suite;
pub(super) use facts::arguments;
use finish::Frame;
use parts::{CASES_MAX, Part, Parts};
use text::cdata;
pub use text::clean;

/// A report could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// What the crate wrote is not what is expected of it.
    #[error("junit-report wrote XML that cannot be used: {0}")]
    Xml(&'static str),
    /// The crate failed.
    #[error("junit-report failed")]
    Crate(#[from] junit_report::Error),
}

/// Renders the suites as they are, on so many threads, until `take` breaks; a case without a verdict is an
/// error, so that a file left by a run that was killed is not taken for a success.
///
/// # Errors
/// Where the crate's output cannot be processed: a defect, here or there.
pub(super) fn render(
    suites: &[Suite],
    threads: usize,
    take: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), RenderError> {
    render_in_parts(suites, CASES_MAX, threads, take)
}

/// [`render`], with at most so many cases a part.
fn render_in_parts(
    suites: &[Suite],
    cases_max: usize,
    threads: usize,
    mut take: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), RenderError> {
    let frame = frame(suites)?;
    let mut taken = 0;
    // More threads than parts would have nothing to do.
    let count: usize = suites.iter().map(|suite| suite.cases.len()).sum();
    let threads = threads.min(count.div_ceil(cases_max));
    let make = |part: Part<'_>| Ok((part.suite, part.render()?));
    let flow = in_order("junit", threads, Parts::new(suites, cases_max), make, |part| {
        let (suite, testcases) = match part {
            Ok(part) => part,
            Err(error) => return ControlFlow::Break(Err(error)),
        };
        let place = frame.places[suite];
        let before = &frame.xml[std::mem::replace(&mut taken, place)..place];
        if !before.is_empty() {
            take(before).map_break(Ok)?;
        }
        take(&testcases).map_break(Ok)
    });
    match flow {
        ControlFlow::Break(result) => result,
        ControlFlow::Continue(()) => {
            // There is nothing more, whoever wants it.
            let _ = take(&frame.xml[taken..]);
            Ok(())
        }
    }
}

fn frame(suites: &[Suite]) -> Result<Frame, RenderError> {
    let mut report = Report::new();
    report.add_testsuites(suites.iter().map(test_suite));
    let mut bare = Vec::new();
    report.write_xml(&mut bare)?;
    finish::frame(&bare, suites)
}

fn seconds(duration_us: u64) -> String {
    format!("{:.3}", duration_us as f64 / 1e6)
}

/// The suite without its cases.
fn test_suite(suite: &Suite) -> TestSuite {
    let first = suite.runs.iter().min_by_key(|run| run.started.started_unix_ms);
    let start = first.map_or(0, |run| run.started.started_unix_ms / 1000);
    TestSuite {
        name: clean(&suite.name).into_owned(),
        package: clean(&suite.package).into_owned(),
        timestamp: i64::try_from(start)
            .ok()
            .and_then(|start| OffsetDateTime::from_unix_timestamp(start).ok())
            .unwrap_or(OffsetDateTime::UNIX_EPOCH),
        hostname: first.map_or_else(String::new, |run| clean(&run.started.hostname).into_owned()),
        testcases: Vec::new(),
        system_out: None,
        system_err: None,
    }
}

fn test_case(case: &Case<'_>) -> TestCase {
    TestCase {
        name: clean(case.short_name()).into_owned(),
        // What comes after the crate says it with three decimals.
        time: Duration::ZERO,
        result: result(&case.outcome()),
        // They come after it too.
        classname: None,
        filepath: None,
        system_out: Some(cdata(system_out(case))),
        system_err: None,
    }
}

fn test_sub_case(sub_case: &SubCase) -> TestCase {
    TestCase {
        name: clean(&sub_case.name).into_owned(),
        time: Duration::ZERO,
        result: result(&sub_case.outcome),
        classname: None,
        filepath: None,
        // What a case wrote is not told apart.
        system_out: None,
        system_err: None,
    }
}

fn result(outcome: &Outcome) -> TestResult {
    let message = |message: &str| clean(message).into_owned();
    let details = |problem: &Problem| (!problem.details.is_empty()).then(|| cdata(problem.details.clone()));
    match outcome {
        Outcome::Passed => TestResult::Success,
        Outcome::Failed(problem) => TestResult::Failure {
            type_: problem.class.name().into(),
            message: message(&problem.message),
            cause: details(problem),
        },
        Outcome::Errored(problem) => TestResult::Error {
            type_: problem.class.name().into(),
            message: message(&problem.message),
            cause: details(problem),
        },
        Outcome::Unknown { reason } => {
            let (first, rest) = first_line(reason);
            TestResult::Error {
                type_: outcome.name().into(),
                message: message(first),
                cause: rest.map(|rest| cdata(rest.to_owned())),
            }
        }
        Outcome::Skipped { reason } => {
            let (first, rest) = first_line(reason);
            TestResult::SkippedWithCause {
                type_: outcome.name().into(),
                message: message(first),
                cause: rest.map(|rest| cdata(rest.to_owned())),
            }
        }
        Outcome::KnownFailure { because, problem } => TestResult::SkippedWithCause {
            type_: outcome.name().into(),
            message: message(because),
            cause: Some(cdata(problem.to_string())),
        },
    }
}

fn first_line(text: &str) -> (&str, Option<&str>) {
    text.split_once('\n')
        .map_or((text, None), |(first, rest)| (first, Some(rest)))
}

/// What to know to run it again, then what it wrote, then what was kept of it.
fn system_out(case: &Case<'_>) -> String {
    let mut text = format!("seed: {} (root seed {})\n", case.seed(), case.root_seed());
    let mut before = "axes: ";
    for (axis, label) in case.axes() {
        for part in [before, axis, "=", label] {
            text.push_str(part);
        }
        before = ", ";
    }
    if before == ", " {
        text.push('\n');
    }
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            for part in [name, ": ", value, "\n"] {
                text.push_str(part);
            }
        }
    };
    line("variants", &case.variants_line());
    if !case.tags().is_empty() {
        line("tags", &case.tags().join(", "));
    }
    if case.runs() > 1 {
        line("runs", &case.runs().to_string());
    }
    line("reproduce", &case.reproduce());
    if !case.output().is_empty() {
        text.push('\n');
        text.push_str(case.output());
        if !case.output().ends_with('\n') {
            text.push('\n');
        }
    }
    if let Some(folder) = case.artifacts() {
        for attachment in case.attachments() {
            let path = std::path::Path::new(folder).join(attachment);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "[[ATTACHMENT|{}]]", path.display());
        }
    }
    text
}

#[cfg(test)]
#[path = "junit_tests.rs"]
mod tests;
