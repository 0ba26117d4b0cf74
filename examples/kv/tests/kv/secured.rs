//! Connections over TLS, and as a user with a password.

use super::*;

/// Which crate connects; the client axis is of no use where a client is to be refused.
#[derive(Debug, Clone, Copy)]
enum Crate {
    Redis,
    Fred,
}

impl Crate {
    async fn connect(self, options: ConnectOptions) -> Result<Box<dyn KvClient>, ClientError> {
        match self {
            Self::Redis => redis_rs::connect(options).await,
            Self::Fred => fred_rs::connect(options).await,
        }
    }
}

/// How clients address this server where it has TLS.
fn tls_options(server: &Server<Kv>) -> Result<ConnectOptions> {
    let options = ConnectOptions::new(server.endpoint("redis-tls")).deadline(secs(1));
    Ok(options.authority(server.tls()?.authority))
}

#[robust_test(requires(server = "tls"), pin(tls = "on"), timeout = "60s")]
async fn tls_carries_everything(server: Server<Kv>, client: Client<Kv>) -> Result {
    assert_eq!(client.options().address, server.endpoint("redis-tls"));
    let large = vec![7; 1024 * 1024];
    client.set("key", &large).await?;
    assert!(client.get("key").await? == Some(large));
    let mut subscriber = client.subscriber().await?;
    subscriber.subscribe("news").await?;
    client.publish("news", b"x").await?;
    assert_eq!(subscriber.next(SOON).await?.payload, b"x");
    client.rpush("queue", b"element").await?;
    assert_eq!(
        client.blpop("queue", secs(5)).await?.as_deref(),
        Some(&b"element"[..])
    );
    server.kill().await?;
    server.start().await?;
    until_answered(&*client).await
}

#[robust_test(
    requires(server = "tls"),
    pin(tls = "on"),
    pin(user = "default"),
    timeout = "60s"
)]
async fn tls_refuses_a_bad_certificate(
    server: Server<Kv>,
    #[values(redis = Crate::Redis, fred = Crate::Fred)] by: Crate,
    #[values(
        expired = Flaw::Expired,
        not_yet_valid = Flaw::NotYetValid,
        wrong_name = Flaw::WrongName,
        other_authority = Flaw::OtherAuthority,
        self_signed = Flaw::SelfSigned
    )]
    flaw: Flaw,
) -> Result {
    server.tls()?.spoil(flaw)?;
    server.restart().await?;
    let refused = by.connect(tls_options(&server)?).await;
    assert!(
        matches!(refused, Err(ClientError::Connect { .. })),
        "it is connected"
    );
    server.tls()?.renew()?;
    server.restart().await?;
    by.connect(tls_options(&server)?.deadline(SOON))
        .await?
        .ping()
        .await?;
    Ok(())
}

#[robust_test(requires(server = "tls"), pin(tls = "on"), timeout = "60s")]
async fn tls_refuses_who_speaks_without(
    server: Server<Kv>,
    #[values(redis = Crate::Redis, fred = Crate::Fred)] by: Crate,
) -> Result {
    let options = ConnectOptions::new(server.endpoint("redis-tls")).deadline(secs(1));
    let plain = by.connect(options).await;
    assert!(
        matches!(plain, Err(ClientError::Connect { .. })),
        "it is connected without TLS"
    );
    Ok(())
}

#[robust_test(
    requires(server = "acl"),
    pin(user = "acl"),
    forbid(
        persistence = "none",
        because = "it restarts the server, which then has no key to read"
    ),
    timeout = "60s"
)]
async fn a_user_does_what_it_may(
    server: Server<Kv>,
    #[values(redis = Crate::Redis, fred = Crate::Fred)] by: Crate,
) -> Result {
    let options = ConnectOptions::new(server.endpoint("redis"));
    let client = by.connect(options.clone().user(APP.0, APP.1)).await?;
    client.set("key", b"value").await?;
    let refused = client.call(kv_suite::Command::new("FLUSHALL")).await;
    assert!(
        matches!(&refused, Err(ClientError::Refused { message }) if message.starts_with("NOPERM")),
        "{refused:?}"
    );
    let wrong = by
        .connect(options.clone().user(APP.0, "no password").deadline(secs(1)))
        .await;
    assert!(
        matches!(wrong, Err(ClientError::Connect { .. })),
        "it is connected"
    );
    // Who does not log in is connected, or is not; it may do nothing.
    if let Ok(nobody) = by.connect(options.deadline(secs(1))).await {
        let refused = nobody.get("key").await;
        assert!(
            matches!(&refused, Err(ClientError::Refused { message }) if message.starts_with("NOAUTH")),
            "{refused:?}"
        );
    }
    server.restart().await?;
    eventually("the user is back", SOON, || client.get("key")).await?;
    Ok(())
}
