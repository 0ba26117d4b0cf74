//! Whether the clocks of processes can be moved here: tried once, on a child of this process.

// What a child does between fork and end.
#![allow(unsafe_code)]

use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{ForkResult, Pid, fork};

use super::process::Shifted;
use super::vdso::Plan;
use crate::clock::Deadline;

/// Why no clock can be moved on this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoClock {
    /// There is no code for it.
    #[error("clocks can be moved on x86-64 alone, and this is another processor")]
    Processor,
    /// The kernel gives none.
    #[error("processes have no vDSO here: boot without `vdso=0`, and not in a sandbox that takes it away")]
    NoVdso,
    /// Nobody may change how it is mapped.
    #[error("this kernel seals the vDSO of processes: take one built without CONFIG_MSEAL_SYSTEM_MAPPINGS")]
    Sealed,
    /// Its last page is full.
    #[error("the vDSO of this kernel leaves no room for what moves the clock")]
    NoRoom,
    /// Processes may not be written to.
    #[error(
        "the memory of a child cannot be written ({said}): allow it (`sysctl kernel.yama.ptrace_scope=1`, \
         `proc_mem.force_override=always` at boot, the system call ptrace in a container)"
    )]
    NotAllowed {
        /// What the system said.
        said: String,
    },
    /// Programs may not be held at their begin.
    #[error(
        "no program can be held until its clock is moved ({said}): allow the system call ptrace (`sysctl \
         kernel.yama.ptrace_scope=1`, the seccomp profile of a container)"
    )]
    NotHeld {
        /// What the system said.
        said: String,
    },
    /// Something else.
    #[error("the clock of a process cannot be moved: {0}")]
    Other(String),
}

impl NoClock {
    pub(super) fn other(said: &dyn Display) -> Self {
        Self::Other(said.to_string())
    }
}

/// What the child answers within.
const WITHIN: Duration = Duration::from_secs(10);
/// An hour, in nanoseconds.
const OFFSET: i64 = 3600 * 1_000_000_000;

/// Whether the clocks of processes can be moved here. It is tried once.
pub(crate) fn available() -> Result<(), NoClock> {
    static AVAILABLE: OnceLock<Result<(), NoClock>> = OnceLock::new();
    AVAILABLE.get_or_init(try_it).clone()
}

fn try_it() -> Result<(), NoClock> {
    let plan = Plan::of_this_machine()?;
    let (ours, theirs) = UnixDatagram::pair().map_err(|error| NoClock::other(&error))?;
    ours.set_read_timeout(Some(WITHIN))
        .map_err(|error| NoClock::other(&error))?;
    // SAFETY: the child of a process that has threads does nothing but system calls, and reads the clock.
    let forked = unsafe { fork() }.map_err(|error| NoClock::other(&error))?;
    let ForkResult::Parent { child } = forked else {
        read_when_told(&theirs)
    };
    drop(theirs);
    let tried = ask(plan, child, &ours);
    // It is over either way.
    let _ended = kill(child, Signal::SIGKILL);
    let _reaped = waitpid(child, None);
    tried
}

/// What the child does: it asks to be held, as programs are at their begin, and when it is told to it tells what the system said
/// to that, 0 for nothing, and the time.
fn read_when_told(socket: &UnixDatagram) -> ! {
    // SAFETY: ends the process at once, which is all that is left to do.
    let end = || unsafe { nix::libc::_exit(0) };
    let refused = ptrace::traceme().map_or_else(|error| error as i32, |()| 0);
    let mut told = [0; 1];
    if nix::unistd::read(socket.as_fd(), &mut told).is_ok() {
        let seconds = clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, |now| now.tv_sec());
        let tell = |said: &[u8]| {
            nix::sys::socket::send(socket.as_raw_fd(), said, nix::sys::socket::MsgFlags::MSG_NOSIGNAL)
        };
        let _closed = tell(&refused.to_ne_bytes()).and_then(|_| tell(&seconds.to_ne_bytes()));
        let _killed = nix::unistd::read(socket.as_fd(), &mut told);
    }
    end()
}

fn ask(plan: &'static Plan, child: Pid, socket: &UnixDatagram) -> Result<(), NoClock> {
    let denied = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => NoClock::NotAllowed {
            said: error.to_string(),
        },
        _ => NoClock::other(&error),
    };
    let deadline = Deadline::after(WITHIN);
    let mut shifted = loop {
        // It is about to wait, and reads no clock before.
        match Shifted::shift(plan, child.as_raw().unsigned_abs(), OFFSET).map_err(denied)? {
            Some(shifted) => break shifted,
            None if deadline.passed() => {
                return Err(NoClock::Other(
                    "a child that waits does not stand still".to_owned(),
                ));
            }
            None => std::thread::yield_now(),
        }
    };
    socket.send(&[1]).map_err(|error| NoClock::other(&error))?;
    let mut refused = [0; 4];
    socket
        .recv(&mut refused)
        .map_err(|error| NoClock::other(&error))?;
    let refused = i32::from_ne_bytes(refused);
    if refused != 0 {
        return Err(NoClock::NotHeld {
            said: io::Error::from_raw_os_error(refused).to_string(),
        });
    }
    let mut said = [0; 8];
    socket.recv(&mut said).map_err(|error| NoClock::other(&error))?;
    let now = clock_gettime(ClockId::CLOCK_REALTIME).map_err(|error| NoClock::other(&error))?;
    let ahead = i64::from_ne_bytes(said) - now.tv_sec();
    if ahead < OFFSET / 1_000_000_000 - 60 {
        return Err(NoClock::Other(format!(
            "a child's was {ahead} s ahead instead of an hour"
        )));
    }
    match shifted.count() {
        1 => Ok(()),
        count => Err(NoClock::Other(format!("one reading was counted as {count}"))),
    }
}
