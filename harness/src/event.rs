//! The events of a run: one JSON object a line, appended and flushed as they happen.
//!
//! Every report is a function of these lines, so a run that was killed loses nothing that had a verdict,
//! and shards are merged by reading several files.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::outcome::{Outcome, Problem};
use crate::seed::Seed;
use crate::variant::{Assigned, Forbidden};

/// The version of the format; readers refuse a newer one.
pub const FORMAT: u32 = 1;

/// One line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first line of a run.
    RunStarted(RunStarted),
    /// A case has its verdict (also skipped ones, also each iteration of `--repeat`).
    CaseFinished(Box<CaseFinished>),
    /// The last line of a run that ended by itself.
    RunFinished(RunFinished),
}

/// What was going to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of the harness.
    pub harness: String,
    /// The package the suite belongs to.
    pub package: String,
    /// The suite: the test target's name.
    pub suite: String,
    /// The root seed.
    pub seed: Seed,
    /// Milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
    /// The machine.
    pub hostname: String,
    /// The command line after the program's name.
    pub arguments: Vec<String>,
    /// Cases that filters, tags or the shard left out.
    pub filtered_out: u64,
    /// Names of what is going to run, in plan order, as compactly as they can be told.
    pub planned: Vec<Planned>,
}

/// The planned cases of one scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// The scenario's name with its module, without cell: `module::scenario`.
    pub scenario: String,
    /// The module path, with the crate.
    pub module: String,
    /// The source file, relative to the workspace.
    pub file: String,
    /// The line of the attribute.
    pub line: u32,
    /// The axes in parameter order: name and labels.
    pub axes: Vec<(String, Vec<String>)>,
    /// The chosen cells as half-open ranges of cell numbers (mixed radix, the last axis fastest).
    pub cells: Vec<(u64, u64)>,
}

/// The verdict of one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseFinished {
    /// The full name: `module::scenario[axis=label,..]`, unique in a suite.
    pub case: String,
    /// The module path, with the crate: JUnit's class name.
    pub module: Cow<'static, str>,
    /// The source file, relative to the workspace.
    pub file: Cow<'static, str>,
    /// The line of the attribute.
    pub line: u32,
    /// 0, or which repetition of the run (`--repeat`, `--for`) this was.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub iteration: u32,
    /// The verdict.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The case's seed.
    pub seed: Seed,
    /// The root seed that gives this case its seed again, with `--exact` and the case's name.
    pub root_seed: Seed,
    /// Axis and label, in parameter order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub axes: Vec<(Cow<'static, str>, String)>,
    /// The variants of its parameters, in the order of parameters, axes and nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<Assigned>,
    /// The variants that its scenario forbids, in the same order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forbidden: Vec<Forbidden>,
    /// Labels of the scenario for choosing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Cow<'static, str>>,
    /// Milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
    /// From the first attempt's start to the last one's verdict, in microseconds.
    pub duration_us: u64,
    /// The problems of attempts before the last, oldest first: with a passing verdict the case is flaky.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Attempt>,
    /// What the case, its libraries and its servers wrote to stdout and stderr in the last attempt: the
    /// first and the last part of it where it is long. What is not UTF-8 is shown as `#xFF`; the log file has every byte.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// How many bytes the output had.
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    pub output_bytes: u64,
    /// The folder of what was kept, where anything was: absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<String>,
    /// Files in that folder worth attaching, relative to it, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<String>,
    /// The command that runs this case again; empty for cases that did not run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reproduce: String,
    /// The parts of the last attempt that have a verdict of their own, in the order they began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sub_cases: Vec<SubCase>,
}

/// A part of a case with a verdict of its own, such as one client of many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubCase {
    /// Unique in its case.
    pub name: String,
    /// The verdict.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// In microseconds.
    pub duration_us: u64,
}

/// An attempt that did not pass and was retried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// What went wrong.
    pub problem: Problem,
    /// In microseconds.
    pub duration_us: u64,
    /// As [`CaseFinished::output`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
}

/// How the run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFinished {
    /// In microseconds.
    pub duration_us: u64,
    /// The most cases that ran at the same time.
    pub concurrency_max: u32,
    /// The signal that ended the run, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<String>,
    /// Whether the run's verdicts are in the file `history` beside this one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub history_entered: bool,
}

impl CaseFinished {
    /// The name without its module: `scenario[axis=label,..]`.
    pub fn short_name(&self) -> &str {
        short_name(&self.case)
    }

    /// Whether it passed, but not at once.
    pub fn is_flaky(&self) -> bool {
        self.outcome == Outcome::Passed && !self.earlier.is_empty()
    }
}

/// A case name without its module: `scenario[axis=label,..]`.
pub fn short_name(case: &str) -> &str {
    let scenario = case.find('[').map_or(case, |bracket| &case[..bracket]);
    let mut end = scenario.len();
    // One character after the other: to look for two takes several times as long where nothing is optimised.
    while let Some(at) = scenario[..end].rfind(':') {
        if scenario[..at].ends_with(':') {
            return &case[at + 1..];
        }
        end = at;
    }
    case
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn is_zero_u64(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::short_name;

    #[test]
    fn a_short_name_has_no_module_and_all_of_its_cell() {
        for (name, short) in [
            ("a", "a"),
            ("m::a", "a"),
            ("m::n::a[x=b::c,y=:]", "a[x=b::c,y=:]"),
            ("m::a:b", "a:b"),
            ("a:b", "a:b"),
            ("m:::a", "a"),
            ("m::", ""),
            ("", ""),
            ("[::]", "[::]"),
        ] {
            assert_eq!(short_name(name), short);
        }
    }
}
