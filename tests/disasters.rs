//! Every way a case or a run can go wrong, and what must be true afterwards: exactly one verdict a case, a
//! whole and well-formed `junit.xml`, the right exit code, no hang, nothing left.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use robust_test_harness::processes::{self, Process};
use robust_test_tests::{Finished, Planted, Privilege, Running, Signal, Verdict};

const DISASTERS: &str = env!("CARGO_BIN_EXE_disasters");
const VICTIMS: &str = env!("CARGO_BIN_EXE_victims");

/// What each case of `suites/disasters.rs` must come to: status, class and a part of the message or details.
const EXPECTED: &[(&str, &str, &str, &str)] = &[
    ("aborts", "errored", "crash", "died of signal 6 (SIGABRT)"),
    ("aborts_a_task_and_ends", "passed", "", ""),
    ("aborts_a_task_of_several_threads_and_ends", "passed", "", ""),
    ("blocks_a_helper_thread_a_little_longer", "passed", "", ""),
    (
        "blocks_one_of_several_helper_threads_a_little_longer",
        "passed",
        "",
        "",
    ),
    (
        "blocks_past_its_deadline_and_returns_ok",
        "errored",
        "deadline",
        "deadline of 300ms",
    ),
    ("changes_the_current_directory", "passed", "", ""),
    ("closes_its_own_stdout", "passed", "", ""),
    (
        "exits_with_zero",
        "errored",
        "crash",
        "exited with code 0 in mid-case",
    ),
    ("fails_and_leaves_files", "failed", "panic", "look at the files"),
    ("fails_with_an_error", "failed", "error", "reading the config"),
    ("finds_the_directory_it_expects", "passed", "", ""),
    ("flaky", "passed", "", ""),
    (
        "hangs_in_teardown_of_a_deadline",
        "errored",
        "deadline",
        "deadline of 300ms",
    ),
    ("has_files_of_its_own", "passed", "", ""),
    ("is_ignored", "skipped", "", "too slow"),
    ("known_failure_fails", "known_failure", "panic", "as known"),
    (
        "known_failure_fails_otherwise",
        "failed",
        "panic",
        "this is not its known failure, which says \"are missing\": upstream issue 9",
    ),
    (
        "known_failure_passes",
        "failed",
        "unexpected_pass",
        "upstream issue 8",
    ),
    ("known_failure_passes_at_times", "passed", "", ""),
    ("leaves_a_child", "errored", "leak", "(sleep 7301)"),
    ("leaves_a_daemon", "errored", "leak", "(sleep 7302)"),
    ("leaves_a_local_task_behind", "passed", "", ""),
    (
        "leaves_a_socket",
        "errored",
        "leak",
        "TCP socket that listens on 127.0.0.1:",
    ),
    ("leaves_a_task", "errored", "leak", "left behind: 1 tokio task"),
    ("leaves_a_thread", "errored", "leak", "(left-thread)"),
    ("leaves_files", "errored", "leak", "`in-the-temporary-folder`"),
    (
        "leaves_tasks_of_several_threads",
        "errored",
        "leak",
        "left behind: 2 tokio tasks",
    ),
    (
        "loops_for_ever",
        "errored",
        "deadline",
        "did not unwind within 2s",
    ),
    ("never_wakes", "errored", "deadline", "deadline of 300ms"),
    ("overflows_its_stack", "errored", "crash", "died of signal 6"),
    ("panics", "failed", "panic", "the panic's text"),
    (
        "panics_in_a_task",
        "failed",
        "panic",
        "outside of the body: in a task",
    ),
    (
        "panics_in_teardown",
        "errored",
        "teardown",
        "teardown of a bad thing: in teardown",
    ),
    (
        "panics_on_another_thread",
        "failed",
        "panic",
        "outside of the body: on a thread",
    ),
    (
        "panics_then_aborts",
        "errored",
        "crash",
        "before that it panicked: the reason of the abort",
    ),
    ("passes", "passed", "", ""),
    ("passes_sync", "passed", "", ""),
    ("prints_100_megabytes", "failed", "panic", "after 100 megabytes"),
    ("prints_what_xml_cannot_hold", "failed", "panic", "in its message"),
    ("runs_local_tasks", "passed", "", ""),
    ("segfaults", "errored", "crash", "died of signal 11 (SIGSEGV)"),
    ("should_panic_and_does", "passed", "", ""),
    (
        "should_panic_and_does_not",
        "failed",
        "should_panic",
        "it should have panicked",
    ),
    ("skips_itself", "skipped", "", "there is no IPv6 here"),
    (
        "tears_down_in_reverse_also_after_a_panic",
        "failed",
        "panic",
        "before teardown",
    ),
    ("writes_after_its_verdict", "errored", "leak", "(late-writer)"),
];

