//! What becomes of the variants of a scenario's kinds.

use std::collections::{BTreeMap, BTreeSet};

use super::test_support::{
    chosen, client, cluster, expand_in, known, kv, numbers, options, rule, rules, try_expand_in,
};
use super::{Matrix, SkipKind};
use crate::param::{Axis, AxisValue, Environment, Shape};
use crate::registry::{Options, Rule, Site};
use crate::seed::Seed;
use crate::variant::{Mode, Source, VariantAxis};

fn broker() -> Site {
    Site::new("broker", kv)
}

fn sites() -> Vec<Site> {
    vec![broker(), Site::new("client", client)]
}

fn pin(pins: &'static [(&'static str, &'static str)]) -> Options {
    Options {
        pin: pins,
        ..options()
    }
}

fn forbid<const N: usize>(forbid: [Rule; N]) -> Options {
    Options {
        forbid: rules(forbid),
        ..options()
    }
}

fn exclude<const N: usize>(exclude: [Rule; N]) -> Options {
    Options {
        exclude: rules(exclude),
        ..options()
    }
}

fn cell(matrix: &Matrix, name: &str) -> u64 {
    matrix.find(name).unwrap_or_else(|| panic!("there is no {name}"))
}

const REDIS: &str = "m::x[broker=redis,client=paho]";

/// The values of a case, as texts by name.
fn values(matrix: &Matrix, name: &str, seed: u64) -> BTreeMap<String, (String, Source)> {
    let assignment = matrix.assignment(cell(matrix, name), Seed(seed));
    assignment
        .list()
        .into_iter()
        .map(|one| (one.name, (one.value, one.source)))
        .collect()
}

fn value(matrix: &Matrix, seed: u64, name: &str) -> String {
    values(matrix, REDIS, seed)[name].0.clone()
}

fn skip(matrix: &Matrix, name: &str) -> Option<(SkipKind, String)> {
    let skip = matrix.skip_reason(cell(matrix, name))?;
    Some((skip.kind, skip.reason.to_string()))
}

#[test]
fn a_value_comes_from_the_highest_that_says_anything() {
    let of = |options: Options, environment: &Environment| {
        let matrix = expand_in(sites(), options, environment);
        values(&matrix, REDIS, 7)["broker.persistence"].clone()
    };
    let pinned = || pin(&[("persistence", "rdb"), ("broker.tls", "on")]);
    let random = Environment::default();
    assert_eq!(
        of(pinned(), &chosen(Mode::Random, &["persistence=aof"])),
        ("aof".into(), Source::CommandLine)
    );
    assert_eq!(
        of(pinned(), &chosen(Mode::Default, &[])),
        ("rdb".into(), Source::Pinned)
    );
    assert_eq!(
        of(pinned(), &chosen(Mode::All, &[])),
        ("rdb".into(), Source::Pinned)
    );
    assert_eq!(
        of(options(), &chosen(Mode::Default, &[])),
        ("none".into(), Source::Default)
    );
    assert_eq!(of(options(), &random).1, Source::Random);
    // The more special one counts, on both levels.
    let both = chosen(Mode::Random, &["broker.persistence=aof", "persistence=none"]);
    assert_eq!(of(options(), &both).0, "aof");
    let pins = pin(&[("persistence", "rdb"), ("broker.persistence", "aof")]);
    assert_eq!(of(pins, &random), ("aof".into(), Source::Pinned));
}

#[test]
fn draws_take_every_value_and_know_nothing_of_each_other() {
    let matrix = expand_in(sites(), options(), &Environment::default());
    let drawn: Vec<(String, String)> = (0..200)
        .map(|seed| {
            (
                value(&matrix, seed, "broker.persistence"),
                value(&matrix, seed, "broker.tls"),
            )
        })
        .collect();
    let pairs: BTreeSet<_> = drawn.iter().cloned().collect();
    assert_eq!(pairs.len(), 6, "{pairs:?}");
    for wanted in ["none", "rdb", "aof"] {
        let count = drawn.iter().filter(|(value, _)| value == wanted).count();
        assert!((40..95).contains(&count), "{wanted}: {count} of 200");
    }
    // An axis that is said draws nothing, and the other one draws what it drew.
    let given = expand_in(sites(), options(), &chosen(Mode::Random, &["persistence=aof"]));
    let fewer = expand_in(
        vec![broker(), numbers("n", 3), Site::new("client", client)],
        options(),
        &Environment::default(),
    );
    for (seed, (_, tls)) in (0..200).zip(&drawn) {
        assert_eq!(value(&given, seed, "broker.tls"), *tls);
        let other = values(&fewer, "m::x[broker=redis,n=2,client=paho]", seed);
        assert_eq!(other["broker.tls"].0, *tls);
    }
}

