//! `report.html`: one file for people, which loads nothing from anywhere.
//!
//! The page is a frame, its style, its script and the suites as JSON; the script makes rows as they come
//! into view, so that a hundred thousand cases stay usable. Text gets into the page as JSON in which `<` is
//! escaped, and from there as text nodes: nothing a case wrote or is called is ever read as markup.
//!
//! It is written as it is made, but for the rows, which come after what only they tell: the scenarios.

mod detail;
mod pieces;

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::path::Path;

use serde::Serialize;

use crate::index::{self, Interner};
use crate::report::case::Case;
use crate::report::json_bytes::{escaped, push_array, push_number, push_string, put};
use crate::report::junit::arguments;
use crate::report::suite::Suite;
use crate::report::totals::Status;
use detail::detail;
use pieces::Pieces;

/// The output of passing cases goes into the page up to this much, in bytes.
const PASSING_OUTPUT_BYTES_MAX: usize = 4 << 20;

/// Worst first: the order in the page. `report.js` has the same list.
const STATUSES: [Status; 8] = [
    Status::Failed,
    Status::Errored,
    Status::Pending,
    Status::Unknown,
    Status::Flaky,
    Status::KnownFailure,
    Status::Passed,
    Status::Skipped,
];

/// The suites as they get into the page. There may be a hundred thousand cases, so rows are JSON at once.
#[derive(Default)]
struct Page<'a> {
    title: String,
    suites: Vec<SuiteFacts<'a>>,
    scenarios: Vec<Scenario<'a>>,
    /// Arrays, separated by commas: objects would name each field a hundred thousand times. Scenario, cell,
    /// status, duration, and where there is one the detail.
    ///
    /// In pieces of whole rows, so that they need not be moved about as they become more.
    rows: Vec<Vec<u8>>,
    details: Vec<Detailed<'a>>,
}

/// A case of which more is told than its row.
struct Detailed<'a> {
    case: Case<'a>,
    axes_in_name: bool,
    with_output: bool,
}

#[derive(Serialize)]
struct SuiteFacts<'a> {
    package: &'a str,
    name: &'a str,
    seeds: Vec<String>,
    started: u64,
    duration: u64,
    hosts: Vec<&'a str>,
    arguments: String,
    filtered: u64,
    concurrency: u32,
    interrupted: Option<&'a str>,
}

struct Scenario<'a> {
    name: &'a str,
    file: &'a str,
    line: u32,
    tags: &'a [Cow<'static, str>],
    axes: Vec<Axis<'a>>,
}

struct Axis<'a> {
    name: &'a str,
    labels: Interner<&'a str>,
}

/// Renders the suites until `take` breaks. `folder` is where the page is going to be: links to what was kept are
/// relative to it.
pub(super) fn render(
    suites: &[Suite],
    folder: &Path,
    mut take: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut page = Page::default();
    let mut output_left = PASSING_OUTPUT_BYTES_MAX;
    for suite in suites {
        page.suites.push(facts(suite));
        let mut known = Interner::default();
        let before = page.scenarios.len();
        for case in suite.cases.cases() {
            page.push(&mut known, before, &case, &mut output_left);
        }
    }
    let names: Vec<_> = suites
        .iter()
        .map(|suite| format!("{} {}", suite.package, suite.name))
        .collect();
    page.title = match &names[..] {
        [name] => name.clone(),
        names => format!("{} suites", names.len()),
    };
    let title = page.title.replace('&', "&amp;").replace('<', "&lt;");
    let (style, script) = (
        include_str!("assets/report.css"),
        include_str!("assets/report.js"),
    );
    let before = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n{style}</style>\n</head>\n<body>\n\
         <main><noscript>This report is made by JavaScript; junit.xml and events.jsonl beside it tell the same.</noscript></main>\n\
         <script type=\"application/json\" id=\"data\">"
    );
    take(before.as_bytes())?;
    page.write(folder, Pieces::new(&mut take))?;
    take(format!("</script>\n<script>\n{script}</script>\n</body>\n</html>\n").as_bytes())
}

fn facts(suite: &Suite) -> SuiteFacts<'_> {
    let mut seeds = Vec::new();
    let mut hosts = Vec::new();
    for run in &suite.runs {
        let (seed, host) = (run.started.seed.to_string(), &*run.started.hostname);
        if !seeds.contains(&seed) && seeds.len() < 10 {
            seeds.push(seed);
        }
        if !host.is_empty() && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    let finished = || suite.runs.iter().filter_map(|run| run.finished.as_ref());
    SuiteFacts {
        package: &suite.package,
        name: &suite.name,
        seeds,
        started: suite
            .runs
            .iter()
            .map(|run| run.started.started_unix_ms)
            .min()
            .unwrap_or(0),
        duration: suite.duration_us(),
        hosts,
        arguments: suite
            .runs
            .first()
            .map_or(String::new(), |run| arguments(&run.started.arguments)),
        filtered: suite.filtered_out(),
        concurrency: finished().map(|run| run.concurrency_max).max().unwrap_or(0),
        interrupted: finished().find_map(|run| run.interrupted.as_deref()),
    }
}

