//! What is told of a suite as a whole: counts, and properties of its runs.

use super::seconds;
use super::text::clean;
use crate::report::suite::Suite;
use crate::report::totals::Totals;

/// Of testcases, which sub-cases are too.
fn counts(totals: &Totals, duration_us: u64) -> Vec<(&'static str, String)> {
    let sub_cases = &totals.sub_cases;
    vec![
        ("tests", (totals.cases() + sub_cases.all).to_string()),
        ("failures", (totals.broken + sub_cases.broken).to_string()),
        ("errors", (totals.all_errors() + sub_cases.errored).to_string()),
        ("time", seconds(duration_us)),
    ]
}

pub(super) fn suites_attributes(suites: &[Suite]) -> Vec<(&'static str, String)> {
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

pub(super) fn suite_attributes(suite: &Suite) -> Vec<(&'static str, String)> {
    let totals = suite.cases.totals();
    let mut attributes = counts(totals, suite.duration_us());
    let skipped = totals.ignored() + totals.sub_cases.skipped;
    attributes.push(("skipped", skipped.to_string()));
    attributes
}

/// What is to be known of the suite's runs.
pub(super) fn properties(suite: &Suite) -> Vec<(&'static str, String)> {
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
        ("sub_cases", totals.sub_cases.all),
    ] {
        if count > 0 {
            properties.push((name, count.to_string()));
        }
    }
    properties
}

/// A command line as a shell would take it.
pub(in crate::report) fn arguments(arguments: &[String]) -> String {
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
