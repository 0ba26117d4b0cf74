//! Scenarios that wait to be killed with their runner or worker.
#![allow(missing_docs)]

use std::process::Command;
use std::time::Duration;

use robust_test::prelude::*;

#[robust_test]
fn passes() {}

#[robust_test]
async fn waits_for_a_file(case: Case) {
    let mut child = tokio::process::Command::new("sleep").arg("7401").spawn().unwrap();
    case.defer("the child", move || async move {
        println!("torn down");
        child.kill().await?;
        Ok(())
    });
    std::future::pending::<()>().await;
}

#[robust_test]
async fn slow_teardown(case: Case) {
    Command::new("sh")
        .args(["-c", "setsid sleep 7402 >/dev/null 2>&1 </dev/null &"])
        .status()
        .unwrap();
    case.defer("a slow thing", move || async move {
        let mut child = tokio::process::Command::new("sleep").arg("7403").spawn()?;
        tokio::time::sleep(Duration::from_secs(4)).await;
        println!("torn down slowly");
        child.kill().await?;
        Ok(())
    });
    std::future::pending::<()>().await;
}

#[robust_test(serial = "one")]
async fn waits_too() {
    std::future::pending::<()>().await;
}

robust_test::main!();
