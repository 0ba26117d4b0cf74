//! Clusters and what nodes do beside their protocol, through the runner: members that know one another, rolling
//! restarts, nodes that join and leave, ports of a node that is down, logs that are searched and bounded.

use robust_test_tests::{Finished, Planted, Verdict};

const CLUSTERS: &str = env!("CARGO_BIN_EXE_clusters");
const PROGRAM: &str = env!("CARGO_BIN_EXE_gossip-server");

/// Those that must not pass, and parts of what must be said.
const BAD: &[(&str, &str, &[&str])] = &[
    (
        "never_settles[db=gossip]",
        "failed",
        &[
            "cluster `db`: not within 1.5 s",
            "db-1: sees db-1, db-2; leader db-1",
            "db-3: does not say whom it sees",
        ],
    ),
    ("a_hook_panics[node=gossip]", "failed", &["no such luck"]),
    (
        "a_sanitizer_reports[node=gossip]",
        "errored",
        &[
            "log of node `node`",
            "AddressSanitizer",
            "heap-use-after-free",
            "allow_log",
        ],
    ),
    (
        "its_kind_calls_a_line_a_defect[node=gossip]",
        "errored",
        &["a torn page", "TORN PAGE 7"],
    ),
    (
        "prints_without_end[node=gossip]",
        "errored",
        &["node `node` printed too much", "more than 16777216"],
    ),
    (
        "dies_in_a_cluster[db=gossip]",
        "errored",
        &["node `db-2` died unexpectedly", "status 7", "told to die"],
    ),
];

fn run(arguments: &[&str]) -> Finished {
    Planted::new(CLUSTERS)
        .args(["--bin", &format!("gossip={PROGRAM}")])
        .args(["--bin", &format!("one_by_one={PROGRAM}")])
        .args(arguments)
        .run()
}

#[test]
fn clusters_do_as_they_are_told_and_what_goes_wrong_is_named() {
    let finished = run(&["--seed", "7"]);
    assert_eq!(finished.code(), Some(101));
    let verdicts = finished.verdicts();
    for (case, status, parts) in BAD {
        let verdict: &Verdict = &verdicts[*case];
        assert_eq!(verdict.status, *status, "{case}: {verdict:?}");
        let text = format!("{}\n{}", verdict.message, verdict.details);
        for part in *parts {
            assert!(text.contains(part), "{case}: no {part:?} in\n{text}");
        }
    }
    for (case, verdict) in &verdicts {
        let is_bad = BAD.iter().any(|(bad, ..)| bad == case);
        assert!(is_bad || verdict.status == "passed", "{case}: {verdict:?}");
    }
    assert_eq!(verdicts.len(), 27, "{:?}", verdicts.keys());
}

#[test]
fn a_log_without_end_is_shortened_and_kept() {
    let finished = run(&["--exact", "prints_without_end[node=gossip]"]);
    let cases = finished.report().join("cases");
    let case = std::fs::read_dir(cases).unwrap().next().unwrap().unwrap();
    let log = case.path().join("node.log");
    let length = log.metadata().unwrap().len();
    assert!((8 << 20..9 << 20).contains(&length), "{length}");
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.contains("bytes left out ---"));
}
