//! A node that is a child process, with everything it forks in a process group of its own.
//!
//! The rules that keep an end clean:
//! - An exit is *looked at* (`waitid` with `WNOWAIT`), not reaped: the leader stays a zombie and keeps its
//!   id, so the group can be signalled without ever hitting a group that got the id next.
//! - The whole group gets SIGKILL before the leader is reaped. The kernel does that atomically with
//!   respect to `fork`: no member escapes by forking.
//! - After that the group must become empty. Orphans that this process adopted are reaped.
//! - No parent-death signal: it follows the spawning *thread*. What outlives a killed run is the reaper's.
//!
//! A process that leaves the group (`setsid`) is not found here, but by the harness after the case.

use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, WaitId, WaitIdOptions, WaitOptions, kill_process, kill_process_group, test_kill_process_group,
    waitid, waitpgid,
};
use tokio::time::sleep;

use crate::clock::{Backoff, Deadline};
use crate::exit::{Exit, Signal};
use crate::forks;
use crate::listener::{Process as Survivor, alive_in_group};
use crate::log::Log;

/// How long a group may take to end after SIGKILL (a process in the kernel, on a dead disk, ends later).
const END_WITHIN: Duration = Duration::from_secs(10);
/// The same when nothing can be awaited: in `Drop`.
const DROP_WITHIN: Duration = Duration::from_secs(2);
const LOOK_MAX: Duration = Duration::from_millis(20);

/// A running or ended child process and its group.
#[derive(Debug)]
pub(crate) struct ProcessGroup {
    pid: Pid,
    /// `None` once reaped.
    child: Mutex<Option<Child>>,
    exit: OnceLock<Exit>,
    /// Told of its end by the runtime it is attached to; `None` while it is detached.
    #[cfg(target_os = "linux")]
    pidfd: Mutex<Option<Pidfd>>,
}

#[cfg(target_os = "linux")]
type Pidfd = std::sync::Arc<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>>;

/// Why a group could not be ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndError {
    #[error("cannot signal it")]
    Signal(#[source] io::Error),
    #[error("still there after SIGKILL: {}", list(.0))]
    Survivors(Vec<Survivor>),
}

