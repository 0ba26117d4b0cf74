//! Clusters, views and settings of each node, under every lint a suite may deny.
#![deny(warnings, missing_docs, unreachable_pub)]
#![forbid(unsafe_code)]

use robust_test::prelude::*;

struct Echo;

impl Service for Echo {
    type Client = str;
    type Settings = usize;
}

impl AdminView for Echo {
    type Admin = String;

    async fn admin(link: NodeLink) -> Result<String> {
        Ok(link.name().to_owned())
    }
}

#[robust_server(Echo, cluster)]
async fn parallel(_: &mut Node<Echo>) -> Result<Instance> {
    Err(error("x"))
}

#[robust_server(Echo, cluster = "serial", provides("a"))]
async fn serial(_: &mut Node<Echo>) -> Result<Instance> {
    Err(error("x"))
}

#[robust_test]
async fn all_of_it(
    #[nodes(5)]
    #[only("serial")]
    #[settings(|number| number * 2)]
    echo: Cluster<Echo>,
) -> Result {
    let _ = echo.node(1).admin().await?;
    Ok(())
}

#[robust_test(known_failure(echo.nodes = 1, because = "one is no quorum"))]
async fn of_several_sizes(#[nodes(1, 3, 5)] echo: Cluster<Echo>) {
    let _ = echo.nodes();
}

#[robust_test(exclude(echo.kind = "serial", because = "it is slow"))]
async fn of_mixed_kinds(
    #[mixed("parallel", "serial")]
    #[nodes(4)]
    echo: Cluster<Echo>,
) {
    let _ = echo.kind();
}

fn main() {}
