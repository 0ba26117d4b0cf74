//! Children of this process have copies of its descriptors, until they execute something or end. What is open for a moment
//! alone, and in nobody's way afterwards, must not be copied: a port that was tried would stay taken.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by who forks, until the child has executed or ended, and by who has something open that no child may have.
pub(crate) fn hold_off() -> MutexGuard<'static, ()> {
    static FORKS: Mutex<()> = Mutex::new(());
    FORKS.lock().unwrap_or_else(PoisonError::into_inner)
}
