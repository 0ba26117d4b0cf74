//! What of a process is neither a descriptor too many nor a thread too many, and yet decides how the next
//! case runs in it: where stdout and stderr go and whether they block, which signals are ignored or blocked,
//! how many descriptors it may open; and whether texts that C keeps, the variables and the current directory,
//! are still what they were.
//!
//! It is asked after every case, so it asks C directly and where things are: nothing is allocated, and a look
//! costs little more than its system calls, also in a build without optimisation.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsString, c_char};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt as _;

/// The signals whose treatment is looked at: those libraries and tests change, and children inherit when
/// they are ignored.
const SIGNALS: [libc::c_int; 5] = [
    libc::SIGPIPE,
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGCHLD,
];

unsafe extern "C" {
    /// C's variables: pointers to `NAME=value`, and a null.
    static environ: *const *const c_char;
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Surface {
    output: [Option<Output>; 2],
    /// `None` where it cannot be asked for.
    descriptors_max: Option<u64>,
    blocked: u64,
    treated: [usize; SIGNALS.len()],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Output {
    device: u64,
    inode: u64,
    flags: libc::c_int,
}

impl Surface {
    pub(crate) fn now() -> Self {
        let mut treated = [0; SIGNALS.len()];
        let mut index = 0;
        while index < SIGNALS.len() {
            treated[index] = treatment(SIGNALS[index]);
            index += 1;
        }
        Self {
            output: [output(rustix::stdio::stdout()), output(rustix::stdio::stderr())],
            descriptors_max: descriptors_max(),
            blocked: blocked(),
            treated,
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

/// The current directory and the variables of a moment, to be compared where C has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Texts {
    /// `None` where there is none that can be named: it was removed.
    pub(crate) folder: Option<CString>,
    /// `NAME=value` each, in C's order.
    pub(crate) variables: Vec<CString>,
}

/// Says that nobody else changes variables while they are looked at.
pub(crate) struct Alone(());

impl Alone {
    /// Of how many threads there are `now` and how many there were `before` any case, when all of them were
    /// the harness's own: those change no variables.
    pub(crate) fn when_no_thread_came(now: u64, before: u64) -> Option<Self> {
        (now == before).then_some(Self(()))
    }
}

impl Texts {
    pub(crate) fn now() -> Self {
        let text = |bytes: Vec<u8>| CString::new(bytes).unwrap_or_default();
        let line = |(name, value): (OsString, OsString)| {
            let mut line = name.into_vec();
            line.push(b'=');
            line.extend(value.into_vec());
            text(line)
        };
        Self {
            folder: std::env::current_dir()
                .ok()
                .map(|folder| text(folder.into_os_string().into_vec())),
            variables: std::env::vars_os().map(line).collect(),
        }
    }

    /// Whether both are still the same. May say no of what is: [`Texts::now`] then tells.
    pub(crate) fn are_still(&self, alone: &Alone) -> bool {
        self.folder.as_deref().is_some_and(is_current_folder) && self.are_variables(alone)
    }

    /// The texts are compared and not the pointers alone, since C libraries differ in which they use again.
    fn are_variables(&self, _: &Alone) -> bool {
        // SAFETY: `environ` is null or an array of pointers to C strings that a null ends; it is read up to that
        // null at most. Only a thread that changes variables meanwhile could pull it away, and there is none.
        unsafe {
            let mut place = environ;
            if place.is_null() {
                return self.variables.is_empty();
            }
            for line in &self.variables {
                if (*place).is_null() || libc::strcmp(*place, line.as_ptr()) != 0 {
                    return false;
                }
                place = place.add(1);
            }
            (*place).is_null()
        }
    }
}

/// Whether the current directory is called `folder`. No where the name is too long to tell.
fn is_current_folder(folder: &CStr) -> bool {
    let mut now = MaybeUninit::<[c_char; libc::PATH_MAX as usize]>::uninit();
    let start = now.as_mut_ptr().cast::<c_char>();
    // SAFETY: `start` has room for as many bytes as are announced, and what came without an error is a C string.
    unsafe {
        !libc::getcwd(start, libc::PATH_MAX as usize).is_null() && libc::strcmp(start, folder.as_ptr()) == 0
    }
}

/// The size and the number of links of an open file.
#[allow(
    clippy::useless_conversion,
    reason = "some machines count links in fewer bits"
)]
pub(crate) fn size_and_links(descriptor: BorrowedFd<'_>) -> Option<(u64, u64)> {
    let stat = stat(descriptor)?;
    Some((u64::try_from(stat.st_size).unwrap_or(0), u64::from(stat.st_nlink)))
}

pub(crate) fn umask() -> u32 {
    // SAFETY: takes and gives plain numbers; the second call restores what the first one changed.
    unsafe {
        let mask = libc::umask(0);
        libc::umask(mask);
        mask
    }
}

/// Whether this process has any child, dead or alive.
pub(crate) fn has_children() -> bool {
    let mut child = MaybeUninit::<libc::siginfo_t>::uninit();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `waitid` writes to `child` alone, which is not read; the child stays as it is.
    let found = unsafe { libc::waitid(libc::P_ALL, 0, child.as_mut_ptr(), options) };
    found == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ECHILD)
}

fn output(descriptor: BorrowedFd<'_>) -> Option<Output> {
    let stat = stat(descriptor)?;
    // SAFETY: `F_GETFL` takes and gives plain numbers.
    let flags = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_GETFL) };
    (flags >= 0).then_some(Output {
        device: stat.st_dev,
        inode: stat.st_ino,
        flags,
    })
}

