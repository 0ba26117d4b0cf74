//! One node of a server: what its kind's start function is given.

use std::marker::PhantomData;

use crate::service::Service;

/// What a start function is given.
pub struct Node<S: Service>(PhantomData<S>);

/// A started node.
pub struct Instance(());
