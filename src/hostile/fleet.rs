//! The attackers of one target: attacks one after another, over no more connections at a time than they may have.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Hostile;
use super::attack::Attack;
use super::journal::Journal;
use super::play::play;
use super::report::{Played, Reaction, Report};
use super::script::Script;
use crate::clock::{Deadline, human};

/// Under way until this is dropped.
pub(super) struct Fleet {
    running: JoinSet<()>,
    report: Arc<Mutex<Report>>,
}

/// What all attackers share.
struct Attackers {
    address: SocketAddr,
    deadline: Duration,
    connections: u32,
    free: Arc<Semaphore>,
    journal: Arc<Journal>,
    report: Arc<Mutex<Report>>,
}

impl Fleet {
    /// Begins to attack, on this runtime, as it is said.
    pub(super) fn start(said: &Hostile, kinds: Vec<Attack>, journal: Arc<Journal>, runtime: &Handle) -> Self {
        let report = Arc::<Mutex<Report>>::default();
        // More are not needed by any attack, nor can a permit be for more.
        let connections = u32::try_from(said.connections).unwrap_or(u32::MAX).min(1 << 16);
        let attackers = Arc::new(Attackers {
            address: said.address,
            deadline: said.deadline,
            connections,
            free: Arc::new(Semaphore::new(connections as usize)),
            journal,
            report: Arc::clone(&report),
        });
        let (corpus, seed, numbers) = (said.corpus.clone(), said.seed, said.numbers.clone());
        let until = Deadline::after(said.for_at_most);
        let mut running = JoinSet::new();
        running.spawn_on(
            async move {
                let mut attacks = JoinSet::new();
                for number in numbers {
                    let script = Script::draw(&corpus, seed, number, &kinds);
                    let wanted = script.connections.min(attackers.connections);
                    let free = Arc::clone(&attackers.free).acquire_many_owned(wanted);
                    // It is never closed.
                    let Ok(permit) = free.await else { break };
                    if until.passed() {
                        break;
                    }
                    let attackers = Arc::clone(&attackers);
                    attacks.spawn(async move {
                        attackers.attack(script, wanted).await;
                        drop(permit);
                    });
                    // Those that are over need no room.
                    while attacks.try_join_next().is_some() {}
                }
                attacks.join_all().await;
            },
            runtime,
        );
        Self { running, report }
    }

    /// Ends when all attacks have.
    pub(super) async fn ended(&mut self) {
        // A panic in it is told by the hook.
        while self.running.join_next().await.is_some() {}
    }

    /// What has come of them so far.
    pub(super) fn report(&self) -> Report {
        lock(&self.report).clone()
    }
}

impl Attackers {
    async fn attack(&self, script: Script, connections: u32) {
        self.journal.begin(script.number, script.attack, None);
        let deadline = Deadline::after(self.deadline);
        let played = join_all((0..connections).map(|_| self.connection(&script, deadline))).await;
        self.journal.end(script.number, &played);
        lock(&self.report).add(script.attack, &played);
    }

    async fn connection(&self, script: &Script, deadline: Deadline) -> Played {
        let why = match timeout(deadline.left(), TcpStream::connect(self.address)).await {
            Ok(Ok(socket)) => return play(&socket, script, deadline).await,
            Ok(Err(error)) => format!("no connection to {}: {error}", self.address),
            Err(_) => format!(
                "no connection to {} within {}",
                self.address,
                human(self.deadline)
            ),
        };
        Played {
            reaction: Reaction::Refused,
            sent_bytes: 0,
            back_bytes: 0,
            refusal: Some(why),
        }
    }
}

fn lock(report: &Mutex<Report>) -> MutexGuard<'_, Report> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}
