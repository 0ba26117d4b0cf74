//! Whether a broker has closed the connections that programs ended: the kernel keeps them until then, also those of a program
//! that is gone.

use std::net::SocketAddr;
use std::time::Duration;

/// Before each look: most brokers have closed within this, and a look takes milliseconds where a machine has thousands of
/// connections.
const PAUSE: Duration = Duration::from_millis(10);

/// Until the broker has closed every connection to it that was closed here; at once where it cannot be known.
pub(super) async fn closed_by(broker: SocketAddr) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let table = std::fs::read_to_string("/proc/net/tcp");
        // A broker has an address of IPv4 in this suite.
        if !table.is_ok_and(|table| is_awaited(&table, broker)) {
            return;
        }
    }
}

/// Whether such a table has a connection that was closed here and not by who is at `peer`: in state FIN_WAIT1 or FIN_WAIT2.
fn is_awaited(table: &str, peer: SocketAddr) -> bool {
    let SocketAddr::V4(peer) = peer else {
        return false;
    };
    // A word in the machine's byte order, and a number. The state follows on the other end's address alone.
    let address = u32::from_ne_bytes(peer.ip().octets());
    let [first, second] = ["04", "05"].map(|state| format!(" {address:08X}:{:04X} {state} ", peer.port()));
    table.contains(&first) || table.contains(&second)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn is_there(broker: SocketAddr) -> bool {
        is_awaited(&std::fs::read_to_string("/proc/net/tcp").unwrap(), broker)
    }

    #[tokio::test]
    async fn a_connection_is_awaited_until_both_have_closed_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let broker = listener.local_addr().unwrap();
        assert!(!is_there(broker), "nobody was there");
        let client = TcpStream::connect(broker).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert!(!is_there(broker), "it is open");
        drop(client);
        assert_eq!(server.read(&mut [0]).unwrap(), 0, "its end");
        assert!(is_there(broker), "it is not closed there");
        drop(server);
        let closed = tokio::time::timeout(Duration::from_secs(10), closed_by(broker)).await;
        closed.expect("both have closed it");
    }
}
