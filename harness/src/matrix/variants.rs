//! The variants of a scenario's kinds: as the command line and the scenario leave them, and as places on the
//! axes where they are expanded.
//!
//! Each value of an axis is as many places in a row as it has combinations of values of those of its variants
//! that are expanded, in mixed radix (the last variant fastest). Nothing here draws.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::expand::Expansion;
use super::{CellRule, Matrix, MatrixProblem, MatrixValue, separator};
use crate::near_miss::Hint;
use crate::param::INSTALLED;
use crate::registry::Options;
use crate::seed::Seed;
use crate::variant::{
    Assignment, Choice, Draws, Forbidden, KindVariants, Scope, Settled, Source, VariantAxis, Whole,
    node_name, satisfying, unusable,
};

/// The axis that `--bin KIND@VERSION` makes.
const VERSION: &str = "version";

/// The variants of every value of a matrix.
pub(super) struct MatrixVariants {
    /// One an axis, one a value.
    kinds: Vec<Vec<Kind>>,
    /// One an axis: where the places of each value begin, and where the last ones end.
    starts: Vec<Vec<u64>>,
    is_expanded: bool,
}

#[derive(Default)]
struct Kind {
    /// `None`: it has none.
    variants: Option<Arc<KindVariants>>,
    /// Why it cannot have what it is asked for.
    skip: Option<Arc<str>>,
}

impl MatrixVariants {
    pub(super) fn size(&self, axis: usize, values: u64) -> u64 {
        self.starts[axis].last().copied().unwrap_or(values)
    }

    /// The value at a place, and which of its expansions it is.
    pub(super) fn place(&self, axis: usize, place: u64) -> (usize, u64) {
        let starts = &self.starts[axis];
        let position = starts.partition_point(|start| *start <= place).saturating_sub(1);
        (position, place - starts[position])
    }

    /// Where the places of a value begin.
    pub(super) fn start(&self, axis: usize, position: usize) -> u64 {
        self.starts[axis][position]
    }

    pub(super) fn is_expanded(&self) -> bool {
        self.is_expanded
    }

    pub(super) fn kind(&self, axis: usize, position: usize) -> Option<&Arc<KindVariants>> {
        self.kinds[axis][position].variants.as_ref()
    }

    pub(super) fn skip(&self, axis: usize, position: usize) -> Option<&Arc<str>> {
        self.kinds[axis][position].skip.as_ref()
    }

    /// `param.axis` and value of each variant that is expanded.
    pub(super) fn expansion(
        &self,
        axis: usize,
        position: usize,
        expansion: u64,
    ) -> impl Iterator<Item = (&str, &str)> {
        let kind = self.kind(axis, position);
        let digits = kind.map(|kind| digits(kind, expansion)).unwrap_or_default();
        let expanded = kind.into_iter().flat_map(|kind| kind.expanded());
        expanded
            .zip(digits)
            .map(|(settled, digit)| (&*settled.qualified, &*settled.values[digit]))
    }

    /// The place of a value whose name's expansions begin `text`, and what follows them.
    pub(super) fn find<'t>(&self, axis: usize, position: usize, text: &'t str) -> Option<(u64, &'t str)> {
        let (mut rest, mut expansion) = (text, 0);
        if let Some(kind) = self.kind(axis, position) {
            for settled in kind.expanded() {
                rest = rest.strip_prefix(',')?.strip_prefix(&*settled.qualified)?;
                rest = rest.strip_prefix('=')?;
                let end = rest.find(',').unwrap_or(rest.len());
                let digit = settled.values.iter().position(|value| *value == rest[..end])?;
                expansion = expansion * settled.values.len() as u64 + digit as u64;
                rest = &rest[end..];
            }
        }
        Some((self.start(axis, position) + expansion, rest))
    }

    /// The number of values of the axis or of one of its variants, whichever is most.
    pub(super) fn values_max(&self, axis: usize) -> usize {
        let kinds = self.kinds[axis].iter().filter_map(|kind| kind.variants.as_ref());
        let lengths = kinds.flat_map(|kind| kind.expanded().map(|settled| settled.values.len()));
        lengths.max().unwrap_or(0)
    }
}

