//! What a case was doing when its time was over: seen before anything is asked to end, told for people.
//!
//! The runner looks at threads and processes from outside, so that something is told also when the worker does not
//! answer: it is stopped, or its main thread is stuck too. It knows no servers: they are processes below the worker's,
//! and their logs are files of the case's folder.

use std::fmt::Write as _;
use std::path::Path;

use crate::artifacts;
use crate::probe::{Address, Stacks};
use crate::process_tree;
use crate::processes::Process;
use crate::symbols::{Frame, Symbols};
use crate::thread_state::{ThreadState, threads_of};

/// The name of the file in the case's folder.
pub(crate) const FILE: &str = "deadline.txt";
/// So much of it stands in the verdict's details.
const DETAILS_BYTES_MAX: usize = 12 << 10;
/// How many lines of each log are told.
const LOG_LINES: usize = 20;
/// The thread of the cases.
const CASE: &str = "case";
/// More processes than this are counted only.
const PROCESSES_MAX: usize = 32;
/// Frames of one stack beyond this are counted only.
const FRAMES_MAX: usize = 48;

/// What was seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) threads: Vec<ThreadState>,
    /// Everything the worker started and what that did, and the threads of each.
    pub(crate) processes: Vec<(Process, Vec<ThreadState>)>,
    pub(crate) processes_more: usize,
    /// Name and last lines.
    pub(crate) logs: Vec<(String, Vec<String>)>,
    /// The worker's own answer.
    pub(crate) stacks: Option<Stacks>,
}

impl Seen {
    /// Looks at a worker from outside; `folder` is the case's.
    pub(crate) fn now(worker: u32, folder: &Path) -> Self {
        let mut processes = process_tree::descendants(worker, &Default::default());
        let processes_more = processes.len().saturating_sub(PROCESSES_MAX);
        processes.truncate(PROCESSES_MAX);
        let with_threads = |process: Process| {
            let threads = threads_of(process.pid, false);
            (process, threads)
        };
        let mut threads = threads_of(worker, true);
        // The main one is the harness's, and the one that answers.
        threads.retain(|thread| thread.id != worker);
        Self {
            threads,
            processes: processes.into_iter().map(with_threads).collect(),
            processes_more,
            logs: artifacts::ends_of_logs(folder, LOG_LINES),
            stacks: None,
        }
    }

    /// All of it for the file, and what people need of it for the verdict. `file` is the scenario's, as the compiler
    /// has it.
    pub(crate) fn tell(&self, symbols: &mut Symbols, file: &str) -> (String, String) {
        let named = Named::new(self, symbols, file);
        (self.text(&named, file, true), self.text(&named, file, false))
    }

    fn text(&self, named: &Named<'_>, file: &str, whole: bool) -> String {
        let mut text = String::new();
        for place in named.places(file) {
            let _infallible = writeln!(text, "it was at {place}");
        }
        for (number, stack) in named.awaits.iter().enumerate() {
            let which = match named.awaits.len() {
                1 => String::new(),
                many => format!(" ({} of {many})", number + 1),
            };
            let _infallible = writeln!(text, "\nwhat its code awaits{which}:");
            tell_stack(&mut text, stack, file, whole);
        }
        match self.stacks.as_ref().and_then(|stacks| stacks.tasks) {
            Some(1) => text.push_str("\n1 tokio task is alive beside its code\n"),
            Some(tasks) if tasks > 0 => {
                let _infallible = writeln!(text, "\n{tasks} tokio tasks are alive beside its code");
            }
            _ => {}
        }
        if self.stacks.is_none() {
            text.push_str(
                "\nits process told no stacks: it is stopped, or its main thread does not answer\n",
            );
        }
        for (thread, stack) in &named.threads {
            let _infallible = writeln!(text, "\n{thread}");
            match stack {
                Stack::Unasked => {}
                Stack::Silent => {
                    text.push_str(
                        "    it did not tell its stack: it blocks signals, or cannot take one now\n",
                    );
                }
                Stack::Told(_) if thread.name == CASE && !named.awaits.is_empty() && !whole => {
                    text.push_str("    it waits for what its code awaits\n");
                }
                Stack::Told(frames) if frames.is_empty() => {
                    text.push_str("    none but the harness's own frames\n");
                }
                Stack::Told(frames) => tell_stack(&mut text, frames, file, whole),
            }
            if !thread.kernel.is_empty() && whole {
                let _infallible = writeln!(text, "    in the kernel: {}", thread.kernel.join(" < "));
            }
        }
        for (process, threads) in &self.processes {
            let count = match threads.len() {
                1 => "1 thread".to_owned(),
                many => format!("{many} threads"),
            };
            let _infallible = writeln!(text, "\nprocess {process}, {count}");
            for thread in threads.iter().take(if whole { usize::MAX } else { 4 }) {
                let _infallible = writeln!(text, "    {thread}");
            }
        }
        if self.processes_more > 0 {
            let _infallible = writeln!(text, "\nand {} more processes", self.processes_more);
        }
        for (name, lines) in &self.logs {
            let _infallible = writeln!(text, "\nthe end of {name}:");
            for line in lines {
                let _infallible = writeln!(text, "  | {line}");
            }
        }
        text.trim_start().to_owned()
    }
}

