//! What the tests share: a planted suite run as a child process, and everything it left to look at.
//!
//! Knows the harness only from outside: arguments, exit code, console, files. What several suites start is in [`gossip`].

pub mod gossip;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process, kill_process_group};

pub use rustix::process::Signal;

/// Longer than any planted suite takes; one that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(180);

/// The variable by which a suite's processes are recognised.
const MARK: &str = "PLANTED_SUITE";

/// A suite about to run.
pub struct Planted {
    command: Command,
    mark: String,
    home: tempfile::TempDir,
}

/// A suite that runs.
pub struct Running {
    child: Child,
    mark: String,
    home: tempfile::TempDir,
}

/// What a suite left.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its console.
    pub stdout: String,
    /// Its complaints.
    pub stderr: String,
    home: tempfile::TempDir,
}

/// A case's verdict, from the events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// `passed`, `failed`, ..
    pub status: String,
    /// The problem's class.
    pub class: String,
    /// The problem's first line, or the skip's reason.
    pub message: String,
    /// The rest.
    pub details: String,
    /// What it wrote.
    pub output: String,
    /// The folder with what was kept.
    pub artifacts: Option<PathBuf>,
    /// The command that runs it again.
    pub reproduce: String,
}

impl Planted {
    /// The suite in `program`, with folders and a mark of its own.
    ///
    /// # Panics
    /// When there can be no folder.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        HEARD.call_once(hear_signals);
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let home = tempfile::tempdir().expect("a temporary folder");
        let temporary = home.path().join("tmp");
        std::fs::create_dir(&temporary).expect("a folder in a temporary folder");
        let mut command = Command::new(program);
        // What this run was told (`ROBUST_REQUIRE`, a seed, a shard) is not meant for the planted one.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ROBUST_") {
                command.env_remove(name);
            }
        }
        command
            .env(MARK, &mark)
            .env("TMPDIR", &temporary)
            .env("ROBUST_REPORT_DIR", home.path().join("report"))
            .env_remove("RUST_BACKTRACE")
            .env_remove("NEXTEST")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self { command, mark, home }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Adds an option once for each path.
    #[must_use]
    pub fn arg_paths(mut self, option: &str, paths: impl IntoIterator<Item = PathBuf>) -> Self {
        for path in paths {
            self.command.arg(option).arg(path);
        }
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Changes anything else about the process.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Command)) -> Self {
        change(&mut self.command);
        self
    }

    /// Where the reports go.
    pub fn report(&self) -> PathBuf {
        self.home.path().join("report")
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(mut self) -> Running {
        let child = self.command.spawn().expect("the suite starts");
        Running {
            child,
            mark: self.mark,
            home: self.home,
        }
    }

    /// Runs it to its end and checks that nothing is left of it.
    ///
    /// # Panics
    /// When it hangs or leaves a process or a temporary file.
    pub fn run(self) -> Finished {
        self.start().finish()
    }
}

impl Running {
    /// Where the reports go.
    pub fn report(&self) -> PathBuf {
        self.home.path().join("report")
    }

    /// Sends a signal to the runner alone.
    ///
    /// # Panics
    /// When that fails.
    pub fn signal(&self, signal: Signal) {
        kill_process(pid(self.child.id()), signal).expect("the runner can be sent a signal");
    }

    /// Sends a signal to the runner's whole process group, which must be its own.
    ///
    /// # Panics
    /// When that fails.
    pub fn signal_group(&self, signal: Signal) {
        kill_process_group(pid(self.child.id()), signal).expect("the group can be sent a signal");
    }

    /// The most memory that the runner has had so far, in bytes.
    ///
    /// # Panics
    /// When it has ended.
    pub fn memory_max(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the runner runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
        let kilobytes: u64 = kilobytes.and_then(|text| text.parse().ok()).expect("a number");
        kilobytes << 10
    }

    /// The runner's descendants that carry the mark, with their command lines.
    pub fn processes(&self) -> Vec<(u32, String)> {
        marked(&self.mark)
    }

