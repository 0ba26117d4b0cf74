//! The listener of a proxy: it takes connections, opens the other half of each, and is told to go down and up.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use robust_test_harness::seed::Seed;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::entry::Connection;
use super::lane::Lane;
use super::link::{self, Ended};
use super::setup::{Setup, Tap};
use super::toxic::Stream;
use crate::clock::human;
use crate::down::{Down, StandIn};
use crate::place::local;
use crate::port::Lease;

/// How long the server may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Between tries to accept when the system has no descriptor.
const PAUSE: Duration = Duration::from_millis(10);

/// What the handle tells the listener.
pub(super) struct Command {
    pub(super) what: What,
    /// Answered when it is so.
    pub(super) done: oneshot::Sender<io::Result<()>>,
}

/// See [`Command`].
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    /// End every connection that there is.
    End(Ended),
    /// End every connection, and let new ones come to this.
    Down(Down),
    /// Take connections.
    Up,
}

/// Where connections go, and how many there were.
pub(super) struct Gate {
    server: Mutex<SocketAddr>,
    seed: Seed,
    origin: Option<Box<Origin>>,
    last: AtomicU64,
}

/// Who made a connection, by the addresses of the client and of the proxy; `None` where that cannot be told.
pub(crate) type Origin = dyn Fn(SocketAddr, SocketAddr) -> Option<String> + Send + Sync;

impl Gate {
    pub(super) fn new(server: SocketAddr, seed: Seed, origin: Option<Box<Origin>>) -> Self {
        Self {
            server: Mutex::new(server),
            seed,
            origin,
            last: AtomicU64::new(0),
        }
    }

    pub(super) fn server(&self) -> SocketAddr {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_server(&self, server: SocketAddr) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
    }

    /// The number of the last connection, from 1 on.
    pub(super) fn last(&self) -> u64 {
        self.last.load(Ordering::SeqCst)
    }

    fn next(&self, client: &TcpStream) -> Connection {
        let number = self.last.fetch_add(1, Ordering::SeqCst) + 1;
        Connection::new(self.seed, number, self.origin(client))
    }

    fn origin(&self, client: &TcpStream) -> Option<String> {
        let origin = self.origin.as_ref()?;
        origin(client.peer_addr().ok()?, client.local_addr().ok()?)
    }
}

/// What listens on the port.
enum Front {
    Up(TcpListener),
    /// `None`: nobody listens, which is not what was asked for.
    Down(Option<StandIn>),
}

/// A proxy's listener, and its connections.
pub(super) struct Acceptor {
    front: Front,
    /// Held as long as the port is to stay its own.
    lease: Lease,
    gate: Arc<Gate>,
    tap: Tap,
    setup: Arc<watch::Sender<Arc<Setup>>>,
    /// The socket for the other half of the next connection.
    spare: Option<TcpSocket>,
    connections: JoinSet<()>,
}

impl Acceptor {
    pub(super) fn new(
        listener: TcpListener,
        lease: Lease,
        gate: Arc<Gate>,
        tap: Tap,
        setup: Arc<watch::Sender<Arc<Setup>>>,
    ) -> Self {
        Self {
            front: Front::Up(listener),
            lease,
            gate,
            tap,
            setup,
            spare: None,
            connections: JoinSet::new(),
        }
    }

