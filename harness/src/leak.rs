//! What must not outlive a case: its classes, and what may all the same, each with a reason. Pure.
//!
//! An allowance stands on a scenario (`allow_leak(..)`), or holds for the whole suite (`allow_leak!`): that one is
//! for libraries that start something once and keep it, and what it allows becomes a part of the worker. It is
//! called so, and not `ignore_leak`, because `ignore` is the option for scenarios that do not run.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A class of things that must not outlive a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeakClass {
    /// tokio tasks of the case's runtime; they have no names.
    Tasks,
    /// Threads, by name. The system keeps its first 15 bytes.
    Threads,
    /// Child processes, also daemonised ones, by command line.
    Processes,
    /// Open descriptors that nobody can connect to: files, pipes, connections.
    Descriptors,
    /// Sockets that others can reach: listening TCP and Unix sockets, bound UDP sockets.
    Listeners,
    /// What is in the temporary folder (`TMPDIR`) after a case that did not fail.
    Files,
}

/// How much of a thread's name the system keeps, in bytes.
const THREAD_NAME_BYTES: usize = 15;

impl LeakClass {
    /// The word of it in allowances.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::Threads => "threads",
            Self::Processes => "processes",
            Self::Descriptors => "descriptors",
            Self::Listeners => "listeners",
            Self::Files => "files",
        }
    }

    /// Whether it is gone, or moved away, before the next case begins: the worker is then as it was.
    pub(crate) fn ends_with_the_case(self) -> bool {
        matches!(self, Self::Tasks | Self::Processes | Self::Files)
    }
}

/// What may outlive a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Of which class.
    pub class: LeakClass,
    /// A part of its name; `None`: every one of the class.
    pub containing: Option<&'static str>,
    /// The reason, shown in the log of each case in which it took effect.
    pub because: &'static str,
}

/// An allowance for every case of the suite; see `robust_test::allow_leak!`.
#[derive(Debug)]
pub struct AllowedEverywhere(pub Allowance);

inventory::collect!(AllowedEverywhere);

/// The allowances for every case, in the order of this build.
pub(crate) fn everywhere() -> Vec<Allowance> {
    inventory::iter::<AllowedEverywhere>()
        .map(|AllowedEverywhere(allowance)| *allowance)
        .collect()
}

impl Allowance {
    fn allows(&self, leak: &Leak) -> bool {
        let Some(part) = self.containing else {
            return self.class == leak.class;
        };
        let part = match self.class {
            LeakClass::Threads => &part[..part.floor_char_boundary(THREAD_NAME_BYTES)],
            _ => part,
        };
        self.class == leak.class && leak.name.contains(part)
    }
}

impl fmt::Display for Allowance {
    /// As it is written, without the reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.containing {
            Some(part) => write!(f, "allow_leak({} = {part:?})", self.class.name()),
            None => write!(f, "allow_leak({})", self.class.name()),
        }
    }
}

/// Something that outlived a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leak {
    pub(crate) class: LeakClass,
    /// What allowances look in.
    pub(crate) name: String,
    /// What people read.
    pub(crate) text: String,
}

impl Leak {
    /// One whose name is its text.
    pub(crate) fn new(class: LeakClass, text: String) -> Self {
        Self {
            class,
            name: text.clone(),
            text,
        }
    }
}

/// Where an allowance stands, and its place there. The same in all processes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum AllowedBy {
    /// [`crate::registry::Options::allow_leak`] of the scenario with this number.
    Scenario(u32, u32),
    /// [`everywhere`].
    Everywhere(u32),
}

/// Leaks by what follows from them.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// They fail the case.
    pub(crate) bad: Vec<Leak>,
    /// They do not.
    pub(crate) allowed: Vec<(Leak, AllowedBy, Allowance)>,
}

/// Sorts leaks of a case of the scenario with this number; its own allowances count before those for all.
pub(crate) fn sort(leaks: Vec<Leak>, scenario: (u32, &[Allowance]), everywhere: &[Allowance]) -> Sorted {
    let mut sorted = Sorted::default();
    for leak in leaks {
        let own = (0..)
            .zip(scenario.1)
            .find(|(_, allowance)| allowance.allows(&leak));
        let own = own.map(|(at, allowance)| (AllowedBy::Scenario(scenario.0, at), *allowance));
        let found = own.or_else(|| {
            let all = (0..)
                .zip(everywhere)
                .find(|(_, allowance)| allowance.allows(&leak));
            all.map(|(at, allowance)| (AllowedBy::Everywhere(at), *allowance))
        });
        match found {
            Some((by, allowance)) => sorted.allowed.push((leak, by, allowance)),
            None => sorted.bad.push(leak),
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowance(class: LeakClass, containing: Option<&'static str>) -> Allowance {
        Allowance {
            class,
            containing,
            because: "so it is",
        }
    }

    #[test]
    fn an_allowance_is_for_its_class_and_its_name_alone() {
        let thread = |name: &str| Leak {
            class: LeakClass::Threads,
            name: name.to_owned(),
            text: format!("thread 7 ({name})"),
        };
        let pool = allowance(LeakClass::Threads, Some("tokio-runtime-worker"));
        // As the system has it.
        assert!(pool.allows(&thread("tokio-runtime-w")));
        assert!(!pool.allows(&thread("tokio-x")));
        assert!(!allowance(LeakClass::Files, Some("tokio")).allows(&thread("tokio")));
        let all = allowance(LeakClass::Threads, None);
        assert!(all.allows(&thread("any")) && !allowance(LeakClass::Tasks, None).allows(&thread("any")));
        assert_eq!(
            pool.to_string(),
            r#"allow_leak(threads = "tokio-runtime-worker")"#
        );
        assert_eq!(all.to_string(), "allow_leak(threads)");
    }

    #[test]
    fn what_is_allowed_is_told_by_the_nearest_allowance_and_the_rest_is_bad() {
        let file = |text: &str| Leak::new(LeakClass::Files, text.to_owned());
        let own = [allowance(LeakClass::Files, Some("cache"))];
        let all = [
            allowance(LeakClass::Threads, None),
            allowance(LeakClass::Files, Some("c")),
        ];
        let sorted = sort(vec![file("cache"), file("cookie"), file("junk")], (3, &own), &all);
        assert_eq!(sorted.bad, [file("junk")]);
        let by: Vec<AllowedBy> = sorted.allowed.iter().map(|(_, by, _)| *by).collect();
        assert_eq!(by, [AllowedBy::Scenario(3, 0), AllowedBy::Everywhere(1)]);
    }
}
