//! From a scenario's declaration to its matrix, with everything that is wrong with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::variants::MatrixVariants;
use super::{
    CELLS_MAX, CellRule, KnownOfCells, Matrix, MatrixAxis, MatrixError, MatrixProblem, MatrixValue, Unsuited,
    VariantIs, separator,
};
use crate::near_miss::Hint;
use crate::param::{Axis, AxisValue, Environment, Shape};
use crate::registry::{KnownFailure, Rule, Scenario, Site};
use crate::variant::Mode;

impl Matrix {
    /// Asks every parameter for its shape and makes the product of their axes.
    ///
    /// # Errors
    /// Everything that is wrong with the declaration: labels, capabilities or parameters that do not exist,
    /// labels that occur twice, parameters that have nothing or several things to connect to, a product
    /// beyond [`CELLS_MAX`].
    pub fn expand(
        scenario: &'static Scenario,
        suite_crate: &str,
        environment: &Environment,
    ) -> Result<Self, MatrixError> {
        Self::expand_named(scenario.full_name(suite_crate), scenario, environment)
    }

    /// [`Matrix::expand`] of a scenario whose full name is known.
    pub(crate) fn expand_named(
        name: String,
        scenario: &'static Scenario,
        environment: &Environment,
    ) -> Result<Self, MatrixError> {
        let options = &scenario.options;
        let has_rules = !options.exclude.is_empty()
            || !options.known_failure.is_empty()
            || !options.requires.is_empty()
            || !options.pin.is_empty()
            || !options.forbid.is_empty();
        if scenario.sites.is_empty() && !has_rules {
            return Ok(Self::of_one_case(name, scenario));
        }
        let sites = scenario.sites;
        let shapes: Vec<Shape> = sites.iter().map(|site| (site.shape)(site, environment)).collect();
        let mut expansion = Expansion {
            sites,
            shapes: &shapes,
            axes: Vec::new(),
            problems: Vec::new(),
        };
        expansion.narrow_axes();
        let links = expansion.links();
        let variants = expansion.variants(options, &environment.variants);
        let mode = environment.variants.mode;
        let sizes = expansion.sizes(variants.as_deref());
        let cells = expansion.cells(&sizes, mode, variants.as_deref());
        let exclude = expansion.rules("exclude", scenario.options.exclude);
        let known_failure = expansion.known_failures(scenario.options.known_failure);
        let requires = expansion.requires(scenario);
        let unsuited = expansion.unsuited(&links);
        let Expansion { axes, problems, .. } = expansion;

        if !problems.is_empty() {
            return Err(MatrixError {
                scenario: name,
                file: scenario.file,
                line: scenario.line,
                problems,
            });
        }
        let mut strides = vec![1_u64; axes.len()];
        for index in (1..axes.len()).rev() {
            // With an empty axis there are no cells, and the strides mean nothing.
            strides[index - 1] = strides[index].saturating_mul(sizes[index].max(1));
        }
        let reasons = |axis: &MatrixAxis| {
            let values = axis.values.iter();
            values
                .map(|value| value.unavailable.as_deref().map(Arc::from))
                .collect()
        };
        Ok(Self {
            scenario,
            name,
            links,
            cells,
            strides,
            exclude,
            known_failure,
            requires,
            unsuited,
            unavailable: axes.iter().map(reasons).collect(),
            empty_because: axes
                .iter()
                .find_map(|axis| axis.empty_because.as_deref().map(Arc::from)),
            axes,
            mode,
            variants,
        })
    }

    /// The matrix of a scenario without parameters and rules, of which there may be thousands.
    fn of_one_case(name: String, scenario: &'static Scenario) -> Self {
        Self {
            scenario,
            name,
            axes: Vec::new(),
            links: Vec::new(),
            cells: 1,
            strides: Vec::new(),
            exclude: Vec::new(),
            known_failure: Vec::new(),
            requires: Vec::new(),
            unsuited: Vec::new(),
            unavailable: Vec::new(),
            empty_because: None,
            mode: Mode::Random,
            variants: None,
        }
    }
}

pub(super) struct Expansion<'a> {
    pub(super) sites: &'static [Site],
    pub(super) shapes: &'a [Shape],
    pub(super) axes: Vec<MatrixAxis>,
    pub(super) problems: Vec<MatrixProblem>,
}

