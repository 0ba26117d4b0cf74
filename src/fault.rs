//! Faults as values, each with one life: available? → injected → proved → healed → recovered → cleaned up.
//!
//! ```
//! # use robust_test::prelude::*;
//! # use robust_test::fault::Pause;
//! # async fn scenario<Db: Service>(db: Server<Db>) -> Result {
//! let pause = Pause.inject(&db).await?;
//! // .. what clients see while nothing answers ..
//! pause.heal().await?;
//! # Ok(()) }
//! ```
//!
//! - **Available**: what a fault works by ([`Mechanism`]) is asked for first. Where this machine or user has it not, the case
//!   is skipped with the reason; `ROBUST_REQUIRE` with the mechanism's name makes that an error. `--faults` prints all faults
//!   that are linked in, with their mechanisms and whether they are here.
//! - **Injected**: [`Fault::inject`] returns when it holds, with a guard. Two of a kind on one target, and more nodes with
//!   faults than [`Faults::tolerate`] allows, are refused.
//! - **Proved**: [`Injected::until_proved`] waits until it has hit something; a fault that was healed and never did is
//!   [inert](FaultError::Inert), an error, since whatever was seen meanwhile says nothing about it.
//! - **Healed** and **recovered**: [`Injected::heal`] undoes it and returns when what it was done to is as before.
//! - **Cleaned up**: what is not healed when the case ends is, the last one first; what is inert then fails the case.
//!
//! The life of each is in the case's [timeline](Faults::timeline), with its times, and in `timeline.log` in the case's folder.
//!
//! # Another fault
//!
//! One file has all of it: a value, its [`FaultKind`] (which [`register_fault!`](crate::register_fault) lists), [`Fault::begin`],
//! and what goes on, as [`Ongoing`]:
//!
//! ```
//! use robust_test::fault::{ALWAYS, Fault, FaultKind, Ongoing};
//! use robust_test::prelude::*;
//! use robust_test::service::BoxFuture;
//! # struct Db;
//! # impl Service for Db { type Client = (); type Settings = (); }
//!
//! /// Makes the server reread its files all the time.
//! #[derive(Debug)]
//! struct Reloads;
//!
//! static RELOADS: FaultKind = FaultKind {
//!     name: "reloads",
//!     target: "node",
//!     does: "SIGHUP to its first process",
//!     mechanism: &ALWAYS,
//! };
//! robust_test::register_fault!(RELOADS);
//!
//! impl Fault<Server<Db>> for Reloads {
//!     fn kind(&self) -> &'static FaultKind {
//!         &RELOADS
//!     }
//!
//!     fn begin<'a>(&'a self, db: &'a Server<Db>) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
//!         Box::pin(async move {
//!             db.signal(Signal::Hup).await?;
//!             Ok(Box::new(Reloaded(db.clone())) as Box<dyn Ongoing>)
//!         })
//!     }
//! }
//!
//! struct Reloaded(Server<Db>);
//!
//! impl Ongoing for Reloaded {
//!     fn proof(&self) -> Option<String> {
//!         let log = self.0.log().unwrap_or_default();
//!         log.contains("reloading").then(|| "its log tells of it".to_owned())
//!     }
//!
//!     fn heal(&mut self) -> BoxFuture<'_, Result> {
//!         Box::pin(async { Ok(()) })
//!     }
//! }
//! # fn main() {}
//! ```

/// Kinds of faults with the same target and mechanism, each listed.
macro_rules! fault_kinds {
    (target: $target:literal, mechanism: $mechanism:path, $($kind:ident = $name:literal: $does:literal;)*) => {$(
        static $kind: $crate::fault::FaultKind = $crate::fault::FaultKind {
            name: $name,
            target: $target,
            does: $does,
            mechanism: &$mechanism,
        };
        $crate::register_fault!($kind);
    )*};
}

mod clock;
mod disk;
mod injected;
mod ledger;
mod limits;
mod memory;
mod network;
mod packets;
mod process;
mod target;
mod timeline;

use std::fmt;

use robust_test_harness::error::{Error, Result, error};
pub use robust_test_harness::mechanism::{FaultKind, Mechanism};
use rustix::process::Pid;

