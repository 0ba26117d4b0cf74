//! Where the compiler underlines what it says about an expansion.

use proc_macro2::{Group, Span, TokenStream, TokenTree};

/// The same tokens, underlined at `span` and meaning what they meant.
pub(crate) fn respan(tokens: TokenStream, span: Span) -> TokenStream {
    tokens
        .into_iter()
        .map(|token| match token {
            TokenTree::Group(group) => {
                let mut moved = Group::new(group.delimiter(), respan(group.stream(), span));
                moved.set_span(span.resolved_at(group.span()));
                moved.into()
            }
            mut other => {
                other.set_span(span.resolved_at(other.span()));
                other
            }
        })
        .collect()
}