/// The stack of a thread.
enum Stack {
    /// There was nobody to ask.
    Unasked,
    /// It did not answer.
    Silent,
    Told(Vec<Frame>),
}

/// Stacks with the names of their frames.
struct Named<'a> {
    awaits: Vec<Vec<Frame>>,
    threads: Vec<(&'a ThreadState, Stack)>,
}

impl<'a> Named<'a> {
    fn new(seen: &'a Seen, symbols: &mut Symbols, file: &str) -> Self {
        let empty = Stacks::default();
        let stacks = seen.stacks.as_ref().unwrap_or(&empty);
        let mut named = |stack: &Vec<Address>| frames_told(symbols.name(stacks, stack));
        let mut awaits: Vec<Vec<Frame>> = stacks.awaits.iter().map(&mut named).collect();
        // The others are of the loop that polls.
        let samples = stacks.samples.iter().map(&mut named);
        let samples = samples.filter(|stack| stack.iter().any(|frame| is_of(frame, file)));
        awaits.extend(samples.max_by_key(Vec::len));
        let threads = seen.threads.iter().map(|thread| {
            let stack = match stacks.threads.get(&thread.id) {
                None => Stack::Unasked,
                Some(None) => Stack::Silent,
                Some(Some(stack)) => Stack::Told(named(stack)),
            };
            (thread, stack)
        });
        Self {
            threads: threads.collect(),
            awaits,
        }
    }

