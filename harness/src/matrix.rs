//! The cells of one scenario: the product of its parameters' axes, numbered and named.
//!
//! A cell is a number in mixed radix (the last axis fastest); its name, choices and skip reason are computed
//! from it when asked for, so a matrix of a million cells costs as much memory as one of ten. Nothing here
//! knows what an axis stands for, nor which cells a run selects.

mod expand;
mod problem;
#[cfg(test)]
pub(crate) mod test_support;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

pub use crate::near_miss::Hint;
use crate::registry::{Rule, Scenario};
pub use problem::{MatrixError, MatrixProblem};

/// The most cells a matrix may have: a run holds 16 bytes for each.
pub const CELLS_MAX: u64 = 100_000_000;

/// A scenario and the product of its axes. Made by [`Matrix::expand`].
pub struct Matrix {
    /// The scenario.
    pub scenario: &'static Scenario,
    /// Its name with the module, without cell: `module::scenario`.
    pub name: String,
    /// The axes, in parameter order.
    pub axes: Vec<MatrixAxis>,
    /// One a parameter: the parameter it connects to, as an index into the scenario's sites.
    pub links: Vec<Option<usize>>,
    cells: u64,
    /// One an axis: how many cells share each run of its value.
    strides: Vec<u64>,
    exclude: Vec<CellRule>,
    known_failure: Vec<CellRule>,
    /// One a requirement: the axis, and for each of its values why it does not meet it.
    requires: Vec<(usize, Vec<Option<Arc<str>>>)>,
    /// One an axis, one a value.
    unavailable: Vec<Vec<Option<Arc<str>>>>,
    empty_because: Option<Arc<str>>,
}

/// An axis after `#[only]` and `#[except]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixAxis {
    /// The parameter's name.
    pub name: &'static str,
    /// The parameter, as an index into the scenario's sites.
    pub site: usize,
    /// The values that stayed, in the order of the un-narrowed axis.
    pub values: Vec<MatrixValue>,
    /// Why there are no values; `None` where there are.
    pub empty_because: Option<String>,
}

/// A value of an axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixValue {
    /// The index into [`crate::param::Axis::values`], which `#[only]` and `#[except]` do not change.
    pub index: usize,
    /// As in a case's name.
    pub label: Cow<'static, str>,
    /// Capabilities.
    pub provides: &'static [&'static str],
    /// Why cases with this value cannot run here.
    pub unavailable: Option<String>,
}

/// A [`Rule`] with its parameters and labels found: axis and position on it.
struct CellRule {
    rule: &'static Rule,
    reason: Arc<str>,
    when: Vec<(usize, usize)>,
}

/// Why a cell does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// The class.
    pub kind: SkipKind,
    /// In words. Shared between the cells that have the same.
    pub reason: Arc<str>,
}

/// The classes of skips that are known before anything starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SkipKind {
    /// `ignore`, and the run includes no ignored ones.
    Ignored,
    /// `exclude(..)`.
    Excluded,
    /// A kind lacks what `requires(..)` asks for.
    Requires,
    /// A kind cannot be started here, for example because its program is not installed.
    Unavailable,
    /// An axis has no values, so there is no cell at all.
    Empty,
    /// It does not fit in the time that `--budget` gives.
    Budget,
}

impl SkipKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::Excluded => "excluded",
            Self::Requires => "requires",
            Self::Unavailable => "unavailable",
            Self::Empty => "empty",
            Self::Budget => "budget",
        }
    }
}

impl Matrix {
    /// How many cells there are: the product of the axes' lengths, 1 without axes, 0 with an empty one.
    pub fn cells(&self) -> u64 {
        self.cells
    }

    /// Why there are no cells; `None` where there are.
    pub fn empty(&self) -> Option<Skip> {
        self.empty_because.as_ref().map(|reason| Skip {
            kind: SkipKind::Empty,
            reason: Arc::clone(reason),
        })
    }

    /// The position of `cell` on `axis`.
    fn position(&self, cell: u64, axis: usize) -> usize {
        debug_assert!(cell < self.cells, "cell {cell} of {}", self.cells);
        // Less than the number of values, which is a usize.
        (cell / self.strides[axis]) as usize % self.axes[axis].values.len()
    }

    fn value(&self, cell: u64, axis: usize) -> &MatrixValue {
        &self.axes[axis].values[self.position(cell, axis)]
    }

