//! `#[on]` that names no earlier parameter.
#![allow(unused)]

mod support;

use robust_test::prelude::*;
use support::{Broker, Publisher};

#[robust_test]
fn misspelt(broker: Broker, #[on(brocker)] publisher: Publisher) {}

#[robust_test]
fn itself(#[on(publisher)] publisher: Publisher) {}

#[robust_test]
fn later(#[on(broker)] publisher: Publisher, broker: Broker) {}

#[robust_test]
fn first(#[on(server)] publisher: Publisher) {}

fn main() {}
