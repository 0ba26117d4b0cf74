//! A worker as its slot holds it: started, spoken to, listened to, ended.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::PidfdFlags;

use crate::artifacts;
use crate::capture::Capture;
use crate::process_tree;
use crate::protocol::{Frames, Order};
use crate::worker;

/// How long a worker that was told to end may take before it is killed.
const END_WITHIN: Duration = Duration::from_secs(2);
/// File systems tell the time of a change in steps of a few milliseconds: two changes within one look like one.
const SETTLED: Duration = Duration::from_millis(20);
/// How much is read from a pipe whose other end may never stop writing. Pipes hold 64 KiB unless enlarged.
const DRAIN_BYTES_MAX: usize = 1 << 20;

/// Starts workers and knows every child process the runner has on purpose.
#[derive(Debug)]
pub(crate) struct Launcher {
    /// The encoded first frame.
    pub(crate) config: Vec<u8>,
    pub(crate) run_id: String,
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

/// Where a pipe's bytes go besides the capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    Nowhere,
    Stdout,
    Stderr,
}

#[derive(Debug)]
pub(crate) struct WorkerHandle {
    child: Child,
    pidfd: OwnedFd,
    pub(crate) orders: UnixStream,
    pub(crate) watch: UnixStream,
    pub(crate) frames: Frames,
    outputs: Vec<(io::PipeReader, Show)>,
    /// Its `TMPDIR`.
    folder: PathBuf,
    /// The time of the folder's last change when it was found empty, if that was long enough before.
    empty_since: Option<SystemTime>,
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
        Ok(WorkerHandle {
            child,
            pidfd,
            orders,
            watch,
            frames: Frames::default(),
            outputs,
            folder,
            empty_since: None,
        })
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

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeSet<u32>> {
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

/// What happened on a worker's channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) orders: bool,
    pub(crate) output: bool,
    pub(crate) died: bool,
    pub(crate) woken: bool,
}

impl WorkerHandle {
    /// Waits until something happens, or `timeout`.
    pub(crate) fn wait(&self, waker: &OwnedFd, timeout: Duration) -> io::Result<Ready> {
        let mut descriptors = vec![
            PollFd::new(&self.orders, PollFlags::IN),
            PollFd::new(&self.pidfd, PollFlags::IN),
            PollFd::new(waker, PollFlags::IN),
        ];
        descriptors.extend(
            self.outputs
                .iter()
                .map(|(reader, _)| PollFd::new(reader, PollFlags::IN)),
        );
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match rustix::event::poll(&mut descriptors, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = descriptors
            .iter()
            .map(|descriptor| !descriptor.revents().is_empty())
            .collect();
        Ok(Ready {
            orders: ready[0],
            died: ready[1],
            woken: ready[2],
            output: ready[3..].contains(&true),
        })
    }

    /// Moves what is in the output pipes into `capture`; `buffer` is only space.
    pub(crate) fn drain(&mut self, capture: &mut Capture, buffer: &mut [u8]) {
        self.outputs.retain_mut(|(reader, show)| {
            let mut drained = 0;
            while drained < DRAIN_BYTES_MAX {
                match reader.read(buffer) {
                    Ok(0) => return false,
                    Ok(read) => {
                        drained += read;
                        capture.push(&buffer[..read]);
                        // A closed stdout is no reason to stop a run.
                        let _closed = match show {
                            Show::Nowhere => Ok(()),
                            Show::Stdout => io::stdout().write_all(&buffer[..read]),
                            Show::Stderr => io::stderr().write_all(&buffer[..read]),
                        };
                        if read < buffer.len() {
                            break;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            true
        });
    }

    /// In words, when the process is still there: it gets a moment, since a dying one closes its channel first.
    pub(crate) fn why_its_channel_ended(&self) -> String {
        let mut gone = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let moment = Timespec {
            tv_sec: 0,
            tv_nsec: 200_000_000,
        };
        match rustix::event::poll(&mut gone, Some(&moment)) {
            Ok(0) => "the worker's channel to the runner was closed".to_owned(),
            _ => String::new(),
        }
    }

    /// Kills it and everything in its process group, before its pid can be reused.
    pub(crate) fn kill(&mut self) {
        process_tree::kill_group(self.child.id());
        let _already_dead = self.child.kill();
    }

    /// Moves what is in its temporary folder to `aside`, if anything is. After an error no other case may run
    /// in it.
    pub(crate) fn empty_folder(&mut self, aside: &Path) -> io::Result<()> {
        let looked = SystemTime::now();
        let changed = std::fs::metadata(&self.folder)?.modified()?;
        if self.empty_since == Some(changed) {
            return Ok(());
        }
        if std::fs::read_dir(&self.folder)?.next().is_none() {
            let settled = looked.duration_since(changed).is_ok_and(|age| age > SETTLED);
            self.empty_since = settled.then_some(changed);
            return Ok(());
        }
        self.empty_since = None;
        std::fs::rename(&self.folder, aside)?;
        std::fs::create_dir(&self.folder)
    }

    /// Ends it because of the case with this order: with its output, its processes and what it left in its
    /// temporary folder.
    pub(crate) fn end_with_case(
        self,
        launcher: &Launcher,
        order: &Order,
        capture: &mut Capture,
        buffer: &mut [u8],
    ) -> io::Result<ExitStatus> {
        self.end_as(
            launcher,
            true,
            Some((capture, buffer)),
            Some(&order.folder_aside()),
        )
    }

    /// Ends it between cases. Returns its status.
    pub(crate) fn end(self, launcher: &Launcher) -> io::Result<ExitStatus> {
        self.end_as(launcher, false, None, None)
    }

    /// Closes its channels, gives it a moment, kills it; then takes its last output and, if `sweep`, ends
    /// whatever processes it left.
    fn end_as(
        mut self,
        launcher: &Launcher,
        sweep: bool,
        capture: Option<(&mut Capture, &mut [u8])>,
        aside: Option<&Path>,
    ) -> io::Result<ExitStatus> {
        let _both = self.orders.shutdown(std::net::Shutdown::Both);
        let _both = self.watch.shutdown(std::net::Shutdown::Both);
        let mut gone = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: END_WITHIN.as_secs() as i64,
            tv_nsec: 0,
        };
        // A full output pipe may keep it from ending; then it is killed, which loses nothing of a case.
        let waited = rustix::event::poll(&mut gone, Some(&timeout));
        if !matches!(waited, Ok(1)) {
            self.kill();
        }
        process_tree::kill_group(self.child.id());
        let status = self.child.wait();
        launcher.known().remove(&self.child.id());
        if sweep {
            launcher.sweep();
        }
        if let Some((capture, buffer)) = capture {
            self.drain(capture, buffer);
        }
        if let Some(aside) = aside {
            let _lost_if_not = self.empty_folder(aside);
        }
        let _gone = artifacts::remove_all(&self.folder);
        status
    }
}

/// How a process ended, in words: `exited with code 3`, `died of signal 6 (SIGABRT)`.
pub(crate) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => {
            format!("died of signal {signal} ({})", crate::signal::name(signal))
        }
        (None, None) => status.to_string(),
    }
}
