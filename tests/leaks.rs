//! The leak check: what is left of each class is found, named, and laid to the case that left it; what may stay is
//! told with its reason; and cases that leave nothing are never accused.

use std::collections::BTreeSet;

use robust_test_tests::{Finished, Planted, Verdict};

const LEAKS: &str = env!("CARGO_BIN_EXE_leaks");
const CLEAN: &str = env!("CARGO_BIN_EXE_clean");
const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-server");

/// What must be said of each case that leaves something: all of these.
const NAMED: &[(&str, &[&str])] = &[
    ("a_task", &["1 tokio task"]),
    ("tasks_of_many_threads", &["2 tokio tasks"]),
    ("a_thread", &["thread ", "(left-thread)"]),
    ("a_child", &["process pid ", "(sleep 7802)"]),
    ("a_daemon", &["process pid ", "(sleep 7803)"]),
    ("a_file_that_is_open", &["file descriptor ", ": /etc/hostname"]),
    ("a_pipe", &["file descriptor ", ": the writing end of pipe "]),
    (
        "a_tcp_listener",
        &["file descriptor ", ": TCP socket that listens on 127.0.0.1:"],
    ),
    (
        "a_tcp_connection",
        &[
            "file descriptor ",
            ": TCP connection from 127.0.0.1:",
            " to 127.0.0.1:",
        ],
    ),
    (
        "a_udp_socket",
        &["file descriptor ", ": UDP socket bound to 127.0.0.1:"],
    ),
    (
        "a_unix_listener",
        &["file descriptor ", ": Unix socket that listens on /", "/socket"],
    ),
    (
        "a_temporary_file",
        &["`left-file` in the temporary folder, a file of 3 bytes"],
    ),
    (
        "a_temporary_folder",
        &["`left-folder-", "in the temporary folder, a folder with 1 entry"],
    ),
    ("a_thread_of_another_name", &["(left-all-the-s"]),
    ("one_of_many[tens=3,ones=2]", &["(left-by-3-2)"]),
    ("one_of_many[tens=5,ones=1]", &["TCP socket that listens on"]),
    (
        "one_of_many[tens=7,ones=4]",
        &["`left-by-7-4` in the temporary folder"],
    ),
    ("one_of_many[tens=8,ones=0]", &["1 tokio task"]),
];

fn leaks(arguments: &[&str]) -> Finished {
    Planted::new(LEAKS).args(arguments).run()
}

fn text(verdict: &Verdict) -> String {
    format!("{}\n{}", verdict.message, verdict.details)
}

#[test]
fn what_is_left_is_named_and_laid_to_the_case_that_left_it() {
    // In one slot the cases come one after another, in workers that others had before.
    let one_slot = [
        "--test-threads",
        "1",
        "one_of_many",
        "z_finds",
        "a_daemon",
        "a_temporary",
    ];
    for arguments in [&one_slot[..], &[]] {
        let finished = leaks(arguments);
        assert_eq!(finished.code(), Some(101), "{}", finished.stdout);
        let verdicts = finished.verdicts();
        for (case, parts) in NAMED {
            let Some(verdict) = verdicts.get(*case) else {
                assert!(!arguments.is_empty(), "{case} did not run");
                continue;
            };
            assert_eq!(verdict.class, "leak", "{case}: {verdict:?}");
            assert!(
                verdict.message.starts_with("left behind: "),
                "{case}: {verdict:?}"
            );
            for part in *parts {
                assert!(text(verdict).contains(part), "{case}: {part:?}: {verdict:?}");
            }
            assert!(!text(verdict).contains("2 things"), "{case}: {verdict:?}");
        }
        let named: BTreeSet<&str> = NAMED.iter().map(|(case, _)| *case).collect();
        for (case, verdict) in &verdicts {
            if !named.contains(case.as_str()) {
                assert_eq!(verdict.status, "passed", "{case}: {verdict:?}");
            }
        }
    }
}

