//! A worker as its slot holds it: started, spoken to, listened to, ended.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::artifacts;
use crate::capture::Capture;
use crate::groups;
use crate::launcher::Launcher;
use crate::mounts;
use crate::output_stream::OutputStream;
use crate::process_tree;
use crate::protocol::{Done, Frames, Mark, Order, encode_recall};

/// How long a worker that was told to end may take before it is killed.
const END_WITHIN: Duration = Duration::from_secs(2);
/// How much is read from a pipe whose other end may never stop writing. Pipes hold 64 KiB unless enlarged.
const DRAIN_BYTES_MAX: usize = 1 << 20;

/// Where a pipe's bytes go besides the capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
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
    stream: OutputStream,
    /// The orders it was sent and has not answered, the present one first.
    sent: VecDeque<Sent>,
    /// Whether it was asked to give back what was sent ahead, and has not said what that is.
    recalling: bool,
    /// Its `TMPDIR`.
    folder: PathBuf,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    number: u64,
    ahead: bool,
}

/// What happened on a worker's channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) orders: bool,
    pub(crate) output: bool,
    pub(crate) died: bool,
    pub(crate) woken: bool,
}

/// The two channels of a worker; see [`crate::protocol`].
#[derive(Debug)]
pub(crate) struct Channels {
    pub(crate) orders: UnixStream,
    pub(crate) watch: UnixStream,
}

