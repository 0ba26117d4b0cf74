//! `junit.xml`, for CI: a suite a test binary, a testcase a case.
//!
//! The crate `junit-report` writes it, between two steps of ours. Before it, [`clean`] makes text that XML
//! 1.0 can hold and `cdata` splits `]]>`. After it, `finish` adds what the crate has no words for: the
//! suites' counts and properties, times with three decimals, `flakyFailure` and `rerunFailure`, and line
//! breaks in attributes, which readers would otherwise take for spaces.
//!
//! Valid against Jenkins' `junit-10.xsd` but for the attribute `file` of testcases, which GitLab and
//! GitHub's reporters read. It knows no files.

use std::borrow::Cow;
use std::fmt::Write as _;

use junit_report::{Duration, OffsetDateTime, Report, TestCase, TestResult, TestSuite};
use quick_xml::events::{BytesCData, BytesStart, BytesText, Event};
use quick_xml::{Reader, Writer};

use crate::event::Attempt;
use crate::outcome::{Class, Outcome, Problem};
use crate::report::case::Case;
use crate::report::suite::Suite;
use crate::report::totals::Totals;

/// A report could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// What the crate wrote cannot be read back.
    #[error("junit-report wrote what is not XML")]
    Xml(#[from] quick_xml::Error),
    /// The crate failed.
    #[error("junit-report failed")]
    Crate(#[from] junit_report::Error),
    /// An attribute could not be read back.
    #[error("junit-report wrote an attribute that is not XML")]
    Attribute(#[from] quick_xml::events::attributes::AttrError),
    /// Writing to memory failed.
    #[error("the report cannot be put together")]
    Io(#[from] std::io::Error),
}

/// Renders the suites as they are; a case without a verdict is an error, so that a file left by a run that
/// was killed is not taken for a success.
///
/// # Errors
/// Where the crate's output cannot be processed: a defect, here or there.
pub fn render(suites: &[Suite]) -> Result<Vec<u8>, RenderError> {
    let mut report = Report::new();
    report.add_testsuites(suites.iter().map(test_suite));
    let mut bare = Vec::new();
    report.write_xml(&mut bare)?;
    drop(report);
    finish(&bare, suites)
}

/// Text as XML 1.0 can hold it: characters it forbids are shown as `#x1B`.
pub fn clean(text: &str) -> Cow<'_, str> {
    fn is_forbidden(c: char) -> bool {
        matches!(c, '\0'..='\x08' | '\x0B' | '\x0C' | '\x0E'..='\x1F' | '\u{FFFE}' | '\u{FFFF}')
    }
    let Some(first) = text.find(is_forbidden) else {
        return Cow::Borrowed(text);
    };
    let mut cleaned = String::with_capacity(text.len() + 16);
    cleaned.push_str(&text[..first]);
    for c in text[first..].chars() {
        if is_forbidden(c) {
            // Writing to a String cannot fail.
            let _ = write!(cleaned, "#x{:X}", u32::from(c));
        } else {
            cleaned.push(c);
        }
    }
    Cow::Owned(cleaned)
}

/// Clean text for a CDATA section: `]]>` is split over two.
fn cdata(text: &str) -> String {
    clean(text).replace("]]>", "]]]]><![CDATA[>")
}

fn seconds(duration_us: u64) -> String {
    format!("{:.3}", duration_us as f64 / 1e6)
}

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
        testcases: suite.cases.cases().map(|case| test_case(&case)).collect(),
        system_out: None,
        system_err: None,
    }
}

fn test_case(case: &Case<'_>) -> TestCase {
    TestCase {
        name: clean(case.short_name()).into_owned(),
        time: Duration::microseconds(case.duration_us() as i64),
        result: result(&case.outcome()),
        classname: Some(clean(case.module()).into_owned()),
        filepath: Some(clean(case.file()).into_owned()),
        system_out: Some(cdata(&system_out(case))),
        system_err: None,
    }
}

fn result(outcome: &Outcome) -> TestResult {
    let message = |message: &str| clean(message).into_owned();
    let details = |problem: &Problem| (!problem.details.is_empty()).then(|| cdata(&problem.details));
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
                cause: rest.map(cdata),
            }
        }
        Outcome::Skipped { reason } => {
            let (first, rest) = first_line(reason);
            TestResult::SkippedWithCause {
                type_: outcome.name().into(),
                message: message(first),
                cause: rest.map(cdata),
            }
        }
        Outcome::KnownFailure { because, problem } => TestResult::SkippedWithCause {
            type_: outcome.name().into(),
            message: message(because),
            cause: Some(cdata(&problem.to_string())),
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
    let axes: Vec<_> = case
        .axes()
        .iter()
        .map(|(axis, label)| format!("{axis}={label}"))
        .collect();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(name);
            text.push_str(": ");
            text.push_str(value);
            text.push('\n');
        }
    };
    line("axes", &axes.join(", "));
    line("tags", &case.tags().join(", "));
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