#[test]
fn draws_are_the_same_in_every_release() {
    let matrix = expand_in(sites(), options(), &Environment::default());
    let drawn: Vec<String> = (0..8)
        .map(|seed| value(&matrix, seed, "broker.persistence"))
        .collect();
    assert_eq!(drawn, PERSISTENCE_OF_SEEDS);
}

const PERSISTENCE_OF_SEEDS: [&str; 8] = ["aof", "aof", "rdb", "rdb", "rdb", "none", "none", "none"];

#[test]
fn nodes_draw_each_for_themselves_and_the_whole_once() {
    let of = |environment: &Environment, options: Options| {
        expand_in(vec![Site::new("cluster", cluster)], options, environment)
    };
    let name = "m::x[cluster=quorum]";
    let matrix = of(&Environment::default(), options());
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let values = values(&matrix, name, seed);
        assert_eq!(
            values.keys().collect::<Vec<_>>(),
            [
                "cluster-1.version",
                "cluster-2.version",
                "cluster-3.version",
                "cluster.engine"
            ]
        );
        assert_eq!(values["cluster.engine"], ("lsm".into(), Source::Default), "fixed");
        seen.insert((
            values["cluster-1.version"].0.clone(),
            values["cluster-2.version"].0.clone(),
        ));
    }
    assert_eq!(seen.len(), 9);

    let assignment = matrix.assignment(0, Seed(3));
    let first = assignment.of("cluster", Some(1));
    assert_eq!(
        first.value("version"),
        Ok(&*values(&matrix, name, 3)["cluster-1.version"].0)
    );
    assert_eq!(first.value("engine"), Ok("lsm"));
    assert_eq!(assignment.of("cluster", None).get("version"), None);
    let later: BTreeSet<String> = (0..50)
        .map(|seed| {
            matrix
                .assignment(0, Seed(seed))
                .of("cluster", Some(9))
                .get("version")
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(later.len(), 3, "a node that is added draws too");

    let given = chosen(Mode::Random, &["cluster-2.version=2", "engine=btree"]);
    let values_given = values(&of(&given, options()), name, 3);
    assert_eq!(
        values_given["cluster-2.version"],
        ("2".into(), Source::CommandLine)
    );
    assert_eq!(
        values_given["cluster-1.version"],
        values(&matrix, name, 3)["cluster-1.version"]
    );
    assert_eq!(
        values_given["cluster.engine"],
        ("btree".into(), Source::CommandLine)
    );

    let expanded = of(&chosen(Mode::All, &["cluster-2.version=2"]), options());
    assert_eq!(expanded.cells(), 6);
    let values_expanded = values(
        &expanded,
        "m::x[cluster=quorum,cluster.version=1,cluster.engine=btree]",
        3,
    );
    let texts: Vec<&str> = values_expanded.values().map(|(value, _)| &**value).collect();
    assert_eq!(texts, ["1", "2", "1", "btree"]);
}

#[test]
fn what_is_expanded_stands_in_the_names_of_the_kinds_that_have_it() {
    let matrix = expand_in(sites(), options(), &chosen(Mode::All, &[]));
    assert_eq!(matrix.cells(), 2 * (3 * 2 + 1 + 1));
    let mut names = BTreeSet::new();
    for cell in 0..matrix.cells() {
        let name = matrix.case_name(cell);
        assert_eq!(matrix.find(&name), Some(cell), "{name}");
        assert!(names.insert(name));
    }
    for name in [
        "m::x[broker=redis,broker.persistence=aof,broker.tls=on,client=paho]",
        "m::x[broker=mini,client=rumqttc]",
        "m::x[broker=bare,client=rumqttc]",
    ] {
        assert!(names.contains(name), "{name}");
    }
    for wrong in [
        "m::x[broker=redis,client=paho]",
        "m::x[broker=redis,broker.persistence=aof,client=paho]",
        "m::x[broker=redis,broker.tls=on,broker.persistence=aof,client=paho]",
        "m::x[broker=redis,broker.persistence=of,broker.tls=on,client=paho]",
        "m::x[broker=mini,broker.persistence=none,client=paho]",
        "m::x[broker=redis,broker.persistence=aof,broker.tls=on,client=paho,]",
        "m::x[broker=redis,broker.persistence=aof,broker.tls=on]",
    ] {
        assert_eq!(matrix.find(wrong), None, "{wrong}");
    }
    let found = cell(
        &matrix,
        "m::x[broker=redis,broker.persistence=aof,broker.tls=on,client=paho]",
    );
    assert_eq!(matrix.choices(found), [0, 1]);
    assert_eq!(
        matrix.labels(found),
        [
            ("broker", "redis"),
            ("broker.persistence", "aof"),
            ("broker.tls", "on"),
            ("client", "paho")
        ]
    );
    let assigned = matrix.assignment(found, Seed(1)).list();
    assert!(
        assigned.iter().all(|one| one.source == Source::Expanded),
        "{assigned:?}"
    );

    // What is said is not expanded.
    let given = expand_in(sites(), options(), &chosen(Mode::All, &["tls=on"]));
    assert_eq!(given.cells(), 2 * (3 + 1 + 1));
    assert!(
        given
            .find("m::x[broker=redis,broker.persistence=aof,client=paho]")
            .is_some()
    );
}

#[test]
fn names_are_found_also_where_labels_begin_like_others_and_values_like_names() {
    fn odd(_: &Site, _: &Environment) -> crate::param::Shape {
        let value = |label: &'static str, values: &[&'static str]| crate::param::AxisValue {
            label: label.into(),
            variants: vec![crate::variant::VariantAxis::new("v", values.to_vec())],
            ..Default::default()
        };
        crate::param::Shape {
            axis: Some(crate::param::Axis {
                values: vec![
                    value("a", &["1", "1.v"]),
                    value("a,b", &["1", "11"]),
                    value("ab", &["a.v"]),
                ],
                empty_because: None,
            }),
            ..Default::default()
        }
    }
    let matrix = expand_in(
        vec![Site::new("a", odd), Site::new("b", odd)],
        options(),
        &chosen(Mode::All, &[]),
    );
    assert_eq!(matrix.cells(), 25);
    for cell in 0..25 {
        assert_eq!(
            matrix.find(&matrix.case_name(cell)),
            Some(cell),
            "{}",
            matrix.case_name(cell)
        );
    }
}

