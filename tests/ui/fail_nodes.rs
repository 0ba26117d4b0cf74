//! Numbers of nodes that are none, and kinds that cannot be mixed.
#![allow(unused_variables)]
use robust_test::prelude::*;
struct Echo;

impl Service for Echo {
    type Client = str;
    type Settings = ();
}

#[robust_test]
async fn numbers(
    #[nodes] bare: Cluster<Echo>,
    #[nodes()] empty: Cluster<Echo>,
    #[nodes(0)] none: Cluster<Echo>,
    #[nodes(1, 0)] one_is_none: Cluster<Echo>,
    #[nodes(1, 3, 1)] twice: Cluster<Echo>,
    #[nodes("three", 3.5, -1)] no_numbers: Cluster<Echo>,
    #[nodes(1,, 3)] gap: Cluster<Echo>,
    #[nodes = 3] equals: Cluster<Echo>,
) {
}

#[robust_test]
async fn kinds(
    #[mixed] bare: Cluster<Echo>,
    #[mixed()] empty: Cluster<Echo>,
    #[mixed("a")] one: Cluster<Echo>,
    #[mixed("a", "b", "a")] twice: Cluster<Echo>,
    #[mixed("a", "b")]
    #[only("a")]
    narrowed: Cluster<Echo>,
    #[mixed("a", "b")]
    #[nodes(1, 3)]
    sizes: Cluster<Echo>,
    #[values(1, 2)]
    #[mixed("a", "b")]
    plain: u8,
) {
}

#[robust_test]
async fn of_a_server(#[mixed("a", "b")] server: Server<Echo>) {}

fn main() {}
