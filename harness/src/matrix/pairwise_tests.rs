//! The covering array against all cells of small matrices, and its speed on a large one.

use std::collections::BTreeSet;
use std::time::Instant;

use rand::RngExt as _;

use super::test_support::{chosen, demanding, expand_in, numbers, options, rules, server};
use super::{Matrix, SkipKind};
use crate::param::{Axis, AxisValue, Environment, Shape};
use crate::registry::{Options, Requirement, Rule, Site};
use crate::seed::Seed;
use crate::variant::{Mode, VariantAxis};

/// `a`: v of 3 and w of 2 values; `b`: v of 2; `c`: none, not installed; `d`: none, without the capability.
fn kinds(_: &Site, _: &Environment) -> Shape {
    let kind = |label: &'static str, variants: Vec<VariantAxis>| AxisValue {
        label: label.into(),
        provides: if label == "d" { &[] } else { &["it"] },
        unavailable: (label == "c").then(|| "not installed".to_owned()),
        variants,
        ..AxisValue::default()
    };
    let values = vec![
        kind(
            "a",
            vec![
                VariantAxis::new("v", ["0", "1", "2"]),
                VariantAxis::new("w", ["0", "1"]),
            ],
        ),
        kind("b", vec![VariantAxis::new("v", ["0", "1"])]),
        kind("c", vec![VariantAxis::new("v", ["0", "1"])]),
        kind("d", Vec::new()),
    ];
    Shape {
        axis: Some(Axis {
            values,
            empty_because: None,
        }),
        ..Shape::default()
    }
}

/// Every two values of a cell.
fn pairs(matrix: &Matrix, cell: u64) -> BTreeSet<(String, String)> {
    let labels: Vec<String> = matrix
        .labels(cell)
        .iter()
        .map(|(axis, label)| format!("{axis}={label}"))
        .collect();
    let mut pairs = BTreeSet::new();
    for one in &labels {
        pairs.insert((one.clone(), one.clone()));
        pairs.extend(labels.iter().map(|other| (one.clone(), other.clone())));
    }
    pairs
}

fn check(matrix: &Matrix) -> usize {
    let chosen = matrix.pairwise();
    assert!(chosen.is_sorted() && chosen.iter().all(|cell| *cell < matrix.cells()));
    let runs = |cell: &u64| matrix.skip_reason(*cell).is_none();
    let wanted: BTreeSet<_> = (0..matrix.cells())
        .filter(runs)
        .flat_map(|cell| pairs(matrix, cell))
        .collect();
    let found: BTreeSet<_> = chosen
        .iter()
        .copied()
        .filter(runs)
        .flat_map(|cell| pairs(matrix, cell))
        .collect();
    assert_eq!(found, wanted);
    // What never runs is told of.
    let values = |cells: &mut dyn Iterator<Item = u64>| -> BTreeSet<String> {
        let labels = cells.flat_map(|cell| {
            let axes = matrix.axes.iter().enumerate();
            axes.map(move |(axis, _)| format!("{axis}={}", matrix.value(cell, axis).label))
        });
        labels.collect()
    };
    let all = values(&mut (0..matrix.cells()));
    assert_eq!(values(&mut chosen.iter().copied()), all);
    chosen.len()
}

/// Something that a rule can say, at random.
fn literal(rng: &mut impl rand::Rng, sites: usize) -> (&'static str, &'static str) {
    let site = rng.random_range(0..sites);
    let is_number = site >= 2;
    let (name, label) = if is_number {
        (format!("n{site}"), rng.random_range(0..2).to_string())
    } else {
        match rng.random_range(0..3) {
            0 => (
                format!("k{site}"),
                ["a", "b", "c", "d"][rng.random_range(0..4)].to_owned(),
            ),
            1 => (format!("k{site}.v"), rng.random_range(0..3).to_string()),
            _ => (format!("k{site}.w"), rng.random_range(0..2).to_string()),
        }
    };
    (name.leak(), label.leak())
}

