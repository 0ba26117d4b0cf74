//! Connections over TLS.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

/// How the case's own client addresses its broker.
fn addressed(client: &Client<Mqtt>) -> Result<Broker> {
    let port = match client.protocol() {
        Protocol::V311 => "mqtt",
        Protocol::V5 => "mqtt5",
    };
    broker(Client::link(client), port)
}

/// Options that wait less for what will be refused.
fn hasty(id: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new(id);
    options.deadline = secs(2);
    options
}

fn assert_refused(refused: Result<Box<dyn MqttClient>, ClientError>) {
    assert!(
        matches!(refused, Err(ClientError::Connect { .. })),
        "it is connected"
    );
}

#[robust_test(pin(tls = "on"), timeout = "30s")]
async fn tls_carries_everything(
    broker: Server<Mqtt>,
    publisher: Client<Mqtt>,
    subscriber: Client<Mqtt>,
) -> Result {
    let large: Vec<u8> = (0..=u8::MAX).cycle().take(512 * 1024).collect();
    subscriber.subscribe("large", Qos::AtLeastOnce).await?;
    publisher.publish("large", &large, Qos::AtLeastOnce).await?;
    assert!(subscriber.next(SOON).await?.payload == large);
    broker.restart().await?;
    publisher.connect(publisher.options()).await?;
    publisher.publish("large", b"after", Qos::AtLeastOnce).await?;
    Ok(())
}

#[robust_test(pin(tls = "on"), timeout = "30s")]
async fn clients_refuse_a_bad_certificate(
    broker: Server<Mqtt>,
    client: Client<Mqtt>,
    #[values(
        expired = Flaw::Expired,
        not_yet_valid = Flaw::NotYetValid,
        wrong_name = Flaw::WrongName,
        other_authority = Flaw::OtherAuthority,
        self_signed = Flaw::SelfSigned
    )]
    flaw: Flaw,
) -> Result {
    let addressed = addressed(&client)?;
    broker.tls()?.spoil(flaw)?;
    broker.restart().await?;
    assert_refused(client.open(addressed.clone(), hasty("trusting")).await);
    broker.tls()?.renew()?;
    broker.restart().await?;
    let again = client.open(addressed, ConnectOptions::new("trusting")).await?;
    again.publish("news", b"x", Qos::AtLeastOnce).await?;
    Ok(())
}

#[robust_test(pin(tls = "on"), timeout = "30s")]
async fn brokers_refuse_who_speaks_without(_broker: Server<Mqtt>, client: Client<Mqtt>) -> Result {
    let plain = Broker::from(addressed(&client)?.address);
    assert_refused(client.open(plain, hasty("plain")).await);
    client.publish("news", b"x", Qos::AtLeastOnce).await?;
    Ok(())
}

/// Waits until the other side has closed, or was reset.
async fn closed(socket: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(SOON, socket.read_to_end(&mut rest))
        .await
        .is_ok()
}

#[robust_test(pin(tls = "on"), timeout = "30s")]
async fn brokers_end_a_handshake_that_is_none(_broker: Server<Mqtt>, client: Client<Mqtt>) -> Result {
    let address: SocketAddr = addressed(&client)?.address;
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
    assert!(closed(&mut socket).await, "it waits for more of a handshake");
    Client::connect_another(&client).await?;
    Ok(())
}

#[robust_test(
    pin(tls = "on"),
    timeout = "30s",
    known_failure(
        broker = "rumqttd",
        because = "rumqttd accepts nobody while a handshake is under way, and gives it all the time it wants: \
                   server/broker.rs, start awaits tls_accept in the loop that accepts",
        expected = "cannot connect to "
    )
)]
async fn who_never_begins_a_handshake_keeps_nobody_out(
    _broker: Server<Mqtt>,
    client: Client<Mqtt>,
) -> Result {
    let addressed = addressed(&client)?;
    let _mute = TcpStream::connect(addressed.address).await?;
    client.open(addressed, hasty("second")).await?;
    Ok(())
}
