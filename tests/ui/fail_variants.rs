//! `variants` of kinds, and `pin` and `forbid` of scenarios, that say nothing or what a name cannot hold.
#![allow(unused)]

mod support;

use robust_test::client::ClientLink;
use robust_test::node::{Instance, Node};
use robust_test::prelude::*;
use support::{Broker, Echo, EchoClient};

#[robust_server(Echo, variants())]
async fn nothing(_: &mut Node<Echo>) -> Result<Instance> {
    todo!()
}

#[robust_server(Echo, variants(a = [], fixed(), per_node(b = "c"), d, e = ("f"), fixd(g = ["h"])))]
async fn forms(_: &mut Node<Echo>) -> Result<Instance> {
    todo!()
}

#[robust_server(Echo, variants(a = ["b", "b"], c = ["d"], fixed(c = ["e"]), per_node(fixed(f = ["g"]))))]
async fn twice(_: &mut Node<Echo>) -> Result<Instance> {
    todo!()
}

#[robust_client(Echo, variants(a = ["b c", "d,e", "f=g", "", "[h]", i]))]
async fn texts(_: ClientLink) -> Result<Box<dyn EchoClient>> {
    todo!()
}

#[robust_client(Echo, variants = ["a"], variants(b = ["c"]))]
async fn no_list(_: ClientLink) -> Result<Box<dyn EchoClient>> {
    todo!()
}

#[robust_test(pin(), pin(brokr.tls = "on"), pin(qos.tls = "on"), pin(tls), pin(a.b.c = "d"), pin = "x")]
fn pins(broker: Broker, #[values(0, 1)] qos: u8) {}

#[robust_test(pin(tls = "on", broker.tls = "on"), pin(tls = "off"))]
fn pinned_twice(broker: Broker) {}

#[robust_test(
    forbid(broker.tls = "on"),
    forbid(because = "x"),
    forbid(brokr.tls = "on", because = "x"),
    forbid(tls = "a b", because = "")
)]
fn forbidden(broker: Broker) {}

#[robust_test(
    exclude(qos.tls = "on", because = "x"),
    known_failure(broker.tls = "on", broker.tls = "off", because = "x"),
    requires(broker.tls = "on")
)]
fn rules(broker: Broker, #[values(0, 1)] qos: u8) {}

fn main() {}
