//! `name`, `name = value`, `name(list)`: one argument of an attribute, and how its value is read.
//!
//! An attribute's tokens are cut at their commas first and each piece is parsed alone, so that a mistake in
//! one argument hides none in another.

use std::fmt::Display;
use std::str::FromStr;

use proc_macro2::{Group, Ident, TokenStream, TokenTree};
use syn::parse::{ParseStream, Parser};
use syn::{LitBool, LitInt, LitStr, Token};

use crate::diagnostics::Errors;

/// One argument.
pub(crate) struct Argument {
    pub(crate) name: Ident,
    pub(crate) value: Value,
    /// How it is written, for messages: `` `timeout = "30s"` ``.
    pub(crate) usage: &'static str,
}

/// What follows an argument's name.
pub(crate) enum Value {
    /// Nothing.
    Flag,
    /// `= tokens`
    Equals(TokenStream),
    /// `(tokens)`
    List(Group),
}

/// `tokens` cut at their commas, without empty last piece; an empty piece between is an error.
pub(crate) fn pieces(tokens: TokenStream, errors: &mut Errors) -> Vec<TokenStream> {
    let mut pieces = Vec::new();
    let mut piece = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Punct(comma) if comma.as_char() == ',' => {
                if piece.is_empty() {
                    errors.at(comma.span(), "nothing stands before this comma");
                } else {
                    pieces.push(TokenStream::from_iter(piece.drain(..)));
                }
            }
            token => piece.push(token),
        }
    }
    if !piece.is_empty() {
        pieces.push(TokenStream::from_iter(piece));
    }
    pieces
}

impl Argument {
    /// Parses one piece.
    pub(crate) fn parse(piece: TokenStream) -> syn::Result<Self> {
        Self::parse_stream.parse2(piece)
    }

    fn parse_stream(input: ParseStream<'_>) -> syn::Result<Self> {
        if !input.peek(syn::Ident) {
            return Err(syn::Error::new(
                input.span(),
                "expected `name`, `name = value` or `name(..)`",
            ));
        }
        let name: Ident = input.parse()?;
        let value = if input.is_empty() {
            Value::Flag
        } else if input.peek(Token![=]) {
            let equals: Token![=] = input.parse()?;
            if input.is_empty() {
                return Err(syn::Error::new(equals.span, "a value is missing after this `=`"));
            }
            Value::Equals(input.parse()?)
        } else {
            match input.parse()? {
                TokenTree::Group(list) if input.is_empty() => Value::List(list),
                other => {
                    return Err(syn::Error::new(
                        other.span(),
                        format!("expected `,`, `=` or `(..)` after `{name}`"),
                    ));
                }
            }
        };
        Ok(Self {
            name,
            value,
            usage: "",
        })
    }

    /// Where a value of the wrong kind is pointed at.
    pub(crate) fn wrong(&self, expected: impl Display) -> syn::Error {
        let message = format!("{expected}: `{}`", self.usage);
        match &self.value {
            Value::Flag => syn::Error::new(self.name.span(), message),
            Value::Equals(value) => syn::Error::new_spanned(value, message),
            Value::List(list) => syn::Error::new_spanned(list, message),
        }
    }

    /// The value of `name = "text"`.
    pub(crate) fn string(&self) -> syn::Result<LitStr> {
        let Value::Equals(value) = &self.value else {
            return Err(self.wrong(format_args!("`{}` takes a string", self.name)));
        };
        syn::parse2(value.clone()).map_err(|_| self.wrong("expected a string literal"))
    }

    /// The value of `name = "text"`, which must have a character that shows.
    pub(crate) fn text(&self) -> syn::Result<LitStr> {
        let text = self.string()?;
        require_text(&text, &self.name)?;
        Ok(text)
    }

    /// Nothing, or the text of `name = "text"`.
    pub(crate) fn optional_text(&self) -> syn::Result<Option<LitStr>> {
        match &self.value {
            Value::Flag => Ok(None),
            _ => self.text().map(Some),
        }
    }

    /// The value of `name = 3`.
    pub(crate) fn number<N: FromStr<Err: Display>>(&self) -> syn::Result<N> {
        let Value::Equals(value) = &self.value else {
            return Err(self.wrong(format_args!("`{}` takes a number", self.name)));
        };
        self.integer(value)
    }

