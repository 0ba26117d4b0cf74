//! Cases in many processes that need certificates. Run by `tests/tls.rs`, which names a folder in which each tells
//! what it trusts.
#![allow(missing_docs)]

use robust_test::prelude::*;

struct Sleeper;

impl Service for Sleeper {
    type Client = ();
    type Settings = ();
}

#[robust_server(Sleeper)]
async fn embedded(node: &mut Node<Sleeper>) -> Result<Instance> {
    let tls = node.tls()?;
    let folder = std::env::var("TRUSTED")?;
    let file = std::path::Path::new(&folder).join(std::process::id().to_string());
    std::fs::write(file, tls.authority_pem()?)?;
    let server = node.task(|stopping| async move { stopping.requested().await });
    Ok(server.spawn().await?)
}

#[robust_client(Sleeper)]
async fn nobody(link: ClientLink) -> Result<Box<()>> {
    link.tls()?;
    link.tls_as("alice")?;
    Ok(Box::new(()))
}

#[robust_test(isolation = "process")]
async fn trusts(_server: Server<Sleeper>, #[values(0, 1, 2, 3, 4, 5, 6, 7)] _process: u8) {}

#[robust_test]
async fn fails(server: Server<Sleeper>, _client: Client<Sleeper>) -> Result {
    server.tls()?.spoil(Flaw::Expired)?;
    Err(error("as planned"))
}

robust_test::main!();
