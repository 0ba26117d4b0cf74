//! The limit of a node's memory, as a container has one.

use robust_test_harness::error::Result;
use robust_test_harness::mechanism::FaultKind;

use super::{Fault, Ongoing, process_of};
use crate::memory_group::{self, CGROUP_MEMORY, MemoryGroup, NoMemoryGroups, Version};
use crate::server::Server;
use crate::service::{BoxFuture, Service};

/// A node gets so much memory more, all its processes together, as in a container: then the kernel takes back what it can
/// (the cache of files), and where there is nothing to take, kills the biggest of them. Healing gives them what they want
/// again.
///
/// - **Counted** is what the kernel charges to the node's control group from then on: pages that its processes touch for
///   the first time, of files too, and what the kernel itself needs for them. What they had before stays charged to where it
///   was: it does not count, and freeing it gives them nothing. The kernel counts ahead, by at most 256 KiB for each
///   processor.
/// - **Proved** by the kernel's counters, also after the node's death.
/// - **Killed**: a node whose first process is killed ends its case, unless that is
///   [expected](crate::server::Server::expect_exit). One that is started meanwhile, by the scenario, has no limit. One that
///   was killed is not started by healing.
/// - **Swap** is of no use to the node, where there is any.
///
/// It works by control groups of version 1 where these count the memory, of version 2 otherwise; the proof says which. A group
/// is made below that of this process, or beside it in version 2, where one that has processes can have no such children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    /// So many bytes more than its processes have.
    pub spare_bytes: u64,
}

impl MemoryLimit {
    /// Whether memory can be limited here. It is tried once.
    ///
    /// # Errors
    /// When not: why, in one line, with what to do about it.
    pub fn available() -> Result<(), NoMemoryGroups> {
        memory_group::available()
    }
}

fault_kinds! {
    target: "node", mechanism: CGROUP_MEMORY,
    MEMORY_LIMIT = "memory-limit": "its processes get so many bytes more, and then the kernel kills";
}

impl<S: Service> Fault<Server<S>> for MemoryLimit {
    fn kind(&self) -> &'static FaultKind {
        &MEMORY_LIMIT
    }

    fn describe(&self) -> String {
        format!("{} after {} more bytes", MEMORY_LIMIT.name, self.spare_bytes)
    }

    fn begin<'a>(&'a self, server: &'a Server<S>) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        Box::pin(async move {
            let leader = process_of(&MEMORY_LIMIT, server)?;
            let mut group = MemoryGroup::make(server.case().run_folder())?;
            group
                .take_in(leader.as_raw_nonzero().get().unsigned_abs())
                .await?;
            group.limit(self.spare_bytes)?;
            Ok(Box::new(Limited(group)) as Box<dyn Ongoing>)
        })
    }
}

struct Limited(MemoryGroup);

impl Ongoing for Limited {
    fn proof(&self) -> Option<String> {
        let hits = self.0.hits()?;
        let version = match self.0.version() {
            Version::One => 1,
            Version::Two => 2,
        };
        (hits.limited > 0 || hits.killed > 0).then(|| {
            format!(
                "{} times at its limit, {} processes killed (control groups v{version})",
                hits.limited, hits.killed
            )
        })
    }

    fn heal(&mut self) -> BoxFuture<'_, Result> {
        Box::pin(async { Ok(self.0.remove().await?) })
    }
}
