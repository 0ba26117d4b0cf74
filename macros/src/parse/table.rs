//! Options as tables: an option's name, how it is written and how it is read stand in one entry.
//!
//! Unknown and repeated options are found here, for every attribute alike.

use proc_macro2::TokenStream;

use crate::diagnostics::{Errors, unknown};
use crate::parse::argument::{Argument, pieces};

/// One option of the attributes whose options are collected in a `T`.
pub(crate) struct Entry<T: 'static> {
    pub(crate) name: &'static str,
    /// How it is written, for messages.
    pub(crate) usage: &'static str,
    /// Whether it may stand there more than once.
    pub(crate) repeats: bool,
    pub(crate) read: fn(&mut T, &Argument) -> syn::Result<()>,
}

/// Which words messages use.
pub(crate) struct Words {
    pub(crate) one: &'static str,
    pub(crate) many: &'static str,
}

/// The words for what stands in an attribute's parentheses.
pub(crate) const OPTIONS: Words = Words {
    one: "option",
    many: "options",
};

/// Reads a list of arguments by `table`.
pub(crate) fn read_all<T: Default>(tokens: TokenStream, table: &[Entry<T>], errors: &mut Errors) -> T {
    let mut into = T::default();
    let mut seen = Vec::new();
    for piece in pieces(tokens, errors) {
        if let Some(argument) = errors.note(Argument::parse(piece)) {
            read(&mut into, argument, table, &OPTIONS, &mut seen, errors);
        }
    }
    into
}

/// Reads one argument by `table`; `seen` are the entries that were read before it.
pub(crate) fn read<T>(
    into: &mut T,
    mut argument: Argument,
    table: &[Entry<T>],
    words: &Words,
    seen: &mut Vec<&'static str>,
    errors: &mut Errors,
) {
    let Some(entry) = table.iter().find(|entry| argument.name == entry.name) else {
        let known: Vec<&str> = table.iter().map(|entry| entry.name).collect();
        let given = argument.name.to_string();
        errors.at(
            argument.name.span(),
            unknown(words.one, words.many, &given, &known),
        );
        return;
    };
    if seen.contains(&entry.name) && !entry.repeats {
        errors.at(
            argument.name.span(),
            format_args!("`{}` stands here twice", entry.name),
        );
        return;
    }
    seen.push(entry.name);
    argument.usage = entry.usage;
    errors.note((entry.read)(into, &argument));
}