#[test]
fn every_pair_that_can_run_is_in_a_chosen_cell_that_runs() {
    let mut rng = Seed(11).stream("pairwise");
    let mut thinned = 0;
    for round in 0..150 {
        let sites = rng.random_range(1..=4);
        let site = |number: usize| match number {
            0 => Site::new("k0", kinds),
            1 => Site::new("k1", kinds),
            2 => numbers("n2", 2),
            _ => numbers("n3", 3),
        };
        let count = rng.random_range(0..5);
        let exclude: Vec<Rule> = (0..count)
            .map(|_| {
                let mut when: Vec<(&str, &str)> = Vec::new();
                for _ in 0..rng.random_range(1..=3) {
                    let literal = literal(&mut rng, sites);
                    if when.iter().all(|(name, _)| *name != literal.0) {
                        when.push(literal);
                    }
                }
                Rule {
                    when: when.leak(),
                    because: "x",
                }
            })
            .collect();
        let requires = vec![Requirement {
            param: "k0",
            capability: "it",
        }];
        let options = Options {
            exclude: exclude.leak(),
            requires: if round % 2 == 0 { requires.leak() } else { &[] },
            ..options()
        };
        let given: &[&str] = if round % 5 == 0 { &["k0.v=1"] } else { &[] };
        let matrix = expand_in(
            (0..sites).map(site).collect(),
            options,
            &chosen(Mode::Pairwise, given),
        );
        if check(&matrix) < matrix.cells() as usize {
            thinned += 1;
        }
    }
    assert!(thinned > 80, "{thinned} of 150 matrices are smaller");
}

#[test]
fn a_pair_is_not_left_to_clients_that_their_server_cannot_serve() {
    let sites = vec![
        Site::new("broker", server),
        Site::new("publisher", demanding),
        Site::new("subscriber", demanding),
        numbers("n", 2),
    ];
    let matrix = expand_in(sites, options(), &chosen(Mode::Pairwise, &[]));
    check(&matrix);
}

#[test]
fn the_cells_are_few_and_always_the_same() {
    let of = |sites: Vec<Site>| expand_in(sites, options(), &chosen(Mode::Pairwise, &[]));
    let ten = |count: usize| -> Vec<Site> {
        (0..10)
            .map(|axis| numbers(format!("a{axis}").leak(), count))
            .collect()
    };
    assert!(of(ten(2)).pairwise().len() <= 12, "the best known has 6");
    assert!(of(ten(3)).pairwise().len() <= 30, "the best known has 14");
    assert_eq!(of(ten(3)).pairwise(), of(ten(3)).pairwise());
    assert_eq!(of(vec![numbers("a", 7)]).pairwise().len(), 7);
}

#[test]
fn a_product_of_a_million_is_thinned_without_going_through_it() {
    let axes = |lengths: &[usize]| -> Vec<Site> {
        let axes = lengths.iter().enumerate();
        axes.map(|(axis, &length)| numbers(format!("a{axis}").leak(), length))
            .collect()
    };
    let rule = |n: &'static str| Rule {
        when: vec![("a0", "1"), ("a1", n)].leak(),
        because: "x",
    };
    for lengths in [&[10; 6][..], &[1000, 1000], &[100, 100, 100], &[2; 40]] {
        let options = Options {
            exclude: rules([rule("0"), rule("1")]),
            ..options()
        };
        let begun = Instant::now();
        let matrix = expand_in(axes(lengths), options, &chosen(Mode::Pairwise, &[]));
        let cells = matrix.pairwise();
        let took = begun.elapsed();
        println!(
            "{lengths:?}: {} of {} cells in {took:?}",
            cells.len(),
            matrix.cells()
        );
        // Nothing is optimised here; going through the product would take minutes.
        assert!(took.as_secs() < 20, "{took:?}");
        let excluded = cells.iter().filter(|cell| matrix.skip_reason(**cell).is_some());
        assert!(excluded.into_iter().all(|cell| {
            matrix
                .skip_reason(*cell)
                .is_some_and(|skip| skip.kind == SkipKind::Excluded)
        }));
        let other = matrix.cells() - 1;
        assert_eq!(matrix.find(&matrix.case_name(other)), Some(other));
    }
}
