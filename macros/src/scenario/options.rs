//! The options of `#[robust_test(..)]`: a new one is one entry in [`TABLE`] and one field of [`Options`].
//!
//! Each is read alone; what two of them say together is [`super::validate`]'s.

use std::time::Duration;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::LitStr;

use super::allow_leak;
use crate::diagnostics::Errors;
use crate::parse::argument::{Argument, Value, pieces, require_text};
use crate::parse::label::{self, Label};
use crate::parse::table::Entry;

/// What was read.
#[derive(Default)]
pub(super) struct Options {
    pub(super) timeout: Option<Duration>,
    pub(super) retries: Option<u32>,
    pub(super) tags: Vec<LitStr>,
    /// The reason, empty if none was given.
    pub(super) ignore: Option<String>,
    /// The part of the message that is expected.
    pub(super) should_panic: Option<(Span, Option<LitStr>)>,
    pub(super) serial: Vec<LitStr>,
    pub(super) weight: Option<u32>,
    pub(super) isolation: Option<Isolation>,
    pub(super) flavor: Option<Flavor>,
    pub(super) worker_threads: Option<(Span, usize)>,
    /// Where it was asked for.
    pub(super) start_paused: Option<Span>,
    pub(super) requires: Vec<Requirement>,
    pub(super) exclude: Vec<Rule>,
    pub(super) known_failure: Vec<KnownFailure>,
    pub(super) pin: Vec<(Name, Label)>,
    pub(super) forbid: Vec<Rule>,
    pub(super) allow_leak: Vec<allow_leak::Allowance>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Isolation {
    Worker,
    Process,
    None,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavor {
    CurrentThread,
    MultiThread,
}

/// `requires(param = "capability")`
pub(super) struct Requirement {
    pub(super) parameter: Ident,
    pub(super) capability: LitStr,
}

/// `exclude(param = "label", param.axis = "value", .., because = "..")`, `known_failure(..)`, `forbid(..)`
pub(super) struct Rule {
    pub(super) span: Span,
    pub(super) when: Vec<(Name, Label)>,
    pub(super) because: LitStr,
}

/// `known_failure(.., because = "..", expected = "..", intermittent = true)`
pub(super) struct KnownFailure {
    pub(super) rule: Rule,
    /// Empty where any failure is.
    pub(super) expected: Vec<LitStr>,
    pub(super) intermittent: bool,
}

/// `name` or `param.axis`.
#[derive(PartialEq, Eq)]
pub(super) struct Name {
    pub(super) first: Ident,
    /// What follows a dot.
    pub(super) axis: Option<Ident>,
}

impl Name {
    /// As the harness reads it.
    pub(super) fn text(&self) -> String {
        let first = label::of_ident(&self.first);
        match &self.axis {
            Some(axis) => format!("{first}.{}", label::of_ident(axis)),
            None => first,
        }
    }
}

const PIN: &str = r#"pin(axis = "value", param.axis = "value")"#;
const FORBID: &str = r#"forbid(param.axis = "value", because = "..")"#;
const EXCLUDE: &str = r#"exclude(param = "label", because = "..")"#;

/// Every option there is.
pub(super) const TABLE: &[Entry<Options>] = &[
    Entry {
        name: "timeout",
        usage: r#"timeout = "30s""#,
        repeats: false,
        read: |options, argument| {
            options.timeout = Some(duration(&argument.string()?)?);
            Ok(())
        },
    },
    Entry {
        name: "retries",
        usage: "retries = 2",
        repeats: false,
        read: |options, argument| {
            options.retries = Some(argument.number()?);
            Ok(())
        },
    },
    Entry {
        name: "tags",
        usage: r#"tags("slow", "net")"#,
        repeats: false,
        read: |options, argument| {
            options.tags = argument.texts()?;
            Ok(())
        },
    },
    Entry {
        name: "ignore",
        usage: r#"ignore = "why""#,
        repeats: false,
        read: |options, argument| {
            let why = argument.optional_text()?;
            options.ignore = Some(why.map(|why| why.value()).unwrap_or_default());
            Ok(())
        },
    },
    Entry {
        name: "should_panic",
        usage: r#"should_panic = "expected""#,
        repeats: false,
        read: |options, argument| {
            options.should_panic = Some((argument.name.span(), argument.optional_text()?));
            Ok(())
        },
    },
    Entry {
        name: "serial",
        usage: r#"serial = "group""#,
        repeats: false,
        read: |options, argument| {
            options.serial = one_or_more(argument)?;
            Ok(())
        },
    },
    Entry {
        name: "weight",
        usage: "weight = 4",
        repeats: false,
        read: |options, argument| {
            options.weight = Some(argument.positive()?);
            Ok(())
        },
    },
    Entry {
        name: "isolation",
        usage: r#"isolation = "process""#,
        repeats: false,
        read: |options, argument| {
            options.isolation = Some(one_of(
                argument,
                &[
                    ("worker", Isolation::Worker),
                    ("process", Isolation::Process),
                    ("none", Isolation::None),
                ],
            )?);
            Ok(())
        },
    },
    Entry {
        name: "flavor",
        usage: r#"flavor = "multi_thread""#,
        repeats: false,
        read: |options, argument| {
            options.flavor = Some(one_of(
                argument,
                &[
                    ("current_thread", Flavor::CurrentThread),
                    ("multi_thread", Flavor::MultiThread),
                ],
            )?);
            Ok(())
        },
    },
    Entry {
        name: "worker_threads",
        usage: "worker_threads = 4",
        repeats: false,
        read: |options, argument| {
            options.worker_threads = Some((argument.name.span(), argument.positive()?));
            Ok(())
        },
    },
    Entry {
        name: "start_paused",
        usage: "start_paused = true",
        repeats: false,
        read: |options, argument| {
            options.start_paused = argument.switch()?.then(|| argument.name.span());
            Ok(())
        },
    },
    Entry {
        name: "requires",
        usage: r#"requires(param = "capability")"#,
        repeats: true,
        read: |options, argument| {
            options.requires.extend(requirements(argument)?);
            Ok(())
        },
    },
    Entry {
        name: "exclude",
        usage: EXCLUDE,
        repeats: true,
        read: |options, argument| {
            let rule = rule(argument)?;
            if rule.when.is_empty() {
                return Err(syn::Error::new(
                    rule.span,
                    format!(
                        "`exclude` names at least one parameter: `{EXCLUDE}`; `ignore` is for every case"
                    ),
                ));
            }
            options.exclude.push(rule);
            Ok(())
        },
    },
    Entry {
        name: "known_failure",
        usage: r#"known_failure(param = "label", because = "..", expected = "part of the message")"#,
        repeats: true,
        read: |options, argument| {
            options.known_failure.push(known_failure(argument)?);
            Ok(())
        },
    },
    Entry {
        name: "pin",
        usage: PIN,
        repeats: true,
        read: |options, argument| {
            for (name, value) in pins(argument)? {
                if options.pin.iter().any(|(other, _)| *other == name) {
                    let message = format!("`{}` is pinned twice", name.text());
                    return Err(syn::Error::new(name.first.span(), message));
                }
                options.pin.push((name, value));
            }
            Ok(())
        },
    },
    Entry {
        name: "forbid",
        usage: FORBID,
        repeats: true,
        read: |options, argument| {
            let rule = rule(argument)?;
            if rule.when.is_empty() {
                let message = format!("`forbid` names at least one variant: `{FORBID}`");
                return Err(syn::Error::new(rule.span, message));
            }
            options.forbid.push(rule);
            Ok(())
        },
    },
    Entry {
        name: "allow_leak",
        usage: r#"allow_leak(threads = "part of its name", because = "..")"#,
        repeats: true,
        read: |options, argument| {
            options.allow_leak.push(allow_leak::read(argument)?);
            Ok(())
        },
    },
];

/// `30s`, `1m 30s`: as `--timeout` reads it.
fn duration(text: &LitStr) -> syn::Result<Duration> {
    let error = |message: String| syn::Error::new(text.span(), message);
    let duration = humantime::parse_duration(&text.value())
        .map_err(|problem| error(format!("not a duration, as \"30s\" or \"1m 30s\" are: {problem}")))?;
    match duration.is_zero() {
        true => Err(error("a deadline of zero cannot be met".to_owned())),
        false => Ok(duration),
    }
}

fn one_of<T: Copy>(argument: &Argument, choices: &[(&'static str, T)]) -> syn::Result<T> {
    let given = argument.string()?;
    let known: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    match choices.iter().find(|(name, _)| *name == given.value()) {
        Some((_, choice)) => Ok(*choice),
        None => Err(syn::Error::new(
            given.span(),
            crate::diagnostics::unknown(&argument.name.to_string(), "choices", &given.value(), &known),
        )),
    }
}

/// The `name = value` pairs in an option's parentheses.
fn pairs(argument: &Argument, errors: &mut Errors) -> syn::Result<Vec<(Ident, TokenStream)>> {
    let mut plain = Vec::new();
    for (name, value) in dotted_pairs(argument, errors)? {
        match name.axis {
            None => plain.push((name.first, value)),
            Some(axis) => errors.at(axis.span(), format_args!("`{}` takes no variants", argument.name)),
        }
    }
    Ok(plain)
}

/// The pairs `name = value` and `param.axis = value` in an option's parentheses.
fn dotted_pairs(argument: &Argument, errors: &mut Errors) -> syn::Result<Vec<(Name, TokenStream)>> {
    let pieces = pieces(argument.list()?.stream(), errors);
    Ok(pairs_of(argument, pieces, errors))
}

fn pairs_of(argument: &Argument, pieces: Vec<TokenStream>, errors: &mut Errors) -> Vec<(Name, TokenStream)> {
    let mut pairs = Vec::new();
    for piece in pieces {
        let (param, piece) = before_dot(piece);
        let Some(pair) = errors.note(Argument::parse(piece)) else {
            continue;
        };
        match pair.value {
            Value::Equals(value) => {
                let name = match param {
                    Some(first) => Name {
                        first,
                        axis: Some(pair.name),
                    },
                    None => Name {
                        first: pair.name,
                        axis: None,
                    },
                };
                pairs.push((name, value));
            }
            _ => errors.at(
                pair.name.span(),
                format_args!("expected `{} = ..`, as in `{}`", pair.name, argument.usage),
            ),
        }
    }
    pairs
}

/// `param` of `param.rest`, and the rest.
fn before_dot(piece: TokenStream) -> (Option<Ident>, TokenStream) {
    let mut tokens = piece.clone().into_iter();
    match (tokens.next(), tokens.next()) {
        (Some(TokenTree::Ident(param)), Some(TokenTree::Punct(dot))) if dot.as_char() == '.' => {
            (Some(param), tokens.collect())
        }
        _ => (None, piece),
    }
}

fn pins(argument: &Argument) -> syn::Result<Vec<(Name, Label)>> {
    let mut errors = Errors::default();
    let mut all = Vec::new();
    for (name, value) in dotted_pairs(argument, &mut errors)? {
        if let Some(value) = errors.note(label::parse(value)) {
            all.push((name, value));
        }
    }
    if all.is_empty() && errors.is_empty() {
        errors.push(argument.empty());
    }
    errors.into_result(all)
}

fn requirements(argument: &Argument) -> syn::Result<Vec<Requirement>> {
    let mut errors = Errors::default();
    let mut all = Vec::new();
    for (parameter, value) in pairs(argument, &mut errors)? {
        if let Some(capability) = errors.note(string(&value)) {
            errors.note(require_text(&capability, &argument.name));
            all.push(Requirement {
                parameter,
                capability,
            });
        }
    }
    if all.is_empty() && errors.is_empty() {
        errors.push(argument.empty());
    }
    errors.into_result(all)
}

fn rule(argument: &Argument) -> syn::Result<Rule> {
    let mut errors = Errors::default();
    let pairs = dotted_pairs(argument, &mut errors)?;
    rule_of(argument, pairs, errors)
}

fn known_failure(argument: &Argument) -> syn::Result<KnownFailure> {
    let mut errors = Errors::default();
    let (mut others, mut expected, mut intermittent) = (Vec::new(), None, None);
    for piece in pieces(argument.list()?.stream(), &mut errors) {
        let own = Argument::parse(piece.clone()).ok().map(|own| Argument {
            usage: argument.usage,
            ..own
        });
        let twice = match own {
            Some(own) if own.name == "expected" => {
                let texts = errors.note(one_or_more(&own)).unwrap_or_default();
                expected.replace(texts).map(|_| own.name)
            }
            Some(own) if own.name == "intermittent" => {
                let given = errors.note(own.switch()).unwrap_or_default();
                let name = own.name.clone();
                intermittent.replace((name, given)).map(|_| own.name)
            }
            _ => {
                others.push(piece);
                None
            }
        };
        if let Some(name) = twice {
            errors.at(name.span(), format_args!("`{name}` stands here twice"));
        }
    }
    let intermittent = intermittent.filter(|(_, given)| *given);
    if let Some((name, _)) = &intermittent
        && expected.is_none()
    {
        let message =
            "`intermittent` needs `expected = \"part of the message\"`: nothing would fail without it";
        errors.at(name.span(), message);
    }
    let others = pairs_of(argument, others, &mut errors);
    Ok(KnownFailure {
        rule: rule_of(argument, others, errors)?,
        expected: expected.unwrap_or_default(),
        intermittent: intermittent.is_some(),
    })
}

/// The texts of `name = "a"` or `name("a", "b")`.
fn one_or_more(argument: &Argument) -> syn::Result<Vec<LitStr>> {
    match &argument.value {
        Value::List(_) => argument.texts(),
        _ => Ok(vec![argument.text()?]),
    }
}

/// The rule that these pairs are, where reading them brought no errors.
fn rule_of(argument: &Argument, pairs: Vec<(Name, TokenStream)>, mut errors: Errors) -> syn::Result<Rule> {
    let mut because = None;
    let mut when: Vec<(Name, Label)> = Vec::new();
    for (name, value) in pairs {
        if name.axis.is_none() && name.first == "because" {
            let name = name.first;
            if because.is_some() {
                errors.at(name.span(), "`because` stands here twice");
            }
            if let Some(text) = errors.note(string(&value)) {
                errors.note(require_text(&text, &name));
                because = Some(text);
            }
        } else if argument.name != "forbid" && when.iter().any(|(other, _)| *other == name) {
            errors.at(
                name.first.span(),
                format_args!("`{}` stands here twice", name.text()),
            );
        } else if let Some(label) = errors.note(label::parse(value)) {
            when.push((name, label));
        }
    }
    let span = argument.name.span();
    match because {
        Some(because) => errors.into_result(Rule { span, when, because }),
        None => {
            if errors.is_empty() {
                let message = format!("`{}` needs a reason: `{}`", argument.name, argument.usage);
                errors.at(span, message);
            }
            errors.into_result(()).map(|()| unreachable!("there is an error"))
        }
    }
}

fn string(value: &TokenStream) -> syn::Result<LitStr> {
    syn::parse2(value.clone()).map_err(|_| syn::Error::new_spanned(value, "expected a string literal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_humans() {
        for (text, millis) in [
            ("30s", 30_000),
            ("1m 30s", 90_000),
            ("1m30s", 90_000),
            ("250ms", 250),
            ("2h", 7_200_000),
        ] {
            let text = LitStr::new(text, Span::call_site());
            assert_eq!(duration(&text).unwrap(), Duration::from_millis(millis));
        }
    }

    #[test]
    fn what_is_no_duration_is_told_why() {
        for (text, why) in [
            ("30", "time unit needed"),
            ("", "empty"),
            ("0s", "zero"),
            ("5 parsecs", "unknown time unit"),
            ("-5s", "expected number"),
        ] {
            let error = duration(&LitStr::new(text, Span::call_site()))
                .unwrap_err()
                .to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn every_usage_is_read_by_its_own_entry() {
        for entry in TABLE {
            let tokens = entry.usage.parse().unwrap();
            let mut argument = Argument::parse(tokens).unwrap();
            argument.usage = entry.usage;
            assert_eq!(argument.name, entry.name);
            if let Err(error) = (entry.read)(&mut Options::default(), &argument) {
                panic!("{}: {error}", entry.usage);
            }
        }
    }
}
