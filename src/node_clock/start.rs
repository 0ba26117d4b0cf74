//! The start of a program whose clock is moved before it reads it: it is held when it has been loaded and not yet begun, as a
//! debugger holds it (`ptrace(2)`).

// What runs between fork and exec.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::NodeClock;
use super::process::Shifted;
use super::vdso::Plan;
use crate::clock::Deadline;

/// How long a program may take to be loaded, from when it could be executed.
const LOADED_WITHIN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_micros(50);

/// A start that is held until its clock is moved.
#[derive(Debug)]
pub(crate) struct Traced {
    offset_nanos: i64,
}

impl Traced {
    pub(super) fn new(offset_nanos: i64) -> Self {
        Self { offset_nanos }
    }

    /// Has the program that is started by this command, from this thread, held when it has been loaded. It stays held until
    /// [`Traced::let_go`].
    pub(crate) fn hold(&self, command: &mut Command) {
        // SAFETY: a system call.
        unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
    }

    /// Moves the clock of a program that is held, and lets it begin. On the thread that started it. When it fails the process
    /// has to be killed.
    pub(crate) fn let_go(self, pid: u32, clock: &NodeClock) -> io::Result<()> {
        let plan = Plan::of_this_machine().map_err(io::Error::other)?;
        let process = Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?);
        await_hold(process)?;
        let shifted = Shifted::shift(plan, pid, self.offset_nanos)?;
        let shifted = shifted.ok_or_else(|| io::Error::other("it does not wait at its begin"))?;
        clock.adopt(shifted);
        Ok(ptrace::detach(process, None)?)
    }
}

fn await_hold(process: Pid) -> io::Result<()> {
    let deadline = Deadline::after(LOADED_WITHIN);
    loop {
        match waitpid(process, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL))? {
            WaitStatus::Stopped(..) => return Ok(()),
            WaitStatus::StillAlive if !deadline.passed() => std::thread::sleep(LOOK),
            WaitStatus::StillAlive => return Err(io::ErrorKind::TimedOut.into()),
            other => return Err(io::Error::other(format!("it did not begin: {other:?}"))),
        }
    }
}

// Registers have their processor's names.
#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::node_clock::available;
    use crate::node_clock::vdso::mapping;
    use crate::tests::is_allowed;

    #[test]
    fn nothing_is_replaced_below_a_thread_that_is_in_the_middle_of_it() {
        if !is_allowed(available()) {
            return;
        }
        let plan = Plan::of_this_machine().unwrap();
        let mut command = Command::new("true");
        Traced::new(1).hold(&mut command);
        let mut child = command.spawn().unwrap();
        let pid = child.id();
        let process = Pid::from_raw(pid.cast_signed());
        await_hold(process).unwrap();
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let begin = mapping(&maps).unwrap().start as u64;
        let at_begin = ptrace::getregs(process).unwrap();
        for (entry, _) in plan.plain() {
            let inside = nix::libc::user_regs_struct {
                rip: begin + entry as u64 + 1,
                ..at_begin
            };
            ptrace::setregs(process, inside).unwrap();
            assert!(Shifted::shift(plan, pid, 1).unwrap().is_none());
        }
        ptrace::setregs(process, at_begin).unwrap();
        assert!(Shifted::shift(plan, pid, 1).unwrap().is_some());
        ptrace::detach(process, None).unwrap();
        assert!(child.wait().unwrap().success());
    }
}