fn check_verdicts(verdicts: &BTreeMap<String, Verdict>) {
    let names: Vec<&str> = verdicts.keys().map(String::as_str).collect();
    let expected: Vec<&str> = EXPECTED.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, expected);
    for (name, status, class, part) in EXPECTED {
        let verdict = &verdicts[*name];
        assert_eq!(
            (verdict.status.as_str(), verdict.class.as_str()),
            (*status, *class),
            "{name}: {verdict:?}"
        );
        let text = format!("{}\n{}", verdict.message, verdict.details);
        assert!(text.contains(part), "{name}: {part:?} is not in {text:?}");
    }
}

fn check_junit(finished: &Finished) {
    let junit = finished.junit();
    assert_eq!(junit.len(), EXPECTED.len());
    for (name, status, _, part) in EXPECTED {
        let element = match *status {
            "failed" => "failure",
            "errored" => "error",
            "skipped" | "known_failure" => "skipped",
            _ => "",
        };
        let judged: Vec<&(String, String)> = junit[*name]
            .iter()
            .filter(|(tag, _)| ["failure", "error", "skipped"].contains(&tag.as_str()))
            .collect();
        match (element, &judged[..]) {
            ("", []) => {}
            (element, [(tag, _)]) => assert_eq!(tag, element, "{name}"),
            _ => panic!("{name} ({part}): {judged:?}"),
        }
    }
}

#[test]
fn every_disaster_costs_its_own_case_and_no_other() {
    let finished = Planted::new(DISASTERS).run();
    assert_eq!(
        finished.code(),
        Some(101),
        "{}\n{}",
        finished.stdout,
        finished.stderr
    );
    let verdicts = finished.verdicts();
    check_verdicts(&verdicts);
    check_junit(&finished);

    let output = |case: &str| verdicts[case].output.clone();
    assert!(output("panics").contains("said before the panic"));
    assert!(output("aborts").contains("last words"));
    assert!(output("hangs_in_teardown_of_a_deadline").contains("teardown was awaited"));
    let undone = output("tears_down_in_reverse_also_after_a_panic");
    let order: Vec<&str> = undone.lines().filter(|line| line.starts_with("undone")).collect();
    assert_eq!(order, ["undone 3", "undone 2", "undone 1"]);

    let log = |case: &str| verdicts[case].artifacts.clone().expect("kept").join("output.log");
    let long = std::fs::read(log("prints_100_megabytes")).expect("the whole output");
    assert!(long.len() > 100_000_000);
    assert!(long[..100_000_000].iter().all(|&byte| byte == b'x'));
    assert!(output("prints_100_megabytes").len() < 70_000);
    let raw = std::fs::read(log("prints_what_xml_cannot_hold")).expect("the whole output");
    assert!(raw.starts_with(b"nul \0 escape \x1b[31mred\x1b[0m invalid \xff\xfe end ]]>"));

    let evidence = verdicts["fails_and_leaves_files"]
        .artifacts
        .clone()
        .expect("kept");
    assert_eq!(
        std::fs::read_to_string(evidence.join("evidence")).expect("kept"),
        "x"
    );
    assert_eq!(
        std::fs::read_to_string(evidence.join("more-evidence")).expect("kept"),
        "y"
    );
    assert!(verdicts["has_files_of_its_own"].artifacts.is_none());

    for line in [
        "test passes ... ok",
        "test panics ... FAILED",
        "test result: FAILED.",
    ] {
        assert!(
            finished.stdout.contains(line),
            "{line:?} is not in\n{}",
            finished.stdout
        );
    }
    assert!(
        finished.stdout.contains("--exact panics --seed "),
        "{}",
        finished.stdout
    );
}

