//! Tasks of a scope: what starts them, what they come to, and who looks at it.

use std::any::Any;
use std::fmt::{self, Display};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use robust_test_harness::caught::caught;
use robust_test_harness::error::Error;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tracing::Instrument as _;

use super::open::Open;
use super::report::{Place, Quiesced, ScopeError};
use crate::eventually::Done;

/// What a task, a closer or a quiescer may return: `()`, or a `Result` whose error has `Display`; any other value
/// in [`Done`].
#[diagnostic::on_unimplemented(
    message = "a task or closer of a scope returns `()` or a `Result`, not `{Self}`",
    note = "the error of a `Result` needs `Display`; any other value is returned as `Done(value)`"
)]
pub trait TaskOutput: Send + 'static {
    /// The error's text, if it is one and not only that the scope stops.
    fn failure(&self) -> Option<String>;
}

impl TaskOutput for () {
    fn failure(&self) -> Option<String> {
        None
    }
}

/// What a function returns: the only way to name `!` where it may not be written, which a task returns that ends
/// only when it is cancelled.
#[doc(hidden)]
pub trait Returns {
    /// It.
    type Type;
}

impl<T> Returns for fn() -> T {
    type Type = T;
}

impl TaskOutput for <fn() -> ! as Returns>::Type {
    fn failure(&self) -> Option<String> {
        None
    }
}

impl<T: Send + 'static> TaskOutput for Done<T> {
    fn failure(&self) -> Option<String> {
        None
    }
}

impl<T: Send + 'static, E: Display + Send + 'static> TaskOutput for Result<T, E> {
    fn failure(&self) -> Option<String> {
        let error = self.as_ref().err()?;
        let any = error as &dyn Any;
        let inner = any.downcast_ref::<Error>();
        let stops = any.is::<Quiesced>()
            || matches!(any.downcast_ref(), Some(ScopeError::Stopping { .. }))
            || inner.is_some_and(|error| {
                error.downcast_ref::<Quiesced>().is_some()
                    || matches!(error.downcast_ref(), Some(ScopeError::Stopping { .. }))
            });
        if stops {
            return None;
        }
        Some(match inner {
            Some(error) => format!("{error:?}"),
            None => format!("{error:#}"),
        })
    }
}

/// A task that did not come to a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// It was aborted, or its runtime ended.
    #[error("task `{task}`, opened at {place}, was aborted")]
    Aborted {
        /// Its name.
        task: String,
        /// Where it was started.
        place: Place,
    },
    /// It panicked, which fails the case.
    #[error("task `{task}`, opened at {place}, panicked: {message}")]
    Panicked {
        /// Its name.
        task: String,
        /// Where it was started.
        place: Place,
        /// The panic's first line.
        message: String,
    },
}

/// A task of a [`Scope`](super::Scope): awaited, it yields what the task returned. Dropped, the task goes on.
#[derive(Debug)]
pub struct Task<T: TaskOutput> {
    name: String,
    place: Place,
    scope: Weak<Open>,
    abort: AbortHandle,
    /// `None` once its value was taken.
    value: Option<oneshot::Receiver<Result<T, TaskError>>>,
}

impl<T: TaskOutput> Task<T> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends it at its next `await`. That is no failure.
    pub fn abort(&self) {
        self.abort.abort();
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.abort.is_finished()
    }
}

impl<T: TaskOutput> Future for Task<T> {
    type Output = Result<T, TaskError>;

    /// # Panics
    /// When it is polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let value = self
            .value
            .as_mut()
            .expect("a task is not polled after it was ready");
        let value = ready!(Pin::new(value).poll(context));
        self.value = None;
        Poll::Ready(value.unwrap_or_else(|_| {
            Err(TaskError::Aborted {
                task: self.name.clone(),
                place: self.place,
            })
        }))
    }
}

impl<T: TaskOutput> Drop for Task<T> {
    fn drop(&mut self) {
        let Some(value) = &mut self.value else { return };
        // From now on the task finds that nobody will look.
        value.close();
        if let (Ok(Ok(value)), Some(scope)) = (value.try_recv(), self.scope.upgrade()) {
            tell_failure(&scope, &self.name, self.place, &value);
        }
    }
}

fn tell_failure(scope: &Open, name: &str, place: Place, value: &impl TaskOutput) {
    if let Some(error) = value.failure() {
        scope.task_failed(name, place, error);
    }
}

/// Tells the scope that a task is over, also when it is aborted.
struct Ending {
    scope: Weak<Open>,
    number: u64,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(scope) = self.scope.upgrade() {
            scope.ended(self.number);
        }
    }
}

/// Starts a task; `held` is dropped when it is over.
pub(super) fn spawn<F>(
    scope: &Arc<Open>,
    name: String,
    place: Place,
    future: F,
    held: impl Send + 'static,
) -> Result<Task<F::Output>, ScopeError>
where
    F: Future<Output: TaskOutput> + Send + 'static,
{
    let Ok(runtime) = Handle::try_current() else {
        let task = scope.full_name(&name);
        return Err(ScopeError::NoRuntime { task });
    };
    let number = scope.enter(&name, place)?;
    let (sender, receiver) = oneshot::channel();
    let ending = Ending {
        scope: Arc::downgrade(scope),
        number,
    };
    let span = tracing::info_span!("task", name = scope.full_name(&name));
    let task = {
        let (name, scope) = (name.clone(), Arc::downgrade(scope));
        async move {
            let (_ending, _held) = (ending, held);
            let value = caught(future.instrument(span)).await;
            let scope = scope.upgrade();
            let value = value.map_err(|panic| {
                let message = panic.message.clone();
                let task = match &scope {
                    Some(scope) => {
                        scope.task_panicked(&name, place, panic);
                        scope.full_name(&name)
                    }
                    None => name.clone(),
                };
                TaskError::Panicked { task, place, message }
            });
            if let (Err(Ok(value)), Some(scope)) = (sender.send(value), scope) {
                tell_failure(&scope, &name, place, &value);
            }
        }
    };
    let abort = runtime.spawn(task).abort_handle();
    scope.started(number, abort.clone());
    Ok(Task {
        name,
        place,
        scope: Arc::downgrade(scope),
        abort,
        value: Some(receiver),
    })
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ending").field(&self.number).finish()
    }
}