    /// Serves until the runtime ends.
    pub(super) async fn serve(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            tokio::select! {
                biased;
                Some(command) = commands.recv() => {
                    let result = self.obey(command.what).await;
                    let _nobody_asks = command.done.send(result);
                }
                accepted = accept(&self.front, &mut self.spare, &self.gate) => match accepted {
                    Ok((client, to_server)) => self.open(client, to_server),
                    Err(_) => {
                        // The next ones wait in the backlog meanwhile.
                        self.tap.totals.starved.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(_) = self.connections.join_next() => {}
            }
        }
    }

    fn open(&mut self, client: TcpStream, to_server: TcpSocket) {
        let (connection, server) = (self.gate.next(&client), self.gate.server());
        let setup = self.setup.subscribe();
        self.connections.spawn(open(
            client,
            to_server,
            connection,
            server,
            self.tap.clone(),
            setup,
        ));
    }

    /// Does what it is told. When that fails nobody listens.
    async fn obey(&mut self, what: What) -> io::Result<()> {
        let down = match what {
            What::End(how) => {
                self.end_connections(how).await;
                return Ok(());
            }
            What::Up if matches!(self.front, Front::Up(_)) => return Ok(()),
            What::Up => None,
            What::Down(down) => {
                self.end_connections(Ended::Reset).await;
                Some(down)
            }
        };
        match std::mem::replace(&mut self.front, Front::Down(None)) {
            Front::Up(listener) => drop(listener),
            Front::Down(Some(stand_in)) => stand_in.release().await,
            Front::Down(None) => {}
        }
        let address = local(self.lease.port());
        self.front = match down {
            Some(down) => {
                let stand_in = StandIn::new(down, vec![address]).await;
                Front::Down(Some(stand_in.map_err(|(_, error)| error)?))
            }
            None => Front::Up(TcpListener::bind(address).await?),
        };
        Ok(())
    }

    /// Ends those that are open, and those that only clients know of yet. Returns when they have ended.
    async fn end_connections(&mut self, how: Ended) {
        while let Some((client, to_server)) = self.accept_now() {
            self.open(client, to_server);
        }
        let up_to = self.gate.last();
        self.setup
            .send_modify(|setup| Arc::make_mut(setup).end(up_to, how));
        while self.connections.join_next().await.is_some() {}
    }

    /// A connection that waits in the backlog. The system is asked itself: the runtime knows only of those that it has been
    /// told of.
    fn accept_now(&mut self) -> Option<(TcpStream, TcpSocket)> {
        let Front::Up(listener) = &self.front else {
            return None;
        };
        let to_server = match self.spare.take() {
            Some(spare) => spare,
            None => socket(self.gate.server()).ok()?,
        };
        match accept_waiting(listener).and_then(TcpStream::from_std) {
            Ok(client) => Some((client, to_server)),
            Err(_) => {
                self.spare = Some(to_server);
                None
            }
        }
    }
}

/// What waits in the backlog of a listener that does not block.
fn accept_waiting(listener: &TcpListener) -> io::Result<std::net::TcpStream> {
    #[cfg(target_os = "linux")]
    let accepted = rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC)?;
    #[cfg(not(target_os = "linux"))]
    let accepted = {
        let accepted = rustix::net::accept(listener)?;
        rustix::io::fcntl_setfd(&accepted, rustix::io::FdFlags::CLOEXEC)?;
        accepted
    };
    let accepted = std::net::TcpStream::from(accepted);
    accepted.set_nonblocking(true)?;
    Ok(accepted)
}

/// A connection, and the socket for its other half: taken first, since of connections that each lack one none would ever
/// end where descriptors are short.
async fn accept(
    front: &Front,
    spare: &mut Option<TcpSocket>,
    gate: &Gate,
) -> io::Result<(TcpStream, TcpSocket)> {
    let Front::Up(listener) = front else {
        // What connects comes to something else.
        return std::future::pending().await;
    };
    if spare.is_none() {
        *spare = Some(socket(gate.server())?);
    }
    let (client, _) = listener.accept().await?;
    match spare.take() {
        Some(to_server) => Ok((client, to_server)),
        None => Ok((client, socket(gate.server())?)),
    }
}

fn socket(server: SocketAddr) -> io::Result<TcpSocket> {
    match server {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}

/// Opens the other half of a connection, and passes bytes between the two.
async fn open(
    client: TcpStream,
    to_server: TcpSocket,
    connection: Connection,
    server: SocketAddr,
    tap: Tap,
    mut setup: watch::Receiver<Arc<Setup>>,
) {
    let _open = tap.open();
    // As in a cut cable, where not even the request for a connection gets through.
    if !stalls_are_over(&connection, &mut setup).await {
        return link::reset(&client);
    }
    let connecting = tokio::time::timeout(CONNECT_WITHIN, to_server.connect(server));
    let connected = tokio::select! {
        connected = connecting => connected,
        () = is_to_end(&connection, &mut setup) => return link::reset(&client),
    };
    let server = match connected {
        Ok(Ok(server)) => server,
        Ok(Err(error)) => return tap.refused(&client, format!("{server}: {error}")),
        Err(_) => {
            return tap.refused(
                &client,
                format!("{server}: no answer within {}", human(CONNECT_WITHIN)),
            );
        }
    };
    for socket in [&client, &server] {
        // Whoever sends small pieces means them; a socket that is closed by now has no need.
        let _closed = socket.set_nodelay(true);
    }
    link::run(client, server, connection, tap, setup).await;
}

/// Waits until nothing holds what the client sends; false when the connection is to end.
async fn stalls_are_over(connection: &Connection, setup: &mut watch::Receiver<Arc<Setup>>) -> bool {
    let mut lane = Lane::new(Stream::Upstream, connection.clone(), Instant::now());
    loop {
        let now = setup.borrow_and_update().clone();
        if now.ended(connection.number()).is_some() {
            return false;
        }
        if now.toxics().is_empty() {
            return true;
        }
        lane.refresh(now.toxics(), Instant::now());
        if !lane.is_stalled() {
            return true;
        }
        lane.holds_something();
        if setup.changed().await.is_err() {
            return false;
        }
    }
}

/// Waits until the connection is to end.
async fn is_to_end(connection: &Connection, setup: &mut watch::Receiver<Arc<Setup>>) {
    while setup.borrow_and_update().ended(connection.number()).is_none() && setup.changed().await.is_ok() {}
}
