//! Hosts of their own, and a network between them, to be broken: real partitions, loss and delay, packet by packet.
//!
//! - [`Net`]: hosts and the switch that joins them. [`Host`]: an address, and what runs there.
//! - [`Impairment`]: what happens to packets in some directions. [`AddedImpairment`] counts what it hit ([`Hits`]), and a net what went
//!   each way ([`Traffic`]).
//!
//! A host is a network namespace without a name, with one TUN device; the switch is a thread of this process that reads packets
//! from each device and writes them to that of the host they are for. No firewall, bridge or queueing discipline of the
//! kernel is used, so nothing has to be undone: all of it is there by descriptors of this process, and goes with them,
//! however the process ends. It needs Linux, `/dev/net/tun`, and the right to make a network namespace or a user namespace.
//!
//! Packets are IPv4. Their checksums are those that the sending kernel computed. What a receiving kernel cannot take is
//! counted as refused; what a host sends while 8,192 of its packets wait for the switch, its kernel loses, as on any device that
//! is too slow.
//!
//! Knows no servers, clients or clusters: addresses, sockets and commands alone.

mod added;
mod available;
mod device;
mod direction;
mod error;
mod fork;
mod impairment;
mod namespace;
mod net;
mod packet;
mod state;
#[cfg(test)]
mod state_tests;
mod switch;

pub use added::AddedImpairment;
pub use available::Unavailable;
pub use direction::Traffic;
pub use error::{HostError, ImpairmentError};
pub use impairment::{Effect, Hits, Impairment};
pub use net::{Host, NAMESPACES, Net};
pub use packet::Checksum;

/// How many hosts a net can have: one for each address of its network but the first and the last.
pub(crate) const HOSTS_MAX: usize = 254;
