//! Servers that go on from case to case, through the runner: which cases share one, which get a fresh one, and that
//! nothing of a case reaches the next.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use robust_test_tests::{Finished, Planted, Signal, Verdict};

const SHARED: &str = env!("CARGO_BIN_EXE_shared");
const PROGRAM: &str = env!("CARGO_BIN_EXE_tally-server");

/// What a case saw.
#[derive(Debug)]
struct Seen {
    what: String,
    pid: String,
    colour: String,
    count: String,
}

fn planted(arguments: &[&str], trace: &Path) -> Planted {
    Planted::new(SHARED)
        .args(["--bin", &format!("tally={PROGRAM}"), "--test-threads", "1"])
        .args(arguments)
        .env("SHARED_TRACE", trace)
}

/// What the file says.
fn seen(trace: &Path) -> Vec<Seen> {
    let text = std::fs::read_to_string(trace).unwrap_or_default();
    let seen = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [what, pid, colour, count] = words[..] else {
            panic!("{line}")
        };
        let [what, pid, colour, count] = [what, pid, colour, count].map(str::to_owned);
        Seen {
            what,
            pid,
            colour,
            count,
        }
    });
    seen.collect()
}

/// A run with one worker, and what its cases saw, in their order.
fn run(arguments: &[&str]) -> (Finished, Vec<Seen>) {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let finished = planted(arguments, &trace).run();
    (finished, seen(&trace))
}

fn case(what: &str) -> String {
    format!("visit[server=tally,client=line,what={what}]")
}

fn text(verdict: &Verdict) -> String {
    format!("{}\n{}", verdict.message, verdict.details)
}

#[test]
fn a_server_serves_the_next_case_unless_one_left_it_otherwise() {
    let (finished, seen) = run(&["visit", "--variants", "default", "--show-output"]);
    assert_eq!(finished.code(), Some(101), "{}", finished.stdout);
    let verdicts: BTreeMap<String, Verdict> = finished.verdicts();
    assert_eq!(seen.len(), 37, "{seen:?}");
    for one in &seen {
        assert_eq!(
            one.count, "1",
            "nothing of the case before is left: {}, {seen:?}",
            one.what
        );
    }
    // Which of them left a server that the next case got.
    let pairs = seen.windows(2).filter(|pair| pair[0].pid == pair[1].pid);
    let shared: Vec<&str> = pairs.map(|pair| &*pair[0].what).collect();
    assert_eq!(
        shared,
        [
            "plain-1",
            "plain-2",
            "says",
            "heard",
            "plain-3",
            "plain-4",
            "plain-5",
            "plain-6",
            "plain-7",
            "plain-8",
            "plain-9",
            "plain-10",
            "plain-11",
            "plain-12",
            "allows",
            "plain-13",
            "has-a-child",
            "plain-14",
            "plain-15",
            "plain-16",
            "plain-17"
        ],
        "{seen:?}"
    );
    let bad = [
        ("fails", "failed", &["as planted"][..]),
        (
            "oracle",
            "errored",
            &["`server`", "a panic (Go)", "panic: as planted"],
        ),
        ("says-what-was-allowed", "errored", &["a panic (Go)"]),
        ("leaks-a-process", "errored", &["sleep 7778"]),
        ("leaks-a-descriptor", "errored", &["/dev/null"]),
        ("panics", "failed", &["as planted"]),
        ("aborts", "errored", &["signal"]),
    ];
    for (name, verdict) in &verdicts {
        match bad.iter().find(|(what, ..)| *name == case(what)) {
            None => assert_eq!(verdict.status, "passed", "{name}: {}", text(verdict)),
            Some((_, status, parts)) => {
                assert_eq!(verdict.status, *status, "{name}: {}", text(verdict));
                for part in *parts {
                    assert!(
                        text(verdict).contains(part),
                        "{name}: {part:?}: {}",
                        text(verdict)
                    );
                }
                // `sleep 7777` is the shared server's own.
                assert!(!text(verdict).contains("7777"), "{}", text(verdict));
            }
        }
    }
    // What tells of a failure is with it: the log with what came before, and the server's files.
    for what in ["fails", "panics", "aborts", "oracle"] {
        let kept = verdicts[&case(what)].artifacts.clone().expect("kept");
        let log = std::fs::read_to_string(kept.join("server.log")).expect("the server's log");
        let before = match what {
            "fails" => "plain-7",
            "oracle" => "plain-11",
            "panics" => "plain-16",
            _ => "plain-17",
        };
        for case in [before, what] {
            assert!(log.contains(&format!("what={case}] ---")), "{case}: {log}");
        }
        if what != "aborts" {
            let colour = std::fs::read_to_string(kept.join("server/colour")).expect("the server's files");
            assert_eq!(colour, "red");
            let output = std::fs::read_to_string(kept.join("output.log")).expect("the case's log");
            assert!(output.contains("had served 1 cases before"), "{output}");
        }
    }
    for why in [
        "its reset failed: it says \"no\"",
        "its reset took longer than 10 s",
        "its reset failed: it says \"\"",
    ] {
        assert!(finished.stdout.contains(why), "{why:?}: {}", finished.stdout);
    }
}

#[test]
fn cases_with_settings_have_their_own_and_two_servers_are_never_one() {
    let (finished, seen) = run(&[
        "what=plain-1]",
        "what=plain-2]",
        "own-",
        "twice-",
        "--variants",
        "default",
    ]);
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
    let pid = |what: &str| &seen.iter().find(|one| one.what == what).expect(what).pid;
    assert_eq!(pid("plain-1"), pid("plain-2"));
    assert_eq!(pid("twice-1-first"), pid("twice-2-first"));
    assert_eq!(pid("twice-1-second"), pid("twice-2-second"));
    let different: BTreeSet<&String> = seen.iter().map(|one| &one.pid).collect();
    assert_eq!((seen.len(), different.len()), (8, 5), "{seen:?}");
}

#[test]
fn servers_that_differ_do_not_stand_for_one_another_and_alone_each_case_has_its_own() {
    let (finished, seen) = run(&[
        "what=plain-1]",
        "what=plain-2]",
        "what=says]",
        "--variants",
        "all",
    ]);
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
    let pids: BTreeSet<(&str, &str)> = seen.iter().map(|one| (&*one.colour, &*one.pid)).collect();
    assert_eq!((seen.len(), pids.len()), (6, 2), "{seen:?}");

    let (finished, seen) = run(&[
        "what=plain-1]",
        "what=plain-2]",
        "--isolation",
        "process",
        "--variants",
        "default",
    ]);
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
    assert_ne!(seen[0].pid, seen[1].pid);
}

#[test]
fn a_kind_that_runs_inside_cannot_be_shared() {
    let finished = Planted::new(SHARED).args(["in_this_process"]).run();
    let verdicts = finished.verdicts();
    let verdict = verdicts.values().next().expect("one case");
    assert_eq!(verdict.status, "errored");
    for part in [
        "`embedded`",
        "only a program can be shared",
        "remove `shared(..)`",
    ] {
        assert!(text(verdict).contains(part), "{part:?}: {}", text(verdict));
    }
}

/// `finish` checks that no process is left.
#[test]
fn shared_servers_die_with_a_killed_runner() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let running = planted(&["what=plain-1]", "--repeat", "100000"], &trace).start();
    running.wait_until("cases ran", |_| seen(&trace).len() > 20);
    running.signal(Signal::KILL);
    drop(running.finish());
}
