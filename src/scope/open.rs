//! What a scope holds open: tasks, quiescers, closers and scopes within it, and whether it takes more.
//!
//! Knows no order of stopping: that is in `stop`.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use robust_test_harness::case::WeakCase;
use robust_test_harness::outcome::{Class, Problem};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::report::{Place, ScopeError, StopProblem, StopReport};
use super::task::TaskOutput;
use crate::clock::{Began, Deadline};

pub(super) struct Open {
    /// Of the scopes around it and its own, each followed by `/`; empty for the case's own.
    path: String,
    parent: Weak<Open>,
    case: WeakCase,
    token: CancellationToken,
    state: Mutex<State>,
    /// Notified when a task is over, and when the scope has stopped.
    pub(super) changed: Notify,
    /// Notified when there is less time than there was.
    pub(super) hurried: Notify,
}

#[derive(Default)]
struct State {
    phase: Phase,
    tasks: BTreeMap<u64, Running>,
    /// How many tasks there were.
    started: u64,
    /// What was found wrong so far.
    problems: Vec<StopProblem>,
    quiescers: Vec<Deferred>,
    closers: Vec<Deferred>,
    children: Vec<Arc<Open>>,
    /// Whether tasks are aborted, also one that is just starting.
    aborts: bool,
    /// When everything has to be over.
    until: Option<Deadline>,
}

#[derive(Default)]
enum Phase {
    #[default]
    Open,
    Stopping,
    Stopped(Result<(), StopReport>),
}

/// A task that is not over.
pub(super) struct Running {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) since: Began,
    /// `None` until it was started.
    abort: Option<AbortHandle>,
}

/// See [`Deferred::run`].
pub(super) type Run = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// A quiescer or a closer.
pub(super) struct Deferred {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) limit: Duration,
    /// Its error, if it has one.
    pub(super) run: Box<dyn FnOnce() -> Run + Send>,
}

impl Deferred {
    pub(super) fn new<F, Fut>(name: String, place: Place, limit: Duration, run: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output: TaskOutput> + Send + 'static,
    {
        Self {
            name,
            place,
            limit,
            // Not called before it is polled: its panic is the closer's.
            run: Box::new(|| Box::pin(async { run().await.failure() })),
        }
    }
}

impl Open {
    pub(super) fn root(case: WeakCase) -> Arc<Self> {
        Self::new(String::new(), Weak::new(), case, CancellationToken::new())
    }

