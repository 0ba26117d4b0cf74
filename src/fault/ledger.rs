//! The faults of one case: what goes on, what is refused, and that nothing of it is left at its end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use robust_test_harness::case::{Case, WeakCase};
use robust_test_harness::error::{Error, error};
use robust_test_harness::param::{Build, Environment, Param, Shape};
use robust_test_harness::registry::Site;

use super::Ongoing;
use super::injected::{FaultError, Injected};
use super::timeline::{Moment, Timeline};

/// The faults of a case and its timeline; clones share them. As a parameter, `faults: Faults`.
#[derive(Debug, Clone)]
pub struct Faults(Arc<Ledger>);

#[derive(Debug)]
pub(super) struct Ledger {
    case: WeakCase,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What goes on, in the order in which it began.
    entries: Vec<Arc<Entry>>,
    /// So many nodes may have faults at the same time.
    tolerance: Option<usize>,
    timeline: Timeline,
}

/// A fault from the moment it is let in.
pub(super) struct Entry {
    pub(super) kind: &'static str,
    /// With its numbers.
    pub(super) fault: String,
    pub(super) target: String,
    nodes: Vec<String>,
    state: Mutex<Life>,
}

#[derive(Default)]
struct Life {
    /// `None` before it holds, while it is healed, and afterwards.
    ongoing: Option<Box<dyn Ongoing>>,
    /// Whether it ever held.
    has_held: bool,
    /// What showed that it bit.
    proof: Option<String>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.fault, self.target)
    }
}

impl Entry {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes it, to be healed by one alone.
    pub(super) fn take(&self) -> Option<Box<dyn Ongoing>> {
        self.life().ongoing.take()
    }

    /// It could not be healed.
    pub(super) fn put_back(&self, ongoing: Box<dyn Ongoing>) {
        self.life().ongoing = Some(ongoing);
    }

    pub(super) fn inert(&self) -> FaultError {
        FaultError::Inert {
            fault: self.fault.clone(),
            target: self.target.clone(),
        }
    }
}

impl Faults {
    /// Those of this case.
    pub fn of(case: &Case) -> Self {
        Self(Ledger::of(case))
    }

    /// At most so many nodes may have faults at the same time, from now on: what would be one more is refused. Without this
    /// there is no limit. Faults of links and clients disturb no node.
    pub fn tolerate(&self, nodes: usize) {
        self.0.state().tolerance = Some(nodes);
    }

    /// What goes on now, in the order in which it began: each fault with its target.
    pub fn ongoing(&self) -> Vec<(String, String)> {
        let state = self.0.state();
        let told = state.entries.iter();
        told.map(|entry| (entry.fault.clone(), entry.target.clone()))
            .collect()
    }

    /// Notes something in the timeline: `place` is what it happened to.
    pub fn note(&self, place: &str, what: &str) {
        self.0.tell(place, what);
    }

    /// What happened so far, by time.
    pub fn timeline(&self) -> Vec<Moment> {
        self.0.state().timeline.moments()
    }
}

impl Param for Faults {
    fn shape(_: &Site, _: &Environment) -> Shape {
        Shape::default()
    }

    async fn build(build: &mut Build) -> Result<Self, Error> {
        Ok(Self::of(build.case()))
    }
}

