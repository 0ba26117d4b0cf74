//! Scenarios that end in every way with hosts of their own, a fault between them and packets on their way. Run by
//! `tests/hosts.rs`.
#![allow(missing_docs)]

use std::process::Command;

use robust_test::hosts::{AddedImpairment, Host, Impairment, Net};
use robust_test::prelude::*;
use tokio::net::{TcpListener, UdpSocket};

robust_test::main!();

/// What a case has when it ends.
struct All {
    net: Net,
    a: Host,
    _b: Host,
    _delay: AddedImpairment,
    _sockets: (UdpSocket, TcpListener),
}

/// Writes the network of its first host, and its worker, into a file of the folder in `NETWORKS`.
async fn all(case: &Case) -> Result<All> {
    if let Err(why) = Net::available() {
        return Err(skip(why.to_string()));
    }
    let net = Net::new(case, "net")?;
    let (a, b) = (net.host("a")?, net.host("b")?);
    let mut link = Command::new("readlink");
    a.enter(link.arg("/proc/self/ns/net"))?;
    let network = String::from_utf8(link.output()?.stdout)?;
    let folder = std::env::var("NETWORKS")?;
    let (_, name) = case.name().rsplit_once("::").unwrap_or(("", case.name()));
    let text = format!("{} {}", network.trim(), std::process::id());
    std::fs::write(std::path::Path::new(&folder).join(name), text)?;
    let sockets = (a.udp_socket(0)?, b.listen(80)?);
    let delay = net.add(Impairment::delay(secs(600)))?;
    sockets.0.send_to(b"late", b.address(53)).await?;
    delay.until_it_bites(secs(10)).await?;
    Ok(All {
        net,
        a,
        _b: b,
        _delay: delay,
        _sockets: sockets,
    })
}

#[robust_test]
async fn passes(case: Case) -> Result {
    all(&case).await.map(drop)
}

#[robust_test]
async fn passes_with_handles_that_are_kept(case: Case) -> Result {
    let all = all(&case).await?;
    // They are dropped when the case has ended.
    let handles = (all.net.clone(), all.a.clone());
    case.defer("the handles", move || async move {
        drop(handles);
        Ok(())
    });
    Ok(())
}

#[robust_test]
async fn fails(case: Case) -> Result {
    let _all = all(&case).await?;
    Err(error("as planned"))
}

#[robust_test]
async fn leaves_a_process_on_a_host(case: Case) -> Result {
    let all = all(&case).await?;
    let mut sleep = Command::new("sleep");
    all.a.enter(sleep.arg("7831"))?;
    sleep.spawn()?;
    Ok(())
}

#[robust_test]
async fn its_worker_dies(case: Case) -> Result {
    let _all = all(&case).await?;
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::KILL)?;
    Ok(())
}

#[robust_test(timeout = "1s")]
async fn its_worker_stands_still(case: Case) -> Result {
    let _all = all(&case).await?;
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::STOP)?;
    std::future::pending::<()>().await;
    Ok(())
}

#[robust_test(ignore = "until its runner is killed", timeout = "1h")]
async fn waits(case: Case) -> Result {
    let all = all(&case).await?;
    let mut sleep = tokio::process::Command::new("sleep");
    sleep.arg("7832").kill_on_drop(true);
    all.a.enter(sleep.as_std_mut())?;
    sleep.status().await?;
    Ok(())
}