impl<'a> Expansion<'a> {
    fn narrow_axes(&mut self) {
        for (index, site) in self.sites.iter().enumerate() {
            let wrong = self.shapes[index].wrong.iter().cloned();
            self.problems.extend(wrong.map(|why| MatrixProblem::Attributes {
                param: site.name,
                why,
            }));
            let narrowing = [("`#[only]`", site.only), ("`#[except]`", site.except)];
            let Some(axis) = &self.shapes[index].axis else {
                let used = narrowing.into_iter().filter(|(_, labels)| !labels.is_empty());
                self.problems
                    .extend(used.map(|(by, _)| MatrixProblem::NothingToNarrow { by, param: site.name }));
                continue;
            };
            self.check_labels(site, axis);
            for (by, labels) in narrowing {
                // Without any kind registered, nothing says that a label is wrong.
                for label in labels.iter().filter(|_| !axis.values.is_empty()) {
                    self.find_label(by, site.name, axis, label);
                }
            }
            let stays = |value: &AxisValue| {
                (site.only.is_empty() || site.only.contains(&&*value.label))
                    && !site.except.contains(&&*value.label)
            };
            let values = axis.values.iter().enumerate().filter(|(_, value)| stays(value));
            let values: Vec<MatrixValue> = values
                .map(|(index, value)| MatrixValue {
                    index,
                    label: value.label.clone(),
                    provides: value.provides,
                    unavailable: value.unavailable.clone(),
                })
                .collect();
            self.axes.push(MatrixAxis {
                name: site.name,
                site: index,
                empty_because: values.is_empty().then(|| empty_because(site, axis)),
                values,
            });
        }
        self.check_separators();
    }

    fn check_labels(&mut self, site: &'static Site, axis: &Axis) {
        let mut seen = BTreeSet::new();
        let mut reported = BTreeSet::new();
        for value in &axis.values {
            let label = &*value.label;
            if !seen.insert(label) && reported.insert(label) {
                self.problems.push(MatrixProblem::DuplicateLabel {
                    param: site.name,
                    label: label.to_owned(),
                });
            }
            if label.chars().any(char::is_control) {
                self.unusable_label(site.name, label, "has control characters".to_owned());
            }
        }
    }

    /// A label that holds what separates it from the next one would let two cells have the same name.
    fn check_separators(&mut self) {
        let mut found = Vec::new();
        for pair in self.axes.windows(2) {
            let (axis, next) = (&pair[0], &pair[1]);
            let values = axis.values.iter();
            let bad = values.filter(|value| separator(&value.label, next.name).is_some());
            found.extend(bad.map(|value| (axis.name, value.label.clone(), next.name)));
        }
        for (param, label, next) in found {
            let why = format!("holds `,{next}=`, which begins the next label of a case's name");
            self.unusable_label(param, &label, why);
        }
    }

    pub(super) fn unusable_label(&mut self, param: &'static str, label: &str, why: String) {
        self.problems.push(MatrixProblem::UnusableLabel {
            param,
            label: label.to_owned(),
            why,
        });
    }

    fn find_label(
        &mut self,
        by: &'static str,
        param: &'static str,
        axis: &Axis,
        label: &'static str,
    ) -> bool {
        let found = axis.values.iter().any(|value| value.label == label);
        if !found {
            let known = axis.values.iter().map(|value| &*value.label);
            let hint = Hint::new(label, known);
            self.problems.push(MatrixProblem::UnknownLabel {
                by,
                param,
                label,
                hint,
            });
        }
        found
    }

    /// How many different cells each axis makes.
    fn sizes(&self, variants: Option<&MatrixVariants>) -> Vec<u64> {
        let axes = self.axes.iter().enumerate();
        axes.map(|(index, axis)| {
            let values = axis.values.len() as u64;
            variants.map_or(values, |variants| variants.size(index, values))
        })
        .collect()
    }

    fn cells(&mut self, sizes: &[u64], mode: Mode, variants: Option<&MatrixVariants>) -> u64 {
        if sizes.contains(&0) {
            return 0;
        }
        // Of a thinned matrix a run holds far less than the product, but every pair.
        let max = match mode {
            Mode::Pairwise => i64::MAX as u64,
            _ => CELLS_MAX,
        };
        let product = sizes.iter().copied().try_fold(1_u64, u64::checked_mul);
        let pairs_fit = mode != Mode::Pairwise || self.pairs_max(variants) <= u128::from(CELLS_MAX);
        match product {
            Some(cells) if cells <= max && pairs_fit => cells,
            _ => {
                let problem = MatrixProblem::TooManyCells { max: CELLS_MAX };
                self.problems.push(problem);
                0
            }
        }
    }