/// Adds to the crate's XML what the crate cannot write; see the module. Relies on the crate's elements coming
/// in the order they were given, and on nothing else of its text.
fn finish(bare: &[u8], suites: &[Suite]) -> Result<Vec<u8>, RenderError> {
    let mut reader = Reader::from_reader(bare);
    reader.config_mut().check_end_names = false;
    let mut writer = Writer::new(Vec::with_capacity(bare.len() + bare.len() / 16));
    let mut coming = suites.iter();
    let mut cases: Option<Box<dyn Iterator<Item = Case<'_>>>> = None;
    let mut case = None;
    loop {
        let event = reader.read_event()?;
        match event {
            Event::Eof => return Ok(writer.into_inner()),
            Event::Start(ref tag) | Event::Empty(ref tag) => {
                let is_empty = matches!(event, Event::Empty(_));
                let mut tag = lines_kept(tag);
                let mut opens_suite = None;
                match tag.name().as_ref() {
                    b"testsuites" => tag = with(&tag, &suites_attributes(suites))?,
                    b"testsuite" => {
                        opens_suite = coming.next();
                        if let Some(suite) = opens_suite {
                            cases = Some(Box::new(suite.cases.cases()));
                            tag = with(&tag, &suite_attributes(suite))?;
                        }
                    }
                    b"testcase" => {
                        case = cases.as_mut().and_then(Iterator::next);
                        let time = case.map_or(0, |case| case.duration_us());
                        tag = with(&tag, &[("time", seconds(time))])?;
                    }
                    _ => {}
                }
                match (opens_suite, is_empty) {
                    (Some(suite), _) => {
                        writer.write_event(Event::Start(tag.borrow()))?;
                        write_properties(&mut writer, suite)?;
                        if is_empty {
                            writer.write_event(Event::End(tag.to_end()))?;
                        }
                    }
                    (None, true) => writer.write_event(Event::Empty(tag))?,
                    (None, false) => writer.write_event(Event::Start(tag))?,
                }
            }
            Event::End(ref end) if end.name().as_ref() == b"testcase" => {
                if let Some(case) = case.take() {
                    write_earlier(&mut writer, &case)?;
                }
                writer.write_event(event)?;
            }
            event => writer.write_event(event)?,
        }
    }
}

/// The tag with line breaks and tabs of its attributes' values as references: as they are, every reader
/// makes spaces of them. The crate separates attributes by single spaces, so all others are in values.
fn lines_kept<'a>(tag: &BytesStart<'a>) -> BytesStart<'a> {
    let text = String::from_utf8_lossy(tag);
    if !text.contains(['\n', '\r', '\t']) {
        return tag.clone();
    }
    let text = text
        .replace('\n', "&#xA;")
        .replace('\r', "&#xD;")
        .replace('\t', "&#x9;");
    BytesStart::from_content(text, tag.name().as_ref().len())
}

