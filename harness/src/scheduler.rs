//! Which case starts next: pure.
//!
//! Jobs wait in one queue for each *class*: the scenarios that share their `serial` groups and weight. The
//! oldest job that may run is the next one, so a job that waits for its group or for room holds no slot.
//! A heavy job that was overtaken often enough stops the overtaking until it fits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What of a scenario the scheduler has to know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Constraint {
    pub(crate) serial: Vec<&'static str>,
    pub(crate) weight: u32,
}

/// A job, as its number in the plan.
pub(crate) type JobNumber = u64;

#[derive(Debug)]
struct Class {
    constraint: Constraint,
    waiting: VecDeque<JobNumber>,
    /// Starts of other jobs since this class's first one could not start for want of room.
    overtaken: u32,
}

/// The scheduler's state.
#[derive(Debug)]
pub(crate) struct Scheduler {
    classes: Vec<Class>,
    /// Each scenario's class.
    class_of: Vec<usize>,
    busy: BTreeSet<&'static str>,
    /// The weight of what runs.
    load: u32,
    running: u32,
    running_max: u32,
    waiting: u64,
    stopped: bool,
}

/// What a slot shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Run this job; its class goes back to [`Scheduler::finished`].
    Start(JobNumber, usize),
    /// Something has to finish first.
    Wait,
    /// Nothing is left.
    End,
}

impl Scheduler {
    /// Without jobs; `constraints` has an entry a scenario.
    pub(crate) fn new(constraints: &[Constraint]) -> Self {
        let mut numbers: BTreeMap<&Constraint, usize> = BTreeMap::new();
        let mut classes: Vec<Class> = Vec::new();
        let class_of = constraints
            .iter()
            .map(|constraint| {
                *numbers.entry(constraint).or_insert_with(|| {
                    let constraint = constraint.clone();
                    classes.push(Class {
                        constraint,
                        waiting: VecDeque::new(),
                        overtaken: 0,
                    });
                    classes.len() - 1
                })
            })
            .collect();
        Self {
            classes,
            class_of,
            busy: BTreeSet::new(),
            load: 0,
            running: 0,
            running_max: 0,
            waiting: 0,
            stopped: false,
        }
    }

    /// Adds jobs numbered from `first`; `jobs` yields each one's scenario, in plan order.
    pub(crate) fn append(&mut self, first: JobNumber, jobs: impl Iterator<Item = u32>) {
        for (number, scenario) in (first..).zip(jobs) {
            self.classes[self.class_of[scenario as usize]]
                .waiting
                .push_back(number);
            self.waiting += 1;
        }
    }

    /// The next job for a free slot, when the machine carries `capacity` units of weight. A job heavier than
    /// that runs alone.
    pub(crate) fn next(&mut self, capacity: u32) -> Next {
        if self.stopped || self.waiting == 0 {
            return Next::End;
        }
        let mut best: Option<(JobNumber, usize)> = None;
        let mut crowded: Option<(JobNumber, usize)> = None;
        for (index, class) in self.classes.iter().enumerate() {
            let Some(&first) = class.waiting.front() else {
                continue;
            };
            if class
                .constraint
                .serial
                .iter()
                .any(|group| self.busy.contains(group))
            {
                continue;
            }
            let fits = self.running == 0 || self.load + class.constraint.weight <= capacity;
            let oldest = if fits { &mut best } else { &mut crowded };
            if oldest.is_none_or(|(number, _)| first < number) {
                *oldest = Some((first, index));
            }
        }
        if let Some((number, index)) = crowded
            && best.is_none_or(|(other, _)| number < other)
        {
            self.classes[index].overtaken += 1;
            if self.classes[index].overtaken > 2 * capacity {
                return Next::Wait;
            }
        }
        let Some((number, index)) = best else {
            return Next::Wait;
        };
        let class = &mut self.classes[index];
        class.waiting.pop_front();
        class.overtaken = 0;
        self.waiting -= 1;
        self.load += class.constraint.weight;
        self.running += 1;
        self.running_max = self.running_max.max(self.running);
        self.busy.extend(&class.constraint.serial);
        Next::Start(number, index)
    }

    /// The class's next job, if nothing of another class is older, for a slot that runs one of that class now
    /// and will run this one after it. It counts as waiting no more, and not yet as running.
    pub(crate) fn next_ahead(&mut self, class: usize) -> Option<JobNumber> {
        let job = self.classes[class].waiting.front().copied()?;
        let others = self.classes.iter().filter_map(|class| class.waiting.front());
        if self.stopped || others.min() != Some(&job) {
            return None;
        }
        self.classes[class].waiting.pop_front();
        self.waiting -= 1;
        Some(job)
    }

    /// A job that was taken by [`Scheduler::next_ahead`] starts.
    pub(crate) fn start_ahead(&mut self, class: usize) {
        self.load += self.classes[class].constraint.weight;
        self.running += 1;
        self.running_max = self.running_max.max(self.running);
    }

    /// A job that was taken by [`Scheduler::next_ahead`] waits again, as if it had not been.
    pub(crate) fn give_back(&mut self, job: JobNumber, class: usize) {
        let waiting = &mut self.classes[class].waiting;
        let at = waiting.partition_point(|&other| other < job);
        waiting.insert(at, job);
        self.waiting += 1;
    }

