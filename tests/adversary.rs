//! What happens when cases attack the process they run in, the runner, or the cases after them, and when the
//! place a run takes place in is hostile.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use robust_test_tests::{Finished, Planted, Privilege, Running, Signal, Verdict};

const ADVERSARY: &str = env!("CARGO_BIN_EXE_adversary");

/// What each attack must come to: status, class and a part of the message or details. Every witness passes.
const EXPECTED: &[(&str, &str, &str, &str)] = &[
    ("a01_closes_stdout", "passed", "", ""),
    ("a02_sends_stdout_to_nowhere", "passed", "", ""),
    ("a03_makes_stdout_not_block", "passed", "", ""),
    (
        "a04_closes_everything_but_stdio",
        "errored",
        "crash",
        "the worker",
    ),
    (
        "a05_closes_everything_and_waits",
        "errored",
        "crash",
        "the worker",
    ),
    ("a06_lets_sigpipe_kill", "passed", "", ""),
    ("a07_ignores_sigterm", "passed", "", ""),
    ("a08_blocks_signals", "passed", "", ""),
    ("a09_allows_few_descriptors", "passed", "", ""),
    ("a10_removes_the_temporary_folder", "passed", "", ""),
    ("a11_leaves_read_only_folders", "passed", "", ""),
    ("a12_takes_the_panic_hook_away", "passed", "", ""),
    (
        "b12_panics_on_a_thread",
        "failed",
        "panic",
        "outside of the body: seen by the hook",
    ),
    (
        "a13_stops_its_process_group",
        "errored",
        "deadline",
        "deadline of 300ms",
    ),
    ("a14_moves_to_another_group", "passed", "", ""),
    (
        "a15_forks_a_child_that_holds_every_channel",
        "errored",
        "leak",
        "left behind: process",
    ),
    (
        "a16_dies_and_leaves_a_fork_with_every_channel",
        "errored",
        "crash",
        "signal 9 (SIGKILL)",
    ),
    (
        "a17_a_child_writes_until_it_is_killed",
        "errored",
        "leak",
        "left behind: process",
    ),
    ("a18_panics_with_ten_megabytes", "failed", "panic", "long [...] "),
    (
        "a19_thousands_of_threads_panic",
        "failed",
        "panic",
        "4980 more panics outside of the body",
    ),
    ("a20_panics_with_no_text", "failed", "panic", "Box<dyn Any>"),
    ("a21_catches_its_own_panic", "passed", "", ""),
    (
        "a22_panics_while_it_is_cancelled",
        "failed",
        "panic",
        "also, deadline",
    ),
    (
        "a23_panics_while_panicking",
        "errored",
        "crash",
        "before that it panicked: the first",
    ),
    (
        "a24_blocks_on_a_handle_inside",
        "failed",
        "panic",
        "Cannot start a runtime",
    ),
    ("a25_has_a_runtime_of_its_own", "passed", "", ""),
    (
        "a26_a_blocking_task_never_ends",
        "errored",
        "leak",
        "(tokio-rt-worker)",
    ),
    (
        "a27_freezes_the_clock_and_tears_down_with_the_network",
        "passed",
        "",
        "",
    ),
    ("a28_ten_thousand_tasks_end_soon", "passed", "", ""),
    (
        "a29_several_threads_leak_tasks",
        "errored",
        "leak",
        "100 tokio tasks",
    ),
    (
        "a30_teardown_never_ends",
        "errored",
        "teardown",
        "did not end within",
    ),
    ("a31_closers_defer_closers", "passed", "", ""),
    (
        "a32_closers_defer_closers_for_ever",
        "errored",
        "teardown",
        "did not end within",
    ),
    ("a33_setup_hangs", "errored", "deadline", "deadline of 300ms"),
    ("a34_setup_panics", "errored", "setup", "while it was built"),
    (
        "a35_prints_without_a_newline_and_dies",
        "errored",
        "crash",
        "exited with code 7",
    ),
    ("a36_enters_a_root_of_its_own", "passed", "", ""),
    (
        "a37_writes_a_verdict_of_its_own",
        "errored",
        "crash",
        "answer is broken",
    ),
];