    fn new(path: String, parent: Weak<Self>, case: WeakCase, token: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            path,
            parent,
            case,
            token,
            state: Mutex::default(),
            changed: Notify::new(),
            hurried: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Its path, without the last `/`.
    pub(super) fn name(&self) -> &str {
        self.path.strip_suffix('/').unwrap_or("(the case's)")
    }

    /// What something in it is called in reports.
    pub(super) fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    fn refuses(&self, what: &str) -> ScopeError {
        let what = self.full_name(what);
        ScopeError::Stopping { what }
    }

    pub(super) fn child(self: &Arc<Self>, name: &str) -> Result<Arc<Self>, ScopeError> {
        let mut state = self.state();
        if !matches!(state.phase, Phase::Open) {
            return Err(self.refuses(name));
        }
        let path = format!("{}/", self.full_name(name));
        let child = Self::new(
            path,
            Arc::downgrade(self),
            self.case.clone(),
            self.token.child_token(),
        );
        state.children.push(Arc::clone(&child));
        Ok(child)
    }

    pub(super) fn on_quiesce(&self, quiescer: Deferred) -> Result<(), ScopeError> {
        let mut state = self.state();
        if !matches!(state.phase, Phase::Open) {
            return Err(self.refuses(&quiescer.name));
        }
        state.quiescers.push(quiescer);
        Ok(())
    }

    pub(super) fn defer(&self, closer: Deferred) -> Result<(), ScopeError> {
        let mut state = self.state();
        if matches!(state.phase, Phase::Stopped(_)) {
            return Err(self.refuses(&closer.name));
        }
        state.closers.push(closer);
        Ok(())
    }

    // ---- Tasks ----

    /// Enters a task that is about to start; returns its number.
    pub(super) fn enter(&self, name: &str, place: Place) -> Result<u64, ScopeError> {
        let mut state = self.state();
        if !matches!(state.phase, Phase::Open) {
            return Err(self.refuses(name));
        }
        state.started += 1;
        let number = state.started;
        let running = Running {
            name: self.full_name(name),
            place,
            since: Began::now(),
            abort: None,
        };
        state.tasks.insert(number, running);
        Ok(number)
    }

    /// The task has started; it may be over already.
    pub(super) fn started(&self, number: u64, abort: AbortHandle) {
        let mut state = self.state();
        if state.aborts {
            drop(state);
            return abort.abort();
        }
        if let Some(task) = state.tasks.get_mut(&number) {
            task.abort = Some(abort);
        }
    }

    pub(super) fn ended(&self, number: u64) {
        self.state().tasks.remove(&number);
        self.changed.notify_waiters();
    }

    /// A task returned an error that nobody will look at.
    pub(super) fn task_failed(&self, name: &str, place: Place, error: String) {
        let task = self.full_name(name);
        tracing::warn!(task, %error, "task failed");
        let problem = StopProblem::TaskFailed { task, place, error };
        let mut state = self.state();
        if matches!(state.phase, Phase::Stopped(_)) {
            drop(state);
            self.fail_case(Problem::new(Class::Error, problem.to_string()));
        } else {
            state.problems.push(problem);
        }
    }

    pub(super) fn task_panicked(&self, name: &str, place: Place, panic: Problem) {
        let task = self.full_name(name);
        self.fail_case(Problem {
            message: format!("task `{task}`, opened at {place}, panicked: {}", panic.message),
            ..panic
        });
    }

    fn fail_case(&self, problem: Problem) {
        // Without a case nobody is left to be told.
        if let Some(case) = self.case.upgrade() {
            case.fail(problem);
        }
    }

    /// Waits until no task runs.
    pub(super) async fn tasks_ended(&self) {
        self.until(|state| state.tasks.is_empty().then_some(())).await;
    }

    /// Aborts what runs; returns what that was.
    pub(super) fn abort_tasks(&self) -> BTreeMap<u64, Running> {
        let mut state = self.state();
        state.aborts = true;
        let left = state.tasks.iter_mut().map(|(number, task)| {
            let left = Running {
                name: task.name.clone(),
                abort: None,
                ..*task
            };
            (*number, left, task.abort.take())
        });
        let left: Vec<_> = left.collect();
        drop(state);
        // Without the lock: an abort may drop the task here.
        left.into_iter()
            .map(|(number, left, abort)| {
                if let Some(abort) = abort {
                    abort.abort();
                }
                (number, left)
            })
            .collect()
    }

    pub(super) fn runs(&self, number: u64) -> bool {
        self.state().tasks.contains_key(&number)
    }

    // ---- Stopping ----

    /// Begins the stop, once: whether this call did.
    pub(super) fn begin_stop(&self) -> bool {
        let mut state = self.state();
        if !matches!(state.phase, Phase::Open) {
            return false;
        }
        state.phase = Phase::Stopping;
        true
    }

    /// From now on the stop has no more than `limit`.
    pub(super) fn hurry(&self, limit: Duration) {
        let until = Deadline::after(limit);
        let mut state = self.state();
        state.until = Some(state.until.map_or(until, |before| before.min(until)));
        let children = state.children.clone();
        drop(state);
        self.hurried.notify_waiters();
        for child in children {
            child.hurry(limit);
        }
    }

    /// The time that is left for the stop, where that is known.
    pub(super) fn left(&self) -> Option<Duration> {
        self.state().until.map(Deadline::left)
    }

    /// Those within it, the newest first.
    pub(super) fn children(&self) -> Vec<Arc<Self>> {
        self.state().children.iter().rev().cloned().collect()
    }

    pub(super) fn pop_quiescer(&self) -> Option<Deferred> {
        self.state().quiescers.pop()
    }

    pub(super) fn pop_closer(&self) -> Option<Deferred> {
        self.state().closers.pop()
    }

    /// How many quiescers and closers wait for their turn.
    pub(super) fn waiting(&self) -> usize {
        let state = self.state();
        state.quiescers.len() + state.closers.len()
    }

    pub(super) fn found(&self, problem: StopProblem) {
        self.state().problems.push(problem);
    }

    /// Ends the stop, unless a closer was deferred meanwhile. `before` comes before its own problems; returns what
    /// it came to.
    pub(super) fn finish_stop(&self, before: &mut Vec<StopProblem>) -> Option<Result<(), StopReport>> {
        let mut state = self.state();
        if !state.closers.is_empty() {
            return None;
        }
        before.append(&mut state.problems);
        let problems = std::mem::take(before);
        let result = match problems.is_empty() {
            true => Ok(()),
            false => Err(StopReport { problems }),
        };
        state.phase = Phase::Stopped(result.clone());
        drop(state);
        if let Some(parent) = self.parent.upgrade() {
            let is_self = |child: &Arc<Self>| std::ptr::eq(Arc::as_ptr(child), self);
            let mut state = parent.state();
            let children = std::mem::take(&mut state.children);
            let (gone, children) = children.into_iter().partition(is_self);
            state.children = children;
            drop(state);
            let _without_the_lock: Vec<_> = gone;
        }
        self.changed.notify_waiters();
        Some(result)
    }

    /// What the stop came to, when it is over.
    pub(super) async fn stopped(&self) -> Result<(), StopReport> {
        let result = |state: &mut State| match &state.phase {
            Phase::Stopped(result) => Some(result.clone()),
            Phase::Open | Phase::Stopping => None,
        };
        self.until(result).await
    }

    async fn until<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            // Registered before the look, or a change in between would be missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = look(&mut self.state()) {
                return found;
            }
            changed.await;
        }
    }
}

impl Drop for Open {
    /// Where nobody stopped it: no more than can be done without waiting.
    fn drop(&mut self) {
        self.token.cancel();
        for task in std::mem::take(&mut self.state().tasks).into_values() {
            if let Some(abort) = task.abort {
                abort.abort();
            }
        }
    }
}
