//! Clusters whose nodes are on hosts of their own, through the runner. Skipped where there can be none.

use std::collections::BTreeSet;

use robust_test::hosts::Net;
use robust_test_tests::gossip::Nobody;
use robust_test_tests::{Finished, Planted, Privilege, Signal, is_allowed, is_kept, starting};

const ON_HOSTS: &str = env!("CARGO_BIN_EXE_on-hosts");
const GOSSIP: &str = env!("CARGO_BIN_EXE_gossip-server");

fn planted(arguments: &[&str]) -> Planted {
    Planted::new(ON_HOSTS)
        .args(["--bin", concat!("gossip=", env!("CARGO_BIN_EXE_gossip-server"))])
        .args(arguments)
}

/// By a user without privileges, after root did this.
fn as_nobody(before: &str) -> Planted {
    let nobody = Nobody {
        before: before.to_owned(),
        ..Nobody::default()
    };
    nobody.runs((ON_HOSTS, GOSSIP), ALL)
}

/// The arguments for the scenarios that are to pass whoever runs them.
const ALL: &str = "--skip-tag fails --skip-tag alone";
/// How many they are.
const CASES: usize = 9;

/// How many cases have this status.
fn count(finished: &Finished, status: &str) -> usize {
    let verdicts = finished.verdicts();
    verdicts
        .values()
        .filter(|verdict| verdict.status == status)
        .count()
}

/// Each with the kind that can be on a host, and skipped with the one that cannot.
fn all_pass(finished: &Finished) {
    assert_eq!(finished.code(), Some(0), "{}{}", finished.stdout, finished.stderr);
    assert_eq!(count(finished, "passed"), CASES, "{}", finished.stdout);
    assert_eq!(count(finished, "skipped"), CASES);
    let why = format!("{CASES} skipped: kind \"local\" of parameter \"db\" does not provide \"hosts\"");
    assert!(finished.stdout.contains(&why), "{}", finished.stdout);
}

#[test]
fn nodes_on_hosts_are_reached_cut_off_and_moved() {
    if is_allowed(Net::available()) {
        all_pass(&planted(&ALL.split(' ').collect::<Vec<_>>()).run());
    }
}

#[test]
fn a_host_without_ports_serves_those_that_have_one() {
    let is_root = rustix::process::geteuid().is_root();
    if is_allowed(is_root.then_some(()).ok_or("this user is not root")) && is_allowed(Net::available()) {
        let finished = planted(&["--tag", "root"]).run();
        assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
        assert_eq!(count(&finished, "passed"), 1, "{}", finished.stdout);
    }
}

#[test]
fn who_is_not_root_can_do_the_same_with_user_namespaces() {
    if !Privilege::Mount.is_granted() || !Privilege::OtherUser.is_granted() || !is_allowed(Net::available()) {
        return;
    }
    let open = "mount -t tmpfs -o dev none /dev/net && mknod -m 666 /dev/net/tun c 10 200 &&";
    all_pass(&as_nobody(open).run());
}

#[test]
fn where_there_are_no_hosts_the_cases_are_skipped_with_the_reason() {
    if !Privilege::Mount.is_granted() || !Privilege::OtherUser.is_granted() {
        return;
    }
    let none = "mount -t tmpfs none /dev/net &&";
    let finished = as_nobody(none).run();
    assert_eq!(finished.code(), Some(0), "{}{}", finished.stdout, finished.stderr);
    assert_eq!(count(&finished, "skipped"), 2 * CASES, "{}", finished.stdout);
    let why = format!("{CASES} skipped: `namespaces` is not available: this system has no /dev/net/tun");
    assert!(finished.stdout.contains(&why), "{}", finished.stdout);
    let finished = as_nobody(none).env("ROBUST_REQUIRE", "namespaces").run();
    assert_eq!(
        finished.code(),
        Some(101),
        "{}{}",
        finished.stdout,
        finished.stderr
    );
    assert_eq!(count(&finished, "errored"), CASES, "{}", finished.stdout);
}

#[test]
fn nothing_is_left_of_the_nodes_of_a_runner_that_is_killed() {
    if !is_allowed(Net::available()) {
        return;
    }
    let suite = planted(&["--ignored", "waits"]).start();
    let networks = || -> BTreeSet<String> {
        let processes = suite.processes();
        let nodes = processes
            .iter()
            .filter(|(_, line)| line.contains("gossip-server"));
        let networks = nodes.filter_map(|(pid, _)| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok());
        networks
            .map(|network| network.display().to_string())
            .filter(|network| *network != own_network())
            .collect()
    };
    suite.wait_until("each node is on a host", |_| networks().len() == 3);
    let networks = networks();
    assert!(networks.iter().all(|network| is_kept(network)), "{networks:?}");
    suite.signal(Signal::KILL);
    suite.finish();
    for network in networks {
        assert!(!is_kept(&network), "{network}");
    }
}

fn own_network() -> String {
    let network = std::fs::read_link("/proc/self/ns/net").unwrap();
    network.display().to_string()
}

#[test]
fn whoever_asks_for_a_host_that_there_is_not_is_told_what_to_write() {
    if !is_allowed(Net::available()) {
        return;
    }
    let finished = planted(&["--tag", "fails"]).run();
    assert_eq!(finished.code(), Some(101), "{}", finished.stdout);
    let verdicts = finished.verdicts();
    let message = |name: &str| starting(&verdicts, name).message.as_str();
    assert_eq!(
        message("a_cluster_without"),
        "the nodes of cluster `db` are on no hosts of their own: write `#[hosts]` on the parameter"
    );
    assert_eq!(
        message("a_node_without"),
        "node `db-1` is on no host of its own: write `#[hosts]` on the parameter of its cluster"
    );
    assert!(
        message("what_runs_inside").starts_with(
            "node `db-1` cannot be on a host of its own (`#[hosts]`), as it runs inside this process"
        ),
        "{}",
        message("what_runs_inside")
    );
}
