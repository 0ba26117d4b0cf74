//! Connections over TLS, and as a user with a password.

use kv_suite::redis_server::APP;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

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

/// An authority, and a certificate of it for 127.0.0.1.
pub(crate) fn make_certificates(files: &TlsFiles) -> Result {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &authority)?;
    std::fs::write(&files.authority, authority.pem())?;
    std::fs::write(&files.certificate, certificate.pem())?;
    std::fs::write(&files.key, key.serialize_pem())?;
    Ok(())
}

fn with_tls() -> KvSettings {
    KvSettings {
        tls: Tls::On,
        ..KvSettings::default()
    }
}

fn authority(server: &Server<Kv>, name: &str) -> Result<std::path::PathBuf> {
    let folder = server.data_dir()?;
    Ok(folder.parent().context("the node's folder")?.join(name))
}

#[robust_test(requires(server = "tls"), timeout = "60s")]
async fn tls_carries_everything(
    #[settings(with_tls())] server: Server<Kv>,
    #[values(redis = Crate::Redis, fred = Crate::Fred)] by: Crate,
) -> Result {
    let options = ConnectOptions::new(server.endpoint("redis-tls"));
    let client = by
        .connect(options.authority(authority(&server, "authority.pem")?))
        .await?;
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

#[robust_test(requires(server = "tls"), timeout = "60s")]
async fn tls_refuses_who_trusts_another_authority(
    #[settings(with_tls())] server: Server<Kv>,
    #[values(redis = Crate::Redis, fred = Crate::Fred)] by: Crate,
) -> Result {
    let name = |name: &str| authority(&server, name);
    make_certificates(&TlsFiles {
        authority: name("other.pem")?,
        certificate: name("other-certificate.pem")?,
        key: name("other-key.pem")?,
    })?;
    let options = ConnectOptions::new(server.endpoint("redis-tls")).deadline(secs(1));
    let refused = by.connect(options.clone().authority(name("other.pem")?)).await;
    assert!(
        matches!(refused, Err(ClientError::Connect { .. })),
        "it is connected"
    );
    let plain = by.connect(options).await;
    assert!(
        matches!(plain, Err(ClientError::Connect { .. })),
        "it is connected without TLS"
    );
    Ok(())
}

#[robust_test(requires(server = "acl"), timeout = "60s")]
async fn a_user_does_what_it_may(
    #[settings(KvSettings { user: User::Acl, ..KvSettings::default() })] server: Server<Kv>,
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
