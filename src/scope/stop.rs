//! The stop of a scope and those within it: all are quiesced before any is closed.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use robust_test_harness::caught::caught;

use super::TASKS_WITHIN;
use super::open::{Deferred, Open};
use super::report::{StopProblem, StopReport};
use crate::clock::{Began, within};

/// What is kept for each closer that waits for its turn, when time is short.
const KEPT_EACH: Duration = Duration::from_millis(250);
/// How long aborted tasks may take to be dropped.
const ABORT_WITHIN: Duration = Duration::from_millis(200);

pub(super) async fn stop(scope: &Arc<Open>) -> Result<(), StopReport> {
    if scope.begin_stop() {
        // A task of its own: whoever waits for it may be dropped in mid-stop.
        let stop = tokio::spawn({
            let scope = Arc::clone(scope);
            async move { Stop::of(scope).run().await }
        });
        // Its result is in the scope.
        let _over = stop.await;
    }
    scope.stopped().await
}

/// The stop of one scope with everything in it.
struct Stop {
    root: Arc<Open>,
    /// In the order they are closed: the newest children first, the root last.
    all: Vec<Arc<Open>>,
    /// Scopes in it that somebody else is stopping.
    others: Vec<Arc<Open>>,
}

impl Stop {
    /// `root` has begun to stop; those within it do now.
    fn of(root: Arc<Open>) -> Self {
        let (mut all, mut others) = (Vec::new(), Vec::new());
        claim(&root, &mut all, &mut others);
        Self { root, all, others }
    }

    async fn run(self) {
        self.root.token().cancel();
        for scope in &self.all {
            while let Some(quiescer) = scope.pop_quiescer() {
                self.run_deferred(scope, quiescer).await;
            }
        }
        self.end_tasks().await;
        for scope in &self.others {
            // Its problems are told to who stops it.
            let _ended = self.bounded(Duration::MAX, self.waiting(), scope.stopped()).await;
        }
        let mut problems = Vec::new();
        for scope in &self.all {
            loop {
                while let Some(closer) = scope.pop_closer() {
                    self.run_deferred(scope, closer).await;
                }
                // The root's own report has those of all.
                let is_root = Arc::ptr_eq(scope, &self.root);
                let mut own = if is_root {
                    std::mem::take(&mut problems)
                } else {
                    Vec::new()
                };
                match scope.finish_stop(&mut own) {
                    Some(Ok(())) => break,
                    Some(Err(report)) => {
                        problems.extend(report.problems);
                        break;
                    }
                    None => problems.append(&mut own),
                }
            }
        }
    }

    /// Waits for all tasks, and aborts those that go on.
    async fn end_tasks(&self) {
        let ended = async {
            for scope in &self.all {
                scope.tasks_ended().await;
            }
        };
        let Err(waited) = self.bounded(TASKS_WITHIN, self.waiting(), ended).await else {
            return;
        };
        let left = self.all.iter().map(|scope| (scope, scope.abort_tasks()));
        let left: Vec<_> = left.collect();
        let dropped = async {
            for scope in &self.all {
                scope.tasks_ended().await;
            }
        };
        let _named_below = within(ABORT_WITHIN, dropped).await;
        for (scope, tasks) in left {
            for (number, task) in tasks {
                scope.found(StopProblem::TaskLeft {
                    task: task.name,
                    place: task.place,
                    open: task.since.elapsed(),
                    waited,
                    aborted: !scope.runs(number),
                });
            }
        }
    }

    async fn run_deferred(&self, scope: &Open, deferred: Deferred) {
        let Deferred {
            name,
            place,
            limit,
            run,
        } = deferred;
        let closer = scope.full_name(&name);
        let result = self
            .bounded(limit, self.waiting(), caught(async { run().await }))
            .await;
        scope.found(match result {
            Ok(Ok(None)) => return,
            Ok(Ok(Some(error))) => StopProblem::Failed { closer, place, error },
            Ok(Err(panic)) => StopProblem::Panicked {
                closer,
                place,
                panic: panic.to_string(),
            },
            Err(had) => StopProblem::Hung {
                closer,
                place,
                limit: had,
                cut: had < limit,
            },
        });
    }

    /// How many quiescers and closers wait for their turn.
    fn waiting(&self) -> usize {
        self.all.iter().map(|scope| scope.waiting()).sum()
    }

    /// The future's output, unless it takes longer than `own` or than its share of what is left; then how long it had.
    async fn bounded<F: Future>(
        &self,
        own: Duration,
        waiting: usize,
        future: F,
    ) -> Result<F::Output, Duration> {
        let mut future = pin!(future);
        let began = Began::now();
        loop {
            let mut hurried = pin!(self.root.hurried.notified());
            hurried.as_mut().enable();
            let had = began.elapsed();
            let limit = share(own.saturating_sub(had), self.root.left(), waiting);
            tokio::select! {
                biased;
                output = within(limit, &mut future) => return output.map_err(|_| own.min(had + limit)),
                () = hurried => {}
            }
        }
    }
}

/// Begins the stop of everything within `scope`, which has begun its own.
fn claim(scope: &Arc<Open>, all: &mut Vec<Arc<Open>>, others: &mut Vec<Arc<Open>>) {
    for child in scope.children() {
        if child.begin_stop() {
            claim(&child, all, others);
        } else {
            others.push(child);
        }
    }
    all.push(Arc::clone(scope));
}

/// How long something may take that asks for `own`, where all has to be over in `left` and `waiting` others come
/// after it: each of those keeps a little for itself.
fn share(own: Duration, left: Option<Duration>, waiting: usize) -> Duration {
    let Some(left) = left else { return own };
    let waiting = u32::try_from(waiting).unwrap_or(u32::MAX - 1);
    let kept = KEPT_EACH.min(left / (waiting + 1));
    own.min(left.saturating_sub(kept * waiting))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{millis, secs};

    #[test]
    fn everybody_has_a_share_of_what_is_left_and_nobody_more_than_was_asked_for() {
        assert_eq!(share(secs(5), None, 1000), secs(5));
        assert_eq!(share(secs(5), Some(secs(8)), 2), secs(5));
        assert_eq!(share(secs(5), Some(secs(3)), 1), millis(2750));
        assert_eq!(share(secs(5), Some(secs(3)), 0), secs(3));
        let among_many = share(secs(5), Some(secs(3)), 1000);
        assert!(among_many > millis(2) && among_many < millis(4), "{among_many:?}");
        assert_eq!(share(secs(5), Some(Duration::ZERO), 3), Duration::ZERO);
    }
}
