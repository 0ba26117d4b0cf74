//! The clock of one node: what its programs take for the time of day, moved without their help.
//!
//! Programs read the clock by the vDSO, a library that the kernel puts into each process. Here its functions are rewritten
//! in the processes of one node, from outside, as a debugger sets breakpoints: they ask the kernel and add an offset. That
//! works for every program, whatever language it is written in, also while it runs, without privileges, and leaves
//! nothing behind. (Chaos Mesh's TimeChaos has the same idea.)
//!
//! - `shift`: the code that answers. `vdso`: where it goes, and what jumps to it. `process`: one process. `start`: one that
//!   begins with a moved clock. `available`: whether all this can be had here.

mod available;
mod process;
mod shift;
mod start;
mod vdso;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use robust_test_harness::mechanism::Mechanism;
use robust_test_harness::processes;

pub use available::NoClock;
pub(crate) use available::available;
use process::Shifted;
pub(crate) use start::Traced;
use vdso::Plan;

/// Rewriting the vDSO of a node's processes.
pub(crate) static VDSO: Mechanism = Mechanism {
    name: "vdso",
    privilege: "none, for processes of the same user",
    probe: || available().map_err(|why| why.to_string()),
};

/// The clock of one node, over its restarts.
#[derive(Debug, Default)]
pub(crate) struct NodeClock(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// `None` while it tells the true time.
    offset_nanos: Option<i64>,
    /// The processes that have it.
    shifted: Vec<Shifted>,
    /// What processes read that have it no more.
    past_readings: u64,
}

impl State {
    fn has(&self, pid: u32) -> bool {
        self.shifted.iter().any(|shifted| shifted.pid() == pid)
    }

    fn readings(&mut self) -> u64 {
        let present: u64 = self.shifted.iter_mut().map(Shifted::count).sum();
        self.past_readings + present
    }

    fn let_go(&mut self) {
        self.past_readings = self.readings();
        self.offset_nanos = None;
        self.shifted.clear();
    }
}

/// Somebody moves it already.
#[derive(Debug, thiserror::Error)]
#[error("its clock is moved already")]
pub(crate) struct InUse;

fn lives(pid: u32) -> bool {
    processes::entry(pid).is_some_and(|process| !process.zombie)
}

impl NodeClock {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on its processes are started with this offset; those that run follow by [`NodeClock::take_in`].
    pub(crate) fn claim(&self, offset_nanos: i64) -> Result<(), InUse> {
        let mut state = self.state();
        if state.offset_nanos.is_some() {
            return Err(InUse);
        }
        *state = State {
            offset_nanos: Some(offset_nanos),
            ..State::default()
        };
        Ok(())
    }

    /// Moves the clocks of processes, none of which runs meanwhile; `None` when one of them has to run on first.
    pub(crate) fn take_in(&self, pids: &BTreeSet<u32>) -> io::Result<Option<()>> {
        let mut state = self.state();
        let plan = Plan::of_this_machine().map_err(io::Error::other)?;
        let Some(offset) = state.offset_nanos else {
            return Ok(Some(()));
        };
        for &pid in pids {
            if state.has(pid) {
                continue;
            }
            match Shifted::shift(plan, pid, offset) {
                Ok(Some(shifted)) => state.shifted.push(shifted),
                Ok(None) => return Ok(None),
                Err(error) if lives(pid) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(Some(()))
    }

    /// Sets the offset, of what runs at once.
    pub(crate) fn set(&self, offset_nanos: i64) -> io::Result<()> {
        let mut state = self.state();
        state.offset_nanos = Some(offset_nanos);
        state
            .shifted
            .iter()
            .try_for_each(|shifted| shifted.set(offset_nanos))
    }

    /// Has processes tell the true time, and those that were forked from one of them, none of which runs meanwhile; also those
    /// that are started from now on.
    pub(crate) fn undo(&self, pids: &BTreeSet<u32>) -> io::Result<()> {
        let mut state = self.state();
        let plan = Plan::of_this_machine().map_err(io::Error::other)?;
        for &pid in pids {
            if !state.has(pid) {
                state.shifted.extend(Shifted::forked(plan, pid));
            }
        }
        state.shifted.iter().try_for_each(Shifted::undo)?;
        state.let_go();
        Ok(())
    }

    /// Lets go of processes that are about to end as they are.
    pub(crate) fn let_go(&self) {
        self.state().let_go();
    }

    /// How many readings it moved since it was claimed. Of processes that have ended, as of the last look.
    pub(crate) fn readings(&self) -> u64 {
        self.state().readings()
    }

    /// What a program is started with, where its clock is moved.
    pub(crate) fn traced(&self) -> Option<Traced> {
        self.state().offset_nanos.map(Traced::new)
    }

    /// Takes charge of a process that was started with a moved clock.
    fn adopt(&self, shifted: Shifted) {
        self.state().shifted.push(shifted);
    }
}
