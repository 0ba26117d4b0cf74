//! A hostile server: in the place of a real one, or between clients and a real one.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use robust_test_harness::case::Case;
use robust_test_harness::seed::Seed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::HostileError;
use super::attack::{self, Attack};
use super::corpus::Corpus;
use super::journal::{Journal, Tape};
use super::play::{play, until_it_speaks};
use super::report::{Played, Reaction, Report};
use super::script::{Between, End, Script};
use crate::clock::{Deadline, within};
use crate::network::NetworkThread;
use crate::port::{Lease, local};

const DEADLINE: Duration = Duration::from_secs(2);
/// How long the real server may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Between tries to accept when the system has no descriptor.
const PAUSE: Duration = Duration::from_millis(10);
const READ_BYTES: usize = 64 << 10;

/// A server that attacks whoever connects to it, on a port of its own at 127.0.0.1.
///
/// In a server's place it answers each connection with mutated traffic of a server ([`HostileServer::with`]); in front of a
/// real one ([`HostileServer::in_front_of`]) it passes everything on, and mutates one message of each connection.
///
/// ```
/// # use robust_test::prelude::*;
/// # use robust_test::hostile::HostileServer;
/// # async fn connect(_: std::net::SocketAddr) -> Result { Ok(()) }
/// # async fn example(case: Case, broker: Server<Mqtt>) -> Result {
/// let hostile = HostileServer::new(&case, "broker")
///     .in_front_of(broker.endpoint("mqtt"))
///     .listen()?;
/// for _ in 0..20 {
///     // With an error or without: it ends.
///     let _ended = hostile.until_ended("connect", secs(10), connect(hostile.address())).await?;
/// }
/// hostile.finish()?;
/// # Ok(()) }
/// # struct Mqtt;
/// # impl Service for Mqtt { type Client = (); type Settings = (); }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nobody can connect to it until it listens"]
pub struct HostileServer {
    case: Case,
    name: String,
    corpus: Corpus,
    behind: Option<SocketAddr>,
    seed: Seed,
    only: Vec<Attack>,
    first: u64,
    deadline: Duration,
}

impl HostileServer {
    /// One of this name, which is for messages; what it draws depends on it and on the case's seed.
    pub fn new(case: &Case, name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            case: case.clone(),
            seed: case.seed().derive(&format!("hostile server {name}")),
            name,
            corpus: Corpus::default(),
            behind: None,
            only: Vec::new(),
            first: 0,
            deadline: DEADLINE,
        }
    }

    /// What it answers with, mutated: what was recorded downstream. Without any, there is garbage and silence alone.
    pub fn with(mut self, corpus: Corpus) -> Self {
        self.corpus = corpus;
        self
    }

    /// Stands between its clients and this server.
    pub fn in_front_of(mut self, server: SocketAddr) -> Self {
        self.behind = Some(server);
        self
    }

    /// The kinds to draw from.
    pub fn only(mut self, attacks: impl IntoIterator<Item = Attack>) -> Self {
        self.only = attacks.into_iter().collect();
        self
    }

    /// How long each attack may take; 2 s where nothing is said. Then the connection is closed.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = limit;
        self
    }

    /// Another seed than the case's.
    pub fn seed(mut self, seed: Seed) -> Self {
        self.seed = seed;
        self
    }

    /// The first connection gets this attack, as an error names it, and those after it the same kind.
    pub fn replay(mut self, attack: Attack, number: u64) -> Self {
        self.only = vec![attack];
        self.first = number;
        self
    }

    fn kinds(&self) -> Result<Vec<Attack>, HostileError> {
        let is_between = self.behind.is_some();
        let drawn: &[Attack] = if is_between {
            &Between::DRAWN
        } else {
            &Attack::DRAWN
        };
        let useless = |attack: Attack| !is_between && attack.needs_traffic() && self.corpus.is_empty();
        attack::choose(&self.only, drawn, useless).map_err(|attack| HostileError::NoTraffic {
            target: self.name.clone(),
            attack,
        })
    }

    /// Listens until the case ends or [`Hooked::finish`] is called.
    ///
    /// # Errors
    /// When there is no thread or port for it, and when a kind was named that needs traffic and there is none.
    pub fn listen(self) -> Result<Hooked, HostileError> {
        let kinds = self.kinds()?;
        let set_up = |source| HostileError::SetUp {
            target: self.name.clone(),
            source,
        };
        let thread = NetworkThread::of(&self.case).map_err(set_up)?;
        let lease = Lease::new().map_err(set_up)?;
        let address = local(lease.port());
        let listener = std::net::TcpListener::bind(address).map_err(set_up)?;
        listener.set_nonblocking(true).map_err(set_up)?;
        let listener = {
            let _context = thread.runtime().enter();
            TcpListener::from_std(listener).map_err(set_up)?
        };
        tracing::info!(name = self.name, %address, behind = ?self.behind, seed = %self.seed, "a hostile server listens");
        let journal = Journal::of(&self.case, &self.name, self.corpus.clone(), self.seed);
        let shared = Arc::new(Shared {
            kinds,
            journal,
            report: Mutex::default(),
            said: self,
        });
        let accepting = thread
            .runtime()
            .spawn(accept(listener, lease, Arc::clone(&shared)));
        Ok(Hooked {
            address,
            shared,
            accepting: accepting.abort_handle(),
        })
    }
}

