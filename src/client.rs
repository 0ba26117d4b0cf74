//! Clients.

/// What a connect function is given.
pub struct ClientLink(());
