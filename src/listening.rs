//! The sockets that listen on a port of this machine.
//!
//! The kernel is asked about that port alone (`sock_diag(7)`), which takes some 50 µs. Where it does not answer, as in some
//! sandboxes, `/proc/net/tcp` tells; that takes milliseconds, because the kernel goes through its table of all connections.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// TCP_LISTEN.
const LISTEN: u8 = 10;
/// SOCK_DIAG_BY_FAMILY.
const BY_FAMILY: u16 = 20;
/// NLMSG_ERROR and NLMSG_DONE.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// NLM_F_REQUEST and NLM_F_DUMP.
const DUMP: u16 = 0x301;
/// Of `nlmsghdr` and `inet_diag_msg`.
const HEADER_BYTES: usize = 16;
const SOCKET_BYTES: usize = 72;

/// The inodes of the sockets that listen on `port` and answer `127.0.0.1`; none where nothing can be told.
pub(crate) fn inodes(port: u16) -> BTreeSet<u64> {
    ask(port).unwrap_or_else(|_| {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
        let tables = tables
            .into_iter()
            .filter_map(|path| std::fs::read_to_string(path).ok());
        tables.flat_map(|table| parse_table(&table, port)).collect()
    })
}

fn ask(port: u16) -> io::Result<BTreeSet<u64>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let kernel = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        flags,
        Some(netlink::SOCK_DIAG),
    )?;
    let mut found = BTreeSet::new();
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        send(&kernel, &request(family, port), SendFlags::empty())?;
        let mut answer = vec![0; 32 << 10];
        let mut is_over = false;
        while !is_over {
            // The kernel has answered before `send` returned, so this never waits.
            let (length, _) = recv(&kernel, &mut answer[..], RecvFlags::empty())?;
            is_over = parse_answer(&answer[..length], port, &mut found)?;
        }
    }
    Ok(found)
}

/// `nlmsghdr` and `inet_diag_req_v2`, for the listening sockets of a family on a port.
fn request(family: AddressFamily, port: u16) -> Vec<u8> {
    /// IPPROTO_TCP.
    const TCP: u8 = 6;
    let family = u8::try_from(family.as_raw()).unwrap_or_default();
    let mut bytes = Vec::new();
    bytes.extend(72_u32.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    // Sequence number, the kernel's port.
    bytes.extend([0; 8]);
    bytes.extend([family, TCP, 0, 0]);
    bytes.extend((1_u32 << LISTEN).to_ne_bytes());
    bytes.extend(port.to_be_bytes());
    // Any other side, address, interface and cookie.
    bytes.extend([0; 46]);
    bytes
}

/// Takes the inodes out of one datagram; whether it was the last.
fn parse_answer(mut bytes: &[u8], port: u16, found: &mut BTreeSet<u64>) -> io::Result<bool> {
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
            BY_FAMILY if message.len() >= SOCKET_BYTES => found.extend(parse_socket(message, port)),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// The inode in an `inet_diag_msg`, if that socket is asked for.
fn parse_socket(message: &[u8], port: u16) -> Option<u64> {
    let address = match AddressFamily::from_raw(message[0].into()) {
        AddressFamily::INET => IpAddr::V4(Ipv4Addr::from(array(message, 8)?)),
        _ => IpAddr::V6(Ipv6Addr::from(array(message, 8)?)),
    };
    let is_asked_for =
        message[1] == LISTEN && u16::from_be_bytes(array(message, 4)?) == port && answers_loopback(address);
    is_asked_for.then_some(u32::from_ne_bytes(array(message, 68)?).into())
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn parse_table(table: &str, port: u16) -> Vec<u64> {
    let port = format!("{port:04X}");
    let lines = table.lines().skip(1).filter_map(|line| {
        // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ..
        let mut fields = line.split_ascii_whitespace();
        let (address, local_port) = fields.nth(1)?.split_once(':')?;
        let state = u8::from_str_radix(fields.nth(1)?, 16).ok()?;
        let inode = fields.nth(5)?.parse().ok()?;
        let is_asked_for = state == LISTEN && local_port == port && answers_loopback(parse_address(address)?);
        is_asked_for.then_some(inode)
    });
    lines.collect()
}

/// An address as `/proc/net/tcp` has it: each 32-bit word in the machine's byte order.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| -> Option<[u8; 4]> {
        let digits = text.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        _ => {
            let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Some(Ipv6Addr::from(array(&bytes, 0)?).into())
        }
    }
}

/// Whether a socket bound to this address answers 127.0.0.1.
fn answers_loopback(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_unspecified() || address == Ipv4Addr::LOCALHOST
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    #[test]
    fn only_listeners_that_answer_loopback_count() {
        let table =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 x
   1: 00000000:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 x
   2: 0100007F:075B 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 13 1 x
   3: 0100007F:075C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 14 1 x
   4: 0500000A:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 15 1 x
   5: 0000000000000000FFFF00000100007F:075B 0:0 0A 00000000:00000000 00:00000000 00000000 0 0 16 1 x
   6: 00000000000000000000000001000000:075B 0:0 0A 00000000:00000000 00:00000000 00000000 0 0 17 1 x
   7: 00000000000000000000000000000000:075B 0:0 0A 00000000:00000000 00:00000000 00000000 0 0 18 1 x
";
        assert_eq!(parse_table(table, 1883), [11, 12, 16, 18], "17 is ::1");
    }

    #[test]
    fn the_kernel_and_its_table_say_the_same_and_connections_do_not_count() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            let _accepted_later = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            let link = std::fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
            let asked = ask(port).unwrap();
            let tables =
                ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap());
            let read: BTreeSet<u64> = tables.iter().flat_map(|table| parse_table(table, port)).collect();
            assert_eq!(asked, read);
            let links: Vec<String> = asked.iter().map(|inode| format!("socket:[{inode}]")).collect();
            assert_eq!(links, [link.to_str().unwrap()]);
            drop(listener);
            assert!(ask(port).unwrap().is_empty());
        }
        let elsewhere = TcpListener::bind("127.0.0.2:0").unwrap();
        assert!(ask(elsewhere.local_addr().unwrap().port()).unwrap().is_empty());
    }

    #[test]
    fn a_refusal_and_a_damaged_answer_are_errors() {
        let mut refusal = Vec::new();
        refusal.extend(20_u32.to_ne_bytes());
        refusal.extend(ERROR.to_ne_bytes());
        refusal.extend([0; 10]);
        refusal.extend((-2_i32).to_ne_bytes());
        let mut none = BTreeSet::new();
        let error = parse_answer(&refusal, 1, &mut none).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let error = parse_answer(&refusal[..18], 1, &mut none).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(!parse_answer(&[], 1, &mut none).unwrap());
    }
}
