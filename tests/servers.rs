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
fn a_server_that_dies_under_attack_is_told_with_the_attacks_and_their_bytes() {
    let finished = run(&["dies_under_attack"]);
    assert_eq!(finished.code(), Some(101));
    let verdict = &finished.verdicts()["dies_under_attack[server=echo]"];
    assert_eq!(verdict.class, "death", "{verdict:?}");
    for part in [
        "told to die",
        "`server` was under attack:",
        "(verbatim: as it is): 10 bytes in 2 pieces, then FIN",
        ".replay(Attack::Verbatim, ",
        "their bytes are in hostile/server",
    ] {
        assert!(
            text(verdict).contains(part),
            "{part:?} is not in {}",
            text(verdict)
        );
    }
    let kept = verdict
        .artifacts
        .clone()
        .expect("artifacts")
        .join("hostile/server");
    let bytes = std::fs::read_dir(kept).unwrap().map(|file| file.unwrap().path());
    let sent: Vec<_> = bytes
        .filter(|path| path.extension().is_some_and(|it| it == "bin"))
        .collect();
    assert!(!sent.is_empty());
    for path in sent {
        assert_eq!(std::fs::read(path).unwrap(), b"hello\ndie\n");
    }
}

#[test]
fn a_server_that_misbehaves_is_named_with_the_end_of_its_log() {
    let finished = run(&[
        "dies_unasked",
        "dies_while",
        "dies_during",
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
        (
            "dies_during_teardown[server=echo,client=line]",
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
    for dead in [
        "dies_unasked",
        "dies_while_the_case_waits_for_something_else",
        "dies_during_teardown",
    ] {
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
fn a_deadline_tells_what_the_case_awaits_and_what_its_server_does() {
    let finished = run(&["waits_for_ever"]);
    let verdicts = finished.verdicts();
    let verdict = &verdicts["waits_for_ever_beside_its_server[server=echo,client=line]"];
    assert_eq!(verdict.class, "deadline", "{verdict:?}");
    let source = include_str!("suites/servers.rs");
    let line = source
        .lines()
        .position(|line| line.ends_with("// here: it waits"));
    let at = format!("it was at tests/suites/servers.rs:{}:", line.expect("a mark") + 1);
    for part in [
        &at,
        "\nprocess pid ",
        PROGRAM,
        "the end of server.log:",
        "  | echo server on port",
    ] {
        assert!(verdict.details.contains(part), "{part:?}: {}", verdict.details);
    }
    let server = verdict
        .details
        .lines()
        .skip_while(|line| !line.contains(PROGRAM))
        .nth(1);
    let server = server.expect("a thread of the server's");
    assert!(server.contains("`echo-server`: sleeping"), "{server}");
}

/// The names of the files in a folder.
fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn logs_of_what_failed_are_kept_shown_and_attached_and_others_only_where_asked_for() {
    let (fails, passes) = (
        "tells_of_itself[server=echo,client=line,fails=true]",
        "tells_of_itself[server=echo,client=line,fails=false]",
    );
    let finished = run(&["tells_of_itself"]);
    assert_eq!(finished.code(), Some(101));
    let verdicts = finished.verdicts();
    assert!(verdicts[passes].artifacts.is_none());
    let kept = verdicts[fails].artifacts.clone().expect("kept");
    assert!(
        finished
            .stdout
            .contains(&format!("artifacts: {}", kept.display()))
    );
    let log = std::fs::read_to_string(kept.join("output.log")).expect("the case's log");
    for told in [
        "by println",
        "INFO servers: by tracing number=7",
        "started node=\"server\"",
    ] {
        assert!(log.contains(told), "{told:?}: {log}");
    }
    assert!(!log.contains("for developers"), "{log}");
    let server = std::fs::read_to_string(kept.join("server.log")).expect("the node's log");
    assert!(server.contains("echo server on port"), "{server}");
    let embedded = verdicts["tells_of_itself[server=embedded,client=line,fails=true]"]
        .artifacts
        .clone();
    for file in ["server.log", "output.log"] {
        let log = std::fs::read_to_string(embedded.as_ref().expect("kept").join(file)).expect(file);
        assert!(
            log.contains("INFO servers: the embedded server is up"),
            "{file}: {log}"
        );
        assert_eq!(log.contains("by tracing"), file == "output.log", "{file}: {log}");
    }
    // Only what failed is left of all cases.
    assert_eq!(names(kept.parent().expect("the cases")).len(), 2);
    let junit = std::fs::read_to_string(finished.report().join("junit.xml")).expect("junit.xml");
    for file in ["output.log", "server.log"] {
        let attached = format!("[[ATTACHMENT|{}]]", kept.join(file).display());
        assert!(junit.contains(&attached), "{attached}: {junit}");
    }
    assert!(!finished.stdout.contains("---- server.log ----"));

    let shown = run(&["tells_of_itself", "--show-logs"]);
    let told = "---- server.log ----\n--- start 1: ";
    assert!(shown.stdout.contains(told), "{}", shown.stdout);
    assert_eq!(shown.stdout.matches("---- server.log ----").count(), 2);

    let all = run(&["tells_of_itself", "--keep-logs"]);
    let verdicts = all.verdicts();
    let kept = verdicts[passes]
        .artifacts
        .clone()
        .expect("kept, as was asked for");
    assert!(
        names(&kept).contains(&"server.log".to_owned()),
        "{:?}",
        names(&kept)
    );
    let log = std::fs::read_to_string(kept.join("output.log")).expect("the case's log");
    assert!(log.contains("by println"), "{log}");
    assert_eq!(names(kept.parent().expect("the cases")).len(), 4);
}

#[test]
fn levels_of_what_is_told_are_chosen_by_a_variable() {
    let output = |name: &str, value: &str| {
        let finished = Planted::new(SERVERS)
            .args(["tells_of_itself[server=embedded", "--show-output"])
            .env(name, value)
            .run();
        finished.verdicts()["tells_of_itself[server=embedded,client=line,fails=false]"]
            .output
            .clone()
    };
    for name in ["ROBUST_LOG", "RUST_LOG"] {
        let loud = output(name, "servers=debug");
        assert!(
            loud.contains("DEBUG servers: by tracing, for developers"),
            "{loud}"
        );
        let quiet = output(name, "off");
        assert!(
            !quiet.contains("by tracing") && quiet.contains("by println"),
            "{quiet}"
        );
    }
    let refused = Planted::new(SERVERS).env("ROBUST_LOG", "servers=loud").run();
    assert_eq!(refused.code(), Some(2));
    assert!(
        refused.stderr.contains("ROBUST_LOG is `servers=loud`"),
        "{}",
        refused.stderr
    );
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
