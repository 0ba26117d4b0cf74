//! What a known failure makes of a verdict.
//!
//! A case with a known defect has to fail by it: when it passes, the defect is gone and the declaration has to go, and when it
//! fails by something else, that is news. (pytest: `xfail` with `strict`, `raises`.)

use std::fmt::Write as _;

use crate::event::SubCase;
use crate::outcome::{Class, Outcome, Problem};
use crate::registry::KnownFailure;

impl KnownFailure {
    /// Whether the failure is due to the defect.
    fn explains(&self, problem: &Problem) -> bool {
        let says = |text: &&str| problem.message.contains(text) || problem.details.contains(text);
        self.expected.is_empty() || self.expected.iter().any(says)
    }
}

/// The verdict on a case that has these defects. What the harness or the set-up broke is due to none.
pub(crate) fn judge(outcome: Outcome, known: &[&KnownFailure]) -> Outcome {
    match outcome {
        Outcome::Passed => match known.iter().find(|known| !known.intermittent) {
            Some(known) => Outcome::Failed(Problem::new(
                Class::UnexpectedPass,
                format!(
                    "it passed, and is declared a known failure: {}\nremove the `known_failure` if the defect is gone",
                    known.rule.because
                ),
            )),
            None => Outcome::Passed,
        },
        Outcome::Failed(problem) => explain(problem, known, Outcome::Failed),
        Outcome::Errored(problem)
            if matches!(
                problem.class,
                Class::Deadline | Class::Crash | Class::Death | Class::Log
            ) =>
        {
            explain(problem, known, Outcome::Errored)
        }
        other => other,
    }
}

/// The first defect that explains the problem, or the problem as it is `otherwise`.
fn explain(mut problem: Problem, known: &[&KnownFailure], otherwise: fn(Problem) -> Outcome) -> Outcome {
    if let Some(known) = known.iter().find(|known| known.explains(&problem)) {
        return Outcome::KnownFailure {
            because: known.rule.because.to_owned(),
            problem,
        };
    }
    for known in known {
        let expected: Vec<String> = known.expected.iter().map(|text| format!("{text:?}")).collect();
        let expected = expected.join(" or ");
        let separator = if problem.details.is_empty() { "" } else { "\n" };
        let _ = write!(
            problem.details,
            "{separator}this is not its known failure, which says {expected}: {}",
            known.rule.because
        );
    }
    otherwise(problem)
}

/// What is known of a case is known of its sub-cases: they do not make red what is not.
pub(crate) fn hold_for_sub_cases(case: &Outcome, sub_cases: &mut [SubCase]) {
    let Outcome::KnownFailure { because, .. } = case else {
        return;
    };
    for sub_case in sub_cases {
        let Some(problem) = sub_case.outcome.problem().filter(|_| sub_case.outcome.is_bad()) else {
            continue;
        };
        sub_case.outcome = Outcome::KnownFailure {
            because: because.clone(),
            problem: problem.clone(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Rule;

    const FORGETS: KnownFailure = KnownFailure::new(Rule {
        when: &[],
        because: "it forgets",
    });

    const LOSES_AT_TIMES: KnownFailure = KnownFailure {
        rule: Rule {
            when: &[],
            because: "it loses the last",
        },
        expected: &["are missing", "is missing"],
        intermittent: true,
    };

    fn failed(text: &str) -> Outcome {
        Outcome::Failed(Problem::new(Class::Error, text))
    }

    /// The reason of a known failure.
    fn reason(outcome: &Outcome) -> Option<&str> {
        match outcome {
            Outcome::KnownFailure { because, .. } => Some(because),
            _ => None,
        }
    }

    #[test]
    fn it_must_fail_and_only_by_its_defect() {
        let judged = |outcome| judge(outcome, &[&FORGETS]);
        assert!(
            matches!(judged(Outcome::Passed), Outcome::Failed(problem) if problem.class == Class::UnexpectedPass)
        );
        assert_eq!(reason(&judged(failed("lost"))), Some("it forgets"));
        for class in [Class::Deadline, Class::Crash, Class::Death, Class::Log] {
            let outcome = Outcome::Errored(Problem::new(class, "x"));
            assert_eq!(reason(&judged(outcome)), Some("it forgets"));
        }
        for outcome in [
            Outcome::Errored(Problem::new(Class::Setup, "no port")),
            Outcome::Skipped { reason: "no".into() },
            Outcome::Unknown { reason: "no".into() },
        ] {
            assert_eq!(judged(outcome.clone()), outcome);
        }
    }

    #[test]
    fn it_must_say_what_is_expected() {
        let known = KnownFailure {
            intermittent: false,
            ..LOSES_AT_TIMES
        };
        let judged = |outcome| judge(outcome, &[&known]);
        assert_eq!(
            reason(&judged(failed("3 of 4 are missing"))),
            Some("it loses the last")
        );
        assert_eq!(
            reason(&judged(failed("wrong\n1 of 4 is missing\nat x.rs:1"))),
            Some("it loses the last")
        );
        for (text, details) in [("refused", ""), ("refused\nat x.rs:1", "at x.rs:1\n")] {
            let Outcome::Failed(problem) = judged(failed(text)) else {
                panic!("{text}");
            };
            let told = "this is not its known failure, which says \"are missing\" or \"is missing\": it loses the last";
            assert_eq!(
                (&*problem.message, problem.details),
                ("refused", format!("{details}{told}"))
            );
        }
        let crashed = Outcome::Errored(Problem::new(Class::Crash, "signal 11"));
        assert!(matches!(judged(crashed), Outcome::Errored(problem) if problem.class == Class::Crash));
    }

    #[test]
    fn an_intermittent_one_may_pass_and_of_several_the_first_that_fits_is_told() {
        assert_eq!(judge(Outcome::Passed, &[&LOSES_AT_TIMES]), Outcome::Passed);
        assert!(judge(Outcome::Passed, &[&LOSES_AT_TIMES, &FORGETS]).is_bad());
        let judged = |text| judge(failed(text), &[&LOSES_AT_TIMES, &FORGETS]);
        assert_eq!(reason(&judged("3 are missing")), Some("it loses the last"));
        assert_eq!(reason(&judged("refused")), Some("it forgets"));
    }

    #[test]
    fn what_nothing_is_known_of_stays_as_it_is() {
        for outcome in [Outcome::Passed, failed("lost\nat x.rs:1")] {
            assert_eq!(judge(outcome.clone(), &[]), outcome);
        }
    }
}
