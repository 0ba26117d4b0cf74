//! `--explain`: which of a failed case's variants matters. Pure: what to run again, and what that came to.
//!
//! A case is run again as it was, and then with one variant flipped at a time. Nothing here starts anything.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::event::CaseFinished;
use crate::outcome::Outcome;
use crate::variant::{Alternative, Assignment, Mode};

/// More cases than this are not explained.
pub(crate) const CASES_MAX: usize = 10;

/// A case to explain.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: String,
    axes: Vec<(String, String)>,
    /// What gives it its variants again.
    said: Vec<(String, String)>,
    alternatives: Vec<Alternative>,
}

/// A run of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trial {
    /// The case's name, in which values that are expanded stand.
    pub(crate) name: String,
    /// Each `--variant`.
    pub(crate) variants: Vec<String>,
}

/// What a run of it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passes,
    Fails,
    /// Why it did not run, or has no verdict.
    Unknown(String),
}

impl Verdict {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Passed => Self::Passes,
            Outcome::Skipped { reason } => Self::Unknown(first_line(reason)),
            _ => Self::Fails,
        }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

impl Subject {
    /// `assignment` is the case's own.
    pub(crate) fn new(case: &CaseFinished, assignment: &Assignment, mode: Mode) -> Self {
        let axes = case.axes.iter();
        Self {
            name: case.case.clone(),
            axes: axes
                .map(|(axis, label)| (axis.to_string(), label.clone()))
                .collect(),
            said: assignment.said(mode),
            alternatives: assignment.alternatives(),
        }
    }

    /// The variants that can be flipped.
    pub(crate) fn alternatives(&self) -> &[Alternative] {
        &self.alternatives
    }

    /// The case as it was.
    pub(crate) fn unchanged(&self) -> Trial {
        self.trial(None)
    }

    /// The case with another value of one variant.
    pub(crate) fn flipped(&self, of: &Alternative, value: &str) -> Trial {
        self.trial(Some((of, value)))
    }

    fn trial(&self, flip: Option<(&Alternative, &str)>) -> Trial {
        let mut name = self.name[..self.name.find('[').unwrap_or(self.name.len())].to_owned();
        for (at, (axis, label)) in self.axes.iter().enumerate() {
            let before = if at == 0 { '[' } else { ',' };
            let label = match flip {
                Some((of, value)) if of.is_expanded && of.name == *axis => value,
                _ => label,
            };
            // Writing to a String cannot fail.
            let _ = write!(name, "{before}{axis}={label}");
        }
        if !self.axes.is_empty() {
            name.push(']');
        }
        let mut said: BTreeMap<&str, &str> = BTreeMap::new();
        said.extend(self.said.iter().map(|(name, value)| (&**name, &**value)));
        if let Some((of, value)) = flip.filter(|(of, _)| !of.is_expanded) {
            said.insert(&of.name, value);
        }
        let variants = said.into_iter().map(|(name, value)| format!("{name}={value}"));
        Trial {
            name,
            variants: variants.collect(),
        }
    }

    /// One line: what matters. The results are one for each value of each alternative, in order.
    pub(crate) fn explain(&self, results: &[Vec<Verdict>]) -> String {
        let mut parts = Vec::new();
        let mut idle = Vec::new();
        for (alternative, results) in self.alternatives.iter().zip(results) {
            let Alternative { name, value, .. } = alternative;
            let with = |wanted: &Verdict| -> Vec<&str> {
                let values = alternative.others.iter().zip(results);
                values
                    .filter(|(_, result)| *result == wanted)
                    .map(|(value, _)| &**value)
                    .collect()
            };
            let (passes, fails) = (with(&Verdict::Passes), with(&Verdict::Fails));
            let is_known = passes.len() + fails.len() == results.len();
            if passes.is_empty() && is_known {
                idle.push(&**name);
            } else {
                let fails: Vec<&str> = std::iter::once(&**value).chain(fails).collect();
                let mut part = format!("fails with {name}={}", fails.join(", "));
                if !passes.is_empty() {
                    let _ = write!(part, ", passes with {}", passes.join(", "));
                }
                parts.push(part);
            }
            for (value, result) in alternative.others.iter().zip(results) {
                if let Verdict::Unknown(why) = result {
                    parts.push(format!("nothing is known of {name}={value} ({why})"));
                }
            }
        }
        match idle[..] {
            [] => {}
            [one] => parts.push(format!("{one} does not matter")),
            _ => parts.push(format!("{} do not matter", idle.join(", "))),
        }
        format!("explain {}: {}", self.name, parts.join("; "))
    }