#[test]
fn a_leak_of_an_attempt_is_that_attempts() {
    let finished = leaks(&["only_the_first_attempt", "z_finds", "--format", "json"]);
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
    let events = std::fs::read_to_string(finished.report().join("events.jsonl")).expect("events");
    let line = events
        .lines()
        .find(|line| line.contains("\"case_finished\"") && line.contains("only_the_first"));
    let event: serde_json::Value = serde_json::from_str(line.expect("a verdict")).expect("JSON");
    assert_eq!(event["status"], "passed");
    let earlier = event["earlier"].as_array().expect("an attempt before");
    assert_eq!(earlier.len(), 1);
    assert_eq!(earlier[0]["problem"]["class"], "leak");
    let message = earlier[0]["problem"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("(first-attempt)"), "{message}");
}

#[test]
fn what_may_stay_is_told_with_the_reason_and_reaches_no_other_case() {
    let arguments = ["allowed_", "z_finds", "--test-threads", "1", "--show-output"];
    let finished = leaks(&arguments);
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
    let verdicts = finished.verdicts();
    let output = &verdicts["allowed_thread"].output;
    let told = "left behind, as `allow_leak(threads = \"kept-for-a-reason\")` allows: thread ";
    assert!(output.contains(told), "{output}");
    assert!(
        output.contains("(because: the driver cannot be stopped)"),
        "{output}"
    );
    let each = &verdicts["allowed_of_each_class"].output;
    for reason in [
        "background work",
        "it ends by itself",
        "kept open",
        "kept open too",
        "a cache",
    ] {
        assert!(each.contains(&format!("(because: {reason})")), "{reason}: {each}");
    }
    // A text that was of no use is told once; those that hold for all only where nothing was left out.
    let unused = "`allow_leak(files = \"never\")` of `allowed_for_nothing` took effect in no case";
    assert_eq!(finished.stderr.matches(unused).count(), 1, "{}", finished.stderr);
    assert_eq!(finished.stderr.matches("took effect in no case").count(), 1);

    let all = leaks(&[]);
    let unused = "`allow_leak(listeners = \"that nobody opens\")`! took effect in no case";
    assert_eq!(all.stderr.matches(unused).count(), 1, "{}", all.stderr);
    assert!(!all.stderr.contains("of a library's"), "{}", all.stderr);
}

#[test]
fn what_a_library_keeps_becomes_a_part_of_its_worker() {
    let arguments = ["a_library", "z_finds", "--test-threads", "1", "--show-output"];
    let finished = leaks(&arguments);
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
    let verdicts = finished.verdicts();
    let rounds: Vec<&Verdict> = verdicts
        .iter()
        .filter(|(case, _)| case.starts_with("a_library"))
        .map(|(_, verdict)| verdict)
        .collect();
    let process = |verdict: &&Verdict| {
        let line = verdict.output.lines().find(|line| line.starts_with("in process"));
        line.map(str::to_owned)
    };
    let processes: BTreeSet<_> = rounds.iter().map(process).collect();
    assert_eq!(processes.len(), 1, "{processes:?}");
    let told = rounds
        .iter()
        .filter(|verdict| verdict.output.contains("left behind"));
    assert_eq!(told.count(), 1, "only the one that started it");
}

#[test]
fn a_thousand_clean_cases_are_not_accused() {
    /// 14 cases each; `.ci/nightly` runs more of them.
    const ROUNDS: usize = 72;
    let finished = Planted::new(CLEAN)
        .args([
            "--bin",
            &format!("process={PROGRAM}"),
            "--repeat",
            &ROUNDS.to_string(),
        ])
        .run();
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
    let events = std::fs::read_to_string(finished.report().join("events.jsonl")).expect("events");
    let passed = events
        .lines()
        .filter(|line| line.contains("\"status\":\"passed\""));
    assert_eq!(passed.count(), 14 * ROUNDS);
}
