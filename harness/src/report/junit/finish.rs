//! What the crate `junit-report` has no words for, added to what it wrote: the suites' counts and properties,
//! times with three decimals, `flakyFailure` and `rerunFailure`, and line breaks in attributes. Also where a case
//! is written down, which it shares with others: made once for all of them.
//!
//! Relies on the crate's elements coming in the order they were given.

use super::facts::{properties, suite_attributes, suites_attributes};
use super::parts::Testcase;
use super::text::{cdata, clean, push_attribute, push_text};
use super::walk::{Token, Walk};
use super::{RenderError, seconds};
use crate::event::Attempt;
use crate::outcome::{Class, Outcome};
use crate::report::case::Case;
use crate::report::suite::Suite;

/// About how many bytes place and time of a testcase need, and the facts of a suite.
const MORE: (usize, usize) = (96, 2048);

/// All but the testcases.
pub(super) struct Frame {
    pub(super) xml: Vec<u8>,
    /// Where each suite's testcases go.
    pub(super) places: Vec<usize>,
}

/// The crate's XML of suites without testcases, with the rest.
pub(super) fn frame(bare: &[u8], suites: &[Suite]) -> Result<Frame, RenderError> {
    let mut walk = Walk::new(text(bare)?, suites.len() * MORE.1);
    let mut coming = suites.iter();
    let mut places = Vec::with_capacity(suites.len());
    while let Some(token) = walk.next()? {
        match token {
            Token::Start(tag) if tag.name == "testsuite" => {
                let suite = coming.next().ok_or(RenderError::Xml("it has a suite too many"))?;
                walk.set(&tag, &suite_attributes(suite));
                walk.put_within(&tag, |out| {
                    push_properties(out, suite);
                    places.push(out.len());
                });
            }
            Token::Start(tag) if tag.name == "testsuites" => walk.set(&tag, &suites_attributes(suites)),
            Token::Start(_) => return Err(RenderError::Xml("it has a case too many")),
            Token::End(_) => {}
        }
    }
    if coming.next().is_some() {
        return Err(RenderError::Xml("it has a suite too few"));
    }
    let xml = walk.finish();
    Ok(Frame { xml, places })
}

/// The testcases of the crate's XML of one suite, with the rest. They are those of `count` cases.
pub(super) fn testcases<'a>(
    bare: &[u8],
    count: usize,
    mut cases: impl Iterator<Item = Testcase<'a>>,
) -> Result<Vec<u8>, RenderError> {
    let mut walk = Walk::new(text(bare)?, count * MORE.0);
    let mut last: Option<Testcase<'_>> = None;
    // The attributes of the last case that it may share with the next.
    let mut shared = Vec::new();
    let mut end = 0;
    while let Some(token) = walk.next()? {
        match token {
            Token::Start(tag) => match tag.name {
                "testcase" => {
                    let case = cases.next().ok_or(RenderError::Xml("it has a case too many"))?;
                    if last.is_none_or(|last| !is_beside(&last, &case)) {
                        let class = match case.sub_case {
                            None => case.case.module(),
                            Some(_) => case.case.name(),
                        };
                        shared.clear();
                        push_attribute(&mut shared, "classname", &clean(class));
                        push_attribute(&mut shared, "file", &clean(case.case.file()));
                    }
                    let duration_us = match case.sub_case {
                        None => case.case.duration_us(),
                        Some(sub_case) => sub_case.duration_us,
                    };
                    let time = format!(" time=\"{}\"", seconds(duration_us));
                    walk.replace(
                        &tag,
                        |name| name == "time",
                        |out| {
                            out.extend_from_slice(&shared);
                            out.extend_from_slice(time.as_bytes());
                        },
                    );
                    last = Some(case);
                }
                // What comes before the testcases is left out.
                "testsuite" => walk.put_within(&tag, Vec::clear),
                _ => walk.set(&tag, &[]),
            },
            Token::End(tag) => match tag.name {
                "testcase" => {
                    let earlier =
                        |last: &Testcase<'_>| last.sub_case.is_none() && !last.case.earlier().is_empty();
                    if let Some(last) = last.filter(earlier) {
                        walk.put_before(&tag, |out| push_earlier(out, &last.case));
                    }
                }
                "testsuite" => walk.put_before(&tag, |out| end = out.len()),
                _ => {}
            },
        }
    }
    if cases.next().is_some() {
        return Err(RenderError::Xml("it has a case too few"));
    }
    let mut xml = walk.finish();
    xml.truncate(end);
    Ok(xml)
}

/// Whether both are of the same class and file.
fn is_beside(a: &Testcase<'_>, b: &Testcase<'_>) -> bool {
    let (a_case, b_case) = (&a.case, &b.case);
    match (a.sub_case, b.sub_case) {
        (None, None) => a_case.module() == b_case.module() && a_case.file() == b_case.file(),
        (Some(_), Some(_)) => a_case.name() == b_case.name(),
        _ => false,
    }
}

fn text(bare: &[u8]) -> Result<&str, RenderError> {
    std::str::from_utf8(bare).map_err(|_| RenderError::Xml("it is not UTF-8"))
}

fn push_properties(out: &mut Vec<u8>, suite: &Suite) {
    out.extend_from_slice(b"<properties>");
    for (name, value) in properties(suite) {
        out.extend_from_slice(b"<property");
        push_attribute(out, "name", name);
        push_attribute(out, "value", &clean(&value));
        out.extend_from_slice(b"/>");
    }
    out.extend_from_slice(b"</properties>");
}

/// The attempts before the last: `flaky…` where the case passed then, `rerun…` where it did not.
fn push_earlier(out: &mut Vec<u8>, case: &Case<'_>) {
    let passed = *case.outcome() == Outcome::Passed;
    for Attempt { problem, output, .. } in case.earlier() {
        let name = match (passed, is_failure(problem.class)) {
            (true, true) => "flakyFailure",
            (true, false) => "flakyError",
            (false, true) => "rerunFailure",
            (false, false) => "rerunError",
        };
        out.push(b'<');
        out.extend_from_slice(name.as_bytes());
        push_attribute(out, "type", problem.class.name());
        push_attribute(out, "message", &clean(&problem.message));
        out.extend_from_slice(b"><stackTrace>");
        push_text(out, &clean(&problem.to_string()));
        out.extend_from_slice(b"</stackTrace>");
        if !output.is_empty() {
            out.extend_from_slice(b"<system-out><![CDATA[");
            out.extend_from_slice(cdata(output.clone()).as_bytes());
            out.extend_from_slice(b"]]></system-out>");
        }
        out.extend_from_slice(b"</");
        out.extend_from_slice(name.as_bytes());
        out.push(b'>');
    }
}

/// Whether a problem of this class is a broken property; attempts do not say.
fn is_failure(class: Class) -> bool {
    use Class::{Error, Panic, ShouldPanic, UnexpectedPass};
    matches!(class, Panic | Error | ShouldPanic | UnexpectedPass)
}
