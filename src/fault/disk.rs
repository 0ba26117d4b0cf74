//! Faults of the disk that a node's data is on, of a parameter that is `#[disk]`.

use std::num::NonZeroU32;
use std::time::Duration;

use robust_test_harness::error::Result;
use robust_test_harness::mechanism::FaultKind;

use super::process::Down;
use super::{Fault, Ongoing, unusable};
use crate::clock::human;
use crate::disk::{Disk, DiskHits, FUSE, Lost};
use crate::server::Server;
use crate::service::{BoxFuture, Service};

/// The machine of a node loses its power: the node is killed, and what it has not made durable is gone. Healing starts it
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerLoss {
    /// Whether a random part of what was not durable arrived all the same, by the case's seed.
    pub is_torn: bool,
}

/// Writes that need more space fail (`ENOSPC`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FullDisk {
    /// So many more bytes than it has fit.
    pub spare_bytes: u64,
}

/// Every sync takes so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowSync(
    /// Before it does anything.
    pub Duration,
);

/// Syncs fail (`EIO`), and what was to be written counts as clean, as on Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailingSync {
    /// One in so many: 1 is each.
    pub one_in: NonZeroU32,
}

fault_kinds! {
    target: "node", mechanism: FUSE,
    POWER_LOSS = "power-loss": "SIGKILL, and what was not synced is gone, or torn; healed by a start";
}

fault_kinds! {
    target: "disk", mechanism: FUSE,
    FULL_DISK = "full-disk": "writes that need more space fail";
    SLOW_SYNC = "slow-sync": "every sync takes so long";
    FAILING_SYNC = "failing-sync": "syncs fail, and what they were to write is lost with the power";
}

/// The disk of a node that has to have one.
fn of_server<'a, S: Service>(fault: &FaultKind, server: &'a Server<S>) -> Result<&'a Disk> {
    let disk = server.place().disk();
    disk.ok_or_else(|| {
        unusable(
            fault.name,
            server.name(),
            "its data is on no disk of its own; write `#[disk]` on the parameter",
        )
    })
}

impl<S: Service> Fault<Server<S>> for PowerLoss {
    fn kind(&self) -> &'static FaultKind {
        &POWER_LOSS
    }

    fn describe(&self) -> String {
        let torn = if self.is_torn { ", torn" } else { "" };
        format!("{}{torn}", POWER_LOSS.name)
    }

    fn begin<'a>(&'a self, server: &'a Server<S>) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        Box::pin(async move {
            let disk = of_server(&POWER_LOSS, server)?;
            let was_up = server.is_running();
            server.kill().await?;
            let torn = self.is_torn.then(|| {
                let case = server.case();
                let stream = case.unique_name(&format!("power loss of {}", server.name()));
                case.rng(&stream)
            });
            let lost = disk.lose_power(torn)?;
            Ok(Box::new(Dark {
                down: Down::of(server, was_up, "killed"),
                lost,
            }) as Box<dyn Ongoing>)
        })
    }
}

struct Dark {
    down: Box<dyn Ongoing>,
    lost: Lost,
}

impl Ongoing for Dark {
    /// Where it ran and nothing is lost all was durable: the power went all the same.
    fn proof(&self) -> Option<String> {
        let lost = format!("lost: {}", self.lost);
        match self.down.proof() {
            Some(killed) => Some(format!("{killed}; {lost}")),
            None => (!self.lost.is_nothing()).then_some(lost),
        }
    }

    fn heal(&mut self) -> BoxFuture<'_, Result> {
        self.down.heal()
    }

    fn clean_up(&mut self) -> BoxFuture<'_, Result> {
        self.down.clean_up()
    }
}

/// A switch of a disk that is on.
struct Switched {
    disk: Disk,
    /// What was hit before.
    before: u64,
    count: fn(&DiskHits) -> u64,
    what: &'static str,
    off: fn(&Disk),
}

impl Switched {
    fn on(
        disk: &Disk,
        count: fn(&DiskHits) -> u64,
        what: &'static str,
        on: impl FnOnce(&Disk),
        off: fn(&Disk),
    ) -> Box<dyn Ongoing> {
        let before = count(&disk.hits());
        on(disk);
        Box::new(Self {
            disk: disk.clone(),
            before,
            count,
            what,
            off,
        })
    }
}

impl Ongoing for Switched {
    fn proof(&self) -> Option<String> {
        let hits = (self.count)(&self.disk.hits()) - self.before;
        (hits > 0).then(|| format!("{hits} {}", self.what))
    }

    fn heal(&mut self) -> BoxFuture<'_, Result> {
        (self.off)(&self.disk);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl FullDisk {
    fn switch(self, disk: &Disk) -> Box<dyn Ongoing> {
        Switched::on(
            disk,
            |hits| hits.writes_refused,
            "writes refused",
            |disk| disk.set_full(Some(disk.used().saturating_add(self.spare_bytes))),
            |disk| disk.set_full(None),
        )
    }
}

impl SlowSync {
    fn switch(self, disk: &Disk) -> Box<dyn Ongoing> {
        Switched::on(
            disk,
            |hits| hits.syncs_delayed,
            "syncs delayed",
            |disk| disk.slow_fsync(Some(self.0)),
            |disk| disk.slow_fsync(None),
        )
    }
}

impl FailingSync {
    fn switch(self, disk: &Disk) -> Box<dyn Ongoing> {
        Switched::on(
            disk,
            |hits| hits.syncs_failed,
            "syncs failed",
            |disk| disk.fail_fsync(Some(self.one_in)),
            |disk| disk.fail_fsync(None),
        )
    }
}

macro_rules! on_disk_or_server {
    ($fault:ty, $kind:ident, $describe:expr) => {
        impl Fault<Disk> for $fault {
            fn kind(&self) -> &'static FaultKind {
                &$kind
            }

            fn describe(&self) -> String {
                ($describe)(self)
            }

            fn begin<'a>(&'a self, disk: &'a Disk) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
                Box::pin(std::future::ready(Ok(self.switch(disk))))
            }
        }

        impl<S: Service> Fault<Server<S>> for $fault {
            fn kind(&self) -> &'static FaultKind {
                &$kind
            }

            fn describe(&self) -> String {
                ($describe)(self)
            }

            fn begin<'a>(&'a self, server: &'a Server<S>) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
                let begun = of_server(&$kind, server).map(|disk| self.switch(disk));
                Box::pin(std::future::ready(begun))
            }
        }
    };
}

on_disk_or_server!(FullDisk, FULL_DISK, |fault: &FullDisk| format!(
    "{} after {} more bytes",
    FULL_DISK.name, fault.spare_bytes
));
on_disk_or_server!(SlowSync, SLOW_SYNC, |fault: &SlowSync| format!(
    "{} of {}",
    SLOW_SYNC.name,
    human(fault.0)
));
on_disk_or_server!(FailingSync, FAILING_SYNC, |fault: &FailingSync| format!(
    "{}, one in {}",
    FAILING_SYNC.name, fault.one_in
));
