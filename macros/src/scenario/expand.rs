//! A valid scenario as code: the function, its descriptor, and a run button for editors.
//!
//! The less is said here, the faster suites compile: what can be compiled once is a function of the harness'
//! `expansion` module. Spans are chosen so that what the compiler rejects is underlined where the author
//! wrote it: a bound on a type at the type or its attribute, the return type at itself.

use std::time::Duration;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, LitStr, ReturnType};

use super::Scenario;
use super::options::{Flavor, Isolation, Options, Rule};
use super::parameters::Parameter;
use crate::parse::label::{Label, of_ident};
use crate::spans::respan;

pub(super) fn expand(scenario: &Scenario, private: &TokenStream) -> TokenStream {
    let Scenario {
        function,
        options,
        parameters,
    } = scenario;
    let name = of_ident(&function.signature.ident);
    let options = self::options(options, parameters, private);
    let sites = parameters.iter().map(|parameter| site(parameter, private));
    let begin = begin(scenario, private);
    let button = button(&function.signature.ident);
    quote! {
        #function
        #button
        #private::inventory::submit! {
            &#private::Scenario {
                name: #name,
                module: ::core::module_path!(),
                file: ::core::file!(),
                line: ::core::line!(),
                options: #options,
                sites: &[#(#sites),*],
                begin: #begin,
            }
        }
    }
}

/// rust-analyzer shows a run button at a `#[test]`; only it sees this one.
fn button(function: &Ident) -> TokenStream {
    let module = format_ident!("__robust_{}", of_ident(function));
    quote! {
        #[doc(hidden)]
        #[allow(unexpected_cfgs, non_snake_case)]
        mod #module {
            #[cfg(rust_analyzer)]
            #[test]
            fn #function() {}
        }
    }
}

