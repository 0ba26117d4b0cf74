//! What the page tells of a case beyond its row.

use std::path::Path;

use serde::Serialize;

use super::STATUSES;
use crate::event::SubCase;
use crate::outcome::{Outcome, Problem};
use crate::report::case::Case;
use crate::report::file::relative;
use crate::report::totals::Status;

#[derive(Default, Serialize)]
pub(super) struct Detail {
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
    variants: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reproduce: String,
    /// Text and link.
    #[serde(skip_serializing_if = "Option::is_none")]
    artifacts: Option<(String, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<(String, String)>,
    #[serde(rename = "parts", skip_serializing_if = "Vec::is_empty")]
    sub_cases: Vec<Part>,
}

/// A sub-case.
#[derive(Serialize)]
struct Part {
    name: String,
    /// As in [`STATUSES`].
    status: usize,
    us: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
}

#[derive(Serialize)]
struct Earlier {
    class: &'static str,
    text: String,
    output: String,
}

/// `with_output`: whether there is room for what it wrote. Links are relative to the folder.
pub(super) fn detail(case: &Case<'_>, folder: &Path, axes_in_name: bool, with_output: bool) -> Detail {
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
        output: if with_output {
            case.output().into()
        } else {
            String::new()
        },
        bytes: (case.output_bytes() > case.output().len() as u64).then(|| case.output_bytes()),
        seed: case.seed().to_string(),
        root: case.root_seed().to_string(),
        runs: (case.runs() > 1).then(|| case.runs()),
        axes: axes
            .iter()
            .map(|(axis, label)| format!("{axis}={label}"))
            .collect::<Vec<_>>()
            .join(", "),
        variants: case.variants_line(),
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
            detail.details = told(problem);
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
    detail.sub_cases = case.sub_cases().iter().map(part).collect();
    if let Some(kept) = case.artifacts() {
        let kept = relative(Path::new(kept), folder);
        detail.artifacts = Some((format!("{}/", kept.display()), link(&kept)));
        let files = case.attachments().iter();
        detail.attachments = files.map(|file| (file.clone(), link(&kept.join(file)))).collect();
    }
    detail
}

fn part(sub_case: &SubCase) -> Part {
    let (status, text) = match &sub_case.outcome {
        Outcome::Passed => (Status::Passed, String::new()),
        Outcome::Failed(problem) => (Status::Failed, told(problem)),
        Outcome::Errored(problem) => (Status::Errored, told(problem)),
        Outcome::Skipped { reason } => (Status::Skipped, reason.clone()),
        Outcome::Unknown { reason } => (Status::Unknown, reason.clone()),
        Outcome::KnownFailure { because, problem } => {
            (Status::KnownFailure, format!("{because}\n{}", told(problem)))
        }
    };
    Part {
        name: sub_case.name.clone(),
        status: STATUSES.iter().position(|&known| known == status).unwrap_or(0),
        us: sub_case.duration_us,
        text,
    }
}

fn told(problem: &Problem) -> String {
    format!("{}: {problem}", problem.class.name())
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
