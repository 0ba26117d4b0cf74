//! Variants: what a kind can be started or connected with, and which of it a case has.
//!
//! A kind declares axes ([`VariantAxis`]); scenarios never name them, they only narrow. For each case one value
//! of every axis is settled, highest first: what the command line gives, what the scenario pins, the default
//! (of axes that are fixed, and in the mode `default`), a draw. Each draw has a random stream of its own, so
//! that filters, order or one more axis change no other draw. In the expanding modes the values are a part of
//! the matrix instead, and of the case's name.
//!
//! ```
//! use robust_test_harness::variant::VariantAxis;
//! let persistence = VariantAxis::new("persistence", ["none", "aof"]);
//! assert_eq!(persistence.values[0], "none", "the default");
//! ```
//!
//! Nothing here knows what a value means, nor which cases a run selects.

mod draw;
mod given;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use draw::{Draws, satisfying};
pub(crate) use given::Scope;
pub use given::{Given, NotAVariant};

use crate::near_miss::Hint;
use crate::seed::Seed;

/// An axis as an attribute declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: &'static str,
    /// Its values, the default first.
    pub values: &'static [&'static str],
    /// Takes its default unless it is asked for.
    pub fixed: bool,
    /// Drawn anew for each node.
    pub per_node: bool,
}

/// An axis of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantAxis {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its values, the default first; never empty.
    pub values: Vec<Cow<'static, str>>,
    /// Takes its default unless the command line, a pin or an expanding mode asks for it.
    pub fixed: bool,
    /// Drawn anew for each node of a parameter that has several.
    pub per_node: bool,
    /// Says how many nodes there are: a part of every case's name, whatever `--variants` says.
    pub counts_nodes: bool,
    /// Of an axis that is drawn for each node: nodes can differ also where variants are expanded, so that each has an
    /// axis of its own then, `param-1.axis`.
    pub each_node: bool,
}

/// The axis of numbers of nodes.
pub const NODES: &str = "nodes";

impl VariantAxis {
    /// The axis that several numbers of nodes make (`#[nodes(1, 3)]`); one is no axis.
    pub fn of_nodes(numbers: &[usize]) -> Option<Self> {
        (numbers.len() > 1).then(|| Self {
            counts_nodes: true,
            ..Self::new(NODES, numbers.iter().map(usize::to_string))
        })
    }

    /// An axis that is drawn, once for a parameter.
    pub fn new<V: Into<Cow<'static, str>>>(
        name: impl Into<Cow<'static, str>>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        Self {
            name: name.into(),
            values: values.into_iter().map(Into::into).collect(),
            fixed: false,
            per_node: false,
            counts_nodes: false,
            each_node: false,
        }
    }
}

impl From<&Declared> for VariantAxis {
    fn from(declared: &Declared) -> Self {
        Self {
            fixed: declared.fixed,
            per_node: declared.per_node,
            ..Self::new(declared.name, declared.values.iter().copied())
        }
    }
}

/// `--variants`: what becomes of axes that nobody says anything about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One draw a case.
    #[default]
    Random,
    /// The default of each.
    Default,
    /// Every combination is a case.
    All,
    /// As many combinations as it takes to have every pair of values.
    Pairwise,
}

impl Mode {
    /// Whether values are a part of the matrix.
    pub fn expands(self) -> bool {
        matches!(self, Self::All | Self::Pairwise)
    }

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Default => "default",
            Self::All => "all",
            Self::Pairwise => "pairwise",
        }
    }
}

/// What a run says of variants: `--variants` and every `--variant`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// `--variants`.
    pub mode: Mode,
    /// Each `--variant`.
    pub given: Vec<Given>,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `--variant`, also from the environment.
    CommandLine,
    /// The scenario's `pin`.
    Pinned,
    /// The axis's default.
    Default,
    /// Drawn from the case's seed.
    Random,
    /// It is a part of the case's name.
    Expanded,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommandLine => "command line",
            Self::Pinned => "pinned",
            Self::Default => "default",
            Self::Random => "random",
            Self::Expanded => "expanded",
        })
    }
}

