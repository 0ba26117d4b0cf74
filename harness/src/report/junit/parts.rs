//! The cases in parts: so many as can be rendered at once, without much memory.

use std::ops::Range;

use junit_report::{OffsetDateTime, Report, TestSuite};

use super::{RenderError, finish, test_case};
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

impl<'a> Part<'a> {
    /// The testcases' XML.
    pub(super) fn render(&self) -> Result<Vec<u8>, RenderError> {
        let mut report = Report::new();
        report.add_testsuite(TestSuite {
            name: String::new(),
            package: String::new(),
            timestamp: OffsetDateTime::UNIX_EPOCH,
            hostname: String::new(),
            testcases: self.cases().map(|case| test_case(&case)).collect(),
            system_out: None,
            system_err: None,
        });
        let mut bare = Vec::with_capacity(self.range.len() * CASE_BYTES);
        report.write_xml(&mut bare)?;
        drop(report);
        finish::testcases(&bare, self.range.len(), self.cases())
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