/// From parameters to body.
fn begin(scenario: &Scenario, private: &TokenStream) -> TokenStream {
    let function = &scenario.function.signature.ident;
    let parameters = &scenario.parameters;
    if parameters.is_empty() {
        let body = body(scenario, &[], private);
        return quote!(#private::Begin::Plain(|| #body));
    }
    let names: Vec<Ident> = (0..parameters.len())
        .map(|position| Ident::new(&format!("p{position}"), Span::mixed_site()))
        .collect();
    let types = parameters.iter().map(|parameter| match &parameter.values {
        Some(_) => quote!(#private::ValueIndex),
        None => same(parameter.ty.to_token_stream(), private),
    });
    let values = parameters.iter().zip(&names).filter_map(|(parameter, name)| {
        let values = &parameter.values.as_ref()?.it;
        let ty = &parameter.ty;
        let arms = values.iter().enumerate().map(|(index, value)| {
            let pattern = match index + 1 == values.len() {
                true => quote!(_),
                false => quote!(#index),
            };
            let expression = &value.expression;
            let value = Ident::new("value", Span::mixed_site());
            quote!(#pattern => { let #value: #ty = #expression; #value })
        });
        Some(quote!(let #name = match #name.0 { #(#arms)* };))
    });
    let body = body(scenario, &names, private);
    let values: Vec<TokenStream> = values.collect();
    let closure = quote_spanned!(function.span().resolved_at(Span::mixed_site())=> |(#(#names,)*)| { #(#values)* #body });
    quote! {
        #private::Begin::Params(|build| #private::with_params::<(#(#types,)*)>(build, #closure))
    }
}

/// A type through the `Same` of the harness, with the type's own span: the compiler then says once what it
/// has to say about it.
fn same(ty: TokenStream, private: &TokenStream) -> TokenStream {
    let mut tokens = ty.clone().into_iter();
    let Some(first) = tokens.next() else { return ty };
    let last = tokens.last().unwrap_or_else(|| first.clone());
    let start = quote_spanned!(first.span()=> <);
    let end = quote_spanned!(last.span()=> ::Same);
    quote!(#start #ty as #private::Same>#end)
}

/// The call of the function, its result's type checked where that is written.
fn body(scenario: &Scenario, arguments: &[Ident], private: &TokenStream) -> TokenStream {
    let signature = &scenario.function.signature;
    let function = &signature.ident;
    let span = match &signature.output {
        ReturnType::Type(_, output) => output.span(),
        ReturnType::Default => function.span(),
    };
    let output = scenario
        .function
        .nameable_output()
        .map(|output| quote!(::<#output>));
    let at = |name: &str| Ident::new(name, span.resolved_at(Span::mixed_site()));
    if signature.asyncness.is_some() {
        let async_body = at("async_body");
        quote!(#private::#async_body #output(#private::Box::pin(#function(#(#arguments),*))))
    } else if arguments.is_empty() {
        let plain_body = at("plain_body");
        quote!(#private::#plain_body #output(#function))
    } else {
        let sync_body = at("sync_body");
        quote!(#private::#sync_body #output(#private::Box::new(move || #function(#(#arguments),*))))
    }
}

/// The parameter's `Site`. Each attribute is a call that is generic over the type, which is underlined where
/// the attribute is: the bounds of those functions are what checks that the two suit each other.
fn site(parameter: &Parameter, private: &TokenStream) -> TokenStream {
    let name = of_ident(&parameter.name);
    let ty = match &parameter.values {
        Some(_) => quote!(#private::ValueIndex),
        None => parameter.ty.to_token_stream(),
    };
    let mut site = quote!(#private::site::<#ty>(#name));
    let mut with = |function: &str, span: Span, value: TokenStream| {
        let function = Ident::new(function, span.resolved_at(Span::mixed_site()));
        let ty = respan(ty.clone(), span);
        site = quote!(#private::#function::<#ty>(#site, #value));
    };
    if let Some(only) = &parameter.only {
        with("only", only.span, labels(&only.it));
    }
    if let Some(except) = &parameter.except {
        with("except", except.span, labels(&except.it));
    }
    if let Some(nodes) = &parameter.nodes {
        let numbers = &nodes.it;
        with("nodes", nodes.span, quote!(&[#(#numbers),*]));
    }
    if let Some(mixed) = &parameter.mixed {
        with("mixed", mixed.span, labels(&mixed.it));
    }
    if let Some(count) = &parameter.count {
        with("count", count.span, count.it.to_token_stream());
    }
    if let Some(on) = &parameter.on {
        with("on", on.span, of_ident(&on.it).to_token_stream());
    }
    if let Some(span) = parameter.proxied {
        with("proxied", span, quote!(true));
    }
    if let Some(span) = parameter.disk {
        with("disk", span, quote!(true));
    }
    if let Some(span) = parameter.hosts {
        with("hosts", span, quote!(true));
    }
    if let Some(settings) = &parameter.settings {
        let ty = respan(ty.clone(), settings.span);
        let span = settings.span.resolved_at(Span::mixed_site());
        let ty = quote_spanned!(span=> <#ty as #private::TakesSettings>::Settings);
        // A closure says it for each node, by its number.
        let (number, value) = match &settings.it {
            Expr::Closure(each) if each.inputs.len() == 1 => {
                (each.inputs[0].to_token_stream(), each.body.to_token_stream())
            }
            one_for_all => (quote!(_), one_for_all.to_token_stream()),
        };
        let make = quote!(|#number: usize| { let settings: #ty = #value; #private::Box::new(settings) });
        with("settings", settings.span, make);
    }
    if let Some(values) = &parameter.values {
        let labels = values.it.iter().map(|value| &value.label.text);
        site = quote!(#site.values(&[#(#labels),*]));
    }
    site
}

fn labels(labels: &[Label]) -> TokenStream {
    let texts = labels.iter().map(|label| &label.text);
    quote!(&[#(#texts),*])
}

/// `Options`, saying only what differs from the default.
fn options(options: &Options, parameters: &[Parameter], private: &TokenStream) -> TokenStream {
    let mut fields = Vec::new();
    if let Some(timeout) = options.timeout {
        let timeout = duration(timeout);
        fields.push(quote!(timeout: ::core::option::Option::Some(#timeout)));
    }
    if let Some(retries) = options.retries {
        fields.push(quote!(retries: ::core::option::Option::Some(#retries)));
    }
    if !options.tags.is_empty() {
        let tags = &options.tags;
        fields.push(quote!(tags: &[#(#tags),*]));
    }
    if let Some(ignore) = &options.ignore {
        fields.push(quote!(ignore: ::core::option::Option::Some(#ignore)));
    }
    if let Some((_, expected)) = &options.should_panic {
        let expected = option(expected.as_ref());
        fields.push(
            quote!(should_panic: ::core::option::Option::Some(#private::ShouldPanic { expected: #expected })),
        );
    }
    if !options.serial.is_empty() {
        let groups = &options.serial;
        fields.push(quote!(serial: &[#(#groups),*]));
    }
    if let Some(weight) = options.weight {
        fields.push(quote!(weight: #weight));
    }
    if let Some(isolation) = options.isolation {
        let variant = match isolation {
            Isolation::Worker => quote!(Worker),
            Isolation::Process => quote!(Process),
            Isolation::None => quote!(None),
        };
        fields.push(quote!(isolation: ::core::option::Option::Some(#private::Isolation::#variant)));
    }
    match options.flavor {
        Some(Flavor::MultiThread) => {
            let threads = match options.worker_threads {
                Some((_, threads)) => quote!(::core::option::Option::Some(#threads)),
                None => quote!(::core::option::Option::None),
            };
            fields.push(quote!(flavor: #private::Flavor::MultiThread(#threads)));
        }
        Some(Flavor::CurrentThread) => fields.push(quote!(flavor: #private::Flavor::CurrentThread)),
        None => {}
    }
    if options.start_paused.is_some() {
        fields.push(quote!(start_paused: true));
    }
    let requires = options.requires.iter().map(|requirement| {
        let param = of_ident(&requirement.parameter);
        let capability = &requirement.capability;
        quote!(#private::Requirement { param: #param, capability: #capability })
    });
    // Kinds whose nodes know no address but 127.0.0.1 cannot be on hosts, and say so by not providing it.
    let on_hosts = parameters.iter().filter(|parameter| parameter.hosts.is_some());
    let on_hosts = on_hosts.map(|parameter| {
        let param = of_ident(&parameter.name);
        quote!(#private::Requirement { param: #param, capability: "hosts" })
    });
    let requires: Vec<TokenStream> = requires.chain(on_hosts).collect();
    if !requires.is_empty() {
        fields.push(quote!(requires: &[#(#requires),*]));
    }
    if !options.exclude.is_empty() {
        let rules = rules(&options.exclude, private);
        fields.push(quote!(exclude: #rules));
    }
    if !options.known_failure.is_empty() {
        let known = options.known_failure.iter().map(|known| {
            let rule = rule(&known.rule, private);
            let (expected, intermittent) = (&known.expected, known.intermittent);
            quote!(#private::KnownFailure { rule: #rule, expected: &[#(#expected),*], intermittent: #intermittent })
        });
        fields.push(quote!(known_failure: &[#(#known),*]));
    }
    if !options.pin.is_empty() {
        let pins = options.pin.iter().map(|(name, value)| {
            let (name, value) = (name.text(), &value.text);
            quote!((#name, #value))
        });
        fields.push(quote!(pin: &[#(#pins),*]));
    }
    if !options.forbid.is_empty() {
        let rules = rules(&options.forbid, private);
        fields.push(quote!(forbid: #rules));
    }
    if !options.allow_leak.is_empty() {
        let allowances = options.allow_leak.iter().map(|allowance| {
            let class = Ident::new(allowance.class, Span::mixed_site());
            let containing = option(allowance.containing.as_ref());
            let because = &allowance.because;
            quote!(#private::Allowance { class: #private::LeakClass::#class, containing: #containing, because: #because })
        });
        fields.push(quote!(allow_leak: &[#(#allowances),*]));
    }
    match fields.is_empty() {
        true => quote!(#private::Options::DEFAULT),
        false => quote!(#private::Options { #(#fields,)* ..#private::Options::DEFAULT }),
    }
}

fn rules(rules: &[Rule], private: &TokenStream) -> TokenStream {
    let rules = rules.iter().map(|one| rule(one, private));
    quote!(&[#(#rules),*])
}

fn rule(rule: &Rule, private: &TokenStream) -> TokenStream {
    let when = rule.when.iter().map(|(name, label)| {
        let parameter = name.text();
        let label = &label.text;
        quote!((#parameter, #label))
    });
    let because = &rule.because;
    quote!(#private::Rule { when: &[#(#when),*], because: #because })
}

fn duration(duration: Duration) -> TokenStream {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanos))
}

fn option(text: Option<&LitStr>) -> TokenStream {
    match text {
        Some(text) => quote!(::core::option::Option::Some(#text)),
        None => quote!(::core::option::Option::None),
    }
}
