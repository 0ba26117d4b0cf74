//! Hostile peers: who sends a server or a client what it never should get, by seed, while the others' work goes on.
//!
//! They start from traffic ([`Corpus`]: what a proxy recorded, or bytes given by hand) and know no protocol. An [`Attack`] is
//! drawn or named; what it does ([`Script`]) is a pure function of the traffic, the seed and the attack's number, so that one
//! alone can be made again.
//! - [`Hostile`] attacks whatever listens at an address.
//! - [`HostileServer`] attacks whoever connects to it: in a server's place, or between a client and its server.
//! - [`Watch`], [`Health`]: what must not come of it. A target that ends, no longer answers, or keeps memory or descriptors
//!   is an error that names the attacks at that time; their bytes are then among the case's artifacts.
//!
//! Attackers run on the thread of the case's proxies. Attacks that reach nobody prove nothing: that is an error too.
//!
//! ```
//! # use robust_test::prelude::*;
//! # use robust_test::hostile::{Corpus, Hostile, Watch};
//! # use robust_test::network::Stream;
//! # struct Kv;
//! # trait KvClient: Send + Sync { fn ping(&self) -> BoxFuture<'_, Result>; }
//! # impl Service for Kv { type Client = dyn KvClient; type Settings = (); }
//! # async fn ping(_: std::net::SocketAddr) -> Result { Ok(()) }
//! #[robust_test(timeout = "60s")]
//! async fn hostile_peers_harm_nobody(case: Case, db: Server<Kv>, #[proxied] client: Client<Kv>) -> Result {
//!     let proxy = Client::proxy(&client, "kv");
//!     proxy.record(1 << 20);
//!     client.ping().await?; // .. and what else clients say; it is recorded as they say it
//!     let address = db.endpoint("kv");
//!     let report = Hostile::against(&case, "db", address)
//!         .with(Corpus::recorded(&proxy.recordings(), Stream::Upstream))
//!         .watching(Watch::of(&db).answers(move || ping(address)))
//!         .attacks(200)
//!         .run()
//!         .await?;
//!     assert_eq!(report.attacks(), 200);
//!     Ok(())
//! }
//! ```

mod attack;
mod corpus;
mod fleet;
mod health;
mod journal;
mod mutate;
mod play;
mod report;
mod script;
mod server;
mod usage;

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use robust_test_harness::case::Case;
use robust_test_harness::seed::Seed;

use crate::clock::{human, within};
use crate::network::NetworkThread;

pub use attack::{Attack, UnknownAttack};
pub use corpus::Corpus;
pub use health::{Growth, Health, HealthError, Watch};
pub use report::{Reaction, Report, Tally};
pub use script::Script;
pub use server::{Hooked, HostileServer};
pub use usage::Usage;

use fleet::Fleet;
use journal::{Journal, Note};

const ATTACKS: u64 = 100;
const CONNECTIONS: usize = 16;
const DEADLINE: Duration = Duration::from_millis(500);
const FOR_AT_MOST: Duration = Duration::from_secs(30);
/// Between two looks at the target.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// What hostile peers could not do, or what they did.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostileError {
    /// They get no thread or port.
    #[error("hostile peers of `{target}` cannot be set up")]
    SetUp {
        /// The target's name.
        target: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The attack changes traffic, and there is none.
    #[error(
        "attack `{attack}` on `{target}` needs traffic to start from: give it a `Corpus` that is not empty, by `with`"
    )]
    NoTraffic {
        /// The target's name.
        target: String,
        /// The kind that was named.
        attack: Attack,
    },
    /// The target was not well before anything was done to it.
    #[error("`{target}` was not well before the first attack")]
    Unwell {
        /// The target's name.
        target: String,
        /// What is wrong with it.
        source: HealthError,
    },
    /// The target took harm.
    #[error("hostile peers harmed `{target}`: {source}\n{attacks}")]
    Harmed {
        /// The target's name.
        target: String,
        /// What is wrong with it.
        source: HealthError,
        /// The attacks at that time, how one is made again, and where their bytes are; several lines.
        attacks: String,
    },
    /// The client did not end in time.
    #[error("the client of `{target}` had not ended after {} of hostile answers: {what}\n{attacks}", human(*.within))]
    Hangs {
        /// The hostile server's name.
        target: String,
        /// What it was to do.
        what: String,
        /// How long it had.
        within: Duration,
        /// As in [`HostileError::Harmed`].
        attacks: String,
    },
    /// Nothing of what was to harm the target reached it.
    #[error("no attack of the kind `{attack}` reached `{target}`, so that it proves nothing: {why}")]
    Inert {
        /// The target's name.
        target: String,
        /// The kind.
        attack: Attack,
        /// Why the last one did not.
        why: String,
    },
    /// Nobody came to a hostile server.
    #[error(
        "no client came to the hostile server `{target}`, or none stayed until it was attacked, so that it proves nothing"
    )]
    NobodyCame {
        /// Its name.
        target: String,
    },
}

/// Peers that attack whatever listens at an address. See the [module](self).
#[derive(Debug, Clone)]
#[must_use = "nothing is attacked until it is run"]
pub struct Hostile {
    case: Case,
    target: String,
    address: SocketAddr,
    corpus: Corpus,
    seed: Seed,
    /// Empty: those for which there is traffic.
    only: Vec<Attack>,
    numbers: Range<u64>,
    connections: usize,
    deadline: Duration,
    for_at_most: Duration,
    watch: Option<Watch>,
}

