//! Scenarios and kinds of a crate in which robust-test is called `rt`.

#![deny(warnings)]
#![forbid(unsafe_code)]

use rt::client::ClientLink;
use rt::node::{Instance, Node};
use rt::prelude::*;

/// A service.
pub struct Echo;

impl Service for Echo {
    type Client = ();
    type Settings = ();
}

#[robust_server(Echo)]
async fn renamed_server(_node: &mut Node<Echo>) -> Result<Instance> {
    Err(error("never started"))
}

#[robust_client(Echo)]
async fn renamed_client(_link: ClientLink) -> Result<Box<()>> {
    Ok(Box::new(()))
}

#[robust_test(timeout = "1s")]
async fn of_a_renamed_dependency(_case: Case, #[values(1)] _value: u8) -> Result {
    Ok(())
}
