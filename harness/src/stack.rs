//! The stacks of this process's threads, as addresses: of the calling one, and of another one by a signal.
//!
//! A signal's handler may interrupt its thread anywhere, also inside the allocator, so this one allocates nothing,
//! takes no lock of ours and names nothing: it walks the stack, stores addresses in memory that was made before and
//! wakes the thread that asked. The walk is that of the unwinder. Since glibc 2.35 that one finds its tables without
//! a lock; before, it takes one that a thread may take twice, and that another thread could only keep from it by being
//! stuck while libraries are loaded. So a walk may hang or fault in theory, in a process that is ended anyway: who asks
//! waits a moment only, and the runner has a deadline for all of it.
//!
//! Nothing is restored or freed: a thread that blocks the signal may take it at any later time. It is for a process
//! that runs no other case.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::futex;

/// Deeper stacks lose their outermost frames.
const FRAMES_MAX: usize = 192;

/// So often a stack is taken at most whose walk came no further than where the thread was interrupted: the unwinder has no tables
/// for the stubs by which calls get into other libraries, where the linker writes none. A thread is in one for an instruction.
const TIMES_MAX: usize = 5;

/// The unwinder's.
#[repr(C)]
struct Context {
    _opaque: [u8; 0],
}

// That of 32-bit ARM has no such functions.
#[cfg(not(target_arch = "arm"))]
unsafe extern "C-unwind" {
    fn _Unwind_Backtrace(
        step: unsafe extern "C-unwind" fn(*mut Context, *mut c_void) -> c_int,
        walk: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIPInfo(context: *mut Context, is_before: *mut c_int) -> usize;
}

/// Where a walk stores what it finds.
struct Walk<'a> {
    frames: &'a [AtomicUsize; FRAMES_MAX],
    count: usize,
    /// The first frame that was interrupted and did not call: what is above is the handler.
    interrupted: usize,
}

