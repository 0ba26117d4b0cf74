//! Labels: the texts that name a value on an axis, in attributes and in the names of cases.

use proc_macro2::{Delimiter, Ident, Span, TokenStream, TokenTree};
use syn::parse::{Parse, ParseStream};
use syn::{Lit, LitStr, Token};

use crate::diagnostics::Errors;
use crate::parse::argument::{Argument, pieces};

/// A label, and where it was written.
#[derive(Clone)]
pub(crate) struct Label {
    pub(crate) text: String,
    pub(crate) span: Span,
}

impl Parse for Label {
    /// A string, number, `bool` or `char`: the text of the literal, without quotes.
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let minus: Option<Token![-]> = input.parse()?;
        let expected = "expected a literal: a string, a number, `true`, `false` or a character";
        let span = input.span();
        let literal: Lit = input.parse().map_err(|_| syn::Error::new(span, expected))?;
        let text = match (&literal, minus) {
            (Lit::Str(text), None) => text.value(),
            (Lit::Char(character), None) => character.value().to_string(),
            (Lit::Bool(value), None) => value.value.to_string(),
            (Lit::Int(number), None) => number.to_string(),
            (Lit::Float(number), None) => number.to_string(),
            (Lit::Int(number), Some(_)) => format!("-{number}"),
            (Lit::Float(number), Some(_)) => format!("-{number}"),
            _ => return Err(syn::Error::new(span, expected)),
        };
        let span = minus
            .and_then(|minus| minus.span.join(span))
            .unwrap_or_else(|| literal.span());
        check(&text).map_err(|problem| syn::Error::new(span, problem))?;
        Ok(Self { text, span })
    }
}

/// One label.
pub(crate) fn parse(tokens: TokenStream) -> syn::Result<Label> {
    syn::parse2(tokens)
}

/// The labels of `name("a", 1)`: at least one, none twice.
pub(crate) fn labels(argument: &Argument) -> syn::Result<Vec<Label>> {
    let mut errors = Errors::default();
    let mut labels: Vec<Label> = Vec::new();
    for piece in pieces(argument.list()?.stream(), &mut errors) {
        let Some(label) = errors.note(parse(piece)) else {
            continue;
        };
        match labels.iter().any(|other| other.text == label.text) {
            true => errors.at(label.span, format_args!("`{}` stands here twice", label.text)),
            false => labels.push(label),
        }
    }
    if labels.is_empty() && errors.is_empty() {
        errors.push(argument.empty());
    }
    errors.into_result(labels)
}

/// The name of a kind, which is a label on the axes of its service.
pub(crate) fn kind_name(argument: &Argument) -> syn::Result<LitStr> {
    let name = argument.string()?;
    check(&name.value()).map_err(|problem| syn::Error::new(name.span(), problem))?;
    Ok(name)
}

/// Why `text` cannot be a label: it stands in a case's name, as in `scenario[axis=label,axis=label]`.
pub(crate) fn check(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("this text names cases: it must not be empty".to_owned());
    }
    match text
        .chars()
        .find(|c| matches!(c, '[' | ']' | ',' | '=') || c.is_whitespace() || c.is_control())
    {
        Some(bad) => Err(format!(
            "this text names cases, as in `scenario[axis=label]`: {bad:?} cannot be in it"
        )),
        None => Ok(()),
    }
}

/// The text of an expression as a label: its tokens without spaces. `None` where that would join two words.
pub(crate) fn of_tokens(tokens: TokenStream) -> Option<String> {
    let mut text = String::new();
    append(tokens, &mut text)?;
    Some(text)
}

fn append(tokens: TokenStream, text: &mut String) -> Option<()> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for token in tokens {
        let next = match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                text.push_str(open);
                append(group.stream(), text)?;
                text.push_str(close);
                continue;
            }
            other => other.to_string(),
        };
        if text.ends_with(is_word) && next.starts_with(is_word) {
            return None;
        }
        text.push_str(&next);
    }
    Some(())
}

/// An identifier as a label or name: without `r#`.
pub(crate) fn of_ident(ident: &Ident) -> String {
    syn::ext::IdentExt::unraw(ident).to_string()
}

/// The name that others know a parameter by: a leading underscore only says that the body does not use it.
pub(crate) fn public_name(ident: &Ident) -> Ident {
    let text = ident.to_string();
    let rest = text.trim_start_matches('_');
    if rest.len() < text.len() && rest.starts_with(|first: char| first.is_alphabetic()) {
        Ident::new(rest, ident.span())
    } else {
        ident.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[test]
    fn a_parameter_is_known_without_its_underscore() {
        for (written, known) in [
            ("_broker", "broker"),
            ("__b", "b"),
            ("_1", "_1"),
            ("_type", "type"),
            ("a_b", "a_b"),
        ] {
            let ident = Ident::new(written, Span::call_site());
            assert_eq!(public_name(&ident).to_string(), known);
        }
        let raw = Ident::new_raw("fn", Span::call_site());
        assert_eq!(public_name(&raw), raw);
    }

    #[test]
    fn a_literals_label_is_its_text() {
        for (source, label) in [
            (r#""a""#, "a"),
            ("1", "1"),
            ("-1", "-1"),
            ("0x1F", "0x1F"),
            ("1_000u64", "1_000u64"),
            ("1.5", "1.5"),
            ("true", "true"),
            ("'x'", "x"),
        ] {
            assert_eq!(syn::parse_str::<Label>(source).unwrap().text, label);
        }
    }

    #[test]
    fn what_is_no_literal_or_cannot_stand_in_a_name_is_rejected() {
        for source in [
            "a", "b\"x\"", "-true", "\"\"", "\"a b\"", "\"a,b\"", "'='", "\"[\"", "1 2",
        ] {
            assert!(syn::parse_str::<Label>(source).is_err(), "{source}");
        }
    }

    #[test]
    fn an_expressions_label_is_its_tokens_without_spaces() {
        for (source, label) in [
            ("64 * K", Some("64*K")),
            ("Qos :: AtMostOnce", Some("Qos::AtMostOnce")),
            ("f ( 1 )", Some("f(1)")),
            ("x as u8", None),
        ] {
            assert_eq!(
                of_tokens(TokenStream::from_str(source).unwrap()).as_deref(),
                label,
                "{source}"
            );
        }
    }
}
