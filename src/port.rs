//! Ports for nodes: leased, so that no two nodes of any suite on this machine get the same one.
//!
//! A lease is a number outside the range from which the kernel takes ports for outgoing connections (one
//! of those could sit on the port while its node is down), held by a name that only one process can have
//! and that vanishes with the process, however it dies: on Linux an abstract Unix socket
//! (`\0robust-port-N`), elsewhere a locked file. The port itself stays unbound, for the server.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd as _;

use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use crate::forks;

/// Ports below are left to services of the machine.
const LOWEST: u16 = 10_000;
/// A range with fewer ports than this is not worth drawing from.
const ENOUGH: u16 = 2_000;

/// A port that belongs to its holder until dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    port: u16,
    hold: Hold,
}

impl Lease {
    /// Leases a port that can be bound now, on every address, for TCP and UDP.
    ///
    /// # Errors
    /// When every port is leased or taken.
    pub(crate) fn new() -> io::Result<Self> {
        let range = leasable(ephemeral_range());
        let count = u32::from(range.end() - range.start()) + 1;
        // Not from the case's seed: cases in other processes draw at the same time, and a replayed case
        // must not depend on getting the same ports.
        let start = rand::random_range(0..count);
        for step in 0..count {
            let offset = (start + step) % count;
            let port = range.start() + u16::try_from(offset).expect("the range holds 16-bit numbers");
            if let Some(lease) = Self::of(port)? {
                return Ok(lease);
            }
        }
        Err(io::Error::other(format!(
            "every port from {} to {} is leased or in use",
            range.start(),
            range.end()
        )))
    }

    /// Leases this port, unless it is leased or in use.
    fn of(port: u16) -> io::Result<Option<Self>> {
        let Some(hold) = Hold::take(port)? else {
            return Ok(None);
        };
        Ok(is_free(port).then_some(Self { port, hold }))
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The descriptor of this process that it is held by.
    pub(crate) fn descriptor(&self) -> u32 {
        self.hold.0.as_raw_fd().unsigned_abs()
    }
}

/// A port of this machine, as everything here reaches it.
pub(crate) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Whether a socket without `SO_REUSEADDR` could be bound to the port: nobody listens there, and no closed
/// connection of an earlier holder lingers in TIME_WAIT, over which a server without that option stumbles.
fn is_free(port: u16) -> bool {
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let _forks = forks::hold_off();
    let can_bind = |domain, kind, address: SocketAddr| Socket::new(domain, kind, None)?.bind(&address.into());
    let without_v6 = |error| {
        matches!(
            Errno::from_io_error(&error),
            Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
        )
    };
    [Type::STREAM, Type::DGRAM].into_iter().all(|kind| {
        can_bind(Domain::IPV4, kind, v4).is_ok()
            && can_bind(Domain::IPV6, kind, v6).map_or_else(without_v6, |()| true)
    })
}

/// The range of ports the kernel gives to outgoing connections.
fn ephemeral_range() -> (u16, u16) {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| {
            let mut numbers = text.split_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        // What IANA recommends, and what macOS has.
        .unwrap_or((49_152, 65_535))
}

/// Where to draw from: below the ephemeral range, else above it, else anywhere.
fn leasable((low, high): (u16, u16)) -> RangeInclusive<u16> {
    if low >= LOWEST + ENOUGH {
        LOWEST..=low - 1
    } else if high <= u16::MAX - ENOUGH {
        high + 1..=u16::MAX
    } else {
        LOWEST..=u16::MAX
    }
}

/// The name that makes a lease exclusive.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Hold(std::os::unix::net::UnixDatagram);

#[cfg(target_os = "linux")]
impl Hold {
    fn take(port: u16) -> io::Result<Option<Self>> {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixDatagram};

        let name = SocketAddr::from_abstract_name(format!("robust-port-{port}"))?;
        match UnixDatagram::bind_addr(&name) {
            Ok(socket) => Ok(Some(Self(socket))),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The name that makes a lease exclusive.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Hold(std::fs::File);

#[cfg(not(target_os = "linux"))]
impl Hold {
    fn take(port: u16) -> io::Result<Option<Self>> {
        let path = std::env::temp_dir().join(format!("robust-port-{port}.lock"));
        let file = std::fs::File::create(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    const CHILD: &str = "port::tests::child_that_holds_leases";

    #[test]
    #[ignore = "the child of `leases_of_concurrent_processes_never_collide`"]
    fn child_that_holds_leases() {
        let leases: Vec<Lease> = (0..64).map(|_| Lease::new().unwrap()).collect();
        for lease in &leases {
            println!("\nport {}", lease.port());
        }
        println!("\nend");
        std::io::stdout().flush().unwrap();
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }

    #[test]
    fn leases_of_concurrent_processes_never_collide() {
        let mut children: Vec<_> = (0..4)
            .map(|_| {
                Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", CHILD, "--ignored", "--nocapture"])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let mut ports = BTreeSet::new();
        for child in &mut children {
            let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
            for line in lines.map(Result::unwrap).take_while(|line| line != "end") {
                if let Some(port) = line.strip_prefix("port ") {
                    assert!(ports.insert(port.parse::<u16>().unwrap()), "{port} leased twice");
                }
            }
        }
        assert_eq!(ports.len(), 4 * 64);
        let (low, high) = ephemeral_range();
        assert!(
            ports.iter().all(|port| !(low..=high).contains(port)),
            "{ports:?} and {low}..={high}"
        );
        for mut child in children {
            drop(child.stdin.take());
            assert!(child.wait().unwrap().success());
        }
    }

    #[test]
    fn a_lease_ends_with_its_drop_and_a_port_in_use_is_not_leased() {
        let lease = Lease::new().unwrap();
        let port = lease.port();
        assert!(Lease::of(port).unwrap().is_none());
        // The holder's server can bind it.
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        drop(lease);
        assert!(Lease::of(port).unwrap().is_none(), "it is listened on");
        drop(server);
        // A process that another test is just starting may hold the sockets until it executes.
        let deadline = crate::clock::Deadline::after(crate::secs(5));
        while Lease::of(port).unwrap().is_none() {
            assert!(!deadline.passed(), "port {port} stays taken");
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_range_stays_clear_of_outgoing_connections() {
        assert_eq!(leasable((32_768, 60_999)), 10_000..=32_767);
        assert_eq!(leasable((1_024, 60_999)), 61_000..=65_535);
        assert_eq!(leasable((1_024, 65_535)), 10_000..=65_535);
    }
}
