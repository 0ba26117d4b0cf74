//! The error of scenarios: any error by `?`, with its source chain and the line that raised it.
//!
//! [`Error`] is to scenarios what `anyhow::Error` is to programs; beyond that it can carry a *skip*
//! ([`skip`]). It deliberately does not implement [`std::error::Error`]: that is what leaves room for the
//! conversion from every type that does. Functions of the public interface return concrete error types
//! instead, so that they work under any error library.

use std::fmt;
use std::panic::Location;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// What a scenario, a kind or a parameter returns when it cannot go on.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    /// Outermost first.
    context: Vec<String>,
    source: Source,
    location: &'static Location<'static>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Failure,
    Skip,
    Required,
}

/// What scenarios return: `Result` alone is `Result<(), Error>`.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

#[derive(Debug)]
struct Message(String);

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Message {}

/// An error that says `message`.
#[track_caller]
pub fn error(message: impl Into<String>) -> Error {
    Error::new(Kind::Failure, Message(message.into()).into())
}

/// Ends the case as skipped: `return Err(skip("needs IPv6"))`.
#[track_caller]
pub fn skip(reason: impl Into<String>) -> Error {
    Error::new(Kind::Skip, Message(reason.into()).into())
}

impl Error {
    #[track_caller]
    fn new(kind: Kind, source: Source) -> Self {
        Self(Box::new(Inner {
            kind,
            context: Vec::new(),
            source,
            location: Location::caller(),
        }))
    }

    /// Something is not available that must be (`ROBUST_REQUIRE`), so that the case cannot be judged.
    #[track_caller]
    pub(crate) fn required(message: impl Into<String>) -> Self {
        Self::new(Kind::Required, Message(message.into()).into())
    }

    /// The same error, told as part of `context`.
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.0.context.insert(0, context.into());
        self
    }

    /// The reason, if this is a skip and not a failure.
    pub fn skip_reason(&self) -> Option<String> {
        (self.0.kind == Kind::Skip).then(|| self.to_string())
    }

    /// Whether something is not available that `ROBUST_REQUIRE` demands.
    pub fn is_required(&self) -> bool {
        self.0.kind == Kind::Required
    }

    /// Where the error entered the scenario (the line of the `?`).
    pub fn location(&self) -> &'static Location<'static> {
        self.0.location
    }

    /// Every message, outermost first; never empty.
    pub fn chain(&self) -> Vec<String> {
        let mut chain = self.0.context.clone();
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&*self.0.source);
        while let Some(error) = next {
            chain.push(error.to_string());
            next = error.source();
        }
        chain
    }

    /// The error that was converted, if it is an `E`.
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        self.0.source.downcast_ref()
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    #[track_caller]
    fn from(source: E) -> Self {
        Self::new(Kind::Failure, source.into())
    }
}

impl fmt::Display for Error {
    /// The outermost message; with `{:#}` the whole chain, joined by `: `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = self.chain();
        f.write_str(&if f.alternate() {
            chain.join(": ")
        } else {
            chain[0].clone()
        })
    }
}

impl fmt::Debug for Error {
    /// The chain, a line each, and the place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = self.chain();
        f.write_str(&chain[0])?;
        for cause in &chain[1..] {
            write!(f, "\ncaused by: {cause}")?;
        }
        write!(f, "\nat {}", self.0.location)
    }
}

/// Adds context to a failing `Result`, or tells what a `None` lacks.
pub trait Context<T> {
    /// Tells the error as part of `context`.
    ///
    /// # Errors
    /// The error that was there, with its context.
    fn context(self, context: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    #[track_caller]
    fn context(self, context: impl Into<String>) -> Result<T> {
        match self {
            Ok(value) => Ok(value),
            Err(error) => Err(error.into().context(context)),
        }
    }
}

impl<T> Context<T> for Option<T> {
    /// Of `None`, `context` is all there is to tell.
    #[track_caller]
    fn context(self, context: impl Into<String>) -> Result<T> {
        match self {
            Some(value) => Ok(value),
            None => Err(error(context)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_and_the_line_of_the_question_mark_are_told() {
        fn inner() -> Result {
            std::fs::read("/nonexistent/file").context("reading the config")?;
            Ok(())
        }
        let error = inner().unwrap_err();
        let text = format!("{error:?}");
        assert!(
            text.starts_with("reading the config\ncaused by: No such file"),
            "{text}"
        );
        assert!(text.contains("error.rs:"), "{text}");
        assert_eq!(error.skip_reason(), None);
        let nothing = None::<u8>.context("there is no broker").unwrap_err();
        assert_eq!(nothing.to_string(), "there is no broker");
        assert_eq!(skip("no IPv6").skip_reason().as_deref(), Some("no IPv6"));
    }
}
