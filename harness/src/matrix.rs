//! The cells of one scenario: the product of its parameters' axes, numbered and named.
//!
//! A cell is a number in mixed radix (the last axis fastest); its name, choices and skip reason are computed
//! from it when asked for, so a matrix of a million cells costs as much memory as one of ten. Nothing here
//! knows what an axis stands for, nor which cells a run selects.

mod expand;
mod pairwise;
#[cfg(test)]
mod pairwise_tests;
mod problem;
#[cfg(test)]
pub(crate) mod test_support;
#[cfg(test)]
mod tests;
mod variants;
#[cfg(test)]
mod variants_tests;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

pub use crate::near_miss::Hint;
use crate::registry::{KnownFailure, Scenario};
use crate::seed::Seed;
use crate::variant::{Assignment, Mode};
pub use problem::{MatrixError, MatrixProblem};
use variants::MatrixVariants;

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
    known_failure: Vec<KnownOfCells>,
    /// One a requirement: the axis, and for each of its values why it does not meet it.
    requires: Vec<(usize, Vec<Option<Arc<str>>>)>,
    /// What kinds require of the one that they connect to, where it lacks that.
    unsuited: Vec<Unsuited>,
    /// One an axis, one a value.
    unavailable: Vec<Vec<Option<Arc<str>>>>,
    empty_because: Option<Arc<str>>,
    mode: Mode,
    /// `None`: no kind has any.
    variants: Option<Box<MatrixVariants>>,
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

/// A [`Rule`](crate::registry::Rule) with its parameters and labels found: axis and position on it.
struct CellRule {
    reason: Arc<str>,
    when: Vec<(usize, usize)>,
    variants: Vec<VariantIs>,
}

/// A [`KnownFailure`] with its parameters and labels found.
struct KnownOfCells {
    known: &'static KnownFailure,
    cells: CellRule,
}

/// Two kinds that cannot meet.
struct Unsuited {
    /// The one that connects, then the one that it connects to: axis and position on it.
    kinds: [(usize, usize); 2],
    reason: Arc<str>,
}

/// What a rule says of a variant.
struct VariantIs {
    /// The parameter's axis.
    axis: usize,
    variant: &'static str,
    value: &'static str,
}

impl CellRule {
    /// Whether what it says of variants holds.
    fn suits(&self, assignment: &Assignment) -> bool {
        let mut variants = self.variants.iter();
        variants.all(|is| assignment.has(is.axis, is.variant, is.value))
    }
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
    /// A kind lacks what `requires(..)` asks for, the scenario's or that of a kind that connects to it.
    Requires,
    /// A kind cannot have the variant that the command line or the scenario asks for.
    Variant,
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
            Self::Variant => "variant",
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

    /// How many different cells an axis makes: its values, each with every expansion of its variants.
    fn size(&self, axis: usize) -> u64 {
        let values = self.axes[axis].values.len() as u64;
        self.variants
            .as_ref()
            .map_or(values, |variants| variants.size(axis, values))
    }

    /// The position of `cell` on `axis`, and which expansion of that value's variants it is.
    fn place(&self, cell: u64, axis: usize) -> (usize, u64) {
        debug_assert!(cell < self.cells, "cell {cell} of {}", self.cells);
        let place = (cell / self.strides[axis]) % self.size(axis);
        match &self.variants {
            // Less than the number of values, which is a usize.
            None => (place as usize, 0),
            Some(variants) => variants.place(axis, place),
        }
    }

