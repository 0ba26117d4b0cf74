//! A node's ports: leased when they are asked for, and where they are reached, by whom and through what.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpStream};

use super::Place;
use crate::network::Proxy;
use crate::port::{Lease, local};

/// A port of a node.
#[derive(Debug)]
pub(super) struct Port {
    lease: Lease,
    /// Only for the admin view.
    is_admin: bool,
    /// What this process reaches it through, of a node that is `#[hosts]`.
    gateway: Option<Proxy>,
}

/// Who asks for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// What users talk to.
    Client,
    /// Everything.
    Admin,
}

/// Why there is no such address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoEndpoint {
    /// Its start function asked for these ports.
    Unknown(Vec<String>),
    /// It is not for clients.
    Admin,
    /// It runs somewhere else, and `robust.toml` gives it these ports.
    External(Vec<String>),
}

impl Place {
    fn ports(&self) -> MutexGuard<'_, BTreeMap<String, Port>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The port called `name`, leased when it is asked for the first time.
    pub(crate) fn port(&self, name: &str) -> io::Result<u16> {
        self.port_for(name, View::Client)
    }

    /// The same of a port that is, if it is new, for `view` alone.
    pub(crate) fn port_for(&self, name: &str, view: View) -> io::Result<u16> {
        let mut ports = self.ports();
        if let Some(port) = ports.get(name) {
            return Ok(port.lease.port());
        }
        let port = self.lease(name, view == View::Admin)?;
        let number = port.lease.port();
        ports.insert(name.to_owned(), port);
        Ok(number)
    }

    fn lease(&self, name: &str, is_admin: bool) -> io::Result<Port> {
        let lease = Lease::new()?;
        let gateway = self.seat.as_ref().map(|seat| seat.gateway(name, lease.port()));
        Ok(Port {
            gateway: gateway.transpose()?,
            lease,
            is_admin,
        })
    }

    /// Leases ports of the same names as those of `other`, each for the same view.
    pub(crate) fn lease_like(&self, other: &Self) -> io::Result<()> {
        let mut wanted = Vec::new();
        for (name, port) in other.ports().iter() {
            wanted.push((
                name.clone(),
                if port.is_admin { View::Admin } else { View::Client },
            ));
        }
        for (name, view) in wanted {
            self.port_for(&name, view)?;
        }
        Ok(())
    }

    /// Leases another port for each that was asked for. The proxies in front of them follow.
    pub(crate) fn renew_ports(&self) -> io::Result<()> {
        let mut ports = self.ports();
        let mut renewed = BTreeMap::new();
        for (name, port) in ports.iter() {
            let fresh = self.lease(name, port.is_admin)?;
            if let Some(proxy) = self.fronts.as_ref().and_then(|fronts| fronts.get(name)) {
                proxy.set_server(local(fresh.lease.port()));
            }
            renewed.insert(name.clone(), fresh);
        }
        for gateway in ports.values().filter_map(|port| port.gateway.as_ref()) {
            gateway.retire();
        }
        *ports = renewed;
        Ok(())
    }

    /// As [`Place::port_for`], for callers who cannot go on without it.
    ///
    /// # Panics
    /// When no port of this machine is free.
    #[track_caller]
    pub(crate) fn expect_port(&self, name: &str, view: View) -> u16 {
        match self.port_for(name, view) {
            Ok(port) => port,
            Err(error) => panic!("node `{}` gets no port `{name}`: {error}", self.name),
        }
    }

    /// Where others reach the port called `name`, which is leased when it is asked for the first time.
    ///
    /// # Panics
    /// When no port of this machine is free.
    #[track_caller]
    pub(crate) fn expect_advertised(&self, name: &str) -> SocketAddr {
        let port = self.expect_port(name, View::Client);
        match &self.fronts {
            // Hosts reach one another alone, and no proxy of this process.
            Some(fronts) if self.seat.is_none() && !self.is_admin(name) => {
                fronts.expect(name, local(port)).address()
            }
            _ => self.own_address(port),
        }
    }

