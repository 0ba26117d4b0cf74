//! Servers as real processes, through the runner: programs that are missing, given, required, and the ways a
//! server misbehaves. Each error must name the node and show the end of its log; nothing may be left.

use std::collections::BTreeMap;

use robust_test_tests::{Finished, Planted, Signal, Verdict};

const SERVERS: &str = env!("CARGO_BIN_EXE_servers");
const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-server");

fn run(arguments: &[&str]) -> Finished {
    Planted::new(SERVERS)
        .args(["--bin", &format!("echo={PROGRAM}")])
        .args(arguments)
        .run()
}

fn text(verdict: &Verdict) -> String {
    format!("{}\n{}", verdict.message, verdict.details)
}

#[test]
fn a_program_that_is_not_installed_is_a_skip_that_says_what_to_do() {
    let finished = Planted::new(SERVERS).args(["answers"]).run();
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
    let verdicts = finished.verdicts();
    let skipped = &verdicts["answers[server=echo,client=line]"];
    assert_eq!(skipped.status, "skipped");
    for part in ["planted-echo-server", "PATH", "--bin echo="] {
        assert!(skipped.message.contains(part), "{part:?}: {skipped:?}");
    }
    assert_eq!(verdicts["answers[server=embedded,client=line]"].status, "passed");

    for required in ["all", "echo"] {
        let finished = Planted::new(SERVERS)
            .args(["answers"])
            .env("ROBUST_REQUIRE", required)
            .run();
        assert_eq!(finished.code(), Some(101));
        assert_eq!(
            finished.verdicts()["answers[server=echo,client=line]"].class,
            "required"
        );
    }
    let elsewhere = Planted::new(SERVERS)
        .args(["answers"])
        .env("ROBUST_REQUIRE", "embedded")
        .run();
    assert_eq!(elsewhere.code(), Some(0));
}

#[test]
fn each_kind_runs_and_comes_back_on_its_port() {
    let finished = run(&["answers", "comes_back"]);
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
    assert_eq!(finished.verdicts().len(), 4);
    let again = run(&["answers", "comes_back", "--repeat", "20"]);
    assert_eq!(again.code(), Some(0), "{}", again.stdout);
}

#[test]
fn a_server_that_misbehaves_is_named_with_the_end_of_its_log() {
    let finished = run(&[
        "dies_unasked",
        "dies_while",
        "dies_as_expected",
        "exits_at_once",
        "never_listens",
        "forks_away",
        "ignores_sigterm",
        "hangs_in",
    ]);
    assert_eq!(finished.code(), Some(101));
    let verdicts: BTreeMap<String, Verdict> = finished.verdicts();
    let expected: &[(&str, &str, &[&str])] = &[
        (
            "dies_unasked[server=echo,client=line]",
            "errored",
            &["`server`", "status 7", "told to die"],
        ),
        (
            "dies_while_the_case_waits_for_something_else[server=echo,client=line]",
            "errored",
            &["`server`", "status 7", "told to die"],
        ),
        ("dies_as_expected[server=echo,client=line]", "passed", &[]),
        (
            "exits_at_once[server=echo]",
            "errored",
            &["`server`", "status 3", "exit-at-once"],
        ),
        (
            "never_listens[server=echo]",
            "errored",
            &["`server`", "not ready within 2 s", "never-listen"],
        ),
        ("forks_away[server=echo]", "errored", &["`server`"]),
        ("ignores_sigterm[server=echo]", "failed", &["`server`", "SIGTERM"]),
        (
            "a_client_that_hangs_in_connect[server=echo,client=hangs]",
            "errored",
            &["`client`", "`server`", "10 s"],
        ),
        (
            "a_client_that_hangs_in_connect[server=embedded,client=hangs]",
            "errored",
            &["`client`", "10 s"],
        ),
    ];
    assert_eq!(verdicts.len(), expected.len(), "{:?}", verdicts.keys());
    for (case, status, parts) in expected {
        let verdict = &verdicts[*case];
        assert_eq!(verdict.status, *status, "{case}: {}", text(verdict));
        for part in *parts {
            assert!(
                text(verdict).contains(part),
                "{case}: {part:?} is not in {}",
                text(verdict)
            );
        }
    }
    for dead in ["dies_unasked", "dies_while_the_case_waits_for_something_else"] {
        assert_eq!(
            verdicts[&format!("{dead}[server=echo,client=line]")].class,
            "death"
        );
    }
    let kept = verdicts["dies_unasked[server=echo,client=line]"]
        .artifacts
        .clone()
        .expect("kept");
    let log = std::fs::read_to_string(kept.join("server.log")).expect("the node's log is kept");
    assert!(log.contains("told to die"), "{log}");

    let shown = run(&["dies_unasked", "--show-logs"]);
    assert!(shown.stdout.contains("---- server.log ----"), "{}", shown.stdout);
}

#[test]
fn servers_die_with_a_killed_runner() {
    let suite = Planted::new(SERVERS)
        .args([
            "--bin",
            &format!("echo={PROGRAM}"),
            "hangs_in",
            "--test-threads",
            "2",
        ])
        .start();
    suite.wait_until("the server runs", |suite| {
        suite
            .processes()
            .iter()
            .any(|(_, line)| line.starts_with(PROGRAM))
    });
    suite.signal(Signal::KILL);
    suite.finish();
}