pub use clock::ClockSkew;
pub use disk::{FailingSync, FullDisk, PowerLoss, SlowSync};
pub use injected::{FaultError, Injected};
pub use ledger::Faults;
pub use limits::DescriptorLimit;
pub use memory::MemoryLimit;
pub use network::Cut;
pub use process::{Kill, Pause, Relocate, Stop};
pub use target::{Nodes, Pick, PickError, Target};
pub use timeline::Moment;

use crate::clock::{human, within};
pub use crate::memory_group::NoMemoryGroups;
pub use crate::node_clock::NoClock;
use crate::server::Server;
use crate::service::{BoxFuture, Service};
use ledger::Ledger;

/// How long a fault may take to be injected or healed; recovery is waited for as long.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(30);

/// What needs nothing that not every machine has.
pub static ALWAYS: Mechanism = Mechanism {
    name: "signals",
    privilege: "none",
    probe: || Ok(()),
};

/// Something to be done to a target `T`, and undone.
pub trait Fault<T: Target>: fmt::Debug + Send + Sync {
    /// What it is.
    fn kind(&self) -> &'static FaultKind;

    /// What it does, with its numbers: `latency of 50 ms (upstream)`.
    fn describe(&self) -> String {
        self.kind().name.to_owned()
    }

    /// The names of the nodes that it disturbs, for [`Faults::tolerate`].
    fn disturbs(&self, target: &T) -> Vec<String> {
        target.touches()
    }

    /// Does it. Returns when it holds; at most 30 s are waited for that.
    fn begin<'a>(&'a self, target: &'a T) -> BoxFuture<'a, Result<Box<dyn Ongoing>>>;

    /// Injects it into the target, until it is healed, or its case ends.
    ///
    /// # Errors
    /// The skip of the case when its mechanism is not available; when it is refused; when it cannot be done.
    fn inject<'a>(&'a self, target: &'a T) -> BoxFuture<'a, Result<Injected>> {
        Box::pin(async move {
            let (kind, described, label) = (self.kind(), self.describe(), target.label());
            let case = target.owner().ok_or_else(|| FaultError::Over {
                fault: described.clone(),
                target: label.clone(),
            })?;
            kind.mechanism.require(case.environment())?;
            let ledger = Ledger::of(&case);
            let entry = ledger.enter(kind.name, described, label, self.disturbs(target))?;
            match within(WITHIN, self.begin(target)).await {
                Ok(Ok(ongoing)) => Ok(ledger.began(entry, ongoing)),
                Ok(Err(problem)) => {
                    let told = ledger.failed(entry, &format!("{problem:#}"));
                    Err(problem.context(told))
                }
                Err(_) => Err(error(
                    ledger.failed(entry, &format!("not done within {}", human(WITHIN))),
                )),
            }
        })
    }
}

/// A fault that goes on, as its author sees it.
pub trait Ongoing: Send + Sync {
    /// What shows that it bit, once it has.
    fn proof(&self) -> Option<String>;

    /// Undoes it. Returns when its target is as it was before; at most 30 s are waited for that. When it fails it is tried
    /// again at the end of the case.
    fn heal(&mut self) -> BoxFuture<'_, Result>;

    /// Undoes, at the end of the case, what the ends of its servers and clients do not undo anyway.
    fn clean_up(&mut self) -> BoxFuture<'_, Result> {
        self.heal()
    }
}

/// Lists a kind of fault for `--faults` and `ROBUST_REQUIRE`.
#[macro_export]
macro_rules! register_fault {
    ($kind:path) => {
        $crate::__private::inventory::submit! { &$kind as &'static $crate::fault::FaultKind }
    };
}

/// The first process of a node.
fn process_of<S: Service>(kind: &FaultKind, server: &Server<S>) -> Result<Pid> {
    let raw = server.pid().and_then(|pid| i32::try_from(pid).ok());
    raw.and_then(Pid::from_raw).ok_or_else(|| {
        let why = "it is down, or runs inside the case's process";
        unusable(kind.name, server.name(), why)
    })
}

/// The error of something that has no proxies, disk, or process.
fn unusable(fault: &str, target: &str, why: &str) -> Error {
    error(format!("fault `{fault}` cannot be injected into {target}: {why}"))
}