#[test]
fn a_kind_that_lacks_the_value_is_skipped_and_one_that_lacks_the_axis_is_not() {
    let matrix = expand_in(sites(), options(), &chosen(Mode::Random, &["persistence=aof"]));
    assert_eq!(skip(&matrix, REDIS), None);
    assert_eq!(skip(&matrix, "m::x[broker=bare,client=paho]"), None);
    let (kind, reason) = skip(&matrix, "m::x[broker=mini,client=paho]").unwrap();
    assert_eq!(kind, SkipKind::Variant);
    assert_eq!(
        reason,
        "kind \"mini\" of parameter \"broker\" cannot have --variant persistence=aof: it has persistence none"
    );
    let pinned = expand_in(
        sites(),
        pin(&[("broker.persistence", "aof")]),
        &Environment::default(),
    );
    let (_, reason) = skip(&pinned, "m::x[broker=mini,client=paho]").unwrap();
    assert!(
        reason.contains("persistence=aof, to which the scenario is pinned"),
        "{reason}"
    );
    // The command line wins over the pin.
    let both = expand_in(
        sites(),
        pin(&[("persistence", "aof")]),
        &chosen(Mode::Random, &["persistence=none"]),
    );
    assert_eq!(skip(&both, "m::x[broker=mini,client=paho]"), None);
    assert_eq!(value(&both, 1, "broker.persistence"), "none");
}

