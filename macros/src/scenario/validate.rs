//! What options, parameters and signature say together.
//!
//! Deliberately does not know types: whether `#[nodes]` suits one is the compiler's to say.

use proc_macro2::Ident;
use syn::{FnArg, PatType};

use super::Scenario;
use super::options::{Flavor, KnownFailure, Name, Options, Rule};
use super::parameters::Parameter;
use crate::diagnostics::{Errors, unknown};
use crate::parse::label::{Label, of_ident};

/// How many parameters a tuple of them can hold.
const PARAMETERS_MAX: usize = 12;

/// Attributes that mean something to libtest, and what to write instead.
const FOREIGN: &[(&str, &str)] = &[
    ("test", "`#[robust_test]` alone"),
    ("ignore", "`#[robust_test(ignore)]`"),
    ("should_panic", "`#[robust_test(should_panic)]`"),
    ("robust_test", "`#[robust_test]` once"),
];

pub(super) fn validate(scenario: &Scenario, errors: &mut Errors) {
    let Scenario {
        function,
        options,
        parameters,
    } = scenario;
    function.check("a scenario", errors);
    for attribute in &function.attributes {
        let name = attribute.path().segments.last().map(|segment| &segment.ident);
        for (foreign, instead) in FOREIGN {
            if name.is_some_and(|name| name == foreign) {
                errors.over(attribute, format_args!("write {instead}"));
            }
        }
    }
    let inputs = function.signature.inputs.iter();
    let mut typed = inputs.filter_map(|input| match input {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    });
    if let Some(PatType { pat, .. }) = typed.nth(PARAMETERS_MAX) {
        errors.over(
            pat,
            format_args!("a scenario takes at most {PARAMETERS_MAX} parameters"),
        );
    }
    combinations(options, function.signature.asyncness.is_none(), errors);
    for (position, parameter) in parameters.iter().enumerate() {
        attributes(parameter, errors);
        mixed(parameter, errors);
        on(position, parameters, errors);
        if parameters[..position]
            .iter()
            .any(|earlier| earlier.name == parameter.name)
        {
            let message = "two parameters have this name, apart from the underscore: cases are told by it";
            errors.at(parameter.name.span(), message);
        }
    }
    for requirement in &options.requires {
        let name = &requirement.parameter;
        if named("requires", name, parameters, errors).is_some_and(|found| found.values.is_some()) {
            errors.at(
                name.span(),
                format_args!("`{name}` is a plain value: only kinds have capabilities"),
            );
        }
    }
    rules("exclude", &options.exclude, parameters, errors);
    rules(
        "known_failure",
        options.known_failure.iter().map(|known| &known.rule),
        parameters,
        errors,
    );
    for known in &options.known_failure {
        own_keys(known, parameters, errors);
    }
    for (name, _) in &options.pin {
        variant("pin", name, parameters, errors);
    }
    for (name, _) in options.forbid.iter().flat_map(|rule| &rule.when) {
        variant("forbid", name, parameters, errors);
    }
}

fn combinations(options: &Options, is_sync: bool, errors: &mut Errors) {
    let multi_thread = options.flavor == Some(Flavor::MultiThread);
    if let Some(span) = options.start_paused {
        if multi_thread {
            errors.at(span, "`start_paused` needs `flavor = \"current_thread\"`");
        }
        if is_sync {
            errors.at(span, "`start_paused` needs an `async fn`");
        }
    }
    if let Some((span, _)) = options.worker_threads
        && !multi_thread
    {
        errors.at(span, "`worker_threads` needs `flavor = \"multi_thread\"`");
    }
    if let Some((span, _)) = options.should_panic
        && !options.known_failure.is_empty()
    {
        errors.at(span, "`should_panic` and `known_failure` cannot be told apart");
    }
}

/// `#[values]` leaves nothing for the attributes of servers and clients, and its labels are known here.
fn attributes(parameter: &Parameter, errors: &mut Errors) {
    let Some(values) = &parameter.values else { return };
    for (name, span) in [
        ("nodes", parameter.nodes.as_ref().map(|at| at.span)),
        ("mixed", parameter.mixed.as_ref().map(|at| at.span)),
        ("count", parameter.count.as_ref().map(|at| at.span)),
        ("settings", parameter.settings.as_ref().map(|at| at.span)),
        ("on", parameter.on.as_ref().map(|at| at.span)),
        ("proxied", parameter.proxied),
        ("disk", parameter.disk),
        ("hosts", parameter.hosts),
    ] {
        if let Some(span) = span {
            errors.at(span, format_args!("`#[{name}]` is not for plain values"));
        }
    }
    let labels: Vec<&str> = values.it.iter().map(|value| &*value.label.text).collect();
    for chosen in [&parameter.only, &parameter.except].into_iter().flatten() {
        for label in &chosen.it {
            is_value(label, &labels, errors);
        }
    }
}

