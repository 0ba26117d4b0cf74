//! One connection of an attacker: sends what its script says, reads what comes back, and tells how it ended.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::corpus::Piece;
use super::report::{Played, Reaction};
use super::script::{End, Script};
use crate::clock::Deadline;

/// More than this is not read: the target then talks to somebody who does not listen.
const BACK_BYTES_MAX: u64 = 4 << 20;
/// How long an answer is waited for that there was in the recording.
const ANSWER_WITHIN: Duration = Duration::from_millis(200);
const READ_BYTES: usize = 16 << 10;

/// Plays the script; over by the deadline. To be called where tokio's clock is the machine's.
pub(super) async fn play(socket: &TcpStream, script: &Script, deadline: Deadline) -> Played {
    let mut talk = Talk {
        socket,
        sent_bytes: 0,
        back_bytes: 0,
        ended: None,
    };
    // When the time is over, what happened until then counts.
    let _time_is_over = timeout(deadline.left(), talk.run(script)).await;
    talk.played(script.end)
}

/// Waits until the other side has said something, has ended, or has been waited for.
pub(super) async fn until_it_speaks(socket: &TcpStream) {
    // Whether it does is its own affair.
    let _silent = timeout(ANSWER_WITHIN, socket.readable()).await;
}

struct Talk<'s> {
    socket: &'s TcpStream,
    sent_bytes: u64,
    back_bytes: u64,
    ended: Option<Reaction>,
}

impl Talk<'_> {
    async fn run(&mut self, script: &Script) {
        for piece in &script.pieces {
            let went = match script.pace {
                Some(pace) => self.trickle(&piece.bytes, pace).await,
                None => self.send(&piece.bytes).await,
            };
            if !went {
                break;
            }
            self.await_answer(piece).await;
        }
        match script.end {
            End::Close => {
                // A broken one is noticed when it is read from.
                let _broken = rustix::net::shutdown(self.socket, rustix::net::Shutdown::Write);
            }
            End::Silence => {}
            End::Reset => {
                // One that is closed already answers so anyway.
                let _closed = self.socket.set_zero_linger();
                return;
            }
        }
        while self.listens() {
            self.read().await;
        }
    }

    /// Whether all was sent.
    async fn send(&mut self, mut bytes: &[u8]) -> bool {
        let socket = self.socket;
        while !bytes.is_empty() {
            let listens = self.listens();
            tokio::select! {
                () = self.read(), if listens => {}
                writable = socket.writable() => {
                    match writable.and_then(|()| socket.try_write(bytes)) {
                        Ok(count) => {
                            self.sent_bytes += count as u64;
                            bytes = &bytes[count..];
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => {
                            self.broke(&error);
                            return false;
                        }
                    }
                }
            }
        }
        true
    }

    async fn trickle(&mut self, bytes: &[u8], pace: Duration) -> bool {
        for byte in bytes {
            if !self.send(&[*byte]).await {
                return false;
            }
            let pause = sleep(pace);
            tokio::pin!(pause);
            loop {
                let listens = self.listens();
                tokio::select! {
                    () = self.read(), if listens => {}
                    () = &mut pause => break,
                }
            }
        }
        true
    }

    async fn await_answer(&mut self, piece: &Piece) {
        if !piece.is_answered {
            return;
        }
        let before = self.back_bytes;
        let answer = async {
            while self.back_bytes == before && self.listens() {
                self.read().await;
            }
        };
        // None came: it is not as in the recording, and goes on.
        let _none = timeout(ANSWER_WITHIN, answer).await;
    }

    /// Whether there may be more to read.
    fn listens(&self) -> bool {
        self.ended.is_none() && self.back_bytes < BACK_BYTES_MAX
    }

    /// Reads what is there, once there is something.
    async fn read(&mut self) {
        let mut buffer = [0; READ_BYTES];
        match self
            .socket
            .readable()
            .await
            .and_then(|()| self.socket.try_read(&mut buffer))
        {
            Ok(0) => self.ended = Some(Reaction::Closed),
            Ok(count) => self.back_bytes += count as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.broke(&error),
        }
    }

    fn broke(&mut self, error: &io::Error) {
        // It closed before, and then answered what it did not expect any more.
        let closed_before = self.ended == Some(Reaction::Closed) && error.kind() == io::ErrorKind::BrokenPipe;
        if !closed_before {
            self.ended = Some(Reaction::Reset);
        }
    }

    fn played(&self, end: End) -> Played {
        let reaction = match (self.ended, end) {
            (Some(reaction), _) => reaction,
            (None, End::Reset) => Reaction::Left,
            (None, _) if self.back_bytes > 0 => Reaction::Answered,
            (None, _) => Reaction::Ignored,
        };
        Played {
            reaction,
            sent_bytes: self.sent_bytes,
            back_bytes: self.back_bytes,
            refusal: None,
        }
    }
}
