//! Patterns and attributes that parameters cannot have.
#![allow(unused)]

mod support;

use robust_test::prelude::*;
use support::Broker;

#[robust_test]
fn patterns((a, b): (Case, Case), _: Case, ref c: Case, d @ _: Case) {}

#[robust_test]
fn unknown(#[onyl("a")] a: Broker, #[node(3)] b: Broker, #[color] c: Broker, #[clippy::x] d: Broker) {}

#[robust_test]
fn compiled_away(#[cfg(unix)] a: Broker, #[cfg_attr(unix, only("a"))] b: Broker) {}

#[robust_test]
fn repeated(#[only("a")] #[only("b")] a: Broker, #[only("a", "a")] b: Broker) {}

#[robust_test]
fn empty(
    #[only] a: Broker,
    #[except()] b: Broker,
    #[nodes()] c: Broker,
    #[count = 3] d: Vec<Broker>,
    #[settings()] e: Broker,
    #[on()] f: Broker,
    #[values] g: u8,
    #[values()] h: u8,
) {
}

#[robust_test]
fn contents(
    #[only(a)] a: Broker,
    #[except("a b", "", "x=y")] b: Broker,
    #[nodes(0)] c: Broker,
    #[count("3")] d: Vec<Broker>,
    #[settings(,)] e: Broker,
    #[on("a")] f: Broker,
    #[proxied(1)] g: Broker,
    #[disk(1)] h: Broker,
    #[hosts(1)] i: Broker,
) {
}

fn main() {}
