//! From what is registered to a plan, with everything that is wrong with the suite.

use std::collections::BTreeMap;
use std::fmt;

use super::Plan;
use super::names::ScenarioNames;
use super::variants::{UnknownGiven, unknown};
use crate::matrix::{Matrix, MatrixError};
use crate::near_miss::{Hint, near_miss};
use crate::param::Environment;
use crate::registry::Scenario;
use crate::require::Require;
use crate::selection::{Selection, case_filter};

/// A suite that cannot run: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError {
    /// Never empty.
    pub problems: Vec<PlanProblem>,
}

/// One thing that is wrong with a suite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanProblem {
    /// No scenario is registered.
    #[error(
        "no scenario is registered: a crate of scenarios that nothing names is not linked, so name it in the \
         test target (`use scenarios as _;`), and see that each scenario has `#[robust_test]` and the target \
         `harness = false`"
    )]
    NothingRegistered,
    /// Two scenarios have the same name in the same module.
    #[error("{second}: scenario `{name}` has the name of the one at {first}: rename one")]
    DuplicateName {
        /// The name with the module.
        name: String,
        /// File and line.
        first: String,
        /// File and line.
        second: String,
    },
    /// A matrix cannot be expanded.
    #[error("{0}")]
    Matrix(MatrixError),
    /// A `--variant` asks for what no kind has.
    #[error("{0}")]
    Given(UnknownGiven),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanError {}

/// Expands the scenarios that the selection may choose from and chooses. With `--exact`, a scenario that no
/// filter names is not expanded and its parameters are not asked for anything.
///
/// # Errors
/// Everything that is wrong with the suite: nothing is registered, two scenarios of one name, declarations
/// that cannot be expanded. Nothing may run then (exit code 2).
pub fn prepare(
    scenarios: &[&'static Scenario],
    suite_crate: &str,
    environment: &Environment,
    selection: &Selection,
    require: &Require,
) -> Result<Plan, PlanError> {
    let mut problems = Vec::new();
    if scenarios.is_empty() {
        problems.push(PlanProblem::NothingRegistered);
    }
    let mut names = ScenarioNames::with_room_for(scenarios.len());
    let mut matrices = Vec::with_capacity(scenarios.len());
    let mut not_expanded = 0;
    for scenario in scenarios.iter().copied() {
        let name = scenario.full_name(suite_crate);
        if let Some(first) = names.add(&name, scenario) {
            problems.push(PlanProblem::DuplicateName {
                name,
                first: format!("{}:{}", first.file, first.line),
                second: format!("{}:{}", scenario.file, scenario.line),
            });
            continue;
        }
        if !selection.may_choose(&name) {
            not_expanded += 1;
            continue;
        }
        match Matrix::expand_named(name, scenario, environment) {
            Ok(matrix) => matrices.push(matrix),
            Err(error) => problems.push(PlanProblem::Matrix(error)),
        }
    }
    let unknown = unknown(scenarios, environment);
    problems.extend(unknown.into_iter().map(PlanProblem::Given));
    if !problems.is_empty() {
        return Err(PlanError { problems });
    }
    let mut plan = Plan::new(matrices, selection, require);
    plan.filtered_out += not_expanded;
    warn(&mut plan, selection, &names);
    Ok(plan)
}

fn warn(plan: &mut Plan, selection: &Selection, names: &ScenarioNames) {
    if selection.tags.is_empty() && selection.skip_tags.is_empty() && !selection.exact {
        return;
    }
    let scenarios = names.sorted();
    let all_tags = || scenarios.values().flat_map(|scenario| scenario.options.tags);
    for (option, tags) in [("--tag", &selection.tags), ("--skip-tag", &selection.skip_tags)] {
        for tag in tags {
            if !all_tags().any(|known| known == tag) {
                let hint = Hint::new(tag, all_tags().copied());
                plan.warnings
                    .push(format!("no scenario has the tag `{tag}` ({option}){hint}"));
            }
        }
    }
    for filter in selection.filters.iter().filter(|_| selection.exact) {
        if let Some(warning) = not_found(&case_filter(filter), &plan.matrices, &scenarios) {
            plan.warnings.push(warning);
            plan.not_found = true;
        }
    }
}

/// What to say about an exact filter that names nothing.
fn not_found(
    filter: &str,
    matrices: &[Matrix],
    scenarios: &BTreeMap<&str, &'static Scenario>,
) -> Option<String> {
    let base = &filter[..filter.find('[').unwrap_or(filter.len())];
    if scenarios.contains_key(filter) {
        return None;
    }
    let Some(matrix) = matrices.iter().find(|matrix| matrix.name == base) else {
        let same_ending = || {
            let mut names = scenarios.keys().copied();
            names.find(|name| name.rsplit("::").next() == base.rsplit("::").next())
        };
        let near = near_miss(base, scenarios.keys().copied()).or_else(same_ending);
        let near = near.map(|near| format!("; did you mean `{near}`?"));
        let near = near.unwrap_or_else(|| "; `--list` tells all names".to_owned());
        return Some(format!("no scenario is called `{base}`{near}"));
    };
    if matrix.find(filter).is_some() {
        return None;
    }
    if let Some(empty) = matrix.empty() {
        return Some(format!("scenario `{base}` has no cases: {}", empty.reason));
    }
    if matrix.axes.is_empty() {
        return Some(format!(
            "no case is called `{filter}`: scenario `{base}` has no parameters to vary, its case is `{base}`"
        ));
    }
    let choices = |labels: Vec<&str>| {
        let more = if labels.len() > 20 { "|.." } else { "" };
        format!("{}{more}", labels[..labels.len().min(20)].join("|"))
    };
    let axes = matrix.axes.iter().enumerate().flat_map(|(index, axis)| {
        let labels = axis.values.iter().map(|value| &*value.label).collect();
        let variants = matrix.expanded_axes(index).into_iter();
        let axis = format!("{}={}", axis.name, choices(labels));
        std::iter::once(axis).chain(variants.map(|(name, values)| format!("{name}={}", choices(values))))
    });
    let axes: Vec<String> = axes.collect();
    Some(format!(
        "no case is called `{filter}`; those of the scenario are `{base}[{}]`",
        axes.join(",")
    ))
}