fn list(survivors: &[Survivor]) -> String {
    let texts: Vec<String> = survivors.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

impl ProcessGroup {
    /// Starts a command in a new process group: no input, output and errors appended to the log.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn spawn(command: &mut Command, log: &std::fs::File) -> io::Result<Self> {
        use std::os::unix::process::CommandExt;

        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?);
        let mut child = {
            let _forks = forks::hold_off();
            command.spawn()?
        };
        let pid = Pid::from_child(&child);
        Log::note(log, &format!("pid {pid}"));
        #[cfg(target_os = "linux")]
        let pidfd = match pidfd(pid) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                let _ = kill_process_group(pid, Signal::Kill.raw());
                child.wait()?;
                return Err(error);
            }
        };
        Ok(Self {
            pid,
            child: Mutex::new(Some(child)),
            exit: OnceLock::new(),
            #[cfg(target_os = "linux")]
            pidfd: Mutex::new(Some(pidfd)),
        })
    }

    /// Takes it off its runtime, which may end before it; it goes on. Nothing watches it then.
    pub(crate) fn detach(&self) {
        #[cfg(target_os = "linux")]
        drop(self.pidfd_lock().take());
    }

    /// Attaches it to the present runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn attach(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if self.child().is_some() {
            // Not reaped, so its id is its own.
            *self.pidfd_lock() = Some(pidfd(self.pid)?);
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn pidfd_lock(&self) -> MutexGuard<'_, Option<Pidfd>> {
        self.pidfd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The leader's process id, which is the group's.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the leader ended, if it has.
    pub(crate) fn exit_now(&self) -> Option<Exit> {
        if self.exit.get().is_none() {
            // Under the lock: once reaped, the id may be another process's.
            let child = self.child();
            if child.is_some() {
                let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
                match waitid(WaitId::Pid(self.pid), look) {
                    Ok(None) | Err(Errno::INTR) => {}
                    Ok(Some(status)) => drop(self.exit.set(Exit::from_wait(&status))),
                    Err(_) => drop(self.exit.set(Exit::Unknown)),
                }
            }
        }
        self.exit.get().cloned()
    }

    /// Waits until the leader has ended.
    pub(crate) async fn exited(&self) -> Exit {
        let mut backoff = Backoff::up_to(LOOK_MAX);
        #[cfg(target_os = "linux")]
        let pidfd = self.pidfd_lock().clone();
        loop {
            if let Some(exit) = self.exit_now() {
                return exit;
            }
            let pause = backoff.next();
            #[cfg(target_os = "linux")]
            tokio::select! {
                // Readable once it has ended; an error cannot be told from that, and the loop looks.
                _ = readable(pidfd.as_deref()) => {}
                () = sleep(pause) => {}
            }
            #[cfg(not(target_os = "linux"))]
            sleep(pause).await;
        }
    }

    /// Ends when the leader has ended, and does not keep it. Without a timer: what only watches must not move a paused
    /// clock.
    #[cfg(target_os = "linux")]
    pub(crate) fn end_notice(&self) -> impl Future<Output = ()> + Send + use<> {
        let pidfd = self.pidfd_lock().clone();
        async move {
            // It cannot be told from an end when it fails; who hears of it looks.
            while let Ok(mut guard) = readable(pidfd.as_deref()).await
                && !is_readable(guard.get_inner())
            {
                guard.clear_ready();
            }
        }
    }

    /// Signals the leader alone, as an operator does. Nothing happens when it has ended.
    pub(crate) fn signal_leader(&self, signal: Signal) -> io::Result<()> {
        match &*self.child() {
            Some(_) => gone_is_fine(kill_process(self.pid, signal.raw())),
            None => Ok(()),
        }
    }

    /// Signals the whole group. Nothing happens when it has ended.
    pub(crate) fn signal_group(&self, signal: Signal) -> io::Result<()> {
        match &*self.child() {
            Some(_) => gone_is_fine(kill_process_group(self.pid, signal.raw())),
            None => Ok(()),
        }
    }

    /// Whether SIGSTOP has taken effect on the leader.
    pub(crate) fn is_stopped(&self) -> bool {
        let look = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let child = self.child();
        child.is_some() && matches!(waitid(WaitId::Pid(self.pid), look), Ok(Some(_)))
    }

    /// Ends the group at once, also when the leader has ended already, and reaps it.
    pub(crate) async fn end(&self) -> Result<(), EndError> {
        self.signal_group(Signal::Kill).map_err(EndError::Signal)?;
        let deadline = Deadline::after(END_WITHIN);
        if crate::clock::within(END_WITHIN, self.exited()).await.is_err() {
            return Err(EndError::Survivors(alive_in_group(self.pid())));
        }
        self.reap_leader();
        let mut backoff = Backoff::up_to(LOOK_MAX);
        while !self.group_is_gone() {
            if deadline.passed() {
                return Err(EndError::Survivors(alive_in_group(self.pid())));
            }
            sleep(backoff.next()).await;
        }
        Ok(())
    }

    /// Only when the leader has ended: waits for it otherwise.
    fn reap_leader(&self) {
        if let Some(mut child) = self.child().take() {
            // Fails only when it was reaped elsewhere.
            let _ = child.wait();
        }
    }

    /// Reaps what this process adopted of the group; whether nothing is left of it.
    fn group_is_gone(&self) -> bool {
        self.has_no_children();
        match test_kill_process_group(self.pid) {
            Err(Errno::SRCH) => true,
            // Zombies may be left that another process adopted and is slow to reap. What has become a zombie
            // of ours meanwhile is not left to that.
            _ => cfg!(target_os = "linux") && alive_in_group(self.pid()).is_empty() && self.has_no_children(),
        }
    }

    /// Reaps the group's members among the children; whether there were none.
    fn has_no_children(&self) -> bool {
        let mut none = true;
        loop {
            match waitpgid(self.pid, WaitOptions::NOHANG) {
                Ok(Some(_)) => none = false,
                Ok(None) => return false,
                Err(Errno::INTR) => {}
                Err(_) => return none,
            }
        }
    }

    /// Waits for the leader without a runtime.
    fn await_exit_blocking(&self, limit: Duration) {
        let deadline = Deadline::after(limit);
        while self.exit_now().is_none() && !deadline.passed() {
            let step = deadline.left().min(LOOK_MAX);
            #[cfg(target_os = "linux")]
            if let Some(pidfd) = &*self.pidfd_lock() {
                use rustix::event::{PollFd, PollFlags, Timespec, poll};
                let timeout = Timespec {
                    tv_sec: 0,
                    tv_nsec: step.subsec_nanos().into(),
                };
                let mut fds = [PollFd::new(pidfd.get_ref(), PollFlags::IN)];
                let _ = poll(&mut fds, Some(&timeout));
                continue;
            }
            std::thread::sleep(step.min(Duration::from_millis(1)));
        }
    }
}

/// The fallback for a group that nobody ended: a start that was cancelled, a case that was dropped.
impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if self.child().is_none() || self.signal_group(Signal::Kill).is_err() {
            return;
        }
        self.await_exit_blocking(DROP_WITHIN);
        if self.exit_now().is_some() {
            self.reap_leader();
            self.group_is_gone();
        }
    }
}

/// Ends when the pidfd is readable; never without one.
#[cfg(target_os = "linux")]
async fn readable(
    pidfd: Option<&tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>>,
) -> io::Result<tokio::io::unix::AsyncFdReadyGuard<'_, std::os::fd::OwnedFd>> {
    match pidfd {
        Some(pidfd) => pidfd.readable().await,
        None => std::future::pending().await,
    }
}

/// Whether the process of a pidfd has ended.
#[cfg(target_os = "linux")]
fn is_readable(pidfd: &std::os::fd::OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let ready = poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&at_once));
    ready.is_ok_and(|count| count > 0)
}

#[cfg(target_os = "linux")]
#[expect(
    deprecated,
    reason = "the replacement is an `unsafe fn`, for types that may close or change their descriptor; `OwnedFd` cannot"
)]
fn pidfd(pid: Pid) -> io::Result<Pidfd> {
    use rustix::process::{PidfdFlags, pidfd_open};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    AsyncFd::with_interest(pidfd, Interest::READABLE).map(std::sync::Arc::new)
}

fn gone_is_fine(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        // macOS says EPERM of a group that holds only a zombie.
        Err(Errno::SRCH) => Ok(()),
        Err(Errno::PERM) if cfg!(target_os = "macos") => Ok(()),
        other => other.map_err(Into::into),
    }
}
