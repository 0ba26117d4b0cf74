//! The options of kinds: a new one is one entry in [`TABLE`] and one field of [`Options`].

use proc_macro2::Span;
use syn::{LitStr, Path};

use super::variants::{self, Variant};
use crate::parse::argument::Value;
use crate::parse::label;
use crate::parse::table::Entry;

/// What was read.
#[derive(Default)]
pub(super) struct Options {
    pub(super) name: Option<LitStr>,
    pub(super) provides: Vec<LitStr>,
    /// What a client needs of its server, and where that was said.
    pub(super) requires: Option<(Span, Vec<LitStr>)>,
    pub(super) program: Option<LitStr>,
    pub(super) variants: Vec<Variant>,
    /// What resets it between cases, and where that was said.
    pub(super) shared: Option<(Span, Path)>,
    /// How the nodes of a cluster start, and where that was said.
    pub(super) cluster: Option<(Span, StartOrder)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StartOrder {
    Parallel,
    Serial,
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
        name: "requires",
        usage: r#"requires("mqtt5")"#,
        repeats: false,
        read: |options, argument| {
            options.requires = Some((argument.name.span(), argument.texts()?));
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
    Entry {
        name: "cluster",
        usage: r#"cluster = "serial""#,
        repeats: false,
        read: |options, argument| {
            let order = match &argument.value {
                Value::Flag => StartOrder::Parallel,
                _ => match argument.string()?.value().as_str() {
                    "parallel" => StartOrder::Parallel,
                    "serial" => StartOrder::Serial,
                    _ => {
                        return Err(argument.wrong("the nodes of a cluster start \"parallel\" or \"serial\""));
                    }
                },
            };
            options.cluster = Some((argument.name.span(), order));
            Ok(())
        },
    },
    Entry {
        name: "shared",
        usage: "shared(reset)",
        repeats: false,
        read: |options, argument| {
            const WANTED: &str = "`shared` names the function that makes a server as new between cases, \
                `async fn reset(node: NodeLink) -> Result`";
            let Value::List(list) = &argument.value else {
                return Err(argument.wrong(WANTED));
            };
            let reset = syn::parse2(list.stream()).map_err(|_| argument.wrong(WANTED))?;
            options.shared = Some((argument.name.span(), reset));
            Ok(())
        },
    },
    Entry {
        name: "variants",
        usage: variants::USAGE,
        repeats: false,
        read: |options, argument| {
            options.variants = variants::read(argument)?;
            Ok(())
        },
    },
];