/// Runs the attacks whose number begins with `ten`, and their witnesses, one after another in one slot.
fn attacks(ten: char) -> Finished {
    let filters = [format!("a{ten}"), format!("b{ten}")];
    Planted::new(ADVERSARY)
        .args(["--test-threads", "1", "--show-output", "--skip", "fails["])
        .args(filters)
        .run()
}

/// The verdicts of the attacks in [`EXPECTED`] and of their witnesses, and where their files are.
fn check(ten: char) -> (BTreeMap<String, Verdict>, Finished) {
    let finished = attacks(ten);
    assert_eq!(finished.stderr, "");
    let mut verdicts = finished.verdicts();
    assert_eq!(finished.junit().len(), verdicts.len());
    verdicts.retain(|_, verdict| verdict.message != "for the test of one's own");
    let expected = EXPECTED
        .iter()
        .filter(|(name, ..)| name.as_bytes()[1] == ten as u8);
    for (name, status, class, part) in expected {
        let verdict = verdicts
            .get(*name)
            .unwrap_or_else(|| panic!("{name} has no verdict"));
        assert_eq!(
            (verdict.status.as_str(), verdict.class.as_str()),
            (*status, *class),
            "{name}: {verdict:?}"
        );
        let text = format!("{}\n{}", verdict.message, verdict.details);
        assert!(text.contains(part), "{name}: {part:?} is not in {text:?}");
    }
    for (name, verdict) in &verdicts {
        if !EXPECTED.iter().any(|(known, ..)| known == name) {
            assert_eq!(verdict.status, "passed", "the witness {name}: {verdict:?}");
            let said = format!("stdout of the witness after {name}\nstderr of the witness after {name}\n");
            assert_eq!(verdict.output, said, "{name}");
        }
    }
    (verdicts, finished)
}

#[test]
fn attacks_on_stdio_signals_and_limits_reach_no_other_case() {
    check('0');
}

#[test]
fn attacks_on_files_processes_and_panics_reach_no_other_case() {
    let (verdicts, _finished) = check('1');
    let log = verdicts["a18_panics_with_ten_megabytes"]
        .artifacts
        .clone()
        .expect("kept")
        .join("output.log");
    let whole = std::fs::metadata(log).expect("the log").len();
    assert!(whole > 10 << 20, "the log has all of it: {whole}");
}

#[test]
fn attacks_with_runtimes_reach_no_other_case() {
    let (verdicts, _finished) = check('2');
    let torn_down = &verdicts["a27_freezes_the_clock_and_tears_down_with_the_network"].output;
    assert_eq!(torn_down, "the peer hung up\n");
}

#[test]
fn attacks_with_teardown_and_channels_reach_no_other_case() {
    let (verdicts, _finished) = check('3');
    for name in ["a33_setup_hangs", "a34_setup_panics"] {
        assert!(
            verdicts[name].output.contains("undone\n"),
            "{name}: {}",
            verdicts[name].output
        );
    }
    assert_eq!(
        verdicts["a35_prints_without_a_newline_and_dies"].output,
        "no newline"
    );
}

fn own(arguments: &[&str]) -> Planted {
    Planted::new(ADVERSARY)
        .args(["--include-ignored"])
        .args(arguments)
}

#[test]
fn nothing_remains_when_a_case_kills_the_runner() {
    let finished = own(&["--exact", "kills_the_runner"]).run();
    assert_eq!(finished.status.signal(), Some(9));
}

#[test]
fn a_killed_reaper_is_no_harm_to_a_run_that_goes_on() {
    let finished = own(&["--exact", "kills_the_reaper"]).run();
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
}

