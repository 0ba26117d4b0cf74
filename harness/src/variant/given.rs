//! `--variant [PARAM.]AXIS=VALUE`: how it is read, and what it is given to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What one `--variant` says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Given {
    /// The parameter, or a node of it (`cluster-2`); `None`: every parameter with the axis.
    pub param: Option<String>,
    /// The axis.
    pub axis: String,
    /// The value.
    pub value: String,
}

/// A text that is no `--variant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has the form [PARAM.]AXIS=VALUE, such as persistence=aof or broker.tls=on")]
pub struct NotAVariant;

/// What a [`Given`] is given to, the more special the later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Every parameter.
    All,
    /// One parameter.
    Param,
    /// One node of it, from 1 on.
    Node(u32),
}

impl FromStr for Given {
    type Err = NotAVariant;

    fn from_str(text: &str) -> Result<Self, NotAVariant> {
        let (name, value) = text.split_once('=').ok_or(NotAVariant)?;
        let (param, axis) = match name.rsplit_once('.') {
            Some((param, axis)) => (Some(param), axis),
            None => (None, name),
        };
        if axis.is_empty() || value.is_empty() || param.is_some_and(str::is_empty) {
            return Err(NotAVariant);
        }
        Ok(Self {
            param: param.map(str::to_owned),
            axis: axis.to_owned(),
            value: value.to_owned(),
        })
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(param) = &self.param {
            write!(f, "{param}.")?;
        }
        write!(f, "{}={}", self.axis, self.value)
    }
}

impl Given {
    /// What of the parameter it is given to, if anything.
    pub(crate) fn scope(&self, param: &str) -> Option<Scope> {
        let Some(own) = &self.param else {
            return Some(Scope::All);
        };
        let rest = own.strip_prefix(param)?;
        if rest.is_empty() {
            return Some(Scope::Param);
        }
        let number: u32 = rest.strip_prefix('-')?.parse().ok()?;
        (number > 0).then_some(Scope::Node(number))
    }
}
