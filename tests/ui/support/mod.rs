//! Parameter types and a service for the cases, as a suite's own would be.

#![allow(dead_code, unreachable_pub)]

use robust_test::prelude::*;
use robust_test_harness::param::{
    Build, Environment, Param, Shape, TakesKinds, TakesMixed, TakesNodes, TakesOn, TakesSettings,
};
use robust_test_harness::registry::Site;

/// Without attributes.
pub struct Plain;
/// Like a server or a cluster.
pub struct Broker;
/// Like a client.
pub struct Publisher;

macro_rules! param {
    ($($ty:ident)*) => {$(
        impl Param for $ty {
            fn shape(_: &Site, _: &Environment) -> Shape {
                Shape::default()
            }

            async fn build(_: &mut Build) -> Result<Self> {
                Ok($ty)
            }
        }
    )*};
}

param!(Plain Broker Publisher);

impl TakesKinds for Broker {}
impl TakesNodes for Broker {}
impl TakesMixed for Broker {}
impl TakesSettings for Broker {
    type Settings = String;
}
impl TakesKinds for Publisher {}
impl TakesOn for Publisher {}

/// A service.
pub struct Echo;

/// What its clients do.
pub trait EchoClient: Send {}

impl Service for Echo {
    type Client = dyn EchoClient;
    type Settings = String;
}