struct Shared {
    said: HostileServer,
    kinds: Vec<Attack>,
    journal: Arc<Journal>,
    report: Mutex<Report>,
}

impl Shared {
    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hostile server that listens. Dropped, it goes on until the case ends.
pub struct Hooked {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooked")
            .field("name", &self.shared.said.name)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Hooked {
    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has come of it so far, by kind of attack; connections that are not over are not in it.
    pub fn report(&self) -> Report {
        self.shared.report().clone()
    }

    /// What a client's action came to, which has to end within `limit`: with an error, or without.
    ///
    /// # Errors
    /// When it does not end; it is dropped then.
    pub async fn until_ended<F: Future>(
        &self,
        what: impl Into<String>,
        limit: Duration,
        action: F,
    ) -> Result<F::Output, HostileError> {
        let hangs = |_| HostileError::Hangs {
            target: self.shared.said.name.clone(),
            what: what.into(),
            within: limit,
            attacks: self.shared.journal.tell(&self.shared.journal.note()),
        };
        within(limit, action).await.map_err(hangs)
    }

    /// Ends every connection and stops listening; what came of it.
    ///
    /// # Errors
    /// When nobody was attacked.
    pub fn finish(self) -> Result<Report, HostileError> {
        self.accepting.abort();
        let report = self.report();
        if report.attacks() == 0 {
            return Err(HostileError::NobodyCame {
                target: self.shared.said.name.clone(),
            });
        }
        tracing::info!(name = self.shared.said.name, "{report}");
        Ok(report)
    }
}

/// Takes connections until it is aborted; they end with it. It keeps the port's lease.
async fn accept(listener: TcpListener, _lease: Lease, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    for number in shared.said.first.. {
        let client = loop {
            match listener.accept().await {
                Ok((client, _)) => break client,
                // Gone before it was taken, or no descriptor is left: others come.
                Err(_) => sleep(PAUSE).await,
            }
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            match shared.said.behind {
                Some(server) => stand_between(&shared, number, client, server).await,
                None => answer(&shared, number, &client).await,
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(shared: &Shared, number: u64, client: &TcpStream) {
    let script = Script::draw(&shared.said.corpus, shared.said.seed, number, &shared.kinds);
    shared.journal.begin(number, script.attack, None);
    let deadline = Deadline::after(shared.said.deadline);
    if script.end != End::Reset {
        until_it_speaks(client).await;
    }
    let played = [play(client, &script, deadline).await];
    shared.journal.end(number, &played);
    shared.report().add(script.attack, &played);
}

async fn stand_between(shared: &Shared, number: u64, client: TcpStream, server: SocketAddr) {
    let attack = Script::draw(&Corpus::default(), shared.said.seed, number, &shared.kinds).attack;
    let tape = Tape::default();
    shared.journal.begin(number, attack, Some(tape.clone()));
    let mut link = Link {
        plan: Between::of(shared.said.seed, number, attack),
        client,
        tape,
        sent_bytes: 0,
        back_bytes: 0,
        attacked: None,
    };
    let Ok(Ok(server)) = timeout(CONNECT_WITHIN, TcpStream::connect(server)).await else {
        return shared.journal.end(number, &[]);
    };
    let reaction = link.pass(server, shared.said.deadline).await;
    let played = [Played {
        reaction,
        sent_bytes: link.sent_bytes,
        back_bytes: link.back_bytes,
        refusal: None,
    }];
    shared.journal.end(number, &played);
    // One that ended before its time was not attacked.
    if link.attacked.is_some() {
        shared.report().add(attack, &played);
    }
}

/// A connection with somebody in between.
struct Link {
    plan: Between,
    client: TcpStream,
    /// What the client was sent.
    tape: Tape,
    sent_bytes: u64,
    /// What the client said since it was attacked.
    back_bytes: u64,
    /// Until when the attack has time, once it has begun.
    attacked: Option<Deadline>,
}

impl Link {
    /// Passes bytes on until one side ends, or the attack's time is over.
    async fn pass(&mut self, mut server: TcpStream, limit: Duration) -> Reaction {
        let (mut up, mut down) = (vec![0; READ_BYTES], vec![0; READ_BYTES]);
        let mut is_silent = false;
        loop {
            let left = self.attacked.map(Deadline::left);
            let time_is_over = async {
                match left {
                    Some(left) => sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = time_is_over => return match self.back_bytes {
                    0 => Reaction::Ignored,
                    _ => Reaction::Answered,
                },
                read = self.client.read(&mut up) => match read {
                    Ok(0) => return Reaction::Closed,
                    Ok(count) => {
                        if self.attacked.is_some() {
                            self.back_bytes += count as u64;
                        }
                        let passed = timeout(limit, server.write_all(&up[..count])).await;
                        if !matches!(passed, Ok(Ok(()))) {
                            // The real one wants no more of it.
                            is_silent = true;
                        }
                    }
                    Err(_) => return Reaction::Reset,
                },
                read = server.read(&mut down), if !is_silent => {
                    let count = read.unwrap_or(0);
                    if count == 0 {
                        let _closed = self.client.shutdown().await;
                        return Reaction::Left;
                    }
                    match self.hand_down(&down[..count], limit).await {
                        Ok(None) => {}
                        Ok(Some(End::Silence)) => is_silent = true,
                        Ok(Some(End::Close)) => {
                            is_silent = true;
                            // A broken one is noticed when it is read from.
                            let _broken = self.client.shutdown().await;
                        }
                        Ok(Some(End::Reset)) => {
                            // One that is closed already answers so anyway.
                            let _closed = self.client.set_zero_linger();
                            return Reaction::Left;
                        }
                        Err(reaction) => return reaction,
                    }
                }
            }
        }
    }

    /// Sends the client what the server said, or what is made of it; how the attack goes on.
    async fn hand_down(&mut self, bytes: &[u8], limit: Duration) -> Result<Option<End>, Reaction> {
        let is_attacked = self.plan.passes == 0 && self.attacked.is_none();
        self.plan.passes = self.plan.passes.saturating_sub(1);
        let mutated = is_attacked.then(|| (self.plan.mutation)(bytes, &mut self.plan.draws));
        let bytes = mutated.as_ref().map_or(bytes, |mutated| &mutated.bytes);
        self.tape.sent(bytes);
        if is_attacked {
            self.attacked = Some(Deadline::after(limit));
        }
        match timeout(limit, self.client.write_all(bytes)).await {
            Ok(Ok(())) => self.sent_bytes += bytes.len() as u64,
            Ok(Err(_)) => return Err(Reaction::Reset),
            Err(_) => return Err(Reaction::Ignored),
        }
        Ok(self.plan.end.filter(|_| is_attacked))
    }
}
