//! The case a scenario's code runs in: its name, seed, folder and the things to undo afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, Weak};
use std::task::Poll;

use once_cell::sync::OnceCell;
use rand_chacha::ChaCha8Rng;
use tokio::sync::Notify;

use crate::error::Error;
use crate::outcome::Problem;
use crate::param::Environment;
use crate::seed::Seed;
use crate::variant::{Assignment, Variants};

/// A handle on the running case; clones share it. It is also a parameter: `case: Case`.
#[derive(Clone)]
pub struct Case(Arc<Inner>);

/// A handle that does not keep the case.
#[derive(Clone)]
pub struct WeakCase(Weak<Inner>);

impl WeakCase {
    /// The case, while it is there.
    pub fn upgrade(&self) -> Option<Case> {
        self.0.upgrade().map(Case)
    }
}

impl fmt::Debug for WeakCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakCase")
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.name()).finish()
    }
}

struct Inner {
    facts: Facts,
    /// Set once the folder was made.
    folder: OnceCell<()>,
    /// Notified when the case is broken off.
    breaking: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closers: Vec<Closer>,
    /// Why the case was broken off.
    broken: Option<Problem>,
    /// How often each name was asked for.
    names: BTreeMap<String, u64>,
}

/// What the executor tells a case about itself.
#[derive(Debug, Clone)]
pub struct Facts {
    /// `module::scenario[axis=label,..]`.
    pub name: String,
    /// The case's seed.
    pub seed: Seed,
    /// 0 for the first attempt.
    pub attempt: u32,
    /// Where the case may keep files: not yet made.
    pub folder: PathBuf,
    /// The machine and the command line.
    pub environment: Arc<Environment>,
    /// Identifies the run, for names that must not collide with another run's.
    pub run_id: String,
    /// The variants of its parameters.
    pub variants: Assignment,
}

/// One thing to undo.
pub struct Closer {
    /// What it is, for messages.
    pub what: String,
    /// How.
    pub close: Box<dyn FnOnce() -> CloseFuture + Send>,
}

/// See [`Closer::close`].
pub type CloseFuture = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

impl Case {
    /// For the executor.
    pub fn new(facts: Facts) -> Self {
        Self(Arc::new(Inner {
            facts,
            folder: OnceCell::new(),
            breaking: Notify::new(),
            state: Mutex::default(),
        }))
    }

    /// A handle for what the case keeps, which must not keep the case.
    pub fn downgrade(&self) -> WeakCase {
        WeakCase(Arc::downgrade(&self.0))
    }

    /// The full name: `module::scenario[axis=label,..]`.
    pub fn name(&self) -> &str {
        &self.0.facts.name
    }

    /// The case's seed.
    pub fn seed(&self) -> Seed {
        self.0.facts.seed
    }

    /// 0 for the first attempt, then one more with each retry.
    pub fn attempt(&self) -> u32 {
        self.0.facts.attempt
    }

    /// Identifies the run: the same in all its processes.
    pub fn run_id(&self) -> &str {
        &self.0.facts.run_id
    }

    /// The machine and the command line.
    pub fn environment(&self) -> &Arc<Environment> {
        &self.0.facts.environment
    }

    /// The variants of the parameter `param`: of its node `node`, from 1 on, or (`None`) of all of it, without axes
    /// that are drawn for each node. A node beyond those that the case began with has draws of its own too.
    pub fn variants(&self, param: &str, node: Option<u32>) -> Variants {
        self.0.facts.variants.of(param, node)
    }

    /// The random stream called `name`: the same draws each time this case runs with its seed. Asking twice
    /// for one name gives the same stream twice.
    pub fn rng(&self, name: &str) -> ChaCha8Rng {
        self.seed().stream(name)
    }

    /// A folder of the case's own, made on first use. Its path is short enough for Unix sockets. It is kept,
    /// moved to the report's folder, when the case does not pass, and removed when it does.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self) -> std::io::Result<&Path> {
        let path = &self.0.facts.folder;
        self.0.folder.get_or_try_init(|| std::fs::create_dir_all(path))?;
        Ok(path)
    }

    /// The run's temporary folder, in which every case has its own: for what the cases of a run share, and no
    /// longer there after it.
    pub fn run_folder(&self) -> &Path {
        let folder = &self.0.facts.folder;
        folder.parent().unwrap_or(folder)
    }

    /// For the executor: whether [`Case::folder`] was asked for.
    pub(crate) fn has_folder(&self) -> bool {
        self.0.folder.get().is_some()
    }

    /// A name that no other call in this case gets: `base`, then `base-2`, `base-3`, ..
    pub fn unique_name(&self, base: &str) -> String {
        let mut state = self.state();
        let count = state.names.entry(base.to_owned()).or_default();
        *count += 1;
        match *count {
            1 => base.to_owned(),
            count => format!("{base}-{count}"),
        }
    }

    /// Undoes something when the case ends, last in, first out: after success, failure, panic and deadline.
    pub fn defer<F, Fut>(&self, what: impl Into<String>, close: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let close: Box<dyn FnOnce() -> CloseFuture + Send> = Box::new(|| Box::pin(close()));
        self.state().closers.push(Closer {
            what: what.into(),
            close,
        });
    }

    /// Ends the case as errored: its code ends at its next `await`, and is torn down. For what goes wrong beside
    /// that code, such as a server that died. The first reason counts, also when the code ended meanwhile.
    pub fn break_off(&self, problem: Problem) {
        self.state().broken.get_or_insert(problem);
        self.0.breaking.notify_waiters();
    }

    /// For the executor: why it was broken off, if it was.
    pub fn broken_off(&self) -> Option<Problem> {
        self.state().broken.clone()
    }

    /// For the executor: the future's output, unless the case is broken off first.
    pub(crate) async fn unless_broken_off<F: Future>(&self, future: F) -> Option<F::Output> {
        let broken = async {
            loop {
                let notified = self.0.breaking.notified();
                if self.state().broken.is_some() {
                    return;
                }
                notified.await;
            }
        };
        let (mut future, mut broken) = (pin!(future), pin!(broken));
        std::future::poll_fn(|context| {
            if broken.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            future.as_mut().poll(context).map(Some)
        })
        .await
    }

    /// For the executor: the last thing deferred and not yet undone.
    pub fn pop_closer(&self) -> Option<Closer> {
        self.state().closers.pop()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
