//! One stream of a connection: what becomes of its bytes, and when.
//!
//! Knows no sockets and no clock: it is told what arrived and what time it is, and says what is to be done next. So the
//! meaning of every toxic is here, and is tested without a network.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt as _;

use super::active::Active;
use super::entry::{Connection, Entry};
use super::toxic::{Effect, Stream};

/// So much is held at most where nothing says how long: then its sender is made to wait.
const QUEUE_BYTES: usize = 64 << 10;
/// The same where bytes are delayed: a line of 4 MiB, which is 80 MB/s at 50 ms.
const DELAYED_BYTES: usize = 4 << 20;
/// With a bandwidth, the bytes of so much time are one piece.
const GRAIN: Duration = Duration::from_millis(10);
/// And those of so much time are read ahead.
const AHEAD: Duration = Duration::from_millis(50);

/// What is to be done for a lane now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Write [`Lane::head`], or a part of it.
    Write,
    /// Tell the receiver that the stream is over.
    Finish,
    /// Nothing any more.
    Done,
    /// Close the connection.
    Close,
    /// Reset the connection.
    Reset,
    /// Nothing until then, or until something arrives.
    Wait {
        until: Option<Instant>,
        /// Whether what arrives is to be read.
        reads: bool,
        /// Whether it is to be told when anything arrives, which is not read.
        looks: bool,
    },
}

#[derive(Debug)]
pub(super) struct Lane {
    stream: Stream,
    connection: Connection,
    active: Vec<Active>,
    pieces: VecDeque<Piece>,
    queued: usize,
    /// Nothing is due before what came before it.
    last_due: Instant,
    end: Option<End>,
    /// The receiver was told that it is over, or is gone: the rest is lost.
    is_shut: bool,
    /// The number of the toxic that closes the connection after what is queued.
    closing: Option<u64>,
    is_done: bool,
}

/// Bytes on their way.
#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    /// How many of them are written.
    written: usize,
    arrived: Instant,
    /// From -1 to 1: where in its jitter it is.
    luck: f64,
    /// Whether it was one with the piece before it.
    is_slice: bool,
    due: Instant,
}

/// The end of the stream on its way.
#[derive(Debug, Clone, Copy)]
struct End {
    arrived: Instant,
    is_reset: bool,
    due: Instant,
}

impl Lane {
    pub(super) fn new(stream: Stream, connection: Connection, now: Instant) -> Self {
        Self {
            stream,
            connection,
            active: Vec::new(),
            pieces: VecDeque::new(),
            queued: 0,
            last_due: now,
            end: None,
            is_shut: false,
            closing: None,
            is_done: false,
        }
    }

    /// Takes over the proxy's toxics as they are now: at once, also for what is on its way.
    pub(super) fn refresh(&mut self, toxics: &[Arc<Entry>], now: Instant) {
        let mut before = std::mem::take(&mut self.active);
        for entry in toxics {
            if !entry.toxic.is_on(self.stream) || !self.connection.is_hit_by(entry) {
                continue;
            }
            let known = before.iter().position(|active| active.number() == entry.number);
            let mut active = match known {
                Some(at) => before.swap_remove(at).updated(entry, now),
                None => Active::new(entry, &self.connection, self.stream, now),
            };
            // What was held meanwhile does not all pass at once.
            active.free_at = now;
            self.active.push(active);
        }
        let closing = self.closing.take();
        self.closing = closing.filter(|number| self.active.iter().any(|active| active.number() == *number));
        self.reschedule();
        if !self.pieces.is_empty() {
            self.holds_something();
        }
    }

    /// Whether bytes pass as they come.
    pub(super) fn is_plain(&self) -> bool {
        self.is_free() && self.pieces.is_empty() && self.end.is_none() && !self.is_shut
    }

    /// Whether no toxic is on it.
    pub(super) fn is_free(&self) -> bool {
        self.active.is_empty()
    }

    /// Whether a connection that begins now is held.
    pub(super) fn is_stalled(&self) -> bool {
        self.any(|effect| effect == Effect::Stall)
    }

    fn is_black_hole(&self) -> bool {
        self.any(|effect| matches!(effect, Effect::Timeout { .. }))
    }

    fn any(&self, is: impl Fn(Effect) -> bool) -> bool {
        self.first(is).is_some()
    }

    fn first(&self, is: impl Fn(Effect) -> bool) -> Option<&Active> {
        self.active.iter().find(|active| is(active.effect()))
    }

