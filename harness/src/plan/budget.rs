//! `--budget`: which of the chosen cases run, in which order, so that the run ends in time. Pure.
//!
//! First what failed last, then what never ran, then what ran longest ago. Of those that never ran, each scenario
//! gets its first one before any gets its second, and a scenario's cells come in a mixed order, so that a short
//! budget meets every scenario and many pairs of values. How long a case takes is what it took last, else the
//! median of its scenario's other cases, else of the suite's, else a second. Each in turn is put where the plan has
//! room for it first; one that would not end in time is left out, and shorter ones behind it may still fit.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::{Job, Plan};
use crate::history::{History, Verdict};
use crate::index::mixed;
use crate::matrix::{Skip, SkipKind};

/// The estimate for a case of which nothing is known, nor of any other.
const UNKNOWN_US: u64 = 1_000_000;

/// What there is room for.
pub(crate) struct Budget<'a> {
    /// As it was given.
    pub(crate) time: Duration,
    /// How often the plan runs in that time.
    pub(crate) repeat: u32,
    pub(crate) slots: Slots,
    pub(crate) history: &'a History,
    pub(crate) now_unix_ms: u64,
}

/// How many cases are assumed to run at a time, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slots {
    count: u32,
    why: &'static str,
}

/// What became of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fit {
    time: Duration,
    fitting: usize,
    of: usize,
    /// When the last one ends.
    ends_us: u64,
    slots: Slots,
}

impl Slots {
    /// The number that is fixed for this run, else what earlier runs had on average, else the number of `cores`: cases
    /// that wait more than they compute run more at a time, which only a run can show.
    pub(crate) fn new(fixed: Option<NonZeroUsize>, history: &History, cores: u32) -> Self {
        let fixed = fixed.map(|fixed| {
            (
                u32::try_from(fixed.get()).unwrap_or(u32::MAX),
                "as fixed for this run",
            )
        });
        let known = || Some((history.concurrency()?, "as in an earlier run"));
        let (count, why) = fixed
            .or_else(known)
            .unwrap_or((cores, "a guess: one on each core"));
        Self { count, why }
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} cases fit in the budget of {}, in about {} with {} at a time ({})",
            self.fitting,
            self.of,
            humantime::format_duration(self.time),
            rough(self.ends_us),
            self.slots.count,
            self.slots.why,
        )
    }
}

/// Why a budget's run starts nothing any more.
pub(crate) fn over(time: Duration) -> String {
    format!("the budget of {} is over", humantime::format_duration(time))
}

/// A job and what decides about it.
struct Candidate {
    /// Failures, then what never ran, then the rest; in these, what comes first.
    rank: (u8, u64, u64),
    job: Job,
    takes_us: u64,
    ran_unix_ms: Option<u64>,
}

impl Plan {
    /// Puts the jobs in the order of the budget and skips those that do not fit.
    pub(crate) fn fit(&mut self, budget: &Budget<'_>) -> Fit {
        let mut candidates = self.candidates(budget.history);
        candidates.sort_by_key(|candidate| candidate.rank);
        let of = candidates.len();
        let time_us = u64::try_from(budget.time.as_micros()).unwrap_or(u64::MAX);
        let weight =
            |candidate: &Candidate| u64::from(self.matrix(candidate.job).scenario.options.weight.max(1));
        // No more than could ever be taken.
        let slots = u64::from(budget.slots.count).min(candidates.iter().map(weight).sum());
        let mut room = Room::new(time_us / u64::from(budget.repeat.max(1)), slots as usize);
        let mut reasons: BTreeMap<String, Arc<str>> = BTreeMap::new();
        self.jobs.clear();
        for candidate in candidates {
            let Job { scenario, cell } = candidate.job;
            let options = &self.matrices[scenario as usize].scenario.options;
            if room.take(candidate.takes_us, options.weight, options.serial) {
                self.jobs.push(candidate.job);
                continue;
            }
            let last = match candidate.ran_unix_ms {
                Some(ran) => format!("last run {}", age(budget.now_unix_ms.saturating_sub(ran))),
                None => "never run".to_owned(),
            };
            let reason = reasons.entry(last).or_insert_with_key(|last| {
                let time = humantime::format_duration(budget.time);
                format!("does not fit in the budget of {time}; {last}").into()
            });
            let skip = Skip {
                kind: SkipKind::Budget,
                reason: Arc::clone(reason),
            };
            self.skip(scenario, Some(cell), skip, false);
        }
        Fit {
            time: budget.time,
            fitting: self.jobs.len(),
            of,
            ends_us: room.ends_us.saturating_mul(u64::from(budget.repeat.max(1))),
            slots: budget.slots,
        }
    }

