//! One connection through a proxy: its two sockets, and the lanes between them.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::entry::Connection;
use super::lane::{Lane, Step};
use super::setup::{Setup, Tap};
use super::toxic::Stream;

/// So much is read at once.
const READ_BYTES: usize = 64 << 10;
/// So often bytes are passed on before others get their turn.
const ROUNDS_MAX: usize = 16;

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
}

/// Passes bytes on until both streams are over or the connection is ended; both sockets are closed then.
pub(super) async fn run(
    client: TcpStream,
    server: TcpStream,
    connection: Connection,
    tap: Arc<Tap>,
    setup: watch::Receiver<Arc<Setup>>,
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
    let lanes = tokio::try_join!(
        link.pass(Stream::Upstream, setup.clone()),
        link.pass(Stream::Downstream, setup)
    );
    if let Err(Ended::Reset) = lanes {
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
    async fn pass(&self, stream: Stream, mut setup: watch::Receiver<Arc<Setup>>) -> Result<(), Ended> {
        let (source, sink, own, other) = match stream {
            Stream::Upstream => (&self.client, &self.server, &self.up, &self.down),
            Stream::Downstream => (&self.server, &self.client, &self.down, &self.up),
        };
        let mut lane = Lane::new(stream, self.connection.clone(), self.began);
        setup.mark_changed();
        loop {
            if has_changed(&setup) {
                let now = setup.borrow_and_update().clone();
                if let Some(ended) = now.ended {
                    return Err(ended);
                }
                lane.refresh(&now.toxics, Instant::now());
            }
            if lane.is_plain() {
                tokio::select! {
                    biased;
                    readable = source.readable() => {
                        self.hand_over(stream, readable, &mut lane, source, sink, &setup);
                    }
                    changed = changed(&mut setup) => changed?,
                }
            } else {
                let now = Instant::now();
                match lane.step(now) {
                    Step::Write => match sink.try_write(lane.head()) {
                        Ok(count) => lane.wrote(count),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            tokio::select! {
                                // An error comes out at the next write.
                                _ = sink.writable() => {}
                                () = at(lane.next_timer()) => {}
                                changed = changed(&mut setup) => changed?,
                            }
                        }
                        Err(_) => own.is_broken.store(true, Ordering::Relaxed),
                    },
                    Step::Finish => shut_down(sink),
                    Step::Done => {
                        own.is_over.store(true, Ordering::Relaxed);
                        return Ok(());
                    }
                    Step::Close => return Err(Ended::Closed),
                    Step::Reset => return Err(Ended::Reset),
                    Step::Wait { until, reads, looks } => tokio::select! {
                        readable = source.readable(), if reads => {
                            // What was sent after a change goes by that.
                            if !has_changed(&setup) {
                                self.read(stream, readable, &mut lane, source);
                            }
                        }
                        _ = source.readable(), if looks => lane.holds_something(),
                        () = at(until) => {}
                        changed = changed(&mut setup) => changed?,
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

    /// Reads and writes as long as both can be done at once; what cannot be written is the lane's.
    fn hand_over(
        &self,
        stream: Stream,
        readable: io::Result<()>,
        lane: &mut Lane,
        source: &TcpStream,
        sink: &TcpStream,
        setup: &watch::Receiver<Arc<Setup>>,
    ) {
        if readable.is_err() {
            return lane.end_of_input(true, Instant::now());
        }
        BUFFER.with_borrow_mut(|buffer| {
            for _ in 0..ROUNDS_MAX {
                // What was sent after a change goes by that.
                if has_changed(setup) {
                    return;
                }
                let Some(bytes) = self.fill(stream, buffer, lane, source) else {
                    return;
                };
                // Where it fails, the lane finds out what is wrong.
                let written = sink.try_write(bytes).unwrap_or_default();
                if written < bytes.len() {
                    return lane.take(&bytes[written..], Instant::now());
                }
                if bytes.len() < READ_BYTES {
                    return;
                }
            }
        });
    }

    fn read(&self, stream: Stream, readable: io::Result<()>, lane: &mut Lane, source: &TcpStream) {
        if readable.is_err() {
            return lane.end_of_input(true, Instant::now());
        }
        BUFFER.with_borrow_mut(|buffer| {
            if let Some(bytes) = self.fill(stream, buffer, lane, source) {
                lane.take(bytes, Instant::now());
            }
        });
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

fn has_changed(setup: &watch::Receiver<Arc<Setup>>) -> bool {
    // When the proxy is gone, the wait for a change ends the connection.
    setup.has_changed().unwrap_or(false)
}

/// Waits for a change, which is still to be looked at then.
async fn changed(setup: &mut watch::Receiver<Arc<Setup>>) -> Result<(), Ended> {
    // The proxy is gone, and with it what it says.
    setup.changed().await.map_err(|_| Ended::Closed)?;
    setup.mark_changed();
    Ok(())
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
