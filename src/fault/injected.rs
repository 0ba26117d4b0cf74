//! The guard of a fault that goes on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use robust_test_harness::error::Result;

use super::WITHIN;
use super::ledger::{Entry, Ledger};
use crate::clock::{found_within, human, within};

/// A fault was refused, hit nothing, or cannot be healed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// The same kind goes on there.
    #[error("fault `{fault}` is refused: {target} has `{ongoing}` already; heal that first")]
    Twice {
        /// What was to be injected.
        fault: String,
        /// Into what.
        target: String,
        /// What goes on.
        ongoing: String,
    },
    /// Too many nodes would have faults.
    #[error(
        "fault `{fault}` of {target} is refused: at most {tolerated} nodes may have faults at the same time \
         (`Faults::tolerate`), and there are {ongoing:?}; heal one first"
    )]
    TooMany {
        /// What was to be injected.
        fault: String,
        /// Into what.
        target: String,
        /// So many nodes may.
        tolerated: usize,
        /// What goes on.
        ongoing: Vec<String>,
    },
    /// It hit nothing, so whatever was seen meanwhile says nothing about it.
    #[error("fault `{fault}` of {target} was inert: it hit nothing while it held")]
    Inert {
        /// The fault.
        fault: String,
        /// What it was injected into.
        target: String,
    },
    /// It has not hit anything yet.
    #[error("fault `{fault}` of {target} has hit nothing within {}", human(*within))]
    NotProved {
        /// The fault.
        fault: String,
        /// What it was injected into.
        target: String,
        /// How long was waited.
        within: Duration,
    },
    /// It does not end, or what it was done to does not recover.
    #[error("fault `{fault}` of {target} was not healed within {}", human(*within))]
    NotHealed {
        /// The fault.
        fault: String,
        /// What it was injected into.
        target: String,
        /// How long was waited.
        within: Duration,
    },
    /// The case is over.
    #[error("fault `{fault}` cannot be injected into {target}: its case is over")]
    Over {
        /// What was to be injected.
        fault: String,
        /// Into what.
        target: String,
    },
}

/// A fault that holds, until it is healed; with the case at the latest.
#[must_use = "it goes on until it is healed"]
pub struct Injected {
    ledger: Arc<Ledger>,
    entry: Arc<Entry>,
}

impl fmt::Debug for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Injected").field(&self.entry).finish()
    }
}

impl Injected {
    pub(super) fn new(ledger: Arc<Ledger>, entry: Arc<Entry>) -> Self {
        Self { ledger, entry }
    }

    /// What it is, with its numbers.
    pub fn name(&self) -> &str {
        &self.entry.fault
    }

    /// What it was injected into.
    pub fn target(&self) -> &str {
        &self.entry.target
    }

    /// What shows that it bit; `None` as long as it has hit nothing.
    pub fn proof(&self) -> Option<String> {
        self.ledger.look(&self.entry)
    }

    /// Waits until it has hit something; returns what shows that.
    ///
    /// # Errors
    /// When it has not within `limit`.
    pub async fn until_proved(&self, limit: Duration) -> Result<String, FaultError> {
        let proved = found_within(limit, || self.proof()).await;
        proved.map_err(|_| FaultError::NotProved {
            fault: self.entry.fault.clone(),
            target: self.entry.target.clone(),
            within: limit,
        })
    }

    /// Undoes it. Returns when its target is as before, what showed that it bit.
    ///
    /// # Errors
    /// When it cannot be undone within 30 s, which is tried again at the end of the case; when it was
    /// [inert](FaultError::Inert), after it was undone.
    pub async fn heal(self) -> Result<String> {
        let (fault, target) = (&self.entry.fault, &self.entry.target);
        // What it hit is counted before it goes, and what it hit on its way out afterwards.
        self.ledger.look(&self.entry);
        self.ledger.tell(target, &format!("{fault}: is healed"));
        if let Some(mut ongoing) = self.entry.take() {
            let healed = match within(WITHIN, ongoing.heal()).await {
                Ok(healed) => healed,
                Err(_) => Err(FaultError::NotHealed {
                    fault: fault.clone(),
                    target: target.clone(),
                    within: WITHIN,
                }
                .into()),
            };
            self.entry.put_back(ongoing);
            if let Err(problem) = healed {
                self.ledger
                    .tell(target, &format!("{fault}: cannot be healed: {problem:#}"));
                return Err(problem.context(format!("fault `{fault}` of {target} cannot be healed")));
            }
        }
        let proof = self.ledger.look(&self.entry);
        drop(self.entry.take());
        self.ledger.leave(&self.entry);
        match proof {
            Some(proof) => {
                self.ledger.tell(target, &format!("{fault}: is over: {proof}"));
                Ok(proof)
            }
            None => {
                self.ledger.tell(target, &format!("{fault}: was inert"));
                Err(self.entry.inert().into())
            }
        }
    }
}