    /// The value of `name(3)`, which must be at least 1.
    pub(crate) fn listed_number(&self) -> syn::Result<usize> {
        let number = self.integer(&self.list()?.stream())?;
        if number == 0 {
            return Err(self.wrong(format_args!("`{}` is at least 1", self.name)));
        }
        Ok(number)
    }

    /// The numbers of `name(1, 3)`: at least one, none twice, each at least 1.
    pub(crate) fn listed_numbers(&self) -> syn::Result<Vec<usize>> {
        let mut errors = Errors::default();
        let mut numbers: Vec<usize> = Vec::new();
        for piece in pieces(self.list()?.stream(), &mut errors) {
            let at = |message: &str| syn::Error::new_spanned(&piece, message);
            let number = self.integer::<usize>(&piece);
            let number = number.map_err(|error| at(&error.to_string()));
            let Some(number) = errors.note(number) else {
                continue;
            };
            if number == 0 {
                errors.push(at(&format!("`{}` is at least 1: `{}`", self.name, self.usage)));
            } else if numbers.contains(&number) {
                errors.push(at(&format!("{number} stands here twice")));
            } else {
                numbers.push(number);
            }
        }
        if numbers.is_empty() && errors.is_empty() {
            errors.push(self.empty());
        }
        errors.into_result(numbers)
    }

    fn integer<N: FromStr<Err: Display>>(&self, value: &TokenStream) -> syn::Result<N> {
        let number = syn::parse2::<LitInt>(value.clone()).ok();
        let number = number
            .filter(|number| !number.base10_digits().starts_with('-'))
            .ok_or_else(|| self.wrong("expected a whole number, 0 or more"))?;
        number
            .base10_parse()
            .map_err(|problem| self.wrong(format_args!("not a number for `{}`, {problem}", self.name)))
    }

    /// A number of [`Self::number`] that must be at least 1.
    pub(crate) fn positive<N: FromStr<Err: Display> + PartialEq + Default>(&self) -> syn::Result<N> {
        let number: N = self.number()?;
        if number == N::default() {
            return Err(self.wrong(format_args!("`{}` is at least 1", self.name)));
        }
        Ok(number)
    }

    /// `true` for `name`, else the value of `name = true`.
    pub(crate) fn switch(&self) -> syn::Result<bool> {
        match &self.value {
            Value::Flag => Ok(true),
            Value::Equals(value) => match syn::parse2::<LitBool>(value.clone()) {
                Ok(value) => Ok(value.value),
                Err(_) => Err(self.wrong("expected `true` or `false`")),
            },
            Value::List(_) => Err(self.wrong(format_args!("`{}` takes no list", self.name))),
        }
    }

    /// What stands in the parentheses of `name(..)`.
    pub(crate) fn list(&self) -> syn::Result<&Group> {
        match &self.value {
            Value::List(list) => Ok(list),
            _ => Err(self.wrong(format_args!("`{}` takes a list", self.name))),
        }
    }

    /// The texts of `name("a", "b")`: at least one, none twice.
    pub(crate) fn texts(&self) -> syn::Result<Vec<LitStr>> {
        let mut errors = Errors::default();
        let mut texts: Vec<LitStr> = Vec::new();
        for piece in pieces(self.list()?.stream(), &mut errors) {
            let text = syn::parse2::<LitStr>(piece.clone())
                .map_err(|_| syn::Error::new_spanned(&piece, "expected a string literal"));
            let Some(text) = errors.note(text) else { continue };
            if let Err(error) = require_text(&text, &self.name) {
                errors.push(error);
            } else if texts.iter().any(|other| other.value() == text.value()) {
                errors.at(text.span(), format_args!("{} stands here twice", text.token()));
            } else {
                texts.push(text);
            }
        }
        if texts.is_empty() && errors.is_empty() {
            errors.push(self.empty());
        }
        errors.into_result(texts)
    }

    /// The error of an empty `name()`.
    pub(crate) fn empty(&self) -> syn::Error {
        let message = format!("`{}` is empty: `{}`", self.name, self.usage);
        match &self.value {
            Value::List(list) => syn::Error::new(list.span(), message),
            _ => syn::Error::new(self.name.span(), message),
        }
    }
}

/// That `text` has a character that shows.
pub(crate) fn require_text(text: &LitStr, of: &Ident) -> syn::Result<()> {
    if text.value().trim().is_empty() {
        return Err(syn::Error::new(
            text.span(),
            format!("`{of}` needs a text that is not empty"),
        ));
    }
    Ok(())
}
