//! Allowances of leaks that allow nothing, or too much.
use robust_test::prelude::*;

#[robust_test(allow_leak(thread = "pool", because = "x"))]
fn a_class_that_is_none() {}

#[robust_test(allow_leak(threads = "pool"))]
fn no_reason() {}

#[robust_test(allow_leak(because = "x"))]
fn no_class() {}

#[robust_test(allow_leak(threads, files, because = "x"))]
fn two_classes() {}

#[robust_test(allow_leak(tasks = "x", because = "x"))]
fn a_name_where_there_are_none() {}

#[robust_test(allow_leak(files = "", because = ""))]
fn empty_texts() {}

#[robust_test(allow_leak = "threads")]
fn no_list() {}

robust_test::allow_leak!(thread = "pool", because = "x");
robust_test::allow_leak!(threads = "pool");
robust_test::allow_leak!(tasks = "pool", because = "x");

fn main() {}
