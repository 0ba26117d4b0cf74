//! What a node's ports do while it is down.
//!
//! A port where nobody listens refuses connections at once, which is the kindest way to be down. A crashed machine
//! behind a load balancer, or one that lost its network, shows clients something else: connections that are closed
//! as soon as they are made, or that nobody ever answers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::{JoinHandle, JoinSet};

/// Between tries to accept when the system refuses.
const PAUSE: Duration = Duration::from_millis(10);

/// What connections to the ports of a node come to while it is down, for [`crate::server::Server::while_down`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// Refused: nobody listens. What happens when nothing else is said.
    Refuse,
    /// Made, and closed at once.
    AcceptThenClose,
    /// Made, and never answered: what is sent is read and dropped.
    BlackHole,
}

/// Listens in the place of a node until dropped or released.
#[derive(Debug)]
pub(crate) struct StandIn {
    /// Its end tells the listeners to end.
    running: broadcast::Sender<()>,
    listeners: Vec<JoinHandle<()>>,
}

impl StandIn {
    /// Listens at all `addresses`, as `bind` does, and counts the connections that it accepts.
    ///
    /// # Errors
    /// With the address that cannot be listened at.
    pub(crate) async fn new<F>(
        down: Down,
        addresses: Vec<SocketAddr>,
        bind: impl Fn(SocketAddr) -> F,
        turned_away: Arc<AtomicU64>,
    ) -> Result<Self, (SocketAddr, io::Error)>
    where
        F: Future<Output = io::Result<TcpListener>>,
    {
        let (running, _) = broadcast::channel(1);
        let mut stand_in = Self {
            running,
            listeners: Vec::new(),
        };
        if down != Down::Refuse {
            for address in addresses {
                let listener = bind(address).await.map_err(|error| (address, error))?;
                let answering = answer(
                    listener,
                    down,
                    Arc::clone(&turned_away),
                    stand_in.running.subscribe(),
                );
                stand_in.listeners.push(tokio::spawn(answering));
            }
        }
        Ok(stand_in)
    }

    /// Closes the listeners and every connection. When it returns the ports are free.
    pub(crate) async fn release(self) {
        drop(self.running);
        for listener in self.listeners {
            // A panic in it would be told by the runtime; its sockets are closed either way.
            let _ended = listener.await;
        }
    }
}

async fn answer(
    listener: TcpListener,
    down: Down,
    turned_away: Arc<AtomicU64>,
    mut running: broadcast::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = running.recv() => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((connection, _)) = accepted else {
            // Out of descriptors, for example: connections wait in the backlog meanwhile.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        turned_away.fetch_add(1, Ordering::Relaxed);
        match down {
            Down::BlackHole => drop(connections.spawn(swallow(connection))),
            Down::AcceptThenClose | Down::Refuse => drop(connections.spawn(close(connection))),
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Ends a connection as a server does that closes it, but leaves no TIME_WAIT, over which a server that binds
/// without SO_REUSEADDR would stumble.
async fn close(mut connection: TcpStream) {
    let _gone = connection.shutdown().await;
    let _gone = connection.set_zero_linger();
}

async fn swallow(mut connection: TcpStream) {
    let _gone = connection.set_zero_linger();
    let mut buffer = [0; 4096];
    while let Ok(1..) = connection.read(&mut buffer).await {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const SEEN_WITHIN: Duration = Duration::from_secs(5);

    async fn free_port() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    #[tokio::test]
    async fn connections_are_refused_closed_or_swallowed_and_the_port_is_free_afterwards() {
        for down in [Down::Refuse, Down::AcceptThenClose, Down::BlackHole] {
            let port = free_port().await;
            let stand_in = StandIn::new(down, vec![port], TcpListener::bind, Arc::default());
            let stand_in = stand_in.await.unwrap();
            let connected = TcpStream::connect(port).await;
            let held = match (down, connected) {
                (Down::Refuse, connected) => {
                    assert_eq!(connected.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
                    None
                }
                // It may be closed before the client has looked.
                (Down::AcceptThenClose, Err(error)) => {
                    let kinds = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
                    assert!(kinds.contains(&error.kind()), "{error}");
                    None
                }
                (Down::AcceptThenClose, Ok(mut connection)) => {
                    let read = timeout(SEEN_WITHIN, connection.read(&mut [0; 8])).await.unwrap();
                    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
                    None
                }
                (Down::BlackHole, connected) => {
                    let mut connection = connected.unwrap();
                    connection.write_all(b"are you there?").await.unwrap();
                    let read = timeout(Duration::from_millis(50), connection.read(&mut [0; 8])).await;
                    assert!(read.is_err(), "{read:?}");
                    Some(connection)
                }
            };
            stand_in.release().await;
            // As a server without SO_REUSEADDR does.
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(port).unwrap();
            drop(held);
        }
    }
}
