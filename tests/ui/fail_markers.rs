//! Attributes on types that do not take them, each underlined itself.
mod support;

use robust_test::prelude::*;
use support::{Broker, Plain, Publisher};

#[robust_test]
fn on_a_plain_one(
    broker: Broker,
    #[only("a")] only: Plain,
    #[except("a")] except: Plain,
    #[nodes(3)] nodes: Plain,
    #[count(3)] count: Plain,
    #[settings("x".to_owned())] settings: Plain,
    #[on(broker)] on: Plain,
    #[proxied] proxied: Plain,
    #[disk] disk: Plain,
    #[hosts] hosts: Plain,
) {
    let _ = (broker, only, except, nodes, count, settings, on, proxied, disk, hosts);
}

#[robust_test]
fn of_the_other_kind(broker: Broker, #[nodes(3)] publisher: Publisher, #[on(broker)] other: Vec<Broker>) {
    let _ = (broker, publisher, other);
}

fn main() {}
