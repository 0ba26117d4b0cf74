//! `#[robust_server(Service, ..)]` and `#[robust_client(Service, ..)]`: parse, validate, expand.
//!
//! Deliberately does not know what starting and connecting mean: whether the function fits is checked by the
//! compiler, against the function types `StartFn` and `ConnectFn`.

mod expand;
mod options;
mod validate;
mod variants;

use proc_macro2::{Span, TokenStream};
use syn::parse::{ParseStream, Parser};
use syn::{Token, Type};

use crate::diagnostics::Errors;
use crate::parse::function::Function;
use crate::parse::table;
use options::Options;

/// Which of the two attributes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
}

/// A kind as declared.
struct Kind {
    role: Role,
    service: Type,
    function: Function,
    options: Options,
}

/// The expansion of `#[robust_server(arguments)] item`; `private` is the path to what it calls.
pub(crate) fn kind(
    role: Role,
    arguments: TokenStream,
    item: TokenStream,
    private: &TokenStream,
) -> TokenStream {
    let function = match Function::parse_item(role.attribute(), item) {
        Ok(function) => function,
        Err(errors) => return errors,
    };
    let mut errors = Errors::default();
    let (service, rest) = match errors.note((|input: ParseStream<'_>| service(role, input)).parse2(arguments))
    {
        Some((service, rest)) => (service, rest),
        None => (None, TokenStream::new()),
    };
    if service.is_none() && errors.is_empty() {
        errors.at(
            Span::call_site(),
            format_args!("name the service first: `#[{}(MyService, ..)]`", role.attribute()),
        );
    }
    let options = table::read_all(rest, options::TABLE, &mut errors);
    validate::validate(role, &function, &options, &mut errors);
    match service {
        Some(service) if errors.is_empty() => expand::expand(
            &Kind {
                role,
                service,
                function,
                options,
            },
            private,
        ),
        _ => function.beside(errors),
    }
}

/// The service, if one is named, and the options after it.
fn service(role: Role, input: ParseStream<'_>) -> syn::Result<(Option<Type>, TokenStream)> {
    let is_option = input.peek(syn::Ident) && (input.peek2(Token![=]) || input.peek2(syn::token::Paren));
    if input.is_empty() || is_option {
        return Ok((None, input.parse()?));
    }
    let span = input.span();
    let service = input.parse().map_err(|_| {
        let message = format!(
            "expected the service's type: `#[{}(MyService, ..)]`",
            role.attribute()
        );
        syn::Error::new(span, message)
    })?;
    if !input.is_empty() {
        input.parse::<Token![,]>()?;
    }
    Ok((Some(service), input.parse()?))
}

impl Role {
    fn attribute(self) -> &'static str {
        match self {
            Self::Server => "robust_server",
            Self::Client => "robust_client",
        }
    }

    /// For messages.
    fn what(self) -> &'static str {
        match self {
            Self::Server => "a server kind",
            Self::Client => "a client kind",
        }
    }

    /// The signature, for messages.
    fn signature(self) -> &'static str {
        match self {
            Self::Server => "async fn(node: &mut Node<Service>) -> Result<Instance>",
            Self::Client => "async fn(link: ClientLink) -> Result<Box<Service::Client>>",
        }
    }
}
