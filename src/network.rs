//! The network between clients and servers, to be broken: TCP proxies in user space, which need no privilege.
//!
//! - [`Proxy`]: stands in front of an address and passes bytes on. [`Toxic`]: what it does to them, by toxiproxy's names.
//! - [`AddedToxic`] counts what a toxic hit ([`Hits`]): a fault that bit nothing proves nothing.
//! - [`Recording`]: what went through a proxy.
//!
//! Knows no servers, clients or clusters: addresses alone.

mod accept;
mod active;
mod entry;
mod hits;
mod lane;
mod link;
mod open;
mod proxy;
mod record;
mod setup;
mod target;
mod thread;
mod toxic;

pub(crate) use accept::Origin;
pub use hits::Hits;
pub use proxy::{AddedToxic, Proxy, ProxyError};
pub use record::{Chunk, Recording};
pub use setup::Traffic;
pub(crate) use thread::NetworkThread;
pub use toxic::{Effect, Stream, Toxic};
