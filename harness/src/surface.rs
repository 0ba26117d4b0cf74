//! What of a process is neither a descriptor too many nor a thread too many, and yet decides how the next
//! case runs in it: where stdout and stderr go and whether they block, which signals are ignored or blocked,
//! how many descriptors it may open.
//!
//! Costs about two microseconds. Signals can only be asked about unsafely.
#![allow(unsafe_code)]

use rustix::fs::OFlags;
use rustix::process::Resource;

/// The signals whose treatment is looked at: those libraries and tests change, and children inherit when
/// they are ignored.
const SIGNALS: [libc::c_int; 5] = [
    libc::SIGPIPE,
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGCHLD,
];

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Surface {
    output: [Option<Output>; 2],
    descriptors_max: Option<u64>,
    blocked: [u8; 8],
    treated: [usize; SIGNALS.len()],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Output {
    device: u64,
    inode: u64,
    flags: OFlags,
}

impl Surface {
    pub(crate) fn now() -> Self {
        Self {
            output: [output(rustix::stdio::stdout()), output(rustix::stdio::stderr())],
            descriptors_max: rustix::process::getrlimit(Resource::Nofile).current,
            blocked: blocked(),
            treated: SIGNALS.map(treatment),
        }
    }

    /// What changed since `before`, in words.
    pub(crate) fn changes(&self, before: &Self) -> Vec<&'static str> {
        let mut changed = Vec::new();
        if self.output != before.output {
            changed.push("stdout or stderr");
        }
        if self.descriptors_max != before.descriptors_max {
            changed.push("the limit of open files");
        }
        if self.blocked != before.blocked || self.treated != before.treated {
            changed.push("how it treats signals");
        }
        changed
    }
}

fn output(descriptor: std::os::fd::BorrowedFd<'_>) -> Option<Output> {
    let stat = rustix::fs::fstat(descriptor).ok()?;
    let flags = rustix::fs::fcntl_getfl(descriptor).ok()?;
    Some(Output {
        device: stat.st_dev,
        inode: stat.st_ino,
        flags,
    })
}

/// The calling thread's blocked signals: in the thread of the cases, those of the processes they start.
fn blocked() -> [u8; 8] {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: with no new set this only writes the present one to `set`, which is zeroed beforehand, so that
    // every byte of it may be read.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), set.as_mut_ptr());
        // The kernel knows 64 signals; the rest of glibc's set is padding.
        *set.as_ptr().cast::<[u8; 8]>()
    }
}

/// What happens at a signal: default, ignored, or the handler's address.
fn treatment(signal: libc::c_int) -> usize {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with no new action this only writes the present one to `action`, for which all zeroes is a
    // valid value too.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_changes_by_looking() {
        let before = Surface::now();
        assert_eq!(Surface::now().changes(&before), [""; 0]);
    }
}
