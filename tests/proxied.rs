//! Servers, clusters and clients behind proxies, through the runner.

use robust_test_tests::{Finished, Planted, starting};

fn run(arguments: &[&str]) -> Finished {
    Planted::new(env!("CARGO_BIN_EXE_proxied"))
        .args(["--bin", concat!("gossip=", env!("CARGO_BIN_EXE_gossip-server"))])
        .args(arguments)
        .run()
}

#[test]
fn servers_clients_and_members_are_reached_through_their_proxies() {
    let finished = run(&["--skip-tag", "fails"]);
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
    let verdicts = finished.verdicts();
    assert_eq!(verdicts.len(), 7, "{:?}", verdicts.keys());
    assert!(verdicts.values().all(|verdict| verdict.status == "passed"));
}

#[test]
fn whoever_asks_for_a_proxy_that_there_is_not_is_told_what_to_write() {
    let finished = run(&["--tag", "fails"]);
    assert_eq!(finished.code(), Some(101), "{}", finished.stdout);
    let verdicts = finished.verdicts();
    let message = |name: &str| starting(&verdicts, name).message.as_str();
    assert_eq!(
        message("a_server_without"),
        "node `db` is not behind proxies: write `#[proxied]` on the parameter"
    );
    assert_eq!(
        message("a_port_that_nobody"),
        "node `db` (gossip) has no port `http`: its start function asked for [\"gossip\"]"
    );
    assert_eq!(
        message("a_client_without"),
        "client `client` is not behind proxies: write `#[proxied]` on the parameter"
    );
    assert_eq!(
        message("a_port_that_a_client"),
        "client `client` did not ask for port `http` of `db`, but [\"to db gossip\"]"
    );
}
