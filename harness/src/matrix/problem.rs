//! What can be wrong with a scenario's declaration that only shows when its matrix is expanded.

use std::fmt;

use crate::near_miss::Hint;

/// A scenario whose matrix cannot be expanded: everything that is wrong with it, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixError {
    /// The scenario's name with its module.
    pub scenario: String,
    /// The source file.
    pub file: &'static str,
    /// The line of the attribute.
    pub line: u32,
    /// Never empty.
    pub problems: Vec<MatrixProblem>,
}

impl fmt::Display for MatrixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            let Self {
                scenario, file, line, ..
            } = self;
            write!(f, "{line_end}{file}:{line}: scenario `{scenario}`: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for MatrixError {}

/// One thing that is wrong with a scenario's declaration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatrixProblem {
    /// `#[only]`, `#[except]`, `exclude` or `known_failure` names a label that the axis does not have.
    #[error("{by} names `{label}`, which parameter `{param}` does not have{hint}")]
    UnknownLabel {
        /// The attribute or option.
        by: &'static str,
        /// The parameter.
        param: &'static str,
        /// The unknown label.
        label: &'static str,
        /// The near miss and the known labels.
        hint: Hint,
    },
    /// `#[only]` or `#[except]` on a parameter without an axis.
    #[error("{by} on parameter `{param}`, which has no kinds or values to choose among")]
    NothingToNarrow {
        /// The attribute.
        by: &'static str,
        /// The parameter.
        param: &'static str,
    },
    /// Two kinds of one name, or a value given twice.
    #[error(
        "parameter `{param}` has two values called `{label}`; rename one of the kinds (`name = \"..\"`) or values (`#[values(name = ..)]`)"
    )]
    DuplicateLabel {
        /// The parameter.
        param: &'static str,
        /// The label they share.
        label: String,
    },
    /// A label that would make a case's name ambiguous or unprintable.
    #[error(
        "the label {label:?} of parameter `{param}` {why}; give it another name (`#[values(name = ..)]`)"
    )]
    UnusableLabel {
        /// The parameter.
        param: &'static str,
        /// The label.
        label: String,
        /// What is wrong with it.
        why: String,
    },
    /// What a parameter's type says of the attributes on it.
    #[error("parameter `{param}`: {why}")]
    Attributes {
        /// The parameter.
        param: &'static str,
        /// What is wrong with them.
        why: String,
    },
    /// The product of the axes is larger than a run can hold.
    #[error("its matrix has more than {max} cells; narrow the axes with `#[only(..)]` or split the scenario")]
    TooManyCells {
        /// [`super::CELLS_MAX`].
        max: u64,
    },
    /// No parameter gives what another one needs.
    #[error("parameter `{param}` connects to {what}, and no parameter is one: add it before `{param}`")]
    NothingToConnectTo {
        /// The parameter.
        param: &'static str,
        /// What it needs.
        what: &'static str,
    },
    /// Several parameters give what another one needs.
    #[error("parameter `{param}` connects to {what}, and {} are that: add `#[on(..)]` to say which", list(.candidates))]
    Ambiguous {
        /// The parameter.
        param: &'static str,
        /// What it needs.
        what: &'static str,
        /// The parameters that give it.
        candidates: Vec<&'static str>,
    },
    /// The parameter to connect to is built later.
    #[error(
        "parameter `{param}` connects to `{source_param}`, which comes after it: move `{source_param}` before `{param}`"
    )]
    ComesLater {
        /// The parameter.
        param: &'static str,
        /// The one it connects to.
        source_param: &'static str,
    },
    /// `#[on]` names no parameter that anything could connect to.
    #[error("`#[on({on})]` of parameter `{param}` names no parameter to connect to{hint}")]
    UnknownSource {
        /// The parameter.
        param: &'static str,
        /// What `#[on]` names.
        on: &'static str,
        /// The near miss and the parameters one can connect to.
        hint: Hint,
    },
    /// `#[on]` names a parameter of another type.
    #[error("`#[on({on})]`: parameter `{param}` connects to {what}, and `{on}` is {given}")]
    WrongSource {
        /// The parameter.
        param: &'static str,
        /// What `#[on]` names.
        on: &'static str,
        /// What it needs.
        what: &'static str,
        /// What the named one is.
        given: &'static str,
    },
    /// `#[on]` on a parameter that needs nothing.
    #[error("`#[on({on})]` on parameter `{param}`, which connects to nothing")]
    ConnectsToNothing {
        /// The parameter.
        param: &'static str,
        /// What `#[on]` names.
        on: &'static str,
    },
    /// An option names a parameter that is not there.
    #[error("`{option}` names parameter `{param}`, which the scenario does not have{hint}")]
    UnknownParam {
        /// The option.
        option: &'static str,
        /// The unknown parameter.
        param: &'static str,
        /// The near miss and the parameters with an axis.
        hint: Hint,
    },
    /// An option names a parameter that has no axis.
    #[error("`{option}` names parameter `{param}`, which has no kinds or values")]
    NoAxis {
        /// The option.
        option: &'static str,
        /// The parameter.
        param: &'static str,
    },
    /// An option names an axis of variants that no kind has.
    #[error("{by} names `{axis}`, an axis that no kind of {of} has{hint}")]
    UnknownVariant {
        /// The option.
        by: &'static str,
        /// The parameter, or `the scenario`.
        of: String,
        /// The unknown axis.
        axis: &'static str,
        /// The near miss and the known axes.
        hint: Hint,
    },
    /// An option names a value of an axis of variants that no kind has.
    #[error("{by} names `{axis} = \"{value}\"`, a value that no kind of {of} has{hint}")]
    UnknownVariantValue {
        /// The option.
        by: &'static str,
        /// The parameter, or `the scenario`.
        of: Box<str>,
        /// The axis.
        axis: &'static str,
        /// The unknown value.
        value: &'static str,
        /// The near miss and the known values.
        hint: Hint,
    },
    /// Nothing is left of an axis of variants.
    #[error("`forbid` leaves `{axis}` of kind `{kind}` of parameter `{param}` none of its values: {values}")]
    EveryVariantForbidden {
        /// The parameter.
        param: &'static str,
        /// The kind.
        kind: String,
        /// The axis.
        axis: String,
        /// The values there are.
        values: String,
    },
    /// What is pinned is forbidden.
    #[error(
        "`pin` asks for `{axis} = \"{value}\"` of parameter `{param}`, which `forbid` forbids ({because})"
    )]
    PinForbidden {
        /// The parameter.
        param: &'static str,
        /// The axis.
        axis: String,
        /// The value.
        value: String,
        /// The reason of the `forbid`.
        because: &'static str,
    },
    /// An axis of variants that would make a case's name ambiguous, or says nothing.
    #[error("axis {axis:?} of kind `{kind}` of parameter `{param}` {why}")]
    UnusableVariant {
        /// The parameter.
        param: &'static str,
        /// The kind.
        kind: String,
        /// The axis.
        axis: String,
        /// What is wrong with it.
        why: String,
    },
    /// `requires` names a capability that nothing provides.
    #[error("`requires({param} = \"{capability}\")`: no kind of parameter `{param}` provides that{hint}")]
    UnknownCapability {
        /// The parameter.
        param: &'static str,
        /// The capability.
        capability: &'static str,
        /// The near miss and the known capabilities.
        hint: Hint,
    },
}

fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
