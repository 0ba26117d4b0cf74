//! The options of kinds: a new one is one entry in [`TABLE`] and one field of [`Options`].

use syn::LitStr;

use crate::parse::label;
use crate::parse::table::Entry;

/// What was read.
#[derive(Default)]
pub(super) struct Options {
    pub(super) name: Option<LitStr>,
    pub(super) provides: Vec<LitStr>,
    pub(super) program: Option<LitStr>,
}

/// Every option there is.
pub(super) const TABLE: &[Entry<Options>] = &[
    Entry {
        name: "name",
        usage: r#"name = "mosquitto-2""#,
        repeats: false,
        read: |options, argument| {
            options.name = Some(label::kind_name(argument)?);
            Ok(())
        },
    },
    Entry {
        name: "provides",
        usage: r#"provides("qos2", "retain")"#,
        repeats: false,
        read: |options, argument| {
            options.provides = argument.texts()?;
            Ok(())
        },
    },
    Entry {
        name: "program",
        usage: r#"program = "mosquitto""#,
        repeats: false,
        read: |options, argument| {
            options.program = Some(argument.text()?);
            Ok(())
        },
    },
];
