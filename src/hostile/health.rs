//! The judgement of a target: it lives, it answers, and it gives back what it took.
//!
//! Knows nothing of attacks; whoever harms a server by other means can ask it too.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use robust_test_harness::error::Error;
use robust_test_harness::processes;

use super::usage::Usage;
use crate::clock::{Backoff, Deadline, human, within};
use crate::server::Server;
use crate::service::{BoxFuture, Service};

const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
const SETTLES_WITHIN: Duration = Duration::from_secs(20);
const MEMORY_GROWTH_MAX: u64 = 64 << 20;
const DESCRIPTOR_GROWTH_MAX: u64 = 16;
/// How long after its connections broke a process that crashed is still to be seen.
const END_SHOWS_WITHIN: Duration = Duration::from_secs(1);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(100);

type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), Error>> + Send + Sync>;

/// What is asked of a target before, while and after it is attacked.
///
/// ```
/// # use robust_test::prelude::*;
/// # use robust_test::hostile::Watch;
/// # async fn ping(_: std::net::SocketAddr) -> Result { Ok(()) }
/// # async fn example<S: Service>(broker: Server<S>) -> Result {
/// let address = broker.endpoint("mqtt");
/// let watch = Watch::of(&broker)
///     .answers(move || ping(address))
///     .memory_growth_max(32 << 20);
/// let health = watch.begin().await?;
/// // .. do harm ..
/// health.look().await?;
/// // .. stop doing harm ..
/// health.settled().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "it asks for nothing until `begin` is called or it is given to hostile peers"]
pub struct Watch {
    name: String,
    /// `None`: inside this process, or not to be known.
    process: Option<u32>,
    check: Option<Check>,
    answers_within: Duration,
    settles_within: Duration,
    memory_growth_max: u64,
    descriptor_growth_max: u64,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("name", &self.name)
            .field("process", &self.process)
            .field("answers", &self.check.is_some())
            .finish_non_exhaustive()
    }
}

/// A target is not as it has to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HealthError {
    /// Its first process is no longer there.
    #[error("node `{node}` has ended (its process was {process})")]
    Ended {
        /// The node's name.
        node: String,
        /// The process id.
        process: u32,
    },
    /// It does not answer as it has to.
    #[error("node `{node}` did not answer within {}: {why}", human(*.within))]
    Silent {
        /// The node's name.
        node: String,
        /// How long it had.
        within: Duration,
        /// What the check said, or that it did not end.
        why: String,
    },
    /// It uses more than it did, and more than it may.
    #[error("node `{node}` {growth}, and did not shrink within {}", human(*.within))]
    Grew {
        /// The node's name.
        node: String,
        /// From what to what.
        growth: Box<Growth>,
        /// How long it had.
        within: Duration,
    },
    /// What it uses cannot be told.
    #[error("what node `{node}` uses cannot be read from /proc of its processes")]
    Unmeasured {
        /// The node's name.
        node: String,
        /// What the system said.
        source: io::Error,
    },
}

/// By how much a target uses more than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// What it used before.
    pub before: Usage,
    /// What it uses now.
    pub now: Usage,
    /// By how much it may grow.
    pub allowed: Usage,
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, now, allowed } = self;
        let memory = [before, now, allowed].map(|usage| mib(usage.memory_bytes));
        write!(
            f,
            "grew from {} to {} of memory (allowed: {} more) and from {} to {} descriptors (allowed: {} more)",
            memory[0], memory[1], memory[2], before.descriptors, now.descriptors, allowed.descriptors
        )
    }
}

