//! Clusters of kinds that are none, and numbers of nodes where there are none.
use robust_test::prelude::*;

struct Echo;

impl Service for Echo {
    type Client = str;
    type Settings = ();
}

#[robust_server(Echo, cluster = "sideways")]
async fn order(_: &mut Node<Echo>) -> Result<Instance> {
    todo!()
}

#[robust_server(Echo, cluster("serial"))]
async fn form(_: &mut Node<Echo>) -> Result<Instance> {
    todo!()
}

#[robust_client(Echo, cluster)]
async fn client(_: ClientLink) -> Result<Box<str>> {
    todo!()
}

#[robust_test]
async fn nodes_of_a_server(#[nodes(3)] echo: Server<Echo>) {
    let _ = echo;
}

fn main() {}