#[test]
fn the_reaper_is_in_a_session_of_its_own() {
    let suite = own(&["--exact", "kills_the_runner"]).with(|command| {
        command.env("ADVERSARY_WAITS", "1");
    });
    let suite = suite.start();
    suite.wait_until("the case runs", |suite| {
        suite.processes().iter().any(|(_, line)| line == "sleep 7505 ")
    });
    let (reaper, _) = of(&suite, "--robust-reaper");
    let session = session(reaper);
    assert_eq!(session, reaper);
    suite.signal(Signal::KILL);
    suite.finish();
}

fn of(suite: &Running, part: &str) -> (u32, String) {
    suite
        .processes()
        .into_iter()
        .find(|(_, line)| line.contains(part))
        .expect("the process")
}

fn session(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process");
    let fields: Vec<&str> = stat[stat.rfind(')').expect("a name") + 2..].split(' ').collect();
    fields[3].parse().expect("a session")
}

#[test]
fn a_verdict_that_came_in_time_counts_also_when_the_runner_was_stopped() {
    let suite = own(&["--exact", "outlives_a_stopped_runner"]).start();
    suite.wait_until("a worker runs", |suite| {
        suite
            .processes()
            .iter()
            .any(|(_, line)| line.contains("--robust-worker"))
    });
    std::thread::sleep(Duration::from_millis(100));
    suite.signal(Signal::STOP);
    // Longer than the deadline; the case ends meanwhile.
    std::thread::sleep(Duration::from_millis(1500));
    suite.signal(Signal::CONT);
    let finished = suite.finish();
    assert_eq!(finished.verdicts()["outlives_a_stopped_runner"].status, "passed");
}

#[test]
fn the_start_of_a_worker_is_no_part_of_its_first_cases_time() {
    let finished = own(&["--exact", "is_quick"])
        .env("ADVERSARY_LOADS_SLOWLY", "1")
        .run();
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
}

#[test]
fn no_output_is_attributed_to_another_case() {
    let finished = own(&["says_its_number", "--test-threads", "8"]).run();
    for (name, verdict) in finished.verdicts() {
        let number = &name[name.len() - 2..name.len() - 1];
        let own = format!("<{number}>");
        let log = verdict.artifacts.expect("kept").join("output.log");
        let log = std::fs::read_to_string(log).expect("the log");
        let lines: Vec<&str> = log.lines().filter(|line| line.starts_with('<')).collect();
        assert_eq!(lines.len(), 2000, "{name}");
        assert!(lines.iter().all(|line| *line == own), "{name}");
    }
}

#[test]
fn odd_labels_go_through_every_report_and_back_through_the_reproducing_command() {
    let finished = own(&["has_odd_labels"]).run();
    let verdicts = finished.verdicts();
    assert_eq!(verdicts.len(), 9);
    assert_eq!(finished.junit().len(), 9);
    for (name, verdict) in &verdicts {
        let label = name
            .split_once("[label=")
            .and_then(|(_, rest)| rest.strip_suffix(']'))
            .expect("a label");
        assert_eq!(verdict.message, label);
        let command = &verdict.reproduce;
        let again = Planted::new("sh").args(["-c", command]).run();
        assert_eq!(
            again.verdicts().into_keys().collect::<Vec<_>>(),
            std::slice::from_ref(name),
            "{command}"
        );
        assert_eq!(again.code(), Some(101), "{command}");
    }
}

