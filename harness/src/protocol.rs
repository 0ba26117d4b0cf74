//! What runner and worker say to each other.
//!
//! Frames on a Unix stream socket: a kind, the payload's length (4 bytes, little endian), the payload. The
//! two frames of an unremarkable case are a few dozen bytes with fixed fields; what is rare is JSON. Two
//! channels join a worker to its slot: *orders* (one case after another, answered in turn) and *watch*
//! (read at any time, also while a case computes: cancellation; its end means that the runner is gone).
//!
//! Quick cases are ordered *ahead*, before the answer to the one before, so that neither side waits for the
//! other to wake up. Each still has its own answer, its own output and its own deadline; one that has not
//! begun can be taken back, and runs elsewhere.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::event::SubCase;
use crate::leak::AllowedBy;
use crate::outcome::{Outcome, Problem};
use crate::param::Environment;
use crate::probe::Stacks;
use crate::seed::Seed;

/// See [`WorkerConfig::mark`].
pub(crate) type Mark = [u8; 16];

/// The first frame a worker reads.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct WorkerConfig {
    pub(crate) run_id: String,
    /// The run's temporary folder.
    pub(crate) folder: PathBuf,
    /// What a worker writes to its output before a case that was ordered ahead: what comes after it is that
    /// case's. Random, so that no case writes it by accident.
    pub(crate) mark: Mark,
    /// The crate name that case names leave out.
    pub(crate) suite_crate: String,
    pub(crate) environment: Environment,
    /// What of `tracing` goes to the output, as `tracing_subscriber`'s targets; empty: everything from `info` up.
    pub(crate) log: String,
    /// How long all teardowns of one case may take together, in milliseconds.
    pub(crate) teardown_ms_max: u64,
    /// How long the leak check waits for what is on its way out, in milliseconds.
    pub(crate) settle_ms_max: u64,
    /// Whether a case that is bad is told ([`FromWorker::Bad`]) before what it started is torn down.
    pub(crate) keeps: bool,
}

/// One case to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    /// Unique in a run.
    pub(crate) number: u64,
    /// Whether it was sent before the answer to the one before it. It is dropped when that answer is more
    /// than "passed" ([`Done::is_plain`]), or when it is recalled before it begins.
    pub(crate) ahead: bool,
    /// The index into [`crate::registry::unsorted`].
    pub(crate) scenario: u32,
    pub(crate) attempt: u32,
    pub(crate) cell: u64,
    pub(crate) seed: Seed,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) number: u64,
    pub(crate) outcome: Outcome,
    /// Why no other case may run in this worker; `None`: it is as it was before.
    pub(crate) dirty: Option<String>,
    /// Whether its folder was made, or something is in the worker's temporary folder.
    pub(crate) files: bool,
    /// From the order's beginning to the verdict, in microseconds.
    pub(crate) took_us: u64,
    /// As [`crate::event::CaseFinished::sub_cases`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sub_cases: Vec<SubCase>,
}

impl Done {
    /// Whether the worker may go on at once: nothing but a pass is to be told.
    pub(crate) fn is_plain(&self) -> bool {
        self.outcome == Outcome::Passed && self.dirty.is_none() && !self.files && self.sub_cases.is_empty()
    }
}

/// A case that is bad, before it is torn down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bad {
    /// As far as it is known before teardown and leak check.
    pub(crate) outcome: Outcome,
    /// As [`Done::sub_cases`].
    pub(crate) sub_cases: Vec<SubCase>,
    /// How to reach each thing that it started, several lines each.
    pub(crate) reach: Vec<String>,
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FromWorker {
    /// A panic, told the moment it happens: an abort may follow.
    Panicked(Problem),
    /// The body is over, one way or another; what follows (teardown, waiting for what is on its way out) has
    /// a deadline of its own. Not said where nothing follows.
    BodyOver,
    /// The verdict.
    Done(Done),
    /// It takes orders from now on: said once, so that its start is no part of its first case's time.
    Began,
    /// The answer to a recall: no order after this one has begun, nor will.
    Recalled(u64),
    /// Something outlived the present case, as this allowance says it may.
    Allowed(AllowedBy),
    /// What it does, asked for when the time of its case was over.
    Seen(Stacks),
    /// The present case is bad and has something up. It is torn down when the runner says so ([`Watched::GoOn`],
    /// [`Watched::Release`]).
    Bad(Bad),
    /// What happened to what is kept up.
    Meanwhile(String),
    /// It could not begin to serve, and ends: the system had no room for its threads. With the error's number.
    Unready(i32),
}

