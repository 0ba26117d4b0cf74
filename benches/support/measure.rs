//! Runs of programs, timed.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// One side of a comparison.
pub(crate) struct Side {
    /// What it is, in Markdown.
    pub(crate) label: String,
    /// Makes the command to be timed.
    pub(crate) command: Box<dyn Fn() -> Command>,
    /// What its output says when every case passed.
    pub(crate) proof: String,
    /// One a round.
    pub(crate) times: Vec<Duration>,
}

/// No side takes more time than this in all, as far as its first run tells: the slow ones run in fewer rounds,
/// and their noise is small beside them.
const SIDE_MAX: Duration = Duration::from_secs(12);

impl Side {
    /// A side that has not run.
    pub(crate) fn new(
        label: impl Into<String>,
        proof: impl Into<String>,
        command: impl Fn() -> Command + 'static,
    ) -> Self {
        Self {
            label: label.into(),
            command: Box::new(command),
            proof: proof.into(),
            times: Vec::new(),
        }
    }

    /// The median time.
    pub(crate) fn median(&self) -> Duration {
        median(self.times.clone())
    }

    /// The median, over the rounds both ran in, of this side's time by the other's.
    pub(crate) fn ratio(&self, other: &Self) -> f64 {
        let ratios = self
            .times
            .iter()
            .zip(&other.times)
            .map(|(this, other)| this.as_secs_f64() / other.as_secs_f64());
        median(ratios.collect())
    }
}

/// The middle one; of an even number, the higher of the two in the middle.
///
/// # Panics
/// When there is none.
pub(crate) fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).expect("times are comparable"));
    values[values.len() / 2]
}

/// Runs each side once to see that it does what it should, then all in turns.
///
/// # Panics
/// When a side does not say its proof.
pub(crate) fn take_turns(sides: &mut [Side], rounds: usize) {
    let mut enough: Vec<usize> = Vec::new();
    for side in sides.iter() {
        let start = Instant::now();
        let output = (side.command)()
            .stdin(Stdio::null())
            .output()
            .expect("the suite runs");
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && text.contains(&side.proof),
            "{} did not say {:?}: {}\n{}",
            side.label,
            side.proof,
            output.status,
            &text[text.len().saturating_sub(2000)..]
        );
        let fitting = SIDE_MAX.as_secs_f64() / start.elapsed().as_secs_f64();
        enough.push((fitting as usize).clamp(1, rounds));
    }
    for round in 0..rounds {
        for (side, _) in sides
            .iter_mut()
            .zip(&enough)
            .filter(|(_, enough)| round < **enough)
        {
            let mut command = (side.command)();
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let start = Instant::now();
            let status = command.status().expect("the suite runs");
            side.times.push(start.elapsed());
            assert!(status.success(), "{}: {status}", side.label);
        }
    }
}

/// How long a run took, and the most memory its process had at a time, in bytes.
///
/// # Panics
/// When it fails.
pub(crate) fn time_and_memory(mut command: Command) -> (Duration, u64) {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().expect("the suite runs");
    let mut most = 0;
    loop {
        // The kernel keeps the high-water mark; it is gone with the process, so it is read again and again.
        most = most.max(high_water_bytes(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            assert!(status.success(), "{command:?}: {status}");
            return (start.elapsed(), most);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn high_water_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? << 10)
}
