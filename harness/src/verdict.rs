//! From what an attempt showed to its outcome: pure.

use crate::case::CaseEnd;
use crate::event::SubCase;
use crate::outcome::{Class, Outcome, Problem};
use crate::registry::ShouldPanic;
use crate::sub_case;

/// How the body ended, or what kept it from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    Ok,
    Failed(Problem),
    Panicked(Problem),
    Skipped(String),
    /// It was asked to end: by its deadline or an interrupt, which the runner knows.
    Cancelled,
    /// It never started.
    Broken(Problem),
    /// It was ended, for the reason that [`Findings::broken_off`] has.
    BrokenOff,
}

/// All that an attempt showed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    pub(crate) body: Option<BodyEnd>,
    pub(crate) should_panic: Option<ShouldPanic>,
    /// What went wrong beside its code, and ended it if it had not ended.
    pub(crate) broken_off: Option<Problem>,
    /// Its parts.
    pub(crate) sub_cases: Vec<SubCase>,
    /// What failed it beside its code.
    pub(crate) failures: Vec<Problem>,
    /// Panics of other threads and tasks.
    pub(crate) other_panics: Vec<Problem>,
    /// Teardowns that failed.
    pub(crate) teardown: Vec<String>,
    /// What outlived the case.
    pub(crate) leaks: Vec<String>,
    /// Whether the case was kept up after its verdict, so that only what came later is to be judged.
    pub(crate) was_kept: bool,
}

impl Findings {
    /// What showed beside the case's code, after what showed before.
    pub(crate) fn also(&mut self, end: CaseEnd) {
        self.broken_off = self.broken_off.take().or(end.broken);
        self.failures.extend(end.failures);
        self.sub_cases.extend(end.sub_cases);
    }

    /// The first of: why it was broken off, the body's own problem, failed sub-cases, a failure beside the body, a
    /// foreign panic, a failed teardown, a leak. The others follow in its details, but for sub-cases, which every
    /// report tells one by one.
    pub(crate) fn outcome(self) -> Outcome {
        if self.is_unremarkable() {
            return Outcome::Passed;
        }
        let body = match (self.body.unwrap_or(BodyEnd::Ok), self.should_panic) {
            _ if self.was_kept => None,
            (BodyEnd::Ok, Some(_)) => Some(Outcome::Failed(Problem::new(
                Class::ShouldPanic,
                "it should have panicked and did not",
            ))),
            (
                BodyEnd::Panicked(problem),
                Some(ShouldPanic {
                    expected: Some(expected),
                }),
            ) if !problem.to_string().contains(expected) => {
                let text =
                    format!("it should have panicked with {expected:?}, and panicked with:\n{problem}");
                Some(Outcome::Failed(Problem::new(Class::ShouldPanic, text)))
            }
            (BodyEnd::Ok, None) | (BodyEnd::Panicked(_), Some(_)) => None,
            (BodyEnd::Failed(problem) | BodyEnd::Panicked(problem), _) => Some(Outcome::Failed(problem)),
            (BodyEnd::Skipped(reason), _) => Some(Outcome::Skipped { reason }),
            (BodyEnd::Cancelled, _) => Some(Outcome::Errored(Problem::new(
                Class::Interrupted,
                "the case was asked to end",
            ))),
            (BodyEnd::Broken(problem), _) => Some(Outcome::Errored(problem)),
            (BodyEnd::BrokenOff, _) => None,
        };
        let broken_off = self.broken_off.map(Outcome::Errored);
        let mut others = Vec::new();
        if broken_off.is_none() && !matches!(body, Some(Outcome::Failed(_) | Outcome::Errored(_))) {
            others.extend(sub_case::verdict(&self.sub_cases));
        }
        for problem in self.failures.into_iter().chain(self.other_panics) {
            others.push(Outcome::Failed(problem));
        }
        for text in self.teardown {
            others.push(Outcome::Errored(Problem::new(
                Class::Teardown,
                format!("teardown of {text}"),
            )));
        }
        if !self.leaks.is_empty() {
            let text = match &self.leaks[..] {
                [only] => format!("left behind: {only}"),
                many => format!("left behind: {} things\n{}", many.len(), many.join("\n")),
            };
            others.push(Outcome::Errored(Problem::new(Class::Leak, text)));
        }
        let mut all = broken_off.into_iter().chain(body).chain(others);
        match all.next() {
            None => Outcome::Passed,
            // A skip is only a skip when nothing else is wrong.
            Some(Outcome::Skipped { reason }) => match all.next() {
                None => Outcome::Skipped { reason },
                Some(worse) => with_others(worse, all),
            },
            Some(first) => with_others(first, all),
        }
    }

    /// Nearly every case, and told without building anything.
    fn is_unremarkable(&self) -> bool {
        let is_right = matches!(self.body, Some(BodyEnd::Ok)) && self.should_panic.is_none();
        (is_right || self.was_kept)
            && self.broken_off.is_none()
            && self.sub_cases.is_empty()
            && self.failures.is_empty()
            && self.other_panics.is_empty()
            && self.teardown.is_empty()
            && self.leaks.is_empty()
    }
}

