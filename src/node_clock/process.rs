//! The vDSO of one process, written from outside.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;

use super::vdso::{Plan, foreign, mapping};

/// A process whose vDSO tells other times. Bound to the program it runs: with its end, or when it executes another, nothing is
/// left to be undone, and nothing of another process is touched, whatever its number.
#[derive(Debug)]
pub(super) struct Shifted {
    plan: &'static Plan,
    pid: u32,
    memory: File,
    /// Where its vDSO is.
    begin: usize,
    /// Its count when it was read last.
    count: u64,
}

impl Shifted {
    /// Has a process tell the time with this offset. None of its threads runs meanwhile; `None` when one has to run on first, as
    /// it is in the middle of what is to be replaced.
    pub(super) fn shift(plan: &'static Plan, pid: u32, offset_nanos: i64) -> io::Result<Option<Self>> {
        let (process, image) = Self::open(plan, pid)?;
        if !plan.is_as(&image) {
            return Err(foreign());
        }
        if process.is_in_the_way()? {
            return Ok(None);
        }
        let (at, code) = plan.code(offset_nanos);
        process.write(at, &code)?;
        for (at, bytes) in plan.shifted() {
            process.write(at, &bytes)?;
        }
        Ok(Some(process))
    }

    /// A process that was forked from a shifted one, if it was.
    pub(super) fn forked(plan: &'static Plan, pid: u32) -> Option<Self> {
        let (process, image) = Self::open(plan, pid).ok()?;
        plan.is_shifted(&image).then_some(process)
    }

    fn open(plan: &'static Plan, pid: u32) -> io::Result<(Self, Vec<u8>)> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let range = mapping(&maps).ok_or_else(foreign)?;
        let memory = File::options()
            .read(true)
            .write(true)
            .open(format!("/proc/{pid}/mem"))?;
        let process = Self {
            plan,
            pid,
            memory,
            begin: range.start,
            count: 0,
        };
        let mut image = vec![0; range.len()];
        process.memory.read_exact_at(&mut image, process.address(0))?;
        Ok((process, image))
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sets its offset, at once, whether it runs or not.
    pub(super) fn set(&self, offset_nanos: i64) -> io::Result<()> {
        self.gone_is_fine(self.write(self.plan.offset(), &offset_nanos.to_ne_bytes()))
    }

    /// Has it tell the true time again. None of its threads runs meanwhile. The code stays where nobody jumps to any more: a
    /// thread may be in it.
    pub(super) fn undo(&self) -> io::Result<()> {
        self.set(0)?;
        let undone = self
            .plan
            .plain()
            .try_for_each(|(at, bytes)| self.write(at, &bytes));
        self.gone_is_fine(undone)
    }

    /// How many readings of the clock it moved; of one that has ended, as far as it was seen.
    pub(super) fn count(&mut self) -> u64 {
        let mut count = [0; 8];
        let read = self
            .memory
            .read_exact_at(&mut count, self.address(self.plan.count()));
        if read.is_ok() {
            self.count = u64::from_ne_bytes(count);
        }
        self.count
    }

    fn address(&self, at: usize) -> u64 {
        (self.begin + at) as u64
    }

    fn write(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.memory.write_all_at(bytes, self.address(at))
    }

    /// Whether the program that was shifted is no more. Its memory has no bytes then.
    fn is_gone(&self) -> bool {
        self.memory
            .read_at(&mut [0], self.address(0))
            .map_or(true, |bytes| bytes == 0)
    }

    fn gone_is_fine(&self, result: io::Result<()>) -> io::Result<()> {
        result.or_else(|error| if self.is_gone() { Ok(()) } else { Err(error) })
    }

    /// Whether one of its threads, all of which are stopped, is in the middle of what is replaced.
    fn is_in_the_way(&self) -> io::Result<bool> {
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            // One that ended goes nowhere.
            let Ok(call) = fs::read_to_string(thread?.path().join("syscall")) else {
                continue;
            };
            match at(&call) {
                Some(at) => {
                    let place = at.checked_sub(self.begin);
                    if place.is_some_and(|place| self.plan.is_in_the_way(place)) {
                        return Ok(true);
                    }
                }
                None => return Ok(true),
            }
        }
        Ok(false)
    }
}

/// Where a thread goes on, by the last field of `/proc/PID/task/TID/syscall`; unknown of one that runs.
fn at(call: &str) -> Option<usize> {
    let last = call.split_whitespace().next_back()?;
    usize::from_str_radix(last.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_thread_goes_on_is_the_last_of_its_words() {
        let waits = "0 0x3 0x5 0x1 0x0 0x0 0x0 0x7ffc6b9c8 0x7f10\n";
        assert_eq!(at(waits), Some(0x7f10));
        assert_eq!(at("-1 0x7ffc6b9c8 0x7f12\n"), Some(0x7f12));
        assert_eq!(at("running\n"), None);
        assert_eq!(at(""), None);
    }
}
