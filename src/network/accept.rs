//! The listener of a proxy: it takes connections, each with a socket for its other half, and is told to go down and up.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use robust_test_harness::seed::Seed;
use socket2::Socket;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

use super::entry::{Connection, FindMaker};
use super::link::Ended;
use super::open::open;
use super::setup::{Setup, Tap};
use super::target::Target;
use crate::down::{Down, StandIn};
use crate::port::Lease;

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

/// What listens on the port.
enum Front {
    Up(TcpListener),
    /// `None`: nobody listens, which is not what was asked for.
    Down(Option<StandIn>),
}

/// Tells when every connection so far has ended.
struct Running {
    /// Each connection has one of these.
    one: mpsc::Sender<Infallible>,
    /// Hears of the end of the last of them.
    ended: mpsc::Receiver<Infallible>,
}

impl Running {
    fn new() -> Self {
        let (one, ended) = mpsc::channel(1);
        Self { one, ended }
    }

    fn one(&self) -> mpsc::Sender<Infallible> {
        self.one.clone()
    }

    async fn end(&mut self) {
        let Self { one, mut ended } = std::mem::replace(self, Self::new());
        drop(one);
        ended.recv().await;
    }
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
    spare: Option<Socket>,
    running: Running,
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
            running: Running::new(),
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
                    Ok((client, to_server)) => {
                        self.open(client, to_server);
                        // The new one goes ahead of the search for the next.
                        tokio::task::yield_now().await;
                    }
                    Err(_) => {
                        // The next ones wait in the backlog meanwhile.
                        self.tap.starved.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    fn open(&mut self, client: TcpStream, to_server: Socket) {
        self.last += 1;
        let connection = Connection::new(self.seed, self.last, self.find_maker(&client));
        let (server, tap, setup) = (self.target.get(), Arc::clone(&self.tap), self.setup.subscribe());
        let running = self.running.one();
        tokio::spawn(async move {
            open(client, to_server, connection, server, tap, setup).await;
            drop(running);
        });
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
            None => Front::Up(listen(self.address)?),
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
        self.running.end().await;
        tell(None);
    }

    /// A connection that waits in the backlog. The system is asked itself: the runtime knows only of those that it has been
    /// told of.
    fn accept_now(&mut self) -> Option<(TcpStream, Socket)> {
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

/// Listens there. Whoever sends small pieces means them: the sockets of connections inherit that from the listener's.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
    TcpListener::from_std(listener)
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
    spare: &mut Option<Socket>,
    target: &Target,
) -> io::Result<(TcpStream, Socket)> {
    let Front::Up(listener) = front else {
        // What connects comes to something else.
        return std::future::pending().await;
    };
    // Kept over a wait that is broken off.
    *spare = Some(take_or_make(spare, target)?);
    let (client, _) = listener.accept().await?;
    Ok((client, take_or_make(spare, target)?))
}

fn take_or_make(spare: &mut Option<Socket>, target: &Target) -> io::Result<Socket> {
    match spare.take() {
        Some(spare) => Ok(spare),
        None => target.socket(),
    }
}
