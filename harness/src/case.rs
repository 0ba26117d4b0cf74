//! The case a scenario's code runs in: its name, seed, folder and the things to undo afterwards.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use once_cell::sync::OnceCell;
use rand_chacha::ChaCha8Rng;
use tokio::sync::Notify;

use crate::error::Error;
use crate::event::SubCase;
use crate::outcome::{Class, Outcome, Problem};
use crate::param::Environment;
use crate::seed::Seed;
use crate::spare_folder::SpareFolder;
use crate::stash::Stash;
use crate::sub_case::{OpenSubCase, SubCaseError, SubCases};
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
    began: Instant,
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
    /// Whether its code did not end well.
    is_spoiled: bool,
    /// How often each name was asked for.
    names: BTreeMap<String, u64>,
    /// Undone before `closers`.
    first_closers: Vec<Closer>,
    failures: Vec<Problem>,
    /// How many more failures there were.
    failures_more: u64,
    sub_cases: SubCases,
    /// How to reach what it started, where that is still there.
    reachable: Vec<Box<dyn Fn() -> Option<Reach> + Send>>,
    /// While it is kept up: what happened beside it since that was told last.
    news: Option<Vec<String>>,
    /// One of each type.
    shared: Vec<Arc<dyn Any + Send + Sync>>,
}

/// So many failures of a case are told.
const FAILURES_MAX: usize = 20;

/// How people reach something that a case started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Whether it is up, so that a case that is bad can be kept for it (`--keep-on-failure`).
    pub is_up: bool,
    /// Its name, addresses and files; several lines.
    pub text: String,
}

/// What a case came to beside its code, for the executor.
pub(crate) struct CaseEnd {
    /// Why it was broken off.
    pub(crate) broken: Option<Problem>,
    /// What fails it whatever its code returned.
    pub(crate) failures: Vec<Problem>,
    /// Its parts.
    pub(crate) sub_cases: Vec<SubCase>,
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
    /// What its worker keeps from case to case; `None` where each case is alone.
    pub stash: Option<Arc<Stash>>,
    /// What it takes for its folder; `None` where each case is alone.
    pub spare: Option<Arc<SpareFolder>>,
}

/// One thing to undo.
pub struct Closer {
    /// What it is, for messages.
    pub what: String,
    /// How.
    pub close: Box<dyn FnOnce() -> CloseFuture + Send>,
}

impl Closer {
    fn new<F, Fut>(what: impl Into<String>, close: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        Self {
            what: what.into(),
            close: Box::new(|| Box::pin(close())),
        }
    }
}

/// See [`Closer::close`].
pub type CloseFuture = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

