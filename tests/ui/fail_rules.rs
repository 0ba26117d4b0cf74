//! `requires`, `exclude` and `known_failure` that say nothing, or name what is not there.
#![allow(unused)]

mod support;

use robust_test::prelude::*;
use support::Broker;

#[robust_test(
    requires(brokr = "qos2"),
    exclude(client = "a", because = "x"),
    known_failure(qoss = 1, because = "x")
)]
fn names(_broker: Broker, broker: Broker, #[values(0, 1)] qos: u8) {}

#[robust_test(requires(broker = "a"))]
fn no_parameters() {}

#[robust_test(
    exclude(mode = "durable", because = "x"),
    known_failure(mode = "durible", qos = 2, because = "x"),
    requires(mode = "x")
)]
fn labels(#[values("durible", "volatile")] mode: &str, #[values(0, 1)] qos: u8) {}

#[robust_test(exclude(broker = "a"), known_failure(), exclude, known_failure = "x")]
fn without_reason(broker: Broker) {}

#[robust_test(exclude(broker = "a", because = ""), known_failure(because = "  "))]
fn empty_reason(broker: Broker) {}

#[robust_test(exclude(because = "x"))]
fn exclude_everything(broker: Broker) {}

#[robust_test(
    exclude(broker = "a", broker = "b", because = "x", because = "y"),
    known_failure(broker = broker, because = 1),
    exclude(broker, because = "x"),
    known_failure(broker = "a b", because = "x")
)]
fn pairs(broker: Broker) {}

#[robust_test(requires(), requires(broker), requires(broker = 1), requires(broker = ""))]
fn requirements(broker: Broker) {}

#[robust_test(
    known_failure(because = "x", intermittent = true),
    known_failure(because = "x", intermittent = false, expected = ""),
    known_failure(because = "x", intermittent = "often", expected = 1),
    known_failure(because = "x", expected = "y", expected = "z", intermittent, intermittent),
    known_failure(because = "x", expected()),
    known_failure(because = "x", expected("a", "")),
    known_failure(because = "x", expected),
    exclude(broker = "a", expected = "y", because = "x")
)]
fn how_they_fail(broker: Broker) {}

#[robust_test(known_failure(expected = "y", because = "x"))]
fn mistakable(#[values(0, 1)] expected: u8) {}

#[robust_test(known_failure(expected = "y", intermittent = true, because = "x"))]
fn mistakable_too(#[values(true, false)] intermittent: bool) {}

fn main() {}
