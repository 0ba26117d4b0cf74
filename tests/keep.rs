//! `--keep-on-failure`: what a failed case started is there for people, and gone when they are done with it, however
//! that is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use robust_test_tests::gossip::ask_port as ask;
use robust_test_tests::{Finished, Planted, Running, Signal, verdicts};
use rustix::process::{Pid, kill_process};

const SUITE: &str = env!("CARGO_BIN_EXE_keep");
const PROGRAM: &str = env!("CARGO_BIN_EXE_gossip-server");

/// A suite, with the files that its console goes to.
struct Suite {
    running: Running,
    files: tempfile::TempDir,
}

/// The suite with the program and a bound; `arguments` may give another one.
fn planted(arguments: &[&str]) -> Planted {
    let bin = format!("gossip={PROGRAM}");
    let mut all = vec!["--bin", &bin];
    if !arguments
        .iter()
        .any(|argument| argument.starts_with("--keep-on-failure"))
    {
        all.push("--keep-on-failure=2m");
    }
    all.extend(arguments);
    Planted::new(SUITE).args(all)
}

fn start(arguments: &[&str]) -> Suite {
    start_planted(planted(arguments))
}

fn start_planted(planted: Planted) -> Suite {
    let files = tempfile::tempdir().expect("a folder");
    let create = |name: &str| File::create(files.path().join(name)).expect("a file");
    let running = planted
        .with(|command| {
            command.stdout(create("stdout")).stderr(create("stderr"));
        })
        .start();
    Suite { running, files }
}

impl Suite {
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.files.path().join(name)).unwrap_or_default()
    }

    /// What is told of the case that is kept, once it is.
    fn kept(&self) -> String {
        let kept = "ends it, at the latest in";
        self.running.wait_until("a case is kept", |_| {
            let (told, stdout) = (self.read("stderr"), self.read("stdout"));
            let is_kept = told.contains(kept);
            assert!(is_kept || !stdout.contains("test result: "), "{told}\n{stdout}");
            is_kept
        });
        self.read("stderr")
    }

    fn wait_for(&self, text: &str) {
        self.running
            .wait_until(text, |_| self.read("stderr").contains(text));
    }

    /// Its end, with what it told on stdout and stderr.
    fn finish(self) -> (Finished, String, String) {
        let finished = self.running.finish();
        let read = |name: &str| {
            std::fs::read_to_string(self.files.path().join(name)).expect("what it wrote is there")
        };
        (finished, read("stdout"), read("stderr"))
    }
}

/// The ports that were told, by the line that names their node.
fn ports(told: &str) -> BTreeMap<String, u16> {
    let mut node = String::new();
    let mut found = BTreeMap::new();
    for line in told.lines() {
        if let Some(port) = line.strip_prefix("  gossip   127.0.0.1:") {
            found.insert(std::mem::take(&mut node), port.parse().expect("a port"));
        } else if !line.starts_with(' ') {
            line.clone_into(&mut node);
        }
    }
    found
}

fn is_closed(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_err()
}

/// The path behind a word such as `log` in what was told.
fn path(told: &str, what: &str) -> PathBuf {
    let line = told
        .lines()
        .find_map(|line| line.strip_prefix(&format!("  {what:<8} ")));
    PathBuf::from(line.expect("it was told"))
}

