//! A node that runs inside the case's own process: an embedded server, on a thread of its own.
//!
//! [`crate::node::Node::task`] gives an async server its own single-threaded runtime on that thread. So a
//! kill takes everything with it, also the tasks the server spawned for its connections: the runtime is
//! dropped, and each connection closes as it does when a process dies. Memory is not taken back, and
//! statics live on: what a server keeps in those survives a kill that a process would not.
//!
//! [`crate::node::Node::thread`] runs a blocking server. A thread cannot be killed: a kill runs its
//! `on_kill` closure, which must make the thread return soon, and without one is no more than a stop.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::{Deadline, within};
use crate::exit::Exit;

/// How long a thread may take to end after a kill.
const END_WITHIN: Duration = Duration::from_secs(10);
/// The same when nothing can be awaited: in `Drop`.
const DROP_WITHIN: Duration = Duration::from_secs(2);

/// Tells an in-process server that it is asked to stop; clones share it.
///
/// ```
/// # async fn accept() {}
/// # async fn serve(stopping: robust_test::in_process::Stopping) {
/// loop {
///     tokio::select! {
///         () = stopping.requested() => break,
///         () = accept() => {}
///     }
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Stopping(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    raised: Mutex<bool>,
    changed: Condvar,
    notify: Notify,
}

impl Flag {
    fn raised(&self) -> MutexGuard<'_, bool> {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn raise(&self) {
        *self.raised() = true;
        self.changed.notify_all();
        self.notify.notify_waiters();
    }

    async fn wait(&self) {
        let mut notified = pin!(self.notify.notified());
        // Registered before the look, or a raise in between would be missed.
        notified.as_mut().enable();
        if !*self.raised() {
            notified.await;
        }
    }

    /// Whether it was raised within `limit`.
    fn wait_blocking(&self, limit: Duration) -> bool {
        let deadline = Deadline::after(limit);
        let mut raised = self.raised();
        while !*raised && !deadline.passed() {
            (raised, _) = self
                .changed
                .wait_timeout(raised, deadline.left())
                .unwrap_or_else(PoisonError::into_inner);
        }
        *raised
    }
}

impl Stopping {
    /// Waits until the server is asked to stop.
    pub async fn requested(&self) {
        self.0.wait().await;
    }

    /// Whether the server is asked to stop.
    pub fn is_requested(&self) -> bool {
        *self.0.raised()
    }

    /// Waits on this thread until the server is asked to stop, or `limit` is over; whether it is asked to.
    pub fn requested_within(&self, limit: Duration) -> bool {
        self.0.wait_blocking(limit)
    }
}

type OnKill = Box<dyn FnOnce() + Send>;

/// A server on a thread of this process.
pub(crate) struct InProcess {
    stopping: Stopping,
    killed: Arc<Flag>,
    kill_is_stop: bool,
    on_kill: Mutex<Option<OnKill>>,
    ended: Arc<Flag>,
    exit: Arc<OnceLock<Exit>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the function of an in-process server may return: `()`, or a `Result` of it whose error has `Display`.
#[diagnostic::on_unimplemented(
    message = "a server's function returns `()` or a `Result` of it, not `{Self}`",
    note = "the error of a `Result` needs `Display`"
)]
pub trait Ending: 'static {
    /// The error's text, if it is one.
    ///
    /// # Errors
    /// When the server failed.
    fn ending(self) -> Result<(), String>;
}

impl Ending for () {
    fn ending(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: std::fmt::Display + 'static> Ending for Result<(), E> {
    fn ending(self) -> Result<(), String> {
        self.map_err(|error| format!("{error:#}"))
    }
}

/// What runs on the thread.
pub(crate) struct Serve {
    run: Box<dyn FnOnce(Stopping, Killed) -> Exit + Send>,
    /// Whether it knows no kill and is asked to stop instead.
    kill_is_stop: bool,
}

/// Raised by a kill.
pub(crate) struct Killed(Arc<Flag>);

/// An async server, to run until it returns or is dropped by a kill.
pub(crate) fn task<F, Fut>(serve: F) -> Serve
where
    F: FnOnce(Stopping) -> Fut + Send + 'static,
    Fut: Future<Output: Ending> + Send + 'static,
{
    let run = |stopping, killed: Killed| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return Exit::Failed(format!("cannot make its runtime: {error}")),
        };
        let exit = runtime.block_on(async {
            // As a task, so that it also runs while the one below waits, and its panic is caught.
            let mut server = tokio::spawn(async move { exit_of(serve(stopping).await) });
            tokio::select! {
                biased;
                () = killed.0.wait() => Exit::Dropped,
                ended = &mut server => ended.unwrap_or_else(|error| match error.try_into_panic() {
                    Ok(panic) => panicked(&*panic),
                    Err(_) => Exit::Dropped,
                }),
            }
        });
        // Drops the tasks here; does not wait for what it calls with `spawn_blocking`.
        runtime.shutdown_background();
        exit
    };
    Serve {
        run: Box::new(run),
        kill_is_stop: false,
    }
}

