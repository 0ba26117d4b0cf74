//! One connection through a proxy: its two sockets, and the lanes between them.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Instant;

use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

use super::entry::Connection;
use super::lane::{Lane, Step};
use super::setup::{Setup, Tap};
use super::toxic::Stream;

/// So much is read at once where it is passed on at once.
const READ_BYTES: usize = 256 << 10;
/// And where the lane takes it: what is read is held, also beyond what it is to hold at most.
const TAKEN_BYTES: usize = 64 << 10;
/// So often bytes are passed on before others get their turn.
const ROUNDS_MAX: usize = 16;

/// A socket that is broken says so, and raises no signal.
#[cfg(not(target_vendor = "apple"))]
const QUIETLY: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const QUIETLY: SendFlags = SendFlags::empty();

thread_local! {
    /// Holds bytes between a read and the write that follows, and nothing while anything is awaited: a connection that
    /// is idle has no buffer.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// How a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Closed,
    Reset,
}

/// Tells what the proxy's connections are to do.
type Changes = watch::Receiver<Arc<Setup>>;

struct Link {
    client: TcpStream,
    server: TcpStream,
    up: Ends,
    down: Ends,
    began: Instant,
    connection: Connection,
    tap: Arc<Tap>,
}

/// What the other lane is to know of one.
#[derive(Debug, Default)]
struct Ends {
    /// Its receiver took note of its end.
    is_over: AtomicBool,
    /// Its receiver's socket is broken.
    is_broken: AtomicBool,
    /// Tells the other lane so, where that reads nothing from there.
    breaks: Notify,
}

impl Ends {
    fn break_off(&self) {
        if !self.is_broken.swap(true, Ordering::Relaxed) {
            self.breaks.notify_one();
        }
    }
}

/// Passes bytes on until both streams are over or the connection is ended; both sockets are closed then.
pub(super) async fn run(
    client: TcpStream,
    server: TcpStream,
    connection: Connection,
    tap: Arc<Tap>,
    setup: Changes,
) {
    let link = Link {
        client,
        server,
        up: Ends::default(),
        down: Ends::default(),
        began: Instant::now(),
        connection,
        tap,
    };
    let mut changes = setup.clone();
    let lanes = async {
        tokio::try_join!(
            link.pass(Stream::Upstream, setup.clone()),
            link.pass(Stream::Downstream, setup)
        )
    };
    let mut lanes = pin!(lanes);
    let ended = loop {
        tokio::select! {
            biased;
            lanes = &mut lanes => break lanes.err(),
            // The lanes see it: they are asked anew.
            change = changes.changed() => if change.is_err() {
                break Some(Ended::Closed);
            },
        }
    };
    if ended == Some(Ended::Reset) {
        reset(&link.client);
        reset(&link.server);
    }
}

/// Has a socket answer with RST when it is dropped.
pub(super) fn reset(socket: &TcpStream) {
    // One that is closed already answers so anyway.
    let _closed = socket.set_zero_linger();
}

