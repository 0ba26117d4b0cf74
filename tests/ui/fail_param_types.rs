//! Types that are no parameters, one error each.
use robust_test::prelude::*;

#[robust_test]
async fn no_param(case: Case, number: u32, many: Vec<String>) {
    let _ = (case, number, many);
}

#[robust_test]
fn unknown_type(case: Case, broker: Server<Mqtt>) {
    let _ = (case, broker);
}

fn main() {}
