//! A TCP proxy in front of an address: the handle, and what it is told.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use robust_test_harness::case::{Case, WeakCase};
use tokio::sync::{mpsc, oneshot, watch};

use super::accept::{self, Acceptor, Command, Origin, What};
use super::entry::Entry;
use super::hits::{Counter, Hits};
use super::link::Ended;
use super::record::Recording;
use super::setup::{Setup, Tap, Traffic};
use super::target::{MakeSocket, Target};
use super::thread::NetworkThread;
use super::toxic::Toxic;
use crate::down::Down;
use crate::port::{Lease, local};

/// A TCP proxy in front of one address, with a port of its own on 127.0.0.1, until the case ends. Clones are the same
/// proxy.
///
/// It passes bytes on as they come, both ways, half-closed connections and resets as well, until it is given [`Toxic`]s:
/// those take effect at once, also on connections that are open. It runs on a thread of its own.
///
/// What it cannot do: the system accepts connections for it before it can ask the server, so a client is connected also
/// where the server then refuses (it sees a reset).
///
/// ```
/// # use robust_test::prelude::*;
/// # async fn example(case: Case, broker: Server<Mqtt>) -> Result {
/// let proxy = Proxy::start(&case, "broker", broker.endpoint("mqtt"))?;
/// let slow = proxy.add(Toxic::latency(millis(50)).both());
/// // .. talk to the broker at proxy.address() ..
/// assert!(slow.hits().any(), "nothing went through it");
/// slow.remove();
/// # Ok(()) }
/// # struct Mqtt;
/// # impl Service for Mqtt { type Client = (); type Settings = (); }
/// ```
#[derive(Clone)]
pub struct Proxy(Arc<Inner>);

struct Inner {
    case: WeakCase,
    name: String,
    address: SocketAddr,
    setup: Arc<watch::Sender<Arc<Setup>>>,
    target: Target,
    tap: Arc<Tap>,
    commands: mpsc::UnboundedSender<Command>,
    /// The number of the toxic that is added next.
    next: AtomicU64,
    _thread: Arc<NetworkThread>,
}

/// A proxy could not be started, or not be brought back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// It gets no thread, runtime or port.
    #[error("proxy `{proxy}` cannot be started")]
    Start {
        /// Its name.
        proxy: String,
        /// What the system said.
        source: io::Error,
    },
    /// Its port cannot be listened on.
    #[error("proxy `{proxy}` cannot listen on {address}")]
    Listen {
        /// Its name.
        proxy: String,
        /// Where its clients connect.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The case is over.
    #[error("proxy `{proxy}` has ended with its case")]
    Ended {
        /// Its name.
        proxy: String,
    },
}

impl Proxy {
    /// Starts one in front of `server`. The name is for messages; what its toxics draw depends on it and on the case's
    /// seed.
    ///
    /// # Errors
    /// When there is no thread or port for it.
    pub fn start(case: &Case, name: impl Into<String>, server: SocketAddr) -> Result<Self, ProxyError> {
        Self::start_telling(case, name.into(), server, None)
    }

    /// The same where `origin` tells who made a connection.
    pub(crate) fn start_telling(
        case: &Case,
        name: String,
        server: SocketAddr,
        origin: Option<Origin>,
    ) -> Result<Self, ProxyError> {
        match Lease::new() {
            Ok(lease) => {
                let target = Target::new(server, None);
                Self::start_at(case, name, (local(lease.port()), Some(lease)), target, origin)
            }
            Err(source) => Err(ProxyError::Start { proxy: name, source }),
        }
    }

    /// The same at an address that the caller holds, where the server is reached by sockets that are made so.
    pub(crate) fn start_gateway(
        case: &Case,
        name: String,
        address: SocketAddr,
        server: SocketAddr,
        make_socket: MakeSocket,
    ) -> Result<Self, ProxyError> {
        let target = Target::new(server, Some(make_socket));
        Self::start_at(case, name, (address, None), target, None)
    }

