//! A stream of quick cases, among them some that print, leave files, fail, take long, or end their worker. Run
//! by `tests/stream.rs`.
#![allow(missing_docs)]

use std::time::Duration;

use robust_test::harness::param::{Axis, AxisValue, Build, Environment, Param, Shape, TakesKinds};
use robust_test::harness::registry::Site;
use robust_test::prelude::*;

/// As many cases as the suite has.
const CASES: usize = 1500;

struct Number(usize);

impl Param for Number {
    fn shape(_: &Site, _: &Environment) -> Shape {
        let value = |number: usize| AxisValue {
            label: number.to_string().into(),
            ..AxisValue::default()
        };
        Shape {
            axis: Some(Axis {
                values: (0..CASES).map(value).collect(),
                empty_because: None,
            }),
            ..Shape::default()
        }
    }

    async fn build(build: &mut Build) -> Result<Self> {
        Ok(Self(build.choice()))
    }
}

impl TakesKinds for Number {}

/// Each says who it is, first and last, so that a byte in another's output is noticed.
#[robust_test(
    timeout = "20s",
    allow_leak(files, because = "the next case must not see them")
)]
fn of_cases(case: Case, number: Number) {
    let number = number.0;
    if !number.is_multiple_of(3) {
        println!("begin {number}");
    }
    match number {
        _ if number % 401 == 7 => std::process::abort(),
        _ if number % 89 == 5 => panic!("case {number} fails"),
        _ if number % 97 == 11 => std::thread::sleep(Duration::from_millis(30)),
        _ if number % 61 == 3 => {
            std::fs::write(std::env::temp_dir().join(format!("left-{number}")), "x").unwrap();
        }
        _ if number % 67 == 4 => {
            std::fs::write(case.folder().unwrap().join("mine"), number.to_string()).unwrap()
        }
        // Read as a failure: with what others left, it would fail.
        _ if number.is_multiple_of(5) => {
            assert_eq!(std::fs::read_dir(std::env::temp_dir()).unwrap().count(), 0)
        }
        _ if number % 53 == 2 => print!("{}", "long ".repeat(40_000)),
        _ => {}
    }
    if number % 3 > 1 {
        eprintln!("end {number}");
    }
}

robust_test::main!();