/// The value's number of each variant that is expanded.
fn digits(kind: &KindVariants, mut expansion: u64) -> Vec<usize> {
    let mut digits: Vec<usize> = kind
        .expanded()
        .rev()
        .map(|settled| {
            let length = settled.values.len() as u64;
            // Less than the number of values, which is a usize.
            let digit = (expansion % length) as usize;
            expansion /= length;
            digit
        })
        .collect();
    digits.reverse();
    digits
}

impl Matrix {
    /// The variants that are expanded of an axis's kinds, as in names, with all their values.
    pub(crate) fn expanded_axes(&self, axis: usize) -> BTreeMap<&str, Vec<&str>> {
        let mut axes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let kinds = self.variants.iter().flat_map(|variants| &variants.kinds[axis]);
        for settled in kinds
            .flat_map(|kind| &kind.variants)
            .flat_map(|kind| kind.expanded())
        {
            let values = axes.entry(&settled.qualified).or_default();
            for value in &settled.values {
                if !values.contains(&&**value) {
                    values.push(value);
                }
            }
        }
        axes
    }

    /// What the scenario says of the variants of its kinds, for a reader of the plan: pins, then what is forbidden,
    /// each once.
    pub(crate) fn narrowed_variants(&self) -> BTreeSet<String> {
        let kinds = self
            .variants
            .iter()
            .flat_map(|variants| variants.kinds.iter().flatten());
        let axes = kinds.flat_map(|kind| &kind.variants).flat_map(|kind| &kind.axes);
        axes.flat_map(|settled| {
            let pinned = match &settled.whole {
                Whole::Is(value, Source::Pinned) => Some(format!("{}={value} [pinned]", settled.qualified)),
                _ => None,
            };
            let forbidden = settled
                .forbidden
                .iter()
                .map(|forbidden| format!("not {forbidden}"));
            pinned.into_iter().chain(forbidden)
        })
        .collect()
    }

    /// Whether any kind has variants.
    pub(crate) fn has_variants(&self) -> bool {
        let kinds = self
            .variants
            .iter()
            .flat_map(|variants| variants.kinds.iter().flatten());
        kinds.into_iter().any(|kind| kind.variants.is_some())
    }

    /// The variants of a cell; `Err` where every assignment is excluded.
    pub(super) fn assigned(&self, cell: u64, seed: Seed) -> Result<Assignment, Assignment> {
        let Some(variants) = &self.variants else {
            return Ok(Assignment::default());
        };
        let mut draws = Vec::new();
        for axis in 0..self.axes.len() {
            let (position, expansion) = self.place(cell, axis);
            if let Some(kind) = variants.kind(axis, position) {
                draws.push(Draws {
                    axis,
                    expanded: digits(kind, expansion),
                    kind: Arc::clone(kind),
                });
            }
        }
        if draws.is_empty() {
            return Ok(Assignment::default());
        }
        let rules: Vec<&CellRule> = self.excluding_variants(cell).collect();
        let is_excluded = |assignment: &Assignment| rules.iter().any(|rule| rule.suits(assignment));
        satisfying(seed, draws, (!rules.is_empty()).then_some(&is_excluded))
    }