impl Growth {
    fn is_allowed(&self) -> bool {
        let Self { before, now, allowed } = self;
        now.memory_bytes <= before.memory_bytes + allowed.memory_bytes
            && now.descriptors <= before.descriptors + allowed.descriptors
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

impl Watch {
    /// Of a server: that its process lives, and gives back memory and descriptors. Of one inside this process that can
    /// only be told by [`Watch::answers`]; what such a one leaves open, the leak check finds.
    pub fn of<S: Service>(server: &Server<S>) -> Self {
        Self::new(server.name(), server.pid())
    }

    /// Of the process with this id, the others of its group and their descendants.
    pub fn process(name: impl Into<String>, pid: u32) -> Self {
        Self::new(name, Some(pid))
    }

    /// Of something of which only answers can be seen.
    pub fn remote(name: impl Into<String>) -> Self {
        Self::new(name, None)
    }

    fn new(name: impl Into<String>, process: Option<u32>) -> Self {
        Self {
            name: name.into(),
            process,
            check: None,
            answers_within: ANSWERS_WITHIN,
            settles_within: SETTLES_WITHIN,
            memory_growth_max: MEMORY_GROWTH_MAX,
            descriptor_growth_max: DESCRIPTOR_GROWTH_MAX,
        }
    }

    /// What has to succeed before, again and again meanwhile, and afterwards: best over a new connection.
    pub fn answers<F, Fut>(mut self, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.check = Some(Arc::new(move || Box::pin(check())));
        self
    }

    /// How long the check may take each time; 10 s where nothing is said.
    pub fn answers_within(mut self, limit: Duration) -> Self {
        self.answers_within = limit;
        self
    }

    /// How long it may take to give back what it took, once nobody does it harm any more; 20 s where nothing is said.
    pub fn settles_within(mut self, limit: Duration) -> Self {
        self.settles_within = limit;
        self
    }

    /// By how many bytes its memory may have grown then; 64 MiB where nothing is said, for allocators keep some.
    pub fn memory_growth_max(mut self, bytes: u64) -> Self {
        self.memory_growth_max = bytes;
        self
    }

    /// By how many its descriptors may have grown then; 16 where nothing is said.
    pub fn descriptor_growth_max(mut self, count: u64) -> Self {
        self.descriptor_growth_max = count;
        self
    }

    /// Looks at it as it is before anything is done to it.
    ///
    /// # Errors
    /// When it is not well already.
    pub async fn begin(self) -> Result<Health, HealthError> {
        let mut health = Health {
            watch: self,
            before: None,
        };
        health.look().await?;
        health.before = health.usage()?;
        Ok(health)
    }
}

/// A target that is watched.
#[derive(Debug, Clone)]
pub struct Health {
    watch: Watch,
    /// `None`: it cannot be told.
    before: Option<Usage>,
}

impl Health {
    /// What it used before; `None` where that cannot be told.
    pub fn before(&self) -> Option<Usage> {
        self.before
    }

    /// One look: it lives, and it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn look(&self) -> Result<(), HealthError> {
        self.lives()?;
        let Some(check) = &self.watch.check else {
            return Ok(());
        };
        let limit = self.watch.answers_within;
        let why = match within(limit, check()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "the check did not end".to_owned(),
        };
        self.lives_on().await?;
        Err(HealthError::Silent {
            node: self.node(),
            within: limit,
            why,
        })
    }

    /// Waits until it answers and uses no more than it did, but for what is allowed; what it uses then.
    ///
    /// # Errors
    /// When it does not, within what it has for that.
    pub async fn settled(&self) -> Result<Option<Usage>, HealthError> {
        self.look().await?;
        let deadline = Deadline::after(self.watch.settles_within);
        let mut backoff = Backoff::up_to(LOOK_PAUSE_MAX);
        let allowed = Usage {
            memory_bytes: self.watch.memory_growth_max,
            descriptors: self.watch.descriptor_growth_max,
        };
        loop {
            let (Some(before), Some(now)) = (self.before, self.usage()?) else {
                return Ok(None);
            };
            let growth = Growth { before, now, allowed };
            if growth.is_allowed() {
                return Ok(Some(now));
            }
            if deadline.passed() {
                return Err(HealthError::Grew {
                    node: self.node(),
                    growth: Box::new(growth),
                    within: self.watch.settles_within,
                });
            }
            tokio::time::sleep(backoff.next().min(deadline.left())).await;
        }
    }

    fn node(&self) -> String {
        self.watch.name.clone()
    }

    /// That it lives, also a moment later: the connections of one that crashes break before it has ended.
    async fn lives_on(&self) -> Result<(), HealthError> {
        let deadline = Deadline::after(END_SHOWS_WITHIN);
        let mut backoff = Backoff::up_to(LOOK_PAUSE_MAX);
        while self.watch.process.is_some() && !deadline.passed() {
            self.lives()?;
            tokio::time::sleep(backoff.next()).await;
        }
        self.lives()
    }

    fn lives(&self) -> Result<(), HealthError> {
        match self.watch.process {
            Some(process) if processes::entry(process).is_none_or(|entry| entry.zombie) => {
                Err(HealthError::Ended {
                    node: self.node(),
                    process,
                })
            }
            _ => Ok(()),
        }
    }

    fn usage(&self) -> Result<Option<Usage>, HealthError> {
        let usage = self.watch.process.map(Usage::of).transpose();
        usage.map_err(|source| match self.lives() {
            Err(ended) => ended,
            Ok(()) => HealthError::Unmeasured {
                node: self.node(),
                source,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_up_to_what_is_allowed_is_fine() {
        let usage = |memory_bytes, descriptors| Usage {
            memory_bytes,
            descriptors,
        };
        let (before, allowed) = (usage(100, 10), usage(50, 2));
        for (now, expected) in [
            (usage(150, 12), true),
            (usage(0, 0), true),
            (usage(151, 12), false),
            (usage(150, 13), false),
        ] {
            let growth = Growth { before, now, allowed };
            assert_eq!(growth.is_allowed(), expected, "{growth}");
        }
    }
}