fn stat(descriptor: BorrowedFd<'_>) -> Option<libc::stat> {
    let mut stat = MaybeUninit::uninit();
    // SAFETY: `fstat` writes to `stat` alone, and has written all of it when it returns 0.
    unsafe { (libc::fstat(descriptor.as_raw_fd(), stat.as_mut_ptr()) == 0).then(|| stat.assume_init()) }
}

fn descriptors_max() -> Option<u64> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: `getrlimit` writes to `limit` alone, and has written all of it when it returns 0.
    unsafe {
        (libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) == 0).then(|| limit.assume_init().rlim_cur)
    }
}

/// The calling thread's blocked signals: in the thread of the cases, those of the processes they start.
fn blocked() -> u64 {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: with no new set this only writes the present one to `set`, which is zeroed beforehand, so that
    // every byte of it may be read; it is no smaller than a number.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), set.as_mut_ptr());
        // The kernel knows 64 signals; the rest of glibc's set is padding.
        set.as_ptr().cast::<u64>().read_unaligned()
    }
}

/// What happens at a signal: default, ignored, or the handler's address.
fn treatment(signal: libc::c_int) -> usize {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
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
        assert_eq!(umask(), umask());
    }

    /// One test: the variables are the process's, and no other test of this crate changes any.
    #[test]
    fn variables_are_the_same_when_their_text_is() {
        const NAME: &str = "ROBUST_TEST_OF_VARIABLES";
        // Nobody reads the variables but through the standard library, which locks them.
        let alone = Alone(());
        // SAFETY: as above.
        let set = |value: &str| unsafe { std::env::set_var(NAME, value) };
        let unset = || {
            // SAFETY: as above.
            unsafe { std::env::remove_var(NAME) }
        };
        let without = Texts::now();
        assert!(without.are_variables(&alone));
        set("a");
        assert!(!without.are_variables(&alone), "one more");
        let with = Texts::now();
        assert!(with.are_variables(&alone));
        set("b");
        assert!(!with.are_variables(&alone), "another value");
        set("a");
        assert!(with.are_variables(&alone), "the same text again");
        assert_eq!(Texts::now(), with);
        unset();
        assert!(!with.are_variables(&alone), "one less");
        assert!(without.are_variables(&alone));
        assert_eq!(Texts::now(), without);
    }

    #[test]
    fn a_folder_is_the_same_when_its_name_is() {
        let here = Texts::now().folder.unwrap();
        assert!(is_current_folder(&here));
        assert!(!is_current_folder(c"/nowhere"));
        assert!(!is_current_folder(c""));
    }

    #[test]
    fn a_thread_more_or_less_is_somebody_else() {
        assert!(Alone::when_no_thread_came(2, 2).is_some());
        assert!(Alone::when_no_thread_came(3, 2).is_none());
        assert!(Alone::when_no_thread_came(1, 2).is_none());
    }
}
