//! From the axes that a case's kinds have to their values: pure, and the same in every process.

use std::borrow::Cow;
use std::sync::Arc;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::{Assignment, AxisValues, Drawn, KindVariants, ParamValues, Settled, Source, Whole};
use crate::seed::Seed;

/// What an axis has before it is settled: no value that any rule could name.
const UNSET: (Cow<'static, str>, Source) = (Cow::Borrowed(""), Source::Default);

/// A parameter of a case whose kind has variants.
pub(crate) struct Draws {
    /// Which axis of the matrix it is.
    pub(crate) axis: usize,
    pub(crate) kind: Arc<KindVariants>,
    /// What the cell says of the axes that are expanded, in their order: indices into their values.
    pub(crate) expanded: Vec<usize>,
}

/// The values of a case such that `is_excluded` holds for none of the assignments on the way; where there is no
/// such assignment, `Err` with one that is excluded. Whether there is one does not depend on the seed.
///
/// Each axis draws from a stream of its own. An axis whose draw would be excluded together with what was settled
/// before it draws again among its other values.
pub(crate) fn satisfying(
    seed: Seed,
    draws: Vec<Draws>,
    is_excluded: Option<&dyn Fn(&Assignment) -> bool>,
) -> Result<Assignment, Assignment> {
    let places = places(&draws);
    let mut drawn = Drawn {
        seed,
        params: draws.into_iter().map(ParamValues::from).collect(),
    };
    let Some(is_excluded) = is_excluded else {
        for place in &places {
            let first = place.candidates(seed, &drawn).next();
            place.set(&mut drawn, first);
        }
        return Ok(Assignment(Some(Arc::new(drawn))));
    };
    let mut assignment = Assignment(Some(Arc::new(drawn)));
    if search(&mut assignment, &places, seed, is_excluded) {
        return Ok(assignment);
    }
    with(&mut assignment, |drawn| {
        for place in &places {
            let first = place.candidates(seed, drawn).next();
            place.set(drawn, first);
        }
    });
    Err(assignment)
}

fn search(
    assignment: &mut Assignment,
    places: &[Spot],
    seed: Seed,
    is_excluded: &dyn Fn(&Assignment) -> bool,
) -> bool {
    let Some((place, rest)) = places.split_first() else {
        return true;
    };
    let Some(candidates) = assignment.0.as_ref().map(|drawn| place.candidates(seed, drawn)) else {
        return true;
    };
    for candidate in candidates {
        with(assignment, |drawn| place.set(drawn, Some(candidate)));
        if !is_excluded(assignment) && search(assignment, rest, seed, is_excluded) {
            return true;
        }
    }
    with(assignment, |drawn| place.set(drawn, None));
    false
}

/// Changes an assignment that nobody else has.
fn with(assignment: &mut Assignment, change: impl FnOnce(&mut Drawn)) {
    if let Some(drawn) = assignment.0.as_mut().and_then(Arc::get_mut) {
        change(drawn);
    }
}

/// The value of a node that a case did not begin with.
pub(super) fn alone(
    seed: Seed,
    kind: &KindVariants,
    axis: &Settled,
    node: u32,
) -> (Cow<'static, str>, Source) {
    let mut candidates = candidates(seed, kind, axis, Some(node), None);
    // No axis is empty.
    candidates.next().unwrap_or(UNSET)
}

/// Where one value goes.
struct Spot {
    param: usize,
    axis: usize,
    /// From 1 on.
    node: Option<u32>,
    expanded: Option<usize>,
}

fn places(draws: &[Draws]) -> Vec<Spot> {
    let mut places = Vec::new();
    for (param, draw) in draws.iter().enumerate() {
        let nodes = draw.kind.nodes_of(&draw.expanded);
        let mut expanded = draw.expanded.iter().copied();
        for (axis, settled) in draw.kind.axes.iter().enumerate() {
            let expanded = match settled.whole {
                Whole::Expanded => expanded.next(),
                _ => None,
            };
            let spot = |node| Spot {
                param,
                axis,
                node,
                expanded,
            };
            match nodes.filter(|_| settled.per_node) {
                Some(nodes) => places.extend((1..=nodes).map(|node| spot(Some(node)))),
                None => places.push(spot(None)),
            }
        }
    }
    places
}

impl Spot {
    fn candidates(&self, seed: Seed, drawn: &Drawn) -> Candidates {
        let kind = &drawn.params[self.param].kind;
        candidates(seed, kind, &kind.axes[self.axis], self.node, self.expanded)
    }

    fn set(&self, drawn: &mut Drawn, value: Option<(Cow<'static, str>, Source)>) {
        let values = &mut drawn.params[self.param].values[self.axis];
        match (values, self.node) {
            (AxisValues::PerNode(values), Some(_)) => match value {
                Some(value) => {
                    let at = self.node.unwrap_or(1) as usize - 1;
                    values.truncate(at);
                    values.push(value);
                }
                None => {
                    values.pop();
                }
            },
            (values, _) => {
                let (value, source) = value.unwrap_or(UNSET);
                *values = AxisValues::One(value, source);
            }
        }
    }
}

/// What an axis may have, in the order in which it is tried.
struct Candidates {
    /// `None`: in order.
    random: Option<ChaCha8Rng>,
    left: Vec<Cow<'static, str>>,
    source: Source,
}

fn candidates(
    seed: Seed,
    kind: &KindVariants,
    axis: &Settled,
    node: Option<u32>,
    expanded: Option<usize>,
) -> Candidates {
    let one = |value: &Cow<'static, str>, source| Candidates {
        random: None,
        left: vec![value.clone()],
        source,
    };
    if let Some(given) = node.and_then(|node| axis.nodes.get(&node)) {
        return one(given, Source::CommandLine);
    }
    let all = |random, source| Candidates {
        random,
        left: axis.values.clone(),
        source,
    };
    match &axis.whole {
        Whole::Is(value, source) => one(value, *source),
        Whole::Expanded => one(&axis.values[expanded.unwrap_or(0)], Source::Expanded),
        Whole::Default => all(None, Source::Default),
        Whole::Random => {
            let stream = match node {
                Some(node) => format!("variant:{}-{node}.{}", kind.param, axis.name),
                None => format!("variant:{}", axis.qualified),
            };
            all(Some(seed.stream(&stream)), Source::Random)
        }
    }
}

impl Iterator for Candidates {
    type Item = (Cow<'static, str>, Source);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            return None;
        }
        let at = match &mut self.random {
            None => 0,
            // Fixed-point multiplication, whose bias of 2^-50 no run can show.
            Some(random) => {
                let scaled = u128::from(random.next_u64()) * self.left.len() as u128;
                (scaled >> 64) as usize
            }
        };
        Some((self.left.remove(at), self.source))
    }
}

impl From<Draws> for ParamValues {
    fn from(draws: Draws) -> Self {
        let values = draws.kind.axes.iter().map(|axis| {
            if axis.per_node && draws.kind.nodes.is_some() {
                AxisValues::PerNode(Vec::new())
            } else {
                AxisValues::One(UNSET.0, UNSET.1)
            }
        });
        Self {
            axis: draws.axis,
            values: values.collect(),
            kind: draws.kind,
        }
    }
}