/// A blocking server.
pub(crate) fn thread<F, R>(serve: F) -> Serve
where
    F: FnOnce(Stopping) -> R + Send + 'static,
    R: Ending,
{
    Serve {
        run: Box::new(|stopping, _| exit_of(serve(stopping))),
        kill_is_stop: true,
    }
}

fn exit_of(ending: impl Ending) -> Exit {
    match ending.ending() {
        Ok(()) => Exit::Returned,
        Err(text) => Exit::Failed(text),
    }
}

fn panicked(payload: &(dyn std::any::Any + Send)) -> Exit {
    let message = payload
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    Exit::Panicked(message.unwrap_or_else(|| "(no message)".to_owned()))
}

impl InProcess {
    /// Starts `serve` on a thread named after the node, whose log gets what that thread traces.
    pub(crate) fn spawn(
        name: &str,
        serve: Serve,
        on_kill: Option<OnKill>,
        log: std::fs::File,
    ) -> std::io::Result<Self> {
        let stopping = Stopping(Arc::default());
        let killed: Arc<Flag> = Arc::default();
        let ended: Arc<Flag> = Arc::default();
        let exit: Arc<OnceLock<Exit>> = Arc::default();
        let Serve { run, kill_is_stop } = serve;
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn({
            let (stopping, killed) = (stopping.clone(), Killed(killed.clone()));
            let (ended, exit) = (ended.clone(), exit.clone());
            move || {
                robust_test_harness::trace::also_to(log);
                let how = catch_unwind(AssertUnwindSafe(|| run(stopping, killed)));
                let _ = exit.set(how.unwrap_or_else(|payload| panicked(&*payload)));
                ended.raise();
            }
        })?;
        Ok(Self {
            stopping,
            killed,
            kill_is_stop,
            on_kill: Mutex::new(on_kill),
            ended,
            exit,
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(crate) fn exit_now(&self) -> Option<Exit> {
        self.exit.get().cloned()
    }

    pub(crate) async fn exited(&self) -> Exit {
        self.ended.wait().await;
        self.exit_now().unwrap_or(Exit::Unknown)
    }

    /// Whether a kill drops it, where it is; others return by themselves when they are killed.
    pub(crate) fn is_dropped_by_kill(&self) -> bool {
        !self.kill_is_stop
    }

    /// Ends when it has ended, and does not keep it.
    pub(crate) fn end_notice(&self) -> impl Future<Output = ()> + Send + use<> {
        let ended = Arc::clone(&self.ended);
        async move { ended.wait().await }
    }

    /// Asks it to stop.
    pub(crate) fn stop(&self) {
        self.stopping.0.raise();
    }

    fn kill(&self) {
        if self.exit.get().is_some() {
            return;
        }
        self.killed.raise();
        let on_kill = self.on_kill.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(on_kill) = on_kill {
            on_kill();
        }
        if self.kill_is_stop {
            self.stop();
        }
    }

    /// Ends it at once; false when the thread is still running long after.
    pub(crate) async fn end(&self) -> bool {
        self.kill();
        let ended = within(END_WITHIN, self.exited()).await.is_ok();
        if ended {
            self.join();
        }
        ended
    }

    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Its panics were caught.
            let _ = thread.join();
        }
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.kill();
        if self.ended.wait_blocking(DROP_WITHIN) {
            self.join();
        }
    }
}

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InProcess").field("exit", &self.exit).finish()
    }
}
