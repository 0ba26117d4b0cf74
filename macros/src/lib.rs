//! The attributes of robust-test: parse, validate, expand, each a pure function over tokens.
//!
//! An expansion is small, as every scenario pays for it at compile time: a static descriptor for the
//! registry, and calls of functions that were compiled once, in the harness. What is wrong is told all at
//! once, at its tokens, and the function still goes out, so that editors keep working.
//!
//! Deliberately knows no server, client or parameter type by name, and nothing of how cases run. The options
//! are described where suites find them, in the `robust-test` crate.

mod diagnostics;
mod kind;
mod parse;
mod paths;
mod scenario;
mod spans;

use proc_macro::TokenStream;

use kind::Role;

/// Declares a scenario.
#[proc_macro_attribute]
pub fn robust_test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    scenario::robust_test(arguments.into(), item.into(), &paths::private()).into()
}

/// Declares a kind of server.
#[proc_macro_attribute]
pub fn robust_server(arguments: TokenStream, item: TokenStream) -> TokenStream {
    kind::kind(Role::Server, arguments.into(), item.into(), &paths::private()).into()
}

/// Declares a kind of client.
#[proc_macro_attribute]
pub fn robust_client(arguments: TokenStream, item: TokenStream) -> TokenStream {
    kind::kind(Role::Client, arguments.into(), item.into(), &paths::private()).into()
}