#[test]
fn every_disaster_is_the_same_in_a_process_of_its_own() {
    let finished = Planted::new(DISASTERS).args(["--isolation", "process"]).run();
    assert_eq!(finished.code(), Some(101));
    check_verdicts(&finished.verdicts());
    check_junit(&finished);
}

#[test]
fn a_failing_case_is_reproduced_by_the_command_it_prints() {
    let finished = Planted::new(DISASTERS).args(["fails_with_an_error"]).run();
    let verdicts = finished.verdicts();
    let command = &verdicts["fails_with_an_error"].reproduce;
    let again = Planted::new("sh").args(["-c", command]).run();
    assert_eq!(again.code(), Some(101), "{command}: {}", again.stderr);
    assert_eq!(
        again.verdicts()["fails_with_an_error"].message,
        "reading the config"
    );
    assert_eq!(again.verdicts().len(), 1);
}

#[test]
fn a_worker_killed_from_outside_costs_its_case() {
    let suite = Planted::new(VICTIMS).args(["waits_for_a_file", "passes"]).start();
    let beginning = suite.report();
    runs(&suite, "sleep 7401");
    let (pid, _) = suite
        .processes()
        .into_iter()
        .find(|(pid, line)| line.contains("--robust-worker") && has_child(*pid, "sleep 7401"))
        .expect("a worker");
    robust_test_tests::signal(pid, Signal::KILL);
    let finished = suite.finish();
    assert_eq!(finished.code(), Some(101));
    let verdicts = finished.verdicts();
    assert_eq!(verdicts["waits_for_a_file"].class, "crash");
    assert!(
        verdicts["waits_for_a_file"]
            .message
            .contains("signal 9 (SIGKILL)")
    );
    assert_eq!(verdicts["passes"].status, "passed");
    assert_eq!(beginning, finished.report());
}

fn has_child(parent: u32, command: &str) -> bool {
    processes::all()
        .into_iter()
        .any(|entry| entry.parent == parent && Process::of(entry.pid).command_line.contains(command))
}

#[test]
fn nothing_of_a_killed_runner_remains_and_its_events_make_a_whole_report() {
    let suite = Planted::new(VICTIMS).start();
    suite.wait_until("cases run and others have a verdict", |suite| {
        let lines = suite.processes();
        let events = std::fs::read_to_string(suite.report().join("events.jsonl")).unwrap_or_default();
        lines.iter().any(|(_, line)| line.contains("sleep 7401"))
            && lines.iter().any(|(_, line)| line.contains("sleep 7402"))
            && events.contains("\"case\":\"passes\"")
    });
    suite.signal(Signal::KILL);
    let killed = suite.finish();
    assert_eq!(killed.code(), None);
    let events = killed.report().join("events.jsonl");

    let rebuilt = Planted::new(VICTIMS)
        .args(["--report-from".as_ref(), events.as_os_str()])
        .run();
    assert_eq!(rebuilt.code(), Some(101), "{}", rebuilt.stderr);
    let junit = rebuilt.junit();
    assert_eq!(junit.len(), 4, "{junit:?}");
    let (tag, message) = &junit["waits_for_a_file"][0];
    assert_eq!(tag, "error");
    assert!(message.contains("before this case had a verdict"), "{message}");
    assert!(!junit["passes"].iter().any(|(tag, _)| tag == "error"));
}

#[test]
fn an_interrupt_tears_down_reports_and_ends_by_the_signal() {
    for signal in [Signal::INT, Signal::TERM] {
        let suite = Planted::new(VICTIMS).start();
        runs(&suite, "sleep 7401");
        suite.signal(signal);
        let finished = suite.finish();
        assert_eq!(
            finished.status.signal(),
            Some(signal.as_raw()),
            "{}",
            finished.stderr
        );
        let verdicts = finished.verdicts();
        assert_eq!(verdicts.len(), 4, "{verdicts:?}");
        assert_eq!(verdicts["waits_for_a_file"].class, "interrupted");
        assert!(
            verdicts["waits_for_a_file"].output.contains("torn down"),
            "{verdicts:?}"
        );
        assert_eq!(finished.junit().len(), 4);
    }
}