impl Hostile {
    /// Peers of `address`. The name is for messages; what they draw depends on it and on the case's seed.
    pub fn against(case: &Case, target: impl Into<String>, address: SocketAddr) -> Self {
        let target = target.into();
        Self {
            case: case.clone(),
            seed: case.seed().derive(&format!("hostile {target}")),
            target,
            address,
            corpus: Corpus::default(),
            only: Vec::new(),
            numbers: 0..ATTACKS,
            connections: CONNECTIONS,
            deadline: DEADLINE,
            for_at_most: FOR_AT_MOST,
            watch: None,
        }
    }

    /// The traffic that they start from. Without any, there is garbage and silence alone.
    pub fn with(mut self, corpus: Corpus) -> Self {
        self.corpus = corpus;
        self
    }

    /// The kinds to draw from; [`Attack::DRAWN`] where nothing is said.
    pub fn only(mut self, attacks: impl IntoIterator<Item = Attack>) -> Self {
        self.only = attacks.into_iter().collect();
        self
    }

    /// How many attacks; 100 where nothing is said.
    pub fn attacks(mut self, count: u64) -> Self {
        self.numbers = 0..count;
        self
    }

    /// Over at most so many connections at a time; 16 where nothing is said.
    ///
    /// # Panics
    /// When it is 0: nothing could ever be sent.
    #[track_caller]
    pub fn connections(mut self, at_most: usize) -> Self {
        assert!(
            at_most > 0,
            "the peers of `{}` may have no connection",
            self.target
        );
        self.connections = at_most;
        self
    }

    /// How long each attack may take; 500 ms where nothing is said. One that waits in silence takes all of it.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = limit;
        self
    }

    /// No attack begins later than this; 30 s where nothing is said.
    pub fn for_at_most(mut self, limit: Duration) -> Self {
        self.for_at_most = limit;
        self
    }

    /// Another seed than the case's, for many of them in one case and for a replay.
    pub fn seed(mut self, seed: Seed) -> Self {
        self.seed = seed;
        self
    }

    /// One attack alone, as an error names it. It needs the same traffic to be the same; where that was recorded, the bytes
    /// among the artifacts as a [`Corpus`] and [`Attack::Verbatim`] send it again.
    pub fn replay(mut self, attack: Attack, number: u64) -> Self {
        self.only = vec![attack];
        self.numbers = number..number.saturating_add(1);
        self
    }

    /// What the target has to be before, meanwhile and afterwards. Without it nothing is judged but that it was reached.
    pub fn watching(mut self, watch: Watch) -> Self {
        self.watch = Some(watch);
        self
    }

    /// What the attack of this number is to do.
    ///
    /// # Errors
    /// When a kind was named that needs traffic and there is none.
    pub fn script(&self, number: u64) -> Result<Script, HostileError> {
        Ok(Script::draw(&self.corpus, self.seed, number, &self.kinds()?))
    }

    fn kinds(&self) -> Result<Vec<Attack>, HostileError> {
        let useless = |attack: Attack| attack.needs_traffic() && self.corpus.is_empty();
        attack::choose(&self.only, &Attack::DRAWN, useless).map_err(|attack| HostileError::NoTraffic {
            target: self.target.clone(),
            attack,
        })
    }

    /// Attacks, until all is done or the target has taken harm, and then waits until it has settled. What it had to do
    /// for others in the meantime, other tasks show.
    ///
    /// # Errors
    /// When the target took harm or was not well before, when a kind of attack never reached it, and when a kind was named
    /// that needs traffic and there is none.
    pub async fn run(self) -> Result<Report, HostileError> {
        let kinds = self.kinds()?;
        let target = || self.target.clone();
        let thread = NetworkThread::of(&self.case).map_err(|source| HostileError::SetUp {
            target: target(),
            source,
        })?;
        let health = match self.watch.clone() {
            Some(watch) => Some(watch.begin().await.map_err(|source| HostileError::Unwell {
                target: target(),
                source,
            })?),
            None => None,
        };
        let journal = Journal::of(&self.case, &self.target, self.corpus.clone(), self.seed);
        let harmed = |source, note: &Note| HostileError::Harmed {
            target: target(),
            source,
            attacks: journal.tell(note),
        };
        tracing::info!(target = self.target, address = %self.address, seed = %self.seed, attacks = ?self.numbers, "attacked");
        let mut fleet = Fleet::start(&self, kinds, Arc::clone(&journal), thread.runtime());
        while within(LOOK_PAUSE, fleet.ended()).await.is_err() {
            if let Some(health) = &health {
                // Those that were there when it was asked: others come while it does not answer.
                let note = journal.note();
                health.look().await.map_err(|source| harmed(source, &note))?;
            }
        }
        let report = fleet.report();
        tracing::info!(target = self.target, "{report}");
        if let Some(health) = &health {
            let usage = health
                .settled()
                .await
                .map_err(|source| harmed(source, &journal.note()))?;
            tracing::info!(target = self.target, before = ?health.before(), after = ?usage, "settled");
        }
        match report.inert() {
            None => Ok(report),
            Some((attack, why)) => Err(HostileError::Inert {
                target: target(),
                attack,
                why,
            }),
        }
    }
}
