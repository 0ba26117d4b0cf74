//! Many clients at once against one server, each a sub-case with a verdict, log lines and random draws of its own.
//!
//! [`Client::run_n`] connects fresh clients, [`Client::run`] takes those there are. One that fails, panics or hangs
//! neither ends nor holds up the others: all are joined, then the fresh ones are disconnected, and then it returns.
//!
//! ```
//! # use robust_test::prelude::*;
//! # trait KvClient: Send {
//! #     fn set<'a>(&'a mut self, key: &'a str, value: u64) -> BoxFuture<'a, Result>;
//! #     fn get<'a>(&'a mut self, key: &'a str) -> BoxFuture<'a, Result<u64>>;
//! # }
//! # struct Kv;
//! # impl Service for Kv { type Client = dyn KvClient; type Settings = (); }
//! use robust_test::rand::RngExt as _;
//!
//! #[robust_test]
//! async fn every_client_reads_what_it_wrote(_kv: Server<Kv>, client: Client<Kv>) -> Result {
//!     Client::run_n(&client, RunN::new(16).within(secs(5)), async |client, part| {
//!         let value = part.rng("value").random();
//!         client.set(part.name(), value).await?;
//!         assert_eq!(client.get(part.name()).await?, value);
//!         Ok(())
//!     })
//!     .await?;
//!     Ok(())
//! }
//! ```
//!
//! They all run on the task that calls it, so what they borrow they may borrow from the scenario. A client that
//! computes for long without awaiting holds up the others: that belongs into `tokio::task::spawn_blocking`. What
//! hangs ends with [`RunN::within`], or with its case's deadline; its sub-case is then told as such, and those that
//! were over keep their verdicts.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rand_chacha::ChaCha8Rng;
use robust_test_harness::case::Case;
use robust_test_harness::caught::{caught, caught_now};
use robust_test_harness::error::{Error, Result};
use robust_test_harness::event::SubCase;
use robust_test_harness::outcome::{Class, Outcome, Problem};
use robust_test_harness::seed::Seed;
use robust_test_harness::sub_case::{self, OpenSubCase, SubCaseError};
use tracing::Instrument as _;

use crate::client::{Client, ConnectError};
use crate::clock::{human, within};
use crate::service::Service;

/// How many clients [`Client::run_n`] runs, and how long each may take. A number alone is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunN {
    count: usize,
    limit: Option<Duration>,
}

impl RunN {
    /// So many clients.
    pub fn new(count: usize) -> Self {
        Self { count, limit: None }
    }

    /// How long each may take to connect and run, by the machine's clock; else as long as its case.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        let limit = Some(limit);
        Self { limit, ..self }
    }
}

impl From<usize> for RunN {
    fn from(count: usize) -> Self {
        Self::new(count)
    }
}

/// One client's part in a run.
#[derive(Debug)]
pub struct Part {
    number: usize,
    name: String,
    seed: Seed,
}

impl Part {
    /// From 1 to the number of clients.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The name of its sub-case: `client-3`. Unique in its case: a second run goes on counting where the first one
    /// ended.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The seed of this client, from its case's seed and the name.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// The random stream of this client called `name`: no other client of the case has the same draws.
    pub fn rng(&self, name: &str) -> ChaCha8Rng {
        self.seed.stream(name)
    }
}

/// What the clients of a run came to, none of them badly; in the order of their numbers.
#[derive(Debug)]
pub struct RunReport<T> {
    /// One a client.
    pub clients: Vec<Ran<T>>,
}

impl<T> RunReport<T> {
    /// What they returned, without those that skipped themselves.
    pub fn into_values(self) -> Vec<T> {
        self.clients.into_iter().filter_map(|ran| ran.value).collect()
    }
}

/// One client of a [`RunReport`].
#[derive(Debug)]
pub struct Ran<T> {
    /// The name of its sub-case.
    pub name: String,
    /// How long it took, with its connect.
    pub took: Duration,
    /// What it returned; `None`: it skipped itself.
    pub value: Option<T>,
}

