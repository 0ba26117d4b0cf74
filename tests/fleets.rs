//! Clusters of several sizes, through the runner.

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
