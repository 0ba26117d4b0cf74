//! The variants of kinds: those that they declare, and the versions of their programs.

use robust_test_harness::param::{Environment, INSTALLED};
use robust_test_harness::variant::{Declared, VariantAxis, Variants};

use crate::place::unavailable;

/// The axis of a program's versions.
pub(crate) const VERSION: &str = "version";

/// The axes of a kind and why it cannot run here, if it cannot.
///
/// Where `--bin KIND@VERSION=PATH` gives versions of its program and it declares none, they are one more axis; the
/// one that is installed (or given without a version) is among them where there is one.
pub(crate) fn axes(
    kind: &'static str,
    program: Option<&'static str>,
    declared: &'static [Declared],
    environment: &Environment,
) -> (Vec<VariantAxis>, Option<String>) {
    let unavailable = unavailable(kind, program, environment);
    let mut axes: Vec<VariantAxis> = declared.iter().map(VariantAxis::from).collect();
    let given: Vec<&str> = environment.versions(kind).collect();
    if given.is_empty() || program.is_none() {
        return (axes, unavailable);
    }
    if let Some(version) = axes.iter_mut().find(|axis| axis.name == VERSION) {
        if unavailable.is_none() {
            return (axes, None);
        }
        version.values.retain(|value| given.contains(&&**value));
        let is_any = !version.values.is_empty();
        // Where none of them is given, the kind is told as unavailable, with the axis as declared.
        return match is_any {
            true => (axes, None),
            false => (declared.iter().map(VariantAxis::from).collect(), unavailable),
        };
    }
    let installed = unavailable.is_none().then_some(INSTALLED);
    let values = installed.into_iter().chain(given).map(str::to_owned);
    axes.push(VariantAxis {
        per_node: true,
        ..VariantAxis::new(VERSION, values)
    });
    (axes, None)
}

/// The version of a kind's program that a node has.
pub(crate) fn version(variants: &Variants) -> &str {
    variants.get(VERSION).unwrap_or(INSTALLED)
}

/// The value of an axis; `of` tells whose it is.
///
/// # Panics
/// When the kind has no such axis.
#[track_caller]
pub(crate) fn value<'a>(variants: &'a Variants, axis: &str, of: impl FnOnce() -> String) -> &'a str {
    match variants.value(axis) {
        Ok(value) => value,
        Err(error) => panic!("{}: {error}", of()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn environment(bins: &[(&str, &str)]) -> Environment {
        let bin = |(kind, path): &(&str, &str)| ((*kind).to_owned(), PathBuf::from(path));
        Environment {
            bins: bins.iter().map(bin).collect(),
            ..Environment::default()
        }
    }

    fn versions(bins: &[(&str, &str)], declared: &'static [Declared]) -> (Vec<String>, Option<String>) {
        let (axes, unavailable) = axes("redis", Some("redis-server"), declared, &environment(bins));
        let version = axes.into_iter().find(|axis| axis.name == VERSION);
        let values = version.map(|axis| axis.values.into_iter().map(|value| value.into_owned()).collect());
        (values.unwrap_or_default(), unavailable)
    }

    #[test]
    fn given_versions_are_an_axis_and_the_installed_one_is_the_default_where_there_is_one() {
        let (none, unavailable) = versions(&[], &[]);
        assert!(none.is_empty() && unavailable.is_some());
        let given = [("redis@6", "/a"), ("redis@7", "/b"), ("redisx@8", "/c")];
        assert_eq!(
            versions(&given, &[]),
            (vec!["6".to_owned(), "7".to_owned()], None)
        );
        let also = [("redis", "/p"), ("redis@7", "/b")];
        assert_eq!(
            versions(&also, &[]),
            (vec![INSTALLED.to_owned(), "7".to_owned()], None)
        );
    }

    #[test]
    fn of_declared_versions_those_stay_for_which_there_is_a_program() {
        const DECLARED: &[Declared] = &[Declared {
            name: VERSION,
            values: &["6", "7"],
            fixed: false,
            per_node: true,
        }];
        assert_eq!(
            versions(&[("redis@7", "/b")], DECLARED),
            (vec!["7".to_owned()], None)
        );
        let both = (vec!["6".to_owned(), "7".to_owned()], None);
        assert_eq!(versions(&[("redis", "/p"), ("redis@7", "/b")], DECLARED), both);
        let (declared, unavailable) = versions(&[("redis@8", "/b")], DECLARED);
        assert!(declared == both.0 && unavailable.is_some());
    }
}
