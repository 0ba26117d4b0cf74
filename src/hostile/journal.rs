//! What attackers did last, so that it can be told and sent again: kept as numbers, and at the end as bytes in the case's
//! folder, which is kept when the case is bad.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use robust_test_harness::case::{Case, WeakCase};
use robust_test_harness::error::Error;
use robust_test_harness::outcome::{Class, Problem};
use robust_test_harness::seed::Seed;

use super::attack::Attack;
use super::corpus::Corpus;
use super::report::Played;
use super::script::Script;

/// So many attacks that are over are remembered.
const LAST_MAX: usize = 32;
/// So many of all are told in an error; the others are in the file.
const TOLD_MAX: usize = 8;
/// The files of all attacks together; those that are left out can be drawn again.
const FILES_BYTES_MAX: usize = 8 << 20;
/// What a peer in between keeps of what it sent on a connection.
const TAPE_BYTES_MAX: usize = 256 << 10;

/// The journal of one target's attackers.
#[derive(Debug)]
pub(super) struct Journal {
    case: WeakCase,
    target: String,
    corpus: Corpus,
    seed: Seed,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    in_flight: BTreeMap<u64, Entry>,
    /// The last one is the latest.
    last: VecDeque<Entry>,
    is_saved: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    number: u64,
    attack: Attack,
    /// What it sent, where that cannot be drawn again.
    tape: Option<Tape>,
    came_to: String,
}

/// What was sent on one connection, from its beginning, up to a limit; clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Tape(Arc<Mutex<Vec<u8>>>);

impl Tape {
    pub(super) fn sent(&self, bytes: &[u8]) {
        let mut tape = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = bytes.len().min(TAPE_BYTES_MAX - tape.len());
        tape.extend(&bytes[..kept]);
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Journal {
    /// A new one. It is saved at the end of the case.
    pub(super) fn of(case: &Case, target: &str, corpus: Corpus, seed: Seed) -> Arc<Self> {
        let journal = Arc::new(Self {
            case: case.downgrade(),
            target: target.to_owned(),
            corpus,
            seed,
            state: Mutex::default(),
        });
        let at_end = Arc::clone(&journal);
        case.defer(format!("the journal of attacks on {target}"), || async move {
            at_end.end_of_case()
        });
        journal
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, number: u64, attack: Attack, tape: Option<Tape>) {
        let entry = Entry {
            number,
            attack,
            tape,
            came_to: "in flight".to_owned(),
        };
        self.state().in_flight.insert(number, entry);
    }

    pub(super) fn end(&self, number: u64, connections: &[Played]) {
        let mut state = self.state();
        let Some(mut entry) = state.in_flight.remove(&number) else {
            return;
        };
        let mut names: Vec<&str> = connections.iter().map(|played| played.reaction.name()).collect();
        names.sort_unstable();
        names.dedup();
        entry.came_to = names.join(", ");
        if state.last.len() == LAST_MAX {
            state.last.pop_front();
        }
        state.last.push_back(entry);
    }

    /// The attacks under way and then those before, the latest first.
    fn entries(&self) -> Vec<Entry> {
        let state = self.state();
        let before = state.last.iter().rev();
        state.in_flight.values().chain(before).cloned().collect()
    }

    /// Takes note of which attacks there are, to be told later.
    pub(super) fn note(&self) -> Note {
        Note(self.entries())
    }

    fn line(&self, entry: &Entry) -> String {
        match &entry.tape {
            Some(_) => format!("attack {} ({})", entry.number, entry.attack),
            None => self.script(entry).to_string(),
        }
    }

    fn script(&self, entry: &Entry) -> Script {
        Script::of(&self.corpus, self.seed, entry.number, entry.attack)
    }

    /// Tells what was noted, for an error, and saves everything: the attacks, how one is made again, where their bytes are.
    pub(super) fn tell(&self, note: &Note) -> String {
        let mut text = String::new();
        for entry in note.0.iter().take(TOLD_MAX) {
            // Never fails.
            let _ = writeln!(text, "  {}: {}", self.line(entry), entry.came_to);
        }
        if note.0.is_empty() {
            text.push_str("  no attack had begun\n");
        }
        if let Some(first) = note.0.first() {
            let again = format!(
                "`.seed(Seed({})).replay(Attack::{:?}, {})`",
                self.seed, first.attack, first.number
            );
            let _ = writeln!(text, "  one alone, of the same traffic: {again}");
        }
        match self.save() {
            Ok(folder) => drop(write!(text, "  their bytes are in {}", folder.display())),
            Err(error) => drop(write!(text, "  their bytes could not be saved: {error}")),
        }
        text
    }

    /// Writes the bytes of the last attacks into the case's folder, once; where they are, in that folder.
    fn save(&self) -> io::Result<PathBuf> {
        let name: String = self
            .target
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { '-' })
            .collect();
        let relative = PathBuf::from("hostile").join(name);
        let Some(case) = self.case.upgrade() else {
            return Err(io::Error::other("the case is over"));
        };
        if std::mem::replace(&mut self.state().is_saved, true) {
            return Ok(relative);
        }
        let folder = case.folder()?.join(&relative);
        std::fs::create_dir_all(&folder)?;
        let mut list = format!(
            "attacks on {}, seed {}, the latest first\n",
            self.target, self.seed
        );
        let mut left = FILES_BYTES_MAX;
        for entry in self.entries() {
            let bytes = match &entry.tape {
                Some(tape) => tape.bytes(),
                None => self.script(&entry).bytes(),
            };
            let file = format!("{}-{}.bin", entry.number, entry.attack);
            let _ = writeln!(list, "{}: {}; {file}", self.line(&entry), entry.came_to);
            if bytes.len() <= left {
                left -= bytes.len();
                std::fs::write(folder.join(&file), bytes)?;
            } else {
                list.push_str("  left out, too long; it can be drawn again\n");
            }
        }
        std::fs::write(folder.join("attacks.txt"), list)?;
        Ok(relative)
    }

    /// Saves what there is: whether the case is bad may show only after this, as when a server inside this process panicked.
    /// Tells it of one that was broken off, which this may be why.
    fn end_of_case(&self) -> Result<(), Error> {
        let note = self.note();
        let was_told = self.state().is_saved;
        let Some(case) = self.case.upgrade().filter(|_| !was_told && !note.0.is_empty()) else {
            return Ok(());
        };
        let folder = self.save()?;
        tracing::info!(target = self.target, folder = %folder.display(), "the last attacks are saved");
        if case.broken_off().is_some() {
            let text = format!("`{}` was under attack:\n{}", self.target, self.tell(&note));
            case.fail(Problem::new(Class::Error, text));
        }
        Ok(())
    }
}

/// Attacks at one moment.
#[derive(Debug, Clone)]
pub(super) struct Note(Vec<Entry>);
