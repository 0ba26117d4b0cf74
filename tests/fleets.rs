//! Clusters of several sizes and of mixed kinds, through the runner.

use std::collections::BTreeSet;

use robust_test_tests::{Finished, Planted};

const FLEETS: &str = env!("CARGO_BIN_EXE_fleets");
const PROGRAM: &str = env!("CARGO_BIN_EXE_gossip-server");

fn run(arguments: &[&str]) -> Finished {
    Planted::new(FLEETS)
        .args(["--bin", &format!("gossip={PROGRAM}")])
        .args(["--bin", &format!("chatter={PROGRAM}")])
        .args(arguments)
        .run()
}

/// The words of a command as a shell takes them, without the program.
fn words(command: &str) -> Vec<String> {
    let output = std::process::Command::new("sh")
        .args([
            "-c",
            &format!("for word in {command}; do printf '%s\\n' \"$word\"; done"),
        ])
        .output()
        .expect("a shell");
    let words = String::from_utf8(output.stdout).expect("text");
    words.lines().skip(1).map(str::to_owned).collect()
}

/// The names that a list has.
fn listed(arguments: &[&str]) -> BTreeSet<String> {
    let listed = run(&[&["--list"], arguments].concat());
    assert_eq!(listed.code(), Some(0), "{}", listed.stderr);
    let names = listed
        .stdout
        .lines()
        .filter_map(|line| line.strip_suffix(": test"));
    names.map(str::to_owned).collect()
}

#[test]
fn a_number_of_nodes_is_an_axis() {
    let finished = run(&["--exact", "has_as_many_nodes_as_its_name_says"]);
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
    let verdicts = finished.verdicts();
    let of = |kind: &str, nodes: u32| {
        let case = format!("has_as_many_nodes_as_its_name_says[db={kind},db.nodes={nodes}]");
        let verdict = &verdicts[&case];
        (&*verdict.status, &*verdict.message)
    };
    assert_eq!(of("gossip", 1).0, "passed");
    assert_eq!(of("chatter", 1), ("skipped", "one has nobody to chat with"));
    for kind in ["gossip", "chatter"] {
        assert_eq!(of(kind, 2).0, "known_failure");
        assert_eq!(of(kind, 4).0, "passed");
    }
    assert_eq!(verdicts.len(), 6, "{:?}", verdicts.keys());
    assert!(
        finished
            .junit()
            .contains_key("has_as_many_nodes_as_its_name_says[db=gossip,db.nodes=4]")
    );
}

#[test]
fn a_number_of_nodes_is_narrowed_and_told_by_the_command_that_repeats_it() {
    let all = listed(&["fails_in_every_size"]);
    let of = |nodes: u32| format!("fails_in_every_size[db=gossip,db.nodes={nodes}]");
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(all.contains(&of(1)) && all.contains(&of(3)));
    let three = listed(&["fails_in_every_size", "--variant", "nodes=3"]);
    assert!(three.len() == 2 && three.contains(&of(3)), "{three:?}");
    let pairwise = listed(&["fails_in_every_size", "--variants", "pairwise"]);
    assert!(
        pairwise.contains(&of(1)) && pairwise.contains(&of(3)),
        "{pairwise:?}"
    );
    assert!(
        pairwise.contains("fails_in_every_size[db=chatter,db.nodes=3,db.pages=large]"),
        "{pairwise:?}"
    );
    let plan = run(&["--plan", "fails_in_every_size"]);
    assert!(plan.stdout.contains("4"), "{}", plan.stdout);

    let failed = run(&["--exact", &of(3)]);
    let verdict = &failed.verdicts()[&of(3)];
    assert_eq!(verdict.message, "3 nodes");
    let again = Planted::new(FLEETS).args(words(&verdict.reproduce)).run();
    assert_eq!(again.verdicts()[&of(3)].message, "3 nodes");

    let wrong = run(&["--variant", "nodes=7"]);
    assert_eq!(wrong.code(), Some(2));
    assert!(
        wrong.stderr.contains("no kind has that value of `nodes`"),
        "{}",
        wrong.stderr
    );
}

/// What a line of a case's output begins with, and ends with.
fn told(text: &str, begin: &str) -> String {
    let line = text.lines().find_map(|line| line.split_once(begin));
    line.unwrap_or_else(|| panic!("no {begin:?} in {text}"))
        .1
        .to_owned()
}

const STAYS: &str = "each_node_is_of_a_kind_and_stays_it";
const FAILS: &str = "fails_where_the_second_node_is_a_chatter[db=gossip+chatter]";