impl Case {
    /// For the executor.
    pub fn new(facts: Facts) -> Self {
        Self(Arc::new(Inner {
            facts,
            began: Instant::now(),
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

    /// How long ago it began.
    pub fn elapsed(&self) -> Duration {
        self.0.began.elapsed()
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
        self.0.folder.get_or_try_init(|| match &self.0.facts.spare {
            Some(spare) => spare.take(path),
            None => std::fs::create_dir_all(path),
        })?;
        Ok(path)
    }

    /// The run's temporary folder, in which every case has its own: for what the cases of a run share, and no
    /// longer there after it.
    pub fn run_folder(&self) -> &Path {
        let folder = &self.0.facts.folder;
        folder.parent().unwrap_or(folder)
    }

    /// What its worker keeps from case to case; `None` where each case is alone.
    pub fn stash(&self) -> Option<&Arc<Stash>> {
        self.0.facts.stash.as_ref()
    }

    /// For the executor, before teardown: its code did not end well.
    pub(crate) fn spoil(&self) {
        self.state().is_spoiled = true;
    }

    /// Whether nothing speaks against it so far. Asked in its teardown, this tells whether what it used may be used
    /// again, or has to be kept as evidence.
    pub fn is_fine(&self) -> bool {
        let state = self.state();
        !state.is_spoiled && state.broken.is_none() && state.failures.is_empty() && state.sub_cases.are_fine()
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
        let closer = Closer::new(what, close);
        self.state().closers.push(closer);
    }

    /// As [`Case::defer`], and undone before everything that was or will be deferred there: for what uses it.
    pub fn defer_first<F, Fut>(&self, what: impl Into<String>, close: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let closer = Closer::new(what, close);
        self.state().first_closers.push(closer);
    }

    /// Something that the case starts and that people may want to reach when it is kept up; asked for then.
    /// `None`: it is no longer there.
    pub fn reachable(&self, reach: impl Fn() -> Option<Reach> + Send + 'static) {
        self.state().reachable.push(Box::new(reach));
    }

    /// For the executor: all that there is to reach.
    pub(crate) fn reach(&self) -> Vec<Reach> {
        let reachable = std::mem::take(&mut self.state().reachable);
        // Not under the lock: they may ask the case.
        let found = reachable.iter().filter_map(|reach| reach()).collect();
        self.state().reachable.splice(0..0, reachable);
        found
    }

    /// For the executor: it is kept up from now on.
    pub(crate) fn begin_keeping(&self) {
        self.state().news = Some(Vec::new());
    }

    /// For the executor, while it is kept up: waits until something happens beside it.
    pub(crate) async fn next_news(&self) -> Vec<String> {
        loop {
            let notified = self.0.breaking.notified();
            let news = self.state().news.as_mut().map(std::mem::take).unwrap_or_default();
            if !news.is_empty() {
                return news;
            }
            notified.await;
        }
    }

    /// The case's one value of this type, made by `make` when it is asked for the first time. `make` must not ask
    /// the case for anything.
    pub fn shared<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut state = self.state();
        let known = state
            .shared
            .iter()
            .find_map(|one| Arc::clone(one).downcast().ok());
        known.unwrap_or_else(|| {
            let made = Arc::new(make());
            state.shared.push(made.clone());
            made
        })
    }

    /// Fails the case, whatever its code returns, and lets it go on: for what goes wrong beside that code and is
    /// a broken property, such as a panic of a task.
    pub fn fail(&self, problem: Problem) {
        let mut state = self.state();
        if state.failures.len() < FAILURES_MAX {
            state.failures.push(problem.bounded());
        } else {
            state.failures_more += 1;
        }
    }

    /// Opens a part of the case with a verdict of its own in every report. The case fails if one of its parts
    /// does.
    ///
    /// ```no_run
    /// # use robust_test_harness::{case::Case, error::Result};
    /// # fn import(_: &str) -> Result { Ok(()) }
    /// # fn scenario(case: Case) -> Result {
    /// for file in ["a.json", "b.json"] {
    ///     case.sub_case(file)?.end(import(file));
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the case has one of that name, or has [`sub_case::MAX`](crate::sub_case::MAX) of them.
    pub fn sub_case(&self, name: impl Into<String>) -> Result<OpenSubCase, SubCaseError> {
        let name = name.into();
        let number = self.state().sub_cases.enter(&name)?;
        Ok(OpenSubCase::new(self.clone(), number, name))
    }

    /// Opens `count` parts, `base-1`, `base-2`, .. or, where the case has such parts, those that follow.
    ///
    /// # Errors
    /// As [`Case::sub_case`].
    pub fn sub_cases(&self, base: &str, count: usize) -> Result<Vec<OpenSubCase>, SubCaseError> {
        let names = self.state().sub_cases.next_names(base, count)?;
        names.into_iter().map(|name| self.sub_case(name)).collect()
    }

    /// For [`OpenSubCase`]: its verdict.
    pub(crate) fn end_sub_case(&self, number: usize, outcome: Outcome, duration_us: u64) {
        self.state().sub_cases.end(number, outcome, duration_us);
    }

    /// Ends the case as errored: its code ends at its next `await`, and is torn down. For what goes wrong beside
    /// that code, such as a server that died. The first reason counts, also when the code ended meanwhile.
    pub fn break_off(&self, problem: Problem) {
        {
            let mut state = self.state();
            if let Some(news) = &mut state.news {
                news.push(problem.to_string());
            }
            state.broken.get_or_insert(problem);
        }
        self.0.breaking.notify_waiters();
    }

    /// For the executor: what is to be judged beside what the code returned, since the last time.
    pub(crate) fn take_end(&self) -> CaseEnd {
        let mut state = self.state();
        let mut failures = std::mem::take(&mut state.failures);
        let more = std::mem::take(&mut state.failures_more);
        if more > 0 {
            let text = format!("{more} more failures beside the body");
            failures.push(Problem::new(Class::Panic, text));
        }
        CaseEnd {
            broken: state.broken.take(),
            failures,
            sub_cases: std::mem::take(&mut state.sub_cases).into_all(),
        }
    }

    /// Why it was broken off, if it was.
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

    /// For the executor: what is to be undone before what it started, as [`Case::pop_closer`].
    pub(crate) fn pop_first_closer(&self) -> Option<Closer> {
        self.state().first_closers.pop()
    }

    /// For the executor: what is to be undone next: the last thing deferred and not yet undone.
    pub fn pop_closer(&self) -> Option<Closer> {
        let mut state = self.state();
        state.first_closers.pop().or_else(|| state.closers.pop())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
