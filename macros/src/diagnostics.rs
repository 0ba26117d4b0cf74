//! Every error of one attribute, collected and told together, and the words for a misspelt name.
//!
//! Deliberately does not know what is being parsed.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// The errors found so far. Nothing stops at the first one: an author sees all of them at once.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// An error at one token's span.
    pub(crate) fn at(&mut self, span: Span, message: impl std::fmt::Display) {
        self.push(syn::Error::new(span, message));
    }

    /// An error that underlines all of `tokens`.
    pub(crate) fn over(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    /// The value, or `None` with the error noted.
    pub(crate) fn note<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// `value`, or the errors there were.
    pub(crate) fn into_result<T>(self, value: T) -> syn::Result<T> {
        match self.0 {
            Some(error) => Err(error),
            None => Ok(value),
        }
    }

    /// One `compile_error!` each; nothing when there were none.
    pub(crate) fn into_tokens(self) -> TokenStream {
        self.0.map(|error| error.to_compile_error()).unwrap_or_default()
    }
}

/// `` unknown option `timout`: did you mean `timeout`? (options: `timeout`, ..) ``
pub(crate) fn unknown(what: &str, whats: &str, given: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return format!("unknown {what} `{given}`: there are no {whats}");
    }
    let listed: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    let listed = listed.join(", ");
    match near_miss(given, known) {
        Some(near) => format!("unknown {what} `{given}`: did you mean `{near}`? ({whats}: {listed})"),
        None => format!("unknown {what} `{given}` ({whats}: {listed})"),
    }
}

/// The known name that `given` was probably meant to be: the nearest by edits and swapped neighbours, when
/// about a third of its characters differ at most, and never all.
pub(crate) fn near_miss<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let given = given.to_lowercase();
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&given, &name.to_lowercase()), *name))
        .filter(|(distance, name)| {
            let length = name.chars().count();
            *distance <= (length / 3).max(1) && *distance < length
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["timeout", "retries", "tags", "on", "known_failure", "0"];

    #[test]
    fn a_misspelling_is_recognised_and_another_word_is_not() {
        for (given, meant) in [
            ("timout", Some("timeout")),
            ("time_out", Some("timeout")),
            ("Timeout", Some("timeout")),
            ("tag", Some("tags")),
            ("no", Some("on")),
            ("known_failures", Some("known_failure")),
            ("colour", None),
            ("2", None),
            ("", None),
        ] {
            assert_eq!(near_miss(given, KNOWN), meant, "{given}");
        }
    }

    #[test]
    fn the_nearest_of_several_is_named() {
        assert_eq!(near_miss("brokerr", &["broken", "broker"]), Some("broker"));
    }

    #[test]
    fn an_unknown_name_is_told_with_what_there_is() {
        assert_eq!(
            unknown("option", "options", "tag", &["tags", "on"]),
            "unknown option `tag`: did you mean `tags`? (options: `tags`, `on`)"
        );
        assert_eq!(
            unknown("parameter", "parameters", "x", &[]),
            "unknown parameter `x`: there are no parameters"
        );
    }
}
