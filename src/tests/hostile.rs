//! Hostile peers of real processes, each with a defect or none.

use std::net::SocketAddr;
use std::time::Duration;

use robust_test_harness::seed::Seed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Fixture;
use super::victim::{Victim, message, ping};
use crate::hostile::{
    Attack, Corpus, HealthError, Hostile, HostileError, HostileServer, Reaction, Report, Watch,
};
use crate::network::Stream;
use crate::prelude::*;

fn corpus() -> Corpus {
    Corpus::default()
        .conversation([
            message("hello"),
            message("a longer message than that"),
            message("bye"),
        ])
        .conversation([message("x")])
}

fn watch(victim: &Victim) -> Watch {
    let address = victim.address;
    Watch::process("victim", victim.pid())
        .answers(move || ping(address))
        .answers_within(secs(5))
        .settles_within(secs(10))
        .memory_growth_max(32 << 20)
        .descriptor_growth_max(8)
}

fn against(fixture: &Fixture, victim: &Victim) -> Hostile {
    Hostile::against(&fixture.case, "victim", victim.address)
        .with(corpus())
        .watching(watch(victim))
        .deadline(millis(50))
        .connections(32)
}

/// What hostile peers find in a server with this defect.
async fn find(
    defect: &str,
    attacks: u64,
    change: impl Fn(Hostile) -> Hostile,
) -> (Fixture, Result<Report, HostileError>) {
    let fixture = Fixture::new();
    let victim = Victim::with(defect);
    let brief = watch(&victim).settles_within(secs(2));
    let found = change(against(&fixture, &victim).watching(brief))
        .attacks(attacks)
        .run()
        .await;
    (fixture, found)
}

