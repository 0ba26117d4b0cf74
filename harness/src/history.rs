//! What is remembered of a suite's cases from run to run: when each last ran, how long that took, and whether its
//! last verdict was bad.
//!
//! Pure: values, and the lines they are written as. [`crate::history_file`] keeps them. A line says how one case
//! ended in one run (`+` good, `-` bad, `?` a bad verdict of a case that did not run to its end), when it began in
//! milliseconds since the Unix epoch, its duration in microseconds, and its name; the last line of a case counts.
//! A line with `=` says how many cases a run had going on average, in hundredths.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::outcome::{Class, Outcome};

/// A case's last run to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) started_unix_ms: u64,
    pub(crate) duration_us: u64,
}

/// The kind of a case's last verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    Bad,
    /// Bad, and nothing is known of the case by it: the run was interrupted, or what it needs was not there.
    NotRun,
}

/// What is known of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Past {
    pub(crate) ran: Option<Ran>,
    pub(crate) verdict: Verdict,
}

impl Past {
    /// After a run that had this outcome for the case; `None` where it was skipped.
    pub(crate) fn new(outcome: &Outcome, ran: Ran) -> Option<Self> {
        let verdict = match outcome {
            Outcome::Skipped { .. } => return None,
            Outcome::Errored(problem) if matches!(problem.class, Class::Interrupted | Class::Required) => {
                Verdict::NotRun
            }
            outcome if outcome.is_bad() => Verdict::Bad,
            _ => Verdict::Good,
        };
        Some(Self {
            ran: (verdict != Verdict::NotRun).then_some(ran),
            verdict,
        })
    }

    pub(crate) fn is_bad(&self) -> bool {
        self.verdict != Verdict::Good
    }
}

/// See the module.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct History {
    cases: BTreeMap<String, Past>,
    /// How many cases a run had going on average, in hundredths.
    concurrency_percent: Option<u64>,
}

impl History {
    /// Takes in lines. Returns how many could not be read; those are passed over.
    pub(crate) fn read(&mut self, text: &[u8]) -> usize {
        let lines = text.split_inclusive(|&byte| byte == b'\n');
        lines.filter(|line| self.read_line(line).is_none()).count()
    }

    fn read_line(&mut self, line: &[u8]) -> Option<()> {
        let line = str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
        let mut parts = line.splitn(4, ' ');
        let (mark, first) = (parts.next()?, parts.next()?.parse().ok()?);
        let verdict = match mark {
            "=" => {
                self.concurrency_percent = Some(first);
                return parts.next().is_none().then_some(());
            }
            "+" => Verdict::Good,
            "-" => Verdict::Bad,
            "?" => Verdict::NotRun,
            _ => return None,
        };
        let duration_us = parts.next()?.parse().ok()?;
        let name = parts.next().filter(|name| !name.is_empty())?;
        let ran = Ran {
            started_unix_ms: first,
            duration_us,
        };
        // No case began at the beginning of time.
        let ran = (first > 0).then_some(ran);
        self.enter(name, Past { ran, verdict });
        Some(())
    }

    /// Enters what a run says of a case.
    pub(crate) fn enter(&mut self, name: &str, new: Past) {
        match self.cases.get_mut(name) {
            Some(past) => {
                // What failed and did not run since is what failed last.
                if (past.verdict, new.verdict) != (Verdict::Bad, Verdict::NotRun) {
                    past.verdict = new.verdict;
                }
                past.ran = new.ran.or(past.ran);
            }
            None => {
                self.cases.insert(name.to_owned(), new);
            }
        }
    }

    /// All of it as lines, the cases sorted.
    pub(crate) fn lines(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        for (name, past) in &self.cases {
            push_case(&mut lines, name, *past);
        }
        if let Some(percent) = self.concurrency_percent {
            push_concurrency(&mut lines, percent);
        }
        lines
    }

    /// Drops cases that do not exist and began before this time.
    pub(crate) fn forget(&mut self, before_unix_ms: u64, exists: impl Fn(&str) -> bool) {
        self.cases.retain(|name, past| {
            past.ran.is_some_and(|ran| ran.started_unix_ms >= before_unix_ms) || exists(name)
        });
    }

    /// What is known of a case.
    pub(crate) fn of(&self, name: &str) -> Option<Past> {
        self.cases.get(name).copied()
    }

    /// The names of the cases whose last verdict was bad.
    pub(crate) fn bad(&self) -> BTreeSet<String> {
        let bad = self.cases.iter().filter(|(_, past)| past.is_bad());
        bad.map(|(name, _)| name.clone()).collect()
    }

    /// The names of cases that ran, and how long they took in microseconds.
    pub(crate) fn durations_us(&self) -> impl Iterator<Item = (&str, u64)> {
        self.cases
            .iter()
            .filter_map(|(name, past)| Some((name.as_str(), past.ran?.duration_us)))
    }

    /// How many cases earlier runs had going at a time on average, where one said so: at least 1.
    pub(crate) fn concurrency(&self) -> Option<u32> {
        let percent = self.concurrency_percent?;
        Some(
            u32::try_from(percent.saturating_add(50) / 100)
                .unwrap_or(u32::MAX)
                .max(1),
        )
    }
}

/// Appends the line of a case.
pub(crate) fn push_case(lines: &mut Vec<u8>, name: &str, past: Past) {
    let mark = match past.verdict {
        Verdict::Good => '+',
        Verdict::Bad => '-',
        Verdict::NotRun => '?',
    };
    let (started, duration) = past
        .ran
        .map_or((0, 0), |ran| (ran.started_unix_ms, ran.duration_us));
    lines.extend_from_slice(format!("{mark} {started} {duration} ").as_bytes());
    lines.extend_from_slice(name.as_bytes());
    lines.push(b'\n');
}

