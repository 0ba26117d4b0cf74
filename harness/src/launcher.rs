//! Starting workers: the process, its channels and its folder.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::PidfdFlags;

use crate::process_tree;
use crate::protocol::Mark;
use crate::worker;
use crate::worker_handle::{Channels, Show, WorkerHandle};

/// Starts workers and knows every child process the runner has on purpose.
#[derive(Debug)]
pub(crate) struct Launcher {
    /// The encoded first frame.
    pub(crate) config: Vec<u8>,
    pub(crate) run_id: String,
    pub(crate) mark: Mark,
    /// The run's temporary folder.
    pub(crate) folder: PathBuf,
    /// Variables that workers must not inherit.
    pub(crate) hidden_variables: Vec<String>,
    /// Whether cases' output goes to the runner's own stdout and stderr as well.
    pub(crate) show: bool,
    /// Pids of the reaper and of workers that live.
    pub(crate) known: Mutex<BTreeSet<u32>>,
    pub(crate) started: AtomicU64,
    /// How many descriptors workers may have open.
    pub(crate) descriptors: u64,
}

impl Launcher {
    /// # Errors
    /// When the process, its channels or its folder cannot be made.
    pub(crate) fn start(&self) -> io::Result<WorkerHandle> {
        let folder = self
            .folder
            .join(format!("w{}", self.started.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&folder)?;
        let (orders, theirs) = UnixStream::pair()?;
        let (watch, their_watch) = UnixStream::pair()?;
        let (reader, writer) = io::pipe()?;
        let mut outputs = vec![(reader, if self.show { Show::Stdout } else { Show::Nowhere })];
        let error_writer = if self.show {
            let (reader, writer) = io::pipe()?;
            outputs.push((reader, Show::Stderr));
            writer
        } else {
            writer.try_clone()?
        };
        let name = std::env::args_os().next().unwrap_or_default();
        let mut command = Command::new("/proc/self/exe");
        for variable in &self.hidden_variables {
            command.env_remove(variable);
        }
        command
            .arg0(name)
            .arg(worker::ARGUMENT)
            .arg(self.descriptors.to_string())
            .env(process_tree::MARKER, &self.run_id)
            .env("TMPDIR", &folder)
            .stdin(OwnedFd::from(theirs))
            .stdout(writer)
            .stderr(error_writer)
            .process_group(0);
        // Under the lock: a sweep must never take a worker that was just born for something left behind.
        let mut known = self.known();
        let mut child = command.spawn()?;
        known.insert(child.id());
        drop(known);
        // The command holds the other ends of the pipes.
        drop(command);
        let joined = self.join(&child, &orders, their_watch.as_fd());
        let pidfd = joined.inspect_err(|_| {
            let _already_dead = child.kill();
            let _status = child.wait();
            self.known().remove(&child.id());
        })?;
        for (reader, _) in &outputs {
            rustix::io::ioctl_fionbio(reader, true)?;
        }
        Ok(WorkerHandle::new(
            child,
            pidfd,
            Channels { orders, watch },
            outputs,
            self.mark,
            folder,
        ))
    }

    /// Makes the channels of a process that was just started work. Returns its pidfd.
    fn join(&self, child: &Child, orders: &UnixStream, their_watch: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        let pid = process_tree::as_pid(child.id()).ok_or_else(|| io::Error::other("a pid of 0"))?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        send_descriptor(orders, their_watch)?;
        let mut orders = orders;
        orders.write_all(&self.config)?;
        orders.set_nonblocking(true)?;
        Ok(pidfd)
    }

    /// Whether any worker lives; the reaper is known too.
    pub(crate) fn has_workers(&self) -> bool {
        self.known().len() > 1
    }

    pub(crate) fn known(&self) -> std::sync::MutexGuard<'_, BTreeSet<u32>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every descendant that no living worker has: what dead workers left to this process.
    pub(crate) fn sweep(&self) {
        let known = self.known();
        process_tree::end_descendants(&known);
    }
}

fn send_descriptor(to: &UnixStream, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let descriptors = [descriptor];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a descriptor in a message"));
    }
    rustix::net::sendmsg(to, &[io::IoSlice::new(b"w")], &mut ancillary, SendFlags::empty())?;
    Ok(())
}