const ORDER: u8 = b'o';
const CONFIG: u8 = b'c';
const CANCEL: u8 = b'x';
const PASSED: u8 = b'.';
const DONE: u8 = b'd';
const PANICKED: u8 = b'p';
const BODY_OVER: u8 = b'b';
const UNREADY: u8 = b'u';
const BEGAN: u8 = b'g';
const ALLOWED: u8 = b'a';
const SEEN: u8 = b's';
const LOOK: u8 = b'l';
const RECALL: u8 = b'r';
const RECALLED: u8 = b'e';
const BAD: u8 = b'k';
const MEANWHILE: u8 = b'm';
const GO_ON: u8 = b'n';
const RELEASE: u8 = b'f';

/// A frame that holds an [`Order`].
const ORDER_BYTES: usize = 38;
/// A frame that says that a case passed.
const PASSED_BYTES: usize = 21;

/// Larger frames are a protocol error: nothing here comes near.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// A frame that was taken off a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    kind: u8,
    payload: Vec<u8>,
}

fn frame(kind: u8, payload: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    bytes.push(kind);
    bytes.extend([0; 4]);
    payload(&mut bytes);
    let length = u32::try_from(bytes.len() - 5).unwrap_or(u32::MAX);
    bytes[1..5].copy_from_slice(&length.to_le_bytes());
    bytes
}

fn json_frame(kind: u8, value: &impl Serialize) -> Vec<u8> {
    // Serialising these plain structs into memory cannot fail.
    frame(kind, |bytes| {
        serde_json::to_writer(bytes, value).unwrap_or_default()
    })
}

impl WorkerConfig {
    pub(crate) fn encode(&self) -> Vec<u8> {
        json_frame(CONFIG, self)
    }

    pub(crate) fn decode(frame: &Frame) -> io::Result<Self> {
        expect(frame, CONFIG)?;
        Ok(serde_json::from_slice(&frame.payload)?)
    }
}

impl Order {
    /// The case's folder in that of the run: made if the case asks for it.
    pub(crate) fn folder(&self, run: &Path) -> PathBuf {
        run.join(self.number.to_string())
    }

    /// Where the runner puts what the case left in its worker's temporary folder.
    pub(crate) fn folder_aside(&self, run: &Path) -> PathBuf {
        run.join(format!("{}.tmp", self.number))
    }

    /// Appends the frame to `bytes`.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        let mut fixed = [0; ORDER_BYTES];
        fixed[0] = ORDER;
        fixed[1..5].copy_from_slice(&((ORDER_BYTES - 5) as u32).to_le_bytes());
        fixed[5] = u8::from(self.ahead);
        fixed[6..14].copy_from_slice(&self.number.to_le_bytes());
        fixed[14..18].copy_from_slice(&self.scenario.to_le_bytes());
        fixed[18..22].copy_from_slice(&self.attempt.to_le_bytes());
        fixed[22..30].copy_from_slice(&self.cell.to_le_bytes());
        fixed[30..38].copy_from_slice(&self.seed.0.to_le_bytes());
        bytes.extend_from_slice(&fixed);
    }

    pub(crate) fn decode(frame: &Frame) -> io::Result<Self> {
        expect(frame, ORDER)?;
        let mut rest = &frame.payload[..];
        Ok(Self {
            ahead: take::<1>(&mut rest)? != [0],
            number: u64::from_le_bytes(take(&mut rest)?),
            scenario: u32::from_le_bytes(take(&mut rest)?),
            attempt: u32::from_le_bytes(take(&mut rest)?),
            cell: u64::from_le_bytes(take(&mut rest)?),
            seed: Seed(u64::from_le_bytes(take(&mut rest)?)),
        })
    }
}

/// Asks the worker to unwind the case with this number, if that is still the one it runs.
pub(crate) fn encode_cancel(number: u64) -> Vec<u8> {
    frame(CANCEL, |bytes| bytes.extend(number.to_le_bytes()))
}

/// Asks the worker to tell what it does.
pub(crate) fn encode_look() -> Vec<u8> {
    frame(LOOK, |bytes| bytes.extend(0_u64.to_le_bytes()))
}

/// Asks the worker to begin no order up to `last` that was sent ahead, and to say which was the last to begin.
pub(crate) fn encode_recall(last: u64) -> Vec<u8> {
    frame(RECALL, |bytes| bytes.extend(last.to_le_bytes()))
}

/// Has the worker tear down the case with this number, which told that it is bad ([`FromWorker::Bad`]).
pub(crate) fn encode_tear_down(number: u64, was_kept: bool) -> Vec<u8> {
    let kind = if was_kept { RELEASE } else { GO_ON };
    frame(kind, |bytes| bytes.extend(number.to_le_bytes()))
}

