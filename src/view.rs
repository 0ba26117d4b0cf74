//! Views of a node beside the clients': what operators see, and what is inside.
//!
//! Clients talk to a server as its users do, and what they address follows the drawn variant (TLS, an
//! authenticated user). A scenario also asks what no user may: a node's own opinion of its cluster, a counter, a
//! structure in memory. Each is a trait that a service may have, so the wrong view does not compile: a connect
//! function is given a [`ClientLink`](crate::client::ClientLink), an admin function a [`NodeLink`], and a
//! service without the trait has no such view.

use std::any::Any;
use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use robust_test_harness::case::Case;
use robust_test_harness::error::Result;

use crate::clock::human;
use crate::place::{Place, View};
use crate::service::{Cause, Service};

/// A node as its operators reach it: every port, also those that are not for clients, whatever was drawn.
#[derive(Debug, Clone)]
pub struct NodeLink {
    place: Arc<Place>,
    case: Case,
}

impl NodeLink {
    pub(crate) fn new(place: Arc<Place>, case: Case) -> Self {
        Self { place, case }
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        self.place.name()
    }

    /// Its number in its cluster, from 1 on.
    pub fn number(&self) -> usize {
        self.place.number()
    }

    /// The name of its kind.
    pub fn kind(&self) -> &'static str {
        self.place.kind()
    }

    /// Where it listens: the port that its start function asked for by this name.
    ///
    /// # Panics
    /// When its start function asked for no port of that name.
    #[track_caller]
    pub fn endpoint(&self, name: &str) -> SocketAddr {
        self.place.expect_endpoint(name, View::Admin)
    }

    /// The value of one of its kind's `variants(..)` that it has.
    ///
    /// # Panics
    /// When its kind declares no such axis; the message tells those that it does.
    #[track_caller]
    pub fn variant(&self, axis: &str) -> &str {
        self.place.variant(axis)
    }

    /// The case.
    pub fn case(&self) -> &Case {
        &self.case
    }
}

/// A service whose nodes have something for operators.
///
/// ```
/// # use robust_test::prelude::*;
/// # struct Db;
/// # impl Service for Db { type Client = (); type Settings = (); }
/// struct Operator { address: std::net::SocketAddr }
///
/// impl AdminView for Db {
///     type Admin = Operator;
///
///     async fn admin(link: NodeLink) -> Result<Operator> {
///         Ok(Operator { address: link.endpoint("admin") })
///     }
/// }
///
/// # async fn example(db: Server<Db>) -> Result {
/// let operator = db.admin().await?;
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no admin view",
    note = "implement `AdminView` for it: what operators of a node can do"
)]
pub trait AdminView: Service {
    /// What operators hold.
    type Admin: Send + 'static;

    /// Connects an operator to a node.
    fn admin(link: NodeLink) -> impl Future<Output = Result<Self::Admin>> + Send;
}

/// A service of which some kinds run inside this process and can be looked into.
#[diagnostic::on_unimplemented(
    message = "what is inside of `{Self}` is not exposed",
    note = "implement `InternalsView` for it, and call `Node::expose` where it starts"
)]
pub trait InternalsView: Service {
    /// What is looked into.
    type Internals: Send + Sync + 'static;
}

/// A service whose nodes form clusters and have an opinion about it.
#[diagnostic::on_unimplemented(
    message = "the nodes of `{Self}` do not say how they see their cluster",
    note = "implement `ClusterView` for it"
)]
pub trait ClusterView: Service {
    /// The names of the members that this one sees as part of the cluster and alive, itself included; names as
    /// [`NodeLink::name`] tells them.
    fn sees(node: NodeLink) -> impl Future<Output = Result<BTreeSet<String>>> + Send;

    /// The name of the member that this one takes for the leader, if it knows one. A service without leaders
    /// says the same name on every node.
    fn leader(node: NodeLink) -> impl Future<Output = Result<Option<String>>> + Send;
}

/// A view of a node could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// Its function failed.
    #[error("no admin view of node `{node}` ({kind})")]
    Failed {
        /// The node's name.
        node: String,
        /// The name of its kind.
        kind: &'static str,
        /// What the function says.
        #[source]
        cause: Cause,
    },
    /// Its function has not returned.
    #[error("no admin view of node `{node}` ({kind}) within {}", human(*within))]
    TimedOut {
        /// The node's name.
        node: String,
        /// The name of its kind.
        kind: &'static str,
        /// How long it had.
        within: std::time::Duration,
    },
}

/// What a start function exposed, until the node stops; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Internals(Arc<Mutex<Option<Exposed>>>);

type Exposed = Arc<dyn Any + Send + Sync>;

impl Internals {
    pub(crate) fn put(&self, internals: Exposed) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(internals);
    }

    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn get<I: Send + Sync + 'static>(&self) -> Option<Arc<I>> {
        let exposed = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        exposed?.downcast().ok()
    }
}