#[test]
fn what_is_forbidden_is_neither_drawn_nor_expanded_nor_taken_from_the_command_line() {
    const WITHOUT_RDB: Rule = rule(&[("persistence", "rdb")], "issue 9");
    let matrix = expand_in(sites(), forbid([WITHOUT_RDB]), &Environment::default());
    let drawn: BTreeSet<String> = (0..50)
        .map(|seed| value(&matrix, seed, "broker.persistence"))
        .collect();
    assert_eq!(drawn, BTreeSet::from(["none".to_owned(), "aof".to_owned()]));
    let forbidden = matrix.assignment(cell(&matrix, REDIS), Seed(1)).forbidden();
    assert_eq!(forbidden[0].to_string(), "broker.persistence=rdb (issue 9)");
    let expanded = expand_in(sites(), forbid([WITHOUT_RDB]), &chosen(Mode::All, &[]));
    assert_eq!(expanded.cells(), 2 * (2 * 2 + 1 + 1));
    let given = expand_in(
        sites(),
        forbid([WITHOUT_RDB]),
        &chosen(Mode::Random, &["persistence=rdb"]),
    );
    let (kind, reason) = skip(&given, REDIS).unwrap();
    assert_eq!(
        (kind, &*reason),
        (
            SkipKind::Variant,
            "`forbid` meets --variant persistence=rdb: issue 9"
        )
    );
    // A default that is forbidden is the next one.
    let default = forbid([rule(&[("broker.persistence", "none")], "slow")]);
    let error = try_expand_in(sites(), default, &chosen(Mode::Default, &[]))
        .err()
        .unwrap();
    assert!(
        error.contains("leaves `persistence` of kind `mini` of parameter `broker` none"),
        "{error}"
    );
    let default = forbid([rule(&[("broker.tls", "off")], "policy")]);
    let default = expand_in(sites(), default, &chosen(Mode::Default, &[]));
    assert_eq!(value(&default, 1, "broker.tls"), "on");
}

