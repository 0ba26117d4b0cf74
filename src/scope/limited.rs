//! Groups of tasks of which only so many run at a time.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::open::Open;
use super::report::{Place, ScopeError};
use super::task::{self, Task, TaskOutput};

/// Tasks of a scope of which at most so many run at a time; made by [`Scope::limited`](super::Scope::limited).
/// Clones share the limit.
#[derive(Clone)]
pub struct Limited {
    scope: Arc<Open>,
    name: Arc<str>,
    limit: usize,
    room: Arc<Semaphore>,
    started: Arc<AtomicU64>,
}

impl Limited {
    pub(super) fn new(scope: Arc<Open>, name: String, limit: usize) -> Self {
        Self {
            scope,
            name: name.into(),
            limit,
            room: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))),
            started: Arc::default(),
        }
    }

    /// Starts a task when there is room for it: waits for that in turn, until the scope stops.
    ///
    /// # Errors
    /// When the scope is stopping, or outside of a runtime.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> impl Future<Output = Result<Task<F::Output>, ScopeError>> + use<F>
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        let (group, place) = (self.clone(), Place::caller());
        async move {
            let room = Arc::clone(&group.room).acquire_owned();
            // The semaphore is never closed.
            match group.scope.token().run_until_cancelled(room).await {
                Some(Ok(room)) => group.start(place, future, room),
                Some(Err(_)) | None => Err(ScopeError::Stopping {
                    what: group.scope.full_name(&group.name),
                }),
            }
        }
    }

    /// Starts a task at once, or not.
    ///
    /// # Errors
    /// When as many run as may, when the scope is stopping, or outside of a runtime.
    #[track_caller]
    pub fn try_spawn<F>(&self, future: F) -> Result<Task<F::Output>, ScopeError>
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        match Arc::clone(&self.room).try_acquire_owned() {
            Ok(room) => self.start(Place::caller(), future, room),
            Err(_) => Err(ScopeError::Full {
                group: self.scope.full_name(&self.name),
                limit: self.limit,
            }),
        }
    }

    fn start<F>(
        &self,
        place: Place,
        future: F,
        room: OwnedSemaphorePermit,
    ) -> Result<Task<F::Output>, ScopeError>
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        let number = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        let name = format!("{}-{number}", self.name);
        task::spawn(&self.scope, name, place, future, room)
    }
}

impl std::fmt::Debug for Limited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limited")
            .field("name", &self.name)
            .field("limit", &self.limit)
            .field("room", &self.room.available_permits())
            .finish()
    }
}
