//! Clusters whose nodes are of several kinds, `#[mixed("a", "b")]`: one value of the axis, `a+b`, that has the kind of
//! each node as a variant.

use robust_test_harness::matrix::Hint;
use robust_test_harness::param::AxisValue;
use robust_test_harness::variant::{VariantAxis, Variants};

use crate::service::ServerKind;
use crate::variant::VERSION;

/// The axis of the nodes' kinds.
const KIND: &str = "kind";

/// The kinds that are named, of `all` of the service, or everything that is wrong with the names.
pub(super) fn named(
    names: &[&str],
    all: &[&'static ServerKind],
) -> Result<Vec<&'static ServerKind>, Vec<String>> {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for name in names {
        match all.iter().find(|kind| kind.name == *name) {
            Some(kind) if kind.cluster.is_some() => found.push(*kind),
            Some(_) => wrong.push(format!(
                "`#[mixed]` names `{name}`, whose nodes form no clusters: add `cluster` to its `#[robust_server(..)]`"
            )),
            None => {
                let hint = Hint::new(name, all.iter().map(|kind| kind.name));
                wrong.push(format!(
                    "`#[mixed]` names `{name}`, which is no kind of server of this service{hint}"
                ));
            }
        }
    }
    if wrong.is_empty() { Ok(found) } else { Err(wrong) }
}

/// As in a case's name.
pub(super) fn label(kinds: &[&'static ServerKind]) -> String {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    names.join("+")
}

/// One value of `values`, which are those of the kinds. It provides what each of them does, and can be varied in what
/// each of them can be varied in; what some of them alone have stays at its default.
pub(super) fn mix(values: Vec<AxisValue>) -> Vec<AxisValue> {
    let Some((first, others)) = values.split_first() else {
        return Vec::new();
    };
    let labels: Vec<&str> = values.iter().map(|value| &*value.label).collect();
    let kinds = VariantAxis {
        per_node: true,
        each_node: true,
        ..VariantAxis::new(KIND, values.iter().map(|value| value.label.clone()))
    };
    let provides = first.provides.iter().copied();
    let provides =
        provides.filter(|capability| others.iter().all(|other| other.provides.contains(capability)));
    let mut variants: Vec<VariantAxis> = Vec::new();
    for axis in values.iter().flat_map(|value| &value.variants) {
        if !variants.iter().any(|known| known.name == axis.name) {
            variants.extend(common(axis, &values));
        }
    }
    vec![AxisValue {
        label: labels.join("+").into(),
        // A few bytes a scenario that mixes kinds.
        provides: provides.collect::<Vec<_>>().leak(),
        // Servers require nothing: they connect to nobody.
        requires: &[],
        unavailable: values.iter().find_map(|value| value.unavailable.clone()),
        variants: std::iter::once(kinds).chain(variants).collect(),
        nodes: first.nodes,
    }]
}

/// What is left of an axis in a mix of kinds.
fn common(axis: &VariantAxis, values: &[AxisValue]) -> Option<VariantAxis> {
    let mut common = axis.clone();
    for value in values {
        match value.variants.iter().find(|own| own.name == axis.name) {
            Some(own) => {
                common.values.retain(|value| own.values.contains(value));
                common.fixed |= own.fixed;
                common.per_node |= own.per_node;
            }
            None => common.values.truncate(1),
        }
    }
    // Versions come and go with `--bin`; of what is declared, an axis without values is told as a mistake.
    (axis.name != VERSION || !common.values.is_empty()).then_some(common)
}

/// The kind of a node with these variants: one that was added in an expanded run has the first.
pub(super) fn kind_of(kinds: &[&'static ServerKind], variants: &Variants) -> Option<&'static ServerKind> {
    let named = (kinds.len() > 1).then(|| variants.get(KIND)).flatten();
    let found = named.and_then(|name| kinds.iter().find(|kind| kind.name == name));
    found.or(kinds.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(label: &'static str, provides: &'static [&'static str], variants: &[VariantAxis]) -> AxisValue {
        AxisValue {
            label: label.into(),
            provides,
            variants: variants.to_vec(),
            nodes: Some(3),
            ..AxisValue::default()
        }
    }

    #[test]
    fn a_mix_has_what_all_of_its_kinds_have() {
        let tls = VariantAxis::new("tls", ["off", "on"]);
        let pages = |values: &[&'static str]| VariantAxis::new("pages", values.iter().copied());
        let mut absent = value("c", &["a", "b"], &[tls.clone(), pages(&["large", "small"])]);
        absent.unavailable = Some("`c` is not installed".to_owned());
        let mixed = mix(vec![
            value("a", &["a"], &[tls.clone(), pages(&["small", "large", "huge"])]),
            value("b", &["b", "a"], &[pages(&["huge", "large"])]),
            absent,
        ]);
        let [mixed] = &mixed[..] else { panic!("{mixed:?}") };
        assert_eq!((&*mixed.label, mixed.nodes), ("a+b+c", Some(3)));
        assert_eq!(mixed.provides, ["a"]);
        assert_eq!(mixed.unavailable.as_deref(), Some("`c` is not installed"));
        let axes: Vec<(&str, Vec<&str>, bool)> = mixed
            .variants
            .iter()
            .map(|axis| {
                (
                    &*axis.name,
                    axis.values.iter().map(|value| &**value).collect(),
                    axis.per_node,
                )
            })
            .collect();
        assert_eq!(
            axes,
            [
                ("kind", vec!["a", "b", "c"], true),
                ("tls", vec!["off"], false),
                ("pages", vec!["large"], false)
            ]
        );
    }

    #[test]
    fn versions_that_no_two_kinds_have_in_common_are_left_out() {
        let version = |value| VariantAxis::new(VERSION, [value]);
        let mixed = mix(vec![
            value("a", &[], &[version("1")]),
            value("b", &[], &[version("2")]),
        ]);
        assert_eq!(mixed[0].variants.len(), 1);
    }
}
