//! A node that stands still for a moment, for what cannot be done to running processes.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use robust_test_harness::processes::is_still;

use super::Supervisor;
use crate::clock::{Backoff, Deadline, human};
use crate::instance::{Instance, PauseError};
use crate::listener::alive_in_group;

/// How long it may take until no thread runs, and to do what is to be done then.
const WITHIN: Duration = Duration::from_secs(10);
const LOOK_MAX: Duration = Duration::from_millis(10);

/// What could not be done to a node that stands still.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StillError {
    #[error(transparent)]
    Pause(#[from] PauseError),
    #[error("node `{node}` does not stand still within {}", human(WITHIN))]
    Runs { node: String },
    #[error("its processes cannot be changed")]
    Act(#[from] io::Error),
}

/// Lets a node go on that runs otherwise, however this ends.
struct GoesOn<'a>(&'a Instance);

impl Drop for GoesOn<'_> {
    fn drop(&mut self) {
        // One that ended meanwhile is told of by who watches it.
        let _ended = self.0.resume();
    }
}

impl Supervisor {
    /// Does something to the processes of the node's group while none of their threads runs; again after a moment when it
    /// says `None`. There are none when the node is down. One that is paused stays so.
    pub(crate) async fn while_still(
        &self,
        mut act: impl FnMut(&BTreeSet<u32>) -> io::Result<Option<()>>,
    ) -> Result<(), StillError> {
        self.in_charge().map_err(PauseError::from)?;
        let _turn = self.turn().await;
        let Some((instance, is_paused)) = self.alive().await.map_err(PauseError::from)? else {
            act(&BTreeSet::new())?;
            return Ok(());
        };
        let leader = instance.pid().ok_or_else(|| PauseError::InProcess {
            node: self.place.name().to_owned(),
        })?;
        self.disturb();
        let deadline = Deadline::after(WITHIN);
        let mut backoff = Backoff::up_to(LOOK_MAX);
        loop {
            let goes_on = (!is_paused).then(|| GoesOn(&instance));
            if !is_paused {
                instance.freeze()?;
            }
            let pids = loop {
                let alive = alive_in_group(leader);
                let pids: BTreeSet<u32> = alive.iter().map(|process| process.pid).collect();
                if pids.iter().all(|&pid| is_still(pid)) {
                    break pids;
                }
                if deadline.passed() {
                    return Err(self.runs());
                }
                tokio::time::sleep(backoff.next()).await;
            };
            if act(&pids)?.is_some() {
                return Ok(());
            }
            drop(goes_on);
            if deadline.passed() {
                return Err(self.runs());
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    fn runs(&self) -> StillError {
        StillError::Runs {
            node: self.place.name().to_owned(),
        }
    }
}
