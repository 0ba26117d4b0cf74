//! Certificates against real TLS: a server inside the case's process that wants one of its clients.

use std::any::TypeId;
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
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
use crate::service::{ClientKind, ConnectFn, ConnectFuture, ServerKind, StartFn, StartFuture};
use crate::tls::{Subject, TlsError};

/// Tells each client the certificate by which it knows it.
struct Mirror;

impl Service for Mirror {
    type Client = Seen;
    type Settings = ();
}

/// What the server knows the client by, in DER.
struct Seen(Vec<u8>);

static SERVER: ServerKind = ServerKind {
    name: "mirror",
    service: TypeId::of::<Mirror>,
    service_name: "Mirror",
    file: file!(),
    line: line!(),
    provides: &[],
    program: None,
    cluster: None,
    serve: crate::serve::Serve::of::<Mirror>(),
    start: &StartFn::<Mirror>(start),
};
inventory::submit!(&SERVER);

static CLIENT: ClientKind = ClientKind {
    name: "looker",
    service: TypeId::of::<Mirror>,
    service_name: "Mirror",
    file: file!(),
    line: line!(),
    provides: &[],
    program: None,
    connect: &ConnectFn::<Mirror>(connect),
};
inventory::submit!(&CLIENT);

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

async fn mirror(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<()> {
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

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor> {
    let clients = WebPkiClientVerifier::builder_with_provider(roots(files)?.into(), provider()).build()?;
    let (certificates, key) = identity(files)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What the server at `address` says to who has these files and knows it as `name`.
async fn handshake(address: SocketAddr, name: &'static str, files: &TlsFiles) -> Result<Vec<u8>> {
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

fn holds(der: &[u8], name: &str) -> bool {
    der.windows(name.len()).any(|window| window == name.as_bytes())
}

async fn pair(fixture: &Fixture) -> (Server<Mirror>, Client<Mirror>) {
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

    for user in ["alice", "Zoë / ops"] {
        let files = link.tls_as(user).unwrap();
        assert!(holds(
            &handshake(address, "localhost", &files).await.unwrap(),
            user
        ));
        assert!(
            files
                .key
                .starts_with(fixture.case.folder().unwrap().join("publisher"))
        );
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

#[tokio::test]
async fn files_stay_over_restarts_until_they_are_renewed_or_lack_a_name() {
    let fixture = Fixture::new();
    let (server, client) = pair(&fixture).await;
    let text = |files: &TlsFiles| (files.certificate_pem().unwrap(), files.key_pem().unwrap());
    let (node, mine) = (server.tls().unwrap(), Client::link(&client).tls().unwrap());
    let (first, authority) = (text(&node), node.authority_pem().unwrap());
    assert_eq!(mine.authority_pem().unwrap(), authority);
    server.restart().await.unwrap();
    assert_eq!(text(&server.tls().unwrap()), first);

    node.renew().unwrap();
    let second = text(&server.tls().unwrap());
    assert!(second.0 != first.0 && second.1 != first.1);
    assert_eq!(node.authority_pem().unwrap(), authority);

    let run = fixture.case.run_folder();
    let node_folder = fixture.case.folder().unwrap().join("broker/tls");
    let ask = |names: &[&str]| {
        let subject = Subject::node("broker", names.iter().copied());
        TlsFiles::obtain(node_folder.clone(), run, subject).unwrap()
    };
    assert_eq!(text(&ask(&["db.example"])), second);
    let third = ask(&["new.example"]);
    assert_ne!(text(&third), second);
    server.restart().await.unwrap();
    assert_eq!(text(&server.tls().unwrap()), text(&third));
    for name in ["new.example", "db.example", "broker"] {
        handshake(server.endpoint("tls"), name, &mine).await.unwrap();
    }
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn a_case_has_its_own_files_and_only_their_owner_reads_keys() {
    let fixture = Fixture::new();
    let (server, client) = pair(&fixture).await;
    server.tls().unwrap().renew().unwrap();
    drop(client);
    let run = fixture.case.run_folder();
    let mut found = BTreeSet::new();
    list(run, run, &mut found);
    let of = |folder: &str, names: &[&str]| -> Vec<String> {
        names.iter().map(|name| format!("{folder}/{name}")).collect()
    };
    let own = ["authority.pem", "certificate.pem", "key.pem", "names.txt"];
    let expected = [
        of("authority", &["certificate.pem", "key.pem"]),
        of("case/broker/tls", &own),
        of("case/publisher/tls", &own),
        of("case", &["broker.log"]),
    ];
    assert_eq!(found, expected.concat().into_iter().collect());
    for file in found.iter().filter(|file| file.ends_with("key.pem")) {
        let mode = std::fs::metadata(run.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
        let text = std::fs::read_to_string(run.join(file)).unwrap();
        assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n"), "PKCS#8");
    }
    assert!(fixture.end().await.is_empty());
}

fn list(root: &Path, folder: &Path, files: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(root, &path, files);
        } else {
            files.insert(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
}

#[test]
fn tasks_that_renew_at_once_leave_a_key_and_its_certificate() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("1/broker/tls");
    let files = TlsFiles::obtain(folder, home.path(), Subject::node::<String>("broker", [])).unwrap();
    for _ in 0..20 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| files.renew().unwrap());
            }
        });
        // It refuses a key that is another certificate's.
        acceptor(&files).unwrap();
    }
}

#[test]
fn what_is_in_the_way_is_told_with_the_file() {
    let home = tempfile::tempdir().unwrap();
    let run = home.path();
    let obtain = |name: &str| TlsFiles::obtain(run.join("1").join(name), run, Subject::client("c"));
    std::fs::write(run.join("1"), "a file").unwrap();
    let error = obtain("a").unwrap_err();
    assert!(
        matches!(&error, TlsError::Read { path, .. } if path.starts_with(run)),
        "{error:?}"
    );
    std::fs::remove_file(run.join("1")).unwrap();

    let files = obtain("a").unwrap();
    std::fs::remove_dir_all(run.join("1")).unwrap();
    let error = files.renew().unwrap_err().to_string();
    assert_eq!(error, format!("cannot write {}", run.join("1/a").display()));

    std::fs::write(run.join("authority/key.pem"), "no key").unwrap();
    let error = obtain("b").unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot make the certificate of `authority of "),
        "{error}"
    );
    std::fs::remove_file(run.join("authority/key.pem")).unwrap();
    let error = obtain("b").unwrap_err().to_string();
    assert_eq!(
        error,
        format!("cannot read {}", run.join("authority/key.pem").display())
    );
    assert!(!run.join("1/b").exists(), "nothing half made is left");
}

const RUN: &str = "TLS_RUN_FOLDER";

#[test]
#[ignore = "one of the processes of `processes_of_a_run_have_one_authority`"]
fn a_process_of_a_run() {
    let Some(run) = std::env::var_os(RUN) else { return };
    let run = Path::new(&run);
    println!("\nready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let folder = run.join(std::process::id().to_string()).join("tls");
    let files = TlsFiles::obtain(folder, run, Subject::node("broker", ["db.example"])).unwrap();
    println!("\nmade {}", files.certificate.parent().unwrap().display());
}

#[tokio::test]
async fn processes_of_a_run_have_one_authority() {
    let home = tempfile::tempdir().unwrap();
    let run = home.path();
    let mut children: Vec<_> = (0..8)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "tests::tls::a_process_of_a_run",
                    "--ignored",
                    "--nocapture",
                ])
                .env(RUN, run)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut outputs: Vec<_> = children
        .iter_mut()
        .map(|child| {
            BufReader::new(child.stdout.take().unwrap())
                .lines()
                .map(Result::unwrap)
        })
        .collect();
    for output in &mut outputs {
        assert!(output.any(|line| line == "ready"));
    }
    for child in &mut children {
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
    }
    let folders: Vec<_> = outputs
        .iter_mut()
        .map(|output| output.find_map(|line| line.strip_prefix("made ").map(str::to_owned)))
        .map(|folder| folder.expect("it made its files"))
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let files = |folder: &String| {
        TlsFiles::obtain(folder.into(), run, Subject::node("broker", ["db.example"])).unwrap()
    };
    let all: Vec<TlsFiles> = folders.iter().map(files).collect();
    let authority = all[0].authority_pem().unwrap();
    let mut keys = BTreeSet::new();
    for one in &all {
        assert_eq!(one.authority_pem().unwrap(), authority);
        assert!(keys.insert(one.key_pem().unwrap()));
        // Each knows each: as the server and as the client.
        for other in &all {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let acceptor = acceptor(one).unwrap();
            let serve = async { mirror(acceptor, listener.accept().await.unwrap().0).await };
            let (served, seen) = tokio::join!(serve, handshake(address, "db.example", other));
            served.unwrap();
            assert!(holds(&seen.unwrap(), "broker"));
        }
    }
    let left: Vec<_> = std::fs::read_dir(run)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 1 + 8, "{left:?}");
}
