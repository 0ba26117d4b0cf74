//! Which cases a run is asked for: filters, tags, shard, last failures.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::seed::stable_hash;

/// What the command line chooses. The default chooses every case that is not ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Parts of case names of which one must occur; with `exact`, case names or scenario names. Empty: all.
    pub filters: Vec<String>,
    /// Whether `filters` and `skip` are whole names.
    pub exact: bool,
    /// Parts of case names (with `exact`: whole names) of which none may occur.
    pub skip: Vec<String>,
    /// What becomes of ignored cases.
    pub ignored: Ignored,
    /// `--bench` without `--test`: no case is a benchmark, so every case is ignored, as libtest's tests are.
    pub benchmarks_only: bool,
    /// Tags of which a scenario must have one. Empty: all.
    pub tags: Vec<String>,
    /// Tags of which a scenario may have none.
    pub skip_tags: Vec<String>,
    /// The part of the cases that runs here.
    pub shard: Option<Shard>,
    /// The names of the cases to choose from: what failed last.
    pub last_failed: Option<BTreeSet<String>>,
}

/// What becomes of cases that would be reported as ignored: those of scenarios with `ignore`, and those that
/// cannot run here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ignored {
    /// Reported as skipped.
    #[default]
    Skip,
    /// `--ignored`: nothing else is chosen.
    Only,
    /// `--include-ignored`: chosen like any other.
    Include,
}

/// `--shard I/N`: one of `N` disjoint parts that together are all cases. A case's part depends on its name
/// and on `N` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

/// Text or numbers that are no shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a shard is I/N with 1 <= I <= N, such as 2/5")]
pub struct NotAShard;

impl Shard {
    /// The `index`-th of `count` parts, from 1 on.
    ///
    /// # Errors
    /// When `index` is 0 or larger than `count`.
    pub fn new(index: u32, count: u32) -> Result<Self, NotAShard> {
        if (1..=count).contains(&index) {
            Ok(Self { index, count })
        } else {
            Err(NotAShard)
        }
    }

    /// Whether the case called `case_name` is in this part.
    pub fn contains(self, case_name: &str) -> bool {
        stable_hash(case_name) % u64::from(self.count) == u64::from(self.index - 1)
    }
}

impl FromStr for Shard {
    type Err = NotAShard;

    fn from_str(text: &str) -> Result<Self, NotAShard> {
        let (index, count) = text.split_once('/').ok_or(NotAShard)?;
        let number = |text: &str| text.trim().parse().map_err(|_| NotAShard);
        Self::new(number(index)?, number(count)?)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl Selection {
    /// Whether any case of the scenario called `scenario` (`module::scenario`) can be chosen: with `exact`,
    /// only what a filter names needs its matrix.
    pub fn may_choose(&self, scenario: &str) -> bool {
        let named = |filter: &String| {
            let filter = case_filter(filter);
            let rest = filter.strip_prefix(scenario);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
        };
        !self.exact || self.filters.is_empty() || self.filters.iter().any(named)
    }

    /// Whether the tags of a scenario are chosen.
    pub fn chooses_tags(&self, tags: &[&str]) -> bool {
        let has = |wanted: &Vec<String>| wanted.iter().any(|tag| tags.contains(&tag.as_str()));
        (self.tags.is_empty() || has(&self.tags)) && !has(&self.skip_tags)
    }
}

/// A filter as it applies to case names. Editors send the path of a function that the attribute makes for
/// their run button, `module::__robust_x::x`; the case is called `module::x`.
pub(crate) fn case_filter(filter: &str) -> Cow<'_, str> {
    let (path, cell) = filter.split_at(filter.find('[').unwrap_or(filter.len()));
    if !path.split("::").any(is_editors) {
        return Cow::Borrowed(filter);
    }
    let segments: Vec<&str> = path.split("::").filter(|segment| !is_editors(segment)).collect();
    Cow::Owned(segments.join("::") + cell)
}

fn is_editors(segment: &str) -> bool {
    segment.starts_with("__robust_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_one_based() {
        assert_eq!("2/5".parse::<Shard>().unwrap().to_string(), "2/5");
        for wrong in [
            "",
            "1",
            "0/2",
            "3/2",
            "1/0",
            "a/2",
            "1/2/3",
            "-1/2",
            "1/99999999999",
        ] {
            assert_eq!(wrong.parse::<Shard>(), Err(NotAShard), "{wrong}");
        }
    }

    #[test]
    fn the_module_of_the_editors_run_button_is_no_part_of_a_filter() {
        assert_eq!(case_filter("m::__robust_x::x"), "m::x");
        assert_eq!(case_filter("__robust_x::x"), "x");
        assert_eq!(case_filter("m::x[a=__robust_y::z]"), "m::x[a=__robust_y::z]");
        assert_eq!(case_filter("m::x"), "m::x");
    }

    #[test]
    fn exact_names_choose_their_scenario_alone() {
        let selection = Selection {
            filters: vec!["m::x[a=1]".into(), "m::__robust_y::y".into()],
            exact: true,
            ..Selection::default()
        };
        assert!(selection.may_choose("m::x") && selection.may_choose("m::y"));
        assert!(!selection.may_choose("m::xx") && !selection.may_choose("m"));
    }

    #[test]
    fn tags_choose_and_leave_out() {
        let selection = |tags: &[&str], skip: &[&str]| Selection {
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            skip_tags: skip.iter().map(|tag| (*tag).to_owned()).collect(),
            ..Selection::default()
        };
        assert!(selection(&[], &[]).chooses_tags(&[]));
        assert!(selection(&["a", "b"], &[]).chooses_tags(&["b"]));
        assert!(!selection(&["a"], &[]).chooses_tags(&["b"]));
        assert!(!selection(&["a"], &["b"]).chooses_tags(&["a", "b"]));
    }
}
