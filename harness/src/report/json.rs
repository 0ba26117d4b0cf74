//! libtest's `--format json`: an object a line, spaces included.
//!
//! What libtest has no word for is in one more field, `robust`.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::event::CaseFinished;
use crate::outcome::Outcome;
use crate::report::console::{Format, Style, Summary, explanation, reason, write};

/// See the module.
#[derive(Debug)]
pub struct Json {
    style: Style,
    running: HashSet<String>,
}

impl Json {
    /// The format.
    pub fn new(style: Style) -> Self {
        Self {
            style,
            running: HashSet::new(),
        }
    }
}

/// A string or an object as JSON.
fn encode(value: impl Into<Value>) -> String {
    value.into().to_string()
}

impl Format for Json {
    fn run_started(&mut self, out: &mut String, total: u64) {
        write(
            out,
            format_args!(r#"{{ "type": "suite", "event": "started", "test_count": {total}"#),
        );
        if let Some(seed) = self.style.shuffle_seed {
            write(out, format_args!(r#", "shuffle_seed": {seed}"#));
        }
        out.push_str(" }\n");
    }

    fn case_started(&mut self, out: &mut String, case: &str) {
        self.running.insert(case.to_owned());
        let name = encode(case);
        write(
            out,
            format_args!("{{ \"type\": \"test\", \"event\": \"started\", \"name\": {name} }}\n"),
        );
    }

    fn case_slow(&mut self, out: &mut String, case: &str, _seconds: u64) {
        let name = encode(case);
        write(
            out,
            format_args!("{{ \"type\": \"test\", \"event\": \"timeout\", \"name\": {name} }}\n"),
        );
    }

    fn case_finished(&mut self, out: &mut String, case: &CaseFinished) {
        // libtest starts also what it ignores.
        if !self.running.remove(&case.case) {
            self.case_started(out, &case.case);
            self.running.remove(&case.case);
        }
        let (event, stdout) = match &case.outcome {
            Outcome::Passed if self.style.show_output => ("ok", case.output.clone()),
            Outcome::Passed => ("ok", String::new()),
            Outcome::Skipped { .. } | Outcome::KnownFailure { .. } => ("ignored", String::new()),
            Outcome::Failed(_) | Outcome::Errored(_) | Outcome::Unknown { .. } => {
                ("failed", explanation(case))
            }
        };
        let name = encode(&*case.case);
        write(
            out,
            format_args!(r#"{{ "type": "test", "name": {name}, "event": "{event}""#),
        );
        if self.style.report_time && event != "ignored" {
            write(
                out,
                format_args!(r#", "exec_time": {}"#, case.duration_us as f64 / 1e6),
            );
        }
        if !stdout.is_empty() {
            write(out, format_args!(r#", "stdout": {}"#, encode(stdout)));
        }
        if let Some(reason) = reason(&case.outcome).filter(|reason| !reason.is_empty()) {
            write(out, format_args!(r#", "message": {}"#, encode(reason)));
        }
        if case.outcome != Outcome::Passed || case.is_flaky() || !case.sub_cases.is_empty() {
            let mut more = json!({
                "status": if case.is_flaky() { "flaky" } else { case.outcome.name() },
                "class": case.outcome.problem().map(|problem| problem.class.name()),
                "problem": case.outcome.problem().map(|problem| &problem.message),
                "attempts": case.earlier.len() + 1,
                // As text: not every reader has 64-bit integers.
                "seed": case.seed.to_string(),
                "root_seed": case.root_seed.to_string(),
                "artifacts": case.artifacts,
                "reproduce": case.reproduce,
            });
            if !case.sub_cases.is_empty() {
                more["sub_cases"] = json!(case.sub_cases);
            }
            write(out, format_args!(r#", "robust": {more}"#));
        }
        out.push_str(" }\n");
    }

    fn run_finished(&mut self, out: &mut String, summary: &Summary) {
        let totals = &summary.totals;
        let event = if totals.failed() == 0 { "ok" } else { "failed" };
        let more = json!({
            "flaky": totals.flaky,
            "errored": totals.errored,
            "unknown": totals.unknown,
            "known_failures": totals.known_failures,
            "no_verdict": totals.pending,
            "runs": totals.runs,
            "sub_cases": totals.sub_cases.all,
            "seeds": summary.seeds.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "concurrency_max": summary.concurrency_max,
            "interrupted": summary.interrupted,
        });
        write(
            out,
            format_args!(
                concat!(
                    r#"{{ "type": "suite", "event": "{}", "passed": {}, "failed": {}, "ignored": {}, "#,
                    r#""measured": 0, "filtered_out": {}, "exec_time": {}, "robust": {} }}"#,
                    "\n"
                ),
                event,
                totals.passed,
                totals.failed(),
                totals.ignored(),
                summary.filtered_out,
                summary.duration_us as f64 / 1e6,
                more
            ),
        );
    }
}
