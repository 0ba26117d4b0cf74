//! What the benches share: suites written and built for the occasion, sides run in turns, tables.
//!
//! Suites are packages of their own under `<target>/bench-suites/`, so that a peer's dependencies never become
//! this project's. Machines are noisy: the sides of a comparison take turns, a time is the median of its
//! rounds, and a ratio is the median of the rounds' ratios.
#![allow(dead_code, reason = "no bench uses all of it")]

pub(crate) mod build;
pub(crate) mod measure;
pub(crate) mod options;
pub(crate) mod source;
pub(crate) mod suite;
pub(crate) mod table;