    /// Whether what a rule says of variants holds for `cell` whatever is drawn; `None` where that depends on draws.
    pub(super) fn suits_all(&self, rule: &CellRule, cell: u64) -> Option<bool> {
        let mut is_drawn = false;
        for is in &rule.variants {
            let (position, expansion) = self.place(cell, is.axis);
            let variants = self.variants.as_ref();
            let Some(kind) = variants.and_then(|variants| variants.kind(is.axis, position)) else {
                return Some(false);
            };
            let mut digits = digits(kind, expansion).into_iter();
            // Of a node at least.
            let (mut has, mut may_have) = (false, false);
            for settled in &kind.axes {
                let digit = (settled.whole == Whole::Expanded)
                    .then(|| digits.next())
                    .flatten();
                if settled.name != is.variant {
                    continue;
                }
                match (&settled.whole, digit) {
                    _ if !settled.nodes.is_empty() => may_have = true,
                    (Whole::Is(value, _), _) => has |= *value == is.value,
                    (_, Some(digit)) => has |= settled.values[digit] == is.value,
                    _ => may_have = true,
                }
            }
            if !has && !may_have {
                return Some(false);
            }
            is_drawn |= !has;
        }
        (!is_drawn).then_some(true)
    }

    /// The rule that leaves `cell` no variants that it could have.
    pub(super) fn excluded_variant(&self, cell: u64) -> Option<&CellRule> {
        self.excluding_variants(cell).next()?;
        // Whether there are any does not depend on the seed.
        let excluded = self.assigned(cell, Seed(0)).err()?;
        self.excluding_variants(cell)
            .find(|rule| rule.suits(&excluded))
            .or_else(|| self.excluding_variants(cell).next())
    }

    /// The exclusions that name variants and hold for the cell's kinds and values.
    fn excluding_variants(&self, cell: u64) -> impl Iterator<Item = &CellRule> {
        let rules = self.exclude.iter().filter(|rule| !rule.variants.is_empty());
        rules.filter(move |rule| self.matches(rule, cell))
    }
}

/// What a `pin` or `forbid` names.
struct Named {
    param: Option<&'static str>,
    axis: &'static str,
    value: &'static str,
    because: &'static str,
}

impl Named {
    fn new(name: &'static str, value: &'static str, because: &'static str) -> Self {
        let (param, axis) = match name.split_once('.') {
            Some((param, axis)) => (Some(param), axis),
            None => (None, name),
        };
        Self {
            param,
            axis,
            value,
            because,
        }
    }

    fn is_of(&self, param: &str, axis: &str) -> bool {
        self.axis == axis && self.param.is_none_or(|own| own == param)
    }
}

