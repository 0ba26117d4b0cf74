//! Certificates against real TLS: a server inside the case's process that wants one of its clients.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use robust_test_harness::expansion::Site;
use robust_test_harness::param::Param;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error as TlsFailure, RootCertStore, ServerConfig,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Fixture;
use crate::prelude::*;
use crate::service::{ConnectFuture, StartFuture};

/// Tells each client the certificate by which it knows it.
pub(super) struct Mirror;

impl Service for Mirror {
    type Client = Seen;
    type Settings = ();
}

/// What the server knows the client by, in DER.
pub(super) struct Seen(Vec<u8>);

server_kind!(Mirror, "mirror", None, start);

client_kind!(Mirror, "looker", &[], connect);

fn start(node: &mut Node<Mirror>) -> StartFuture<'_> {
    Box::pin(async {
        let acceptor = acceptor(&node.tls_for(["db.example", "10.9.8.7"])?)?;
        let (address, log) = (node.address("tls"), node.log_path().to_owned());
        let serve = move |stopping: Stopping| async move {
            let listener = TcpListener::bind(address).await?;
            loop {
                let stream = tokio::select! {
                    () = stopping.requested() => return Ok::<(), io::Error>(()),
                    accepted = listener.accept() => accepted?.0,
                };
                let (acceptor, log) = (acceptor.clone(), log.clone());
                tokio::spawn(async move {
                    if let Err(error) = mirror(acceptor, stream).await {
                        let mut log = std::fs::File::options().append(true).open(log)?;
                        writeln!(log, "{error}")?;
                    }
                    Ok::<(), io::Error>(())
                });
            }
        };
        Ok(node.task(serve).ready_when(tcp("tls")).spawn().await?)
    })
}

pub(super) async fn mirror(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let known = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let der = known[0].to_vec();
    stream.write_all(&der).await?;
    stream.shutdown().await
}