#[test]
fn people_reach_it_until_one_signal_ends_it_and_the_run_with_its_verdicts() {
    for (signal, kind) in [
        (Signal::INT, "gossip"),
        (Signal::TERM, "embedded"),
        (Signal::HUP, "gossip"),
    ] {
        let case = format!("fails[node={kind}]");
        let suite = start(&["--exact", &case]);
        let told = suite.kept();
        assert!(
            told.contains(&format!("{case} failed; what it started is kept up")),
            "{told}"
        );
        assert!(told.contains("at the latest in 2m"), "{told}");
        let ports = ports(&told);
        let (node, port) = ports.first_key_value().expect("a node was told");
        assert!(node.starts_with(&format!("node ({kind}), ")), "{node}");
        for what in ["log", "files"] {
            assert!(path(&told, what).exists() || kind == "embedded", "{told}");
        }

        // Its verdict is everywhere before anybody is told.
        let report = suite.running.report();
        let verdict = &verdicts(&report.join("events.jsonl"))[&case];
        assert_eq!(verdict.status, "failed");
        assert!(verdict.message.contains("lost what was acknowledged"));
        let artifacts = verdict.artifacts.clone().expect("a folder");
        let log = std::fs::read_to_string(artifacts.join("output.log")).expect("its output");
        assert!(log.contains("what it wrote before"), "{log}");
        assert!(artifacts.join("node.log").exists() || kind == "embedded");
        let junit = std::fs::read_to_string(report.join("junit.xml")).expect("junit.xml");
        assert!(
            junit.contains("lost what was acknowledged") && junit.contains("failures=\"1\""),
            "{junit}"
        );
        assert!(report.join("report.html").exists());
        // A stdout that is no terminal has a thread of its own.
        suite.running.wait_until("its verdict is told", |_| {
            suite.read("stdout").contains("lost what was acknowledged")
        });

        let answer = if kind == "gossip" { "1" } else { "starts" };
        assert_eq!(ask(*port, "starts"), answer);
        suite.running.signal(signal);
        let (finished, stdout, stderr) = suite.finish();
        assert_eq!(finished.code(), Some(101), "{stderr}");
        assert!(
            stdout.contains("test result: FAILED. 0 passed; 1 failed"),
            "{stdout}"
        );
        assert_eq!(finished.junit()[&case][0].0, "failure");
        assert!(is_closed(*port));
        // What it wrote after its verdict is among its files too.
        assert!(artifacts.join("node").join("data").exists() || kind == "embedded");
        assert!(!stderr.contains("after it was kept up"), "{stderr}");
    }
}

#[test]
fn of_a_cluster_every_node_is_told() {
    let suite = start(&["fails_with_a_cluster"]);
    let told = suite.kept();
    let ports = ports(&told);
    let nodes: Vec<&str> = ports.keys().map(String::as_str).collect();
    assert!(nodes[0].starts_with("db-1 (gossip), pid "), "{nodes:?}");
    assert_eq!(nodes[1], "db-2 (gossip), down");
    assert!(
        nodes[2].starts_with("db-3 (gossip), pid ") && nodes[2].contains(", paused"),
        "{nodes:?}"
    );
    assert_eq!(nodes.len(), 3);
    assert!(!ask(ports[nodes[0]], "sees").is_empty());
    assert!(is_closed(ports[nodes[1]]));
    suite.running.signal(Signal::INT);
    let (finished, _, stderr) = suite.finish();
    assert_eq!(finished.code(), Some(101), "{stderr}");
    assert!(is_closed(ports[nodes[0]]));
}

#[test]
fn a_killed_runner_leaves_nothing_but_the_verdict() {
    for case in ["fails[node=gossip]", "fails[node=embedded]"] {
        let suite = start(&["--exact", case]);
        let port = *ports(&suite.kept()).values().next().expect("a port");
        suite.running.signal(Signal::KILL);
        let (finished, ..) = suite.finish();
        assert_eq!(finished.code(), None);
        assert!(is_closed(port));
        assert_eq!(finished.verdicts()[case].status, "failed");
        assert_eq!(finished.junit()[case][0].0, "failure");
    }
}

#[test]
fn it_ends_when_its_time_is_over() {
    let suite = start(&["--exact", "fails[node=gossip]", "--keep-on-failure=300ms"]);
    let told = suite.kept();
    assert!(told.contains("at the latest in 300ms"), "{told}");
    let (finished, stdout, _) = suite.finish();
    assert_eq!(finished.code(), Some(101));
    assert!(stdout.contains("1 failed"), "{stdout}");
}

