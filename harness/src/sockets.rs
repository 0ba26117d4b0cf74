//! What a socket of this process is, by its inode: its protocol, its addresses, and whether others can reach it.
//!
//! Read from the tables of `/proc/self/net`, which are those of this process's network namespace: a socket of
//! another one is not found.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A socket as people know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Socket {
    /// `TCP socket that listens on 127.0.0.1:1883`.
    pub(crate) text: String,
    /// Whether it waits for others: it listens, or is bound and connected to nobody.
    pub(crate) is_reachable: bool,
}

/// The tables, read once for many sockets.
#[derive(Debug)]
pub(crate) struct Sockets(Vec<(Table, String)>);

#[derive(Debug, Clone, Copy)]
enum Table {
    Tcp,
    Udp,
    Unix,
}

const TABLES: [(Table, &str); 5] = [
    (Table::Tcp, "tcp"),
    (Table::Tcp, "tcp6"),
    (Table::Udp, "udp"),
    (Table::Udp, "udp6"),
    (Table::Unix, "unix"),
];

impl Sockets {
    pub(crate) fn read() -> Self {
        let read = |(table, name): (Table, &str)| {
            let text = std::fs::read(format!("/proc/self/net/{name}")).ok()?;
            Some((table, String::from_utf8_lossy(&text).into_owned()))
        };
        Self(TABLES.into_iter().filter_map(read).collect())
    }

    /// The socket with this inode; `None` when no table has it.
    pub(crate) fn find(&self, inode: &str) -> Option<Socket> {
        self.0.iter().find_map(|(table, text)| {
            let rows = text.lines().skip(1);
            let mut found = rows.filter_map(|row| match table {
                Table::Tcp => internet(row, inode, "TCP"),
                Table::Udp => internet(row, inode, "UDP"),
                Table::Unix => unix(row, inode),
            });
            found.next()
        })
    }
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ..`
fn internet(row: &str, inode: &str, protocol: &str) -> Option<Socket> {
    /// `TCP_LISTEN`
    const LISTENS: &str = "0A";
    let fields: Vec<&str> = row.split_ascii_whitespace().collect();
    if fields.get(9) != Some(&inode) {
        return None;
    }
    let (local, remote) = (address(fields[1])?, address(fields[2])?);
    let is_alone = remote.port() == 0;
    let (text, is_reachable) = match (protocol, fields[3]) {
        (_, LISTENS) => (format!("{protocol} socket that listens on {local}"), true),
        ("UDP", _) if is_alone => (format!("{protocol} socket bound to {local}"), true),
        _ if is_alone => (format!("{protocol} socket bound to {local}"), false),
        _ => (format!("{protocol} connection from {local} to {remote}"), false),
    };
    Some(Socket { text, is_reachable })
}

/// `Num RefCount Protocol Flags Type St Inode Path`
fn unix(row: &str, inode: &str) -> Option<Socket> {
    /// `__SO_ACCEPTCON`
    const LISTENS: u32 = 0x1_0000;
    /// `SOCK_DGRAM`
    const DATAGRAMS: &str = "0002";
    let fields: Vec<&str> = row.split_ascii_whitespace().take(7).collect();
    let [_, _, _, flags, kind, _, number] = fields[..] else {
        return None;
    };
    if number != inode {
        return None;
    }
    // The rest of the row: a path may hold spaces. One without a file begins with `@`.
    let path = row
        .split_once(&format!(" {inode} "))
        .map_or("", |(_, path)| path.trim());
    let listens = u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & LISTENS != 0);
    let (text, is_reachable) = match (listens, path) {
        (true, _) => (format!("Unix socket that listens on {path}"), true),
        (false, "") => ("Unix socket without a name".to_owned(), false),
        (false, _) if kind == DATAGRAMS => (format!("Unix socket bound to {path}"), true),
        // What a listener accepted has the listener's path.
        (false, _) => (format!("Unix connection of {path}"), false),
    };
    Some(Socket { text, is_reachable })
}

/// The kernel prints each 32-bit word of an address in the machine's byte order, and the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address: IpAddr = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(four) => Ipv4Addr::from(four).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..]).ok()?).into(),
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    fn found(socket: &impl AsRawFd) -> Socket {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let link = link.to_str().unwrap().to_owned();
        let inode = link
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'));
        Sockets::read().find(inode.unwrap()).unwrap()
    }

    #[test]
    fn sockets_are_told_with_their_addresses_and_whether_they_can_be_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let told = |text: String, is_reachable| Socket { text, is_reachable };
        assert_eq!(
            found(&listener),
            told(format!("TCP socket that listens on {address}"), true)
        );
        let stream = TcpStream::connect(address).unwrap();
        let from = stream.local_addr().unwrap();
        assert_eq!(
            found(&stream),
            told(format!("TCP connection from {from} to {address}"), false)
        );
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let bound = udp.local_addr().unwrap();
        assert_eq!(found(&udp), told(format!("UDP socket bound to {bound}"), true));
        udp.connect(bound).unwrap();
        assert_eq!(
            found(&udp),
            told(format!("UDP connection from {bound} to {bound}"), false)
        );
        if let Ok(six) = TcpListener::bind("[::1]:0") {
            let address = six.local_addr().unwrap();
            assert_eq!(
                found(&six),
                told(format!("TCP socket that listens on {address}"), true)
            );
        }

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a socket");
        let unix = UnixListener::bind(&path).unwrap();
        let text = format!("Unix socket that listens on {}", path.display());
        assert_eq!(found(&unix), told(text, true));
        let path = folder.path().join("datagrams");
        let datagram = UnixDatagram::bind(&path).unwrap();
        let text = format!("Unix socket bound to {}", path.display());
        assert_eq!(found(&datagram), told(text, true));
        let path = folder.path().join("a socket");
        let _near = UnixStream::connect(&path).unwrap();
        let (accepted, _) = unix.accept().unwrap();
        assert_eq!(
            found(&accepted),
            told(format!("Unix connection of {}", path.display()), false)
        );
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(found(&one), told("Unix socket without a name".to_owned(), false));
    }
}
