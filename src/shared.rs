//! Servers that outlive their case: one that is slow to start serves the next case of its worker as well, after a
//! reset by its kind's function.
//!
//! That is for cases that leave it as it was. What a case killed, stopped, signalled or failed with ends with it, and a
//! reset that fails ends the server too: the next case gets a fresh one. So do cases with `#[settings(..)]`, and those
//! of clusters. While no case has it, the server is in the worker's [`Stash`], attached to no runtime.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use robust_test_harness::case::Case;
use robust_test_harness::error::Error;
use robust_test_harness::stash::{Kept, Stash};

use crate::clock::{human, within};
use crate::instance::Instance;
use crate::place::Place;
use crate::service::Reset;
use crate::view::NodeLink;

const RESET_WITHIN: Duration = Duration::from_secs(10);
/// One with a longer log, in bytes, is not used again: a log has to end, and every failure keeps all of it.
const LOG_BYTES_MAX: u64 = 4 << 20;

/// How a server of one case may go on to the next.
#[derive(Debug)]
pub(crate) struct Sharing {
    stash: Arc<Stash>,
    /// Servers with the same key can stand for one another.
    key: String,
    home: Home,
    /// How many cases it served before this one.
    served: u64,
}

/// The folder with the files of one shared server and its log, removed with it.
#[derive(Debug)]
struct Home(PathBuf);

impl Home {
    fn new(run_folder: &Path) -> std::io::Result<Self> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let home = Self(run_folder.join(format!("shared-{}-{number}", std::process::id())));
        std::fs::create_dir_all(&home.0)?;
        Ok(home)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What cannot be removed is removed with the run's folder.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// A server that serves no case at present. Its fields are dropped in this order: it ends before its files do.
struct Parked {
    instance: Instance,
    place: Arc<Place>,
    home: Home,
    served: u64,
}

impl Kept for Parked {
    fn groups(&self) -> Vec<u32> {
        self.instance.pid().into_iter().collect()
    }

    fn descriptors(&self) -> Vec<u32> {
        self.place.descriptors()
    }
}

/// A server for a case.
pub(crate) enum Shared {
    /// A place in which one has to be started.
    Fresh(Arc<Place>, Sharing),
    /// One that served cases before.
    Running(Arc<Place>, Instance, Sharing),
}

impl Sharing {
    /// The server for `case` that is kept under `key`, reset; else the place that `make` makes in a folder.
    pub(crate) async fn obtain(
        case: &Case,
        stash: &Arc<Stash>,
        key: String,
        reset: Reset,
        make: impl FnOnce(&Path) -> Place,
    ) -> Result<Shared, Error> {
        let parked = stash
            .take(&key)
            .and_then(|parked| parked.downcast::<Parked>().ok());
        if let Some(parked) = parked {
            let node = parked.place.name().to_owned();
            match take_over(&parked, case, reset).await {
                Ok(()) => {
                    let Parked {
                        instance,
                        place,
                        home,
                        served,
                    } = *parked;
                    tracing::info!(node, pid = instance.pid(), served, "reset, and used again");
                    let stash = Arc::clone(stash);
                    let sharing = Self {
                        stash,
                        key,
                        home,
                        served,
                    };
                    return Ok(Shared::Running(place, instance, sharing));
                }
                Err(why) => {
                    tracing::warn!(node, "it served a case before and cannot be used again: {why}");
                    // Should that fail, the harness finds what is left of it.
                    let _ended = parked.instance.end().await;
                }
            }
        }
        let home = Home::new(case.run_folder())?;
        let place = make(&home.0);
        place.enter(case.name(), case.folder()?)?;
        let sharing = Self {
            stash: Arc::clone(stash),
            key,
            home,
            served: 0,
        };
        Ok(Shared::Fresh(Arc::new(place), sharing))
    }

    /// Keeps a server that its case left as it was for another; gives it back where that cannot be.
    pub(crate) fn park(self, place: &Arc<Place>, instance: Instance) -> Result<(), (Self, Instance)> {
        let length = place.log().path().metadata().map_or(0, |metadata| metadata.len());
        if length > LOG_BYTES_MAX || !instance.detach() {
            return Err((self, instance));
        }
        let parked = Parked {
            instance,
            place: Arc::clone(place),
            home: self.home,
            served: self.served + 1,
        };
        self.stash.keep(self.key, Box::new(parked));
        Ok(())
    }

    /// Leaves the files of a server that has ended to its case, as those of any other server.
    pub(crate) fn leave(self, place: &Place, case: Option<&Case>) {
        if self.served > 0 && case.is_some_and(|case| !case.is_fine()) {
            // Not `println!`: the case may have closed it.
            let _closed = writeln!(
                std::io::stdout(),
                "server `{}` was shared: it had served {} cases before this one, as its log tells; alone this case gets \
                 a fresh one",
                place.name(),
                self.served
            );
        }
        let moved = case.map(|case| {
            let files = case.folder()?.join(place.name());
            match std::fs::rename(place.folder_path(), files) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                other => other,
            }
        });
        if let Some(Err(error)) = moved {
            tracing::warn!(node = place.name(), %error, "its files cannot be moved to the case's folder");
        }
    }
}

/// Makes a parked server one of `case`; why that is not possible otherwise.
async fn take_over(parked: &Parked, case: &Case, reset: Reset) -> Result<(), String> {
    let Parked { instance, place, .. } = parked;
    instance
        .attach()
        .map_err(|error| format!("it cannot be watched: {error}"))?;
    if let Some(exit) = instance.exit_now() {
        return Err(format!("it {exit} while no case used it{}", instance.tail()));
    }
    let link = NodeLink::new(Arc::clone(place), case.clone());
    match within(RESET_WITHIN, reset(link)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(format!("its reset failed: {error:#}")),
        Err(_) => return Err(format!("its reset took longer than {}", human(RESET_WITHIN))),
    }
    if let Some(exit) = instance.exit_now() {
        return Err(format!("it {exit} in its reset{}", instance.tail()));
    }
    let entered = case.folder().and_then(|folder| place.enter(case.name(), folder));
    entered.map_err(|error| format!("its log cannot be shared: {error}"))
}
