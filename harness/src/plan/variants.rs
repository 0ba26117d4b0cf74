//! Whether what `--variant` asks for is anything that some kind has.

use std::collections::BTreeSet;

use crate::near_miss::Hint;
use crate::param::Environment;
use crate::registry::Scenario;
use crate::variant::{Given, Scope, VariantAxis};

/// A `--variant` that no kind can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownGiven {
    /// There is no such parameter.
    #[error("--variant {given}: no parameter with variants is called `{param}`{hint}")]
    Parameter {
        /// The option's value.
        given: Given,
        /// The parameter, or node of one.
        param: String,
        /// The near miss and the known parameters.
        hint: Hint,
    },
    /// There is no such axis.
    #[error("--variant {given}: no kind has an axis `{axis}`{hint}", axis = given.axis)]
    Axis {
        /// The option's value.
        given: Given,
        /// The near miss and the known axes.
        hint: Hint,
    },
    /// The axis is there, and one for all nodes.
    #[error("--variant {given}: `{axis}` is the same for all nodes of a parameter; name the parameter alone", axis = given.axis)]
    NotPerNode {
        /// The option's value.
        given: Given,
    },
    /// There is no such value.
    #[error("--variant {given}: no kind has that value of `{axis}`{hint}", axis = given.axis)]
    Value {
        /// The option's value.
        given: Given,
        /// The near miss and the known values.
        hint: Hint,
    },
}

/// An axis of some kind of a parameter.
struct Known {
    param: &'static str,
    has_nodes: bool,
    axis: VariantAxis,
}

/// Everything that is wrong with what is given.
pub(super) fn unknown(scenarios: &[&'static Scenario], environment: &Environment) -> Vec<UnknownGiven> {
    let given = &environment.variants.given;
    if given.is_empty() {
        return Vec::new();
    }
    let mut known = Vec::new();
    for site in scenarios.iter().flat_map(|scenario| scenario.sites) {
        let values = (site.shape)(site, environment).axis.unwrap_or_default().values;
        for value in values {
            let has_nodes = value.nodes.is_some();
            known.extend(value.variants.into_iter().map(|axis| Known {
                param: site.name,
                has_nodes,
                axis,
            }));
        }
    }
    given.iter().filter_map(|given| wrong(given, &known)).collect()
}

fn wrong(given: &Given, known: &[Known]) -> Option<UnknownGiven> {
    let scope = |known: &&Known| {
        let scope = given.scope(known.param)?;
        (known.has_nodes || !matches!(scope, Scope::Node(_))).then_some(scope)
    };
    let meant: Vec<&Known> = known.iter().filter(|known| scope(known).is_some()).collect();
    if meant.is_empty()
        && let Some(param) = &given.param
    {
        return Some(UnknownGiven::Parameter {
            given: given.clone(),
            param: param.clone(),
            hint: Hint::new(param, known.iter().map(|known| known.param)),
        });
    }
    let axes: Vec<&&Known> = meant
        .iter()
        .filter(|known| known.axis.name == *given.axis)
        .collect();
    if axes.is_empty() {
        return Some(UnknownGiven::Axis {
            given: given.clone(),
            hint: Hint::new(&given.axis, meant.iter().map(|known| &*known.axis.name)),
        });
    }
    let is_of_node = |known: &Known| matches!(given.scope(known.param), Some(Scope::Node(_)));
    if axes.iter().all(|known| is_of_node(known) && !known.axis.per_node) {
        return Some(UnknownGiven::NotPerNode { given: given.clone() });
    }
    let values: BTreeSet<&str> = axes
        .iter()
        .flat_map(|known| known.axis.values.iter().map(|value| &**value))
        .collect();
    if values.contains(&*given.value) {
        return None;
    }
    Some(UnknownGiven::Value {
        given: given.clone(),
        hint: Hint::new(&given.value, values),
    })
}
