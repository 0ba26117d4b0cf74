//! How many slots the machine bears: a pure controller, and what it is fed from `/proc`.
//!
//! Robustness cases wait more than they compute, so their number is tied to how busy the machine is and not
//! to its cores. Sources: `/proc/stat` (idle time), `/proc/pressure/{cpu,memory}` (Linux pressure stall
//! information, where the kernel has it) and `/proc/meminfo`.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// How often the controller looks.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// How many processors this process may use.
pub(crate) fn cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    u32::try_from(cores).unwrap_or(1)
}

/// The state of the machine over the last tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// The share of time the processors were idle, 0 to 1.
    pub(crate) idle: f64,
    /// The share of time some task waited for a processor, 0 to 1.
    pub(crate) cpu_stall: f64,
    /// The share of time some task waited for memory, 0 to 1.
    pub(crate) memory_stall: f64,
    /// The share of memory that is available, 0 to 1.
    pub(crate) memory_available: f64,
}

/// Grows fast while the machine idles, shrinks slowly under pressure, between `least` and `most`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Controller {
    least: u32,
    most: u32,
    target: u32,
}

impl Controller {
    /// Twice the cores to begin with, never fewer than the cores, at most 64 for each.
    pub(crate) fn for_cores(cores: u32) -> Self {
        Self {
            least: cores,
            most: 64 * cores,
            target: 2 * cores,
        }
    }

    /// The same, never more than `most`.
    pub(crate) fn at_most(self, most: u32) -> Self {
        let least = self.least.min(most);
        Self {
            least,
            most: self.most.min(most),
            target: self.target.min(most),
        }
    }

    /// A fixed number.
    pub(crate) fn fixed(slots: u32) -> Self {
        Self {
            least: slots,
            most: slots,
            target: slots,
        }
    }

    pub(crate) fn target(&self) -> u32 {
        self.target
    }

    pub(crate) fn is_fixed(&self) -> bool {
        self.least == self.most
    }

    /// The next target, when all slots are in use and jobs wait (`hungry`) or not.
    pub(crate) fn tick(&mut self, sample: Sample, hungry: bool) -> u32 {
        let memory_short = sample.memory_available < 0.05 || sample.memory_stall > 0.10;
        let memory_tight = memory_short || sample.memory_available < 0.15;
        let start = (self.least * 2).min(self.most);
        if memory_short {
            self.target = (self.target * 3 / 4).max(self.least);
        } else if sample.idle < 0.02 && sample.cpu_stall > 0.80 && self.target > start {
            self.target = (self.target * 7 / 8).max(start);
        } else if hungry && !memory_tight && sample.idle > 0.30 {
            self.target = (self.target * 2).min(self.most);
        }
        self.target
    }
}

/// Reads samples one after another.
#[derive(Debug)]
pub(crate) struct Meter {
    at: Instant,
    idle: u64,
    total: u64,
    cpu_us: u64,
    memory_us: u64,
}

impl Meter {
    pub(crate) fn new() -> Self {
        let (idle, total) = processor_time().unwrap_or((0, 0));
        let stall = |what| stall_us(what).unwrap_or(0);
        Self {
            at: Instant::now(),
            idle,
            total,
            cpu_us: stall("cpu"),
            memory_us: stall("memory"),
        }
    }

    /// What happened since the last call.
    pub(crate) fn sample(&mut self) -> Sample {
        let now = Self::new();
        let elapsed_us = now.at.duration_since(self.at).as_micros().max(1) as f64;
        let ticks = now.total.saturating_sub(self.total);
        let sample = Sample {
            // Without a reading the machine counts as busy: no growth.
            idle: if ticks == 0 {
                0.0
            } else {
                now.idle.saturating_sub(self.idle) as f64 / ticks as f64
            },
            cpu_stall: now.cpu_us.saturating_sub(self.cpu_us) as f64 / elapsed_us,
            memory_stall: now.memory_us.saturating_sub(self.memory_us) as f64 / elapsed_us,
            memory_available: memory_available().unwrap_or(1.0),
        };
        *self = now;
        sample
    }
}

fn processor_time() -> Option<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> = stat
        .lines()
        .next()?
        .split_ascii_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; the guests' times are in user's and nice's.
    Some((fields.get(3)? + fields.get(4)?, fields.iter().take(8).sum()))
}

fn stall_us(what: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/pressure/{what}")).ok()?;
    text.lines()
        .find(|line| line.starts_with("some"))?
        .rsplit_once("total=")?
        .1
        .trim()
        .parse()
        .ok()
}

fn memory_available() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes = |name: &str| -> Option<f64> {
        text.lines()
            .find_map(|line| line.strip_prefix(name))?
            .split_ascii_whitespace()
            .next()?
            .parse()
            .ok()
    };
    Some(kibibytes("MemAvailable:")? / kibibytes("MemTotal:")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITING: Sample = Sample {
        idle: 0.9,
        cpu_stall: 0.0,
        memory_stall: 0.0,
        memory_available: 0.8,
    };

    #[test]
    fn slots_grow_while_the_machine_waits_and_shrink_under_pressure() {
        let mut controller = Controller::for_cores(2);
        assert_eq!(controller.target(), 4);
        for expected in [8, 16, 32, 64, 128, 128] {
            assert_eq!(controller.tick(WAITING, true), expected);
        }
        let busy = Sample {
            idle: 0.0,
            cpu_stall: 0.95,
            ..WAITING
        };
        assert_eq!(controller.tick(busy, true), 112);
        for _ in 0..40 {
            controller.tick(busy, true);
        }
        assert_eq!(controller.target(), 4);
        let short = Sample {
            memory_available: 0.03,
            ..WAITING
        };
        for _ in 0..10 {
            controller.tick(short, true);
        }
        assert_eq!(controller.target(), 2);
    }

    #[test]
    fn nothing_grows_without_hunger_and_a_fixed_number_stays() {
        let mut controller = Controller::for_cores(2);
        assert_eq!(controller.tick(WAITING, false), 4);
        let mut fixed = Controller::fixed(3);
        assert_eq!(fixed.tick(WAITING, true), 3);
    }

    #[test]
    fn samples_are_shares() {
        let mut meter = Meter::new();
        let sample = meter.sample();
        for share in [sample.idle, sample.memory_available] {
            assert!((0.0..=1.0).contains(&share), "{sample:?}");
        }
    }
}