#[test]
fn the_kinds_of_nodes_are_drawn_given_and_kept_over_restarts() {
    let mut seen = BTreeSet::new();
    for seed in ["1", "2", "3", "4", "5", "6"] {
        let finished = run(&["--exact", STAYS, "--seed", seed, "--show-output"]);
        assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
        let case = format!("{STAYS}[db=gossip+chatter]");
        seen.insert(told(&finished.verdicts()[&case].output, "kinds: "));
    }
    assert!(seen.len() > 1, "{seen:?}");
    let given = ["--variant", "kind=gossip", "--variant", "db-2.kind=chatter"];
    let finished = run(&[&["--exact", STAYS, "--show-output"], &given[..]].concat());
    assert!(
        finished.stdout.contains("kinds: gossip chatter gossip"),
        "{}",
        finished.stdout
    );
    let default = run(&["--exact", STAYS, "--show-output", "--variants", "default"]);
    assert!(
        default.stdout.contains("kinds: gossip gossip gossip"),
        "{}",
        default.stdout
    );
}

#[test]
fn the_kinds_of_nodes_are_told_and_repeated_by_the_command() {
    let failed = (1..40).map(|seed| run(&["--exact", FAILS, "--seed", &seed.to_string()]));
    let failed = failed
        .into_iter()
        .find(|finished| finished.code() == Some(101))
        .expect("one that fails");
    let verdict = &failed.verdicts()[FAILS];
    let kinds = told(&format!("{} {}", verdict.message, verdict.details), "kinds: ");
    assert!(
        verdict.output.contains("db-2.kind=chatter [random]"),
        "{}",
        verdict.output
    );
    assert!(
        verdict.reproduce.contains("--variant db-2.kind=chatter"),
        "{}",
        verdict.reproduce
    );
    let again = Planted::new(FLEETS).args(words(&verdict.reproduce)).run();
    let verdict = &again.verdicts()[FAILS];
    assert_eq!(
        told(&format!("{} {}", verdict.message, verdict.details), "kinds: "),
        kinds
    );
    let explained = run(&[
        "--exact",
        FAILS,
        "--variant",
        "db-2.kind=chatter",
        "--explain",
        "--seed",
        "3",
    ]);
    assert!(
        explained
            .stdout
            .contains("fails with db-2.kind=chatter, passes with gossip"),
        "{}",
        explained.stdout
    );
}

#[test]
fn every_mix_is_a_case_where_variants_are_expanded() {
    let all = listed(&[FAILS.split('[').next().expect("a name"), "--variants", "all"]);
    assert_eq!(all.len(), 8, "{all:?}");
    let of = "fails_where_the_second_node_is_a_chatter[db=gossip+chatter,db-1.kind=gossip,db-2.kind=chatter,db-3.kind=gossip]";
    assert!(all.contains(of), "{all:?}");
    let pairs = listed(&[FAILS.split('[').next().expect("a name"), "--variants", "pairwise"]);
    assert!(pairs.len() < 8 && pairs.is_subset(&all), "{pairs:?}");
    for (first, second) in [
        ("gossip", "gossip"),
        ("gossip", "chatter"),
        ("chatter", "gossip"),
        ("chatter", "chatter"),
    ] {
        let pair = format!("db-1.kind={first},db-2.kind={second},");
        assert!(pairs.iter().any(|name| name.contains(&pair)), "{pair}: {pairs:?}");
    }
    let finished = run(&["--variants", "all", "fails_where", "is_known_to_fail"]);
    assert_eq!(finished.code(), Some(101));
    for (case, verdict) in finished.verdicts() {
        let fails = case.contains("db-2.kind=chatter");
        let status = match case.split('[').next() {
            Some("is_known_to_fail_with_a_chatter") if case.contains("=chatter") => "known_failure",
            Some("fails_where_the_second_node_is_a_chatter") if fails => "failed",
            _ => "passed",
        };
        assert_eq!(verdict.status, status, "{case}");
        if status == "failed" {
            let again = Planted::new(FLEETS).args(words(&verdict.reproduce)).run();
            assert_eq!(again.verdicts()[&case].message, verdict.message);
        }
    }
}

#[test]
fn a_mix_is_skipped_where_one_of_its_kinds_cannot_be() {
    let without = Planted::new(FLEETS).args(["--bin", &format!("gossip={PROGRAM}"), "--exact", STAYS]);
    let finished = without.run();
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
    let verdict = &finished.verdicts()[&format!("{STAYS}[db=gossip+chatter]")];
    assert_eq!(verdict.status, "skipped");
    assert!(
        verdict.message.contains("--bin chatter=PATH"),
        "{}",
        verdict.message
    );
    let required = Planted::new(FLEETS)
        .args(["--bin", &format!("gossip={PROGRAM}"), "--exact", STAYS])
        .env("ROBUST_REQUIRE", "chatter")
        .run();
    assert_eq!(required.code(), Some(101));
}