    /// Waits until `condition` holds.
    ///
    /// # Panics
    /// When it does not within the deadline.
    pub fn wait_until(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + DEADLINE;
        while !condition(self) {
            assert!(Instant::now() < until, "never: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the end and checks that nothing is left.
    ///
    /// # Panics
    /// When it hangs or leaves a process or a temporary file.
    pub fn finish(mut self) -> Finished {
        let read = |mut from: Box<dyn Read + Send>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _closed = from.read_to_end(&mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            })
        };
        let stdout = self.child.stdout.take().map(|from| read(Box::new(from)));
        let stderr = self.child.stderr.take().map(|from| read(Box::new(from)));
        let until = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the suite can be waited for") {
                break status;
            }
            if Instant::now() > until {
                let left = marked(&self.mark);
                let _ended = self.child.kill();
                panic!("the suite hangs; its processes: {left:?}");
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        // Processes of a killed runner are ended by its reaper, which takes a moment.
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let left = marked(&self.mark);
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < until, "processes are left: {left:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        let temporary = self.home.path().join("tmp");
        let files: Vec<_> = std::fs::read_dir(&temporary)
            .into_iter()
            .flatten()
            .flatten()
            .collect();
        assert!(files.is_empty(), "temporary files are left: {files:?}");
        let text = |thread: Option<std::thread::JoinHandle<String>>| {
            thread
                .map(|thread| thread.join().expect("reading does not panic"))
                .unwrap_or_default()
        };
        Finished {
            status,
            stdout: text(stdout),
            stderr: text(stderr),
            home: self.home,
        }
    }
}

impl Finished {
    /// The exit code; `None` when it died of a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Where the reports are.
    pub fn report(&self) -> PathBuf {
        self.home.path().join("report")
    }

    /// The verdicts by case name, from `events.jsonl`.
    ///
    /// # Panics
    /// When a case has two, or a line is no JSON.
    pub fn verdicts(&self) -> BTreeMap<String, Verdict> {
        verdicts(&self.report().join("events.jsonl"))
    }

    /// The `testcase` elements of `junit.xml` by name: the element's child names and messages.
    ///
    /// # Panics
    /// When the file is not well-formed or has a name twice.
    pub fn junit(&self) -> BTreeMap<String, Vec<(String, String)>> {
        let text = std::fs::read_to_string(self.report().join("junit.xml")).expect("junit.xml is there");
        let document = roxmltree::Document::parse(&text).expect("junit.xml is well-formed");
        let mut cases = BTreeMap::new();
        for case in document
            .descendants()
            .filter(|node| node.has_tag_name("testcase"))
        {
            let name = case.attribute("name").expect("a name").to_owned();
            let children = case
                .children()
                .filter(roxmltree::Node::is_element)
                .map(|child| {
                    let message = child.attribute("message").or(child.text()).unwrap_or_default();
                    (child.tag_name().name().to_owned(), message.to_owned())
                })
                .collect();
            assert!(
                cases.insert(name.clone(), children).is_none(),
                "{name} is in junit.xml twice"
            );
        }
        cases
    }
}

/// A fault as `--faults` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub fault: String,
    /// What it is injected into.
    pub target: String,
    /// What it works by.
    pub mechanism: String,
    /// `yes`, or `no: ` and why not.
    pub here: String,
}

impl Finished {
    /// The faults of a run with `--faults`, in its order.
    ///
    /// # Panics
    /// When it did not end well, or lists something else.
    pub fn faults(&self) -> Vec<Listed> {
        assert_eq!(self.code(), Some(0), "{}{}", self.stdout, self.stderr);
        let rows = self.stdout.lines().skip(2).map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, fault, target, _, mechanism, _, here, _] = cells[..] else {
                panic!("a line of the table of faults: {line}");
            };
            Listed {
                fault: fault.trim_matches('`').to_owned(),
                target: target.to_owned(),
                mechanism: mechanism.to_owned(),
                here: here.to_owned(),
            }
        });
        rows.collect()
    }
}

/// The verdicts in an events file, by case name.
///
/// # Panics
/// When a case has two, or a line is no JSON.
pub fn verdicts(events: &Path) -> BTreeMap<String, Verdict> {
    let text = std::fs::read_to_string(events).expect("the events are there");
    let mut verdicts = BTreeMap::new();
    for line in text.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        if event["event"] != "case_finished" {
            continue;
        }
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        // A problem is flattened into failed and errored verdicts, and nested in known failures.
        let problem = if event["problem"].is_object() {
            &event["problem"]
        } else {
            &event
        };
        let message = if event["reason"].is_string() {
            &event["reason"]
        } else {
            &problem["message"]
        };
        let verdict = Verdict {
            status: text(&event["status"]),
            class: text(&problem["class"]),
            message: text(message),
            details: text(&problem["details"]),
            output: text(&event["output"]),
            artifacts: event["artifacts"].as_str().map(PathBuf::from),
            reproduce: text(&event["reproduce"]),
        };
        let case = text(&event["case"]);
        assert!(
            verdicts.insert(case.clone(), verdict).is_none(),
            "{case} has two verdicts"
        );
    }
    verdicts
}

