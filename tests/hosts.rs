//! Hosts of their own, from outside: whatever becomes of the case, the worker or the runner, no network is left and no process
//! on it, and a worker that had some goes on. Skipped where there can be none.

use std::collections::BTreeMap;
use std::path::Path;

use robust_test::hosts::Net;
use robust_test_tests::{Planted, Signal, is_allowed, is_kept};

const HOSTS: &str = env!("CARGO_BIN_EXE_hosts-suite");

/// By case: the network of its first host, and its worker.
fn networks(folder: &Path) -> BTreeMap<String, (String, String)> {
    let files = std::fs::read_dir(folder).unwrap().flatten();
    let told = files.map(|file| {
        let text = std::fs::read_to_string(file.path()).unwrap();
        let (network, worker) = text.split_once(' ').unwrap();
        let name = file.file_name().into_string().unwrap();
        (name, (network.to_owned(), worker.to_owned()))
    });
    told.collect()
}

#[test]
fn a_case_ends_as_it_does_and_nothing_of_its_hosts_is_left() {
    if !is_allowed(Net::available()) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let suite = Planted::new(HOSTS).env("NETWORKS", folder.path());
    let finished = suite.args(["--test-threads", "1"]).run();
    assert_eq!(finished.code(), Some(101));
    let verdicts = finished.verdicts();
    let of = |name: &str| {
        let verdict = &verdicts[name];
        (verdict.status.as_str(), verdict.class.as_str())
    };
    for name in ["passes", "passes_with_handles_that_are_kept"] {
        assert_eq!(of(name).0, "passed", "{:?}", verdicts[name]);
    }
    assert_eq!(of("fails").0, "failed", "{:?}", verdicts["fails"]);
    assert_eq!(of("its_worker_dies"), ("errored", "crash"));
    assert_eq!(of("its_worker_stands_still"), ("errored", "deadline"));
    assert_eq!(of("leaves_a_process_on_a_host"), ("errored", "leak"));
    let leak = &verdicts["leaves_a_process_on_a_host"];
    let told = format!("{}\n{}", leak.message, leak.details);
    assert!(told.contains("(sleep 7831)"), "{told}");
    assert!(!told.contains("thread") && !told.contains("descriptor"), "{told}");
    let networks = networks(folder.path());
    assert_eq!(networks.len(), 6, "{networks:?}");
    for (case, (network, _)) in &networks {
        assert!(!is_kept(network), "{case}: {network}");
    }
    let worker = |case: &str| &networks[case].1;
    assert_eq!(
        worker("passes"),
        worker("passes_with_handles_that_are_kept"),
        "a worker is as it was when the hosts are gone"
    );
}

#[test]
fn nothing_is_left_of_a_killed_runner() {
    if !is_allowed(Net::available()) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let suite = Planted::new(HOSTS).env("NETWORKS", folder.path());
    let suite = suite.args(["--ignored", "waits"]).start();
    suite.wait_until("a program is on a host", |suite| {
        let processes = suite.processes();
        processes.iter().any(|(_, line)| line.contains("sleep 7832"))
    });
    let networks = networks(folder.path());
    let (network, _) = &networks["waits"];
    assert!(is_kept(network));
    suite.signal(Signal::KILL);
    suite.finish();
    assert!(!is_kept(network), "{network}");
}
