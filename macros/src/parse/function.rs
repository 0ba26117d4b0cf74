//! The function under an attribute: its signature parsed, its body left as the tokens it is.
//!
//! A body is not looked at, which is both faster and kinder to editors: half-written code reaches them.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Attribute, FnArg, ReturnType, Safety, Signature, Visibility};

use crate::diagnostics::Errors;

/// A function.
pub(crate) struct Function {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) signature: Signature,
    pub(crate) body: Group,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let signature = input.parse()?;
        let body = match input.parse()? {
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace && input.is_empty() => body,
            other => return Err(syn::Error::new(other.span(), "expected the function's body")),
        };
        Ok(Self {
            attributes,
            visibility,
            signature,
            body,
        })
    }
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        for attribute in &self.attributes {
            attribute.to_tokens(tokens);
        }
        self.visibility.to_tokens(tokens);
        self.signature.to_tokens(tokens);
        self.body.to_tokens(tokens);
    }
}

impl Function {
    /// The function under `#[attribute]`; else the error and the item as it is.
    pub(crate) fn parse_item(attribute: &str, item: TokenStream) -> Result<Self, TokenStream> {
        syn::parse2(item.clone()).map_err(|problem| {
            let message = format!("`#[{attribute}]` stands on a function with a body: {problem}");
            let error = syn::Error::new(problem.span(), message).to_compile_error();
            quote!(#item #error)
        })
    }

    /// Notes what no scenario and no kind can be.
    pub(crate) fn check(&self, what: &str, errors: &mut Errors) {
        let signature = &self.signature;
        if let Some(token) = &signature.constness {
            errors.at(token.span, format_args!("{what} cannot be a `const fn`"));
        }
        if let Safety::Unsafe(token) = &signature.safety {
            errors.at(token.span, format_args!("{what} cannot be an `unsafe fn`"));
        }
        if let Some(abi) = &signature.abi {
            errors.over(abi, format_args!("{what} cannot be an `extern` function"));
        }
        let generics = &signature.generics;
        if !generics.params.is_empty() {
            errors.over(generics, format_args!("{what} cannot be generic"));
        } else if let Some(clause) = &generics.where_clause {
            errors.over(clause, format_args!("{what} cannot be generic"));
        }
        if let Some(variadic) = &signature.variadic {
            errors.at(
                variadic.dots.span(),
                format_args!("{what} cannot take variable arguments"),
            );
        }
        for input in &signature.inputs {
            match input {
                FnArg::Receiver(receiver) => errors.over(
                    receiver,
                    format_args!("{what} is a free function: it cannot take `self`"),
                ),
                FnArg::Typed(parameter) => {
                    if let Some(token) = impl_keyword(parameter.ty.to_token_stream()) {
                        errors.over(token, format_args!("{what} cannot be generic: name the type"));
                    }
                }
            }
        }
    }

    /// The return type, unless it says `impl`, which can be named nowhere else.
    pub(crate) fn nameable_output(&self) -> Option<&syn::Type> {
        match &self.signature.output {
            ReturnType::Type(_, output) if impl_keyword(output.to_token_stream()).is_none() => Some(output),
            _ => None,
        }
    }

    /// The function as it goes out beside errors: unused, and not reported as that too.
    pub(crate) fn beside(&self, errors: Errors) -> TokenStream {
        let errors = errors.into_tokens();
        quote!(#[allow(dead_code)] #self #errors)
    }
}

fn impl_keyword(tokens: TokenStream) -> Option<TokenTree> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Ident(ident) if ident == "impl" => Some(ident.into()),
        TokenTree::Group(group) => impl_keyword(group.stream()),
        _ => None,
    })
}
