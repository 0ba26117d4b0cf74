//! Waiting for other workers to end where the system has no room for one more process.

use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::interrupt::{Interrupt, Urgency};
use crate::launcher::Launcher;

/// How long a case waits for other workers to end when the system has no room for one more process.
const ROOM_WITHIN: Duration = Duration::from_secs(60);
/// How long it goes on trying when there is no other worker.
const ALONE_WITHIN: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Default)]
pub(crate) struct Patience {
    until: Option<Instant>,
    /// Since when no other worker lives. The last one's room is free only a moment after it ended.
    alone: Option<Instant>,
}

impl Patience {
    /// Whether it is worth another try, after a moment.
    pub(crate) fn wait_for_room(
        &mut self,
        error: &io::Error,
        launcher: &Launcher,
        interrupt: &Interrupt,
    ) -> bool {
        let now = Instant::now();
        let until = *self.until.get_or_insert(now + ROOM_WITHIN);
        let full = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE]
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
        if launcher.has_workers() {
            self.alone = None;
        } else {
            self.alone.get_or_insert(now);
        }
        let in_vain = self.alone.is_some_and(|since| now - since >= ALONE_WITHIN);
        let interrupted = interrupt.urgency() != Urgency::None;
        if !full || interrupted || in_vain || now >= until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
        true
    }
}
