//! Whether a function can be a kind's, as far as tokens tell.

use syn::{FnArg, ReturnType, Type};

use super::Role;
use super::options::Options;
use crate::diagnostics::Errors;
use crate::parse::function::Function;

pub(super) fn validate(role: Role, function: &Function, options: &Options, errors: &mut Errors) {
    if let (Role::Client, Some((span, _))) = (role, options.cluster) {
        errors.at(span, "`cluster` is for kinds of servers");
    }
    if let (Role::Client, Some((span, _))) = (role, &options.shared) {
        errors.at(*span, "`shared` is for kinds of servers");
    }
    if let (Role::Server, Some((span, _))) = (role, &options.requires) {
        errors.at(
            *span,
            "`requires` is for kinds of clients: what they need of their server",
        );
    }
    function.check(role.what(), errors);
    let signature = &function.signature;
    let (what, wanted) = (role.what(), role.signature());
    if signature.asyncness.is_none() {
        errors.at(
            signature.fn_token.span,
            format_args!("{what} is an `async fn`: `{wanted}`"),
        );
    }
    let mut inputs = signature.inputs.iter();
    match inputs.next() {
        Some(FnArg::Typed(input)) => match (role, &*input.ty) {
            (Role::Server, Type::Reference(reference)) if reference.mutability.is_some() => {}
            (Role::Server, other) => {
                errors.over(other, format_args!("{what} takes its node as `&mut`: `{wanted}`"));
            }
            (Role::Client, Type::Reference(reference)) => {
                errors.over(
                    reference,
                    format_args!("{what} takes its link by value: `{wanted}`"),
                );
            }
            (Role::Client, _) => {}
        },
        Some(FnArg::Receiver(_)) => {}
        None => errors.at(
            signature.ident.span(),
            format_args!("{what} takes one parameter: `{wanted}`"),
        ),
    }
    for more in inputs {
        errors.over(more, format_args!("{what} takes one parameter: `{wanted}`"));
    }
    if let ReturnType::Default = signature.output {
        errors.at(
            signature.ident.span(),
            format_args!("{what} returns a `Result`: `{wanted}`"),
        );
    }
}