#[test]
fn declarations_that_name_nothing_or_contradict_themselves_are_told() {
    let error = |options: Options| {
        try_expand_in(sites(), options, &Environment::default())
            .err()
            .unwrap()
    };
    for (options, part) in [
        (
            pin(&[("persistance", "aof")]),
            "`pin` names `persistance`, an axis that no kind of the scenario has; did you mean `persistence`?",
        ),
        (
            pin(&[("client.tls", "on")]),
            "an axis that no kind of parameter `client` has; there are none",
        ),
        (
            pin(&[("broker.persistence", "aoff")]),
            "`pin` names `persistence = \"aoff\"`, a value that no kind of parameter `broker` has; did you mean `aof`?",
        ),
        (
            pin(&[("brokr.tls", "on")]),
            "`pin` names parameter `brokr`, which the scenario does not have; did you mean `broker`?",
        ),
        (
            forbid([rule(&[("tls", "maybe")], "x")]),
            "`forbid` names `tls = \"maybe\"`",
        ),
        (
            exclude([rule(&[("broker.tsl", "on")], "x")]),
            "`exclude` names `tsl`",
        ),
        (
            Options {
                pin: &[("tls", "on")],
                forbid: rules([rule(&[("broker.tls", "on")], "slow")]),
                ..options()
            },
            "`pin` asks for `tls = \"on\"` of parameter `broker`, which `forbid` forbids (slow)",
        ),
        (
            forbid([rule(&[("tls", "on"), ("tls", "off")], "x")]),
            "`forbid` leaves `tls` of kind `redis` of parameter `broker` none of its values: off, on",
        ),
    ] {
        let error = error(options);
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_pinned_version_skips_the_kinds_that_nobody_gave_it_to() {
    let matrix = expand_in(sites(), pin(&[("broker.version", "7")]), &Environment::default());
    let (kind, reason) = skip(&matrix, REDIS).unwrap();
    assert_eq!(kind, SkipKind::Variant);
    assert!(reason.ends_with("give --bin redis@7=PATH"), "{reason}");
    let installed = expand_in(
        sites(),
        pin(&[("broker.version", "installed")]),
        &Environment::default(),
    );
    assert_eq!(skip(&installed, REDIS), None);
}

#[test]
fn an_exclusion_of_a_variant_is_kept_to_by_draws_and_skips_what_is_expanded() {
    const RULE: Rule = rule(&[("client", "paho"), ("broker.tls", "on")], "no certificates");
    let matrix = expand_in(sites(), exclude([RULE]), &Environment::default());
    for seed in 0..50 {
        assert_eq!(value(&matrix, seed, "broker.tls"), "off");
    }
    let other = |seed| {
        values(&matrix, "m::x[broker=redis,client=rumqttc]", seed)["broker.tls"]
            .0
            .clone()
    };
    assert!((0..50).any(|seed| other(seed) == "on"));
    let expanded = expand_in(sites(), exclude([RULE]), &chosen(Mode::All, &[]));
    let on = skip(
        &expanded,
        "m::x[broker=redis,broker.persistence=rdb,broker.tls=on,client=paho]",
    );
    assert_eq!(on, Some((SkipKind::Excluded, "no certificates".to_owned())));
    assert_eq!(
        skip(
            &expanded,
            "m::x[broker=redis,broker.persistence=rdb,broker.tls=off,client=paho]"
        ),
        None
    );
    let given = expand_in(sites(), exclude([RULE]), &chosen(Mode::Random, &["tls=on"]));
    assert_eq!(
        skip(&given, REDIS),
        Some((SkipKind::Excluded, "no certificates".to_owned()))
    );
}

#[test]
fn exclusions_of_several_variants_leave_what_is_left() {
    let rules = [
        rule(&[("broker.persistence", "none"), ("broker.tls", "on")], "a"),
        rule(&[("broker.persistence", "rdb"), ("broker.tls", "on")], "b"),
        rule(&[("broker.persistence", "rdb"), ("broker.tls", "off")], "c"),
    ];
    let matrix = expand_in(sites(), exclude(rules), &Environment::default());
    let drawn: BTreeSet<(String, String)> = (0..100)
        .map(|seed| {
            (
                value(&matrix, seed, "broker.persistence"),
                value(&matrix, seed, "broker.tls"),
            )
        })
        .collect();
    let left = [("aof", "off"), ("aof", "on"), ("none", "off")];
    assert_eq!(
        drawn,
        left.map(|(one, other)| (one.to_owned(), other.to_owned())).into()
    );
    assert_eq!(skip(&matrix, REDIS), None);
}

#[test]
fn a_known_failure_of_a_variant_holds_where_it_is_drawn() {
    let options = Options {
        known_failure: known([rule(&[("broker", "redis"), ("broker.tls", "on")], "handshake")]),
        ..options()
    };
    let matrix = expand_in(sites(), options, &Environment::default());
    let redis = cell(&matrix, REDIS);
    let mut holds = BTreeSet::new();
    for seed in 0..20 {
        let known = matrix.known_failures(redis, &matrix.assignment(redis, Seed(seed)));
        let known = !known.is_empty();
        assert_eq!(known, value(&matrix, seed, "broker.tls") == "on");
        holds.insert(known);
    }
    assert_eq!(holds.len(), 2);
    assert!(matches!(matrix.known_failures_of_some(redis)[..], [(_, false)]));
    let mini = cell(&matrix, "m::x[broker=mini,client=paho]");
    assert!(matrix.known_failures_of_some(mini).is_empty());
}

#[test]
fn cases_without_variants_have_no_assignment() {
    let matrix = expand_in(sites(), options(), &Environment::default());
    assert!(
        matrix
            .assignment(cell(&matrix, "m::x[broker=bare,client=paho]"), Seed(1))
            .is_empty()
    );
    let plain = expand_in(vec![numbers("n", 3)], options(), &chosen(Mode::All, &[]));
    assert!(plain.variants.is_none() && !plain.is_expanded());
}

/// `quorum` with several numbers of nodes, as `Cluster` says it.
fn several() -> Vec<Site> {
    let shape = |site: &Site, environment: &Environment| {
        let mut shape = cluster(site, environment);
        for value in shape.axis.iter_mut().flat_map(|axis| &mut axis.values) {
            value.variants.splice(0..0, VariantAxis::of_nodes(site.nodes));
            value.nodes = site
                .nodes
                .iter()
                .max()
                .and_then(|nodes| u32::try_from(*nodes).ok());
        }
        shape
    };
    vec![
        Site::new("db", shape).nodes(&[1, 3, 5]),
        Site::new("client", client).only(&["paho"]),
    ]
}

fn names(matrix: &Matrix) -> Vec<String> {
    (0..matrix.cells()).map(|cell| matrix.case_name(cell)).collect()
}

const THREE: &str = "m::x[db=quorum,db.nodes=3,client=paho]";

#[test]
fn numbers_of_nodes_are_in_every_name_whatever_the_mode_and_each_node_draws() {
    for mode in [Mode::Random, Mode::Default] {
        let matrix = expand_in(several(), options(), &chosen(mode, &[]));
        let of = |nodes: u32| format!("m::x[db=quorum,db.nodes={nodes},client=paho]");
        assert_eq!(names(&matrix), [1, 3, 5].map(of));
        for nodes in [1, 3, 5] {
            let cell = cell(&matrix, &of(nodes));
            assert_eq!(matrix.case_name(cell), of(nodes));
            let assignment = matrix.assignment(cell, Seed(7));
            assert_eq!(assignment.of("db", None).get("nodes"), Some(&*nodes.to_string()));
            let list = assignment.list();
            let versions = list.iter().filter(|one| one.name.ends_with(".version"));
            assert_eq!(versions.count(), nodes as usize);
            // It is in the name, so nothing else repeats it.
            let said = assignment.said(mode);
            assert!(said.iter().all(|(name, _)| name != "db.nodes"), "{said:?}");
        }
    }
    let one = expand_in(
        vec![Site::new("db", cluster).nodes(&[3])],
        options(),
        &chosen(Mode::Random, &[]),
    );
    assert_eq!(names(&one), ["m::x[db=quorum]"]);
}

#[test]
fn numbers_of_nodes_are_narrowed_and_keep_their_names() {
    let narrowed = |options: Options, given: &[&str]| {
        let matrix = expand_in(several(), options, &chosen(Mode::Random, given));
        names(&matrix)
    };
    assert_eq!(narrowed(options(), &["nodes=3"]), [THREE]);
    assert_eq!(narrowed(pin(&[("db.nodes", "3")]), &[]), [THREE]);
    let small = rule(&[("db.nodes", "1")], "one is no quorum");
    assert_eq!(narrowed(forbid([small]), &[]).len(), 2);
    let matrix = expand_in(several(), exclude([small]), &chosen(Mode::Random, &[]));
    let one = skip(&matrix, "m::x[db=quorum,db.nodes=1,client=paho]");
    assert_eq!(one, Some((SkipKind::Excluded, "one is no quorum".to_owned())));
    assert_eq!(skip(&matrix, THREE), None);
    let seven = expand_in(several(), options(), &chosen(Mode::Random, &["nodes=7"]));
    let (kind, reason) = skip(&seven, THREE).unwrap();
    assert_eq!(kind, SkipKind::Variant);
    assert!(reason.contains("it has nodes 1, 3, 5"), "{reason}");
}

#[test]
fn a_known_failure_of_a_number_of_nodes_is_known_of_its_cells_alone() {
    let known = Options {
        known_failure: known([rule(&[("db.nodes", "3")], "it forgets")]),
        ..options()
    };
    let matrix = expand_in(several(), known, &chosen(Mode::Random, &[]));
    let known: Vec<Option<bool>> = (0..3)
        .map(|cell| {
            matrix
                .known_failures_of_some(cell)
                .first()
                .map(|(_, of_all)| *of_all)
        })
        .collect();
    assert_eq!(known, [None, Some(true), None]);
    let of = |cell| {
        matrix
            .known_failures(cell, &matrix.assignment(cell, Seed(1)))
            .len()
    };
    assert_eq!([of(0), of(1), of(2)], [0, 1, 0]);
}

#[test]
fn pairs_with_numbers_of_nodes_are_covered() {
    let matrix = expand_in(several(), options(), &chosen(Mode::Pairwise, &[]));
    let cells = matrix.thinned().unwrap();
    let names: Vec<String> = cells.iter().map(|&cell| matrix.case_name(cell)).collect();
    for nodes in [1, 3, 5] {
        for engine in ["lsm", "btree"] {
            let has = |name: &String| {
                name.contains(&format!("db.nodes={nodes},")) && name.contains(&format!("db.engine={engine}"))
            };
            assert!(names.iter().any(has), "{nodes} {engine}: {names:?}");
        }
    }
    assert!((cells.len() as u64) < matrix.cells());
}

/// `a+b`: two nodes, each of a kind.
fn mixed(_: &Site, _: &Environment) -> Shape {
    let value = AxisValue {
        label: "a+b".into(),
        variants: vec![VariantAxis {
            per_node: true,
            each_node: true,
            ..VariantAxis::new("kind", ["a", "b"])
        }],
        nodes: Some(2),
        ..AxisValue::default()
    };
    Shape {
        axis: Some(Axis {
            values: vec![value],
            empty_because: None,
        }),
        ..Shape::default()
    }
}

#[test]
fn nodes_that_can_differ_have_an_axis_each_where_variants_are_expanded() {
    let sites = || vec![Site::new("db", mixed)];
    let random = expand_in(sites(), options(), &chosen(Mode::Random, &["db-2.kind=b"]));
    assert_eq!(names(&random), ["m::x[db=a+b]"]);
    let list = values(&random, "m::x[db=a+b]", 7);
    assert_eq!(list["db-1.kind"].1, Source::Random);
    assert_eq!(list["db-2.kind"], ("b".to_owned(), Source::CommandLine));

    let of = |first: &str, second: &str| format!("m::x[db=a+b,db-1.kind={first},db-2.kind={second}]");
    let every = [of("a", "a"), of("a", "b"), of("b", "a"), of("b", "b")];
    let all = expand_in(sites(), options(), &chosen(Mode::All, &[]));
    assert_eq!(names(&all), every);
    for name in &every {
        let assignment = all.assignment(cell(&all, name), Seed(1));
        let kind = |node| assignment.of("db", Some(node)).get("kind").map(str::to_owned);
        let (first, second) = (kind(1).unwrap(), kind(2).unwrap());
        assert_eq!(*name, of(&first, &second));
        assert_eq!((kind(3), assignment.of("db", None).get("kind")), (None, None));
        assert_eq!(assignment.said(Mode::All), []);
        assert_eq!(assignment.alternatives().len(), 2);
    }
    let given = expand_in(sites(), options(), &chosen(Mode::All, &["db-2.kind=b"]));
    assert_eq!(
        names(&given),
        ["m::x[db=a+b,db-1.kind=a]", "m::x[db=a+b,db-1.kind=b]"]
    );
    let said = given.assignment(0, Seed(1)).said(Mode::All);
    assert_eq!(said, [("db-2.kind".to_owned(), "b".to_owned())]);

    // A rule holds for a case where it does for one of the nodes.
    let no_b = rule(&[("db.kind", "b")], "b is broken");
    for mode in [Mode::All, Mode::Pairwise] {
        let matrix = expand_in(sites(), exclude([no_b]), &chosen(mode, &[]));
        let cells = matrix.thinned().unwrap_or_else(|| (0..matrix.cells()).collect());
        let run = cells
            .into_iter()
            .filter(|&cell| matrix.skip_reason(cell).is_none());
        let run: Vec<String> = run.map(|cell| matrix.case_name(cell)).collect();
        assert_eq!(run, [of("a", "a")], "{mode:?}");
    }
    let known = Options {
        known_failure: known([no_b]),
        ..options()
    };
    let matrix = expand_in(sites(), known, &chosen(Mode::All, &[]));
    let known = (0..4).map(|cell| !matrix.known_failures_of_some(cell).is_empty());
    assert_eq!(known.collect::<Vec<_>>(), [false, true, true, true]);
}