impl Expansion<'_> {
    /// The variants of the narrowed axes; `None` where no kind has any and none is asked for.
    pub(super) fn variants(&mut self, options: &Options, choice: &Choice) -> Option<Box<MatrixVariants>> {
        let values = self
            .shapes
            .iter()
            .flat_map(|shape| &shape.axis)
            .flat_map(|axis| &axis.values);
        let has_any = values.into_iter().any(|value| !value.variants.is_empty());
        if !has_any && options.pin.is_empty() && options.forbid.is_empty() {
            return None;
        }
        let pins: Vec<Named> = options
            .pin
            .iter()
            .map(|(name, value)| Named::new(name, value, ""))
            .collect();
        let forbids = options.forbid.iter();
        let forbids: Vec<Named> = forbids
            .flat_map(|rule| {
                let named = rule.when.iter();
                named.map(|(name, value)| Named::new(name, value, rule.because))
            })
            .collect();
        for (by, named) in [("`pin`", &pins), ("`forbid`", &forbids)] {
            for named in named {
                self.check_named(by, named);
            }
        }
        self.check_axes();
        let mut variants = MatrixVariants {
            kinds: Vec::new(),
            starts: Vec::new(),
            is_expanded: false,
        };
        for index in 0..self.axes.len() {
            let mut kinds = Vec::new();
            let mut starts = vec![0_u64];
            for position in 0..self.axes[index].values.len() {
                let kind = self.settle_kind(index, position, (&pins, &forbids), choice);
                let lengths = kind.variants.iter().flat_map(|kind| kind.expanded());
                let places = lengths.fold(1_u64, |places, settled| {
                    places.saturating_mul(settled.values.len() as u64)
                });
                variants.is_expanded |= kind.variants.iter().any(|kind| kind.expanded().next().is_some());
                starts.push(starts[position].saturating_add(places));
                kinds.push(kind);
            }
            variants.kinds.push(kinds);
            variants.starts.push(starts);
        }
        self.check_expansions(&variants);
        Some(Box::new(variants))
    }

    /// The axes of variants of a parameter's kinds, or of all parameters'.
    fn axes_of(&self, param: Option<&str>) -> Vec<&VariantAxis> {
        let sites = self.sites.iter().zip(self.shapes);
        let of = sites.filter(|(site, _)| param.is_none_or(|param| site.name == param));
        let axes = of.flat_map(|(_, shape)| &shape.axis);
        axes.flat_map(|axis| axis.values.iter().flat_map(|value| &value.variants))
            .collect()
    }

    /// Whether some kind of the parameter (or of any) has a variant; notes it where none has.
    pub(super) fn is_variant(
        &mut self,
        by: &'static str,
        param: Option<&'static str>,
        axis: &'static str,
        value: &'static str,
    ) -> bool {
        let of = || param.map_or("the scenario".to_owned(), |param| format!("parameter `{param}`"));
        let known = self.axes_of(param);
        let values: BTreeSet<&str> = known
            .iter()
            .filter(|known| known.name == axis)
            .flat_map(|known| known.values.iter().map(|value| &**value))
            .collect();
        // Versions come and go with `--bin`.
        if values.contains(value) || axis == VERSION {
            return values.contains(value);
        }
        let problem = if values.is_empty() {
            MatrixProblem::UnknownVariant {
                by,
                of: of(),
                axis,
                hint: Hint::new(axis, known.iter().map(|known| &*known.name)),
            }
        } else {
            MatrixProblem::UnknownVariantValue {
                by,
                of: of().into(),
                axis,
                value,
                hint: Hint::new(value, values),
            }
        };
        self.problems.push(problem);
        false
    }

    fn check_named(&mut self, by: &'static str, named: &Named) {
        if let Some(param) = named.param {
            let option = by.trim_matches('`');
            let Some((_, axis)) = self.named_axis(option, param) else {
                return;
            };
            if axis.values.is_empty() {
                return;
            }
        } else if self.axes.iter().all(|axis| axis.values.is_empty()) && !self.axes.is_empty() {
            return;
        }
        self.is_variant(by, named.param, named.axis, named.value);
    }

    /// That what is declared can stand in a case's name. The attributes have seen to theirs.
    fn check_axes(&mut self) {
        let mut problems = Vec::new();
        for (site, shape) in self.sites.iter().zip(self.shapes) {
            let values = shape.axis.iter().flat_map(|axis| &axis.values);
            for (kind, axis) in values.flat_map(|value| value.variants.iter().map(move |axis| (value, axis)))
            {
                let mut bad = unusable(&axis.name, true);
                let mut seen = BTreeSet::new();
                if axis.values.is_empty() {
                    bad = Some("has no values".to_owned());
                }
                for value in &axis.values {
                    if let Some(why) = unusable(value, false) {
                        bad = Some(format!("has a value {value:?} that {why}"));
                    } else if !seen.insert(value) {
                        bad = Some(format!("has the value {value:?} twice"));
                    }
                }
                if kind
                    .variants
                    .iter()
                    .filter(|other| other.name == axis.name)
                    .count()
                    > 1
                {
                    bad = Some("stands there twice".to_owned());
                }
                problems.extend(bad.map(|why| MatrixProblem::UnusableVariant {
                    param: site.name,
                    kind: kind.label.to_string(),
                    axis: axis.name.to_string(),
                    why,
                }));
            }
        }
        self.problems.extend(problems);
    }

    /// A label that holds what separates it from its variants would let two cells have the same name.
    fn check_expansions(&mut self, variants: &MatrixVariants) {
        let mut found = Vec::new();
        for (index, axis) in self.axes.iter().enumerate() {
            let kinds = (0..axis.values.len()).filter_map(|position| variants.kind(index, position));
            let names: BTreeSet<&str> = kinds
                .flat_map(|kind| kind.expanded().map(|settled| &*settled.qualified))
                .collect();
            for (value, name) in axis
                .values
                .iter()
                .flat_map(|value| names.iter().map(move |name| (value, name)))
            {
                if separator(&value.label, name).is_some() {
                    found.push((axis.name, value.label.clone(), (*name).to_owned()));
                }
            }
        }
        for (param, label, name) in found {
            let why = format!("holds `,{name}=`, which begins a variant in a case's name");
            self.unusable_label(param, &label, why);
        }
    }

    fn settle_kind(
        &mut self,
        index: usize,
        position: usize,
        (pins, forbids): (&[Named], &[Named]),
        choice: &Choice,
    ) -> Kind {
        let axis = &self.axes[index];
        let (param, site) = (axis.name, axis.site);
        let MatrixValue { index, label, .. } = &axis.values[position];
        let label = label.clone();
        let Some(value) = self.shapes[site].axis.as_ref().map(|axis| &axis.values[*index]) else {
            return Kind::default();
        };
        let mut kind = Kind {
            skip: self.missing_version(param, &label, &value.variants, pins),
            ..Kind::default()
        };
        let mut axes = Vec::new();
        for declared in value
            .variants
            .iter()
            .filter(|declared| !declared.values.is_empty())
        {
            let is_spread = declared.each_node && choice.mode.expands();
            let nodes = value.nodes.filter(|_| is_spread);
            let nodes = nodes.map_or(vec![None], |nodes| (1..=nodes).map(Some).collect());
            for node in nodes {
                let of = Of {
                    param,
                    kind: &label,
                    declared,
                    node,
                };
                match of.settle(pins, forbids, choice) {
                    Ok((settled, skip)) => {
                        axes.push(settled);
                        kind.skip = kind.skip.or(skip);
                    }
                    Err(problem) => {
                        self.problems.push(problem);
                        break;
                    }
                }
            }
        }
        if !axes.is_empty() {
            kind.variants = Some(Arc::new(KindVariants {
                param,
                nodes: value.nodes,
                axes,
            }));
        }
        kind
    }

    /// Why a kind is skipped that has no versions, and is pinned to one.
    fn missing_version(
        &self,
        param: &str,
        kind: &str,
        declared: &[VariantAxis],
        pins: &[Named],
    ) -> Option<Arc<str>> {
        if declared.iter().any(|axis| axis.name == VERSION) {
            return None;
        }
        let nobody_has = || self.axes_of(None).iter().all(|axis| axis.name != VERSION);
        let pin = pins.iter().find(|pin| {
            let is_meant = pin.param.is_some() || nobody_has();
            pin.is_of(param, VERSION) && pin.value != INSTALLED && is_meant
        })?;
        let version = pin.value;
        Some(Arc::from(format!(
            "`pin` asks for version {version} of parameter \"{param}\"; give --bin {kind}@{version}=PATH"
        )))
    }
}

