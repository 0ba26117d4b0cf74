//! The members of a cluster, as its nodes see one another: prepared places, whose addresses can be told before
//! anything runs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::place::Place;

/// A node of a cluster, for the others.
#[derive(Debug, Clone)]
pub struct Member(Arc<Place>);

impl Member {
    /// Its name: `db-2` in the cluster `db`.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Its number in the cluster, from 1 on.
    pub fn number(&self) -> usize {
        self.0.number()
    }

    /// The port that it calls `name`, leased for it if nobody has asked for it yet; that of its proxy where the
    /// parameter is `#[proxied]`.
    ///
    /// # Panics
    /// When no port of this machine is free.
    #[track_caller]
    pub fn port(&self, name: &str) -> u16 {
        self.address(name).port()
    }

    /// Where the other members reach it: `127.0.0.1` and [`Member::port`], or the address of its own host and that port.
    ///
    /// # Panics
    /// As [`Member::port`].
    #[track_caller]
    pub fn address(&self, name: &str) -> SocketAddr {
        self.0.expect_advertised(name)
    }
}

/// All members of a cluster; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// By number.
    places: Vec<Arc<Place>>,
    /// How many it was formed with, once it was.
    formed: Option<usize>,
}

/// [`Members`] for what they hold themselves.
#[derive(Debug, Clone)]
pub(crate) struct WeakMembers(Weak<Mutex<State>>);

impl WeakMembers {
    pub(crate) fn upgrade(&self) -> Option<Members> {
        self.0.upgrade().map(Members)
    }
}

impl Members {
    pub(crate) fn downgrade(&self) -> WeakMembers {
        WeakMembers(Arc::downgrade(&self.0))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, place: Arc<Place>) {
        self.state().places.push(place);
    }

    /// Who is added from now on joins a cluster that is there.
    pub(crate) fn are_formed(&self) {
        let mut state = self.state();
        // Numbers are never used twice, so that the last one tells.
        state.formed = state.places.last().map(|place| place.number());
    }

    pub(crate) fn remove(&self, number: usize) {
        self.state().places.retain(|place| place.number() != number);
    }

    pub(crate) fn joined_later(&self, number: usize) -> bool {
        self.state().formed.is_some_and(|formed| number > formed)
    }

    pub(crate) fn places(&self) -> Vec<Arc<Place>> {
        self.state().places.clone()
    }

    pub(crate) fn all(&self) -> Vec<Member> {
        self.places().into_iter().map(Member).collect()
    }
}