#[test]
fn every_way_to_fail_keeps_it_up_and_its_deadline_does_not_end_it() {
    for (case, class, message) in [
        ("is_late[node=gossip]", "deadline", "deadline of 3s"),
        ("cannot_be_set_up[node=gossip]", "setup", "no such fixture"),
        (
            "fails_with_a_frozen_clock[node=embedded]",
            "error",
            "time stands still",
        ),
        ("fails_again[node=gossip]", "panic", "attempt 2"),
    ] {
        let suite = start(&["--exact", case]);
        let told = suite.kept();
        assert_eq!(told.matches("is kept up").count(), 1, "{told}");
        let port = *ports(&told).values().next().expect("a port");
        if class == "deadline" {
            // As long as its deadline once more.
            std::thread::sleep(Duration::from_secs(3));
        }
        assert_ne!(ask(port, "starts"), "", "{case}");
        suite.running.signal(Signal::INT);
        let (finished, _, stderr) = suite.finish();
        assert_eq!(finished.code(), Some(101), "{case}: {stderr}");
        let verdict = &finished.verdicts()[case];
        assert_eq!(verdict.class, class, "{case}");
        assert!(verdict.message.contains(message), "{case}: {}", verdict.message);
        assert!(!stderr.contains("after it was kept up"), "{stderr}");
    }
    let suite = start(&["--exact", "is_late[node=gossip]"]);
    suite.kept();
    suite.running.signal(Signal::INT);
    let (finished, ..) = suite.finish();
    let verdict = &finished.verdicts()["is_late[node=gossip]"];
    assert!(verdict.details.contains("keep.rs:"), "{}", verdict.details);
}

#[test]
fn what_did_not_fail_or_has_nothing_up_is_not_kept() {
    let finished = planted(&[
        "passes[",
        "fails_as_known",
        "is_skipped",
        "fails_with_nothing",
        "dies_with",
    ])
    .run();
    assert_eq!(finished.code(), Some(101), "{}", finished.stderr);
    assert!(
        !finished.stderr.contains("is kept up (--keep"),
        "{}",
        finished.stderr
    );
    for case in [
        "fails_with_nothing_up[node=gossip]",
        "dies_with_its_worker[node=gossip]",
    ] {
        let told = format!("{case}: nothing that it started was up any more, so nothing of it is kept up");
        assert_eq!(finished.stderr.matches(&told).count(), 1, "{}", finished.stderr);
    }
    let verdicts = finished.verdicts();
    assert_eq!(verdicts["passes[node=gossip]"].status, "passed");
    assert_eq!(verdicts["fails_as_known[node=gossip]"].status, "known_failure");
    assert_eq!(verdicts["is_skipped[node=gossip]"].status, "skipped");
    assert_eq!(verdicts["dies_with_its_worker[node=gossip]"].class, "crash");
}

#[test]
fn without_the_option_nothing_is_kept() {
    let bin = format!("gossip={PROGRAM}");
    let finished = Planted::new(SUITE).args(["--bin", &bin, "fails["]).run();
    assert_eq!(finished.code(), Some(101));
    assert!(!finished.stderr.contains("kept"), "{}", finished.stderr);
}

