//! What the attributes expand to calls of: as much as can be compiled once, here.

use std::future::Future;

pub use crate::param::{
    Begin, BeginFuture, Body, BodyResult, Build, Param, Params, Report, TakesCount, TakesKinds, TakesNodes,
    TakesOn, TakesSettings, ValueIndex,
};
pub use crate::registry::{Flavor, Isolation, Options, Requirement, Rule, Scenario, ShouldPanic, Site};
pub use crate::runner::{Suite, run};

/// The body of an `async fn`.
pub fn async_body<R: Report>(future: impl Future<Output = R> + 'static) -> Body {
    Body::Async(Box::pin(async { future.await.report() }))
}

/// The body of a plain `fn`.
pub fn sync_body<R: Report>(body: impl FnOnce() -> R + 'static) -> Body {
    Body::Sync(Box::new(|| body().report()))
}

/// Builds the parameters and hands them to `body`.
pub fn with_params<A: Params + 'static>(build: &mut Build, body: fn(A) -> Body) -> BeginFuture<'_> {
    Box::pin(async move { Ok(body(A::build_all(build).await?)) })
}