/// An axis of one kind of one parameter.
struct Of<'a> {
    param: &'static str,
    kind: &'a str,
    declared: &'a VariantAxis,
    /// The node whose axis it is; `None`: it is of all.
    node: Option<u32>,
}

impl Of<'_> {
    /// The axis with what is said of it, and why the kind cannot have that.
    fn settle(
        &self,
        pins: &[Named],
        forbids: &[Named],
        choice: &Choice,
    ) -> Result<(Settled, Option<Arc<str>>), MatrixProblem> {
        let (param, declared) = (self.param, self.declared);
        let name = &*declared.name;
        let of_all = format!("{param}.{name}");
        let qualified = match self.node {
            Some(node) => node_name(param, node, name),
            None => of_all.clone(),
        };
        let because = |value: &str| {
            let mut forbids = forbids.iter();
            let found = forbids.find(|forbid| forbid.is_of(param, name) && forbid.value == value);
            found.map(|found| found.because)
        };
        let (mut values, gone): (Vec<_>, Vec<_>) = declared
            .values
            .iter()
            .cloned()
            .partition(|value| because(value).is_none());
        if values.is_empty() {
            return Err(MatrixProblem::EveryVariantForbidden {
                param,
                kind: self.kind.to_owned(),
                axis: name.to_owned(),
                values: gone.join(", "),
            });
        }
        // Told once.
        let gone = gone
            .into_iter()
            .filter(|_| self.node.is_none_or(|node| node == 1));
        let forbidden = gone.map(|value| Forbidden {
            name: of_all.clone(),
            because: because(&value).unwrap_or_default().to_owned(),
            value: value.into_owned(),
        });

        let mut skip = None;
        let mut may_have = |value: &str, by: &str| -> Option<Cow<'static, str>> {
            if let Some(because) = because(value) {
                skip = Some(Arc::from(format!("`forbid` meets {by}: {because}")));
                return None;
            }
            let found = values.iter().find(|known| **known == *value);
            if found.is_none() {
                skip = Some(Arc::from(format!(
                    "kind \"{}\" of parameter \"{param}\" cannot have {by}: it has {name} {}",
                    self.kind,
                    declared.values.join(", ")
                )));
            }
            found.cloned()
        };
        let mut given = None;
        let mut nodes = BTreeMap::new();
        let said = choice.given.iter().filter(|given| given.axis == name);
        for (scope, said) in said.filter_map(|said| Some((said.scope(param)?, said))) {
            match scope {
                Scope::Node(node) if self.node.is_some() => {
                    if self.node == Some(node) {
                        given = given.max(Some((scope, said)));
                    }
                }
                Scope::Node(node) if declared.per_node => {
                    if let Some(value) = may_have(&said.value, &format!("--variant {said}")) {
                        nodes.insert(node, value);
                    }
                }
                Scope::Node(_) => {}
                scope => given = given.max(Some((scope, said))),
            }
        }
        let mut pinned = pins.iter().filter(|pin| pin.is_of(param, name));
        let pin = pinned
            .clone()
            .find(|pin| pin.param.is_some())
            .or_else(|| pinned.next());
        if let Some((pin, because)) = pin.and_then(|pin| Some((pin, because(pin.value)?))) {
            return Err(MatrixProblem::PinForbidden {
                param,
                axis: name.to_owned(),
                value: pin.value.to_owned(),
                because,
            });
        }
        let said = match (given, pin) {
            (Some((_, given)), _) => may_have(&given.value, &format!("--variant {given}"))
                .map(|value| Whole::Is(value, Source::CommandLine)),
            (None, Some(pin)) => {
                let by = format!("{name}={}, to which the scenario is pinned", pin.value);
                may_have(pin.value, &by).map(|value| Whole::Is(value, Source::Pinned))
            }
            (None, None) => None,
        };
        let whole = match said {
            // What is said leaves one of them, which stands in names as it did.
            said if declared.counts_nodes => {
                if let Some(Whole::Is(value, _)) = said {
                    values = vec![value];
                }
                Whole::Expanded
            }
            Some(said) => said,
            None if values.len() == 1 => Whole::Is(values[0].clone(), Source::Default),
            None if choice.mode.expands() && skip.is_none() => Whole::Expanded,
            None if choice.mode == crate::variant::Mode::Random && !declared.fixed => Whole::Random,
            None => Whole::Default,
        };
        let settled = Settled {
            name: declared.name.clone(),
            qualified,
            node: self.node,
            per_node: declared.per_node && self.node.is_none(),
            counts_nodes: declared.counts_nodes,
            forbidden: forbidden.collect(),
            whole,
            nodes,
            values,
        };
        Ok((settled, skip))
    }
}