/// The tag with attributes set to other values or added.
fn with(tag: &BytesStart<'_>, set: &[(&str, String)]) -> Result<BytesStart<'static>, RenderError> {
    let mut new = BytesStart::new(String::from_utf8_lossy(tag.name().as_ref()).into_owned());
    for attribute in tag.attributes() {
        let attribute = attribute?;
        if set
            .iter()
            .all(|(name, _)| attribute.key.as_ref() != name.as_bytes())
        {
            new.push_attribute(attribute);
        }
    }
    for (name, value) in set {
        new.push_attribute((*name, value.as_str()));
    }
    Ok(new)
}

fn counts(totals: &Totals, duration_us: u64) -> Vec<(&'static str, String)> {
    vec![
        ("tests", totals.cases().to_string()),
        ("failures", totals.broken.to_string()),
        ("errors", totals.all_errors().to_string()),
        ("time", seconds(duration_us)),
    ]
}

fn suites_attributes(suites: &[Suite]) -> Vec<(&'static str, String)> {
    let mut totals = Totals::default();
    suites.iter().for_each(|suite| totals.add(suite.cases.totals()));
    let packages: Vec<_> = suites.iter().map(|suite| &*suite.package).collect();
    let name = match &packages[..] {
        [first, rest @ ..] if rest.iter().all(|package| package == first) => clean(first).into_owned(),
        _ => "robust-test".into(),
    };
    let mut attributes = vec![("name", name)];
    attributes.extend(counts(&totals, suites.iter().map(Suite::duration_us).sum()));
    attributes
}

fn suite_attributes(suite: &Suite) -> Vec<(&'static str, String)> {
    let totals = suite.cases.totals();
    let mut attributes = counts(totals, suite.duration_us());
    attributes.push(("skipped", totals.ignored().to_string()));
    attributes
}

fn write_properties(writer: &mut Writer<Vec<u8>>, suite: &Suite) -> Result<(), RenderError> {
    writer
        .create_element("properties")
        .write_inner_content(|writer| {
            for (name, value) in properties(suite) {
                let value = clean(&value);
                let mut tag = BytesStart::new("property");
                tag.push_attribute(("name", name));
                tag.push_attribute(("value", &*value));
                writer.write_event(Event::Empty(lines_kept(&tag)))?;
            }
            Ok(())
        })?;
    Ok(())
}

/// What is to be known of the suite's runs.
fn properties(suite: &Suite) -> Vec<(&'static str, String)> {
    let mut properties = vec![("package", suite.package.clone()), ("suite", suite.name.clone())];
    let started = || suite.runs.iter().map(|run| &run.started);
    let mut all = |name, values: &mut dyn Iterator<Item = String>| {
        let mut seen = std::collections::BTreeSet::new();
        properties.extend(
            values
                .filter(|value| seen.insert(value.clone()))
                .map(|value| (name, value)),
        );
    };
    all("seed", &mut started().map(|run| run.seed.to_string()));
    all("arguments", &mut started().map(|run| arguments(&run.arguments)));
    all("harness", &mut started().map(|run| run.harness.clone()));
    let finished = || suite.runs.iter().filter_map(|run| run.finished.as_ref());
    all(
        "interrupted",
        &mut finished().filter_map(|run| run.interrupted.clone()),
    );
    let concurrency = finished().map(|run| run.concurrency_max).max();
    properties.extend(concurrency.map(|count| ("concurrency_max", count.to_string())));
    let totals = suite.cases.totals();
    for (name, count) in [
        ("filtered_out", suite.filtered_out()),
        ("flaky", totals.flaky),
        ("known_failures", totals.known_failures),
        ("unknown", totals.unknown),
        ("no_verdict", totals.pending),
    ] {
        if count > 0 {
            properties.push((name, count.to_string()));
        }
    }
    properties
}

/// A command line as a shell would take it.
pub(super) fn arguments(arguments: &[String]) -> String {
    let quoted = arguments.iter().map(|argument| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
        if !argument.is_empty() && argument.chars().all(is_plain) {
            argument.clone()
        } else {
            format!("'{}'", argument.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// The attempts before the last: `flaky…` where the case passed then, `rerun…` where it did not.
fn write_earlier(writer: &mut Writer<Vec<u8>>, case: &Case<'_>) -> Result<(), RenderError> {
    let passed = *case.outcome() == Outcome::Passed;
    for Attempt { problem, output, .. } in case.earlier() {
        let name = match (passed, is_failure(problem.class)) {
            (true, true) => "flakyFailure",
            (true, false) => "flakyError",
            (false, true) => "rerunFailure",
            (false, false) => "rerunError",
        };
        let message = clean(&problem.message);
        let mut tag = BytesStart::new(name);
        tag.push_attribute(("type", problem.class.name()));
        tag.push_attribute(("message", &*message));
        let tag = lines_kept(&tag);
        writer.write_event(Event::Start(tag.borrow()))?;
        writer
            .create_element("stackTrace")
            .write_text_content(BytesText::new(&clean(&problem.to_string())))?;
        if !output.is_empty() {
            writer
                .create_element("system-out")
                .write_cdata_content(BytesCData::new(cdata(output)))?;
        }
        writer.write_event(Event::End(tag.to_end()))?;
    }
    Ok(())
}

/// Whether a problem of this class is a broken property; attempts do not say.
fn is_failure(class: Class) -> bool {
    use Class::{Error, Panic, ShouldPanic, UnexpectedPass};
    matches!(class, Panic | Error | ShouldPanic | UnexpectedPass)
}

#[cfg(test)]
#[path = "junit_tests.rs"]
mod tests;