impl Link {
    async fn pass(&self, stream: Stream, mut setup: Changes) -> Result<(), Ended> {
        let (source, sink, own, other) = match stream {
            Stream::Upstream => (&self.client, &self.server, &self.up, &self.down),
            Stream::Downstream => (&self.server, &self.client, &self.down, &self.up),
        };
        let mut lane = Lane::new(stream, self.connection.clone(), self.began);
        setup.mark_changed();
        let mut is_new = stream == Stream::Upstream;
        loop {
            refresh(&mut lane, &mut setup)?;
            if lane.is_plain() && std::mem::take(&mut is_new) {
                self.hand_over_first(&mut lane, &mut setup)?;
            } else if lane.is_plain() {
                tokio::select! {
                    biased;
                    readable = poll_fn(|context| source.poll_read_ready(context)) => {
                        self.hand_over(stream, readable, &mut lane, (source, sink), &mut setup)?;
                    }
                    () = change(&setup) => {}
                }
            } else {
                let now = Instant::now();
                match lane.step(now) {
                    Step::Write => match sink.try_write(lane.head()) {
                        Ok(count) => lane.wrote(count),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            let reset = lane.reset_due();
                            if reset.is_some_and(|due| due <= now) {
                                return Err(Ended::Reset);
                            }
                            tokio::select! {
                                // An error comes out at the next write.
                                _ = sink.writable() => {}
                                // Nobody reads there as long as the receiver takes nothing.
                                () = gone(source, other), if reset.is_none() => lane.break_off(Instant::now()),
                                () = at(reset.into_iter().chain(lane.next_timer()).min()) => {}
                                () = change(&setup) => {}
                            }
                        }
                        Err(_) => own.break_off(),
                    },
                    // Where the other one is over as well, the sockets are closed next.
                    Step::Finish if lane.is_free() && other.is_over.load(Ordering::Relaxed) => {}
                    Step::Finish => shut_down(sink),
                    Step::Done => {
                        own.is_over.store(true, Ordering::Relaxed);
                        return Ok(());
                    }
                    Step::Close => return Err(Ended::Closed),
                    Step::Reset => return Err(Ended::Reset),
                    Step::Wait { until, reads, looks } => tokio::select! {
                        readable = source.readable(), if reads => {
                            self.read(stream, readable, &mut lane, source, &mut setup)?;
                        }
                        _ = source.readable(), if looks => lane.holds_something(),
                        () = at(until) => {}
                        () = change(&setup) => {}
                    },
                }
            }
            if own.is_broken.load(Ordering::Relaxed) {
                lane.shut();
                // Whoever sends to it hears of that through the other lane; where that is over, now.
                if other.is_over.load(Ordering::Relaxed) {
                    return Err(Ended::Reset);
                }
            }
            if lane.has_ended() && other.is_broken.load(Ordering::Relaxed) {
                lane.end_by_reset();
            }
        }
    }

    /// Passes on what the client has sent by now, before the runtime tells of it: most servers that were asked for a connection
    /// find it there when they look.
    fn hand_over_first(&self, lane: &mut Lane, setup: &mut Changes) -> Result<(), Ended> {
        BUFFER.with_borrow_mut(|buffer| {
            let sent = rustix::io::read(&self.client, &mut **buffer);
            // An end or an error comes out at the next read.
            let Ok(count @ 1..) = sent else { return Ok(()) };
            let bytes = &buffer[..count];
            self.tap.sent(self.connection.number(), Stream::Upstream, bytes);
            let write = |bytes: &[u8]| Ok(rustix::net::send(&self.server, bytes, QUIETLY)?);
            pass_on(bytes, lane, setup, write)
        })
    }

    /// Reads and writes as long as both can be done at once; what cannot be written is the lane's.
    fn hand_over(
        &self,
        stream: Stream,
        readable: io::Result<()>,
        lane: &mut Lane,
        (source, sink): (&TcpStream, &TcpStream),
        setup: &mut Changes,
    ) -> Result<(), Ended> {
        if readable.is_err() {
            lane.end_of_input(true, Instant::now());
            return Ok(());
        }
        BUFFER.with_borrow_mut(|buffer| {
            for _ in 0..ROUNDS_MAX {
                let Some(bytes) = self.fill(stream, buffer, lane, source) else {
                    return Ok(());
                };
                pass_on(bytes, lane, setup, |bytes| sink.try_write(bytes))?;
                if !lane.is_plain() || bytes.len() < READ_BYTES {
                    return Ok(());
                }
            }
            Ok(())
        })
    }

    fn read(
        &self,
        stream: Stream,
        readable: io::Result<()>,
        lane: &mut Lane,
        source: &TcpStream,
        setup: &mut Changes,
    ) -> Result<(), Ended> {
        if readable.is_err() {
            lane.end_of_input(true, Instant::now());
            return Ok(());
        }
        BUFFER.with_borrow_mut(|buffer| {
            if let Some(bytes) = self.fill(stream, &mut buffer[..TAKEN_BYTES], lane, source) {
                // What was sent after a change goes by that.
                refresh(lane, setup)?;
                lane.take(bytes, Instant::now());
            }
            Ok(())
        })
    }

    /// What can be read now; the lane is told of an end.
    fn fill<'b>(
        &self,
        stream: Stream,
        buffer: &'b mut [u8],
        lane: &mut Lane,
        source: &TcpStream,
    ) -> Option<&'b [u8]> {
        match source.try_read(buffer) {
            Ok(0) => lane.end_of_input(false, Instant::now()),
            Ok(count) => {
                if count < buffer.len() {
                    all_is_read(source);
                }
                let bytes = &buffer[..count];
                self.tap.sent(self.connection.number(), stream, bytes);
                return Some(bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => lane.end_of_input(true, Instant::now()),
        }
        None
    }
}

/// A read that is short has left nothing there: the next one need not ask the system to find out. (What arrives from now on is
/// told by the system, which this thread has not asked since.)
fn all_is_read(source: &TcpStream) {
    let _would_block = source.try_io(Interest::READABLE, || {
        Err::<(), _>(io::ErrorKind::WouldBlock.into())
    });
}

/// Has the lane go by what the proxy says now.
fn refresh(lane: &mut Lane, setup: &mut Changes) -> Result<(), Ended> {
    if has_changed(setup) {
        let now = setup.borrow_and_update().clone();
        if let Some(ended) = now.ended {
            return Err(ended);
        }
        lane.refresh(&now.toxics, Instant::now());
    }
    Ok(())
}

/// Writes what was read for a lane that was plain. Where it is not any more, since what was sent after a change goes by that, it
/// is the lane's, and so is what cannot be written.
fn pass_on(
    bytes: &[u8],
    lane: &mut Lane,
    setup: &mut Changes,
    write: impl FnOnce(&[u8]) -> io::Result<usize>,
) -> Result<(), Ended> {
    refresh(lane, setup)?;
    // Where it fails, the lane finds out what is wrong.
    let written = if lane.is_plain() {
        write(bytes).unwrap_or_default()
    } else {
        0
    };
    if written < bytes.len() {
        lane.take(&bytes[written..], Instant::now());
    }
    Ok(())
}

fn has_changed(setup: &Changes) -> bool {
    // When the proxy is gone, so is the connection soon.
    setup.has_changed().unwrap_or(false)
}

/// Ready when a lane's sender is gone, which the lane towards it may have been told first.
async fn gone(source: &TcpStream, towards: &Ends) {
    tokio::select! {
        _ = source.ready(Interest::ERROR) => {}
        () = towards.breaks.notified() => {}
    }
}

/// Ready when there is a change, which is still to be looked at. Wakes nobody: [`run`] does, for both lanes.
async fn change(setup: &Changes) {
    poll_fn(|_| {
        if has_changed(setup) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

fn shut_down(sink: &TcpStream) {
    // A broken one is noticed elsewhere.
    let _broken = rustix::net::shutdown(sink, rustix::net::Shutdown::Write);
}