#[cfg(not(target_arch = "arm"))]
unsafe extern "C-unwind" fn step(context: *mut Context, walk: *mut c_void) -> c_int {
    /// Anything but `_URC_NO_REASON` ends the walk.
    const END: c_int = 5;
    // SAFETY: `walk` is what `Walk::run` handed in, which waits for the end of the walk; `context` is the unwinder's.
    let (walk, address, is_before) = unsafe {
        let mut is_before = 0;
        let address = _Unwind_GetIPInfo(context, &raw mut is_before);
        (&mut *walk.cast::<Walk<'_>>(), address, is_before != 0)
    };
    if address == 0 || walk.count == FRAMES_MAX {
        return END;
    }
    if is_before && walk.interrupted == 0 {
        walk.interrupted = walk.count;
    }
    // A call's own address, not the one it returns to: that may be of the next line, or the next function.
    let address = if is_before { address } else { address - 1 };
    walk.frames[walk.count].store(address, Ordering::Relaxed);
    walk.count += 1;
    0
}

impl<'a> Walk<'a> {
    fn run(frames: &'a [AtomicUsize; FRAMES_MAX]) -> Self {
        let mut walk = Self {
            frames,
            count: 0,
            interrupted: 0,
        };
        #[cfg(not(target_arch = "arm"))]
        // SAFETY: `step` uses `walk` as what it is, and only until this returns.
        unsafe {
            _Unwind_Backtrace(step, (&raw mut walk).cast());
        }
        walk
    }
}

/// The calling thread's stack, innermost frame first, this function's own among them.
pub(crate) fn own() -> Vec<usize> {
    let frames = [const { AtomicUsize::new(0) }; FRAMES_MAX];
    let walk = Walk::run(&frames);
    let taken = &frames[..walk.count];
    taken.iter().map(|frame| frame.load(Ordering::Relaxed)).collect()
}

/// What the handler works on.
struct Request {
    thread: i32,
    frames: [AtomicUsize; FRAMES_MAX],
    first: AtomicUsize,
    count: AtomicUsize,
    /// 1 once the others are set; a futex.
    done: AtomicU32,
}

static REQUEST: AtomicPtr<Request> = AtomicPtr::new(std::ptr::null_mut());

extern "C" fn handle(_signal: c_int) {
    // SAFETY: requests are never freed.
    let Some(request) = (unsafe { REQUEST.load(Ordering::Acquire).as_ref() }) else {
        return;
    };
    // Those of rustix neither allocate nor touch `errno`.
    if request.thread != rustix::thread::gettid().as_raw_nonzero().get() {
        return;
    }
    let walk = Walk::run(&request.frames);
    request.first.store(walk.interrupted, Ordering::Relaxed);
    request.count.store(walk.count, Ordering::Relaxed);
    request.done.store(1, Ordering::Release);
    let _woken_or_late = futex::wake(&request.done, futex::Flags::PRIVATE, 1);
}

/// The stacks of other threads; one at a time in a process.
pub(crate) struct Sampler(c_int);

impl Sampler {
    /// Gives a signal that hardly anybody uses its handler; `None` when the system refuses.
    pub(crate) fn install() -> Option<Self> {
        let signal = libc::SIGRTMAX() - 2;
        // SAFETY: all zeroes is a valid action, and `handle` keeps to what a handler may do. Calls that were
        // interrupted go on where the system can make them.
        let done = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        (done == 0).then_some(Self(signal))
    }

    /// The stack of another thread, innermost frame first, from where it was interrupted. `None` when it did not
    /// answer `within` that time: it blocks the signal, is stopped, or waits where no signal ends that.
    pub(crate) fn take(&self, thread: u32, within: Duration) -> Option<Vec<usize>> {
        let until = Instant::now() + within;
        let thread = i32::try_from(thread).ok()?;
        let mut stack = self.take_once(thread, until)?;
        for _ in 1..TIMES_MAX {
            if stack.len() > 1 {
                break;
            }
            stack = self.take_once(thread, until).unwrap_or(stack);
        }
        Some(stack)
    }

    fn take_once(&self, thread: i32, until: Instant) -> Option<Vec<usize>> {
        // Never freed: the signal may be taken when nobody waits for it any more.
        let request: &'static Request = Box::leak(Box::new(Request {
            thread,
            frames: [const { AtomicUsize::new(0) }; FRAMES_MAX],
            first: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
            done: AtomicU32::new(0),
        }));
        REQUEST.store(std::ptr::from_ref(request).cast_mut(), Ordering::Release);
        let (process, own) = (rustix::process::getpid(), libc::SYS_tgkill);
        // SAFETY: takes plain numbers; the signal has a handler.
        let sent = unsafe { libc::syscall(own, process.as_raw_nonzero().get(), thread, self.0) };
        if sent != 0 {
            return None;
        }
        while request.done.load(Ordering::Acquire) == 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let left = rustix::time::Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let _woken_or_over = futex::wait(&request.done, futex::Flags::PRIVATE, 0, Some(&left));
        }
        let (first, count) = (
            request.first.load(Ordering::Relaxed),
            request.count.load(Ordering::Relaxed),
        );
        let taken = &request.frames[first.min(count)..count];
        Some(taken.iter().map(|frame| frame.load(Ordering::Relaxed)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// Stacks are taken one at a time in a process.
    static ONE: Mutex<()> = Mutex::new(());

    fn waits_here(up: &std::sync::mpsc::Sender<u32>, end: &std::sync::mpsc::Receiver<()>) {
        let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        up.send(thread).unwrap();
        end.recv().unwrap_err();
    }

    #[test]
    fn stacks_have_the_functions_that_were_called() {
        let _one = ONE.lock().unwrap();
        let (up, is_up) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || waits_here(&up, &ended));
        let number = is_up.recv().unwrap();
        let sampler = Sampler::install().unwrap();
        let frames = sampler.take(number, Duration::from_secs(10)).unwrap();
        let own = own();
        assert_eq!(sampler.take(u32::MAX, Duration::from_secs(1)), None);
        drop(end);
        thread.join().unwrap();
        let named = |frames: &[usize]| {
            let names = crate::probe::names_of_own(frames);
            names
                .iter()
                .map(|frame| frame.function.clone())
                .collect::<Vec<_>>()
        };
        let has = |names: &[String], part: &str| names.iter().any(|name| name.contains(part));
        let (theirs, own) = (named(&frames), named(&own));
        assert!(has(&theirs, "waits_here"), "{theirs:?}");
        assert!(!has(&theirs, "stack::handle"), "{theirs:?}");
        assert!(!has(&own, "waits_here"), "{own:?}");
        assert!(has(&own, "stacks_have_the_functions_that_were_called"), "{own:?}");
    }

    #[inline(never)]
    fn fills_here(is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) {
            drop(std::hint::black_box(vec![1_u8; 64]));
        }
    }

    #[test]
    fn a_thread_that_calls_into_libraries_all_the_time_tells_who_calls() {
        let _one = ONE.lock().unwrap();
        static IS_OVER: AtomicBool = AtomicBool::new(false);
        let (up, is_up) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let own = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
            up.send(own).unwrap();
            fills_here(&IS_OVER);
        });
        let number = is_up.recv().unwrap();
        let sampler = Sampler::install().unwrap();
        let lone = (0..2000).filter(|_| {
            let stack = sampler.take(number, Duration::from_secs(10)).unwrap();
            stack.len() == 1
        });
        let lone = lone.count();
        IS_OVER.store(true, Ordering::Relaxed);
        thread.join().unwrap();
        assert_eq!(lone, 0, "stacks of one frame");
    }
}
