//! A fault that was added to a net.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::error::ImpairmentError;
use super::impairment::{HitCounter, Hits};
use super::net::{Inner, Net};
use crate::clock::found_within;

/// A fault on its net, until it is healed; with the case at the latest.
#[must_use = "it goes on until it is healed"]
pub struct AddedImpairment {
    net: Weak<Inner>,
    net_name: String,
    number: u64,
    hits: Arc<HitCounter>,
    text: String,
}

impl AddedImpairment {
    pub(super) fn new(net: &Net, number: u64, hits: Arc<HitCounter>, text: String) -> Self {
        Self {
            net: Arc::downgrade(&net.0),
            net_name: net.name().to_owned(),
            number,
            hits,
            text,
        }
    }

    /// What it has done so far, in all its directions.
    pub fn hits(&self) -> Hits {
        self.hits.now()
    }

    /// Waits until it has done something.
    ///
    /// # Errors
    /// When it has not within `limit`.
    pub async fn until_it_bites(&self, limit: Duration) -> Result<(), ImpairmentError> {
        let bitten = found_within(limit, || self.hits().any().then_some(())).await;
        bitten.map_err(|_| self.inert(Some(limit)))
    }

    /// Takes it away, at once: what it delayed or held arrives now, and what it lost stays lost.
    ///
    /// # Errors
    /// When it has done nothing. It is gone then too.
    pub fn heal(self) -> Result<Hits, ImpairmentError> {
        self.remove();
        let hits = self.hits();
        tracing::info!(net = self.net_name, fault = self.text, ?hits, "healed");
        if hits.any() {
            Ok(hits)
        } else {
            Err(self.inert(None))
        }
    }

    /// The same, whatever it has done.
    pub(crate) fn remove(&self) {
        if let Some(net) = self.net.upgrade() {
            net.switch.change(|state| state.remove_fault(self.number));
        }
    }

    fn inert(&self, limit: Option<Duration>) -> ImpairmentError {
        ImpairmentError::Inert {
            net: self.net_name.clone(),
            fault: self.text.clone(),
            limit,
        }
    }
}

impl fmt::Debug for AddedImpairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddedImpairment")
            .field("net", &self.net_name)
            .field("fault", &self.text)
            .field("hits", &self.hits())
            .finish()
    }
}
