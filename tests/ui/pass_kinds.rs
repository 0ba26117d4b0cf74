//! Kinds, under every lint a suite may deny.
#![deny(warnings, missing_docs, unreachable_pub)]
#![forbid(unsafe_code)]

use robust_test::client::ClientLink;
use robust_test::node::{Instance, Node};
use robust_test::prelude::*;

struct Echo;

impl Service for Echo {
    type Client = str;
    type Settings = ();
}

mod generic {
    pub(super) struct Of<A, B>(std::marker::PhantomData<(A, B)>);
}

impl Service for generic::Of<u8, u16> {
    type Client = str;
    type Settings = ();
}

/// Documented.
#[robust_server(Echo)]
async fn bare(_: &mut Node<Echo>) -> Result<Instance> {
    Err(error("x"))
}

#[robust_server(generic::Of<u8, u16>, name = "other-1.2", program = "echo", provides("a", "b"),)]
async fn full(mut node: &mut Node<generic::Of<u8, u16>>) -> Result<Instance> {
    node = std::convert::identity(node);
    let _ = node;
    Err(error("x"))
}

#[robust_server(
    Echo,
    variants(
        persistence = ["none", "rdb", "aof"],
        r#type = [1, true, 'c', -1.5],
        fixed(tls = ["off", "on"], cache = [0, 64]),
        per_node(version = ["6.2", "7.0"],),
        fixed = ["a"],
    )
)]
async fn varied(node: &mut Node<Echo>) -> Result<Instance> {
    let _: &str = node.variant("persistence");
    Err(error("x"))
}

#[robust_client(Echo, provides("a"), requires("b"), variants(tls = ["off", "on"]))]
async fn client(link: ClientLink) -> Result<Box<str>> {
    let _: (&str, &str) = (link.variant("tls"), link.server_variant("tls"));
    drop(link);
    Ok("x".into())
}

fn main() {}
