//! The parameters of a scenario and the attributes on them: a new attribute is one entry in [`TABLE`].
//!
//! Each is read alone; what it means for its type is checked by the compiler, through the marker traits that
//! the expansion names.

use proc_macro2::{Delimiter, Group, Ident, Span};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Lit, Meta, Pat, PatType, Token, Type, UnOp};

use crate::diagnostics::Errors;
use crate::parse::argument::{Argument, Value as ArgumentValue};
use crate::parse::label::{self, Label};
use crate::parse::table::{self, Entry, Words};

/// One parameter.
pub(super) struct Parameter {
    /// As in case names and rules: without the underscore of a parameter that the body does not use.
    pub(super) name: Ident,
    pub(super) ty: Type,
    pub(super) only: Option<At<Vec<Label>>>,
    pub(super) except: Option<At<Vec<Label>>>,
    pub(super) values: Option<At<Vec<Value>>>,
    pub(super) nodes: Option<At<Vec<usize>>>,
    pub(super) mixed: Option<At<Vec<Label>>>,
    pub(super) count: Option<At<usize>>,
    pub(super) settings: Option<At<Expr>>,
    pub(super) on: Option<At<Ident>>,
    pub(super) proxied: Option<Span>,
    pub(super) disk: Option<Span>,
    pub(super) hosts: Option<Span>,
}

/// What an attribute said, and where the attribute is.
pub(super) struct At<T> {
    pub(super) span: Span,
    pub(super) it: T,
}

/// One of `#[values(..)]`.
pub(super) struct Value {
    pub(super) label: Label,
    pub(super) expression: Expr,
}

#[derive(Default)]
struct Attributes {
    only: Option<At<Vec<Label>>>,
    except: Option<At<Vec<Label>>>,
    values: Option<At<Vec<Value>>>,
    nodes: Option<At<Vec<usize>>>,
    mixed: Option<At<Vec<Label>>>,
    count: Option<At<usize>>,
    settings: Option<At<Expr>>,
    on: Option<At<Ident>>,
    proxied: Option<Span>,
    disk: Option<Span>,
    hosts: Option<Span>,
}

const WORDS: Words = Words {
    one: "parameter attribute",
    many: "parameter attributes",
};

/// Every attribute a parameter may have.
const TABLE: &[Entry<Attributes>] = &[
    Entry {
        name: "only",
        usage: r#"#[only("a", "b")]"#,
        repeats: false,
        read: |attributes, argument| {
            attributes.only = Some(at(argument, label::labels(argument)?));
            Ok(())
        },
    },
    Entry {
        name: "except",
        usage: r#"#[except("a", "b")]"#,
        repeats: false,
        read: |attributes, argument| {
            attributes.except = Some(at(argument, label::labels(argument)?));
            Ok(())
        },
    },
    Entry {
        name: "values",
        usage: "#[values(0, 1)]",
        repeats: false,
        read: |attributes, argument| {
            attributes.values = Some(at(argument, values(argument)?));
            Ok(())
        },
    },
    Entry {
        name: "nodes",
        usage: "#[nodes(3)]` or `#[nodes(1, 3)]",
        repeats: false,
        read: |attributes, argument| {
            attributes.nodes = Some(at(argument, argument.listed_numbers()?));
            Ok(())
        },
    },
    Entry {
        name: "mixed",
        usage: r#"#[mixed("a", "b")]"#,
        repeats: false,
        read: |attributes, argument| {
            let kinds = label::labels(argument)?;
            if kinds.len() == 1 {
                return Err(argument.wrong("`mixed` names two kinds or more"));
            }
            attributes.mixed = Some(at(argument, kinds));
            Ok(())
        },
    },
    Entry {
        name: "count",
        usage: "#[count(4)]",
        repeats: false,
        read: |attributes, argument| {
            attributes.count = Some(at(argument, argument.listed_number()?));
            Ok(())
        },
    },
    Entry {
        name: "settings",
        usage: "#[settings(expression)]",
        repeats: false,
        read: |attributes, argument| {
            let expression = filled(argument)?.stream();
            attributes.settings = Some(at(argument, syn::parse2(expression)?));
            Ok(())
        },
    },
    Entry {
        name: "on",
        usage: "#[on(parameter)]",
        repeats: false,
        read: |attributes, argument| {
            let list = filled(argument)?;
            let name = syn::parse2(list.stream()).map_err(|_| {
                syn::Error::new_spanned(list.stream(), "`#[on(..)]` takes the name of one parameter")
            })?;
            attributes.on = Some(at(argument, name));
            Ok(())
        },
    },
    Entry {
        name: "proxied",
        usage: "#[proxied]",
        repeats: false,
        read: |attributes, argument| {
            attributes.proxied = Some(flag(argument)?);
            Ok(())
        },
    },
    Entry {
        name: "disk",
        usage: "#[disk]",
        repeats: false,
        read: |attributes, argument| {
            attributes.disk = Some(flag(argument)?);
            Ok(())
        },
    },
    Entry {
        name: "hosts",
        usage: "#[hosts]",
        repeats: false,
        read: |attributes, argument| {
            attributes.hosts = Some(flag(argument)?);
            Ok(())
        },
    },
];

