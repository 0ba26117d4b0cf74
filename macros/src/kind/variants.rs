//! `variants(..)` of a kind: its axes, and the groups of those that are drawn in another way.

use proc_macro2::{Delimiter, Group, Ident, TokenStream};
use quote::quote;

use crate::diagnostics::{Errors, unknown};
use crate::parse::argument::{Argument, Value, pieces};
use crate::parse::label::{self, Label, of_ident};

pub(super) const USAGE: &str =
    r#"variants(persistence = ["none", "aof"], fixed(tls = ["off", "on"]), per_node(version = ["1", "2"]))"#;

/// An axis.
pub(super) struct Variant {
    name: Ident,
    values: Vec<Label>,
    fixed: bool,
    per_node: bool,
}

/// The groups, which say how their axes are drawn.
const GROUPS: &[&str] = &["fixed", "per_node"];

/// The axes: at least one, none twice.
pub(super) fn read(argument: &Argument) -> syn::Result<Vec<Variant>> {
    let mut errors = Errors::default();
    let mut all = Vec::new();
    read_group(argument.list()?, None, argument, &mut all, &mut errors);
    if all.is_empty() && errors.is_empty() {
        errors.push(argument.empty());
    }
    errors.into_result(all)
}

fn read_group(
    list: &Group,
    group: Option<&str>,
    whole: &Argument,
    all: &mut Vec<Variant>,
    errors: &mut Errors,
) {
    for piece in pieces(list.stream(), errors) {
        let Some(axis) = errors.note(Argument::parse(piece)) else {
            continue;
        };
        let name = of_ident(&axis.name);
        match (&axis.value, group) {
            (Value::Equals(values), _) => {
                if all.iter().any(|other| other.name == axis.name) {
                    errors.at(axis.name.span(), format_args!("`{name}` stands here twice"));
                } else if let Some(values) = errors.note(self::values(&axis.name, values)) {
                    all.push(Variant {
                        name: axis.name,
                        values,
                        fixed: group == Some("fixed"),
                        per_node: group == Some("per_node"),
                    });
                }
            }
            (Value::List(inner), None) if GROUPS.contains(&&*name) => {
                read_group(inner, Some(&name), whole, all, errors);
                if inner.stream().is_empty() {
                    errors.at(inner.span(), format_args!("`{name}` is empty: `{USAGE}`"));
                }
            }
            (Value::List(_), None) => {
                errors.at(axis.name.span(), unknown("group", "groups", &name, GROUPS));
            }
            _ => errors.at(
                axis.name.span(),
                format_args!("expected `{name} = [\"default\", ..]`, as in `{}`", whole.usage),
            ),
        }
    }
}

/// The values of `axis = ["a", "b"]`: at least one, none twice.
fn values(axis: &Ident, tokens: &TokenStream) -> syn::Result<Vec<Label>> {
    let wrong = || {
        let message =
            format!("expected the values of `{axis}`, the default first: `{axis} = [\"a\", \"b\"]`");
        syn::Error::new_spanned(tokens, message)
    };
    let list: Group = syn::parse2(tokens.clone()).map_err(|_| wrong())?;
    if list.delimiter() != Delimiter::Bracket {
        return Err(wrong());
    }
    let mut errors = Errors::default();
    let mut values: Vec<Label> = Vec::new();
    for piece in pieces(list.stream(), &mut errors) {
        let Some(value) = errors.note(label::parse(piece)) else {
            continue;
        };
        match values.iter().any(|other| other.text == value.text) {
            true => errors.at(value.span, format_args!("`{}` stands here twice", value.text)),
            false => values.push(value),
        }
    }
    if values.is_empty() && errors.is_empty() {
        errors.at(
            list.span(),
            format_args!("`{axis}` has no values: `{axis} = [\"a\", \"b\"]`"),
        );
    }
    errors.into_result(values)
}

/// As a slice of declarations.
pub(super) fn expand(variants: &[Variant], private: &TokenStream) -> TokenStream {
    let variants = variants.iter().map(|variant| {
        let name = of_ident(&variant.name);
        let values = variant.values.iter().map(|value| &value.text);
        let (fixed, per_node) = (variant.fixed, variant.per_node);
        quote!(#private::Declared { name: #name, values: &[#(#values),*], fixed: #fixed, per_node: #per_node })
    });
    quote!(&[#(#variants),*])
}
