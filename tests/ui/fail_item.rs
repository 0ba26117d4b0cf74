//! What is no function, and functions that other attributes claim.
use robust_test::prelude::*;

#[robust_test]
/// Documented.
pub struct Scenario;

#[robust_test]
const CASE: u8 = 1;

#[robust_server(Echo)]
mod server {}

trait Suite {
    #[robust_test]
    fn without_body();
}

#[robust_test]
#[test]
fn of_libtest() {}

#[robust_test]
#[tokio::test]
async fn of_tokio() {}

#[robust_test]
#[ignore = "why"]
#[should_panic(expected = "x")]
fn libtest_attributes() {}

#[robust_test]
#[robust_test(retries = 1)]
fn twice() {}

fn main() {}