/// Attributes of the compiler's that stay on the parameter.
const BUILT_IN: &[&str] = &["allow", "deny", "doc", "expect", "forbid", "warn"];

impl Parameter {
    /// Reads a parameter and takes its attributes off. `None` with an error for what cannot be one.
    pub(super) fn parse(input: &mut PatType, errors: &mut Errors) -> Option<Self> {
        let mut attributes = Attributes::default();
        let mut seen = Vec::new();
        let mut kept = Vec::new();
        for attribute in std::mem::take(&mut input.attrs) {
            let Some(name) = attribute.path().get_ident().cloned() else {
                kept.push(attribute);
                continue;
            };
            if name == "cfg" || name == "cfg_attr" {
                errors.over(
                    &attribute,
                    format_args!("`#[{name}]` is not for parameters: write two functions, each with its own"),
                );
            } else if BUILT_IN.iter().any(|built_in| name == built_in) {
                kept.push(attribute);
            } else {
                let argument = argument(name, attribute);
                table::read(&mut attributes, argument, TABLE, &WORDS, &mut seen, errors);
            }
        }
        input.attrs = kept;

        let name = match &*input.pat {
            Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => {
                label::public_name(&name.ident)
            }
            pattern => {
                errors.over(
                    pattern,
                    "a parameter of a scenario is a name, as cases are told by it: take it apart in the body",
                );
                return None;
            }
        };
        let Attributes {
            only,
            except,
            values,
            nodes,
            mixed,
            count,
            settings,
            on,
            proxied,
            disk,
            hosts,
        } = attributes;
        Some(Self {
            name,
            ty: (*input.ty).clone(),
            only,
            except,
            values,
            nodes,
            mixed,
            count,
            settings,
            on,
            proxied,
            disk,
            hosts,
        })
    }
}

/// An attribute as an argument, so that options and attributes are read alike.
fn argument(name: Ident, attribute: Attribute) -> Argument {
    let value = match attribute.meta {
        Meta::Path(_) => ArgumentValue::Flag,
        Meta::List(list) => {
            let mut group = Group::new(Delimiter::Parenthesis, list.tokens);
            group.set_span(list.delimiter.span().join());
            ArgumentValue::List(group)
        }
        Meta::NameValue(pair) => ArgumentValue::Equals(pair.value.into_token_stream()),
    };
    Argument {
        name,
        value,
        usage: "",
    }
}

fn at<T>(argument: &Argument, it: T) -> At<T> {
    At {
        span: argument.name.span(),
        it,
    }
}

/// The span of an attribute that says nothing but its name.
fn flag(argument: &Argument) -> syn::Result<Span> {
    match argument.value {
        ArgumentValue::Flag => Ok(argument.name.span()),
        _ => Err(argument.wrong(format_args!("`{}` takes nothing", argument.name))),
    }
}