fn connect(link: ClientLink) -> ConnectFuture<Mirror> {
    Box::pin(async move {
        let seen = handshake(link.endpoint("tls"), "localhost", &link.tls()?).await?;
        Ok(Box::new(Seen(seen)))
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn roots(files: &TlsFiles) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let authority = files.authority_pem()?;
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
    Ok(roots)
}

fn identity(files: &TlsFiles) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    Ok((
        vec![CertificateDer::from_pem_file(&files.certificate)?],
        PrivateKeyDer::from_pem_slice(files.key_pem()?.as_bytes())?,
    ))
}

pub(super) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor> {
    let clients = WebPkiClientVerifier::builder_with_provider(roots(files)?.into(), provider()).build()?;
    let (certificates, key) = identity(files)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What the server at `address` says to who has these files and knows it as `name`.
pub(super) async fn handshake(address: SocketAddr, name: &'static str, files: &TlsFiles) -> Result<Vec<u8>> {
    let (certificates, key) = identity(files)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(files)?)
        .with_client_auth_cert(certificates, key)?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await?;
    let mut stream = connector.connect(name.try_into()?, stream).await?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await?;
    Ok(said)
}

/// Why a handshake failed.
fn why(outcome: Result<Vec<u8>>) -> TlsFailure {
    let error = outcome.expect_err("the handshake is refused");
    let failure = error
        .downcast_ref::<io::Error>()
        .and_then(|error| error.get_ref()?.downcast_ref::<TlsFailure>());
    failure.unwrap_or_else(|| panic!("{error:?}")).clone()
}

pub(super) fn holds(der: &[u8], name: &str) -> bool {
    der.windows(name.len()).any(|window| window == name.as_bytes())
}

pub(super) async fn pair(fixture: &Fixture) -> (Server<Mirror>, Client<Mirror>) {
    let sites = vec![
        Site::new("broker", <Server<Mirror> as Param>::shape),
        Site::new("publisher", <Client<Mirror> as Param>::shape),
    ];
    fixture.build(sites).await.unwrap()
}

#[tokio::test]
async fn nodes_and_clients_of_a_run_know_each_other_by_their_names() {
    let fixture = Fixture::new();
    let (server, client) = pair(&fixture).await;
    assert!(holds(&client.0, "publisher"));
    let (link, address) = (Client::link(&client), server.endpoint("tls"));
    let another = Client::connect_another(&client).await.unwrap();
    assert!(holds(&another.0, "publisher-2"));

    for name in [
        "127.0.0.1",
        "::1",
        "localhost",
        "broker",
        "db.example",
        "10.9.8.7",
    ] {
        handshake(address, name, &link.tls().unwrap()).await.unwrap();
    }
    let refused = why(handshake(address, "other.example", &link.tls().unwrap()).await);
    let TlsFailure::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) = refused
    else {
        panic!("{refused}");
    };
    assert_eq!(presented.len(), 6, "each name once: {presented:?}");

    for user in ["alice", "../Zoë / ops"] {
        let files = link.tls_as(user).unwrap();
        assert!(holds(
            &handshake(address, "localhost", &files).await.unwrap(),
            user
        ));
        let folder = files.key.ancestors().nth(2).unwrap();
        assert_eq!(folder, fixture.case.folder().unwrap().join("publisher"));
    }
    // A node is a client of its peers, and a client is no server.
    handshake(address, "localhost", &server.tls().unwrap())
        .await
        .unwrap();
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn a_client_is_no_server() {
    let fixture = Fixture::new();
    let (_server, client) = pair(&fixture).await;
    let files = Client::link(&client).tls_as("localhost").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = acceptor(&files).unwrap();
    let serve = async { mirror(acceptor, listener.accept().await.unwrap().0).await };
    let (served, refused) = tokio::join!(serve, handshake(address, "localhost", &files));
    served.unwrap_err();
    let TlsFailure::InvalidCertificate(refused) = why(refused) else {
        panic!("refused for something else");
    };
    assert!(format!("{refused:?}").contains("Purpose"), "{refused:?}");
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn another_run_is_not_trusted() {
    let (here, there) = (Fixture::new(), Fixture::new());
    let (server, _client) = pair(&here).await;
    let (_server, stranger) = pair(&there).await;
    let (own, foreign) = (server.tls().unwrap(), Client::link(&stranger).tls().unwrap());
    let refused = why(handshake(server.endpoint("tls"), "localhost", &foreign).await);
    assert_eq!(refused, CertificateError::UnknownIssuer.into());

    // With the right authority, but a certificate of the other run.
    let mut mixed = foreign;
    mixed.authority = own.authority;
    let refused = why(handshake(server.endpoint("tls"), "localhost", &mixed).await);
    assert_eq!(refused, TlsFailure::AlertReceived(AlertDescription::UnknownCA));
    assert!(here.end().await.is_empty() && there.end().await.is_empty());
}

#[tokio::test]
async fn a_bad_certificate_of_a_server_is_refused_for_its_flaw() {
    use CertificateError as Bad;
    let fixture = Fixture::new();
    let (server, client) = pair(&fixture).await;
    let mine = Client::link(&client).tls().unwrap();
    for flaw in [
        Flaw::Expired,
        Flaw::NotYetValid,
        Flaw::WrongName,
        Flaw::OtherAuthority,
        Flaw::SelfSigned,
    ] {
        server.tls().unwrap().spoil(flaw).unwrap();
        server.restart().await.unwrap();
        let TlsFailure::InvalidCertificate(refused) =
            why(handshake(server.endpoint("tls"), "localhost", &mine).await)
        else {
            panic!("{flaw}: refused for something else");
        };
        let is_it = match flaw {
            Flaw::Expired => matches!(refused, Bad::ExpiredContext { .. }),
            Flaw::NotYetValid => matches!(refused, Bad::NotValidYetContext { .. }),
            Flaw::WrongName => matches!(refused, Bad::NotValidForNameContext { .. }),
            Flaw::OtherAuthority | Flaw::SelfSigned => refused == Bad::UnknownIssuer,
        };
        assert!(is_it, "{flaw}: {refused:?}");
        // It stays over restarts.
        server.restart().await.unwrap();
        why(handshake(server.endpoint("tls"), "localhost", &mine).await);
    }
    server.tls().unwrap().renew().unwrap();
    server.restart().await.unwrap();
    for name in ["localhost", "db.example"] {
        handshake(server.endpoint("tls"), name, &mine).await.unwrap();
    }
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn a_bad_certificate_of_a_client_is_refused_for_its_flaw() {
    let fixture = Fixture::new();
    let (server, client) = pair(&fixture).await;
    let files = Client::link(&client).tls().unwrap();
    for (flaw, alert, told) in [
        (Flaw::Expired, AlertDescription::CertificateExpired, "expired"),
        (
            Flaw::NotYetValid,
            AlertDescription::CertificateExpired,
            "not valid yet",
        ),
        (Flaw::OtherAuthority, AlertDescription::UnknownCA, "UnknownIssuer"),
        (Flaw::SelfSigned, AlertDescription::UnknownCA, "UnknownIssuer"),
    ] {
        files.spoil(flaw).unwrap();
        let before = server.log().unwrap().len();
        let refused = why(handshake(server.endpoint("tls"), "localhost", &files).await);
        assert_eq!(refused, TlsFailure::AlertReceived(alert), "{flaw}");
        let said = || async {
            let log = server.log().unwrap();
            log[before..].contains(told).then_some(log)
        };
        eventually("the server says why", secs(5), said).await.unwrap();
    }
    // Servers do not ask where a client is: it is let in as somebody else.
    files.spoil(Flaw::WrongName).unwrap();
    let seen = handshake(server.endpoint("tls"), "localhost", &files)
        .await
        .unwrap();
    assert!(holds(&seen, "elsewhere.invalid") && !holds(&seen, "publisher"));
    assert!(fixture.end().await.is_empty());
}
