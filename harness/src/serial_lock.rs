//! `serial` groups across processes: a lock file a group, for runners that start a process for each case.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::artifacts::slug;
use crate::interrupt::{Interrupt, Urgency};

/// How long a case waits for its groups before that is an error.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// Where the lock files are.
#[derive(Debug, Clone)]
pub(crate) struct SerialLocks {
    pub(crate) folder: PathBuf,
}

/// Why a group's lock was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SerialLockError {
    #[error("the lock file {path} of serial group \"{group}\" cannot be used")]
    File {
        group: String,
        path: String,
        source: std::io::Error,
    },
    #[error(
        "serial group \"{group}\" was not free within {}",
        humantime::format_duration(WAIT_MAX)
    )]
    Late { group: String },
    #[error("the run was interrupted while it waited for serial group \"{group}\"")]
    Interrupted { group: String },
}

impl SerialLocks {
    /// Takes the groups' locks, in a fixed order so that two cases never wait for each other; they are free
    /// again when the result is dropped, or the process ends.
    pub(crate) fn acquire(
        &self,
        groups: &[&str],
        interrupt: &Interrupt,
    ) -> Result<Vec<File>, SerialLockError> {
        let mut sorted = groups.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        sorted
            .into_iter()
            .map(|group| self.acquire_one(group, interrupt))
            .collect()
    }

    fn acquire_one(&self, group: &str, interrupt: &Interrupt) -> Result<File, SerialLockError> {
        let path = self.folder.join(format!("serial-{}.lock", slug(group)));
        let failed = |source: std::io::Error| SerialLockError::File {
            group: group.to_owned(),
            path: path.display().to_string(),
            source,
        };
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(failed)?;
        let until = Instant::now() + WAIT_MAX;
        let mut pause = Duration::from_millis(1);
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
            if interrupt.urgency() != Urgency::None {
                return Err(SerialLockError::Interrupted {
                    group: group.to_owned(),
                });
            }
            if Instant::now() >= until {
                return Err(SerialLockError::Late {
                    group: group.to_owned(),
                });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_held_by_one_and_free_after() {
        let folder = tempfile::tempdir().unwrap();
        let locks = SerialLocks {
            folder: folder.path().to_owned(),
        };
        let interrupt = Interrupt::default();
        let held = locks.acquire(&["b", "a", "a"], &interrupt).unwrap();
        assert_eq!(held.len(), 2);
        let again = locks.clone();
        let waiter = std::thread::spawn(move || again.acquire(&["a"], &Interrupt::default()).is_ok());
        assert!(rustix::fs::flock(&held[0], FlockOperation::NonBlockingLockExclusive).is_ok());
        drop(held);
        assert!(waiter.join().unwrap());
    }
}