fn with_others(mut first: Outcome, others: impl Iterator<Item = Outcome>) -> Outcome {
    if let Outcome::Failed(problem) | Outcome::Errored(problem) = &mut first {
        for other in others.filter_map(|other| other.problem().cloned()) {
            problem
                .details
                .push_str(&format!("\n\nalso, {}: {other}", other.class.name()));
        }
        problem.details = problem.details.trim_start_matches('\n').to_owned();
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(class: Class, text: &str) -> Problem {
        Problem::new(class, text)
    }

    #[test]
    fn the_first_problem_is_the_verdict_and_the_others_are_told() {
        let findings = Findings {
            body: Some(BodyEnd::Failed(problem(Class::Error, "lost"))),
            leaks: vec!["thread 1 (x)".into()],
            teardown: vec!["broker: gone".into()],
            ..Findings::default()
        };
        let Outcome::Failed(told) = findings.outcome() else {
            panic!()
        };
        assert_eq!(told.message, "lost");
        assert!(
            told.details.contains("also, teardown: teardown of broker: gone"),
            "{}",
            told.details
        );
        assert!(told.details.contains("also, leak: left behind: thread 1 (x)"));
    }

    #[test]
    fn of_a_case_that_was_kept_only_what_came_later_is_judged() {
        let kept = Findings {
            body: Some(BodyEnd::Failed(problem(Class::Error, "lost"))),
            should_panic: Some(ShouldPanic { expected: None }),
            was_kept: true,
            ..Findings::default()
        };
        assert_eq!(kept.clone().outcome(), Outcome::Passed);
        let died = Findings {
            broken_off: Some(problem(Class::Death, "node `x` died")),
            leaks: vec!["thread 1 (x)".into()],
            ..kept
        };
        let outcome = died.outcome();
        let told = outcome.problem().map(ToString::to_string).unwrap_or_default();
        assert!(
            told.starts_with("node `x` died") && !told.contains("lost"),
            "{told}"
        );
        assert!(told.contains("also, leak: left behind: thread 1 (x)"), "{told}");
    }

    #[test]
    fn what_broke_the_case_off_comes_before_what_its_code_came_to() {
        let outcome = |body| {
            Findings {
                body: Some(body),
                broken_off: Some(problem(Class::Death, "node `x` died")),
                ..Findings::default()
            }
            .outcome()
        };
        let lost = BodyEnd::Failed(problem(Class::Error, "connection lost"));
        for (body, more) in [
            (BodyEnd::BrokenOff, ""),
            (BodyEnd::Ok, ""),
            (lost, "also, error: connection lost"),
        ] {
            let Outcome::Errored(told) = outcome(body) else {
                panic!()
            };
            assert_eq!(
                (told.class, &*told.message, &*told.details),
                (Class::Death, "node `x` died", more)
            );
        }
    }

    #[test]
    fn sub_cases_are_judged_where_the_body_found_nothing_and_come_before_what_is_beside_it() {
        let lost = problem(Class::Error, "lost");
        let sub_case = SubCase {
            name: "client-1".into(),
            outcome: Outcome::Failed(lost.clone()),
            duration_us: 1,
        };
        let outcome = |body| {
            Findings {
                body: Some(body),
                sub_cases: vec![sub_case.clone()],
                failures: vec![problem(Class::Panic, "task `pump`")],
                ..Findings::default()
            }
            .outcome()
        };
        for body in [BodyEnd::Ok, BodyEnd::Skipped("no".into())] {
            let Outcome::Failed(told) = outcome(body) else {
                panic!()
            };
            assert_eq!(told.message, "1 of 1 sub-cases failed: client-1");
            assert!(
                told.details.contains("also, panic: task `pump`"),
                "{}",
                told.details
            );
        }
        let Outcome::Failed(told) = outcome(BodyEnd::Failed(lost)) else {
            panic!()
        };
        assert_eq!(
            (&*told.message, &*told.details),
            ("lost", "also, panic: task `pump`")
        );
    }

    #[test]
    fn a_skip_does_not_hide_a_leak_and_an_ok_does_not_hide_a_foreign_panic() {
        let skipped = Findings {
            body: Some(BodyEnd::Skipped("no".into())),
            leaks: vec!["a".into(), "b".into()],
            ..Findings::default()
        };
        assert!(matches!(
            skipped.outcome(),
            Outcome::Errored(Problem {
                class: Class::Leak,
                ..
            })
        ));
        let panicked = Findings {
            body: Some(BodyEnd::Ok),
            other_panics: vec![problem(Class::Panic, "elsewhere")],
            ..Findings::default()
        };
        assert!(matches!(panicked.outcome(), Outcome::Failed(_)));
    }

    #[test]
    fn should_panic_wants_the_panic_and_its_text() {
        let outcome = |body, expected| {
            let should_panic = Some(ShouldPanic { expected });
            Findings {
                body: Some(body),
                should_panic,
                ..Findings::default()
            }
            .outcome()
        };
        let boom = || BodyEnd::Panicked(problem(Class::Panic, "boom 7"));
        assert_eq!(outcome(boom(), None), Outcome::Passed);
        assert_eq!(outcome(boom(), Some("boom")), Outcome::Passed);
        assert!(outcome(boom(), Some("bang")).is_bad());
        assert!(outcome(BodyEnd::Ok, None).is_bad());
        assert!(outcome(BodyEnd::Failed(problem(Class::Error, "x")), None).is_bad());
    }
}
