//! `report.html`: one file for people, which loads nothing from anywhere.
//!
//! The page is a frame, its style, its script and the suites as JSON; the script makes rows as they come
//! into view, so that a hundred thousand cases stay usable. Text gets into the page as JSON in which `<` is
//! escaped, and from there as text nodes: nothing a case wrote or is called is ever read as markup.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;

use crate::outcome::Outcome;
use crate::report::case::Case;
use crate::report::file::relative;
use crate::report::junit::arguments;
use crate::report::suite::Suite;
use crate::report::totals::Status;

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

#[derive(Default, Serialize)]
struct Page<'a> {
    title: String,
    suites: Vec<SuiteFacts<'a>>,
    scenarios: Vec<Scenario<'a>>,
    cases: Vec<Row<'a>>,
    details: Vec<Detail>,
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

#[derive(Serialize)]
struct Scenario<'a> {
    name: &'a str,
    file: &'a str,
    line: u32,
    tags: &'a [String],
    axes: Vec<(&'a str, Vec<&'a str>)>,
    #[serde(skip)]
    labels: Vec<HashMap<&'a str, usize>>,
}

/// A case as an array: objects would name each field a hundred thousand times.
#[derive(Serialize)]
#[serde(untagged)]
enum Row<'a> {
    Plain(usize, Cell<'a>, usize, u64),
    Detailed(usize, Cell<'a>, usize, u64, usize),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Cell<'a> {
    /// The index of each axis' label.
    Labels(Vec<usize>),
    /// What follows the scenario in a name that is not made of axes.
    Rest(&'a str),
}

#[derive(Default, Serialize)]
struct Detail {
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    details: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<Earlier>,
    #[serde(skip_serializing_if = "String::is_empty")]
    output: String,
    /// What it wrote in all, where that is more than `output`.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    seed: String,
    root: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<u32>,
    /// Where the name does not tell them.
    #[serde(skip_serializing_if = "String::is_empty")]
    axes: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reproduce: String,
    /// Text and link.
    #[serde(skip_serializing_if = "Option::is_none")]
    artifacts: Option<(String, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Earlier {
    class: &'static str,
    text: String,
    output: String,
}

/// Renders the suites. `folder` is where the page is going to be: links to what was kept are relative to it.
pub fn render(suites: &[Suite], folder: &Path) -> Vec<u8> {
    let mut page = Page::default();
    let mut output_left = PASSING_OUTPUT_BYTES_MAX;
    for suite in suites {
        page.suites.push(facts(suite));
        let mut known = HashMap::new();
        for case in suite.cases.cases() {
            page.push(&mut known, &case, folder, &mut output_left);
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
    // Only strings hold `<`, and in JSON's strings the escape means the same.
    let json = serde_json::to_string(&page)
        .unwrap_or_else(|_| "{}".into())
        .replace('<', "\\u003c");
    let title = page.title.replace('&', "&amp;").replace('<', "&lt;");
    let (style, script) = (
        include_str!("assets/report.css"),
        include_str!("assets/report.js"),
    );
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n{style}</style>\n</head>\n<body>\n\
         <main><noscript>This report is made by JavaScript; junit.xml and events.jsonl beside it tell the same.</noscript></main>\n\
         <script type=\"application/json\" id=\"data\">{json}</script>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )
    .into_bytes()
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
    fn push(
        &mut self,
        known: &mut HashMap<(&'a str, &'a str, u32), usize>,
        case: &Case<'a>,
        folder: &Path,
        output_left: &mut usize,
    ) {
        let name = case.name();
        let scenario = name.find('[').map_or(name, |at| &name[..at]);
        let axes = case.axes();
        let at = *known
            .entry((scenario, case.file(), case.line()))
            .or_insert_with(|| {
                self.scenarios.push(Scenario {
                    name: scenario,
                    file: case.file(),
                    line: case.line(),
                    tags: case.tags(),
                    axes: axes.iter().map(|(axis, _)| (*axis, Vec::new())).collect(),
                    labels: vec![HashMap::new(); axes.len()],
                });
                self.scenarios.len() - 1
            });
        let (cell, in_name) = self.scenarios[at].cell(name, &axes);
        let status = case.status();
        let number = STATUSES.iter().position(|&known| known == status).unwrap_or(0);
        let is_passed = status == Status::Passed;
        let has_output = !case.output().is_empty() && case.output().len() <= *output_left;
        if is_passed && in_name && !has_output {
            self.cases.push(Row::Plain(at, cell, number, case.duration_us()));
            return;
        }
        if is_passed {
            *output_left -= if has_output { case.output().len() } else { 0 };
        }
        let mut detail = detail(case, folder, in_name);
        if is_passed && !has_output {
            detail.output.clear();
        }
        self.cases.push(Row::Detailed(
            at,
            cell,
            number,
            case.duration_us(),
            self.details.len(),
        ));
        self.details.push(detail);
    }
}

impl<'a> Scenario<'a> {
    /// The case's cell, and whether its name tells its axes.
    fn cell(&mut self, name: &'a str, axes: &[(&'a str, &'a str)]) -> (Cell<'a>, bool) {
        let cell = axes.iter().map(|(axis, label)| format!("{axis}={label}"));
        let cell = cell.collect::<Vec<_>>().join(",");
        let rest = &name[self.name.len()..];
        let told = if axes.is_empty() {
            rest.is_empty()
        } else {
            rest == format!("[{cell}]")
        };
        let same = axes.len() == self.axes.len() && axes.iter().zip(&self.axes).all(|(a, b)| a.0 == b.0);
        if !told || !same {
            return (Cell::Rest(rest), told);
        }
        let mut numbers = Vec::with_capacity(axes.len());
        for ((_, label), (known, (_, labels))) in axes.iter().zip(self.labels.iter_mut().zip(&mut self.axes))
        {
            numbers.push(*known.entry(label).or_insert_with(|| {
                labels.push(label);
                labels.len() - 1
            }));
        }
        (Cell::Labels(numbers), true)
    }
}

fn detail(case: &Case<'_>, folder: &Path, axes_in_name: bool) -> Detail {
    let outcome = case.outcome();
    let axes = if axes_in_name { Vec::new() } else { case.axes() };
    let mut detail = Detail {
        class: outcome.problem().map(|problem| problem.class.name()),
        message: outcome
            .problem()
            .map_or(String::new(), |problem| problem.message.clone()),
        details: outcome
            .problem()
            .map_or(String::new(), |problem| problem.details.clone()),
        output: case.output().into(),
        bytes: (case.output_bytes() > case.output().len() as u64).then(|| case.output_bytes()),
        seed: case.seed().to_string(),
        root: case.root_seed().to_string(),
        runs: (case.runs() > 1).then(|| case.runs()),
        axes: axes
            .iter()
            .map(|(axis, label)| format!("{axis}={label}"))
            .collect::<Vec<_>>()
            .join(", "),
        reproduce: case.reproduce().into_owned(),
        ..Detail::default()
    };
    match &*outcome {
        Outcome::Skipped { reason } | Outcome::Unknown { reason } => {
            let (first, rest) = reason.split_once('\n').unwrap_or((reason, ""));
            (detail.message, detail.details) = (first.into(), rest.into());
        }
        Outcome::KnownFailure { because, problem } => {
            (detail.class, detail.message) = (None, because.clone());
            detail.details = format!("{}: {problem}", problem.class.name());
        }
        _ => {}
    }
    detail
        .earlier
        .extend(case.earlier().iter().map(|attempt| Earlier {
            class: attempt.problem.class.name(),
            text: attempt.problem.to_string(),
            output: attempt.output.clone(),
        }));
    if let Some(kept) = case.artifacts() {
        let kept = relative(Path::new(kept), folder);
        detail.artifacts = Some((format!("{}/", kept.display()), link(&kept)));
        let files = case.attachments().iter();
        detail.attachments = files.map(|file| (file.clone(), link(&kept.join(file)))).collect();
    }
    detail
}

/// A path as a link: what has a meaning in links is escaped, and a first part with a colon is no scheme.
fn link(path: &Path) -> String {
    let text = path.to_string_lossy();
    let mut link = String::from(if path.is_absolute() { "file://" } else { "./" });
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            link.push(char::from(byte));
        } else {
            link.push_str(&format!("%{byte:02X}"));
        }
    }
    link
}

#[cfg(test)]
#[path = "html_tests.rs"]
mod tests;