/// One value that a case has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// Parameter, or node of it, and axis: `broker.persistence`, `cluster-2.version`.
    pub name: String,
    /// The value.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
}

impl fmt::Display for Assigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={} [{}]", self.name, self.value, self.source)
    }
}

/// A value that a scenario forbids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forbidden {
    /// Parameter and axis.
    pub name: String,
    /// The value.
    pub value: String,
    /// The reason.
    pub because: String,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={} ({})", self.name, self.value, self.because)
    }
}

/// Variants and what is forbidden as one line: `a.x=1 [random], a.y=2 [pinned]; forbidden: a.x=3 (why)`.
pub fn line(assigned: &[Assigned], forbidden: &[Forbidden]) -> String {
    let texts = |texts: Vec<String>| texts.join(", ");
    let mut line = texts(assigned.iter().map(Assigned::to_string).collect());
    if !forbidden.is_empty() {
        let forbidden = texts(forbidden.iter().map(Forbidden::to_string).collect());
        line.push_str(&format!("; forbidden: {forbidden}"));
    }
    line
}

/// The variants of one kind in one scenario: its axes as the command line and the scenario leave them.
#[derive(Debug, Default)]
pub(crate) struct KindVariants {
    /// The parameter.
    pub(crate) param: &'static str,
    /// How many nodes with values of their own the parameter has.
    pub(crate) nodes: Option<u32>,
    /// In the order of the declaration.
    pub(crate) axes: Vec<Settled>,
}

/// An axis as the command line and the scenario leave it.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) name: Cow<'static, str>,
    /// `param.axis`, or `param-1.axis` of one node.
    pub(crate) qualified: String,
    /// The node whose axis it is; `None`: it is of all.
    pub(crate) node: Option<u32>,
    pub(crate) per_node: bool,
    /// As [`VariantAxis::counts_nodes`].
    pub(crate) counts_nodes: bool,
    /// Those that are left, the default first; never empty.
    pub(crate) values: Vec<Cow<'static, str>>,
    pub(crate) forbidden: Vec<Forbidden>,
    pub(crate) whole: Whole,
    /// What the command line gives to single nodes.
    pub(crate) nodes: BTreeMap<u32, Cow<'static, str>>,
}

/// What holds where nothing is given to a single node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whole {
    /// Said by somebody.
    Is(Cow<'static, str>, Source),
    /// The first value that may be.
    Default,
    /// A draw.
    Random,
    /// What the cell says.
    Expanded,
}

impl KindVariants {
    /// The axes that are expanded.
    pub(crate) fn expanded(&self) -> impl DoubleEndedIterator<Item = &Settled> {
        self.axes.iter().filter(|axis| axis.whole == Whole::Expanded)
    }

    /// How many nodes there are where the axes that are expanded have these values, by their numbers.
    pub(crate) fn nodes_of(&self, expanded: &[usize]) -> Option<u32> {
        let mut axes = self.expanded().zip(expanded);
        match axes.find(|(axis, _)| axis.counts_nodes) {
            Some((axis, number)) => axis.values[*number].parse().ok(),
            None => self.nodes,
        }
    }
}

/// Every value of one case; made without any cost where there is none. Clones share it.
#[derive(Clone, Default)]
pub struct Assignment(pub(crate) Option<Arc<Drawn>>);

/// See [`Assignment`].
pub(crate) struct Drawn {
    pub(crate) seed: Seed,
    pub(crate) params: Vec<ParamValues>,
}

/// The values of one parameter in one case.
pub(crate) struct ParamValues {
    /// Which axis of the matrix it is.
    pub(crate) axis: usize,
    pub(crate) kind: Arc<KindVariants>,
    /// One an axis.
    pub(crate) values: Vec<AxisValues>,
}

/// What else one variant of a case could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alternative {
    /// As in [`Assigned::name`]; where it is expanded, as in the case's name.
    pub(crate) name: String,
    /// What it is.
    pub(crate) value: String,
    /// Never empty.
    pub(crate) others: Vec<String>,
    pub(crate) is_expanded: bool,
}

