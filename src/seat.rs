//! Where a node is that has a host of its own (`#[hosts]`), and how this process reaches it there.
//!
//! A host reaches the other hosts of its net and nothing else, this process neither. So each port of the node has a gateway: a
//! proxy on the same port of 127.0.0.1, which the node's lease keeps free, that connects from the node's own host. What
//! happens to packets between hosts does not touch it, as little as the console of a machine whose cable is pulled.

use std::fmt;
use std::io;
use std::process::Command;
use std::sync::Arc;

use robust_test_harness::case::{Case, WeakCase};
use socket2::Socket;
use tokio::net::{TcpListener, TcpStream};

use crate::hosts::{Host, HostError};
use crate::network::{Proxy, ProxyError};
use crate::port::local;

/// A node's place on its host.
pub(crate) struct Seat {
    case: WeakCase,
    host: Host,
}

impl Seat {
    pub(crate) fn new(case: &Case, host: Host) -> Self {
        Self {
            case: case.downgrade(),
            host,
        }
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Starts the gateway to a port that is leased.
    pub(crate) fn gateway(&self, name: &str, port: u16) -> io::Result<Proxy> {
        let name = format!("gateway to {} {name}", self.host.name());
        let case = self
            .case
            .upgrade()
            .ok_or_else(|| io::Error::other(ProxyError::Ended { proxy: name.clone() }))?;
        let host = self.host.clone();
        let make_socket = Arc::new(move || host.stream_socket().map(Socket::from).map_err(of_system));
        Proxy::start_gateway(&case, name, local(port), self.host.address(port), make_socket).map_err(
            |error| match error {
                ProxyError::Start { source, .. } => source,
                other => io::Error::other(other),
            },
        )
    }

    /// Has what the command starts run on the host.
    pub(crate) fn enter(&self, command: &mut Command) -> io::Result<()> {
        self.host.enter(command).map_err(of_system)
    }

    /// Connects to the node, past its gateway: it tells whether anybody listens.
    pub(crate) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let socket = self.host.tcp_socket().map_err(of_system)?;
        socket.connect(self.host.address(port)).await
    }

    /// Listens in the node's place.
    pub(crate) fn listen(&self, port: u16) -> io::Result<TcpListener> {
        self.host.listen(port).map_err(of_system)
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seat").field(&self.host).finish()
    }
}

/// What the system said, where it said something.
fn of_system(error: HostError) -> io::Error {
    match error {
        HostError::Socket { source, .. } => source,
        other => io::Error::other(other),
    }
}