    /// The full name: `module::scenario[axis=label,..]`, or the scenario's where there is no axis.
    pub fn case_name(&self, cell: u64) -> String {
        let mut name = String::new();
        self.write_case_name(cell, &mut name);
        name
    }

    /// Appends the [`Matrix::case_name`] of `cell` to `name`.
    pub fn write_case_name(&self, cell: u64, name: &mut String) {
        name.push_str(&self.name);
        if self.axes.is_empty() {
            return;
        }
        for (index, axis) in self.axes.iter().enumerate() {
            let before = if index == 0 { '[' } else { ',' };
            // Writing to a String cannot fail.
            let _ = write!(name, "{before}{}={}", axis.name, self.value(cell, index).label);
        }
        name.push(']');
    }

    /// The cell called `case_name`: the inverse of [`Matrix::case_name`], without going through the cells.
    pub fn find(&self, case_name: &str) -> Option<u64> {
        let mut rest = case_name.strip_prefix(self.name.as_str())?;
        if self.cells == 0 {
            return None;
        }
        if self.axes.is_empty() {
            return rest.is_empty().then_some(0);
        }
        rest = rest.strip_prefix('[')?.strip_suffix(']')?;
        let mut cell = 0;
        for (index, axis) in self.axes.iter().enumerate() {
            rest = rest.strip_prefix(axis.name)?.strip_prefix('=')?;
            let label;
            // No label holds the separator that follows it (`expand` sees to that), so the first one ends it.
            (label, rest) = match self.axes.get(index + 1) {
                Some(next) => {
                    let end = separator(rest, next.name)?;
                    (&rest[..end], &rest[end + 1..])
                }
                None => (rest, ""),
            };
            let position = axis.values.iter().position(|value| value.label == label)?;
            cell += position as u64 * self.strides[index];
        }
        Some(cell)
    }

    /// One a parameter: the index into its un-narrowed axis, 0 for those without.
    pub fn choices(&self, cell: u64) -> Vec<usize> {
        let mut choices = vec![0; self.scenario.sites.len()];
        for (index, axis) in self.axes.iter().enumerate() {
            choices[axis.site] = self.value(cell, index).index;
        }
        choices
    }

    /// Axis and label, in parameter order.
    pub fn labels(&self, cell: u64) -> Vec<(&str, &str)> {
        let labels = self.axes.iter().enumerate();
        labels
            .map(|(index, axis)| (axis.name, &*self.value(cell, index).label))
            .collect()
    }

    /// Why `cell` does not run here: excluded, a requirement not met, or a kind that is not available, the
    /// first of them that holds in this order. `ignore` is not among them, because runs can include those.
    pub fn skip_reason(&self, cell: u64) -> Option<Skip> {
        let excluded = || Some((SkipKind::Excluded, &self.matching(&self.exclude, cell)?.reason));
        let requires = || {
            let mut unmet = self.requires.iter();
            let reason = unmet.find_map(|(axis, reasons)| reasons[self.position(cell, *axis)].as_ref());
            Some((SkipKind::Requires, reason?))
        };
        let unavailable = || {
            let (_, reason) = self.unavailable_values(cell).next()?;
            Some((SkipKind::Unavailable, reason))
        };
        let (kind, reason) = excluded().or_else(requires).or_else(unavailable)?;
        Some(Skip {
            kind,
            reason: Arc::clone(reason),
        })
    }

    /// The values of `cell` that are not available, and why.
    pub(crate) fn unavailable_values(&self, cell: u64) -> impl Iterator<Item = (&MatrixValue, &Arc<str>)> {
        self.unavailable
            .iter()
            .enumerate()
            .filter_map(move |(axis, reasons)| {
                let position = self.position(cell, axis);
                let reason = reasons[position].as_ref()?;
                Some((&self.axes[axis].values[position], reason))
            })
    }

    /// The first `known_failure` rule that holds for `cell`.
    pub fn known_failure(&self, cell: u64) -> Option<&'static Rule> {
        self.matching(&self.known_failure, cell).map(|found| found.rule)
    }

    fn matching<'a>(&self, rules: &'a [CellRule], cell: u64) -> Option<&'a CellRule> {
        rules.iter().find(|rule| {
            let mut when = rule.when.iter();
            when.all(|(axis, position)| self.position(cell, *axis) == *position)
        })
    }
}

/// Where `,name=` first occurs.
fn separator(text: &str, name: &str) -> Option<usize> {
    text.match_indices(',').map(|(at, _)| at).find(|at| {
        text[at + 1..]
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('='))
    })
}