/// What a worker is told on its second channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// See [`encode_cancel`].
    Cancel(u64),
    /// See [`encode_recall`].
    Recall(u64),
    /// See [`encode_look`].
    Look,
    /// The bad case with this number is not kept.
    GoOn(u64),
    /// It was kept, and is no longer.
    Release(u64),
}

impl Watched {
    pub(crate) fn decode(frame: &Frame) -> io::Result<Self> {
        let number = u64::from_le_bytes(take(&mut &frame.payload[..])?);
        match frame.kind {
            RECALL => Ok(Self::Recall(number)),
            LOOK => Ok(Self::Look),
            GO_ON => Ok(Self::GoOn(number)),
            RELEASE => Ok(Self::Release(number)),
            _ => expect(frame, CANCEL).map(|()| Self::Cancel(number)),
        }
    }
}

impl FromWorker {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Panicked(problem) => json_frame(PANICKED, problem),
            Self::BodyOver => frame(BODY_OVER, |_| {}),
            Self::Began => frame(BEGAN, |_| {}),
            Self::Allowed(by) => json_frame(ALLOWED, by),
            Self::Seen(stacks) => json_frame(SEEN, stacks),
            Self::Bad(bad) => json_frame(BAD, bad),
            Self::Meanwhile(text) => json_frame(MEANWHILE, text),
            Self::Unready(error) => frame(UNREADY, |bytes| bytes.extend(error.to_le_bytes())),
            Self::Recalled(begun) => frame(RECALLED, |bytes| bytes.extend(begun.to_le_bytes())),
            Self::Done(done) if done.is_plain() => {
                let mut fixed = [0; PASSED_BYTES];
                fixed[0] = PASSED;
                fixed[1..5].copy_from_slice(&((PASSED_BYTES - 5) as u32).to_le_bytes());
                fixed[5..13].copy_from_slice(&done.number.to_le_bytes());
                fixed[13..].copy_from_slice(&done.took_us.to_le_bytes());
                fixed.to_vec()
            }
            Self::Done(done) => json_frame(DONE, done),
        }
    }

    pub(crate) fn decode(frame: &Frame) -> io::Result<Self> {
        match frame.kind {
            PASSED => {
                let mut rest = &frame.payload[..];
                Ok(Self::Done(Done {
                    number: u64::from_le_bytes(take(&mut rest)?),
                    outcome: Outcome::Passed,
                    dirty: None,
                    files: false,
                    took_us: u64::from_le_bytes(take(&mut rest)?),
                    sub_cases: Vec::new(),
                }))
            }
            RECALLED => Ok(Self::Recalled(u64::from_le_bytes(take(&mut &frame.payload[..])?))),
            DONE => Ok(Self::Done(serde_json::from_slice(&frame.payload)?)),
            BODY_OVER => Ok(Self::BodyOver),
            BEGAN => Ok(Self::Began),
            ALLOWED => Ok(Self::Allowed(serde_json::from_slice(&frame.payload)?)),
            SEEN => Ok(Self::Seen(serde_json::from_slice(&frame.payload)?)),
            BAD => Ok(Self::Bad(serde_json::from_slice(&frame.payload)?)),
            MEANWHILE => Ok(Self::Meanwhile(serde_json::from_slice(&frame.payload)?)),
            UNREADY => Ok(Self::Unready(i32::from_le_bytes(take(&mut &frame.payload[..])?))),
            PANICKED => Ok(Self::Panicked(serde_json::from_slice(&frame.payload)?)),
            other => Err(broken(format!("unknown frame {other:#x}"))),
        }
    }
}

