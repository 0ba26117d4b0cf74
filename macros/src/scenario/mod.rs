//! `#[robust_test(..)]`: parse ([`options`], [`parameters`]), validate, expand.
//!
//! Deliberately knows no parameter type by name: what a type is, it says itself, as a `Param`.

mod allow_leak;
mod expand;
mod options;
mod parameters;
mod validate;

use proc_macro2::TokenStream;
use syn::FnArg;

use crate::diagnostics::Errors;
use crate::parse::function::Function;
use crate::parse::table;
use options::Options;
use parameters::Parameter;

/// A scenario as declared.
struct Scenario {
    /// Without the attributes on its parameters.
    function: Function,
    options: Options,
    parameters: Vec<Parameter>,
}

/// The expansion of `#[robust_test(arguments)] item`; `private` is the path to what it calls.
pub(crate) fn robust_test(arguments: TokenStream, item: TokenStream, private: &TokenStream) -> TokenStream {
    let mut function = match Function::parse_item("robust_test", item) {
        Ok(function) => function,
        Err(errors) => return errors,
    };
    let mut errors = Errors::default();
    let options = table::read_all(arguments, options::TABLE, &mut errors);
    let parameters = function
        .signature
        .inputs
        .iter_mut()
        .filter_map(|input| match input {
            FnArg::Typed(input) => Parameter::parse(input, &mut errors),
            FnArg::Receiver(_) => None,
        })
        .collect();
    let scenario = Scenario {
        function,
        options,
        parameters,
    };
    validate::validate(&scenario, &mut errors);
    match errors.is_empty() {
        true => expand::expand(&scenario, private),
        false => scenario.function.beside(errors),
    }
}