#[test]
fn labels_of_ten_kilobytes_are_names_as_any_other() {
    let listed = own(&["--list", "--format", "terse", "has_a_long_label"]).run();
    let name = |line: &str| line.strip_suffix(": test").expect("a listed case").to_owned();
    let listed: BTreeSet<String> = listed.stdout.lines().map(name).collect();
    assert_eq!(listed.len(), 10);
    assert!(listed.iter().all(|name| name.len() > 10 << 10));

    let finished = own(&["has_a_long_label"]).run();
    assert_eq!((finished.code(), finished.stderr.as_str()), (Some(101), ""));
    let verdicts = finished.verdicts();
    assert_eq!(verdicts.keys().cloned().collect::<BTreeSet<_>>(), listed);
    let junit = finished.junit();
    assert_eq!(junit.len(), 10);
    let mut folders = BTreeSet::new();
    for (name, verdict) in &verdicts {
        let label = name
            .strip_prefix("has_a_long_label[text=")
            .and_then(|rest| rest.strip_suffix(']'))
            .expect("a label");
        assert_eq!((&*verdict.status, &*verdict.class), ("failed", "panic"));
        assert!(
            verdict.message.starts_with("with "),
            "{:?}",
            verdict.message.get(..80)
        );
        let said = format!("said {label}\n");
        assert!(
            verdict.output.starts_with(&said),
            "{:?}",
            verdict.output.get(..80)
        );
        let folder = verdict.artifacts.clone().expect("kept");
        assert_eq!(
            std::fs::read_to_string(folder.join("label")).expect("kept"),
            label
        );
        let log = std::fs::read_to_string(folder.join("output.log")).expect("kept");
        assert!(log.starts_with(&said));
        assert!(folders.insert(folder), "a folder of its own");

        let again = own(&["--exact", name]).run();
        assert_eq!(
            again.verdicts().into_keys().collect::<Vec<_>>(),
            std::slice::from_ref(name)
        );
        assert!(
            again.stdout.contains("running 1 test\n"),
            "{}",
            again.stdout.len()
        );
    }
}

#[test]
fn thousands_of_failures_have_a_verdict_each_and_an_unread_console_holds_nothing_up() {
    const COUNT: usize = 2_000;
    let suite = own(&["twenty_thousand[a=0,b=0,", "twenty_thousand[a=1,b=9,"]).start();
    // The console is more than a pipe holds, and is read by `finish` alone.
    suite.wait_until("the reports are whole", |suite| {
        let text = std::fs::read_to_string(suite.report().join("junit.xml")).unwrap_or_default();
        text.matches("<failure").count() == COUNT && suite.report().join("report.html").exists()
    });
    let memory = suite.memory_max();
    let finished = suite.finish();
    assert_eq!(finished.code(), Some(101), "{}", finished.stderr);
    let verdicts = finished.verdicts();
    assert_eq!(verdicts.len(), COUNT);
    assert!(verdicts.values().all(|verdict| verdict.status == "failed"));
    let junit = finished.junit();
    assert_eq!(junit.len(), COUNT);
    let failures = |children: &Vec<(String, String)>| {
        let tags = children.iter().filter(|(tag, _)| tag == "failure");
        tags.count()
    };
    assert!(junit.values().all(|children| failures(children) == 1));
    assert_eq!(finished.stdout.matches(" ... FAILED\n").count(), COUNT);
    let counted = format!("test result: FAILED. 0 passed; {COUNT} failed");
    assert!(finished.stdout.contains(&counted));
    // Several times what it takes, which is mostly what the reports tell of each case.
    assert!(memory < 150 << 20, "{memory} bytes");
}

/// Runs a shell script in which `$SUITE` is the suite's program.
fn script(text: &str) -> Planted {
    Planted::new("sh").args(["-c", text]).env("SUITE", ADVERSARY)
}

const QUICK: &str = "--include-ignored waits_a_little";

fn all_pass(finished: &Finished) {
    assert_eq!(
        finished.code(),
        Some(0),
        "{}\n{}",
        finished.stdout,
        finished.stderr
    );
    assert_eq!(finished.verdicts().len(), 64);
    assert_eq!(finished.junit().len(), 64);
}

#[test]
fn few_open_files_mean_few_slots_and_not_errors() {
    for limit in ["ulimit -n 64", "ulimit -Sn 64", "ulimit -n 256"] {
        all_pass(&script(&format!("{limit}; exec $SUITE {QUICK} --test-threads 64")).run());
        all_pass(&script(&format!("{limit}; exec $SUITE {QUICK}")).run());
    }
}

#[test]
fn the_limit_of_open_files_is_the_same_for_cases_as_for_the_runner() {
    let finished = script("ulimit -Sn 200; exec $SUITE a09 b09 --show-output --test-threads 1").run();
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
}

