//! Certificates against programs as people install them: OpenSSL's own verdict, servers and clients in C and in Go.
//! What is not installed is skipped, and said so on stderr; with `ROBUST_REQUIRE=all` it fails.

use std::any::Any;
use std::process::Output;

use robust_test_harness::expansion::Site;
use robust_test_harness::param::Param;

use super::{Fixture, are_installed};
use crate::clock::within;
use crate::prelude::*;
use crate::service::{ConnectFuture, StartFuture};

struct Installed;

/// The program.
#[derive(Default)]
struct Program(&'static str);

impl Service for Installed {
    type Client = ClientLink;
    type Settings = Program;
}

server_kind!(Installed, "installed", None, start);

client_kind!(Installed, "by-hand", &[], connect);

fn connect(link: ClientLink) -> ConnectFuture<Installed> {
    Box::pin(async move { Ok(Box::new(link)) })
}

fn start(node: &mut Node<Installed>) -> StartFuture<'_> {
    Box::pin(async {
        let (tls, port, data) = (node.tls()?, node.port("tls"), node.data_dir()?);
        let program = node.settings().0;
        let command = match program {
            "redis-server" => node
                .command(program)
                .args(["--port", "0", "--bind", "127.0.0.1", "--save", "", "--dir"])
                .arg(data)
                .args(["--tls-port", &port.to_string(), "--tls-ca-cert-file"])
                .arg(&tls.authority)
                .arg("--tls-cert-file")
                .arg(&tls.certificate)
                .arg("--tls-key-file")
                .arg(&tls.key),
            "mosquitto" => {
                // As root, it otherwise becomes a user who may not read the files.
                let config = format!(
                    "user root\nlog_dest stderr\nlistener {port} 127.0.0.1\nrequire_certificate true\n\
                     use_identity_as_username true\ncafile {}\ncertfile {}\nkeyfile {}\n",
                    tls.authority.display(),
                    tls.certificate.display(),
                    tls.key.display()
                );
                let config = node.write_file("mosquitto.conf", config)?;
                node.command(program).arg("-c").arg(config)
            }
            "etcd" => {
                let (client, peer) = (node.address("tls"), node.address("peer"));
                node.command(program)
                    .args([
                        "--name",
                        node.name(),
                        "--client-cert-auth",
                        "--peer-client-cert-auth",
                    ])
                    .arg("--data-dir")
                    .arg(data)
                    .arg(format!("--listen-client-urls=https://{client}"))
                    .arg(format!("--advertise-client-urls=https://{client}"))
                    .arg(format!("--listen-peer-urls=https://{peer}"))
                    .arg(format!("--initial-advertise-peer-urls=https://{peer}"))
                    .arg(format!("--initial-cluster={}=https://{peer}", node.name()))
                    .arg("--trusted-ca-file")
                    .arg(&tls.authority)
                    .arg("--cert-file")
                    .arg(&tls.certificate)
                    .arg("--key-file")
                    .arg(&tls.key)
                    .arg("--peer-trusted-ca-file")
                    .arg(&tls.authority)
                    .arg("--peer-cert-file")
                    .arg(&tls.certificate)
                    .arg("--peer-key-file")
                    .arg(&tls.key)
            }
            other => return Err(error(format!("no such program: {other:?}"))),
        };
        Ok(command.ready_when(tcp("tls")).spawn().await?)
    })
}

async fn pair(
    fixture: &Fixture,
    program: fn(usize) -> Box<dyn Any + Send + Sync>,
) -> (Server<Installed>, TlsFiles) {
    let sites = vec![
        Site::new("broker", <Server<Installed> as Param>::shape).settings(program),
        Site::new("publisher", <Client<Installed> as Param>::shape),
    ];
    type Both = (Server<Installed>, Client<Installed>);
    let (server, client): Both = fixture.build(sites).await.unwrap();
    let files = client.tls().unwrap();
    (server, files)
}

macro_rules! program {
    ($program:literal) => {
        |_| Box::new(Program($program))
    };
}

/// A command line, in which a word of the form `@file` is that file of the client.
async fn run(words: &[&str], files: &TlsFiles) -> Output {
    let mut command = tokio::process::Command::new(words[0]);
    for word in &words[1..] {
        match *word {
            "@authority" => command.arg(&files.authority),
            "@certificate" => command.arg(&files.certificate),
            "@key" => command.arg(&files.key),
            word => command.arg(word),
        };
    }
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    within(secs(20), command.output())
        .await
        .expect("it ends")
        .unwrap()
}