/// The values of one axis in one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AxisValues {
    One(Cow<'static, str>, Source),
    /// From node 1 on.
    PerNode(Vec<(Cow<'static, str>, Source)>),
}

impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

impl Assignment {
    /// Whether there is no value at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Every value, in the order of parameters, axes and nodes.
    pub fn list(&self) -> Vec<Assigned> {
        let mut list = Vec::new();
        for param in self.params() {
            for (axis, values) in param.kind.axes.iter().zip(&param.values) {
                let mut push = |name: String, (value, source): (&Cow<'static, str>, Source)| {
                    list.push(Assigned {
                        name,
                        value: value.to_string(),
                        source,
                    });
                };
                match values {
                    AxisValues::One(value, source) => push(axis.qualified.clone(), (value, *source)),
                    AxisValues::PerNode(values) => {
                        for (number, (value, source)) in (1..).zip(values) {
                            let name = node_name(param.kind.param, number, &axis.name);
                            push(name, (value, *source));
                        }
                    }
                }
            }
        }
        list
    }

    /// What to give on the command line of another run with this mode to have the same values, also for nodes that are
    /// added: name and value. What is expanded is in the case's name, and the scenario pins what it pins.
    pub(crate) fn said(&self, mode: Mode) -> Vec<(String, String)> {
        let mut said = Vec::new();
        for param in self.params() {
            for (axis, values) in param.kind.axes.iter().zip(&param.values) {
                let node = |node: u32| node_name(param.kind.param, node, &axis.name);
                let given = axis
                    .nodes
                    .iter()
                    .map(|(number, value)| (node(*number), value.to_string()));
                match (&axis.whole, values) {
                    (Whole::Is(value, Source::CommandLine), _) => {
                        said.push((axis.qualified.clone(), value.to_string()));
                        said.extend(given);
                    }
                    (Whole::Is(_, Source::Pinned) | Whole::Expanded, _) => said.extend(given),
                    // It would change what is expanded.
                    _ if mode.expands() => said.extend(given),
                    (_, AxisValues::One(value, _)) => said.push((axis.qualified.clone(), value.to_string())),
                    (_, AxisValues::PerNode(values)) => {
                        let all = (1..).zip(values);
                        said.extend(all.map(|(number, (value, _))| (node(number), value.to_string())));
                        let begun = values.len();
                        let later = axis.nodes.iter().filter(|(number, _)| **number as usize > begun);
                        said.extend(later.map(|(number, value)| (node(*number), value.to_string())));
                    }
                }
            }
        }
        said
    }

    /// What else its variants could be: not those that the scenario pins, and nothing that it forbids. What is
    /// expanded for all nodes is one.
    pub(crate) fn alternatives(&self) -> Vec<Alternative> {
        let mut found: Vec<Alternative> = Vec::new();
        for param in self.params() {
            for (axis, values) in param.kind.axes.iter().zip(&param.values) {
                let is_expanded = axis.whole == Whole::Expanded;
                let mut push = |name: String, (value, source): &(Cow<'static, str>, Source)| {
                    let others = axis.values.iter().filter(|other| *other != value);
                    let others: Vec<String> = others.map(|other| other.to_string()).collect();
                    let is_there = found.iter().any(|other| other.name == name);
                    if *source != Source::Pinned && !others.is_empty() && !is_there {
                        found.push(Alternative {
                            name,
                            value: value.to_string(),
                            others,
                            is_expanded: *source == Source::Expanded,
                        });
                    }
                };
                match values {
                    AxisValues::One(value, source) => push(axis.qualified.clone(), &(value.clone(), *source)),
                    AxisValues::PerNode(values) => {
                        for (number, value) in (1..).zip(values) {
                            let name = match is_expanded && value.1 == Source::Expanded {
                                true => axis.qualified.clone(),
                                false => node_name(param.kind.param, number, &axis.name),
                            };
                            push(name, value);
                        }
                    }
                }
            }
        }
        found
    }

    /// What the scenario forbids, in the same order.
    pub fn forbidden(&self) -> Vec<Forbidden> {
        let axes = self.params().iter().flat_map(|param| &param.kind.axes);
        axes.flat_map(|axis| axis.forbidden.clone()).collect()
    }

    /// The values of a parameter: of its node `node`, counted from 1, or of all of it. A node beyond those that
    /// the case began with has draws of its own too.
    pub fn of(&self, param: &str, node: Option<u32>) -> Variants {
        let Some(drawn) = &self.0 else {
            return Variants::default();
        };
        let found = drawn.params.iter().find(|values| values.kind.param == param);
        let Some(found) = found else {
            return Variants::default();
        };
        let mut variants = Variants::default();
        let axes = found.kind.axes.iter().zip(&found.values);
        for (axis, values) in axes.filter(|(axis, _)| axis.node.is_none() || axis.node == node) {
            let value = match (values, node) {
                (AxisValues::One(value, _), _) => value.clone(),
                // Drawn for each node, so the whole has none.
                (AxisValues::PerNode(_), None) => continue,
                (AxisValues::PerNode(values), Some(node)) => {
                    match values.get(node.saturating_sub(1) as usize) {
                        Some((value, _)) => value.clone(),
                        None => draw::alone(drawn.seed, &found.kind, axis, node).0,
                    }
                }
            };
            variants.0.push((axis.name.clone(), value));
        }
        variants
    }

    /// Whether an axis of a parameter (an axis of the matrix) has the value, for a node at least.
    pub(crate) fn has(&self, matrix_axis: usize, axis: &str, value: &str) -> bool {
        let params = self.params().iter().filter(|param| param.axis == matrix_axis);
        params
            .flat_map(|param| param.kind.axes.iter().zip(&param.values))
            .any(|(settled, values)| settled.name == axis && values.holds(value))
    }

    fn params(&self) -> &[ParamValues] {
        self.0.as_ref().map_or(&[], |drawn| &drawn.params)
    }
}

/// A variant of one node.
pub(crate) fn node_name(param: &str, node: u32, axis: &str) -> String {
    format!("{param}-{node}.{axis}")
}

impl AxisValues {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::One(own, _) => own == value,
            Self::PerNode(values) => values.iter().any(|(own, _)| own == value),
        }
    }
}