    /// One line for a case that did not fail again.
    pub(crate) fn not_reproducible(&self, result: &Verdict) -> String {
        let why = match result {
            Verdict::Unknown(why) => format!("it could not be run again ({why})"),
            _ => {
                "not reproducible: it passed when it was run again with the same seed and variants".to_owned()
            }
        };
        format!("explain {}: {why}", self.name)
    }
}

/// One line for the cases that are too many.
pub(crate) fn left_out(names: &[String]) -> String {
    format!(
        "explain: {} more failed cases are left out: {}",
        names.len(),
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::test_support::{chosen, client, expand_in, kv, options};
    use crate::registry::Site;
    use crate::report::fixture;
    use crate::seed::Seed;

    fn subject(mode: Mode, given: &[&str], name: &str) -> Subject {
        let sites = vec![Site::new("broker", kv), Site::new("client", client)];
        let matrix = expand_in(sites, options(), &chosen(mode, given));
        let cell = matrix.find(name).unwrap();
        let case = fixture::case(name, Outcome::Passed);
        Subject::new(&case, &matrix.assignment(cell, Seed(1)), mode)
    }

    const REDIS: &str = "m::x[broker=redis,client=paho]";

    #[test]
    fn each_variant_is_flipped_alone() {
        let subject = subject(Mode::Random, &["persistence=none", "tls=on"], REDIS);
        let [persistence, tls] = subject.alternatives() else {
            panic!("{subject:?}");
        };
        assert_eq!(
            (&*persistence.name, &persistence.others[..]),
            ("broker.persistence", &["rdb".to_owned(), "aof".to_owned()][..])
        );
        let trial = |trial: Trial| (trial.name, trial.variants.join(" "));
        let of = |variants: &str| (REDIS.to_owned(), variants.to_owned());
        assert_eq!(
            trial(subject.unchanged()),
            of("broker.persistence=none broker.tls=on")
        );
        assert_eq!(
            trial(subject.flipped(persistence, "aof")),
            of("broker.persistence=aof broker.tls=on")
        );
        assert_eq!(
            trial(subject.flipped(tls, "off")),
            of("broker.persistence=none broker.tls=off")
        );
    }

    #[test]
    fn what_is_expanded_is_flipped_in_the_name() {
        let name = "m::x[broker=redis,broker.persistence=none,client=paho]";
        let subject = subject(Mode::All, &["tls=on"], name);
        let trial = subject.flipped(&subject.alternatives()[0], "aof");
        assert_eq!(
            trial.name,
            "m::x[broker=redis,broker.persistence=aof,client=paho]"
        );
        assert_eq!(trial.variants, ["broker.tls=on"]);
        assert_eq!(subject.unchanged().name, name);
    }

    #[test]
    fn the_line_says_what_matters_what_does_not_and_what_is_not_known() {
        use Verdict::{Fails, Passes, Unknown};
        let subject = subject(Mode::Random, &["persistence=none", "tls=on"], REDIS);
        let line = |results: [&[Verdict]; 2]| subject.explain(&results.map(<[Verdict]>::to_vec));
        assert_eq!(
            line([&[Passes, Passes], &[Fails]]),
            format!(
                "explain {REDIS}: fails with broker.persistence=none, passes with rdb, aof; broker.tls does not matter"
            )
        );
        assert_eq!(
            line([&[Fails, Passes], &[Unknown("no port".to_owned())]]),
            format!(
                "explain {REDIS}: fails with broker.persistence=none, rdb, passes with aof; fails with broker.tls=on; nothing is known of broker.tls=off (no port)"
            )
        );
        assert_eq!(
            line([&[Fails, Unknown("no port".to_owned())], &[Fails]]),
            format!(
                "explain {REDIS}: fails with broker.persistence=none, rdb; nothing is known of broker.persistence=aof \
                 (no port); broker.tls does not matter"
            )
        );
        assert_eq!(
            line([&[Fails, Fails], &[Fails]]),
            format!("explain {REDIS}: broker.persistence, broker.tls do not matter")
        );
    }
}
