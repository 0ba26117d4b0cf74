//! What the crate `robust-test` is called where an attribute is used.
//!
//! The only module that reads anything but its input: the using crate's manifest, by `proc-macro-crate`.

use proc_macro_crate::FoundCrate;
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;

/// The path to `robust_test::__private`, also when the dependency was renamed. Where the manifest does not
/// name it (a facade re-exports the attributes), its usual name is the best guess.
pub(crate) fn private() -> TokenStream {
    let name = match proc_macro_crate::crate_name("robust-test") {
        Ok(FoundCrate::Name(name)) => name,
        Ok(FoundCrate::Itself) | Err(_) => "robust_test".to_owned(),
    };
    let name = Ident::new(&name, Span::call_site());
    quote!(::#name::__private)
}