#[test]
fn a_thousand_threads_are_no_trouble() {
    all_pass(&script(&format!("exec $SUITE {QUICK} --test-threads 1000")).run());
}

#[test]
fn few_processes_mean_waiting_and_not_errors() {
    if !Privilege::OtherUser.is_granted() {
        return;
    }
    // Of another user, whose processes are counted; not root's.
    let text = as_somebody(&format!("prlimit --nproc=24 ../suite {QUICK} --test-threads 16"));
    let finished = script(&text).run();
    all_pass(&finished);
}

/// A script that runs `command` as a user that nothing else runs as, in a folder that is open to them and has
/// the suite beside it: the checkout may be where only root can look.
fn as_somebody(command: &str) -> String {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let user = 100_000 + std::process::id() * 10 + count;
    format!(
        "cd \"$TMPDIR\" && cp \"$SUITE\" ../suite && chmod -R a+rwX .. && \
         exec setpriv --reuid {user} --clear-groups {command}"
    )
}

#[test]
fn an_unprivileged_user_without_home_path_and_stdin_runs_it_too() {
    if !Privilege::OtherUser.is_granted() {
        return;
    }
    let text = as_somebody("env -u HOME -u PATH ../suite a11 b11 --test-threads 1 <&-");
    let finished = script(&text).run();
    assert_eq!(
        finished.code(),
        Some(0),
        "{}\n{}",
        finished.stdout,
        finished.stderr
    );
}

