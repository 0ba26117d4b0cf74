//! `--serve`: a server or a cluster that is up for people, and gone when they are done with it, however that is.

use std::path::Path;
use std::process::Stdio;

use robust_test_tests::gossip::ask_port as ask;
use robust_test_tests::{Planted, Running, Signal};

const CLUSTERS: &str = env!("CARGO_BIN_EXE_clusters");
const PROGRAM: &str = env!("CARGO_BIN_EXE_gossip-server");

/// A suite that serves `what`, its stdout in the file `out`.
fn serve(what: &str, out: &Path) -> Running {
    let out = std::fs::File::create(out).expect("a file");
    Planted::new(CLUSTERS)
        .args(["--bin", &format!("gossip={PROGRAM}"), "--serve", what])
        .with(|command| {
            command.stdout(Stdio::from(out));
        })
        .start()
}

/// The ports that it told, once it is up.
fn ports(suite: &Running, out: &Path) -> Vec<u16> {
    let said = || std::fs::read_to_string(out).unwrap_or_default();
    suite.wait_until("it is ready", |_| said().contains("ready; Ctrl-C ends it"));
    let said = said();
    let ports = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("gossip   127.0.0.1:"));
    ports.map(|port| port.parse().expect("a port")).collect()
}

#[test]
fn a_cluster_is_up_until_a_signal_comes() {
    let home = tempfile::tempdir().expect("a folder");
    let out = home.path().join("out");
    let suite = serve("gossipx3", &out);
    let ports = ports(&suite, &out);
    assert_eq!(ports.len(), 3);
    assert_eq!(ask(ports[2], "sees"), "1 2 3");
    suite.signal(Signal::INT);
    let finished = suite.finish();
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
}

#[test]
fn what_is_served_ends_with_a_killed_runner() {
    let home = tempfile::tempdir().expect("a folder");
    let out = home.path().join("out");
    let suite = serve("gossip", &out);
    assert_eq!(ports(&suite, &out).len(), 1);
    suite.signal(Signal::KILL);
    suite.finish();
}

#[test]
fn a_server_that_dies_ends_it_with_its_name_and_log() {
    let home = tempfile::tempdir().expect("a folder");
    let out = home.path().join("out");
    let suite = serve("gossipx2", &out);
    assert_eq!(ask(ports(&suite, &out)[1], "die"), "");
    let finished = suite.finish();
    assert_eq!(finished.code(), Some(101));
    for part in ["--serve gossip: ", "`gossip-2` died", "status 7", "told to die"] {
        assert!(finished.stderr.contains(part), "{part:?}: {}", finished.stderr);
    }
}

#[test]
fn what_cannot_be_served_is_told() {
    for (what, part) in [
        ("gosip", "did you mean `gossip`?"),
        ("line", "is a kind of client"),
        ("embeddedx3", "form no clusters"),
        ("one_by_one", "`planted-gossip-server` was not found on PATH"),
    ] {
        let finished = Planted::new(CLUSTERS).args(["--serve", what]).run();
        assert_eq!(finished.code(), Some(2), "{what}: {}", finished.stderr);
        assert!(finished.stderr.contains(part), "{what}: {}", finished.stderr);
    }
}