    /// The lines of the scenario's file that its code was at, innermost first.
    fn places(&self, file: &str) -> Vec<String> {
        let case = self.threads.iter().filter_map(|(thread, stack)| match stack {
            Stack::Told(frames) if thread.name == CASE => Some(frames),
            _ => None,
        });
        let mut places = Vec::new();
        for stack in self.awaits.iter().chain(case) {
            if let Some(frame) = stack.iter().find(|frame| is_of(frame, file)) {
                let place = format!("{} in {}", place(frame, file), frame.function);
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        places
    }
}

/// As much of a text as a verdict holds, and where there is more.
pub(crate) fn shortened(text: &str) -> String {
    let end = match text.len() <= DETAILS_BYTES_MAX {
        true => text.len(),
        false => text[..text.floor_char_boundary(DETAILS_BYTES_MAX)]
            .rfind('\n')
            .unwrap_or(0),
    };
    format!("{}\n\n(more of it is in {FILE})", text[..end].trim_end())
}

/// The frames that tell something: without what took the stack, above, and what drives a case, below.
fn frames_told(mut frames: Vec<Frame>) -> Vec<Frame> {
    let is_in = |frame: &Frame, modules: &[&str]| {
        let name = frame.function.trim_start_matches('<');
        modules.iter().any(|module| name.starts_with(module))
    };
    let took = [
        "robust_test_harness::stack::",
        "robust_test_harness::awaits::",
        "core::task::wake::Waker as core::clone::Clone>",
    ];
    if let Some(last) = frames.iter().take(12).rposition(|frame| is_in(frame, &took)) {
        frames.drain(..=last);
    }
    if let Some(first) = frames
        .iter()
        .position(|frame| is_in(frame, &["robust_test_harness::", "robust_test::harness::"]))
    {
        frames.truncate(first);
    }
    frames
}

/// Whole, or without what only calls what matters: frames of std and tokio, but for the two that it ends in.
fn tell_stack(text: &mut String, frames: &[Frame], file: &str, whole: bool) {
    let mut left_out = 0;
    let mut told = 0;
    for (number, frame) in frames.iter().enumerate() {
        if told == FRAMES_MAX || (!whole && number >= 2 && is_plumbing(frame)) {
            left_out += 1;
            continue;
        }
        tell_left_out(text, &mut left_out);
        told += 1;
        let _infallible = match frame.file.is_empty() {
            true => writeln!(text, "    {}", frame.function),
            false => writeln!(text, "    {}  at {}", frame.function, place(frame, file)),
        };
    }
    tell_left_out(text, &mut left_out);
}

fn tell_left_out(text: &mut String, left_out: &mut usize) {
    match std::mem::take(left_out) {
        0 => {}
        count => {
            let _infallible = writeln!(text, "    .. ({count})");
        }
    }
}

/// Whether it is of the standard library, of tokio, or of a library without names.
fn is_plumbing(frame: &Frame) -> bool {
    let path = &frame.file;
    let tokio = ["/tokio-1.", "/mio-1."];
    path.is_empty()
        || path.starts_with("/rustc/")
        || tokio.iter().any(|package| path.contains(package))
        || path.contains("/lib/rustlib/src/")
}

fn is_of(frame: &Frame, file: &str) -> bool {
    let rest = frame.file.strip_suffix(file);
    !file.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
}

/// `path:line:column`, the path as short as it can be known by.
fn place(frame: &Frame, file: &str) -> String {
    let path = &frame.file;
    let short = if is_of(frame, file) {
        file
    } else if let Some((_, library)) = path
        .split_once("/library/")
        .filter(|_| path.starts_with("/rustc/"))
    {
        library
    } else if let Some((_, package)) = path.split_once("/registry/src/") {
        package.split_once('/').map_or(package, |(_, rest)| rest)
    } else {
        path
    };
    match frame.column {
        0 => format!("{short}:{}", frame.line),
        column => format!("{short}:{}:{column}", frame.line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, file: &str, line: u32) -> Frame {
        Frame {
            function: function.to_owned(),
            file: file.to_owned(),
            line,
            column: 0,
        }
    }

    #[test]
    fn what_drives_a_case_is_left_out_and_paths_are_short() {
        let frames = frames_told(vec![
            frame("robust_test_harness::stack::own", "x", 1),
            frame("robust_test_harness::awaits::clone", "x", 2),
            frame(
                "tokio::sync::notify",
                "/h/registry/src/index-1/tokio-1.2/src/a.rs",
                3,
            ),
            frame("suite::waits", "/w/tests/suite.rs", 4),
            frame("<robust_test_harness::expansion::x as Future>::poll", "y", 5),
            frame("std::rt", "z", 6),
        ]);
        let names: Vec<&str> = frames.iter().map(|frame| frame.function.as_str()).collect();
        assert_eq!(names, ["tokio::sync::notify", "suite::waits"]);
        let places: Vec<String> = frames
            .iter()
            .map(|frame| place(frame, "tests/suite.rs"))
            .collect();
        assert_eq!(places, ["tokio-1.2/src/a.rs:3", "tests/suite.rs:4"]);
        let std = frame("std::x", "/rustc/abc/library/std/src/x.rs", 7);
        assert_eq!(place(&std, "tests/suite.rs"), "std/src/x.rs:7");
        assert!(!is_of(&frame("x", "/w/mytests/suite.rs", 1), "tests/suite.rs"));
    }

    #[test]
    fn a_verdict_leaves_out_what_only_calls_what_matters() {
        let std = |function: &str| frame(function, "/rustc/abc/library/std/src/x.rs", 1);
        let frames = [
            std("futex"),
            std("lock"),
            std("Mutex::lock"),
            frame("suite::waits", "/w/tests/suite.rs", 4),
            std("run"),
            frame("libc.so.6+0x12", "", 0),
        ];
        let (mut short, mut whole) = (String::new(), String::new());
        tell_stack(&mut short, &frames, "tests/suite.rs", false);
        tell_stack(&mut whole, &frames, "tests/suite.rs", true);
        assert_eq!(
            short,
            "    futex  at std/src/x.rs:1\n    lock  at std/src/x.rs:1\n    .. (1)\n    \
             suite::waits  at tests/suite.rs:4\n    .. (2)\n"
        );
        assert_eq!(whole.lines().count(), frames.len());
    }

    #[test]
    fn a_worker_that_does_not_answer_is_told_from_outside() {
        let seen = Seen {
            threads: vec![ThreadState {
                id: 7,
                name: "case".to_owned(),
                state: "stopped".to_owned(),
                kernel: vec!["do_signal_stop".to_owned(), "get_signal".to_owned()],
                ..ThreadState::default()
            }],
            processes: vec![(
                Process {
                    pid: 9,
                    command_line: "server -p 1".to_owned(),
                },
                Vec::new(),
            )],
            processes_more: 2,
            logs: vec![("server.log".to_owned(), vec!["ready".to_owned()])],
            stacks: None,
        };
        let (whole, short) = seen.tell(&mut Symbols::default(), "x.rs");
        assert!(whole.contains("\n    in the kernel: do_signal_stop < get_signal\n"));
        assert_eq!(
            short,
            "its process told no stacks: it is stopped, or its main thread does not answer\n\
             \nthread 7 `case`: stopped\n\
             \nprocess pid 9 (server -p 1), 0 threads\n\
             \nand 2 more processes\n\
             \nthe end of server.log:\n  | ready\n"
        );
    }

    #[test]
    fn a_long_text_is_cut_at_a_line_and_says_where_the_rest_is() {
        assert_eq!(shortened("a\nb\n"), "a\nb\n\n(more of it is in deadline.txt)");
        let cut = shortened(&"some line\n".repeat(5000));
        assert!(cut.len() < DETAILS_BYTES_MAX + 100);
        assert!(cut.ends_with("some line\n\n(more of it is in deadline.txt)"));
    }
}
