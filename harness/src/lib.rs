//! The runner behind robust-test: it discovers scenarios, expands their matrices, runs the cases in worker
//! processes and reports. It knows no server, no client and no fault.
//!
//! Suites use the `robust-test` crate, which stands on this one; nothing here is meant for authors directly.

pub mod case;
pub mod error;
pub mod event;
pub mod expansion;
pub mod outcome;
pub mod param;
pub mod registry;
pub mod runner;
pub mod seed;

pub use inventory;
