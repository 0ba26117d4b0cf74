//! Options that kinds do not take.
use robust_test::client::ClientLink;
use robust_test::node::{Instance, Node};
use robust_test::prelude::*;

struct Echo;

impl Service for Echo {
    type Client = str;
    type Settings = ();
}

#[robust_server]
async fn no_service(_: &mut Node<Echo>) -> Result<Instance> {
    todo!()
}

#[robust_client(name = "x")]
async fn no_service_but_options(_: ClientLink) -> Result<Box<str>> {
    todo!()
}

#[robust_server("Echo")]
async fn no_type(_: &mut Node<Echo>) -> Result<Instance> {
    todo!()
}

#[robust_server(Echo provides("a"))]
async fn no_comma(_: &mut Node<Echo>) -> Result<Instance> {
    todo!()
}

#[robust_server(Echo, shared, varants(a = ["b"]), nam = "x", provides("a"), provides("b"))]
async fn unknown(_: &mut Node<Echo>) -> Result<Instance> {
    todo!()
}

#[robust_server(Echo, name = "a b", program = "", provides("a", ""))]
async fn texts(_: &mut Node<Echo>) -> Result<Instance> {
    todo!()
}

#[robust_server(Echo, requires("a"))]
async fn a_server_needs_no_server(_: &mut Node<Echo>) -> Result<Instance> {
    todo!()
}

#[robust_server(Echo, shared = "reset")]
async fn shares_by_no_function(_: &mut Node<Echo>) -> Result<Instance> {
    todo!()
}

#[robust_client(Echo, shared(reset))]
async fn a_client_is_not_shared(_: ClientLink) -> Result<Box<str>> {
    todo!()
}

#[robust_client(Echo, name = "a[b", program, provides(), requires(""))]
async fn more_texts(_: ClientLink) -> Result<Box<str>> {
    todo!()
}

#[robust_client(Echo, name = "", program("x"), provides = "a")]
async fn other_forms(_: ClientLink) -> Result<Box<str>> {
    todo!()
}

fn main() {}