#[test]
fn odd_temporary_folders_are_used_or_refused_with_their_name() {
    let long = "x".repeat(200);
    for folder in ["with spaces 'and' \"quotes\"", &format!("{long}/{long}/{long}")] {
        let text = format!(
            "mkdir -p \"$TMPDIR/$ODD\"; TMPDIR=\"$TMPDIR/$ODD\" $SUITE {QUICK}; code=$?; \
            rmdir -p \"$TMPDIR/$ODD\" 2>&-; mkdir -p \"$TMPDIR\"; exit $code"
        );
        all_pass(&script(&text).env("ODD", folder).run());
    }
    let finished = script("TMPDIR=/nonexistent/folder exec $SUITE").run();
    assert_eq!(finished.code(), Some(2));
    assert!(
        finished.stderr.contains("/nonexistent/folder"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_full_temporary_folder_is_told_case_by_case() {
    if !Privilege::Mount.is_granted() {
        return;
    }
    let text = "mkdir -p \"$TMPDIR/small\" && mount -t tmpfs -o size=16k,nr_inodes=4 tmpfs \"$TMPDIR/small\" && \
        TMPDIR=\"$TMPDIR/small\" $SUITE a0 b0 --test-threads 1; code=$?; umount \"$TMPDIR/small\"; \
        rmdir \"$TMPDIR/small\"; exit $code";
    let finished = Planted::new("unshare")
        .args(["--mount", "sh", "-c", text])
        .env("SUITE", ADVERSARY)
        .run();
    assert_eq!(
        finished.code(),
        Some(101),
        "{}\n{}",
        finished.stdout,
        finished.stderr
    );
    assert!(!finished.verdicts().is_empty());
    assert_eq!(finished.junit().len(), finished.verdicts().len());
}

#[test]
fn the_binary_may_be_deleted_or_replaced_during_the_run() {
    let text = format!(
        "cp $SUITE \"$TMPDIR/suite\"; \"$TMPDIR/suite\" {QUICK} --repeat 3 --isolation process & sleep 0.3; \
         rm \"$TMPDIR/suite\"; printf '#!/bin/false' > \"$TMPDIR/suite\"; wait $!; code=$?; rm \"$TMPDIR/suite\"; exit $code"
    );
    let finished = script(&text).run();
    assert_eq!(
        finished.code(),
        Some(0),
        "{}\n{}",
        finished.stdout,
        finished.stderr
    );
    assert_eq!(finished.junit().len(), 64);
}

fn runs(suite: &Running) {
    suite.wait_until("the case runs", |suite| {
        suite.processes().iter().any(|(_, line)| line == "sleep 7505 ")
    });
}

fn waiting() -> Planted {
    own(&["--exact", "kills_the_runner"]).env("ADVERSARY_WAITS", "1")
}

#[test]
fn a_signal_that_the_starter_ignores_is_ignored() {
    let text = "trap '' HUP; exec $SUITE --include-ignored --exact kills_the_runner";
    let suite = script(text).env("ADVERSARY_WAITS", "1").start();
    runs(&suite);
    suite.signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(300));
    assert!(
        suite.processes().iter().any(|(_, line)| line == "sleep 7505 "),
        "it went on"
    );
    suite.signal(Signal::TERM);
    assert_eq!(suite.finish().status.signal(), Some(15));
}

#[test]
fn a_hang_up_or_a_signal_to_the_whole_group_ends_it_cleanly() {
    use std::os::unix::process::CommandExt as _;
    for signal in [Signal::HUP, Signal::TERM, Signal::INT] {
        let suite = waiting()
            .with(|command: &mut Command| {
                command.process_group(0);
            })
            .start();
        runs(&suite);
        suite.signal_group(signal);
        let finished = suite.finish();
        assert_eq!(finished.status.signal(), Some(signal.as_raw()));
        assert_eq!(finished.verdicts()["kills_the_runner"].class, "interrupted");
    }
}

#[test]
fn a_killed_group_leaves_nothing() {
    use std::os::unix::process::CommandExt as _;
    let suite = waiting()
        .with(|command: &mut Command| {
            command.process_group(0);
        })
        .start();
    runs(&suite);
    suite.signal_group(Signal::KILL);
    assert_eq!(suite.finish().status.signal(), Some(9));
}

#[test]
fn a_console_nobody_reads_holds_up_no_case_no_report_and_no_interrupt() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let suite = own(&["fails"])
        .with(|command: &mut Command| {
            command.stdout(Stdio::from(writer));
        })
        .start();
    // Much more than a pipe holds: the console is stuck, the reports are not.
    suite.wait_until("every verdict is in the events", |suite| {
        let events = std::fs::read_to_string(suite.report().join("events.jsonl")).unwrap_or_default();
        events.matches("\"event\":\"case_finished\"").count() == 100
    });
    suite.wait_until("junit.xml is whole", |suite| {
        let text = std::fs::read_to_string(suite.report().join("junit.xml")).unwrap_or_default();
        text.matches("<testcase").count() == 100 && !text.contains("before this case had a verdict")
    });
    let began = Instant::now();
    suite.signal(Signal::INT);
    let finished = suite.finish();
    assert_eq!(finished.status.signal(), Some(2));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    drop(reader);
}

#[test]
fn a_slow_reader_gets_the_whole_console() {
    let finished = script("$SUITE --include-ignored 'fails[' | (sleep 3; cat)").run();
    assert_eq!(finished.stdout.matches(" ... FAILED\n").count(), 100);
    assert!(
        finished
            .stdout
            .contains("test result: FAILED. 0 passed; 100 failed")
    );
}

#[test]
fn closed_streams_are_no_reason_to_stop() {
    let finished = script(&format!("exec $SUITE {QUICK} <&- >&- 2>&-")).run();
    all_pass(&finished);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let finished = own(&["waits_a_little", "a11", "a10"])
        .with(|command: &mut Command| {
            command
                .stderr(Stdio::from(writer.try_clone().expect("a pipe")))
                .stdout(Stdio::from(writer));
        })
        .run();
    assert_eq!(finished.code(), Some(0));
}

#[test]
fn for_a_time_and_many_repetitions_end_with_a_verdict_each() {
    let began = Instant::now();
    let finished = own(&["waits_a_little", "--for", "1s"]).run();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    assert_eq!(finished.junit().len(), 64);
    let finished = Planted::new(ADVERSARY)
        .args(["a31_closers_defer", "--repeat", "1000"])
        .run();
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    assert!(finished.stdout.contains("1000 runs"), "{}", finished.stdout);
}
