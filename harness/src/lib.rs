//! The runner behind robust-test: it discovers scenarios, expands their matrices, runs the cases in worker
//! processes and reports. It knows no server, no client and no fault.
//!
//! Suites use the `robust-test` crate, which stands on this one; nothing here is meant for authors directly.

#[cfg(not(target_os = "linux"))]
compile_error!("robust-test supports Linux only: it needs pidfds, subreapers and /proc");

// What authors' types are made of.
pub mod case;
pub mod caught;
pub mod error;
pub mod expansion;
pub mod groups;
pub mod leak;
pub mod mechanism;
pub mod param;
pub mod processes;
pub mod registry;
pub mod seed;
pub mod signal;
pub mod spare_folder;
pub mod stash;
pub mod sub_case;
pub mod variant;
pub mod wall_clock;

// What a run decides.
pub mod event;
pub mod exit;
mod history;
mod index;
mod known_failure;
pub mod matrix;
mod near_miss;
pub mod outcome;
pub mod plan;
pub mod require;
mod scheduler;
pub mod selection;
mod verdict;

// Inside a worker.
mod awaits;
mod drive;
mod executor;
mod flush;
mod footprint;
mod gate;
mod panics;
mod probe;
mod sockets;
mod stack;
mod surface;
mod temporary;
pub mod trace;
mod worker;

// Between runner and workers.
mod artifacts;
mod attempt;
mod capture;
mod deadline;
mod descriptors;
mod in_process;
mod interrupt;
mod keep;
mod launcher;
mod mounts;
mod output_stream;
mod patience;
mod pressure;
mod process_tree;
mod protocol;
mod reaper;
mod symbols;
mod thread_state;
mod worker_handle;

// From events to reports.
pub mod report;

// For the benches.
#[doc(hidden)]
pub use executor::cost_of_a_look;

// A run.
mod ahead;
mod case_run;
pub mod cli;
mod explain;
mod history_file;
mod layout;
mod pool;
mod rules;
mod serial_lock;

pub mod runner;

#[cfg(test)]
mod privilege_tests;

pub use inventory;