    /// Whether jobs of this class may be taken ahead: they exclude no others.
    pub(crate) fn is_plain(&self, class: usize) -> bool {
        let constraint = &self.classes[class].constraint;
        constraint.serial.is_empty() && constraint.weight == 1
    }

    /// A job of this class ended.
    pub(crate) fn finished(&mut self, class: usize) {
        let constraint = &self.classes[class].constraint;
        self.load -= constraint.weight;
        self.running -= 1;
        for group in &constraint.serial {
            self.busy.remove(group);
        }
    }

    /// Starts nothing any more. Returns what will not run, in plan order.
    pub(crate) fn stop(&mut self) -> Vec<JobNumber> {
        self.stopped = true;
        self.waiting = 0;
        let mut left: Vec<JobNumber> = self
            .classes
            .iter_mut()
            .flat_map(|class| std::mem::take(&mut class.waiting))
            .collect();
        left.sort_unstable();
        left
    }

    /// How many jobs wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// The most jobs that ever ran at a time.
    pub(crate) fn running_max(&self) -> u32 {
        self.running_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constraint(serial: &[&'static str], weight: u32) -> Constraint {
        Constraint {
            serial: serial.to_vec(),
            weight,
        }
    }

    fn scheduler(kinds: &[Constraint], jobs: impl Iterator<Item = u32>) -> Scheduler {
        let mut scheduler = Scheduler::new(kinds);
        scheduler.append(0, jobs);
        scheduler
    }

    #[test]
    fn a_serial_group_runs_one_at_a_time_and_holds_no_slot() {
        let kinds = [constraint(&["db"], 1), constraint(&[], 1)];
        let mut scheduler = scheduler(&kinds, [0, 0, 0, 1, 1].into_iter());
        assert_eq!(scheduler.next(8), Next::Start(0, 0));
        assert_eq!(scheduler.next(8), Next::Start(3, 1));
        assert_eq!(scheduler.next(8), Next::Start(4, 1));
        assert_eq!(scheduler.next(8), Next::Wait);
        scheduler.finished(0);
        assert_eq!(scheduler.next(8), Next::Start(1, 0));
        scheduler.finished(0);
        assert_eq!(scheduler.next(8), Next::Start(2, 0));
        assert_eq!(scheduler.next(8), Next::End);
        assert_eq!(scheduler.running_max(), 3);
    }

    #[test]
    fn a_job_taken_ahead_is_the_oldest_and_can_be_given_back() {
        let kinds = [constraint(&[], 1), constraint(&["db"], 1)];
        let mut scheduler = scheduler(&kinds, [0, 0, 0, 1, 0].into_iter());
        assert_eq!(scheduler.next(8), Next::Start(0, 0));
        assert!(scheduler.is_plain(0) && !scheduler.is_plain(1));
        assert_eq!(scheduler.next_ahead(0), Some(1));
        assert_eq!(scheduler.next_ahead(0), Some(2));
        // The one of the group is older than what is left of this class.
        assert_eq!(scheduler.next_ahead(0), None);
        assert_eq!(scheduler.waiting(), 2);
        scheduler.give_back(2, 0);
        assert_eq!(scheduler.next(8), Next::Start(2, 0));
        scheduler.finished(0);
        scheduler.start_ahead(0);
        assert_eq!(scheduler.next(8), Next::Start(3, 1));
        assert_eq!(scheduler.running_max(), 3);
        assert_eq!(scheduler.stop(), [4]);
    }

    #[test]
    fn overlapping_groups_exclude_each_other() {
        let kinds = [
            constraint(&["a", "b"], 1),
            constraint(&["b"], 1),
            constraint(&["c"], 1),
        ];
        let mut scheduler = scheduler(&kinds, [0, 1, 2].into_iter());
        assert_eq!(scheduler.next(8), Next::Start(0, 0));
        assert_eq!(scheduler.next(8), Next::Start(2, 2));
        assert_eq!(scheduler.next(8), Next::Wait);
    }

    #[test]
    fn a_heavy_job_is_not_starved_and_one_heavier_than_the_machine_runs_alone() {
        let kinds = [constraint(&[], 1), constraint(&[], 100)];
        let jobs = std::iter::once(0).chain([1]).chain(std::iter::repeat_n(0, 100));
        let mut scheduler = scheduler(&kinds, jobs);
        assert_eq!(scheduler.next(4), Next::Start(0, 0));
        let mut overtakers = 0;
        loop {
            match scheduler.next(4) {
                Next::Start(1, _) => panic!("it does not fit beside another"),
                Next::Start(..) => {
                    overtakers += 1;
                    scheduler.finished(0);
                }
                _ => break,
            }
        }
        assert_eq!(overtakers, 8);
        scheduler.finished(0);
        assert_eq!(scheduler.next(4), Next::Start(1, 1));
        assert_eq!(scheduler.next(4), Next::Wait);
        scheduler.finished(1);
        assert!(matches!(scheduler.next(4), Next::Start(_, 0)));
        assert_eq!(scheduler.stop().len(), 91);
        assert_eq!(scheduler.next(4), Next::End);
    }
}
