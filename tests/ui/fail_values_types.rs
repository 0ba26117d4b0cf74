//! Values and settings of another type than their parameter's.
mod support;

use robust_test::prelude::*;
use support::Broker;

#[robust_test]
fn values(#[values(0, "x", 256, big = 1.5)] qos: u8) {
    let _ = qos;
}

#[robust_test]
fn settings(#[settings(4)] broker: Broker) {
    let _ = broker;
}

#[robust_test]
fn sees_no_other_parameter(#[values(1)] first: u8, #[values(p = first + p0)] second: u8) {
    let _ = (first, second);
}

fn main() {}
