//! `allow_leak(threads = "part of its name", because = "..")`: what may outlive a case.

use syn::LitStr;

use crate::diagnostics::{Errors, unknown};
use crate::parse::argument::{Argument, pieces};

/// One allowance.
pub(super) struct Allowance {
    /// The variant of the harness' `LeakClass`.
    pub(super) class: &'static str,
    pub(super) containing: Option<LitStr>,
    pub(super) because: LitStr,
}

/// The classes as they are written, and the variants they are.
const CLASSES: [(&str, &str); 6] = [
    ("tasks", "Tasks"),
    ("threads", "Threads"),
    ("processes", "Processes"),
    ("descriptors", "Descriptors"),
    ("listeners", "Listeners"),
    ("files", "Files"),
];

pub(super) fn read(argument: &Argument) -> syn::Result<Allowance> {
    let mut errors = Errors::default();
    let (mut found, mut because): (Option<(&'static str, _)>, _) = (None, None);
    for piece in pieces(argument.list()?.stream(), &mut errors) {
        let Some(mut part) = errors.note(Argument::parse(piece)) else {
            continue;
        };
        part.usage = argument.usage;
        if part.name == "because" {
            match because {
                Some(_) => errors.at(part.name.span(), "`because` stands here twice"),
                None => because = errors.note(part.text()),
            }
            continue;
        }
        let name = part.name.to_string();
        let Some((_, class)) = CLASSES.iter().find(|(known, _)| *known == name) else {
            let known = CLASSES.map(|(known, _)| known);
            let message = unknown("class of leaks", "classes", &name, &known);
            errors.at(part.name.span(), message);
            continue;
        };
        let Some(containing) = errors.note(part.optional_text()) else {
            continue;
        };
        if found.is_some() {
            let message = "one `allow_leak` allows one class; write another one for the next";
            errors.at(part.name.span(), message);
        } else if *class == "Tasks" && containing.is_some() {
            errors.at(part.name.span(), "tasks have no names: write `tasks` alone");
        } else {
            found = Some((*class, containing));
        }
    }
    match (found, because) {
        (Some((class, containing)), Some(because)) => errors.into_result(Allowance {
            class,
            containing,
            because,
        }),
        (found, _) => {
            if errors.is_empty() {
                let lacks = if found.is_none() { "a class" } else { "a reason" };
                let message = format!("`{}` needs {lacks}: `{}`", argument.name, argument.usage);
                errors.at(argument.name.span(), message);
            }
            errors.into_result(()).map(|()| unreachable!("there is an error"))
        }
    }
}