fn expect(frame: &Frame, kind: u8) -> io::Result<()> {
    if frame.kind == kind {
        Ok(())
    } else {
        Err(broken(format!("unexpected frame {:#x}", frame.kind)))
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> io::Result<[u8; N]> {
    let (head, tail) = rest
        .split_first_chunk()
        .ok_or_else(|| broken("a frame is too short"))?;
    *rest = tail;
    Ok(*head)
}

fn broken(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Takes frames out of a byte stream, whatever pieces it arrives in.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    taken: usize,
}

impl Frames {
    /// Reads once. `Ok(false)`: the stream is at its end; `Err(WouldBlock)`: nothing now.
    pub(crate) fn fill(&mut self, mut from: impl Read) -> io::Result<bool> {
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        }
        let mut chunk = [0; 4096];
        let read = from.read(&mut chunk)?;
        self.bytes.extend_from_slice(&chunk[..read]);
        Ok(read > 0)
    }

    /// The next complete frame.
    pub(crate) fn next(&mut self) -> io::Result<Option<Frame>> {
        let waiting = &self.bytes[self.taken..];
        let Some((head, rest)) = waiting.split_first_chunk::<5>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(broken(format!("a frame of {length} bytes")));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let frame = Frame {
            kind: head[0],
            payload: rest[..length].to_vec(),
        };
        self.taken += 5 + length;
        Ok(Some(frame))
    }

    /// Blocks until there is a frame; `None`: the stream ended.
    pub(crate) fn wait(&mut self, mut from: impl Read) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.next()? {
                return Ok(Some(frame));
            }
            match self.fill(&mut from) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Class;

    #[test]
    fn frames_survive_any_fragmentation() {
        let order = Order {
            ahead: true,
            number: 7,
            scenario: 1,
            attempt: 2,
            cell: u64::MAX,
            seed: Seed(3),
        };
        let failed = FromWorker::Done(Done {
            number: 9,
            outcome: Outcome::Failed(Problem::new(Class::Panic, "boom\nat x")),
            dirty: Some("a thread is left".into()),
            files: true,
            took_us: 3,
            sub_cases: Vec::new(),
        });
        let passed = FromWorker::Done(Done {
            number: u64::MAX - 1,
            outcome: Outcome::Passed,
            dirty: None,
            files: false,
            took_us: 1 << 40,
            sub_cases: Vec::new(),
        });
        let FromWorker::Done(mut with_sub_cases) = passed.clone() else {
            unreachable!("it was just made");
        };
        with_sub_cases.sub_cases.push(SubCase {
            name: "client-1".into(),
            outcome: Outcome::Passed,
            duration_us: 2,
        });
        let with_sub_cases = FromWorker::Done(with_sub_cases);
        let mut stream = Vec::new();
        order.encode(&mut stream);
        let allowed = FromWorker::Allowed(AllowedBy::Scenario(3, 1));
        for said in [&failed, &passed, &FromWorker::Recalled(6), &allowed] {
            stream.extend(said.encode());
        }
        stream.extend(with_sub_cases.encode());
        stream.extend(encode_cancel(5));
        stream.extend(encode_recall(4));
        stream.extend(encode_tear_down(3, false));
        stream.extend(encode_tear_down(2, true));
        let bad = FromWorker::Bad(Bad {
            outcome: Outcome::Errored(Problem::new(Class::Deadline, "late")),
            sub_cases: Vec::new(),
            reach: vec!["broker, pid 7\n  mqtt 127.0.0.1:1883".into()],
        });
        stream.extend(bad.encode());
        let meanwhile = FromWorker::Meanwhile("node `x` died".into());
        stream.extend(meanwhile.encode());
        for size in 1..stream.len() {
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for piece in stream.chunks(size) {
                frames.fill(piece).unwrap();
                while let Some(frame) = frames.next().unwrap() {
                    found.push(frame);
                }
            }
            assert_eq!(Order::decode(&found[0]).unwrap(), order);
            assert_eq!(FromWorker::decode(&found[1]).unwrap(), failed);
            assert_eq!(FromWorker::decode(&found[2]).unwrap(), passed);
            assert_eq!(FromWorker::decode(&found[3]).unwrap(), FromWorker::Recalled(6));
            assert_eq!(FromWorker::decode(&found[4]).unwrap(), allowed);
            assert_eq!(FromWorker::decode(&found[5]).unwrap(), with_sub_cases);
            assert_eq!(Watched::decode(&found[6]).unwrap(), Watched::Cancel(5));
            assert_eq!(Watched::decode(&found[7]).unwrap(), Watched::Recall(4));
            assert_eq!(Watched::decode(&found[8]).unwrap(), Watched::GoOn(3));
            assert_eq!(Watched::decode(&found[9]).unwrap(), Watched::Release(2));
            assert_eq!(FromWorker::decode(&found[10]).unwrap(), bad);
            assert_eq!(FromWorker::decode(&found[11]).unwrap(), meanwhile);
        }
    }

    #[test]
    fn nonsense_is_an_error_and_not_a_wait() {
        let mut frames = Frames::default();
        frames.fill(&[b'o', 0xff, 0xff, 0xff, 0xff][..]).unwrap();
        assert!(frames.next().is_err());
        let mut frames = Frames::default();
        frames.fill(&[b'?', 0, 0, 0, 0][..]).unwrap();
        let frame = frames.next().unwrap().unwrap();
        assert!(FromWorker::decode(&frame).is_err() && Order::decode(&frame).is_err());
    }
}