    fn start_at(
        case: &Case,
        name: String,
        (address, lease): (SocketAddr, Option<Lease>),
        target: Target,
        origin: Option<Origin>,
    ) -> Result<Self, ProxyError> {
        let failed = |source| ProxyError::Start {
            proxy: name.clone(),
            source,
        };
        let thread = NetworkThread::of(case).map_err(failed)?;
        let setup = Arc::new(watch::Sender::new(Arc::default()));
        let (commands, orders) = mpsc::unbounded_channel();
        let tap = Arc::<Tap>::default();
        let seed = case.seed().derive(&format!("proxy {name}"));
        let listener = {
            let _context = thread.runtime().enter();
            accept::listen(address).map_err(failed)?
        };
        let acceptor = Acceptor::new(
            (listener, address, lease),
            target.clone(),
            origin,
            seed,
            Arc::clone(&tap),
            Arc::clone(&setup),
        );
        thread.runtime().spawn(acceptor.serve(orders));
        Ok(Self(Arc::new(Inner {
            case: case.downgrade(),
            name,
            address,
            setup,
            target,
            tap,
            commands,
            next: AtomicU64::new(1),
            _thread: thread,
        })))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its case; `None` when that is over.
    pub(crate) fn case(&self) -> Option<Case> {
        self.0.case.upgrade()
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// What it is in front of.
    pub fn server(&self) -> SocketAddr {
        self.0.target.get()
    }

    /// Puts it in front of another address, for connections from now on.
    pub fn set_server(&self, server: SocketAddr) {
        self.0.target.set(server);
    }

    /// Adds a toxic: from now on bytes go through it after those that were added before.
    pub fn add(&self, toxic: Toxic) -> AddedToxic {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        tracing::info!(proxy = self.name(), %toxic, "added");
        let hits = Arc::<Counter>::default();
        let entry = Arc::new(Entry {
            number,
            revision: 0,
            toxic,
            hits: Arc::clone(&hits),
        });
        self.change(|setup| setup.toxics.push(entry));
        AddedToxic {
            proxy: self.clone(),
            number,
            hits,
        }
    }

    /// The toxics that are there now, in the order in which they were added.
    pub fn toxics(&self) -> Vec<Toxic> {
        let setup = self.0.setup.borrow().clone();
        setup.toxics.iter().map(|entry| entry.toxic.clone()).collect()
    }

    /// Removes every toxic.
    pub fn clear(&self) {
        tracing::info!(proxy = self.name(), "cleared");
        self.change(|setup| setup.toxics.clear());
    }

    /// Resets every connection that is open (RST to both sides). Returns when that is done; new ones are made as before.
    ///
    /// # Errors
    /// When the case is over.
    pub async fn reset_connections(&self) -> Result<(), ProxyError> {
        tracing::info!(proxy = self.name(), "its connections are reset");
        self.tell(What::End(Ended::Reset)).await
    }

    /// The same, but closes them (FIN).
    ///
    /// # Errors
    /// When the case is over.
    pub async fn close_connections(&self) -> Result<(), ProxyError> {
        tracing::info!(proxy = self.name(), "its connections are closed");
        self.tell(What::End(Ended::Closed)).await
    }

    /// Takes it down, as a server that is down shows itself: connections that are open are reset, and new ones come to
    /// what `down` says. Returns when that is so.
    ///
    /// # Errors
    /// When its port cannot be listened on, and when the case is over.
    pub async fn down(&self, down: Down) -> Result<(), ProxyError> {
        tracing::info!(proxy = self.name(), ?down, "down");
        self.tell(What::Down(down)).await
    }

    /// Brings it back on the same port. Returns when it accepts connections. Nothing happens when it is up.
    ///
    /// # Errors
    /// As [`Proxy::down`].
    pub async fn up(&self) -> Result<(), ProxyError> {
        self.tell(What::Up).await?;
        tracing::info!(proxy = self.name(), "up");
        Ok(())
    }

    /// What went through it so far.
    pub fn traffic(&self) -> Traffic {
        self.0.tap.traffic()
    }

    /// Why the server did not take the last connection that it did not take (`refused` in [`Traffic`]).
    pub fn last_refusal(&self) -> Option<String> {
        self.0.tap.last_refusal()
    }

    /// Records what is sent from now on, at most so many bytes of all connections together; forgets what it recorded
    /// before.
    pub fn record(&self, bytes_max: usize) {
        self.0.tap.recorder.begin(bytes_max);
    }

    /// What it recorded so far, by connection.
    pub fn recordings(&self) -> Vec<Recording> {
        self.0.tap.recorder.recordings()
    }

    fn change(&self, change: impl FnOnce(&mut Setup)) {
        self.0.setup.send_modify(|setup| change(Arc::make_mut(setup)));
    }

    /// Has it listen no more, soon: nobody waits for that.
    pub(crate) fn retire(&self) {
        let (done, _nobody_asks) = oneshot::channel();
        let what = What::Down(Down::Refuse);
        // It has ended otherwise.
        let _sent = self.0.commands.send(Command { what, done });
    }

    async fn tell(&self, what: What) -> Result<(), ProxyError> {
        let ended = || ProxyError::Ended {
            proxy: self.name().to_owned(),
        };
        let (done, answer) = oneshot::channel();
        self.0
            .commands
            .send(Command { what, done })
            .map_err(|_| ended())?;
        let answer = answer.await.map_err(|_| ended())?;
        answer.map_err(|source| ProxyError::Listen {
            proxy: self.name().to_owned(),
            address: self.address(),
            source,
        })
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("name", &self.name())
            .field("address", &self.address())
            .field("server", &self.server())
            .field("toxics", &self.toxics())
            .finish()
    }
}

/// A toxic on its proxy. Dropped, the toxic stays.
#[derive(Debug, Clone)]
pub struct AddedToxic {
    proxy: Proxy,
    number: u64,
    hits: Arc<Counter>,
}

impl AddedToxic {
    /// What it has done so far, also after its removal.
    pub fn hits(&self) -> Hits {
        self.hits.now()
    }

    /// Puts another toxic in its place, at once; what was counted goes on. Nothing happens when it was removed.
    pub fn change(&self, toxic: Toxic) {
        tracing::info!(proxy = self.proxy.name(), %toxic, "changed");
        self.proxy.change(|setup| {
            for entry in &mut setup.toxics {
                if entry.number == self.number {
                    *entry = Arc::new(Entry {
                        number: entry.number,
                        revision: entry.revision + 1,
                        toxic: toxic.clone(),
                        hits: Arc::clone(&entry.hits),
                    });
                }
            }
        });
    }

    /// Removes it, at once: what it held passes. Nothing happens when it was removed before.
    pub fn remove(&self) {
        let number = self.number;
        self.proxy
            .change(|setup| setup.toxics.retain(|entry| entry.number != number));
        tracing::info!(proxy = self.proxy.name(), hits = ?self.hits(), "a toxic is removed");
    }
}