/// The values of one node, or of a client: what start and connect functions ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variants(Vec<(Cow<'static, str>, Cow<'static, str>)>);

/// A value of an axis was asked for that the kind does not declare.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no variant `{name}`{hint}")]
pub struct UnknownVariant {
    /// The unknown axis.
    pub name: String,
    /// The near miss and the known axes.
    pub hint: Hint,
}

impl Variants {
    /// The value of an axis.
    ///
    /// # Errors
    /// When there is no such axis.
    pub fn value(&self, axis: &str) -> Result<&str, UnknownVariant> {
        self.get(axis).ok_or_else(|| UnknownVariant {
            name: axis.to_owned(),
            hint: Hint::new(axis, self.0.iter().map(|(name, _)| &**name)),
        })
    }

    /// The value of an axis, if there is one.
    pub fn get(&self, axis: &str) -> Option<&str> {
        let found = self.0.iter().find(|(name, _)| name == axis);
        found.map(|(_, value)| &**value)
    }

    /// Axes and values, in the order of the declaration.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// Why a text cannot be an axis's name or value: it stands in a case's name.
pub(crate) fn unusable(text: &str, is_name: bool) -> Option<String> {
    if text.is_empty() {
        return Some("is empty".to_owned());
    }
    let bad = |c: char| {
        matches!(c, '[' | ']' | ',' | '=') || c.is_whitespace() || c.is_control() || (is_name && c == '.')
    };
    text.chars()
        .find(|c| bad(*c))
        .map(|c| format!("holds {c:?}, which cannot be in a case's name"))
}
