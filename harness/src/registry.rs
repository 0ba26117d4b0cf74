//! What is registered: one static descriptor per scenario, collected by `inventory`.
//!
//! A descriptor says nothing about cases: those are expanded at run time, so a scenario of 2,000 cases
//! compiles like one function. `inventory` yields an order that differs between builds and is the same in every
//! process of one; [`scenarios`] sorts by file, line and name.

use std::any::Any;
use std::cmp::Ordering;
use std::time::Duration;

use crate::leak::Allowance;
use crate::param::{Begin, Environment, Shape};

/// A declared scenario.
pub struct Scenario {
    /// The function's name.
    pub name: &'static str,
    /// `module_path!()`.
    pub module: &'static str,
    /// `file!()`.
    pub file: &'static str,
    /// The attribute's line.
    pub line: u32,
    /// The attribute's options.
    pub options: Options,
    /// The parameters, in order.
    pub sites: &'static [Site],
    /// Builds the parameters and yields the body.
    pub begin: Begin,
}

inventory::collect!(&'static Scenario);

/// Every registered scenario, sorted by file, line and name.
pub fn scenarios() -> Vec<&'static Scenario> {
    numbered().into_iter().map(|(_, scenario)| scenario).collect()
}

/// [`scenarios`], each with its number: its place in [`unsorted`].
pub(crate) fn numbered() -> Vec<(u32, &'static Scenario)> {
    let mut all: Vec<(u32, &Scenario)> = (0..).zip(unsorted()).collect();
    all.sort_by(|(_, a), (_, b)| declared(a, b));
    all
}

/// Every registered scenario, in the order of this build, which the processes of a run have in common. Unlike
/// [`scenarios`] it costs a worker next to nothing.
pub(crate) fn unsorted() -> Vec<&'static Scenario> {
    let mut all = Vec::new();
    for scenario in inventory::iter::<&'static Scenario>() {
        all.push(*scenario);
    }
    all
}

/// By file, line, module and name. The scenarios of a file share its name, which then needs no reading.
fn declared(a: &Scenario, b: &Scenario) -> Ordering {
    if !std::ptr::eq(a.file, b.file) {
        let files = a.file.cmp(b.file);
        if files != Ordering::Equal {
            return files;
        }
    }
    if a.line != b.line {
        return a.line.cmp(&b.line);
    }
    (a.module, a.name).cmp(&(b.module, b.name))
}

impl Scenario {
    /// `module::name`, the module without the crate when the scenario is of the suite's own crate.
    pub fn full_name(&self, suite_crate: &str) -> String {
        let module = match self.module.as_bytes().strip_prefix(suite_crate.as_bytes()) {
            Some([]) => "",
            Some([b':', b':', ..]) => &self.module[suite_crate.len() + 2..],
            _ => self.module,
        };
        if module.is_empty() {
            return self.name.to_owned();
        }
        let mut name = String::with_capacity(module.len() + 2 + self.name.len());
        name.push_str(module);
        name.push_str("::");
        name.push_str(self.name);
        name
    }
}

/// The options of `#[robust_test(..)]`.
#[derive(Debug)]
pub struct Options {
    /// The deadline of one attempt, all phases together; `None`: `--timeout`'s.
    pub timeout: Option<Duration>,
    /// How often a bad attempt is repeated; `None`: `--retries`'s.
    pub retries: Option<u32>,
    /// Labels for `--tag` and `--skip-tag`.
    pub tags: &'static [&'static str],
    /// Runs only with `--ignored` or `--include-ignored`; the reason.
    pub ignore: Option<&'static str>,
    /// Passes only by a panic.
    pub should_panic: Option<ShouldPanic>,
    /// Groups of which at most one case runs at a time.
    pub serial: &'static [&'static str],
    /// How many slots' worth of the machine a case takes; at least 1.
    pub weight: u32,
    /// Where a case runs; `None`: `--isolation`'s.
    pub isolation: Option<Isolation>,
    /// The tokio runtime's flavor.
    pub flavor: Flavor,
    /// Starts with tokio's clock paused (current-thread flavor alone).
    pub start_paused: bool,
    /// Capabilities that a parameter's kind must provide; cells without them are skipped.
    pub requires: &'static [Requirement],
    /// Cells that make no sense; skipped with the reason.
    pub exclude: &'static [Rule],
    /// Cells that fail for a known defect of the system under test.
    pub known_failure: &'static [KnownFailure],
    /// Variants that it needs: axis (`axis` or `param.axis`) and value.
    pub pin: &'static [(&'static str, &'static str)],
    /// Variants that it cannot have: each of those that a rule names, on its own.
    pub forbid: &'static [Rule],
    /// What may outlive a case.
    pub allow_leak: &'static [Allowance],
}