    /// At least as many as two axes have pairs of values.
    fn pairs_max(&self, variants: Option<&MatrixVariants>) -> u128 {
        let axes = self.axes.iter().enumerate();
        let length = |(index, axis): (usize, &MatrixAxis)| {
            let variant = variants.map_or(0, |variants| variants.values_max(index));
            axis.values.len().max(variant)
        };
        let mut lengths: Vec<usize> = axes.map(length).collect();
        lengths.sort_unstable();
        lengths
            .iter()
            .rev()
            .take(2)
            .map(|&length| length as u128)
            .product()
    }

    fn links(&mut self) -> Vec<Option<usize>> {
        (0..self.sites.len())
            .map(|site| match self.link(site) {
                Ok(link) => link,
                Err(problem) => {
                    self.problems.push(problem);
                    None
                }
            })
            .collect()
    }

    fn link(&self, here: usize) -> Result<Option<usize>, MatrixProblem> {
        let Site { name: param, on, .. } = self.sites[here];
        let Some(needs) = self.shapes[here].needs else {
            return match on {
                Some(on) => Err(MatrixProblem::ConnectsToNothing { param, on }),
                None => Ok(None),
            };
        };
        let what = needs.what;
        let others = || (0..self.sites.len()).filter(|other| *other != here);
        let source = match on {
            Some(on) => {
                let givers = || others().filter(|other| self.shapes[*other].gives.is_some());
                let Some(found) = givers().find(|other| self.sites[*other].name == on) else {
                    let hint = Hint::new(on, givers().map(|other| self.sites[other].name));
                    return Err(MatrixProblem::UnknownSource { param, on, hint });
                };
                match self.shapes[found].gives {
                    Some(gives) if gives == needs => found,
                    gives => {
                        let given = gives.map_or("something else", |gives| gives.what);
                        return Err(MatrixProblem::WrongSource {
                            param,
                            on,
                            what,
                            given,
                        });
                    }
                }
            }
            None => {
                let candidates: Vec<usize> = others()
                    .filter(|other| self.shapes[*other].gives == Some(needs))
                    .collect();
                match candidates[..] {
                    [] => return Err(MatrixProblem::NothingToConnectTo { param, what }),
                    [sole] => sole,
                    _ => {
                        let candidates = candidates.iter().map(|other| self.sites[*other].name);
                        return Err(MatrixProblem::Ambiguous {
                            param,
                            what,
                            candidates: candidates.collect(),
                        });
                    }
                }
            }
        };
        if source > here {
            let source_param = self.sites[source].name;
            return Err(MatrixProblem::ComesLater { param, source_param });
        }
        Ok(Some(source))
    }

    /// The un-narrowed axis of a parameter that an option names, and its position among the axes.
    pub(super) fn named_axis(
        &mut self,
        option: &'static str,
        param: &'static str,
    ) -> Option<(usize, &'a Axis)> {
        let problem = match self.sites.iter().position(|site| site.name == param) {
            Some(site) => match &self.shapes[site].axis {
                Some(axis) => {
                    let position = self.axes.iter().position(|axis| axis.site == site);
                    return position.map(|position| (position, axis));
                }
                None => MatrixProblem::NoAxis { option, param },
            },
            None => {
                let hint = Hint::new(param, self.axes.iter().map(|axis| axis.name));
                MatrixProblem::UnknownParam { option, param, hint }
            }
        };
        self.problems.push(problem);
        None
    }

    fn known_failures(&mut self, all: &'static [KnownFailure]) -> Vec<KnownOfCells> {
        let mut found = Vec::new();
        for known in all {
            let cells = self.rules("known_failure", std::slice::from_ref(&known.rule));
            found.extend(cells.into_iter().map(|cells| KnownOfCells { known, cells }));
        }
        found
    }

