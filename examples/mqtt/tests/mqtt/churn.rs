//! Connections that come and go, as those of programs that are started for one message each.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::raw::{DISCONNECT, PINGREQ, PINGRESP, greets};
use super::*;

/// Connects, is answered, and leaves in order.
async fn visit(address: SocketAddr, id: &str) -> Result {
    let mut stream = greets(address, id).await?;
    stream.write_all(&PINGREQ).await?;
    let mut answer = [0; 2];
    stream
        .read_exact(&mut answer)
        .await
        .context("an answer to PINGREQ")?;
    assert_eq!(answer, PINGRESP);
    stream.write_all(&DISCONNECT).await?;
    Ok(())
}

#[robust_test(
    pin(tls = "off"),
    timeout = "120s",
    known_failure(
        broker = "rumqttd",
        because = "rumqttd ends a connection by a number that the next one has got by then, also after a DISCONNECT: server/broker.rs, \
                   remote, says once more that it has ended; router/routing.rs, handle_disconnection",
        expected("early eof", "Connection reset", "Broken pipe")
    )
)]
async fn who_leaves_ends_nobody_elses_connection(broker: Server<Mqtt>) -> Result {
    let visits = match broker.kind() {
        // It ends one in some thousand.
        "rumqttd" => 50_000,
        _ => 2_000,
    };
    for number in 1..=visits {
        let visited = visit(broker.endpoint("mqtt"), &format!("visitor-{number}")).await;
        visited.context(format!("visit {number}"))?;
    }
    Ok(())
}