impl Options {
    /// What an attribute without options means.
    pub const DEFAULT: Self = Self {
        timeout: None,
        retries: None,
        tags: &[],
        ignore: None,
        should_panic: None,
        serial: &[],
        weight: 1,
        isolation: None,
        flavor: Flavor::CurrentThread,
        start_paused: false,
        requires: &[],
        exclude: &[],
        known_failure: &[],
        pin: &[],
        forbid: &[],
        allow_leak: &[],
    };
}

/// `should_panic`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShouldPanic {
    /// A part of the message that must be there.
    pub expected: Option<&'static str>,
}

/// Where a case runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// In a pooled worker process, which is retired when a case leaves it dirty.
    Worker,
    /// In a worker process of its own.
    Process,
    /// In the runner's own process: for debuggers. No capture, no hard deadline, one slot.
    None,
}

/// The tokio runtime of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// `tokio::runtime::Builder::new_current_thread`.
    CurrentThread,
    /// `tokio::runtime::Builder::new_multi_thread`; the number of worker threads, or `None` for tokio's default.
    MultiThread(Option<usize>),
}

/// `requires(param = "capability")`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requirement {
    /// The parameter whose kind must have it.
    pub param: &'static str,
    /// The capability.
    pub capability: &'static str,
}

/// `exclude(param = "label", .., because = "..")`, and in `known_failure(..)`: holds for a cell when every
/// named parameter has the label; one that names none holds for every cell. A name with a dot, `param.axis`, is
/// that of a variant. In `forbid(..)` a name without one is that of an axis of every parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Parameter and label, or variant and value.
    pub when: &'static [(&'static str, &'static str)],
    /// The reason, shown wherever the rule takes effect.
    pub because: &'static str,
}

/// `known_failure(.., because = "..", expected = "..", intermittent = true)`: a defect of what is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownFailure {
    /// The cells that have it, and what it is.
    pub rule: Rule,
    /// The message or the details of failures that are due to it have one of these as a part; empty for every failure.
    pub expected: &'static [&'static str],
    /// Whether cells that have it may pass, too.
    pub intermittent: bool,
}

impl KnownFailure {
    /// One that shows each time, by whatever failure.
    pub const fn new(rule: Rule) -> Self {
        Self {
            rule,
            expected: &[],
            intermittent: false,
        }
    }
}

/// One parameter of a scenario and the attributes on it.
pub struct Site {
    /// The parameter's name.
    pub name: &'static str,
    /// [`crate::param::Param::shape`] of its type.
    pub shape: fn(&Site, &Environment) -> Shape,
    /// `#[only(..)]`: the labels that stay; empty for all.
    pub only: &'static [&'static str],
    /// `#[except(..)]`: the labels that go.
    pub except: &'static [&'static str],
    /// `#[values(..)]`: the labels of the values.
    pub values: &'static [&'static str],
    /// `#[on(..)]`: the parameter this one connects to.
    pub on: Option<&'static str>,
    /// `#[nodes(..)]`: how many nodes; several numbers are an axis, empty says nothing.
    pub nodes: &'static [usize],
    /// `#[mixed(..)]`: the kinds of which its nodes are; empty where all are of one.
    pub mixed: &'static [&'static str],
    /// `#[count(..)]`.
    pub count: Option<usize>,
    /// `#[settings(..)]`: makes the service's settings for the node with this number, from 1 on.
    pub settings: Option<fn(usize) -> Box<dyn Any + Send + Sync>>,
    /// `#[proxied]`.
    pub proxied: bool,
    /// `#[disk]`.
    pub disk: bool,
    /// `#[hosts]`.
    pub hosts: bool,
}

