//! Which node of a cluster a connection comes from: the one whose process has its other end.
//!
//! All of them are at 127.0.0.1, so no address tells. The kernel names the socket at the other end, and `/proc` the
//! process that has it open. That needs Linux, and nodes that are processes: servers inside the case's process share one.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::listener::holder;
use crate::member::WeakMembers;
use crate::sock_diag::connected;

/// Tells where connections come from.
#[derive(Debug, Clone)]
pub(crate) struct Origins(WeakMembers);

impl Origins {
    pub(crate) fn new(members: WeakMembers) -> Self {
        Self(members)
    }

    /// The name of the node that made the connection from `client` to `proxy`; `None` where it is none of them, or where
    /// that cannot be told. A look takes some 100 µs.
    pub(crate) fn of(&self, client: SocketAddr, proxy: SocketAddr) -> Option<String> {
        let members = self.0.upgrade()?;
        let socket = connected(client, proxy).ok()?;
        let places = members.places();
        let groups = places
            .iter()
            .filter_map(|place| Some((place.name(), place.leader()?)));
        holder(&BTreeSet::from([socket.inode]), groups).map(str::to_owned)
    }
}
