//! The clocks of real programs. Where they cannot be moved these tests are skipped, and say so; with `ROBUST_REQUIRE=all` they
//! fail.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{are_installed, is_allowed};
use crate::clock::{Deadline, secs};
use crate::node_clock::{NodeClock, available};

const HOUR: i64 = 3600 * 1_000_000_000;

/// Tells for each line all that there is to ask, in nanoseconds; for `fork` a child of it does from then on.
const ASKS: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.time.restype = ctypes.c_long
pair = lambda: (ctypes.c_long * 2)()
def clock(which):
    t = pair()
    assert libc.clock_gettime(which, t) == 0
    return t[0] * 10**9 + t[1]
def of_day():
    t = pair()
    assert libc.gettimeofday(t, None) == 0
    return t[0] * 10**9 + t[1] * 1000
def time_into():
    t = ctypes.c_long()
    assert libc.time(ctypes.byref(t)) == t.value
    return t.value * 10**9
for line in sys.stdin:
    if line == "fork\n" and os.fork():
        os.wait()
    assert libc.clock_gettime(999, pair()) == -1 and ctypes.get_errno() == 22
    assert libc.gettimeofday(None, None) == 0
    real = [clock(0), clock(5), clock(11), of_day(), libc.time(None) * 10**9, time_into()]
    print(*real, clock(1), clock(6), clock(7), flush=True)
"#;

struct Asked {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Asked {
    fn start() -> Self {
        let mut child = Command::new("python3")
            .args(["-c", ASKS])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    fn pids(&self) -> BTreeSet<u32> {
        let alive = crate::listener::alive_in_group(self.child.id());
        alive.into_iter().map(|process| process.pid).collect()
    }

    /// What it says to a line.
    fn ask(&mut self, line: &str) -> Vec<i64> {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let numbers = answer.split_whitespace();
        numbers.map(|number| number.parse().unwrap()).collect()
    }

    /// Asks, and checks that the clocks that somebody sets are wrong by so much, and the others are not.
    #[track_caller]
    fn is_ahead(&mut self, line: &str, by: i64) {
        let before = now();
        let told = self.ask(line);
        let after = now();
        assert_eq!(told.len(), 9);
        let (real, other) = told.split_at(6);
        // The coarse clock goes in ticks, TAI may be some leap seconds ahead, and `time` cuts off.
        for (told, (early, late)) in
            real.iter()
                .zip([(20, 0), (20, 0), (20, 60_000), (20, 0), (1020, 0), (1020, 0)])
        {
            let (least, most) = (before + by - early * 1_000_000, after + by + late * 1_000_000);
            assert!(
                (least..=most).contains(told),
                "{told} is not in {least}..={most}: {real:?}"
            );
        }
        assert!(
            other.iter().all(|&since_boot| since_boot < before / 2),
            "{other:?}"
        );
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let leader = rustix::process::Pid::from_child(&self.child);
        let _ended = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        let _status = self.child.wait();
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_nanos().try_into().unwrap()
}

/// Moves the clock of one that waits for a line, or is about to: then no thread of it is in the vDSO, as good as stopped.
#[track_caller]
fn take_in(clock: &NodeClock, asked: &Asked) {
    let deadline = Deadline::after(secs(10));
    while clock.take_in(&asked.pids()).unwrap().is_none() {
        assert!(!deadline.passed(), "it does not wait");
        std::thread::yield_now();
    }
}

/// One that tells the true time; `None` where the test is to be skipped.
fn asked() -> Option<Asked> {
    if !is_allowed(available()) || !are_installed(&["python3"]) {
        return None;
    }
    let mut asked = Asked::start();
    asked.is_ahead("", 0);
    Some(asked)
}

/// One whose clock is an hour ahead.
fn an_hour_ahead() -> Option<(Asked, NodeClock)> {
    let (asked, clock) = (asked()?, NodeClock::default());
    clock.claim(HOUR).unwrap();
    take_in(&clock, &asked);
    Some((asked, clock))
}

#[test]
fn every_way_to_ask_for_the_time_of_day_is_moved_and_nothing_else() {
    let Some(mut asked) = asked() else { return };
    let clock = NodeClock::default();
    for by in [HOUR, -HOUR, 1, 999_999_999, -1] {
        clock.claim(by).unwrap();
        take_in(&clock, &asked);
        assert_eq!(clock.readings(), 0);
        asked.is_ahead("", by);
        assert_eq!(clock.readings(), 6);
        clock.set(2 * by).unwrap();
        asked.is_ahead("", 2 * by);
        assert_eq!(clock.readings(), 12);
        clock.set(0).unwrap();
        asked.is_ahead("", 0);
        clock.undo(&asked.pids()).unwrap();
        asked.is_ahead("", 0);
        assert_eq!(clock.readings(), 12);
    }
}

#[test]
fn one_that_is_forked_has_the_time_of_its_parent_until_both_have_the_true_one() {
    let Some((mut asked, clock)) = an_hour_ahead() else {
        return;
    };
    asked.is_ahead("fork", HOUR);
    assert_eq!(asked.pids().len(), 2);
    clock.undo(&asked.pids()).unwrap();
    asked.is_ahead("", 0);
    // Both as they were: they can be moved again.
    clock.claim(-HOUR).unwrap();
    take_in(&clock, &asked);
    asked.is_ahead("", -HOUR);
}

#[test]
fn a_program_begins_with_a_clock_that_is_wrong() {
    if !is_allowed(available()) {
        return;
    }
    let clock = NodeClock::default();
    assert!(clock.traced().is_none());
    clock.claim(24 * HOUR).unwrap();
    assert!(clock.claim(1).is_err());
    let before = now();
    for (program, arguments) in [("date", ["+%s"].as_slice()), ("sh", &["-c", "exec date +%s"])] {
        let traced = clock.traced().unwrap();
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::piped());
        traced.hold(&mut command);
        let child = command.spawn().unwrap();
        traced.let_go(child.id(), &clock).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let told: i64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        let ahead = told - before / 1_000_000_000;
        // What is executed later has the true time.
        let expected = if program == "date" { 24 * 3600 } else { 0 };
        assert!((expected..expected + 60).contains(&ahead), "{ahead}");
    }
    // One that cannot be executed is no process.
    let traced = clock.traced().unwrap();
    let mut command = Command::new("/nowhere");
    traced.hold(&mut command);
    assert_eq!(command.spawn().unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn processes_that_ended_are_left_alone() {
    let Some((mut asked, clock)) = an_hour_ahead() else {
        return;
    };
    asked.is_ahead("", HOUR);
    let pids = asked.pids();
    assert_eq!(clock.readings(), 6);
    drop(asked);
    clock.set(1).unwrap();
    assert_eq!(clock.take_in(&pids).unwrap(), Some(()));
    clock.undo(&pids).unwrap();
    assert_eq!(clock.readings(), 6);
}