#[test]
fn what_an_interrupt_keeps_from_starting_is_reported_as_interrupted() {
    let suite = Planted::new(VICTIMS)
        .args(["waits", "--test-threads", "1"])
        .start();
    runs(&suite, "sleep 7401");
    suite.signal(Signal::INT);
    let finished = suite.finish();
    assert_eq!(finished.status.signal(), Some(Signal::INT.as_raw()));
    let why = "the run was interrupted by SIGINT";
    let verdicts = finished.verdicts();
    assert_eq!(verdicts.len(), 2, "{verdicts:?}");
    assert_eq!(verdicts["waits_too"].class, "interrupted");
    // Its turn may have come before the run's end was known everywhere.
    let message = &verdicts["waits_too"].message;
    assert!(message.ends_with(why), "{message}");
    assert!(verdicts["waits_for_a_file"].output.contains("torn down"));
    let junit = finished.junit();
    assert_eq!(junit.len(), 2, "{junit:?}");
    assert_eq!(junit["waits_too"][0], ("error".to_owned(), message.clone()));
    assert!(
        finished
            .stdout
            .contains("test result: FAILED. 0 passed; 2 failed"),
        "{}",
        finished.stdout
    );
}

#[test]
fn a_second_interrupt_does_not_wait_for_teardown_and_more_of_them_change_nothing() {
    for more in [&[][..], &[Signal::TERM], &[Signal::TERM, Signal::HUP]] {
        let suite = Planted::new(VICTIMS)
            .args(["slow_teardown", "passes", "waits_too"])
            .start();
        runs(&suite, "sleep 7402");
        suite.signal(Signal::INT);
        suite.wait_until("teardown began", |suite| {
            suite
                .processes()
                .iter()
                .any(|(_, line)| line.contains("sleep 7403"))
        });
        // Signals of one kind may become one while they wait; these cannot.
        suite.signal(Signal::INT);
        for signal in more {
            suite.signal(*signal);
        }
        let finished = suite.finish();
        assert_eq!(
            finished.status.signal(),
            Some(Signal::INT.as_raw()),
            "{more:?}: {}",
            finished.stderr
        );
        let verdicts = finished.verdicts();
        assert_eq!(verdicts.len(), 3, "{more:?}: {verdicts:?}");
        for name in ["slow_teardown", "waits_too"] {
            assert_eq!(verdicts[name].class, "interrupted", "{more:?}: {verdicts:?}");
            assert_eq!(finished.junit()[name][0].0, "error", "{more:?}");
        }
        assert!(
            !verdicts["slow_teardown"].output.contains("torn down slowly"),
            "{more:?}"
        );
        assert_eq!(finished.junit().len(), 3, "{more:?}");
    }
}

/// Waits until a case has started this child.
fn runs(suite: &Running, child: &str) {
    suite.wait_until("the case runs", |suite| {
        suite.processes().iter().any(|(_, line)| line.contains(child))
    });
}

#[test]
fn a_closed_stdout_stops_nothing() {
    let finished = Planted::new(DISASTERS)
        .with(|command| {
            command.stdout(Stdio::from(closed_pipe()));
        })
        .run();
    assert_eq!(finished.code(), Some(101), "{}", finished.stderr);
    check_verdicts(&finished.verdicts());
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    for arguments in [&["--list"][..], &["--plan"], &["--help"]] {
        let listed = Planted::new(DISASTERS)
            .args(arguments)
            .with(|command| {
                command.stdout(Stdio::from(closed_pipe()));
            })
            .run();
        assert_eq!(listed.code(), Some(0), "{arguments:?} {}", listed.stderr);
        assert!(!listed.stderr.contains("panicked"), "{}", listed.stderr);
    }
}

fn closed_pipe() -> std::io::PipeWriter {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer
}

#[test]
fn a_report_folder_that_cannot_be_used_is_said_before_anything_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let finished = Planted::new(VICTIMS)
        .env("ROBUST_REPORT_DIR", file.join("below"))
        .args(["passes"])
        .run();
    assert_eq!(finished.code(), Some(2));
    assert!(finished.stderr.contains("--report-dir"), "{}", finished.stderr);
    assert!(finished.stderr.contains("below"), "{}", finished.stderr);
}

