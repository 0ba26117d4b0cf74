//! The listener of a proxy: it takes connections, opens the other half of each, and is told to go down and up.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use robust_test_harness::seed::Seed;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::entry::{Connection, FindMaker};
use super::lane::Lane;
use super::link::{self, Ended};
use super::setup::{OpenConnection, Setup, Tap};
use super::toxic::Stream;
use crate::clock::human;
use crate::down::{Down, StandIn};
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

/// Tells who made a connection, by the addresses of the client and of the proxy; `None` where that cannot be told.
pub(crate) type Origin = Arc<dyn Fn(SocketAddr, SocketAddr) -> Option<String> + Send + Sync>;

/// Makes the sockets that a proxy reaches its server by, where that is not in this process's own network.
pub(super) type MakeSocket = Arc<dyn Fn() -> io::Result<TcpSocket> + Send + Sync>;

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

    fn socket(&self) -> io::Result<TcpSocket> {
        match (&self.make_socket, self.get()) {
            (Some(make), _) => make(),
            (None, SocketAddr::V4(_)) => TcpSocket::new_v4(),
            (None, SocketAddr::V6(_)) => TcpSocket::new_v6(),
        }
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
    /// Where it listens.
    address: SocketAddr,
    /// Held as long as the port is to stay its own; `None` where somebody else holds it.
    _lease: Option<Lease>,
    target: Target,
    origin: Option<Origin>,
    seed: Seed,
    tap: Arc<Tap>,
    setup: Arc<watch::Sender<Arc<Setup>>>,
    /// The socket for the other half of the next connection.
    spare: Option<TcpSocket>,
    connections: JoinSet<()>,
    /// The number of the last connection, from 1 on.
    last: u64,
}

impl Acceptor {
    pub(super) fn new(
        (listener, address, lease): (TcpListener, SocketAddr, Option<Lease>),
        target: Target,
        origin: Option<Origin>,
        seed: Seed,
        tap: Arc<Tap>,
        setup: Arc<watch::Sender<Arc<Setup>>>,
    ) -> Self {
        Self {
            front: Front::Up(listener),
            address,
            _lease: lease,
            target,
            origin,
            seed,
            tap,
            setup,
            spare: None,
            connections: JoinSet::new(),
            last: 0,
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
                accepted = accept(&self.front, &mut self.spare, &self.target) => match accepted {
                    Ok((client, to_server)) => self.open(client, to_server),
                    Err(_) => {
                        // The next ones wait in the backlog meanwhile.
                        self.tap.starved.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(_) = self.connections.join_next() => {}
            }
        }
    }

    fn open(&mut self, client: TcpStream, to_server: TcpSocket) {
        self.last += 1;
        let connection = Connection::new(self.seed, self.last, self.find_maker(&client));
        let (server, tap, setup) = (self.target.get(), Arc::clone(&self.tap), self.setup.subscribe());
        self.connections
            .spawn(open(client, to_server, connection, server, tap, setup));
    }

    fn find_maker(&self, client: &TcpStream) -> FindMaker {
        let Some(origin) = self.origin.clone() else {
            return Box::new(|| None);
        };
        let addresses = client.peer_addr().ok().zip(client.local_addr().ok());
        Box::new(move || addresses.and_then(|(client, proxy)| origin(client, proxy)))
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
        self.front = match down {
            Some(down) => {
                let turned_away = Arc::clone(&self.tap.turned_away);
                let stand_in = StandIn::new(down, vec![self.address], TcpListener::bind, turned_away);
                Front::Down(Some(stand_in.await.map_err(|(_, error)| error)?))
            }
            None => Front::Up(TcpListener::bind(self.address).await?),
        };
        Ok(())
    }

    /// Ends those that are open, and those that only clients know of yet. Returns when they have ended.
    async fn end_connections(&mut self, how: Ended) {
        while let Some((client, to_server)) = self.accept_now() {
            self.open(client, to_server);
        }
        let tell = |ended| self.setup.send_modify(|setup| Arc::make_mut(setup).ended = ended);
        tell(Some(how));
        while self.connections.join_next().await.is_some() {}
        tell(None);
    }

    /// A connection that waits in the backlog. The system is asked itself: the runtime knows only of those that it has been
    /// told of.
    fn accept_now(&mut self) -> Option<(TcpStream, TcpSocket)> {
        let Front::Up(listener) = &self.front else {
            return None;
        };
        let to_server = take_or_make(&mut self.spare, &self.target).ok()?;
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
    target: &Target,
) -> io::Result<(TcpStream, TcpSocket)> {
    let Front::Up(listener) = front else {
        // What connects comes to something else.
        return std::future::pending().await;
    };
    // Kept over a wait that is broken off.
    *spare = Some(take_or_make(spare, target)?);
    let (client, _) = listener.accept().await?;
    Ok((client, take_or_make(spare, target)?))
}

fn take_or_make(spare: &mut Option<TcpSocket>, target: &Target) -> io::Result<TcpSocket> {
    match spare.take() {
        Some(spare) => Ok(spare),
        None => target.socket(),
    }
}

/// Opens the other half of a connection, and passes bytes between the two.
async fn open(
    client: TcpStream,
    to_server: TcpSocket,
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
    let connecting = tokio::time::timeout(CONNECT_WITHIN, to_server.connect(server));
    let connected = tokio::select! {
        connected = connecting => connected,
        _ = setup.wait_for(|setup| setup.ended.is_some()) => return link::reset(&client),
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
