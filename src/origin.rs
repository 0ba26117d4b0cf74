//! Which node of a cluster a connection comes from: the one whose process has its other end.
//!
//! All of them are at 127.0.0.1, so no address tells. The kernel names the socket at the other end, and `/proc` the
//! process that has it open. That needs Linux, and nodes that are processes: servers inside the case's process share one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::listener::holder;
use crate::member::{Members, WeakMembers};
use crate::network::Origin;
use crate::sock_diag::connected;

/// Tells the name of the node that made a connection, if it is one of `members`.
pub(crate) fn among(members: &Members) -> Origin {
    let members = members.downgrade();
    Arc::new(move |client, proxy| find(&members, client, proxy))
}

fn find(members: &WeakMembers, client: SocketAddr, proxy: SocketAddr) -> Option<String> {
    let members = members.upgrade()?;
    let socket = connected(client, proxy).ok()?;
    let places = members.places();
    let groups = places
        .iter()
        .filter_map(|place| Some((place.name(), place.leader()?)));
    holder(&BTreeSet::from([socket.inode]), groups).map(str::to_owned)
}