    fn position(&self, cell: u64, axis: usize) -> usize {
        self.place(cell, axis).0
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
            let (position, expansion) = self.place(cell, index);
            // Writing to a String cannot fail.
            let _ = write!(name, "{before}{}={}", axis.name, axis.values[position].label);
            if let Some(variants) = &self.variants {
                for (variant, value) in variants.expansion(index, position, expansion) {
                    let _ = write!(name, ",{variant}={value}");
                }
            }
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
            let place;
            (place, rest) = self.find_place(index, rest)?;
            cell += place * self.strides[index];
        }
        Some(cell)
    }

    /// The place on an axis that a text begins with, and what follows its separator. No label holds a separator that
    /// may follow it (`expand` sees to that), so at most one value fits.
    fn find_place<'t>(&self, axis: usize, text: &'t str) -> Option<(u64, &'t str)> {
        let next = self.axes.get(axis + 1);
        let mut values = self.axes[axis].values.iter().enumerate();
        values.find_map(|(position, value)| {
            let rest = text.strip_prefix(&*value.label)?;
            let (place, rest) = match &self.variants {
                None => (position as u64, rest),
                Some(variants) => variants.find(axis, position, rest)?,
            };
            match next {
                None => rest.is_empty().then_some((place, rest)),
                Some(next) => {
                    let rest = rest.strip_prefix(',')?;
                    let follows = rest.strip_prefix(next.name)?.starts_with('=');
                    follows.then_some((place, rest))
                }
            }
        })
    }

    /// One a parameter: the index into its un-narrowed axis, 0 for those without.
    pub fn choices(&self, cell: u64) -> Vec<usize> {
        let mut choices = vec![0; self.scenario.sites.len()];
        for (index, axis) in self.axes.iter().enumerate() {
            choices[axis.site] = self.value(cell, index).index;
        }
        choices
    }

    /// Axis and label, in parameter order, each with what is expanded of its variants.
    pub fn labels(&self, cell: u64) -> Vec<(&str, &str)> {
        let mut labels = Vec::with_capacity(self.axes.len());
        for (index, axis) in self.axes.iter().enumerate() {
            let (position, expansion) = self.place(cell, index);
            labels.push((axis.name, &*axis.values[position].label));
            if let Some(variants) = &self.variants {
                labels.extend(variants.expansion(index, position, expansion));
            }
        }
        labels
    }

    /// Whether values of variants are a part of names.
    pub(crate) fn is_expanded(&self) -> bool {
        self.variants
            .as_ref()
            .is_some_and(|variants| variants.is_expanded())
    }

    /// Which value of each axis, with which expansion of its variants, a cell has: one number an axis.
    pub(crate) fn places(&self, cell: u64) -> impl Iterator<Item = u64> {
        (0..self.axes.len()).map(move |axis| (cell / self.strides[axis]) % self.size(axis))
    }

    /// A place of an axis as it stands in names, after the axis and `=`.
    pub(crate) fn place_label(&self, axis: usize, place: u64) -> String {
        let (position, expansion) = match &self.variants {
            None => (place as usize, 0),
            Some(variants) => variants.place(axis, place),
        };
        let mut label = self.axes[axis].values[position].label.to_string();
        if let Some(variants) = &self.variants {
            for (variant, value) in variants.expansion(axis, position, expansion) {
                let _ = write!(label, ",{variant}={value}");
            }
        }
        label
    }

    /// The cells of a run that names none: `None` for all of them. Sorted.
    pub(crate) fn thinned(&self) -> Option<Vec<u64>> {
        (self.mode == Mode::Pairwise && self.cells > 1).then(|| self.pairwise())
    }

    /// `--variants`.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The variants of `cell` with its seed.
    pub fn assignment(&self, cell: u64, seed: Seed) -> Assignment {
        match &self.variants {
            None => Assignment::default(),
            Some(_) => self.assigned(cell, seed).unwrap_or_else(|excluded| excluded),
        }
    }

    /// Why `cell` does not run here: excluded, a requirement not met, a variant that a kind cannot have, or a kind
    /// that is not available, the first of them that holds in this order. `ignore` is not among them, because
    /// runs can include those.
    pub fn skip_reason(&self, cell: u64) -> Option<Skip> {
        let excluded = || {
            let mut plain = self.exclude.iter().filter(|rule| rule.variants.is_empty());
            Some((
                SkipKind::Excluded,
                &plain.find(|rule| self.matches(rule, cell))?.reason,
            ))
        };
        let requires = || {
            let mut unmet = self.requires.iter();
            let reason = unmet.find_map(|(axis, reasons)| reasons[self.position(cell, *axis)].as_ref());
            Some((SkipKind::Requires, reason?))
        };
        let unsuited = || {
            let has = |&(axis, position): &(usize, usize)| self.position(cell, axis) == position;
            let mut unsuited = self.unsuited.iter();
            let met = unsuited.find(|unsuited| unsuited.kinds.iter().all(has));
            Some((SkipKind::Requires, &met?.reason))
        };
        let variant = || {
            let variants = self.variants.as_ref()?;
            let mut axes = 0..self.axes.len();
            let reason = axes.find_map(|axis| variants.skip(axis, self.position(cell, axis)));
            Some((SkipKind::Variant, reason?))
        };
        let excluded_variant = || Some((SkipKind::Excluded, &self.excluded_variant(cell)?.reason));
        let unavailable = || {
            let (_, reason) = self.unavailable_values(cell).next()?;
            Some((SkipKind::Unavailable, reason))
        };
        let (kind, reason) = excluded()
            .or_else(requires)
            .or_else(unsuited)
            .or_else(variant)
            .or_else(excluded_variant)
            .or_else(unavailable)?;
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

    /// The defects that `cell` is known to have with these variants, in the order of their declaration.
    pub fn known_failures(&self, cell: u64, assignment: &Assignment) -> Vec<&'static KnownFailure> {
        let known = self.known_failure.iter();
        let holding = known.filter(|known| self.matches(&known.cells, cell) && known.cells.suits(assignment));
        holding.map(|holding| holding.known).collect()
    }

    /// The defects that `cell` is known to have with some variants, in the order of their declaration, and of each
    /// whether it has it whatever is drawn.
    pub fn known_failures_of_some(&self, cell: u64) -> Vec<(&'static KnownFailure, bool)> {
        if self.known_failure.is_empty() {
            return Vec::new();
        }
        if self.mode != Mode::Random {
            // Nothing is drawn, so any seed will do.
            let known = self.known_failures(cell, &self.assignment(cell, Seed(0)));
            return known.into_iter().map(|known| (known, true)).collect();
        }
        let known = self.known_failure.iter();
        let holding = known.filter(|known| self.matches(&known.cells, cell));
        let suiting = holding.map(|holding| (holding.known, self.suits_all(&holding.cells, cell)));
        let possible = suiting.filter(|(_, suits_all)| *suits_all != Some(false));
        possible
            .map(|(known, suits_all)| (known, suits_all == Some(true)))
            .collect()
    }

    /// Whether what a rule says of kinds and values holds.
    fn matches(&self, rule: &CellRule, cell: u64) -> bool {
        let mut when = rule.when.iter();
        when.all(|(axis, position)| self.position(cell, *axis) == *position)
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
