//! Views that a service does not have, and links of the wrong view.
use robust_test::prelude::*;

struct Echo;

impl Service for Echo {
    type Client = str;
    type Settings = ();
}

#[robust_test]
async fn no_admin(echo: Server<Echo>) {
    let _ = echo.admin().await;
}

#[robust_test]
async fn no_internals(echo: Server<Echo>) {
    let _ = echo.internals();
}

#[robust_test]
async fn no_opinion(echo: Cluster<Echo>) {
    let _ = echo.leader().await;
}

struct Other;

impl Service for Other {
    type Client = str;
    type Settings = ();
}

impl AdminView for Other {
    type Admin = ();

    async fn admin(_: ClientLink) -> Result<()> {
        Ok(())
    }
}

#[robust_client(Other)]
async fn with_the_operators_link(_: NodeLink) -> Result<Box<str>> {
    Ok("x".into())
}

fn main() {}