/// All that it printed.
fn text(output: &Output) -> String {
    let bytes = [&*output.stdout, &*output.stderr].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn openssl_finds_what_is_good_and_what_is_bad() {
    if !are_installed(&["openssl"]) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let obtain = |name: &str, subject| {
        let folder = home.path().join("1").join(name).join("tls");
        TlsFiles::obtain(folder, home.path(), subject).unwrap()
    };
    let node = obtain(
        "broker",
        crate::tls::Subject::node("broker", ["*.db.example", "10.0.0.1"]),
    );
    let client = obtain("publisher", crate::tls::Subject::client("publisher"));
    let verify = async |files: &TlsFiles, options: &[&str]| {
        let mut words = vec!["openssl", "verify", "-x509_strict", "-CAfile", "@authority"];
        words.extend(options);
        words.push("@certificate");
        let output = run(&words, files).await;
        assert_eq!(
            output.status.success(),
            text(&output).ends_with(": OK\n"),
            "{output:?}"
        );
        text(&output)
    };
    for options in [
        ["-purpose", "sslserver", "-verify_hostname", "localhost"],
        ["-purpose", "sslclient", "-verify_hostname", "a.db.example"],
        ["-purpose", "sslserver", "-verify_hostname", "broker"],
        ["-purpose", "sslserver", "-verify_ip", "::1"],
        ["-purpose", "sslserver", "-verify_ip", "10.0.0.1"],
    ] {
        let said = verify(&node, &options).await;
        assert!(said.ends_with(": OK\n"), "{options:?}: {said}");
    }
    let said = verify(&client, &["-purpose", "sslclient"]).await;
    assert!(said.ends_with(": OK\n"), "{said}");
    let said = verify(&client, &["-purpose", "sslserver"]).await;
    assert!(said.contains("purpose"), "{said}");
    for (flaw, told) in [
        (Flaw::Expired, "certificate has expired"),
        (Flaw::NotYetValid, "certificate is not yet valid"),
        (Flaw::WrongName, "hostname mismatch"),
        (Flaw::OtherAuthority, "unable to get local issuer certificate"),
        (Flaw::SelfSigned, "self-signed certificate"),
    ] {
        node.spoil(flaw).unwrap();
        let said = verify(&node, &["-purpose", "sslserver", "-verify_hostname", "localhost"]).await;
        // OpenSSL 1.1 writes it in two words.
        assert!(
            said.replace("self signed", "self-signed").contains(told),
            "{flaw}: {said}"
        );
    }
    node.renew().unwrap();
    let said = verify(&node, &["-verify_hostname", "x.db.example"]).await;
    assert!(said.ends_with(": OK\n"), "{said}");
    let key = run(&["openssl", "pkey", "-check", "-noout", "-in", "@key"], &node).await;
    assert!(key.status.success(), "{}", text(&key));
}

#[tokio::test]
async fn redis_serves_who_has_a_certificate_of_the_run() {
    if !are_installed(&["redis-server", "redis-cli"]) {
        return;
    }
    let fixture = Fixture::new();
    let (server, files) = pair(&fixture, program!("redis-server")).await;
    let port = server.endpoint("tls").port().to_string();
    let anonymous = [
        "redis-cli",
        "-h",
        "localhost",
        "-p",
        &*port,
        "--tls",
        "--cacert",
        "@authority",
    ];
    let known = [&anonymous[..], &["--cert", "@certificate", "--key", "@key"]].concat();
    let ping = async |words: &[&str]| text(&run(&[words, &["ping"]].concat(), &files).await);
    assert_eq!(ping(&known).await, "PONG\n");
    assert_ne!(ping(&anonymous).await, "PONG\n");
    // Its client compares no names.
    for flaw in [
        Flaw::Expired,
        Flaw::NotYetValid,
        Flaw::OtherAuthority,
        Flaw::SelfSigned,
    ] {
        server.tls().unwrap().spoil(flaw).unwrap();
        server.restart().await.unwrap();
        let said = ping(&known).await;
        assert!(said.contains("certificate verify failed"), "{flaw}: {said}");
    }
    server.tls().unwrap().renew().unwrap();
    server.restart().await.unwrap();
    assert_eq!(ping(&known).await, "PONG\n");
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn mosquitto_knows_a_client_by_its_common_name() {
    if !are_installed(&["mosquitto", "mosquitto_pub"]) {
        return;
    }
    let fixture = Fixture::new();
    let (server, files) = pair(&fixture, program!("mosquitto")).await;
    let port = server.endpoint("tls").port().to_string();
    let words = [
        "mosquitto_pub",
        "-h",
        "localhost",
        "-p",
        &*port,
        "-q",
        "1",
        "-t",
        "t",
        "-m",
        "x",
        "--cafile",
        "@authority",
    ];
    let known = [&words[..], &["--cert", "@certificate", "--key", "@key"]].concat();
    let sent = run(&known, &files).await;
    assert!(sent.status.success(), "{}", text(&sent));
    let said = || async { server.log().unwrap().contains("u'publisher'").then_some(()) };
    eventually("the broker names its user", secs(5), said)
        .await
        .unwrap();
    assert!(
        !run(&words, &files).await.status.success(),
        "without a certificate"
    );
    for flaw in [Flaw::Expired, Flaw::WrongName, Flaw::SelfSigned] {
        server.tls().unwrap().spoil(flaw).unwrap();
        server.restart().await.unwrap();
        let refused = run(&known, &files).await;
        let said = text(&refused).to_lowercase();
        assert!(
            !refused.status.success() && said.contains("tls error"),
            "{flaw}: {said}"
        );
    }
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn etcd_reads_the_files_and_curl_trusts_them() {
    if !are_installed(&["etcd", "curl"]) {
        return;
    }
    let fixture = Fixture::new();
    let (server, files) = pair(&fixture, program!("etcd")).await;
    let url = format!("https://localhost:{}/health", server.endpoint("tls").port());
    let anonymous = [
        "curl",
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        &*url,
        "--cacert",
        "@authority",
    ];
    let known = [&anonymous[..], &["--cert", "@certificate", "--key", "@key"]].concat();
    let healthy = || async {
        let said = text(&run(&known, &files).await);
        said.contains("\"health\":\"true\"").then_some(()).ok_or(said)
    };
    eventually("etcd is healthy", secs(20), healthy).await.unwrap();
    assert!(
        !run(&anonymous, &files).await.status.success(),
        "without a certificate"
    );
    files.spoil(Flaw::OtherAuthority).unwrap();
    assert!(
        !run(&known, &files).await.status.success(),
        "of another authority"
    );
    assert!(fixture.end().await.is_empty());
}