#[track_caller]
fn harm(found: Result<Report, HostileError>) -> (HealthError, String) {
    match found {
        Err(HostileError::Harmed { source, attacks, .. }) => (source, attacks),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_without_a_defect_bears_fifty_seeds() {
    let fixture = Fixture::new();
    let victim = Victim::with("none");
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let peers = against(&fixture, &victim).seed(Seed(seed)).attacks(12);
        let report = peers
            .run()
            .await
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(report.attacks(), 12);
        assert_eq!(report.count(Reaction::Refused), 0, "{report}");
        kinds.extend(report.by_kind().keys().copied());
    }
    assert_eq!(kinds.len(), Attack::DRAWN.len(), "every kind was made: {kinds:?}");
    assert_eq!(fixture.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_crash_is_found_and_its_bytes_alone_make_it_again() {
    let fixture = Fixture::new();
    let victim = Victim::with("believes every length");
    let peers = against(&fixture, &victim).only([Attack::Oversized, Attack::Truncated]);
    let found = peers.clone().run().await.unwrap_err();
    let text = found.to_string();
    let (source, attacks) = harm(Err(found));
    assert!(matches!(source, HealthError::Ended { .. }), "{source}");
    assert!(
        text.starts_with("hostile peers harmed `victim`: node `victim` has ended"),
        "{text}"
    );
    assert!(attacks.contains("(oversized: message"), "{attacks}");
    assert!(attacks.contains(".replay(Attack::"), "{attacks}");

    // One of the files is the culprit, and does it again.
    let folder = fixture.case.folder().unwrap().join("hostile/victim");
    let list = std::fs::read_to_string(folder.join("attacks.txt")).unwrap();
    let mut culprits = Vec::new();
    for file in std::fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path())
    {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let Some((number, _)) = name.split_once("-oversized.bin") else {
            continue;
        };
        assert!(list.contains(&format!("attack {number} (oversized")), "{list}");
        let bytes = std::fs::read(&file).unwrap();
        let number = number.parse().unwrap();
        assert_eq!(
            bytes,
            peers.script(number).unwrap().bytes(),
            "as it is drawn again"
        );
        let fresh = Victim::with("believes every length");
        let again = Hostile::against(&fixture.case, "again", fresh.address)
            .with(Corpus::default().conversation([bytes]))
            .watching(watch(&fresh))
            .replay(Attack::Verbatim, 0);
        let drawn = against(&fixture, &fresh).replay(Attack::Oversized, number);
        if again.run().await.is_err() {
            assert!(
                matches!(drawn.run().await, Err(HostileError::Unwell { .. })),
                "it has ended already"
            );
            culprits.push(number);
        }
    }
    let culprit = *culprits.first().expect("an oversized attack ended it");
    let fresh = Victim::with("believes every length");
    let drawn = against(&fixture, &fresh)
        .replay(Attack::Oversized, culprit)
        .run()
        .await;
    assert!(matches!(harm(drawn).0, HealthError::Ended { .. }));
}

#[tokio::test]
async fn memory_that_is_kept_is_found() {
    let hasty = |peers: Hostile| peers.only([Attack::Flipped, Attack::ResetFlood]);
    let (_fixture, found) = find("keeps memory", 60, hasty).await;
    let (source, attacks) = harm(found);
    let HealthError::Grew { growth, .. } = source else {
        panic!("{source}")
    };
    assert!(
        growth.now.memory_bytes > growth.before.memory_bytes + (32 << 20),
        "{growth}"
    );
    assert!(attacks.contains("flipped"), "{attacks}");
}

#[tokio::test]
async fn descriptors_that_are_kept_are_found() {
    let (_fixture, found) = find("keeps descriptors", 40, |peers| peers).await;
    let (source, _) = harm(found);
    let HealthError::Grew { growth, .. } = source else {
        panic!("{source}")
    };
    assert!(growth.now.descriptors > growth.before.descriptors + 8, "{growth}");
}

#[tokio::test]
async fn a_server_that_waits_for_a_slow_peer_is_found() {
    let slow = |peers: Hostile| peers.only([Attack::HalfOpen]).deadline(secs(20));
    let fixture = Fixture::new();
    let victim = Victim::with("serves one after another");
    let watch = watch(&victim).answers_within(secs(1));
    let found = slow(against(&fixture, &victim)).watching(watch).run().await;
    let (source, attacks) = harm(found);
    assert!(matches!(source, HealthError::Silent { .. }), "{source}");
    assert!(attacks.contains("then silence: in flight"), "{attacks}");
}

#[tokio::test]
async fn attacks_that_reach_nobody_are_an_error() {
    let fixture = Fixture::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let found = Hostile::against(&fixture.case, "nobody", nobody)
        .attacks(3)
        .run()
        .await
        .unwrap_err();
    assert!(matches!(found, HostileError::Inert { .. }), "{found}");
    assert!(found.to_string().contains("refused"), "{found}");

    let server = HostileServer::new(&fixture.case, "lonely").listen().unwrap();
    let found = server.finish().unwrap_err();
    assert!(matches!(found, HostileError::NobodyCame { .. }), "{found}");
}

#[tokio::test]
async fn what_cannot_be_done_is_told_before_anything_is_sent() {
    let fixture = Fixture::new();
    let victim = Victim::with("none");
    let peers = Hostile::against(&fixture.case, "victim", victim.address);
    let error = peers
        .clone()
        .only([Attack::Garbage, Attack::Spliced])
        .run()
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("attack `spliced` on `victim` needs traffic"),
        "{error}"
    );
    let server = HostileServer::new(&fixture.case, "victim")
        .only([Attack::Edited])
        .listen();
    assert!(
        matches!(server, Err(HostileError::NoTraffic { .. })),
        "{server:?}"
    );
    let unwell = Watch::remote("victim").answers(|| async { Err(error_of("it is ill")) });
    let error = peers.watching(unwell).run().await.unwrap_err();
    assert!(matches!(error, HostileError::Unwell { .. }), "{error}");
}

fn error_of(text: &str) -> Error {
    crate::error(text)
}

#[tokio::test]
async fn a_target_gets_the_bytes_of_the_script() {
    let fixture = Fixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peers = Hostile::against(&fixture.case, "listener", listener.local_addr().unwrap())
        .with(corpus())
        .only([Attack::Duplicated, Attack::Edited])
        .connections(1)
        .deadline(secs(5))
        .attacks(5);
    let expected: Vec<Vec<u8>> = (0..5)
        .map(|number| peers.script(number).unwrap().bytes())
        .collect();
    let listening = async {
        let mut got = Vec::new();
        for expected in &expected {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; expected.len()];
            stream.read_exact(&mut bytes).await.unwrap();
            stream.write_all(b"no").await.unwrap();
            got.push(bytes);
        }
        got
    };
    let (report, got) = tokio::join!(peers.clone().run(), listening);
    assert_eq!(got, expected);
    let report = report.unwrap();
    let sent: usize = expected.iter().map(Vec::len).sum();
    let sent_bytes: u64 = report.by_kind().values().map(|tally| tally.sent_bytes).sum();
    assert_eq!((report.attacks(), sent_bytes), (5, sent as u64));
    assert_eq!(report.count(Reaction::Closed), 5, "{report}");
}

