//! What a worker tells of itself when the time of its case is over, before the case is asked to end: the stack of
//! each thread, where the case's code waits, how many tasks live.
//!
//! The worker's main thread asks and gathers; addresses are named by the runner, which has the time for it and does
//! it once for many cases.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::awaits::poll_noting;
use crate::stack::Sampler;

/// How long one thread may take to tell its stack.
const THREAD_WITHIN: Duration = Duration::from_millis(100);
/// How long all of them may.
const THREADS_WITHIN: Duration = Duration::from_secs(1);
/// More threads than this are not asked.
const THREADS_MAX: usize = 64;
/// How long the case's code may take to be polled once more.
const POLL_WITHIN: Duration = Duration::from_millis(500);
/// How often the stack of code that takes no waker is looked at, and for how long at most.
const SAMPLES: usize = 64;
const SAMPLE_PAUSE: Duration = Duration::from_millis(1);
const SAMPLE_WITHIN: Duration = Duration::from_millis(200);

/// An address in a file that is mapped into memory, so that another process of the same program can name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address {
    /// An index into [`Stacks::modules`]; none for code without a file.
    pub(crate) module: Option<u32>,
    /// From the file's first byte in memory.
    pub(crate) offset: u64,
}

/// What a worker tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stacks {
    /// The files that the addresses are in.
    pub(crate) modules: Vec<String>,
    /// By thread, innermost frame first; `None` for one that did not answer.
    pub(crate) threads: BTreeMap<u32, Option<Vec<Address>>>,
    /// For everything the case's code waits for: the calls that lead to it, innermost first.
    pub(crate) awaits: Vec<Vec<Address>>,
    /// Where its code takes no waker, stacks from while it was polled over and over: some of them are from where it
    /// ends, and others from the loop that polls.
    pub(crate) samples: Vec<Vec<Address>>,
    /// How many tasks the case's runtime has.
    pub(crate) tasks: Option<usize>,
}

const ELSEWHERE: u8 = 0;
/// The case's code was polled and waits.
const WAITS: u8 = 1;
const IS_POLLED: u8 = 2;

/// Where the thread of the cases and the one that asks meet.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    state: AtomicU8,
    /// The id of the thread of the cases.
    thread: AtomicU32,
    /// The runtime's, while there is one: it keeps descriptors open.
    runtime: Mutex<Option<tokio::runtime::Handle>>,
    question: Mutex<Question>,
    answered: Condvar,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Question {
    #[default]
    None,
    Asked,
    /// The stacks that took the waker.
    Noted(Vec<Vec<usize>>),
    /// Nothing took it; it is polled on until the question is [`Question::Over`].
    PolledOn,
    Over,
}

impl Probe {
    /// From the thread of the cases, once.
    pub(crate) fn is_here(&self) {
        let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        self.thread.store(thread, Ordering::Relaxed);
    }

    /// The runtime of the next cases; `None` before it is dropped.
    pub(crate) fn set_runtime(&self, runtime: Option<tokio::runtime::Handle>) {
        *self.runtime.lock().unwrap_or_else(PoisonError::into_inner) = runtime;
    }

    fn question(&self) -> MutexGuard<'_, Question> {
        self.question.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls the case's code.
    pub(crate) fn poll<F: Future>(
        &self,
        mut future: Pin<&mut F>,
        context: &mut Context<'_>,
    ) -> Poll<F::Output> {
        self.state.store(IS_POLLED, Ordering::Relaxed);
        let mut polled = future.as_mut().poll(context);
        if polled.is_pending() && self.is_asked() {
            polled = self.answer(future, context);
        }
        let state = if polled.is_pending() { WAITS } else { ELSEWHERE };
        self.state.store(state, Ordering::Release);
        polled
    }

    fn is_asked(&self) -> bool {
        *self.question() == Question::Asked
    }

    fn answer<F: Future>(&self, mut future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
        let (polled, stacks) = poll_noting(future.as_mut(), context);
        let is_noted = polled.is_ready() || !stacks.is_empty();
        *self.question() = if is_noted {
            Question::Noted(stacks)
        } else {
            Question::PolledOn
        };
        self.answered.notify_all();
        if is_noted {
            return polled;
        }
        let until = Instant::now() + 2 * SAMPLE_WITHIN;
        while Instant::now() < until {
            let mut polls = 0;
            while polls < 200 {
                if let Poll::Ready(output) = future.as_mut().poll(context) {
                    return Poll::Ready(output);
                }
                polls += 1;
            }
            if *self.question() == Question::Over {
                break;
            }
        }
        Poll::Pending
    }

