//! Options with values that they do not take.
use robust_test::prelude::*;

#[robust_test(timeout = "30")]
fn no_unit() {}

#[robust_test(timeout = "0s")]
fn zero() {}

#[robust_test(timeout = "soon")]
fn no_duration() {}

#[robust_test(timeout = 30)]
fn not_a_string() {}

#[robust_test(timeout, retries, weight, flavor, tags)]
fn nothing_said() {}

#[robust_test(timeout("30s"), tags = "slow", retries(1), start_paused(true))]
async fn other_form() {}

#[robust_test(retries = -1, weight = 0, worker_threads = 0, flavor = "multi_thread")]
fn numbers() {}

#[robust_test(retries = 4294967296, weight = "4")]
fn more_numbers() {}

#[robust_test(isolation = "proces", flavor = "threads", start_paused = "yes")]
async fn choices() {}

#[robust_test(tags(), serial())]
fn empty_lists() {}

#[robust_test(tags("a", "a", slow, ""), serial = " ", ignore = "", should_panic = "")]
fn texts() {}

fn main() {}