#[tokio::test]
async fn a_recorded_conversation_waits_for_its_answers() {
    let fixture = Fixture::new();
    let victim = Victim::with("none");
    let proxy = Proxy::start(&fixture.case, "victim", victim.address).unwrap();
    proxy.record(1 << 20);
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    for text in ["one", "two"] {
        stream.write_all(&message(text)).await.unwrap();
        stream
            .read_exact(&mut vec![0; message(text).len()])
            .await
            .unwrap();
    }
    let corpus = Corpus::recorded(&proxy.recordings(), Stream::Upstream);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peers = Hostile::against(&fixture.case, "listener", listener.local_addr().unwrap())
        .with(corpus)
        .replay(Attack::Verbatim, 0);
    let listening = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut got = vec![0; message("one").len()];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(got, message("one"));
        let early = tokio::time::timeout(millis(50), stream.peek(&mut [0])).await;
        assert!(early.is_err(), "the second came before the first was answered");
        stream.write_all(b"answer").await.unwrap();
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(got, message("two"));
    };
    let (report, ()) = tokio::join!(peers.run(), listening);
    let tally = report.unwrap().of(Attack::Verbatim);
    assert_eq!((tally.sent_bytes, tally.back_bytes), (14, 6));
    assert_eq!(fixture.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn no_more_connections_are_open_than_said() {
    let fixture = Fixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peers = Hostile::against(&fixture.case, "listener", listener.local_addr().unwrap())
        .only([Attack::HalfOpen, Attack::Slowloris])
        .connections(3)
        .deadline(millis(60))
        .attacks(12);
    let mut open = tokio::task::JoinSet::new();
    let mut most = 0;
    let listening = async {
        loop {
            tokio::select! {
                biased;
                Some(_) = open.join_next() => {}
                accepted = listener.accept() => {
                    let (mut stream, _) = accepted.unwrap();
                    open.spawn(async move { stream.read_to_end(&mut Vec::new()).await });
                    most = most.max(open.len());
                }
            }
        }
    };
    let report = tokio::select! {
        report = peers.run() => report.unwrap(),
        never = listening => never,
    };
    assert_eq!(report.attacks(), 12);
    // One that is over may be noticed a moment after the next one came.
    assert!((3..=6).contains(&most), "{most} were open");
}

/// A client that asks once; how it ends is told by `patience`: `None` has none.
async fn ask(address: SocketAddr, patience: Option<Duration>) -> Result {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        let ping = message("ping");
        stream.write_all(&ping).await?;
        let mut echo = vec![0; ping.len()];
        stream.read_exact(&mut echo).await?;
        match echo == ping {
            true => Ok(()),
            false => Err(error_of("it is no echo")),
        }
    };
    match patience {
        Some(patience) => tokio::time::timeout(patience, asking).await?,
        None => asking.await,
    }
}

#[tokio::test]
async fn a_client_without_a_deadline_is_found_and_one_with_it_ends() {
    let fixture = Fixture::new();
    let answers = Corpus::default().conversation([message("ping")]);
    let peers = HostileServer::new(&fixture.case, "server")
        .with(answers)
        .deadline(secs(20));
    let server = peers.clone().listen().unwrap();
    let mut failed = 0;
    for _ in 0..60 {
        let asked = ask(server.address(), Some(millis(300)));
        let ended = server.until_ended("ask", secs(5), asked).await.unwrap();
        failed += u32::from(ended.is_err());
    }
    assert!(failed > 30, "{failed} of 60 were disturbed");

    let silent = peers.only([Attack::HalfOpen]).deadline(secs(5)).listen().unwrap();
    let asked = ask(silent.address(), None);
    let found = silent.until_ended("ask", millis(500), asked).await;
    let text = found.expect_err("it waits for ever").to_string();
    assert!(
        text.starts_with("the client of `server` had not ended after 500 ms of hostile answers: ask"),
        "{text}"
    );
    assert!(text.contains("(half-open: "), "{text}");
}

#[tokio::test]
async fn a_peer_in_between_spoils_what_a_real_server_says() {
    let fixture = Fixture::new();
    let victim = Victim::with("none");
    let server = HostileServer::new(&fixture.case, "server")
        .in_front_of(victim.address)
        .deadline(millis(200))
        .listen()
        .unwrap();
    let mut spoiled = 0;
    for _ in 0..40 {
        let asking = async {
            for _ in 0..4 {
                // Each on a connection of its own.
                ask(server.address(), Some(millis(200))).await?;
            }
            Ok::<_, Error>(())
        };
        let ended = server.until_ended("ask", secs(5), asking).await.unwrap();
        spoiled += u32::from(ended.is_err());
    }
    // A quarter of all connections are attacked at the first message, and there is only one.
    assert!((5..40).contains(&spoiled), "{spoiled} of 40");
    let report = server.finish().unwrap();
    assert!(report.attacks() >= 5, "{report}");
    ping(victim.address).await.unwrap();
    assert_eq!(fixture.end().await, Vec::<String>::new());
}
