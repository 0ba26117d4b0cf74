//! The thread that a case's proxies and hostile peers run on, with a runtime of its own: they go on while the scenario's code
//! computes or blocks, and by the machine's clock where that code has tokio's paused.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use once_cell::sync::OnceCell;
use robust_test_harness::case::Case;
use robust_test_harness::error::error;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::clock::{human, within};

const END_WITHIN: Duration = Duration::from_secs(5);

/// One for all proxies and hostile peers of a case.
#[derive(Debug)]
pub(crate) struct NetworkThread {
    runtime: Handle,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    /// Its drop ends the thread.
    _stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl NetworkThread {
    /// The case's, started when it is asked for the first time; ended with the case, when everything that was asked for
    /// later is.
    pub(crate) fn of(case: &Case) -> io::Result<Arc<Self>> {
        let place = case.shared(OnceCell::<Arc<Self>>::new);
        let mut is_new = false;
        let thread = place.get_or_try_init(|| {
            is_new = true;
            Self::start().map(Arc::new)
        })?;
        if is_new {
            let thread = Arc::clone(thread);
            case.defer("the proxies and hostile peers", move || async move {
                thread.end().await
            });
        }
        Ok(Arc::clone(thread))
    }

    fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ending, ended) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("network".to_owned())
            .spawn(move || {
                let _dropped = runtime.block_on(stopped);
                // Drops its tasks, and with them every socket.
                drop(runtime);
                let _nobody_waits = ending.send(());
            })?;
        Ok(Self {
            runtime: handle,
            running: Mutex::new(Some(Running {
                _stop: stop,
                ended,
                thread,
            })),
        })
    }

    /// Where its tasks are spawned.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    async fn end(&self) -> Result<(), robust_test_harness::error::Error> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { _stop, ended, thread }) = running else {
            return Ok(());
        };
        drop(_stop);
        if within(END_WITHIN, ended).await.is_err() {
            return Err(error(format!(
                "their thread goes on {} after it was to end",
                human(END_WITHIN)
            )));
        }
        // A panic in it was told by the hook.
        let _panicked = thread.join();
        Ok(())
    }
}