    /// The rules that can hold for a cell: not those that name a label which `#[only]` or `#[except]` removed.
    fn rules(&mut self, option: &'static str, rules: &'static [Rule]) -> Vec<CellRule> {
        let mut found = Vec::new();
        for rule in rules {
            let (mut when, mut variants) = (Vec::new(), Vec::new());
            for (name, label) in rule.when.iter().copied() {
                let (param, variant) = match name.split_once('.') {
                    Some((param, variant)) => (param, Some(variant)),
                    None => (name, None),
                };
                let Some((position, axis)) = self.named_axis(option, param) else {
                    continue;
                };
                if axis.values.is_empty() {
                    continue;
                }
                if let Some(variant) = variant {
                    if self.is_variant(quoted(option), Some(param), variant, label) {
                        variants.push(VariantIs {
                            axis: position,
                            variant,
                            value: label,
                        });
                    }
                    continue;
                }
                if !self.find_label(quoted(option), param, axis, label) {
                    continue;
                }
                let mut values = self.axes[position].values.iter();
                if let Some(value) = values.position(|value| value.label == label) {
                    when.push((position, value));
                }
            }
            if when.len() + variants.len() == rule.when.len() {
                let reason = Arc::from(rule.because);
                found.push(CellRule {
                    reason,
                    when,
                    variants,
                });
            }
        }
        found
    }

    fn requires(&mut self, scenario: &Scenario) -> Vec<(usize, Vec<Option<Arc<str>>>)> {
        let mut found = Vec::new();
        for requirement in scenario.options.requires {
            let (param, capability) = (requirement.param, requirement.capability);
            let Some((position, axis)) = self.named_axis("requires", param) else {
                continue;
            };
            let provided: BTreeSet<&str> = axis
                .values
                .iter()
                .flat_map(|value| value.provides)
                .copied()
                .collect();
            if !axis.values.is_empty() && !provided.contains(capability) {
                let hint = Hint::new(capability, provided);
                self.problems.push(MatrixProblem::UnknownCapability {
                    param,
                    capability,
                    hint,
                });
                continue;
            }
            let reasons = self.axes[position].values.iter().map(|value| {
                let lacks = !value.provides.contains(&capability);
                let label = &value.label;
                lacks.then(|| {
                    Arc::from(format!(
                        "kind \"{label}\" of parameter \"{param}\" does not provide \"{capability}\""
                    ))
                })
            });
            let reasons = reasons.collect();
            found.push((position, reasons));
        }
        found
    }

    /// The kinds that require of what they connect to what it does not provide. That none of the parameter's kinds
    /// provides it is no mistake: of a cluster's parameter they are a few of the service's.
    fn unsuited(&self, links: &[Option<usize>]) -> Vec<Unsuited> {
        let mut found = Vec::new();
        for (axis, connecting) in self.axes.iter().enumerate() {
            let linked = links[connecting.site];
            let of = self.axes.iter().position(|axis| Some(axis.site) == linked);
            let (Some(of), Some(whole)) = (of, &self.shapes[connecting.site].axis) else {
                continue;
            };
            let server = &self.axes[of];
            for (position, value) in connecting.values.iter().enumerate() {
                for &capability in whole.values[value.index].requires {
                    let places = server.values.iter().enumerate();
                    let lacking = places.filter(|(_, kind)| !kind.provides.contains(&capability));
                    found.extend(lacking.map(|(place, kind)| Unsuited {
                        kinds: [(axis, position), (of, place)],
                        reason: Arc::from(format!(
                            "kind \"{}\" of parameter \"{}\" requires \"{capability}\", which kind \"{}\" of \
                             parameter \"{}\" does not provide",
                            value.label, connecting.name, kind.label, server.name
                        )),
                    }));
                }
            }
        }
        found
    }
}

fn quoted(option: &'static str) -> &'static str {
    match option {
        "exclude" => "`exclude`",
        "known_failure" => "`known_failure`",
        other => other,
    }
}

fn empty_because(site: &Site, axis: &Axis) -> String {
    if axis.values.is_empty() {
        let reason = axis.empty_because.clone();
        return reason.unwrap_or_else(|| format!("parameter \"{}\" has no values", site.name));
    }
    let labels: Vec<&str> = axis.values.iter().map(|value| &*value.label).collect();
    format!(
        "`#[only]` and `#[except]` leave parameter \"{}\" none of its values: {}",
        site.name,
        labels.join(", ")
    )
}