/// Appends the line of a run's concurrency.
pub(crate) fn push_concurrency(lines: &mut Vec<u8>, percent: u64) {
    lines.extend_from_slice(format!("= {percent}\n").as_bytes());
}

/// The average concurrency of a run, in hundredths, where enough cases ran for that to say something of the next run: so
/// many that some waited for others, however many the machine bears.
pub(crate) fn concurrency_percent(runs: u64, cores: u32, busy_us: u64, took: Duration) -> Option<u64> {
    let took_us = u64::try_from(took.as_micros()).ok()?;
    let percent = busy_us.saturating_mul(100).checked_div(took_us)?;
    (runs >= 8 * u64::from(cores) && runs.saturating_mul(100) >= percent.saturating_mul(2)).then_some(percent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Problem;

    pub(crate) fn ran(started_unix_ms: u64, duration_us: u64) -> Option<Ran> {
        Some(Ran {
            started_unix_ms,
            duration_us,
        })
    }

    fn history(lines: &str) -> History {
        let mut history = History::default();
        assert_eq!(history.read(lines.as_bytes()), 0, "{lines}");
        history
    }

    #[test]
    fn the_last_line_of_a_case_counts() {
        let history = history("+ 5 10 m::a[x=1 2]\n- 7 20 b\n- 6 30 m::a[x=1 2]\n= 250\n= 730\n");
        let past = history.of("m::a[x=1 2]").unwrap();
        assert_eq!((past.ran, past.verdict), (ran(6, 30), Verdict::Bad));
        assert_eq!(history.concurrency(), Some(7));
        assert_eq!(history.bad().len(), 2);
        assert_eq!(history.of("c"), None);
    }

    #[test]
    fn a_case_that_did_not_run_keeps_what_was_known() {
        let history = history("+ 5 10 a\n? 0 0 a\n? 0 0 b\n");
        assert_eq!(history.of("a").unwrap().ran, ran(5, 10));
        assert_eq!(history.of("a").unwrap().verdict, Verdict::NotRun);
        assert_eq!(history.of("b").unwrap().ran, None);
        let failed = self::history("- 5 10 a\n? 0 0 a\n");
        assert_eq!(failed.of("a").unwrap().verdict, Verdict::Bad);
        assert_eq!(history.bad().len(), 2);
        assert_eq!(history.durations_us().collect::<Vec<_>>(), [("a", 10)]);
        assert_eq!(history.concurrency(), None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let written = history("+ 5 10 a\n? 0 0 a\n- 1 2 b[x= y]\n? 0 0 c\n= 99\n");
        let lines = written.lines();
        assert_eq!(
            str::from_utf8(&lines).unwrap(),
            "? 5 10 a\n- 1 2 b[x= y]\n? 0 0 c\n= 99\n"
        );
        assert_eq!(history(str::from_utf8(&lines).unwrap()), written);
        assert_eq!(written.concurrency(), Some(1));
    }

    #[test]
    fn a_line_that_cannot_be_read_costs_that_line() {
        let mut history = History::default();
        let text = b"+ 1 2 a\n\n+ x 2 b\n+ 1 2\n+ 1 2 \n! 1 2 c\n= 1 2 3\n+ 1 \xff d\n- 1 2 e\n+ 1 2 torn";
        assert_eq!(history.read(text), 8);
        let names: Vec<_> = history.cases.keys().collect();
        assert_eq!(names, ["a", "e"]);
    }

    #[test]
    fn an_outcome_says_how_a_case_ended() {
        let errored = |class| Outcome::Errored(Problem::new(class, "x"));
        let known = Outcome::KnownFailure {
            because: "b".into(),
            problem: Problem::new(Class::Error, "x"),
        };
        for (outcome, verdict) in [
            (Outcome::Passed, Verdict::Good),
            (known, Verdict::Good),
            (Outcome::Failed(Problem::new(Class::Error, "x")), Verdict::Bad),
            (errored(Class::Deadline), Verdict::Bad),
            (Outcome::Unknown { reason: "r".into() }, Verdict::Bad),
            (errored(Class::Interrupted), Verdict::NotRun),
            (errored(Class::Required), Verdict::NotRun),
        ] {
            let past = Past::new(&outcome, ran(1, 2).unwrap()).unwrap();
            assert_eq!(past.verdict, verdict, "{outcome:?}");
            assert_eq!(past.ran.is_some(), verdict != Verdict::NotRun);
        }
        let skipped = Outcome::Skipped { reason: "r".into() };
        assert_eq!(Past::new(&skipped, ran(1, 2).unwrap()), None);
    }

    #[test]
    fn only_old_cases_that_do_not_exist_are_forgotten() {
        let mut history =
            history("+ 10 1 old\n+ 10 1 exists\n+ 20 1 young\n? 0 0 never\n- 0 0 never_exists\n");
        history.forget(20, |name| name.contains("exists"));
        let names: Vec<_> = history.cases.keys().collect();
        assert_eq!(names, ["exists", "never_exists", "young"]);
    }

    #[test]
    fn a_run_of_few_cases_says_nothing_of_concurrency() {
        let percent = |runs, cores, busy_s: u64| {
            concurrency_percent(runs, cores, busy_s * 1_000_000, Duration::from_secs(10))
        };
        assert_eq!(percent(40, 2, 73), Some(730));
        assert_eq!(percent(40, 5, 3), Some(30));
        assert_eq!(percent(40, 6, 3), None, "too few for the machine");
        assert_eq!(percent(40, 2, 201), None, "half of them ran at a time");
        assert_eq!(concurrency_percent(40, 2, 1, Duration::ZERO), None);
    }
}
