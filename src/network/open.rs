//! The other half of a connection: made as soon as nothing holds what the client sends, or told why there is none.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::Socket;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::entry::Connection;
use super::lane::Lane;
use super::link;
use super::setup::{OpenConnection, Setup, Tap};
use super::toxic::Stream;
use crate::clock::human;

/// How long the server may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Opens the other half of a connection, and passes bytes between the two.
pub(super) async fn open(
    client: TcpStream,
    to_server: Socket,
    connection: Connection,
    server: SocketAddr,
    tap: Arc<Tap>,
    mut setup: watch::Receiver<Arc<Setup>>,
) {
    let _open = OpenConnection::of(&tap);
    // As in a cut cable, where not even the request for a connection gets through.
    if !stalls_are_over(&connection, &mut setup).await {
        return link::reset(&client);
    }
    let connected = tokio::select! {
        biased;
        connected = connect(to_server, server) => connected,
        _ = setup.wait_for(|setup| setup.ended.is_some()) => return link::reset(&client),
    };
    match connected {
        Ok(server) => link::run(client, server, connection, tap, setup).await,
        Err(error) => tap.refused(&client, format!("{server}: {}", why(&error))),
    }
}

/// Why there is no connection, and what to do about it where it is not for the server to take one.
fn why(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::ADDRNOTAVAIL) => format!(
            "no port is left to connect from ({error}): have fewer connections at a time, or widen the range (`sysctl \
             net.ipv4.ip_local_port_range`)"
        ),
        _ => error.to_string(),
    }
}

async fn connect(socket: Socket, server: SocketAddr) -> io::Result<TcpStream> {
    let is_there = begin(&socket, server)?;
    let stream = TcpStream::from_std(socket.into())?;
    if !is_there {
        let answered = tokio::time::timeout(CONNECT_WITHIN, stream.writable()).await;
        answered.map_err(|_| io::Error::other(format!("no answer within {}", human(CONNECT_WITHIN))))??;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
    }
    Ok(stream)
}

/// Asks for a connection. True when there is one already: a server on this machine has it in its backlog by the time the
/// request returns, though that says that it is under way; asked again it tells.
fn begin(socket: &Socket, server: SocketAddr) -> io::Result<bool> {
    let server = server.into();
    let asked = socket.connect(&server);
    let Err(Some(Errno::INPROGRESS)) = asked.as_ref().map_err(Errno::from_io_error) else {
        return asked.map(|()| true);
    };
    let asked = socket.connect(&server);
    match asked.as_ref().map_err(Errno::from_io_error) {
        Err(Some(Errno::INPROGRESS | Errno::ALREADY)) => Ok(false),
        Err(Some(Errno::ISCONN)) => Ok(true),
        _ => asked.map(|()| true),
    }
}

/// Waits until nothing holds what the client sends; false when the connection is to end.
async fn stalls_are_over(connection: &Connection, setup: &mut watch::Receiver<Arc<Setup>>) -> bool {
    let mut lane = Lane::new(Stream::Upstream, connection.clone(), Instant::now());
    loop {
        let now = setup.borrow_and_update().clone();
        if now.ended.is_some() {
            return false;
        }
        if now.toxics.is_empty() {
            return true;
        }
        lane.refresh(&now.toxics, Instant::now());
        if !lane.is_stalled() {
            return true;
        }
        lane.holds_something();
        if setup.changed().await.is_err() {
            return false;
        }
    }
}