/// A run of many clients did not go well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunNError {
    /// There was nobody to run.
    #[error("there is no client to run: a run takes 1 or more")]
    NoClients,
    /// Its clients cannot all have a sub-case.
    #[error("cannot run {count} clients")]
    SubCases {
        /// How many there were to be.
        count: usize,
        /// Why not.
        #[source]
        source: SubCaseError,
    },
    /// Some clients failed; the text names them and says how.
    #[error("{}", sub_case::summary("clients", clients).unwrap_or_default())]
    Failed {
        /// The verdict of every client, in the order of their numbers.
        clients: Vec<SubCase>,
    },
}

impl<S: Service> Client<S> {
    /// Runs fresh clients of the same kind as `client` against the same server: connects each and calls `run` with
    /// it, all at once; see [`run_n`](crate::run_n). They are gone when it returns.
    ///
    /// # Errors
    /// When a client failed, panicked, could not connect or took too long; when there are none or too many.
    pub async fn run_n<T, F>(
        client: &Self,
        clients: impl Into<RunN>,
        run: F,
    ) -> Result<RunReport<T>, RunNError>
    where
        F: AsyncFn(&mut Self, &Part) -> Result<T>,
    {
        let RunN { count, limit } = clients.into();
        let link = Self::link(client);
        let (parts, mut sub_cases) = begin(link.case(), count)?;
        let mut fresh: Vec<Option<Self>> = parts.iter().map(|_| None).collect();
        let lanes = fresh.iter_mut().zip(&parts).map(|(place, part)| {
            let link = link.another_for(&part.name);
            let span = span(part, link.client_id());
            let connected = async move { Ok(place.insert(Self::connect(link).await?)) };
            (part, span, connected)
        });
        let mut ended = join(lanes, &mut sub_cases, limit, &run).await;
        for ((client, ended), sub_case) in fresh.into_iter().zip(&mut ended).zip(&mut sub_cases) {
            let Some(client) = client else { continue };
            let dropped = caught_now(|| Self::close(client));
            if let (Err(panic), Ok(_)) = (dropped, &ended.result) {
                let outcome = Outcome::Failed(Problem {
                    message: format!("it panicked when it was dropped: {}", panic.message),
                    ..panic
                });
                sub_case.judge(outcome.clone());
                ended.result = Err(outcome);
            }
        }
        report(parts, ended)
    }

    /// Runs these clients, all at once, as [`Client::run_n`] does with fresh ones. They stay connected.
    ///
    /// # Errors
    /// When a client failed or panicked; when there are none or too many.
    pub async fn run<T, F>(clients: &mut [Self], run: F) -> Result<RunReport<T>, RunNError>
    where
        F: AsyncFn(&mut Self, &Part) -> Result<T>,
    {
        let Some(first) = clients.first() else {
            return Err(RunNError::NoClients);
        };
        let (parts, mut sub_cases) = begin(Self::link(first).case(), clients.len())?;
        let lanes = clients.iter_mut().zip(&parts).map(|(client, part)| {
            let span = span(part, Self::link(client).client_id());
            (part, span, async move { Ok(client) })
        });
        let ended = join(lanes, &mut sub_cases, None, &run).await;
        report(parts, ended)
    }
}

/// How one client ended.
struct Ended<T> {
    result: Result<T, Outcome>,
    took: Duration,
}

fn begin(case: &Case, count: usize) -> Result<(Vec<Part>, Vec<OpenSubCase>), RunNError> {
    if count == 0 {
        return Err(RunNError::NoClients);
    }
    let sub_cases = case.sub_cases("client", count);
    let sub_cases = sub_cases.map_err(|source| RunNError::SubCases { count, source })?;
    let parts = (1..).zip(&sub_cases).map(|(number, sub_case)| Part {
        number,
        name: sub_case.name().to_owned(),
        seed: case.seed().derive(sub_case.name()),
    });
    Ok((parts.collect(), sub_cases))
}

