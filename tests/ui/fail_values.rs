//! `#[values]` that cannot be told apart, named or used.
use robust_test::prelude::*;

const fn of(a: u8, b: u8) -> u8 {
    a + b
}

#[robust_test]
fn twice(#[values(1, 2, 1)] a: u8, #[values(x = 1, "x")] b: u8) {
    let _ = (a, b);
}

#[robust_test]
fn names(#[values("a b", "", of(1, 2), 1 as u8, "[")] a: &str) {
    let _ = a;
}

#[robust_test]
fn half_written(#[values(a =, 1)] a: u8, #[values(1 2)] b: u8) {
    let _ = (a, b);
}

#[robust_test]
fn with_others(
    case: Case,
    #[values(1)]
    #[nodes(1)]
    #[count(1)]
    #[settings(1)]
    #[on(case)]
    #[proxied]
    #[disk]
    #[hosts]
    value: u8,
) {
    let _ = (case, value);
}

#[robust_test]
fn chosen(#[values(1, 2)] #[only(3)] #[except("one")] a: u8) {
    let _ = a;
}

fn main() {
    of(1, 2);
}