    fn is_admin(&self, name: &str) -> bool {
        self.ports().get(name).is_some_and(|port| port.is_admin)
    }

    /// The proxy in front of a port, of a node that is `#[proxied]`.
    ///
    /// # Panics
    /// When it is not, when it has no such port, and when no proxy can be started.
    #[track_caller]
    pub(crate) fn proxy(&self, name: &str) -> Proxy {
        let Some(fronts) = &self.fronts else {
            panic!(
                "node `{0}` is not behind proxies: write `#[proxied]` on the parameter",
                self.name
            )
        };
        fronts.expect(name, self.expect_real(name, View::Client))
    }

    /// The address of a port that was asked for before, if it is for `view`.
    fn endpoint(&self, name: &str, view: View) -> Result<SocketAddr, NoEndpoint> {
        if let Some(external) = self.external() {
            let address = external.get(name).copied();
            return address.ok_or_else(|| NoEndpoint::External(external.keys().cloned().collect()));
        }
        let ports = self.ports();
        match ports.get(name) {
            Some(port) if port.is_admin && view == View::Client => Err(NoEndpoint::Admin),
            Some(port) => Ok(local(port.lease.port())),
            None => Err(NoEndpoint::Unknown(ports.keys().cloned().collect())),
        }
    }

    /// As [`Place::endpoint`], for callers who named a port that there must be; that of its proxy where it has one and users
    /// ask.
    #[track_caller]
    pub(crate) fn expect_endpoint(&self, name: &str, view: View) -> SocketAddr {
        let real = self.expect_real(name, view);
        match &self.fronts {
            Some(fronts) if view == View::Client => fronts.expect(name, real).address(),
            _ => real,
        }
    }

    #[track_caller]
    fn expect_real(&self, name: &str, view: View) -> SocketAddr {
        let (node, kind) = (&self.name, self.kind);
        match self.endpoint(name, view) {
            Ok(address) => address,
            Err(NoEndpoint::Unknown(others)) => {
                panic!("node `{node}` ({kind}) has no port `{name}`: its start function asked for {others:?}")
            }
            Err(NoEndpoint::External(others)) => panic!(
                "node `{node}` ({kind}) has no port `{name}`: `[external.{kind}]` of robust.toml gives {others:?}"
            ),
            Err(NoEndpoint::Admin) => panic!(
                "port `{name}` of node `{node}` ({kind}) is not for clients: `Server::admin` is the view that has it"
            ),
        }
    }

    /// The names and numbers of the ports that were asked for.
    pub(crate) fn leased(&self) -> Vec<(String, u16)> {
        let ports = self.ports();
        ports
            .iter()
            .map(|(name, port)| (name.clone(), port.lease.port()))
            .collect()
    }

    /// The descriptors of this process that hold the ports.
    pub(crate) fn descriptors(&self) -> Vec<u32> {
        self.ports()
            .values()
            .map(|port| port.lease.descriptor())
            .collect()
    }

    /// Gives the ports back.
    pub(crate) fn release_ports(&self) {
        self.ports().clear();
    }

    /// Where it listens itself, at a port of its own.
    pub(crate) fn own_address(&self, port: u16) -> SocketAddr {
        match &self.seat {
            Some(seat) => seat.host().address(port),
            None => local(port),
        }
    }

    /// Connects to the node itself, whatever is in front of it.
    pub(crate) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        match &self.seat {
            Some(seat) => seat.connect(port).await,
            None => TcpStream::connect(local(port)).await,
        }
    }

    /// Listens where the node does while it runs.
    pub(crate) async fn listen(&self, port: u16) -> io::Result<TcpListener> {
        match &self.seat {
            Some(seat) => seat.listen(port),
            // tokio binds with SO_REUSEADDR: connections of the node that linger are in nobody's way.
            None => TcpListener::bind(local(port)).await,
        }
    }
}