impl WorkerHandle {
    pub(crate) fn new(
        child: Child,
        pidfd: OwnedFd,
        channels: Channels,
        outputs: Vec<(io::PipeReader, Show)>,
        mark: Mark,
        folder: PathBuf,
    ) -> Self {
        Self {
            child,
            pidfd,
            orders: channels.orders,
            watch: channels.watch,
            frames: Frames::default(),
            outputs,
            stream: OutputStream::new(mark),
            sent: VecDeque::new(),
            recalling: false,
            folder,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the present order, unless it was sent ahead, and those of `ahead` that were not sent yet. It writes
    /// to a channel that does not block, which a few orders of a few dozen bytes never fill.
    pub(crate) fn order<'a>(
        &mut self,
        order: &Order,
        ahead: impl Iterator<Item = &'a Order>,
        capture: &mut Capture,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        let known = self.sent.front().is_some_and(|sent| sent.number == order.number);
        self.stream.next_case(known, &mut |bytes| capture.push(bytes));
        if !known {
            self.sent.clear();
            self.send(order, false, &mut bytes);
        }
        if !self.recalling {
            for next in ahead.skip(self.sent.len() - 1) {
                self.send(next, true, &mut bytes);
                self.stream.ordered_ahead();
            }
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let written = (&self.orders).write_all(&bytes);
        // It may have answered the present one and died of the next, which is noticed when that is heard.
        if known { Ok(()) } else { written }
    }

    fn send(&mut self, order: &Order, ahead: bool, bytes: &mut Vec<u8>) {
        Order { ahead, ..*order }.encode(bytes);
        self.sent.push_back(Sent {
            number: order.number,
            ahead,
        });
    }

    /// Whether it was sent more than the present order, and can still be asked to give that back.
    pub(crate) fn may_recall(&self) -> bool {
        self.sent.len() > 1 && !self.recalling
    }

    /// Asks it to give back what was sent ahead and has not begun.
    pub(crate) fn recall(&mut self) {
        let Some(last) = self.sent.back() else { return };
        // One that cannot be told is dead, which is noticed elsewhere.
        let _gone = (&self.watch).write_all(&encode_recall(last.number));
        self.recalling = true;
    }

    /// It gave back what was sent ahead after `begun`. Returns how many of the orders it was sent it keeps; 0:
    /// not even the present one.
    pub(crate) fn recalled(&mut self, begun: u64) -> usize {
        self.recalling = false;
        self.sent.retain(|sent| sent.number <= begun || !sent.ahead);
        match self.sent.len() {
            0 => self.stream.present_did_not_begin(),
            kept => self.stream.none_ahead(kept - 1),
        }
        self.sent.len()
    }

    /// Takes note that the present order was answered: after more than a pass, it dropped all others.
    pub(crate) fn answered(&mut self, done: &Done) {
        self.sent.pop_front();
        if !done.is_plain() {
            self.sent.clear();
            self.stream.none_ahead(0);
        }
    }

    /// Whether the order was sent ahead, so that it may have begun.
    pub(crate) fn has_sent(&self, order: &Order) -> bool {
        self.sent.iter().any(|sent| sent.number == order.number)
    }

    /// Waits until something happens, or `timeout`.
    pub(crate) fn wait(&self, waker: &OwnedFd, timeout: Duration) -> io::Result<Ready> {
        let output = |at: usize| match self.outputs.get(at) {
            Some((reader, _)) => PollFd::new(reader, PollFlags::IN),
            // There is no such pipe, or it ended: what is watched anyway, for nothing.
            None => PollFd::new(&self.pidfd, PollFlags::empty()),
        };
        let mut descriptors = [
            PollFd::new(&self.orders, PollFlags::IN),
            PollFd::new(&self.pidfd, PollFlags::IN),
            PollFd::new(waker, PollFlags::IN),
            output(0),
            output(1),
        ];
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match rustix::event::poll(&mut descriptors, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |at: usize| !descriptors[at].revents().is_empty();
        Ok(Ready {
            orders: ready(0),
            died: ready(1),
            woken: ready(2),
            output: ready(3) || ready(4),
        })
    }

    /// As [`WorkerHandle::drain`], after the present case's answer: it wrote no more.
    pub(crate) fn drain_to_the_end(&mut self, capture: &mut Capture, buffer: &mut [u8]) {
        self.drain(capture, buffer);
        self.stream.end_case(&mut |bytes| capture.push(bytes));
    }

    /// Moves what is in the output pipes into `capture`; `buffer` is only space.
    pub(crate) fn drain(&mut self, capture: &mut Capture, buffer: &mut [u8]) {
        let stream = &mut self.stream;
        self.outputs.retain_mut(|(reader, show)| {
            let mut drained = 0;
            while drained < DRAIN_BYTES_MAX {
                match reader.read(buffer) {
                    Ok(0) => return false,
                    Ok(read) => {
                        drained += read;
                        stream.push(&buffer[..read], &mut |bytes| capture.push(bytes));
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
    pub(crate) fn empty_folder(&self, aside: &Path) -> io::Result<()> {
        if std::fs::read_dir(&self.folder)?.next().is_none() {
            return Ok(());
        }
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
            Some(&order.folder_aside(&launcher.folder)),
            Some(&order.folder(&launcher.folder)),
        )
    }

    /// Ends it between cases. Returns its status.
    pub(crate) fn end(self, launcher: &Launcher) -> io::Result<ExitStatus> {
        self.end_as(launcher, false, None, None, None)
    }

    /// Closes its channels, gives it a moment, kills it; then takes its last output and, if `sweep`, ends
    /// whatever processes it left.
    fn end_as(
        mut self,
        launcher: &Launcher,
        sweep: bool,
        capture: Option<(&mut Capture, &mut [u8])>,
        aside: Option<&Path>,
        folder: Option<&Path>,
    ) -> io::Result<ExitStatus> {
        let _both = self.orders.shutdown(std::net::Shutdown::Both);
        let _both = self.watch.shutdown(std::net::Shutdown::Both);
        let timeout = Timespec {
            tv_sec: END_WITHIN.as_secs() as i64,
            tv_nsec: 0,
        };
        let is_gone = |worker: &Self| {
            let mut gone = [PollFd::new(&worker.pidfd, PollFlags::IN)];
            matches!(rustix::event::poll(&mut gone, Some(&timeout)), Ok(1))
        };
        // A full output pipe may keep it from ending; then it is killed, which loses nothing of a case.
        if !is_gone(&self) {
            self.kill();
            // One that waits for an answer of a file system that it serves itself does not die of that.
            if let Some(folder) = folder
                && !is_gone(&self)
            {
                let _unmounted = mounts::unmount_below(folder);
            }
        }
        process_tree::kill_group(self.child.id());
        let status = self.child.wait();
        launcher.known().remove(&self.child.id());
        if sweep {
            launcher.sweep();
            // One that is still there when the run ends is told then.
            let _tried_again = groups::remove_of(&launcher.folder, Some(self.child.id()));
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