    /// Gathers what there is. `wake` has the case's code polled.
    pub(crate) fn look(&self, wake: impl FnOnce()) -> Stacks {
        let Some(sampler) = Sampler::install() else {
            return Stacks::default();
        };
        let waits = self.state.load(Ordering::Acquire) == WAITS;
        let until = Instant::now() + THREADS_WITHIN;
        let own = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        let mut threads = BTreeMap::new();
        for thread in threads_but(own).into_iter().take(THREADS_MAX) {
            let left = until.saturating_duration_since(Instant::now());
            threads.insert(thread, sampler.take(thread, left.min(THREAD_WITHIN)));
        }
        let (awaits, samples) = if waits {
            self.awaits(&sampler, wake)
        } else {
            Default::default()
        };
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        let tasks = runtime
            .as_ref()
            .map(|runtime| runtime.metrics().num_alive_tasks());
        drop(runtime);
        let mut modules = Modules::read();
        Stacks {
            awaits: awaits.iter().map(|stack| modules.place(stack)).collect(),
            samples: samples.iter().map(|stack| modules.place(stack)).collect(),
            threads: threads
                .into_iter()
                .map(|(thread, stack)| (thread, stack.map(|stack| modules.place(&stack))))
                .collect(),
            modules: modules.used,
            tasks,
        }
    }

    /// The stacks that took the waker, and those of samples where none did.
    fn awaits(&self, sampler: &Sampler, wake: impl FnOnce()) -> (Vec<Vec<usize>>, Vec<Vec<usize>>) {
        *self.question() = Question::Asked;
        wake();
        let asked = |question: &mut Question| *question == Question::Asked;
        let (mut question, _) = self
            .answered
            .wait_timeout_while(self.question(), POLL_WITHIN, asked)
            .unwrap_or_else(PoisonError::into_inner);
        let is_polled = *question == Question::PolledOn;
        if let Question::Noted(stacks) = std::mem::take(&mut *question) {
            return (stacks, Vec::new());
        }
        if !is_polled {
            return Default::default();
        }
        *question = Question::PolledOn;
        drop(question);
        let until = Instant::now() + SAMPLE_WITHIN;
        let thread = self.thread.load(Ordering::Relaxed);
        let samples = (0..SAMPLES).map_while(|_| {
            // A moment for it to get on: a stack at a time.
            std::thread::sleep(SAMPLE_PAUSE);
            let left = until.saturating_duration_since(Instant::now());
            (!left.is_zero()).then(|| sampler.take(thread, left)).flatten()
        });
        let mut samples: Vec<Vec<usize>> = samples.collect();
        *self.question() = Question::Over;
        samples.sort();
        samples.dedup();
        (Vec::new(), samples)
    }
}

fn threads_but(own: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let mut threads: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&thread| thread != own)
        .collect();
    threads.sort_unstable();
    threads
}

/// What is mapped into this process.
struct Modules {
    /// Start, end and path, and where the path's first mapping starts.
    mapped: Vec<(u64, u64, String, u64)>,
    used: Vec<String>,
}

impl Modules {
    fn read() -> Self {
        let text = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        Self {
            mapped: parse_maps(&text),
            used: Vec::new(),
        }
    }

    fn place(&mut self, stack: &[usize]) -> Vec<Address> {
        stack
            .iter()
            .map(|&address| self.address(address as u64))
            .collect()
    }

    fn address(&mut self, address: u64) -> Address {
        let found = self
            .mapped
            .iter()
            .find(|(start, end, ..)| (*start..*end).contains(&address));
        let Some((_, _, path, first)) = found else {
            return Address {
                module: None,
                offset: address,
            };
        };
        let known = self.used.iter().position(|used| used == path);
        let module = known.unwrap_or_else(|| {
            self.used.push(path.clone());
            self.used.len() - 1
        });
        Address {
            module: u32::try_from(module).ok(),
            offset: address - first,
        }
    }
}

/// `start-end permissions offset device inode path`
fn parse_maps(text: &str) -> Vec<(u64, u64, String, u64)> {
    let mut firsts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut mapped = Vec::new();
    for line in text.lines() {
        let Some(at) = line.find('/') else { continue };
        let path = &line[at..];
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let Some((start, end)) = range.and_then(|(start, end)| Some((hex(start)?, hex(end)?))) else {
            continue;
        };
        let first = *firsts.entry(path).or_insert(start);
        mapped.push((start, end, path.to_owned(), first));
    }
    mapped
}

/// The names of addresses of this process.
#[cfg(test)]
pub(crate) fn names_of_own(stack: &[usize]) -> Vec<crate::symbols::Frame> {
    let mut modules = Modules::read();
    let placed = modules.place(stack);
    let stacks = Stacks {
        modules: modules.used,
        ..Stacks::default()
    };
    crate::symbols::Symbols::default().name(&stacks, &placed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_from_the_start_of_its_file() {
        let mapped = parse_maps(
            "1000-2000 r--p 00000000 08:01 5 /bin/a b\n\
             2000-4000 r-xp 00001000 08:01 5 /bin/a b\n\
             5000-6000 rw-p 00000000 00:00 0 [heap]\n\
             7000-8000 r-xp 00000000 08:01 6 /lib/c\n",
        );
        let mut modules = Modules {
            mapped,
            used: Vec::new(),
        };
        let told = modules.place(&[0x2345, 0x7001, 0x5001, 0x1001]);
        let address = |module, offset| Address { module, offset };
        let expected = [
            address(Some(0), 0x1345),
            address(Some(1), 1),
            address(None, 0x5001),
            address(Some(0), 1),
        ];
        assert_eq!(told, expected);
        assert_eq!(modules.used, ["/bin/a b", "/lib/c"]);
    }
}
