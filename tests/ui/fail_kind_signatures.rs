//! Functions that cannot start a server or connect a client, as their tokens tell.
use robust_test::client::ClientLink;
use robust_test::node::{Instance, Node};
use robust_test::prelude::*;

struct Echo;

impl Service for Echo {
    type Client = str;
    type Settings = ();
}

#[robust_server(Echo)]
fn not_async(_: &mut Node<Echo>) -> Result<Instance> {
    todo!()
}

#[robust_server(Echo)]
async fn no_parameter() -> Result<Instance> {
    todo!()
}

#[robust_client(Echo)]
async fn two_parameters(_: ClientLink, _: Case) -> Result<Box<str>> {
    todo!()
}

#[robust_server(Echo)]
async fn generic<S: Service>(_: &mut Node<S>) -> Result<Instance> {
    todo!()
}

#[robust_server(Echo)]
async fn by_value(_: Node<Echo>) -> Result<Instance> {
    todo!()
}

#[robust_client(Echo)]
async fn by_reference(_: &mut ClientLink) -> Result<Box<str>> {
    todo!()
}

#[robust_client(Echo)]
async unsafe fn no_result(_: ClientLink) {}

fn main() {}
