//! A net of hosts, and the handles on it.

use std::collections::BTreeSet;
use std::ffi::c_int;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use robust_test_harness::case::{Case, WeakCase};
use robust_test_harness::error::Error;
use robust_test_harness::mechanism::Mechanism;
use robust_test_harness::param::{Build, Environment, Param, Shape};
use robust_test_harness::registry::Site;
use rustix::net::SocketType;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use super::added::AddedImpairment;
use super::available::{Unavailable, available};
use super::direction::Traffic;
use super::error::{HostError, ImpairmentError};
use super::impairment::{Impairment, Ways};
use super::namespace::{Namespace, Privilege};
use super::state::State;
use super::switch::Switch;
use crate::cluster::Partition;

/// Packets of 64 KiB: what costs is a packet, and not its bytes.
const MTU: u16 = 65_520;
/// What IPv4 asks of every network.
const MTU_MIN: u16 = 576;
const BACKLOG: u32 = 1024;

/// Hosts with an address each, and a switch between them that can fail; until the case ends, or the last handle on it and its
/// hosts is dropped. Clones are the same net.
///
/// ```
/// # use robust_test::prelude::*;
/// use robust_test::hosts::{Impairment, Net};
/// # async fn example(case: Case) -> Result {
/// let net = Net::new(&case, "net")?;
/// let (a, b) = (net.host("a")?, net.host("b")?);
/// let mut server = std::process::Command::new("redis-server");
/// server.args(["--bind", &a.ip().to_string()]);
/// a.enter(&mut server)?;
/// // .. start it ..
/// let client = b.connect(a.address(6379)).await?;
/// let cut = net.add(Impairment::cut().from(&a).to(&b))?;
/// // .. ask: nothing is answered ..
/// cut.heal()?;
/// # drop(client);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Net(pub(super) Arc<Inner>);

pub(super) struct Inner {
    case: WeakCase,
    pub(super) name: String,
    pub(super) switch: Switch,
    privilege: Privilege,
    mtu: u16,
    /// In the order of their numbers; `None` once it has ended.
    hosts: Mutex<Option<Vec<Arc<Namespace>>>>,
}

/// A host of a [`Net`]: a network of its own with one address. Clones are the same host.
///
/// Processes are on it that were started by a command given to [`Host::enter`], and sockets that were asked of it. It reaches
/// the other hosts of its net, and itself also as 127.0.0.1, and nothing else: not this machine, nor a server of names.
/// Abstract Unix sockets are its own as well; files and processes are those of the machine.
#[derive(Clone)]
pub struct Host {
    net: Arc<Inner>,
    name: String,
    number: usize,
    ip: Ipv4Addr,
}

impl Net {
    /// Whether there can be one on this machine, which is found out by making one: the first call takes some milliseconds.
    ///
    /// # Errors
    /// When there cannot: why, and what to do.
    pub fn available() -> Result<(), Unavailable> {
        available().map(drop)
    }

    /// Makes one without hosts. The name is for messages; addresses and what its faults draw depend on it and on the case's
    /// seed. Packets are as large as 65,520 bytes.
    ///
    /// # Errors
    /// When there can be none here, and when its switch cannot be started.
    pub fn new(case: &Case, name: impl Into<String>) -> Result<Self, HostError> {
        Self::with_mtu(case, name, MTU)
    }

