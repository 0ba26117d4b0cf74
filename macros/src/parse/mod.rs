//! The pieces every attribute is made of: lists of arguments, literals, a table of options, a function.
//!
//! Deliberately does not know which options or parameters exist.

pub(crate) mod argument;
pub(crate) mod function;
pub(crate) mod label;
pub(crate) mod table;
