//! The sockets that listen on a port of this machine.
//!
//! The kernel is asked about that port alone ([`sock_diag`](crate::sock_diag)). Where it does not answer, as in some
//! sandboxes, `/proc/net/tcp` tells.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::sock_diag::{LISTEN, listeners};

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
    let found = listeners(port)?.into_iter();
    Ok(found
        .filter(|socket| answers_loopback(socket.local.ip()))
        .map(|socket| socket.inode)
        .collect())
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
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())
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
}
