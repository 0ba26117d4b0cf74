//! Where the connections of a proxy go, and the sockets for that.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use socket2::{Domain, Socket, Type};

/// Makes the sockets that a proxy reaches its server by, where that is not in this process's own network.
pub(super) type MakeSocket = Arc<dyn Fn() -> io::Result<Socket> + Send + Sync>;

/// Where a proxy's connections go; clones share it.
#[derive(Clone)]
pub(super) struct Target {
    server: Arc<Mutex<SocketAddr>>,
    make_socket: Option<MakeSocket>,
}

impl Target {
    pub(super) fn new(server: SocketAddr, make_socket: Option<MakeSocket>) -> Self {
        Self {
            server: Arc::new(Mutex::new(server)),
            make_socket,
        }
    }

    pub(super) fn get(&self) -> SocketAddr {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, server: SocketAddr) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
    }

    /// One that does not block, and sends small pieces as they come: whoever sends such means them.
    pub(super) fn socket(&self) -> io::Result<Socket> {
        let socket = match (&self.make_socket, self.get()) {
            (Some(make), _) => make(),
            (None, server) => Socket::new(Domain::for_address(server), Type::STREAM, None),
        }?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        Ok(socket)
    }
}
