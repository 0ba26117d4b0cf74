//! A valid kind as code: the function and its descriptor.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{FnArg, ReturnType, Type};

use super::options::StartOrder;
use super::{Kind, Role, variants};
use crate::parse::label::{of_ident, of_tokens};
use crate::spans::respan;

pub(super) fn expand(kind: &Kind, private: &TokenStream) -> TokenStream {
    let Kind {
        role,
        service,
        function: item,
        options,
    } = kind;
    let signature = &item.signature;
    let name = match &options.name {
        Some(name) => name.value(),
        None => of_ident(&signature.ident),
    };
    let service_name = service.to_token_stream();
    let service_name = of_tokens(service_name.clone()).unwrap_or_else(|| service_name.to_string());
    let provides = &options.provides;
    let program = match &options.program {
        Some(program) => quote!(::core::option::Option::Some(#program)),
        None => quote!(::core::option::Option::None),
    };
    let of_role = match role {
        Role::Client => {
            let requires = options.requires.iter().flat_map(|(_, requires)| requires);
            quote!(requires: &[#(#requires),*],)
        }
        Role::Server => {
            let cluster = match options.cluster {
                None => quote!(::core::option::Option::None),
                Some((_, StartOrder::Parallel)) => {
                    quote!(::core::option::Option::Some(#private::StartOrder::Parallel))
                }
                Some((_, StartOrder::Serial)) => {
                    quote!(::core::option::Option::Some(#private::StartOrder::Serial))
                }
            };
            let shared = match &options.shared {
                None => quote!(::core::option::Option::None),
                Some((_, reset)) => {
                    let pin = respan(quote!(#private::Box::pin), reset.span());
                    let reset = quote_spanned!(reset.span()=> |__node| #pin(#reset(__node)));
                    quote!(::core::option::Option::Some(#reset))
                }
            };
            // Another type that is no service is told once, where the function is named.
            quote!(shared: #shared, cluster: #cluster, serve: #private::Serve::of::<#service>(),)
        }
    };
    let variants = variants::expand(&options.variants, private);
    let (descriptor, field, wrapper) = match role {
        Role::Server => (quote!(ServerKind), quote!(start), quote!(StartFn)),
        Role::Client => (quote!(ClientKind), quote!(connect), quote!(ConnectFn)),
    };

    // A service that is none is underlined where it is named, a parameter of another type at that type, a
    // result of another, or one that cannot be sent, at the result.
    let wrapper = respan(quote!(#private::#wrapper::<#service>), service.span());
    let input_span = match signature.inputs.first() {
        Some(FnArg::Typed(input)) => match &*input.ty {
            Type::Reference(reference) => reference.elem.span(),
            other => other.span(),
        },
        _ => signature.ident.span(),
    };
    let output_span = match &signature.output {
        ReturnType::Type(_, output) => output.span(),
        ReturnType::Default => signature.ident.span(),
    };
    let call = &signature.ident;
    let input = Ident::new("__input", input_span);
    let pin = respan(quote!(#private::Box::pin), output_span);
    let closure = quote_spanned!(output_span=> |#input| #pin(#call(#input)));
    let function = quote_spanned!(service.span()=> &#wrapper(#closure));
    quote! {
        #item
        #private::inventory::submit! {
            &#private::#descriptor {
                name: #name,
                service: ::core::any::TypeId::of::<#service>,
                service_name: #service_name,
                file: ::core::file!(),
                line: ::core::line!(),
                provides: &[#(#provides),*],
                program: #program,
                #of_role
                variants: #variants,
                #field: #function,
            }
        }
    }
}