/// The list of an attribute that must say something.
fn filled(argument: &Argument) -> syn::Result<&Group> {
    match argument.list()? {
        list if list.stream().is_empty() => Err(argument.empty()),
        list => Ok(list),
    }
}

fn values(argument: &Argument) -> syn::Result<Vec<Value>> {
    let list = filled(argument)?.stream();
    let all = Punctuated::<Value, Token![,]>::parse_terminated.parse2(list)?;
    let mut errors = Errors::default();
    let mut values: Vec<Value> = Vec::new();
    for value in all {
        let text = &value.label.text;
        if text.is_empty() && !matches!(value.expression, Expr::Lit(_)) {
            let message = "this expression is no name for a case; give the value one: `name = value`";
            errors.over(&value.expression, message);
        } else if let Err(problem) = label::check(text) {
            let message = format!("{problem}; give the value a name: `name = value`");
            errors.at(value.label.span, message);
        } else if values.iter().any(|other| other.label.text == *text) {
            let message = format!("two values are called `{text}`; give one a name: `name = value`");
            errors.at(value.label.span, message);
        } else {
            values.push(value);
        }
    }
    errors.into_result(values)
}

impl Parse for Value {
    /// `expression` or `name = expression`; the label is empty where the expression makes none.
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.peek(syn::Ident) && input.peek2(Token![=]) && !input.peek2(Token![==]) {
            let name: Ident = input.parse()?;
            input.parse::<Token![=]>()?;
            let label = Label {
                text: label::of_ident(&name),
                span: name.span(),
            };
            return Ok(Self {
                label,
                expression: input.parse()?,
            });
        }
        let expression: Expr = input.parse()?;
        let label = Label {
            text: text(&expression).unwrap_or_default(),
            span: syn::spanned::Spanned::span(&expression),
        };
        Ok(Self { label, expression })
    }
}

/// An expression as a label: a literal's text, or any other's tokens.
fn text(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            Lit::Char(character) => Some(character.value().to_string()),
            other => Some(other.to_token_stream().to_string()),
        },
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => Some(format!("-{}", text(&unary.expr)?)),
        Expr::Group(group) => text(&group.expr),
        other => label::of_tokens(other.to_token_stream()),
    }
}

#[cfg(test)]
mod tests {
    use proc_macro2::TokenStream;

    use super::*;

    fn read(source: &str) -> Result<Vec<(String, String)>, String> {
        let argument = Argument::parse(source.parse::<TokenStream>().unwrap()).unwrap();
        values(&argument)
            .map(|values| {
                values
                    .iter()
                    .map(|value| {
                        (
                            value.label.text.clone(),
                            value.expression.to_token_stream().to_string(),
                        )
                    })
                    .collect()
            })
            .map_err(|error| error.into_iter().map(|error| error.to_string()).collect())
    }

    #[test]
    fn values_are_called_by_name_or_text() {
        let pairs =
            read(r#"values(0, -1, "a", small = 1, big = 64 * K, 2 * K, Qos::Once, r#in = 3,)"#).unwrap();
        let labels: Vec<&str> = pairs.iter().map(|(label, _)| label.as_str()).collect();
        assert_eq!(labels, ["0", "-1", "a", "small", "big", "2*K", "Qos::Once", "in"]);
        assert_eq!(pairs[4].1, "64 * K");
    }

    #[test]
    fn values_that_cannot_be_told_apart_or_named_are_rejected() {
        for (source, why) in [
            ("values()", "empty"),
            (r#"values(1, "1")"#, "two values are called `1`"),
            ("values(a = 1, a = 2)", "two values are called `a`"),
            (r#"values("")"#, "must not be empty"),
            ("values(f(1, 2))", "',' cannot be in it"),
            ("values(1 as u8)", "give the value one"),
        ] {
            let error = read(source).unwrap_err();
            assert!(error.contains(why), "{source}: {error}");
        }
    }
}