#[test]
fn a_full_disk_under_the_report_is_told_and_verdicts_still_reach_the_console() {
    if !Privilege::Mount.is_granted() {
        return;
    }
    let home = tempfile::tempdir().expect("a folder");
    let small = home.path().join("small");
    std::fs::create_dir(&small).expect("a folder");
    // A file system of 64 KiB in a mount namespace of the suite's own: it is gone with the suite.
    let script = format!(
        "mount -t tmpfs -o size=64k tmpfs {0} && exec {1} --report-dir {0}/report --junit {0}/junit.xml",
        small.display(),
        DISASTERS
    );
    let finished = Planted::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .run();
    assert_eq!(finished.code(), Some(101), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("No space left on device"),
        "{}",
        finished.stderr
    );
    for (name, status, ..) in EXPECTED {
        let word = match *status {
            "failed" | "errored" => "FAILED",
            "skipped" | "known_failure" => "ignored",
            _ => "ok",
        };
        let line = format!("test {name} ... {word}");
        assert!(
            finished.stdout.contains(&line),
            "{line:?} is not in\n{}",
            finished.stdout
        );
    }
}

#[test]
fn malformed_arguments_are_named() {
    let wrong: &[(&[&str], &str)] = &[
        (&["--test-threads", "0"], "--test-threads"),
        (&["--shard", "3/2"], "--shard"),
        (&["--timeout", "soon"], "--timeout"),
        (&["--tmeout", "1s"], "--timeout"),
        (&["--isolation", "cloud"], "--isolation"),
        (&["--bin", "nothing=/bin/true"], "--bin"),
        (&["--seed", "x"], "--seed"),
        (
            &["--report-from", "/nonexistent/events.jsonl"],
            "/nonexistent/events.jsonl",
        ),
    ];
    for (arguments, named) in wrong {
        let finished = Planted::new(VICTIMS).args(*arguments).run();
        assert_eq!(finished.code(), Some(2), "{arguments:?}: {}", finished.stderr);
        assert!(
            finished.stderr.contains(named),
            "{arguments:?}: {}",
            finished.stderr
        );
    }
}

#[test]
fn a_truncated_or_corrupt_events_file_still_gives_what_is_in_it() {
    let finished = Planted::new(DISASTERS).args(["passes", "panics"]).run();
    let events = std::fs::read_to_string(finished.report().join("events.jsonl")).expect("events");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("events.jsonl");
    let rebuild = |text: &str| {
        std::fs::write(&file, text).expect("a file");
        Planted::new(DISASTERS)
            .args(["--report-from".as_ref(), file.as_os_str()])
            .run()
    };
    let whole = rebuild(&events);
    assert_eq!(whole.junit(), finished.junit());
    let cut = rebuild(&events[..events.len() - 10]);
    assert_eq!(cut.junit().len(), finished.junit().len());
    let lines: Vec<&str> = events.lines().collect();
    let mut corrupt = lines.clone();
    corrupt[1] = "{\"event\":\"case_fin\u{0}";
    let corrupt = rebuild(&(corrupt.join("\n") + "\n"));
    assert_eq!(corrupt.junit().len(), finished.junit().len());
    assert!(corrupt.stderr.contains(":2"), "{}", corrupt.stderr);
    let headless = rebuild(&lines[1..].join("\n"));
    assert_eq!(headless.code(), Some(2));
    assert!(headless.stderr.contains("events.jsonl"), "{}", headless.stderr);
}

#[test]
fn two_runs_of_one_suite_at_once_do_not_share_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report");
    let runs: Vec<_> = (0..2)
        .map(|_| Planted::new(DISASTERS).env("ROBUST_REPORT_DIR", &report).start())
        .collect();
    for run in runs {
        assert_eq!(run.finish().code(), Some(101));
    }
    for name in ["report", "report-2"] {
        check_verdicts(&robust_test_tests::verdicts(
            &folder.path().join(name).join("events.jsonl"),
        ));
    }
}

#[test]
fn an_unreadable_program_folder_is_no_reason_to_fail() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o000)).expect("permissions");
    let finished = Planted::new(VICTIMS)
        .args(["passes"])
        .env("PATH", folder.path())
        .run();
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
}
