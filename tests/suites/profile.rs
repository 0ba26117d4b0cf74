//! Scenarios for `robust.toml` and `--budget`: a package wherever `PROFILE_PACKAGE` says. Run by `tests/profile.rs`.
#![allow(missing_docs)]

use std::process::ExitCode;

use robust_test::harness::expansion::{Suite, run};
use robust_test::prelude::*;

struct Echo;

impl Service for Echo {
    type Client = ();
    type Settings = ();
}

#[robust_server(Echo, program = "planted-and-not-installed")]
async fn planted(node: &mut Node<Echo>) -> Result<Instance> {
    let command = node.command("planted-and-not-installed");
    let command = command.arg(node.port("echo").to_string()).arg("");
    Ok(command.ready_when(tcp("echo")).spawn().await?)
}

#[robust_test(tags("server"))]
async fn served(echo: Server<Echo>) -> Result {
    assert!(echo.is_running());
    tokio::net::TcpStream::connect(echo.endpoint("echo")).await?;
    Ok(())
}

#[robust_test(tags("server"))]
async fn killed(echo: Server<Echo>) -> Result {
    assert!(echo.is_external());
    echo.kill().await?;
    Ok(())
}

/// Takes as long as `PROFILE_MS` says, and fails where `PROFILE_FAILS` is its number.
#[robust_test(tags("step"))]
async fn step(#[values(1, 2, 3, 4, 5, 6)] number: u8) -> Result {
    let variable = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    tokio::time::sleep(millis(variable("PROFILE_MS").unwrap_or(0))).await;
    match variable("PROFILE_FAILS") {
        Some(fails) if fails == u64::from(number) => Err(error("as it was told to")),
        _ => Ok(()),
    }
}

/// What `robust_test::main!()` is, but for the package's folder.
fn main() -> ExitCode {
    let package = std::env::var("PROFILE_PACKAGE").unwrap_or_else(|_| "/nonexistent".to_owned());
    run(Suite {
        package: "planted",
        name: env!("CARGO_CRATE_NAME"),
        binary: option_env!("CARGO_BIN_NAME"),
        manifest_dir: package.leak(),
        target_tmpdir: None,
        kinds: || vec!["planted"],
        serve: robust_test::__private::serve,
    })
}
