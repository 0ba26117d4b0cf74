//! The cases in parts: so many as can be rendered at once, without much memory.

use std::ops::Range;

use junit_report::{OffsetDateTime, Report, TestCase, TestSuite};

use super::{RenderError, finish, test_case, test_sub_case};
use crate::event::SubCase;
use crate::report::aggregate::Aggregate;
use crate::report::case::Case;
use crate::report::suite::Suite;

/// No part has more cases.
pub(super) const CASES_MAX: usize = 256;

/// A part ends with the case with which it has more than so many bytes of output.
pub(super) const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// About how many bytes the crate writes for a plain case.
const CASE_BYTES: usize = 320;

/// Cases of one suite.
pub(super) struct Part<'a> {
    /// The number of the suite.
    pub(super) suite: usize,
    cases: &'a Aggregate,
    range: Range<usize>,
}

/// A testcase: a case, or one of its sub-cases.
#[derive(Clone, Copy)]
pub(super) struct Testcase<'a> {
    pub(super) case: Case<'a>,
    pub(super) sub_case: Option<&'a SubCase>,
}

impl Testcase<'_> {
    /// As the crate takes it.
    fn written(&self) -> TestCase {
        match self.sub_case {
            None => test_case(&self.case),
            Some(sub_case) => test_sub_case(sub_case),
        }
    }
}

impl<'a> Part<'a> {
    /// The testcases' XML.
    pub(super) fn render(&self) -> Result<Vec<u8>, RenderError> {
        let mut report = Report::new();
        report.add_testsuite(TestSuite {
            name: String::new(),
            package: String::new(),
            timestamp: OffsetDateTime::UNIX_EPOCH,
            hostname: String::new(),
            testcases: self.testcases().map(|one| one.written()).collect(),
            system_out: None,
            system_err: None,
        });
        let mut bare = Vec::with_capacity(self.range.len() * CASE_BYTES);
        report.write_xml(&mut bare)?;
        drop(report);
        finish::testcases(&bare, self.range.len(), self.testcases())
    }

    fn testcases(&self) -> impl Iterator<Item = Testcase<'a>> + use<'a> {
        self.cases().flat_map(|case| {
            let sub_cases = case.sub_cases().iter();
            let sub_cases = sub_cases.map(move |sub_case| Testcase {
                case,
                sub_case: Some(sub_case),
            });
            std::iter::once(Testcase { case, sub_case: None }).chain(sub_cases)
        })
    }

    fn cases(&self) -> impl Iterator<Item = Case<'a>> + use<'a> {
        self.cases.range(self.range.clone())
    }
}

/// The parts of all suites, in order.
pub(super) struct Parts<'a> {
    suites: &'a [Suite],
    cases_max: usize,
    suite: usize,
    at: usize,
}

impl<'a> Parts<'a> {
    pub(super) fn new(suites: &'a [Suite], cases_max: usize) -> Self {
        Self {
            suites,
            cases_max,
            suite: 0,
            at: 0,
        }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let mut cases = &self.suites.get(self.suite)?.cases;
        while self.at == cases.len() {
            self.suite += 1;
            self.at = 0;
            cases = &self.suites.get(self.suite)?.cases;
        }
        let (start, mut output) = (self.at, 0);
        let end = cases.len().min(start.saturating_add(self.cases_max));
        while self.at < end && output <= OUTPUT_BYTES_MAX {
            output += cases.output_bytes(self.at);
            self.at += 1;
        }
        Some(Part {
            suite: self.suite,
            cases,
            range: start..self.at,
        })
    }
}
