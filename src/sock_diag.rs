//! The kernel, asked for sockets of TCP: `sock_diag(7)`. A question takes some 50 µs; `/proc/net/tcp` takes milliseconds,
//! because the kernel goes through its table of all connections for that.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// TCP_LISTEN.
pub(crate) const LISTEN: u8 = 10;
/// SOCK_DIAG_BY_FAMILY.
const BY_FAMILY: u16 = 20;
/// NLMSG_ERROR and NLMSG_DONE.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// NLM_F_REQUEST, and NLM_F_DUMP with it.
const ONE: u16 = 0x1;
const DUMP: u16 = 0x301;
/// Of `nlmsghdr` and `inet_diag_msg`.
const HEADER_BYTES: usize = 16;
const SOCKET_BYTES: usize = 72;

/// A socket of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) state: u8,
    /// Its own address.
    pub(crate) local: SocketAddr,
    pub(crate) inode: u64,
}

/// Whether the kernel answers, in one line why not; asked once a process.
pub(crate) fn available() -> Result<(), String> {
    static AVAILABLE: OnceLock<Result<(), String>> = OnceLock::new();
    let probe = || match listeners(0) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "the kernel's table of sockets cannot be read ({error}): allow sockets of AF_NETLINK with NETLINK_SOCK_DIAG (the \
             seccomp profile of a container), and load the module `tcp_diag`"
        )),
    };
    AVAILABLE.get_or_init(probe).clone()
}

/// The listening sockets on a port, whatever their address.
pub(crate) fn listeners(port: u16) -> io::Result<Vec<Socket>> {
    let kernel = kernel()?;
    let mut found = Vec::new();
    for anywhere in [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()] {
        let anywhere = SocketAddr::new(anywhere, port);
        send(
            &kernel,
            &request(DUMP, 1 << LISTEN, anywhere, None),
            SendFlags::empty(),
        )?;
        while !hear(&kernel, &mut found)? {}
    }
    found.retain(|socket| socket.state == LISTEN && socket.local.port() == port);
    Ok(found)
}

/// The socket at the `local` end of a connection to `remote`; an error of [`io::ErrorKind::NotFound`] where there is
/// none any more.
pub(crate) fn connected(local: SocketAddr, remote: SocketAddr) -> io::Result<Socket> {
    let kernel = kernel()?;
    send(
        &kernel,
        &request(ONE, u32::MAX, local, Some(remote)),
        SendFlags::empty(),
    )?;
    let mut found = Vec::new();
    // One message is the whole answer.
    hear(&kernel, &mut found)?;
    let found = found
        .into_iter()
        .find(|socket| socket.local.port() == local.port());
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn kernel() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let protocol = Some(netlink::SOCK_DIAG);
    Ok(socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        flags,
        protocol,
    )?)
}

/// Takes one datagram of an answer; whether a list was over with it.
fn hear(kernel: &OwnedFd, found: &mut Vec<Socket>) -> io::Result<bool> {
    let mut answer = vec![0; 32 << 10];
    // The kernel has answered before `send` returned, so this never waits.
    let (length, _) = recv(kernel, &mut answer[..], RecvFlags::empty())?;
    parse_answer(&answer[..length], found)
}

/// `nlmsghdr` and `inet_diag_req_v2`.
fn request(flags: u16, states: u32, local: SocketAddr, remote: Option<SocketAddr>) -> Vec<u8> {
    /// IPPROTO_TCP.
    const TCP: u8 = 6;
    let family = match local {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let family = u8::try_from(family.as_raw()).unwrap_or_default();
    let mut bytes = Vec::new();
    bytes.extend(72_u32.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // Sequence number, the kernel's port.
    bytes.extend([0; 8]);
    bytes.extend([family, TCP, 0, 0]);
    bytes.extend(states.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.map_or(0, |remote| remote.port()).to_be_bytes());
    bytes.extend(words(local.ip()));
    bytes.extend(remote.map_or([0; 16], |remote| words(remote.ip())));
    // Any interface.
    bytes.extend([0; 4]);
    // INET_DIAG_NOCOOKIE.
    bytes.extend([0xff; 8]);
    bytes
}

/// An address as it stands there: four words, of which IPv4 has the first.
fn words(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// Takes the sockets out of one datagram; whether it was the last.
fn parse_answer(mut bytes: &[u8], found: &mut Vec<Socket>) -> io::Result<bool> {
    let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
    while bytes.len() >= HEADER_BYTES {
        let length = u32::from_ne_bytes(array(bytes, 0).ok_or_else(short)?) as usize;
        let message = bytes
            .get(HEADER_BYTES..length.max(HEADER_BYTES))
            .ok_or_else(short)?;
        match u16::from_ne_bytes(array(bytes, 4).ok_or_else(short)?) {
            DONE => return Ok(true),
            ERROR => {
                let code = i32::from_ne_bytes(array(message, 0).ok_or_else(short)?);
                return Err(io::Error::from_raw_os_error(-code));
            }
            BY_FAMILY if message.len() >= SOCKET_BYTES => found.extend(parse_socket(message)),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// What an `inet_diag_msg` says.
fn parse_socket(message: &[u8]) -> Option<Socket> {
    let address = match AddressFamily::from_raw(message[0].into()) {
        AddressFamily::INET => IpAddr::V4(Ipv4Addr::from(array(message, 8)?)),
        _ => IpAddr::V6(Ipv6Addr::from(array(message, 8)?)),
    };
    Some(Socket {
        state: message[1],
        local: SocketAddr::new(address, u16::from_be_bytes(array(message, 4)?)),
        inode: u32::from_ne_bytes(array(message, 68)?).into(),
    })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    #[test]
    fn each_end_of_a_connection_has_its_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        for (own, other) in [(&client, &server), (&server, &client)] {
            let (local, remote) = (own.local_addr().unwrap(), other.local_addr().unwrap());
            let socket = connected(local, remote).unwrap();
            let link = std::fs::read_link(format!("/proc/self/fd/{}", own.as_raw_fd())).unwrap();
            assert_eq!(link.to_str().unwrap(), format!("socket:[{}]", socket.inode));
            assert_eq!(socket.local, local);
        }
        let nowhere = connected("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        assert_eq!(nowhere.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_refusal_and_a_damaged_answer_are_errors() {
        let mut refusal = Vec::new();
        refusal.extend(20_u32.to_ne_bytes());
        refusal.extend(ERROR.to_ne_bytes());
        refusal.extend([0; 10]);
        refusal.extend((-2_i32).to_ne_bytes());
        let mut none = Vec::new();
        let error = parse_answer(&refusal, &mut none).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let error = parse_answer(&refusal[..18], &mut none).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(!parse_answer(&[], &mut none).unwrap());
    }
}