    /// Bytes arrived.
    pub(super) fn take(&mut self, bytes: &[u8], now: Instant) {
        if self.is_shut || self.closing.is_some() {
            self.lost_behind_an_end(bytes.len());
            return;
        }
        let mut bytes = bytes.to_vec();
        for active in &mut self.active {
            match active.effect() {
                Effect::Timeout { .. } => return active.bites(bytes.len()),
                Effect::Corrupt { one_byte_in } => active.flip(&mut bytes, one_byte_in),
                Effect::Truncate { bytes: most } if bytes.len() > most => {
                    active.bites(bytes.len() - most);
                    bytes.truncate(most);
                }
                Effect::LimitData { bytes: most } => {
                    let left = usize::try_from(most - active.passed).unwrap_or(usize::MAX);
                    if bytes.len() >= left {
                        active.bites(bytes.len() - left);
                        bytes.truncate(left);
                        self.closing = Some(active.number());
                    }
                    active.passed += bytes.len() as u64;
                }
                Effect::Latency { .. } | Effect::Bandwidth { .. } => active.bites(bytes.len()),
                _ => {}
            }
        }
        self.push(bytes, now);
    }

    /// What arrives after the receiver was told that the stream is over.
    fn lost_behind_an_end(&self, count: usize) {
        let ends = |effect| matches!(effect, Effect::HalfClose { .. } | Effect::LimitData { .. });
        if let Some(active) = self.first(ends) {
            active.bites(count);
        }
    }

    /// Puts bytes on their way, in as many pieces as it takes.
    fn push(&mut self, mut bytes: Vec<u8>, now: Instant) {
        let count = bytes.len();
        let mut is_slice = false;
        while !bytes.is_empty() {
            let size = self.next_size().clamp(1, bytes.len());
            let rest = bytes.split_off(size);
            let jitters = |active: &&mut Active| matches!(active.effect(), Effect::Latency { jitter, .. } if !jitter.is_zero());
            let luck = match self.active.iter_mut().find(jitters) {
                Some(active) => active.draws.random_range(-1.0..=1.0),
                None => 0.0,
            };
            let mut piece = Piece {
                bytes,
                written: 0,
                arrived: now,
                luck,
                is_slice,
                due: now,
            };
            self.queued += size;
            piece.due = self.due(size, now, luck, is_slice);
            self.pieces.push_back(piece);
            (bytes, is_slice) = (rest, true);
        }
        if self.pieces.back().is_some_and(|last| last.is_slice) {
            let slices = |effect| matches!(effect, Effect::Slicer { .. });
            if let Some(active) = self.first(slices) {
                active.bites(count);
            }
        }
        // What was read as a stall began.
        if count > 0 {
            self.holds_something();
        }
    }

    /// How long the next piece may be.
    fn next_size(&mut self) -> usize {
        let mut size = usize::MAX;
        for active in &mut self.active {
            match active.effect() {
                Effect::Bandwidth { bytes_per_second } => {
                    size = size.min(bytes_in(GRAIN, bytes_per_second));
                }
                Effect::Slicer {
                    average_size,
                    size_variation,
                    ..
                } => {
                    let (least, most) = (average_size - size_variation, average_size + size_variation);
                    size = size.min(active.draws.random_range(least..=most));
                }
                _ => {}
            }
        }
        size
    }

    /// When so many bytes that arrived then are to be passed on.
    fn due(&mut self, size: usize, arrived: Instant, luck: f64, is_slice: bool) -> Instant {
        let mut due = arrived;
        for active in &mut self.active {
            match active.effect() {
                Effect::Latency { latency, jitter } => {
                    let seconds = latency.as_secs_f64() + luck * jitter.as_secs_f64();
                    due += Duration::from_secs_f64(seconds.max(0.0));
                }
                Effect::Slicer { delay, .. } if is_slice => due = due.max(self.last_due + delay),
                Effect::Bandwidth { bytes_per_second } => {
                    let takes = Duration::from_secs_f64(size as f64 / bytes_per_second as f64);
                    due = due.max(active.free_at) + takes;
                    active.free_at = due;
                }
                _ => {}
            }
        }
        self.last_due = due.max(self.last_due);
        self.last_due
    }

    /// Computes anew when everything on its way is due.
    fn reschedule(&mut self) {
        let mut pieces = std::mem::take(&mut self.pieces);
        let mut end = self.end;
        if let Some(oldest) = pieces
            .front()
            .map(|piece| piece.arrived)
            .or(end.map(|end| end.arrived))
        {
            self.last_due = oldest;
        }
        for piece in &mut pieces {
            let left = piece.bytes.len() - piece.written;
            piece.due = self.due(left, piece.arrived, piece.luck, piece.is_slice);
        }
        self.pieces = pieces;
        if let Some(end) = &mut end {
            end.due = self.end_due(end.arrived);
        }
        self.end = end;
    }

    /// The sender's stream is over, in an orderly way or not.
    pub(super) fn end_of_input(&mut self, is_reset: bool, now: Instant) {
        let due = self.end_due(now);
        self.end = Some(End {
            arrived: now,
            is_reset,
            due,
        });
    }

    /// Whether its sender's stream is over.
    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// The sender's stream turns out to be broken.
    pub(super) fn end_by_reset(&mut self) {
        if let Some(end) = &mut self.end {
            end.is_reset = true;
        }
    }

    /// The sender is found to be gone while nothing is read from it: nothing more comes, and the end is a reset.
    pub(super) fn break_off(&mut self, now: Instant) {
        match self.has_ended() {
            true => self.end_by_reset(),
            false => self.end_of_input(true, now),
        }
    }