/// Sends a signal to a process.
///
/// # Panics
/// When that fails.
pub fn signal(to: u32, signal: Signal) {
    kill_process(pid(to), signal).expect("the process can be sent a signal");
}

static HEARD: Once = Once::new();

/// Has suites start with signals that are not ignored: a shell that runs this in the background ignores SIGINT,
/// and suites would go on ignoring it. What has a handler here is as it was born in what is executed.
fn hear_signals() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM] {
        let number = signal.as_raw();
        if ignored.unwrap_or(0) & (1 << (number - 1)) != 0 {
            signal_hook::flag::register(number, Arc::default()).expect("a signal can have a handler");
        }
    }
}

fn pid(number: u32) -> Pid {
    i32::try_from(number)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process's id")
}

/// What a test needs of the machine and not every machine grants.
#[derive(Debug, Clone, Copy)]
pub enum Privilege {
    /// File systems of one's own in a mount namespace.
    Mount,
    /// To become another user.
    OtherUser,
}

impl Privilege {
    /// Whether this machine grants it; as [`is_allowed`].
    ///
    /// # Panics
    /// As [`is_allowed`].
    pub fn is_granted(self) -> bool {
        let (program, arguments): (_, &[&str]) = match self {
            Self::Mount => ("unshare", &["--mount", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]),
            Self::OtherUser => ("setpriv", &["--reuid", "100000", "--clear-groups", "true"]),
        };
        let why = match Command::new(program).args(arguments).output() {
            Ok(tried) if tried.status.success() => return true,
            Ok(tried) => String::from_utf8_lossy(&tried.stderr).trim().to_owned(),
            Err(error) => format!("{program}: {error}"),
        };
        is_allowed(Err(why))
    }
}

/// Whether this machine allows something. Where it does not, the reason is told on stderr, which libtest does not capture,
/// and the test is to return, or to leave out what needs it.
///
/// # Panics
/// Where it does not and `ROBUST_REQUIRE` is `all`.
pub fn is_allowed<E: std::fmt::Display>(available: Result<(), E>) -> bool {
    if let Err(why) = &available {
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        let required = std::env::var("ROBUST_REQUIRE").unwrap_or_default();
        let is_required = required.split(',').any(|name| name.trim() == "all");
        assert!(!is_required, "ROBUST_REQUIRE=all: {why}");
        let told = format!("{test} is skipped, because this machine does not allow it: {why}\n");
        let _closed = std::io::stderr().write_all(told.as_bytes());
    }
    available.is_ok()
}

/// Whether a process of this machine is in the network, or has a descriptor of it.
///
/// # Panics
/// When it is not called as the kernel calls networks.
pub fn is_kept(network: &str) -> bool {
    assert!(network.starts_with("net:["), "{network}");
    let links = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| std::fs::read_link(entry.path()).ok())
    };
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let of = |process: PathBuf| {
        ["fd", "ns"]
            .map(|kind| links(process.join(kind)))
            .into_iter()
            .flatten()
    };
    processes
        .flat_map(|process| of(process.path()))
        .any(|link| link == Path::new(network))
}

/// The verdict of the first case whose name begins so.
///
/// # Panics
/// When there is none.
pub fn starting<'a>(verdicts: &'a BTreeMap<String, Verdict>, start: &str) -> &'a Verdict {
    let found = verdicts.iter().find(|(case, _)| case.starts_with(start));
    match found {
        Some((_, verdict)) => verdict,
        None => panic!("{start} among {:?}", verdicts.keys()),
    }
}

fn marked(mark: &str) -> Vec<(u32, String)> {
    let needle = format!("{MARK}={mark}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment
            .split(|&byte| byte == 0)
            .any(|variable| variable == needle.as_bytes())
        {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    found
}