    /// The same with packets of at most so many bytes, headers included: 1500 are those of an Ethernet. Smaller ones cost
    /// throughput, and give faults more of them to hit.
    ///
    /// # Errors
    /// As [`Net::new`].
    ///
    /// # Panics
    /// When it is less than 576 or more than 65,520.
    #[track_caller]
    pub fn with_mtu(case: &Case, name: impl Into<String>, mtu: u16) -> Result<Self, HostError> {
        assert!(
            (MTU_MIN..=MTU).contains(&mtu),
            "packets have from {MTU_MIN} to {MTU} bytes, and not {mtu}"
        );
        let unique = case.unique_name(&format!("net {}", name.into()));
        let name = unique.strip_prefix("net ").unwrap_or(&unique).to_owned();
        let privilege = available().map_err(|source| HostError::Unavailable {
            net: name.clone(),
            source,
        })?;
        let seed = case.seed().derive(&unique);
        let [a, b, ..] = seed.0.to_le_bytes();
        let switch =
            Switch::start(&name, State::new(seed, [10, a, b])).map_err(|source| HostError::Switch {
                net: name.clone(),
                source,
            })?;
        let ending = switch.ending();
        let inner = Arc::new(Inner {
            case: case.downgrade(),
            name,
            switch,
            privilege,
            mtu,
            hosts: Mutex::new(Some(Vec::new())),
        });
        let weak = Arc::downgrade(&inner);
        case.defer(unique, move || async move {
            if let Some(inner) = weak.upgrade() {
                drop(inner.hosts().take());
            }
            ending.wait().await
        });
        Ok(Self(inner))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its case; `None` when that is over.
    pub(crate) fn case(&self) -> Option<Case> {
        self.0.case.upgrade()
    }

    /// Makes a host with the next address: the first one has 10.x.y.1. Blocks for some milliseconds.
    ///
    /// # Errors
    /// When there is one of that name, when there are 254, when the system gives no more, and when the case is over.
    pub fn host(&self, name: impl Into<String>) -> Result<Host, HostError> {
        let name = name.into();
        let net = || self.0.name.clone();
        let mut guard = self.0.hosts();
        let hosts = guard.as_mut().ok_or_else(|| HostError::Ended { net: net() })?;
        let (is_known, has_room, ip) = self.0.switch.state(|state| {
            let is_known = state.names().contains(&name);
            (is_known, state.has_room(), state.address(hosts.len() + 1))
        });
        if is_known {
            return Err(HostError::SameName {
                net: net(),
                host: name,
            });
        }
        if !has_room {
            return Err(HostError::TooMany {
                net: net(),
                host: name,
            });
        }
        let made = Namespace::make(self.0.privilege, ip, c_int::from(self.0.mtu));
        let (namespace, device) = made.map_err(|error| HostError::of_child(&self.0.name, &name, error))?;
        hosts.push(Arc::new(namespace));
        let number = self.0.switch.state(|state| state.add_host(&name));
        self.0.switch.connect(device);
        tracing::info!(net = self.name(), host = name, %ip, "made");
        Ok(Host {
            net: Arc::clone(&self.0),
            name,
            number,
            ip,
        })
    }

    /// Adds a fault: from the next packet on, those that are there come after one another as [`Effect`](super::Effect) says.
    ///
    /// # Errors
    /// When it is for hosts of another net, when it is for no two hosts, and when the case is over.
    pub fn add(&self, fault: Impairment) -> Result<AddedImpairment, ImpairmentError> {
        let net = || self.0.name.clone();
        if let Some(other) = fault.nets.iter().find(|other| **other != self.0.name) {
            return Err(ImpairmentError::OtherNet {
                net: net(),
                fault: fault.to_string(),
                other: other.clone(),
            });
        }
        let text = fault.to_string();
        if self.0.hosts().is_none() {
            return Err(ImpairmentError::Ended {
                net: net(),
                fault: text,
            });
        }
        let ways = fault.ways.clone();
        let added = self.0.switch.change(|state| {
            let count = state.names().len();
            let mut all = (1..=count).flat_map(|from| (1..=count).map(move |to| (from, to)));
            let has_way = all.any(|(from, to)| from != to && ways.have(from, to));
            has_way.then(|| state.add_fault(fault))
        });
        let Some((number, hits)) = added else {
            return Err(ImpairmentError::NoWay {
                net: net(),
                fault: text,
            });
        };
        tracing::info!(net = self.name(), fault = text, "added");
        Ok(AddedImpairment::new(self, number, hits, text))
    }

    /// Cuts hosts off from one another, by their numbers.
    ///
    /// # Errors
    /// When a number is no host's, when nothing is cut, and when the case is over.
    pub fn partition(&self, partition: Partition) -> Result<AddedImpairment, ImpairmentError> {
        let count = self.0.switch.state(|state| state.names().len());
        let numbers: Vec<usize> = (1..=count).collect();
        if let Some(number) = partition
            .named()
            .into_iter()
            .find(|number| !numbers.contains(number))
        {
            return Err(ImpairmentError::NoSuchHost {
                net: self.0.name.clone(),
                number,
                count,
            });
        }
        self.cut_off(partition.cuts(&numbers))
    }

    /// Loses what goes from one host to another, of each of these pairs, by their numbers.
    pub(crate) fn cut_off(&self, ways: BTreeSet<(usize, usize)>) -> Result<AddedImpairment, ImpairmentError> {
        self.add(Impairment {
            ways: Ways::Pairs(ways),
            ..Impairment::cut()
        })
    }

    /// The faults that there are now, in the order in which they were added.
    pub fn impairments(&self) -> Vec<Impairment> {
        self.0.switch.state(|state| state.impairments())
    }

    /// What went from one of its hosts to another so far.
    ///
    /// # Panics
    /// When they are not its hosts.
    #[track_caller]
    pub fn traffic(&self, from: &Host, to: &Host) -> Traffic {
        let are_its = [from, to].iter().all(|host| Arc::ptr_eq(&host.net, &self.0));
        assert!(
            are_its,
            "`{from:?}` and `{to:?}` are not both of net `{}`",
            self.0.name
        );
        self.0.switch.state(|state| state.traffic(from.number, to.number))
    }

    /// Packets so far for addresses that no host has.
    pub fn for_nobody(&self) -> u64 {
        self.0.switch.state(|state| state.for_nobody)
    }
}

impl Inner {
    fn hosts(&self) -> MutexGuard<'_, Option<Vec<Arc<Namespace>>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What nets are made by.
pub static NAMESPACES: Mechanism = Mechanism {
    name: "namespaces",
    privilege: "root, or user namespaces; and /dev/net/tun",
    probe: || Net::available().map_err(|why| why.to_string()),
};

/// As `net: Net`; the case is skipped with the reason where there can be none.
impl Param for Net {
    fn shape(_: &Site, _: &Environment) -> Shape {
        Shape::default()
    }