/// `#[mixed]` says all there is to say about kinds, and of each node.
fn mixed(parameter: &Parameter, errors: &mut Errors) {
    if parameter.mixed.is_none() {
        return;
    }
    for (name, chosen) in [("only", &parameter.only), ("except", &parameter.except)] {
        if let Some(chosen) = chosen {
            let message = format_args!("`#[{name}]` has nothing to choose among: `#[mixed]` names the kinds");
            errors.at(chosen.span, message);
        }
    }
    if let Some(nodes) = parameter.nodes.as_ref().filter(|nodes| nodes.it.len() > 1) {
        let message = "with `#[mixed]` there is one number of nodes, as each node's kind is an axis";
        errors.at(nodes.span, message);
    }
}

fn is_value(label: &Label, labels: &[&str], errors: &mut Errors) {
    if !labels.contains(&&*label.text) {
        errors.at(label.span, unknown("value", "values", &label.text, labels));
    }
}

fn on(position: usize, parameters: &[Parameter], errors: &mut Errors) {
    let Some(on) = &parameters[position].on else {
        return;
    };
    let name = &on.it;
    match parameters.iter().position(|other| other.name == *name) {
        Some(target) if target == position => {
            errors.at(name.span(), format_args!("`{name}` cannot connect to itself"));
        }
        Some(target) if target > position => errors.at(
            name.span(),
            format_args!(
                "`{name}` does not exist yet when `{}` is made: put it first",
                parameters[position].name
            ),
        ),
        Some(_) => {}
        None => {
            let earlier: Vec<String> = parameters[..position]
                .iter()
                .map(|other| of_ident(&other.name))
                .collect();
            let earlier: Vec<&str> = earlier.iter().map(String::as_str).collect();
            let message = unknown(
                "parameter",
                "parameters before this one",
                &name.to_string(),
                &earlier,
            );
            errors.at(name.span(), message);
        }
    }
}

fn rules<'a>(
    option: &str,
    rules: impl IntoIterator<Item = &'a Rule>,
    parameters: &[Parameter],
    errors: &mut Errors,
) {
    for (name, label) in rules.into_iter().flat_map(|rule| &rule.when) {
        if name.axis.is_some() {
            variant(option, name, parameters, errors);
            continue;
        }
        let name = &name.first;
        let values = named(option, name, parameters, errors).and_then(|found| found.values.as_ref());
        if let Some(values) = values {
            let labels: Vec<&str> = values.it.iter().map(|value| &*value.label.text).collect();
            is_value(label, &labels, errors);
        }
    }
}

/// That what a known failure says of itself cannot be read as a label of a parameter.
fn own_keys(known: &KnownFailure, parameters: &[Parameter], errors: &mut Errors) {
    for (key, given) in [
        ("expected", !known.expected.is_empty()),
        ("intermittent", known.intermittent),
    ] {
        let parameter = parameters
            .iter()
            .find(|parameter| of_ident(&parameter.name) == key);
        if let Some(parameter) = parameter.filter(|_| given) {
            let message =
                format!("a parameter cannot have this name beside a `known_failure` that says `{key}`");
            errors.at(parameter.name.span(), message);
        }
    }
}

/// That a variant can be one of its parameter, if it names that.
fn variant(option: &str, name: &Name, parameters: &[Parameter], errors: &mut Errors) {
    if name.axis.is_none() {
        return;
    }
    let name = &name.first;
    if named(option, name, parameters, errors).is_some_and(|found| found.values.is_some()) {
        errors.at(
            name.span(),
            format_args!("`{name}` is a plain value: only kinds have variants"),
        );
    }
}

/// The parameter called `name`, or an error.
fn named<'a>(
    option: &str,
    name: &Ident,
    parameters: &'a [Parameter],
    errors: &mut Errors,
) -> Option<&'a Parameter> {
    let found = parameters.iter().find(|parameter| parameter.name == *name);
    if found.is_none() {
        let known: Vec<String> = parameters.iter().map(|other| of_ident(&other.name)).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let message = unknown("parameter", "parameters", &name.to_string(), &known);
        errors.at(name.span(), format_args!("`{option}`: {message}"));
    }
    found
}