impl Site {
    /// A parameter without attributes.
    pub const fn new(name: &'static str, shape: fn(&Site, &Environment) -> Shape) -> Self {
        Self {
            name,
            shape,
            only: &[],
            except: &[],
            values: &[],
            on: None,
            nodes: &[],
            mixed: &[],
            count: None,
            settings: None,
            proxied: false,
            disk: false,
            hosts: false,
        }
    }

    /// `#[only(..)]`.
    pub const fn only(mut self, labels: &'static [&'static str]) -> Self {
        self.only = labels;
        self
    }

    /// `#[except(..)]`.
    pub const fn except(mut self, labels: &'static [&'static str]) -> Self {
        self.except = labels;
        self
    }

    /// `#[values(..)]`.
    pub const fn values(mut self, labels: &'static [&'static str]) -> Self {
        self.values = labels;
        self
    }

    /// `#[on(..)]`.
    pub const fn on(mut self, param: &'static str) -> Self {
        self.on = Some(param);
        self
    }

    /// `#[nodes(..)]`.
    pub const fn nodes(mut self, nodes: &'static [usize]) -> Self {
        self.nodes = nodes;
        self
    }

    /// `#[mixed(..)]`.
    pub const fn mixed(mut self, kinds: &'static [&'static str]) -> Self {
        self.mixed = kinds;
        self
    }

    /// `#[count(..)]`.
    pub const fn count(mut self, count: usize) -> Self {
        self.count = Some(count);
        self
    }

    /// `#[proxied]`.
    pub const fn proxied(mut self, is_proxied: bool) -> Self {
        self.proxied = is_proxied;
        self
    }

    /// `#[disk]`.
    pub const fn disk(mut self, has_disk: bool) -> Self {
        self.disk = has_disk;
        self
    }

    /// `#[hosts]`.
    pub const fn hosts(mut self, has_hosts: bool) -> Self {
        self.hosts = has_hosts;
        self
    }

    /// `#[settings(..)]`.
    pub const fn settings(mut self, make: fn(usize) -> Box<dyn Any + Send + Sync>) -> Self {
        self.settings = Some(make);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::param::Body;

    fn scenario(module: &'static str, name: &'static str, file: &'static str, line: u32) -> Scenario {
        Scenario {
            name,
            module,
            file,
            line,
            options: Options::DEFAULT,
            sites: &[],
            begin: Begin::Plain(|| Body::Sync(Box::new(|| Ok(())))),
        }
    }

    #[test]
    fn a_name_leaves_out_the_crate_of_the_suite_and_no_other() {
        let name = |module| scenario(module, "x", "", 1).full_name("suite");
        assert_eq!(name("suite"), "x");
        assert_eq!(name("suite::a::b"), "a::b::x");
        assert_eq!(name("suites::a"), "suites::a::x");
        assert_eq!(name("other"), "other::x");
        assert_eq!(name("other::suite"), "other::suite::x");
    }

    #[test]
    fn scenarios_are_ordered_by_file_then_line_then_name() {
        let in_order = [
            scenario("m::z", "z", "a.rs", 2),
            scenario("m::a", "a", "a.rs", 10),
            scenario("m::a", "b", "a.rs", 10),
            scenario("m::b", "a", "a.rs", 10),
            // The same text at another place in memory.
            scenario("m::b", "a", String::from("a.rs").leak(), 11),
            scenario("m", "a", "b.rs", 1),
        ];
        assert!(in_order.is_sorted_by(|a, b| declared(a, b) == Ordering::Less));
    }
}