fn span(part: &Part, id: &str) -> tracing::Span {
    tracing::info_span!("client", name = part.name, id, seed = part.seed.0)
}

/// Runs all to their ends, in whatever order; returns them in theirs.
async fn join<'a, S, T, F, C>(
    lanes: impl Iterator<Item = (&'a Part, tracing::Span, C)>,
    sub_cases: &mut [OpenSubCase],
    limit: Option<Duration>,
    run: &F,
) -> Vec<Ended<T>>
where
    S: Service,
    F: AsyncFn(&mut Client<S>, &Part) -> Result<T>,
    C: Future<Output = Result<&'a mut Client<S>, ConnectError>>,
{
    let lanes = lanes.zip(sub_cases).map(|((part, span, connected), sub_case)| {
        let lane = async move {
            sub_case.begin();
            let work = async {
                let client = connected.await.map_err(unconnected)?;
                run(client, part).await.map_err(|error| sub_case::outcome(&error))
            };
            let result = bounded(limit, work).await;
            let outcome = match &result {
                Ok(_) => Outcome::Passed,
                Err(outcome) => outcome.clone(),
            };
            tell(&outcome);
            let took = sub_case.judge(outcome);
            (part.number, Ended { result, took })
        };
        lane.instrument(span)
    });
    let mut lanes: FuturesUnordered<_> = lanes.collect();
    let mut ended = Vec::with_capacity(lanes.len());
    while let Some(one) = lanes.next().await {
        ended.push(one);
    }
    ended.sort_by_key(|(number, _)| *number);
    ended.into_iter().map(|(_, ended)| ended).collect()
}

/// What the work comes to; its panic and its deadline are outcomes too.
async fn bounded<T>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, Outcome>>,
) -> Result<T, Outcome> {
    let work = caught(work);
    let ended = match limit {
        None => work.await,
        Some(limit) => match within(limit, work).await {
            Ok(ended) => ended,
            Err(_) => {
                let text = format!("it did not end within {}", human(limit));
                return Err(Outcome::Errored(Problem::new(Class::Deadline, text)));
            }
        },
    };
    ended.unwrap_or_else(|panic| Err(Outcome::Failed(panic)))
}

fn unconnected(error: ConnectError) -> Outcome {
    match error {
        // A skip stays one.
        ConnectError::Failed { cause, .. } if cause.0.skip_reason().is_some() => sub_case::outcome(&cause.0),
        error => Outcome::Errored(Problem::new(Class::Setup, format!("{:?}", Error::from(error)))),
    }
}

/// A line in the case's log, within the client's span.
fn tell(outcome: &Outcome) {
    match outcome {
        Outcome::Passed => tracing::info!("passed"),
        Outcome::Skipped { reason } => tracing::info!(reason, "skipped"),
        outcome => {
            let message = outcome.problem().map_or("", |problem| &*problem.message);
            tracing::warn!(problem = message, "failed");
        }
    }
}

fn report<T>(parts: Vec<Part>, ended: Vec<Ended<T>>) -> Result<RunReport<T>, RunNError> {
    let is_bad = |one: &Ended<T>| one.result.as_ref().is_err_and(Outcome::is_bad);
    let all = parts.into_iter().zip(ended);
    let mut clients = Vec::new();
    let all: Vec<_> = all.collect();
    if all.iter().any(|(_, one)| is_bad(one)) {
        let clients = all.into_iter().map(|(part, one)| SubCase {
            name: part.name,
            outcome: one.result.err().unwrap_or(Outcome::Passed),
            duration_us: u64::try_from(one.took.as_micros()).unwrap_or(u64::MAX),
        });
        return Err(RunNError::Failed {
            clients: clients.collect(),
        });
    }
    for (part, one) in all {
        clients.push(Ran {
            name: part.name,
            took: one.took,
            value: one.result.ok(),
        });
    }
    Ok(RunReport { clients })
}