impl Ledger {
    pub(super) fn of(case: &Case) -> Arc<Self> {
        let mut is_new = false;
        let ledger = case.shared(|| {
            is_new = true;
            Shared(Arc::new(Self {
                case: case.downgrade(),
                state: Mutex::default(),
            }))
        });
        if is_new {
            let ledger = Arc::clone(&ledger.0);
            case.defer_first("faults", || async move { ledger.clean_up().await });
        }
        Arc::clone(&ledger.0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, place: &str, what: &str) {
        if let Some(case) = self.case.upgrade() {
            self.state().timeline.add(&case, place, what);
        }
    }

    /// Lets a fault in, unless there is one too many.
    pub(super) fn enter(
        &self,
        kind: &'static str,
        fault: String,
        target: String,
        nodes: Vec<String>,
    ) -> Result<Arc<Entry>, FaultError> {
        let mut state = self.state();
        // Also where one of them is on several nodes, and on the node of the other.
        let overlaps = |entry: &&Arc<Entry>| {
            entry.target == target || entry.nodes.iter().any(|node| nodes.contains(node))
        };
        let twice = state
            .entries
            .iter()
            .find(|entry| entry.kind == kind && overlaps(entry));
        if let Some(entry) = twice {
            return Err(FaultError::Twice {
                fault,
                target,
                ongoing: entry.fault.clone(),
            });
        }
        let disturbed: BTreeSet<&String> = state.entries.iter().flat_map(|entry| &entry.nodes).collect();
        let more = nodes.iter().filter(|node| !disturbed.contains(node)).count();
        if let Some(tolerated) = state.tolerance
            && more > 0
            && disturbed.len() + more > tolerated
        {
            return Err(FaultError::TooMany {
                fault,
                target,
                tolerated,
                ongoing: state.entries.iter().map(|entry| format!("{entry:?}")).collect(),
            });
        }
        let entry = Arc::new(Entry {
            kind,
            fault,
            target,
            nodes,
            state: Mutex::default(),
        });
        state.entries.push(Arc::clone(&entry));
        drop(state);
        self.tell(&entry.target, &format!("{}: begins", entry.fault));
        Ok(entry)
    }

    /// It holds.
    pub(super) fn began(self: &Arc<Self>, entry: Arc<Entry>, ongoing: Box<dyn Ongoing>) -> Injected {
        {
            let mut life = entry.life();
            (life.ongoing, life.has_held) = (Some(ongoing), true);
        }
        self.tell(&entry.target, &format!("{}: holds", entry.fault));
        self.look(&entry);
        Injected::new(Arc::clone(self), entry)
    }

    /// It could not be done. Returns what to tell.
    pub(super) fn failed(&self, entry: Arc<Entry>, why: &str) -> String {
        self.tell(&entry.target, &format!("{}: failed: {why}", entry.fault));
        self.leave(&entry);
        format!(
            "fault `{}` could not be injected into {}",
            entry.fault, entry.target
        )
    }

    /// What shows that it bit, if it has, as of now; told when it is seen first.
    pub(super) fn look(&self, entry: &Entry) -> Option<String> {
        let (proof, is_new) = {
            let mut life = entry.life();
            let is_new = life.proof.is_none();
            if let Some(proof) = life.ongoing.as_ref().and_then(|ongoing| ongoing.proof()) {
                life.proof = Some(proof);
            }
            (life.proof.clone(), is_new)
        };
        if let Some(proof) = proof.as_ref().filter(|_| is_new) {
            self.tell(&entry.target, &format!("{}: bites: {proof}", entry.fault));
        }
        proof
    }

    /// It is no more.
    pub(super) fn leave(&self, entry: &Arc<Entry>) {
        self.state().entries.retain(|other| !Arc::ptr_eq(other, entry));
    }

    /// Ends what nobody healed, the last one first.
    async fn clean_up(&self) -> Result<(), Error> {
        let mut problems = Vec::new();
        loop {
            let Some(entry) = self.state().entries.last().cloned() else {
                break;
            };
            let is_inert = self.look(&entry).is_none() && entry.life().has_held;
            // One that nobody has now is healed by a task that goes on.
            let ended = match entry.take() {
                Some(mut ongoing) => ongoing.clean_up().await,
                None => Ok(()),
            };
            match ended {
                Ok(()) => {
                    self.tell(&entry.target, &format!("{}: ends with the case", entry.fault));
                    // A case that failed may have done so before it could bite.
                    let is_fine = self.case.upgrade().is_some_and(|case| case.is_fine());
                    problems.extend((is_inert && is_fine).then(|| entry.inert().to_string()));
                }
                Err(problem) => problems.push(format!("{entry:?} cannot be healed: {problem:#}")),
            }
            self.leave(&entry);
        }
        self.state().timeline.close();
        match &problems[..] {
            [] => Ok(()),
            problems => Err(error(problems.join("\n"))),
        }
    }
}

/// The one value of its type that a case keeps.
struct Shared(Arc<Ledger>);
