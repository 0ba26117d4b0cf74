//! What the attributes expand to calls of: as much as can be compiled once, here.
//!
//! A suite compiles each of these once per type, not once per scenario: bodies arrive boxed, so that what is
//! done with them is generic over what they return alone.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;

pub use std::boxed::Box;

pub use crate::leak::{Allowance, AllowedEverywhere, LeakClass};
pub use crate::param::{
    Begin, BeginFuture, Body, BodyResult, Build, Param, Params, Report, TakesCount, TakesDisk, TakesHosts,
    TakesKinds, TakesMixed, TakesNodes, TakesOn, TakesProxied, TakesSettings, ValueIndex,
};
pub use crate::registry::{
    Flavor, Isolation, KnownFailure, Options, Requirement, Rule, Scenario, ShouldPanic, Site,
};
pub use crate::runner::{Suite, run};
pub use crate::variant::Declared;

/// The body of an `async fn`.
pub fn async_body<R: Report>(future: Pin<Box<dyn Future<Output = R>>>) -> Body {
    Body::Async(Box::pin(async { future.await.report() }))
}

/// The body of a plain `fn` without parameters.
pub fn plain_body<R: Report>(body: fn() -> R) -> Body {
    Body::Sync(Box::new(move || body().report()))
}

/// The body of a plain `fn`, its parameters inside.
pub fn sync_body<R: Report>(body: Box<dyn FnOnce() -> R>) -> Body {
    Body::Sync(Box::new(|| body().report()))
}

/// Builds the parameters and hands them to `body`.
pub fn with_params<A: Params + 'static>(build: &mut Build, body: fn(A) -> Body) -> BeginFuture<'_> {
    Box::pin(async move { Ok(body(A::build_all(build).await?)) })
}

/// A parameter of type `P`.
pub const fn site<P: Param>(name: &'static str) -> Site {
    Site::new(name, P::shape)
}

/// `#[only(..)]`, for types that may carry it.
pub const fn only<P: TakesKinds>(site: Site, labels: &'static [&'static str]) -> Site {
    site.only(labels)
}

/// `#[except(..)]`, for types that may carry it.
pub const fn except<P: TakesKinds>(site: Site, labels: &'static [&'static str]) -> Site {
    site.except(labels)
}

/// `#[on(..)]`, for types that may carry it.
pub const fn on<P: TakesOn>(site: Site, param: &'static str) -> Site {
    site.on(param)
}

/// `#[nodes(..)]`, for types that may carry it.
pub const fn nodes<P: TakesNodes>(site: Site, nodes: &'static [usize]) -> Site {
    site.nodes(nodes)
}

/// `#[mixed(..)]`, for types that may carry it.
pub const fn mixed<P: TakesMixed>(site: Site, kinds: &'static [&'static str]) -> Site {
    site.mixed(kinds)
}

/// `#[count(..)]`, for types that may carry it.
pub const fn count<P: TakesCount>(site: Site, count: usize) -> Site {
    site.count(count)
}

/// `#[disk]`, for types that may carry it.
pub const fn disk<P: TakesDisk>(site: Site, has_disk: bool) -> Site {
    site.disk(has_disk)
}

/// `#[hosts]`, for types that may carry it.
pub const fn hosts<P: TakesHosts>(site: Site, has_hosts: bool) -> Site {
    site.hosts(has_hosts)
}

/// `#[proxied]`, for types that may carry it.
pub const fn proxied<P: TakesProxied>(site: Site, is_proxied: bool) -> Site {
    site.proxied(is_proxied)
}

/// `#[settings(..)]`, for types that may carry it.
pub const fn settings<P: TakesSettings>(site: Site, make: fn(usize) -> Box<dyn Any + Send + Sync>) -> Site {
    site.settings(make)
}

/// `P` itself. Naming it through a bound tells the compiler that nothing more is to be said about a type that
/// is no parameter, so that its author reads one error and not two.
pub trait Same {
    /// `Self`.
    type Same;
}

impl<P: Param> Same for P {
    type Same = P;
}
