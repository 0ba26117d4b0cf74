//! Scopes: what runs beside a scenario's own code and what is to be undone, all stopped with the case.
//!
//! A [`Scope`] has named tasks, a token that tells them to end, and closers. [`Scope::stop`] refuses new work,
//! cancels, runs the quiescers, waits for the tasks, then runs the closers, last in, first out. Every step has a
//! deadline, nothing that fails, hangs or panics keeps the next one from its turn, and what is left open is named
//! with the place that opened it. The case's end stops its scope before anything else is torn down, whichever way
//! the scenario ended, so tasks and closers still have their servers and clients.
//!
//! ```
//! # use robust_test::prelude::*;
//! # async fn publish(_: u64) -> Result { Ok(()) }
//! # async fn delete_bucket() -> Result { Ok(()) }
//! #[robust_test]
//! async fn nothing_is_lost_under_load(scope: Scope) -> Result {
//!     scope.defer("bucket", || delete_bucket())?;
//!     let load = scope.spawn("load", {
//!         let scope = scope.clone();
//!         async move {
//!             for number in 0.. {
//!                 if scope.until_quiesced(publish(number)).await.transpose()?.is_none() {
//!                     break;
//!                 }
//!             }
//!             Ok::<(), Error>(())
//!         }
//!     })?;
//!     // .. faults ..
//!     drop(load); // it goes on until the scope stops; its error would fail the case
//!     Ok(())
//! }
//! ```
//!
//! Tasks run on the case's runtime. In a plain `fn` nothing drives that while the body runs, so tasks begin at its
//! end. All waits go by the machine's clock, also while tokio's is paused.

mod limited;
mod open;
mod report;
mod stop;
mod task;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use robust_test_harness::case::Case;
use robust_test_harness::error::Error;
use robust_test_harness::param::{Build, Environment, Param, Shape};
use robust_test_harness::registry::Site;

pub use limited::Limited;
pub use report::{Place, Quiesced, ScopeError, StopProblem, StopReport};
pub use task::{Task, TaskError, TaskOutput};

use open::{Deferred, Open};

/// How long a closer or quiescer may take that says nothing else.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// How long tasks may go on after they were cancelled.
const TASKS_WITHIN: Duration = Duration::from_secs(2);
/// How long the end of a case may take for its scope: the servers' teardown comes after it, in the same 10 s.
const CASE_STOP_WITHIN: Duration = Duration::from_secs(8);

/// Named tasks, cancellation and closers; see the module. Clones share it. As a parameter, `scope: Scope` is the
/// case's own.
#[derive(Clone)]
pub struct Scope(Arc<Open>);

impl Scope {
    /// The case's scope. It is made when it is first asked for.
    pub fn of(case: &Case) -> Self {
        let mut is_new = false;
        let scope = case.shared(|| {
            is_new = true;
            Self(Open::root(case.downgrade()))
        });
        if is_new {
            let scope = Self::clone(&scope);
            case.defer_first("scope", || async move {
                scope.0.hurry(CASE_STOP_WITHIN);
                Ok(scope.stop().await?)
            });
        }
        Self::clone(&scope)
    }

    /// A scope within this one, which can be stopped on its own. Where it was not, its parent's stop cancels it with
    /// everything else, and runs its closers before the parent's own.
    ///
    /// # Errors
    /// When this scope is stopping.
    pub fn child(&self, name: impl Into<String>) -> Result<Self, ScopeError> {
        self.0.child(&name.into()).map(Self)
    }

    /// Starts a task. Its panic fails the case. Its error is given to who awaits the [`Task`]; where nobody does, it
    /// is told when the scope stops, and fails the case.
    ///
    /// ```
    /// # use robust_test::prelude::*;
    /// # async fn scenario(scope: Scope) -> Result {
    /// let sum = scope.spawn("sum", async { Ok::<u32, Error>(1 + 2) })?;
    /// assert_eq!(sum.await??, 3);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the scope is stopping, or outside of a runtime.
    #[track_caller]
    pub fn spawn<F>(&self, name: impl Into<String>, future: F) -> Result<Task<F::Output>, ScopeError>
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        task::spawn(&self.0, name.into(), Place::caller(), future, ())
    }

    /// Tasks of which at most `limit` run at a time. They are named `name-1`, `name-2`, ..
    ///
    /// # Panics
    /// When the limit is 0: nothing could ever run.
    #[track_caller]
    pub fn limited(&self, name: impl Into<String>, limit: usize) -> Limited {
        let name = name.into();
        assert!(
            limit > 0,
            "the group `{name}` is limited to 0 tasks: none could ever run"
        );
        Limited::new(Arc::clone(&self.0), name, limit)
    }

    /// Waits until the scope stops: what tasks watch.
    pub fn quiescing(&self) -> impl Future<Output = ()> + Send + use<> {
        self.0.token().clone().cancelled_owned()
    }

    /// Whether the scope stops or has stopped.
    pub fn is_quiescing(&self) -> bool {
        self.0.token().is_cancelled()
    }

    /// The future's output, or `None` when the scope stops first; the future is dropped then.
    pub async fn until_quiesced<F: Future>(&self, future: F) -> Option<F::Output> {
        self.0.token().run_until_cancelled(future).await
    }

    /// Runs something when the scope begins to stop, after its tasks were told and before they are waited for: for
    /// what does not watch the scope. Last in, first out; each may take 5 s.
    ///
    /// # Errors
    /// When the scope is stopping.
    #[track_caller]
    pub fn on_quiesce<F, Fut>(&self, name: impl Into<String>, quiesce: F) -> Result<(), ScopeError>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output: TaskOutput> + Send + 'static,
    {
        self.0
            .on_quiesce(Deferred::new(name.into(), Place::caller(), CLOSE_WITHIN, quiesce))
    }

    /// Undoes something when the scope has stopped its tasks, last in, first out. It may take 5 s.
    ///
    /// # Errors
    /// When the scope has stopped. While it stops, the closer is taken and runs next.
    #[track_caller]
    pub fn defer<F, Fut>(&self, name: impl Into<String>, close: F) -> Result<(), ScopeError>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output: TaskOutput> + Send + 'static,
    {
        self.defer_within(CLOSE_WITHIN, name, close)
    }

    /// [`Scope::defer`] of what may take so long. At the end of a case its scope has 8 s for everything.
    ///
    /// # Errors
    /// As [`Scope::defer`].
    #[track_caller]
    pub fn defer_within<F, Fut>(
        &self,
        limit: Duration,
        name: impl Into<String>,
        close: F,
    ) -> Result<(), ScopeError>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output: TaskOutput> + Send + 'static,
    {
        self.0
            .defer(Deferred::new(name.into(), Place::caller(), limit, close))
    }

    /// Stops the scope and those within it: refuses new work, cancels, runs the quiescers, waits 2 s for tasks and
    /// aborts those that go on, then runs the closers. It is stopped once: every other call waits for the first one
    /// and returns the same, and one that is dropped changes nothing.
    ///
    /// To be called beside the scope's tasks and closers: one that waits for it waits for itself, until its deadline.
    ///
    /// # Errors
    /// What did not end, failed, hung or panicked. Panics of tasks are not in it: those the case tells.
    pub async fn stop(&self) -> Result<(), StopReport> {
        stop::stop(&self.0).await
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("name", &self.0.name())
            .field("is_quiescing", &self.is_quiescing())
            .finish()
    }
}

impl Param for Scope {
    fn shape(_: &Site, _: &Environment) -> Shape {
        Shape::default()
    }

    async fn build(build: &mut Build) -> Result<Self, Error> {
        Ok(Self::of(build.case()))
    }
}
