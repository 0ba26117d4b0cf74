//! Mechanisms of the machine that faults work by, and what is told of the faults themselves (`--faults`).
//!
//! A mechanism that is not available is a skip with its reason, or an error where `ROBUST_REQUIRE` names it. This knows
//! neither what a fault does nor how a mechanism is used.

use std::fmt::Write as _;

use crate::error::Error;
use crate::param::Environment;

/// Something that not every machine or user has.
#[derive(Debug)]
pub struct Mechanism {
    /// As `ROBUST_REQUIRE` names it: `fuse`.
    pub name: &'static str,
    /// What it takes, in a few words: `none`, `root or CAP_SYS_ADMIN`.
    pub privilege: &'static str,
    /// Why it is not available here, in one line, with what to do about it. It really tries, and remembers.
    pub probe: fn() -> Result<(), String>,
}

impl Mechanism {
    /// Goes on where it is available.
    ///
    /// # Errors
    /// The skip of the case with the reason; where `ROBUST_REQUIRE` names it, that the case cannot be judged.
    #[track_caller]
    pub fn require(&self, environment: &Environment) -> Result<(), Error> {
        match (self.probe)() {
            Ok(()) => Ok(()),
            Err(reason) => Err(self.missing(environment, &reason)),
        }
    }

    /// As [`Mechanism::require`], where it is known why it is not available.
    #[track_caller]
    pub fn missing(&self, environment: &Environment, reason: &str) -> Error {
        let name = self.name;
        if environment.require.covers(name) {
            Error::required(format!("ROBUST_REQUIRE demands `{name}`: {reason}"))
        } else {
            crate::error::skip(format!("`{name}` is not available: {reason}"))
        }
    }
}

/// What is told of one kind of fault.
#[derive(Debug)]
pub struct FaultKind {
    /// As a case's timeline names it: `pause`.
    pub name: &'static str,
    /// What it is injected into: `node`, `cluster`, `proxy`.
    pub target: &'static str,
    /// What it does.
    pub does: &'static str,
    /// What it works by.
    pub mechanism: &'static Mechanism,
}

inventory::collect!(&'static FaultKind);

/// Every kind of fault that is linked in.
pub(crate) fn registered() -> Vec<&'static FaultKind> {
    inventory::iter::<&'static FaultKind>().copied().collect()
}

/// The table of `--faults`, as Markdown: by target and name.
pub(crate) fn table(faults: &[&FaultKind]) -> String {
    let mut sorted = faults.to_vec();
    sorted.sort_by_key(|fault| (fault.target, fault.name));
    let head = [
        "fault",
        "target",
        "what it does",
        "mechanism",
        "privilege",
        "here",
    ]
    .map(str::to_owned);
    let rule = head.clone().map(|_| String::new());
    let row = |fault: &&FaultKind| {
        let here = (fault.mechanism.probe)().map_or_else(|why| format!("no: {why}"), |()| "yes".to_owned());
        let FaultKind {
            name,
            target,
            does,
            mechanism,
        } = fault;
        [
            format!("`{name}`"),
            (*target).to_owned(),
            (*does).to_owned(),
            mechanism.name.to_owned(),
            mechanism.privilege.to_owned(),
            here,
        ]
    };
    let rows: Vec<[String; 6]> = [head, rule].into_iter().chain(sorted.iter().map(row)).collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0).max(3)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string cannot fail.
            let _ = match at {
                1 => write!(text, "| {} ", "-".repeat(width)),
                _ => write!(text, "| {cell:width$} "),
            };
        }
        text.push_str("|\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::require::Require;

    static HERE: Mechanism = Mechanism {
        name: "signals",
        privilege: "none",
        probe: || Ok(()),
    };
    static MISSING: Mechanism = Mechanism {
        name: "fuse",
        privilege: "root",
        probe: || Err("there is no /dev/fuse".to_owned()),
    };

    #[test]
    fn what_is_not_available_is_skipped_or_an_error_where_it_is_required() {
        let mut environment = Environment::default();
        assert!(HERE.require(&environment).is_ok());
        let skipped = MISSING.require(&environment).unwrap_err();
        assert_eq!(
            skipped.skip_reason().as_deref(),
            Some("`fuse` is not available: there is no /dev/fuse")
        );
        assert!(!skipped.is_required());
        for names in [Require::All, Require::Names(["fuse".to_owned()].into())] {
            environment.require = names;
            let error = MISSING.require(&environment).unwrap_err();
            assert_eq!(error.skip_reason(), None);
            assert!(error.is_required());
            assert_eq!(
                error.to_string(),
                "ROBUST_REQUIRE demands `fuse`: there is no /dev/fuse"
            );
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_fault_by_target() {
        let fault = |name, target, mechanism| FaultKind {
            name,
            target,
            does: "it",
            mechanism,
        };
        let faults = [
            fault("pause", "node", &HERE),
            fault("power-loss", "disk", &MISSING),
            fault("kill", "node", &HERE),
        ];
        let text = table(&faults.each_ref());
        let expected = "\
| fault        | target | what it does | mechanism | privilege | here                      |
| ------------ | ------ | ------------ | --------- | --------- | ------------------------- |
| `power-loss` | disk   | it           | fuse      | root      | no: there is no /dev/fuse |
| `kill`       | node   | it           | signals   | none      | yes                       |
| `pause`      | node   | it           | signals   | none      | yes                       |
";
        assert_eq!(text, expected);
    }
}
