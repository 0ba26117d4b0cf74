//! Unknown, repeated and half-written options, all told at once.
use robust_test::prelude::*;

#[robust_test(timout = "30s", tag("slow"), colour = "red")]
fn unknown() {}

#[robust_test(retries = 1, retries = 2, tags("a"), tags("b"))]
fn repeated() {}

#[robust_test(timeout =, "30s", , retries 3, tags::slow, serial(a = "b")(c))]
fn half_written() {}


fn main() {}
