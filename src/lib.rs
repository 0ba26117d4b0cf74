//! robust-test: robustness scenarios for client/server systems.
//!
//! What authors of scenarios and of kinds use, on top of the runner in `robust_test_harness`. In reading
//! order:
//! - [`service`]: a kind of system, and the descriptors of its server and client kinds.
//! - [`server`], [`cluster`], [`client`]: the parameters of scenarios, and the handles on what was started.
//! - [`view`]: what operators see of a node, and what is inside.
//! - [`node`], [`command`], [`launch`], [`readiness`]: what a start function works with. [`member`]: the other nodes.
//! - [`network`]: proxies between clients and servers, and what they do to connections.
//! - [`hostile`]: peers that attack servers and clients, and what must not come of it.
//! - [`hosts`]: hosts of their own, and a network between them that loses, delays and cuts.
//! - [`tls`]: the certificates of nodes and clients, good and bad.
//! - [`in_process`]: servers inside the case's own process. [`exit`], [`instance`]: how nodes end. [`down`]: what
//!   their ports do meanwhile.
//! - [`fault`]: faults as values, of nodes, links, disks and clusters. [`disk`]: a disk that loses its power, is full, or whose syncs are slow or fail.
//! - [`eventually`](mod@eventually): waiting until something holds.
//! - [`run_n`]: many clients at once, each with a verdict of its own.
//! - [`scope`]: what runs beside a scenario's own code, and what is to be undone, stopped with the case.

extern crate self as robust_test;

mod attributes;
pub mod client;
mod clock;
pub mod cluster;
pub mod command;
pub mod disk;
pub mod down;
pub mod eventually;
pub mod exit;
pub mod fault;
mod forks;
mod front;
pub mod hostile;
pub mod hosts;
pub mod in_process;
pub mod instance;
pub mod launch;
mod listener;
mod listening;
mod log;
mod log_limit;
pub mod member;
mod memory_group;
pub mod network;
pub mod node;
mod node_clock;
mod oracle;
mod origin;
mod place;
mod port;
mod process;
pub mod readiness;
pub mod run_n;
pub mod scope;
mod seat;
#[doc(hidden)]
pub mod serve;
pub mod server;
pub mod service;
mod shared;
mod sock_diag;
mod supervisor;
#[cfg(test)]
mod tests;
pub mod tls;
mod variant;
pub mod view;

pub use attributes::{robust_client, robust_server, robust_test};
pub use clock::{millis, secs};
pub use listener::Process;
pub use log::LogTail;
pub use place::{ProgramError, WriteFileError};
pub use rand;
pub use robust_test_harness as harness;
pub use robust_test_harness::case::Case;
pub use robust_test_harness::error::{Context, Error, Result, error, skip};
pub use supervisor::StandInError;

/// What scenarios and kinds use.
pub mod prelude {
    pub use crate::client::{Client, ClientLink};
    pub use crate::cluster::{Cluster, Partition};
    pub use crate::command::{Embedded, ServerCommand};
    pub use crate::down::Down;
    pub use crate::eventually::{Attempt, Done, eventually};
    pub use crate::exit::{Exit, Signal};
    pub use crate::fault::{Fault, Faults, Pick};
    pub use crate::hosts::{Host, Impairment, Net};
    pub use crate::in_process::Stopping;
    pub use crate::network::{Proxy, Toxic};
    pub use crate::node::{Instance, Node};
    pub use crate::readiness::{Ready, log_line, probe, tcp};
    pub use crate::run_n::{Part, RunN};
    pub use crate::scope::{Limited, Scope, Task};
    pub use crate::server::{Restart, Server};
    pub use crate::service::{BoxFuture, Service};
    pub use crate::tls::{Flaw, TlsFiles};
    pub use crate::view::{AdminView, ClusterView, InternalsView, NodeLink};
    pub use crate::{Case, Context, Error, Result, error, millis, secs, skip};
    pub use crate::{robust_client, robust_server, robust_test};
}

/// For the attributes' expansions alone.
#[doc(hidden)]
pub mod __private {
    pub use crate::serve::{Serve, scenario as serve};
    pub use crate::service::{ClientKind, ConnectFn, ServerKind, StartFn, StartOrder, kinds};
    pub use inventory;
    pub use robust_test_harness::expansion::*;
}

/// The `main` of a test target with `harness = false`: runs every scenario that is linked in.
#[macro_export]
macro_rules! main {
    () => {
        fn main() -> ::std::process::ExitCode {
            $crate::__private::run($crate::__private::Suite {
                package: env!("CARGO_PKG_NAME"),
                name: env!("CARGO_CRATE_NAME"),
                binary: option_env!("CARGO_BIN_NAME"),
                manifest_dir: env!("CARGO_MANIFEST_DIR"),
                target_tmpdir: option_env!("CARGO_TARGET_TMPDIR"),
                kinds: $crate::__private::kinds,
                serve: $crate::__private::serve,
            })
        }
    };
}

/// Lets something outlive every case of the suite, for a reason: a thread that a library starts once and keeps, say.
/// What it allows becomes a part of the worker it happened in, which goes on; the case's log tells of it. For one
/// scenario there is the option `allow_leak` of [`robust_test`](macro@robust_test), after which the worker is replaced.
///
/// The classes are `tasks` (they have no names), `threads` (by name), `processes` (by command line), `descriptors`
/// (by path or kind), `listeners` (by protocol and address) and `files` (by name, in the temporary folder). An
/// allowance for a text allows what has it in its name; one without allows the whole class.
///
/// ```
/// robust_test::allow_leak!(threads = "blocking-pool", because = "the pool is started once and never ends");
/// robust_test::allow_leak!(files, because = "the driver keeps a cache there");
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! allow_leak {
    (tasks = $($rest:tt)*) => {
        ::core::compile_error!("tasks have no names: write `tasks` alone");
    };
    ($class:ident = $containing:literal, because = $because:literal $(,)?) => {
        $crate::allow_leak!(@ $class, ::core::option::Option::Some($containing), $because);
    };
    ($class:ident, because = $because:literal $(,)?) => {
        $crate::allow_leak!(@ $class, ::core::option::Option::None, $because);
    };
    (@ tasks, $containing:expr, $because:literal) => { $crate::allow_leak!(@@ Tasks, $containing, $because); };
    (@ threads, $containing:expr, $because:literal) => { $crate::allow_leak!(@@ Threads, $containing, $because); };
    (@ processes, $containing:expr, $because:literal) => { $crate::allow_leak!(@@ Processes, $containing, $because); };
    (@ descriptors, $containing:expr, $because:literal) => { $crate::allow_leak!(@@ Descriptors, $containing, $because); };
    (@ listeners, $containing:expr, $because:literal) => { $crate::allow_leak!(@@ Listeners, $containing, $because); };
    (@ files, $containing:expr, $because:literal) => { $crate::allow_leak!(@@ Files, $containing, $because); };
    (@ $class:ident, $containing:expr, $because:literal) => {
        ::core::compile_error!(::core::concat!(
            "unknown class of leaks `",
            ::core::stringify!($class),
            "` (classes: `tasks`, `threads`, `processes`, `descriptors`, `listeners`, `files`)"
        ));
    };
    (@@ $class:ident, $containing:expr, $because:literal) => {
        $crate::__private::inventory::submit! {
            $crate::__private::AllowedEverywhere($crate::__private::Allowance {
                class: $crate::__private::LeakClass::$class,
                containing: $containing,
                because: $because,
            })
        }
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "write `allow_leak!(threads = \"part of its name\", because = \"..\")` or `allow_leak!(files, because = \"..\")`"
        );
    };
}