#[test]
fn other_cases_run_to_their_end_and_none_starts() {
    let gate = TcpListener::bind("127.0.0.1:0").expect("a port");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), gate.local_addr().expect("an address").to_string()).expect("written");
    let bin = format!("gossip={PROGRAM}");
    let arguments = ["--bin", &bin, "--tag", "beside", "--test-threads", "2"];
    // Passes, fails; the other kind's case is not started.
    let suite = start_planted(
        Planted::new(SUITE)
            .args(arguments)
            .args(["--keep-on-failure"])
            .env("PLANTED_GATE", file.path()),
    );
    let (first, _) = gate.accept().expect("a case comes");
    let (second, _) = gate.accept().expect("another case comes");
    // The one that fails says a byte.
    let mut streams = [first, second];
    for stream in &streams {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
    }
    let fails = loop {
        let said = |stream: &TcpStream| {
            stream.set_nonblocking(true).expect("it can");
            let said = stream.peek(&mut [0]).is_ok_and(|bytes| bytes > 0);
            stream.set_nonblocking(false).expect("it can");
            said
        };
        if let Some(at) = streams.iter().position(said) {
            break at;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    streams.swap(0, fails);
    let [mut failing, passing] = streams;
    failing.read_exact(&mut [0]).expect("it said that");
    drop(failing);
    suite.kept();
    assert!(
        !suite
            .read("stdout")
            .contains("passes_while_another_is_kept ... ok")
    );
    drop(passing);
    suite.running.wait_until("the other one passes", |_| {
        suite
            .read("stdout")
            .contains("passes_while_another_is_kept ... ok")
    });
    suite.running.signal(Signal::INT);
    let (finished, ..) = suite.finish();
    assert_eq!(finished.code(), Some(101));
    let verdicts = finished.verdicts();
    let count = |status: &str| {
        verdicts
            .values()
            .filter(|verdict| verdict.status == status)
            .count()
    };
    assert_eq!(
        (count("passed"), count("failed"), count("skipped")),
        (1, 1, 1),
        "{verdicts:?}"
    );
    let skipped = verdicts
        .values()
        .find(|verdict| verdict.status == "skipped")
        .expect("one");
    assert!(
        skipped
            .message
            .contains("a case that failed is kept up (--keep-on-failure)"),
        "{}",
        skipped.message
    );
}

#[test]
fn a_node_that_dies_meanwhile_is_told_and_changes_no_verdict() {
    let case = "fails[node=gossip]";
    let suite = start(&["--exact", case]);
    let port = *ports(&suite.kept()).values().next().expect("a port");
    assert_eq!(ask(port, "die"), "");
    suite.wait_for("kept up: node `node` died");
    suite.running.signal(Signal::INT);
    let (finished, _, stderr) = suite.finish();
    assert_eq!(finished.code(), Some(101));
    assert!(
        stderr.contains("after it was kept up, death: node `node` died"),
        "{stderr}"
    );
    let verdict = &finished.verdicts()[case];
    assert_eq!((&*verdict.status, &*verdict.class), ("failed", "error"));
    assert!(!verdict.details.contains("died"), "{}", verdict.details);
}

#[test]
fn a_worker_that_dies_meanwhile_ends_it() {
    let case = "fails[node=gossip]";
    let suite = start(&["--exact", case]);
    let port = *ports(&suite.kept()).values().next().expect("a port");
    let worker = suite
        .running
        .processes()
        .into_iter()
        .find(|(_, command)| command.contains("--robust-worker"));
    let (worker, _) = worker.expect("it is kept by a worker");
    let worker = Pid::from_raw(i32::try_from(worker).expect("a pid")).expect("a pid");
    kill_process(worker, Signal::KILL).expect("it is there");
    let (finished, _, stderr) = suite.finish();
    assert_eq!(finished.code(), Some(101));
    assert!(
        stderr.contains("while it was kept up, the worker died of signal 9"),
        "{stderr}"
    );
    assert!(is_closed(port));
    assert_eq!(finished.verdicts()[case].class, "error");
}

#[test]
fn it_is_kept_in_a_process_of_its_own_and_in_the_runner_too() {
    for isolation in ["process", "none"] {
        for case in [
            "fails[node=gossip]",
            "fails[node=embedded]",
            "is_late[node=gossip]",
        ] {
            let suite = start(&["--exact", case, "--isolation", isolation]);
            let port = *ports(&suite.kept()).values().next().expect("a port");
            assert_ne!(ask(port, "starts"), "");
            suite.running.signal(Signal::INT);
            let (finished, _, stderr) = suite.finish();
            assert_eq!(finished.code(), Some(101), "{isolation}: {stderr}");
            assert!(is_closed(port));
            assert!(!stderr.contains("after it was kept up"), "{stderr}");
        }
    }
}

#[test]
fn a_variable_turns_it_on_for_an_hour_or_as_long_as_it_says() {
    for (value, told) in [("1", "at the latest in 1h"), ("90s", "at the latest in 1m 30s")] {
        let bin = format!("gossip={PROGRAM}");
        let suite = start_planted(
            Planted::new(SUITE)
                .args(["--bin", &bin, "--exact", "fails[node=gossip]"])
                .env("ROBUST_KEEP_ON_FAILURE", value),
        );
        assert!(suite.kept().contains(told));
        suite.running.signal(Signal::INT);
        assert_eq!(suite.finish().0.code(), Some(101));
    }
    let off = Planted::new(SUITE).args(["--exact", "fails[node=embedded]"]);
    assert_eq!(off.env("ROBUST_KEEP_ON_FAILURE", "0").run().code(), Some(101));
    let bad = Planted::new(SUITE).env("ROBUST_KEEP_ON_FAILURE", "soon").run();
    assert_eq!(bad.code(), Some(2));
    assert!(bad.stderr.contains("ROBUST_KEEP_ON_FAILURE"), "{}", bad.stderr);
}

#[test]
fn under_nextest_it_is_refused() {
    let refused = planted(&["--exact", "fails[node=embedded]"])
        .env("NEXTEST", "1")
        .env("NEXTEST_RUN_ID", "one")
        .run();
    assert_eq!(refused.code(), Some(2));
    assert!(
        refused.stderr.contains("run it with cargo test"),
        "{}",
        refused.stderr
    );
}