impl<'a> Page<'a> {
    /// `known` are the scenarios of the case's suite, whose numbers come after `before` others.
    fn push(
        &mut self,
        known: &mut Interner<(&'a str, &'a str, u32)>,
        before: usize,
        case: &Case<'a>,
        output_left: &mut usize,
    ) {
        let name = case.name();
        let scenario = name.find('[').map_or(name, |at| &name[..at]);
        let axes = case.axes();
        let key = (scenario, case.file(), case.line());
        let at = before + known.intern(|| index::hash(scenario), |known| *known == key, || key) as usize;
        if at == self.scenarios.len() {
            self.scenarios.push(Scenario::new(scenario, case, &axes));
        }
        let row = pieces::last(&mut self.rows);
        put(row, &format!("[{at},"));
        let axes_in_name = self.scenarios[at].push_cell(row, name, &axes);
        let status = case.status();
        let number = STATUSES.iter().position(|&known| known == status).unwrap_or(0);
        put(row, &format!(",{number},{}", case.duration_us()));
        let is_passed = status == Status::Passed;
        let has_output = !case.output().is_empty() && case.output().len() <= *output_left;
        let has_more = !case.variants().is_empty() || !case.sub_cases().is_empty();
        if !is_passed || !axes_in_name || has_output || has_more {
            if is_passed {
                *output_left -= if has_output { case.output().len() } else { 0 };
            }
            put(row, ",");
            push_number(row, self.details.len() as u64);
            self.details.push(Detailed {
                case: *case,
                axes_in_name,
                with_output: !is_passed || has_output,
            });
        }
        put(row, "]");
    }

    /// Writes the page as an object.
    fn write(
        self,
        folder: &Path,
        mut pieces: Pieces<impl FnMut(&[u8]) -> ControlFlow<()>>,
    ) -> ControlFlow<()> {
        pieces.push(|json| {
            put(json, "{\"title\":");
            push_string(json, &self.title);
            put(json, ",\"suites\":");
            push_value(json, &self.suites);
            put(json, ",\"scenarios\":[");
        })?;
        pieces.push_each(&self.scenarios, |json, scenario| scenario.push(json))?;
        pieces.push(|json| put(json, "],\"cases\":["))?;
        pieces.put_all(self.rows)?;
        pieces.push(|json| put(json, "],\"details\":["))?;
        pieces.push_each(&self.details, |json, detailed| {
            let Detailed {
                case,
                axes_in_name,
                with_output,
            } = detailed;
            push_value(json, &detail(case, folder, *axes_in_name, *with_output));
        })?;
        pieces.push(|json| put(json, "]}"))?;
        pieces.flush()
    }
}

/// Appends what cannot fail to be JSON: texts, numbers and what is made of them.
fn push_value(json: &mut Vec<u8>, value: &impl Serialize) {
    // Memory cannot fail.
    let _ = serde_json::to_writer(json, value);
}

impl<'a> Scenario<'a> {
    /// The scenario of a case that is its first.
    fn new(name: &'a str, case: &Case<'a>, axes: &[(&'a str, &'a str)]) -> Self {
        let axis = |&(name, _): &(&'a str, _)| Axis {
            name,
            labels: Interner::default(),
        };
        Self {
            name,
            file: case.file(),
            line: case.line(),
            tags: case.tags(),
            axes: axes.iter().map(axis).collect(),
        }
    }

    /// Appends a case's cell: the index of each axis' label, or what follows the scenario in a name that is not
    /// made of axes. Returns whether the name tells the axes.
    fn push_cell(&mut self, out: &mut Vec<u8>, name: &str, axes: &[(&'a str, &'a str)]) -> bool {
        let rest = &name[self.name.len()..];
        let told = is_cell(rest, axes);
        let same = axes.len() == self.axes.len() && axes.iter().zip(&self.axes).all(|(a, b)| a.0 == b.name);
        if !told || !same {
            push_string(out, rest);
            return told;
        }
        put(out, "[");
        for (at, ((_, label), axis)) in axes.iter().zip(&mut self.axes).enumerate() {
            if at > 0 {
                put(out, ",");
            }
            let number = axis
                .labels
                .intern(|| index::hash(label), |known| known == label, || label);
            push_number(out, u64::from(number));
        }
        put(out, "]");
        true
    }

    /// Appends it as an object.
    fn push(&self, json: &mut Vec<u8>) {
        let begin = format!(
            "{{\"name\":\"{}\",\"file\":\"{}\",\"line\":{},\"tags\":",
            escaped(self.name),
            escaped(self.file),
            self.line
        );
        put(json, &begin);
        push_array(json, self.tags, |json, tag| push_string(json, tag));
        put(json, ",\"axes\":");
        push_array(json, &self.axes, |json, axis| {
            put(json, "[");
            push_string(json, axis.name);
            put(json, ",");
            push_array(json, axis.labels.values(), |json, label| push_string(json, label));
            put(json, "]");
        });
        put(json, "}");
    }
}

/// Whether what follows the scenario in a name is `[axis=label,..]`, or nothing where there are no axes.
fn is_cell(rest: &str, axes: &[(&str, &str)]) -> bool {
    let mut rest = Some(rest);
    for (at, (axis, label)) in axes.iter().enumerate() {
        for part in [if at == 0 { "[" } else { "," }, axis, "=", label] {
            rest = rest.and_then(|rest| rest.strip_prefix(part));
        }
    }
    rest == Some(if axes.is_empty() { "" } else { "]" })
}

#[cfg(test)]
#[path = "html_tests.rs"]
mod tests;