    /// The jobs in plan order.
    fn candidates(&self, history: &History) -> Vec<Candidate> {
        let estimates = Estimates::new(history);
        let mut name = String::new();
        let mut candidates: Vec<Candidate> = Vec::with_capacity(self.jobs.len());
        for job in &self.jobs {
            name.clear();
            self.write_name(job.scenario, Some(job.cell), &mut name);
            let past = history.of(&name);
            let ran = past.and_then(|past| past.ran);
            let rank = match (ran, past.map(|past| past.verdict)) {
                (Some(ran), Some(Verdict::Bad)) => (0, ran.started_unix_ms, 0),
                (None, _) => (1, 0, u64::from(job.scenario)),
                (Some(ran), _) => (2, ran.started_unix_ms, 0),
            };
            candidates.push(Candidate {
                rank,
                job: *job,
                takes_us: ran.map_or_else(|| estimates.of(&self.matrix(*job).name), |ran| ran.duration_us),
                ran_unix_ms: ran.map(|ran| ran.started_unix_ms),
            });
        }
        in_rounds(&mut candidates);
        candidates
    }
}

/// Gives each scenario's cases that never ran a round each: its first one the first round.
fn in_rounds(candidates: &mut [Candidate]) {
    let mut never: Vec<&mut Candidate> = candidates
        .iter_mut()
        .filter(|candidate| candidate.rank.0 == 1)
        .collect();
    never.sort_by_key(|candidate| {
        let Job { scenario, cell } = candidate.job;
        // The same in each run: what does not fit now is first the next time.
        (scenario, mixed(mixed(0, cell), u64::from(scenario)), cell)
    });
    for of_scenario in never.chunk_by_mut(|a, b| a.job.scenario == b.job.scenario) {
        for (round, candidate) in (0..).zip(of_scenario) {
            candidate.rank.1 = round;
        }
    }
}

/// What cases of which nothing is known will take.
struct Estimates<'a> {
    of_scenarios: BTreeMap<&'a str, u64>,
    of_suite: u64,
}

impl<'a> Estimates<'a> {
    fn new(history: &'a History) -> Self {
        let mut of_scenarios: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        let mut all = Vec::new();
        for (name, duration_us) in history.durations_us() {
            let scenario = &name[..name.find('[').unwrap_or(name.len())];
            of_scenarios.entry(scenario).or_default().push(duration_us);
            all.push(duration_us);
        }
        let of_scenarios = of_scenarios.into_iter();
        Self {
            of_scenarios: of_scenarios
                .filter_map(|(scenario, durations)| Some((scenario, median(durations)?)))
                .collect(),
            of_suite: median(all).unwrap_or(UNKNOWN_US),
        }
    }

    fn of(&self, scenario: &str) -> u64 {
        self.of_scenarios.get(scenario).copied().unwrap_or(self.of_suite)
    }
}

fn median(mut values: Vec<u64>) -> Option<u64> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable(middle).1)
}

/// The time of all slots, as far as it is not taken.
struct Room {
    time_us: u64,
    /// When each slot is free.
    free_us: BinaryHeap<Reverse<u64>>,
    /// When the last case of each serial group ends.
    serial_us: BTreeMap<&'static str, u64>,
    ends_us: u64,
}

impl Room {
    fn new(time_us: u64, slots: usize) -> Self {
        Self {
            time_us,
            free_us: std::iter::repeat_n(Reverse(0), slots.max(1)).collect(),
            serial_us: BTreeMap::new(),
            ends_us: 0,
        }
    }

    /// Takes room for a case, if it would end in time.
    fn take(&mut self, takes_us: u64, weight: u32, serial: &[&'static str]) -> bool {
        let slots = (weight.max(1) as usize).min(self.free_us.len());
        let taken: Vec<u64> = (0..slots).filter_map(|_| Some(self.free_us.pop()?.0)).collect();
        let free = taken.iter().copied().max().unwrap_or(0);
        let group = serial
            .iter()
            .filter_map(|group| self.serial_us.get(group))
            .copied()
            .max();
        let ends = free.max(group.unwrap_or(0)).saturating_add(takes_us);
        let fits = ends <= self.time_us;
        for slot in taken {
            // While it waits for its group, its slots run others.
            let free = if fits { free.saturating_add(takes_us) } else { slot };
            self.free_us.push(Reverse(free));
        }
        if fits {
            self.serial_us.extend(serial.iter().map(|group| (*group, ends)));
            self.ends_us = self.ends_us.max(ends);
        }
        fits
    }
}

/// A time as a reader wants it: two units at most.
fn rough(us: u64) -> String {
    let unit = match us {
        0..1_000 => 1,
        1_000..1_000_000 => 1_000,
        1_000_000..3_600_000_000 => 1_000_000,
        _ => 60_000_000,
    };
    humantime::format_duration(Duration::from_micros(us / unit * unit)).to_string()
}

/// How long ago something was, in its largest unit.
fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    let (number, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural} ago")
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