    async fn build(build: &mut Build) -> Result<Self, Error> {
        NAMESPACES.require(build.case().environment())?;
        Ok(Self::new(build.case(), build.site().name)?)
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net")
            .field("name", &self.name())
            .field("hosts", &self.0.switch.state(|state| state.names().to_vec()))
            .field("faults", &self.impairments())
            .finish()
    }
}

impl Host {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its net.
    pub fn net(&self) -> &str {
        &self.net.name
    }

    /// By the order in which they were made, from 1: what [`Net::partition`] calls it.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Its address.
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// A port at its address.
    pub fn address(&self, port: u16) -> SocketAddr {
        (self.ip, port).into()
    }

    /// Has the processes that this command starts run on it; a command of tokio's by its `as_std_mut`. They have the user's
    /// rights and no more. A command that is to run as another user cannot enter it.
    ///
    /// The host goes on while such a process does, without its net once that has ended; who starts a process ends it. A command
    /// that is started when the case is over fails.
    ///
    /// # Errors
    /// When the case is over.
    pub fn enter(&self, command: &mut Command) -> Result<(), HostError> {
        self.namespace()?.enter_with(command);
        Ok(())
    }

    /// A TCP socket of this process on the host, to be bound and to listen or connect. Asking for one takes a thread where this
    /// user is root, and some tens of microseconds; elsewhere it forks a process, which blocks for some milliseconds.
    ///
    /// # Errors
    /// When there is none to be had, and when the case is over.
    ///
    /// # Panics
    /// Outside of a tokio runtime, once it is used.
    pub fn tcp_socket(&self) -> Result<TcpSocket, HostError> {
        let socket = self.stream_socket()?;
        Ok(TcpSocket::from_std_stream(std::net::TcpStream::from(socket)))
    }

    /// The same, known to no runtime.
    pub(crate) fn stream_socket(&self) -> Result<OwnedFd, HostError> {
        self.socket(SocketType::STREAM)
    }

    /// Listens at its address, as this process; 0 is any port that is free.
    ///
    /// # Errors
    /// When it cannot, and when the case is over.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn listen(&self, port: u16) -> Result<TcpListener, HostError> {
        let address = self.address(port);
        let socket = self.tcp_socket()?;
        let listen = || {
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        listen().map_err(|source| self.failed(format!("listen on {address}"), source))
    }

    /// Connects from it, as this process.
    ///
    /// # Errors
    /// When it cannot, and when the case is over. Whether anybody answers is the system's to find out, which takes minutes
    /// where packets are lost: give it a deadline.
    pub async fn connect(&self, to: SocketAddr) -> Result<TcpStream, HostError> {
        let connected = self.tcp_socket()?.connect(to).await;
        connected.map_err(|source| self.failed(format!("connect to {to}"), source))
    }

    /// A UDP socket of this process at its address; 0 is any port that is free.
    ///
    /// # Errors
    /// When there is none to be had, and when the case is over.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn udp_socket(&self, port: u16) -> Result<UdpSocket, HostError> {
        let address = self.address(port);
        let socket = self.socket(SocketType::DGRAM)?;
        let bind = || {
            rustix::net::bind(&socket, &address)?;
            UdpSocket::from_std(std::net::UdpSocket::from(socket))
        };
        bind().map_err(|source| self.failed(format!("bind {address}"), source))
    }

    fn socket(&self, kind: SocketType) -> Result<OwnedFd, HostError> {
        let made = self.namespace()?.socket(kind);
        made.map_err(|error| HostError::of_child(&self.net.name, &self.name, error))
    }

    fn namespace(&self) -> Result<Arc<Namespace>, HostError> {
        let hosts = self.net.hosts();
        let own = hosts.as_ref().and_then(|hosts| hosts.get(self.number - 1));
        own.cloned().ok_or_else(|| HostError::Ended {
            net: self.net.name.clone(),
        })
    }

    fn failed(&self, what: String, source: std::io::Error) -> HostError {
        HostError::Socket {
            net: self.net.name.clone(),
            host: self.name.clone(),
            what,
            source,
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} ({})", self.name, self.net.name, self.ip)
    }
}
