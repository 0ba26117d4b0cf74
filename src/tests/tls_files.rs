//! The files of certificates: how long they stay, what they hold, and processes of one run that need them at once.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::net::TcpListener;

use super::Fixture;
use super::tls::{acceptor, handshake, holds, mirror, pair};
use crate::prelude::*;
use crate::tls::{Subject, TlsError};

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
    let third = text(&ask(&["new.example"]));
    assert_ne!(third, second);
    assert_eq!(text(&ask(&["new.example", "db.example"])), third);
    server.restart().await.unwrap();
    assert_eq!(text(&server.tls().unwrap()), third);
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
                    "tests::tls_files::a_process_of_a_run",
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