    /// When the receiver is reset, also where it does not take what is under way: a reset waits for no window.
    pub(super) fn reset_due(&self) -> Option<Instant> {
        self.end.filter(|end| end.is_reset).map(|end| end.due)
    }

    fn end_due(&mut self, arrived: Instant) -> Instant {
        let due = self.due(0, arrived, 0.0, false);
        let late = self.active.iter().filter_map(|active| match active.effect() {
            Effect::SlowClose { delay } => Some(delay),
            _ => None,
        });
        due + late.sum::<Duration>()
    }

    /// The receiver is gone: whatever else arrives is lost.
    pub(super) fn shut(&mut self) {
        self.is_shut = true;
        self.pieces.clear();
        self.queued = 0;
    }

    /// A stall holds something: it has bitten.
    pub(super) fn holds_something(&mut self) {
        for active in &mut self.active {
            if active.may_hold() {
                active.holds(self.queued);
            }
        }
    }

    /// What is to be done now.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        if self.is_done {
            return Step::Done;
        }
        if let Some(step) = self.timers(now) {
            return step;
        }
        let is_stalled = self.is_stalled();
        if !is_stalled {
            if self.pieces.front().is_some_and(|piece| piece.due <= now) {
                return Step::Write;
            }
            if self.pieces.is_empty() {
                if let Some(number) = self.closing {
                    self.tell_closed(number);
                    return Step::Close;
                }
                if let Some(end) = self.end
                    && end.due <= now
                    && !self.is_black_hole()
                {
                    return self.finish(end);
                }
            }
        }
        let head = self.pieces.front().map(|piece| piece.due);
        let end = self.end.map(|end| end.due).filter(|_| !self.is_black_hole());
        let due = head.or(end).filter(|_| !is_stalled);
        let reads = self.end.is_none() && !is_stalled && self.queued < self.queue_bytes_max();
        Step::Wait {
            until: due.into_iter().chain(self.next_timer()).min(),
            reads,
            looks: self.end.is_none() && self.active.iter().any(Active::may_hold),
        }
    }

    fn finish(&mut self, end: End) -> Step {
        self.is_done = true;
        for active in &self.active {
            if matches!(active.effect(), Effect::SlowClose { .. }) {
                active.closes();
            }
        }
        match (end.is_reset, self.is_shut) {
            (true, _) => Step::Reset,
            (false, true) => Step::Done,
            (false, false) => Step::Finish,
        }
    }

    fn timers(&mut self, now: Instant) -> Option<Step> {
        for active in &self.active {
            if active.timer().is_none_or(|timer| timer > now) {
                continue;
            }
            match active.effect() {
                Effect::ResetPeer { .. } => {
                    active.closes();
                    return Some(Step::Reset);
                }
                Effect::Timeout { .. } => {
                    active.closes();
                    return Some(Step::Close);
                }
                Effect::HalfClose { .. } if !self.is_shut => {
                    active.closes();
                    self.shut();
                    return Some(Step::Finish);
                }
                _ => {}
            }
        }
        None
    }

    /// When a toxic next does something by itself.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        let is_over = |active: &&Active| self.is_shut && matches!(active.effect(), Effect::HalfClose { .. });
        let open = self.active.iter().filter(|active| !is_over(active));
        open.filter_map(Active::timer).min()
    }

    fn tell_closed(&self, number: u64) {
        if let Some(active) = self.active.iter().find(|active| active.number() == number) {
            active.closes();
        }
    }

    /// From how many bytes on its way on the sender is made to wait.
    fn queue_bytes_max(&self) -> usize {
        let mut delay = Duration::ZERO;
        let mut rate: Option<u64> = None;
        for active in &self.active {
            match active.effect() {
                Effect::Latency { latency, .. } => delay += latency,
                Effect::Bandwidth { bytes_per_second } => {
                    rate = Some(rate.unwrap_or(u64::MAX).min(bytes_per_second));
                }
                _ => {}
            }
        }
        match rate {
            Some(rate) => bytes_in(AHEAD + delay, rate).clamp(1, DELAYED_BYTES),
            None if delay.is_zero() => QUEUE_BYTES,
            None => DELAYED_BYTES,
        }
    }

    /// What is to be written.
    pub(super) fn head(&self) -> &[u8] {
        self.pieces
            .front()
            .map_or(&[], |piece| &piece.bytes[piece.written..])
    }

    /// So much of [`Lane::head`] was written.
    pub(super) fn wrote(&mut self, count: usize) {
        self.queued -= count;
        if let Some(piece) = self.pieces.front_mut() {
            piece.written += count;
            if piece.written == piece.bytes.len() {
                self.pieces.pop_front();
            }
        }
    }
}

fn bytes_in(time: Duration, bytes_per_second: u64) -> usize {
    // Saturates.
    (time.as_secs_f64() * bytes_per_second as f64) as usize
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
