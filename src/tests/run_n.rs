//! Many clients at once: none of them ends or holds up another, and none is left.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::RngExt as _;
use robust_test_harness::expansion::Site;
use robust_test_harness::outcome::{Class, Outcome};
use robust_test_harness::param::Param;

use super::Fixture;
use crate::prelude::*;
use crate::run_n::RunNError;
use crate::service::{ConnectFuture, StartFuture};

struct Counting;

impl Service for Counting {
    type Client = Counter;
    type Settings = ();
}

server_kind!(Counting, "idle", None, start);

client_kind!(Counting, "counter", &[], connect);

fn start(node: &mut Node<Counting>) -> StartFuture<'_> {
    Box::pin(async {
        let server = node.task(|stopping| async move { stopping.requested().await });
        Ok(server.spawn().await?)
    })
}

/// How many are connected, for each of the clients of one test.
static CONNECTED: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

/// A client that can count.
struct Counter {
    id: String,
    count: u32,
    connected: &'static AtomicUsize,
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.connected.fetch_sub(1, Ordering::SeqCst);
        assert!(!self.id.starts_with("dropped-client-2"), "in drop");
    }
}

fn connect(link: ClientLink) -> ConnectFuture<Counting> {
    Box::pin(async move {
        let id = link.client_id().to_owned();
        match &*id {
            "moody-client-2" => return Err(error("the server said no")),
            "moody-client-3" => pending::<()>().await,
            "moody-client-4" => panic!("in connect"),
            "moody-client-5" => return Err(skip("no IPv6")),
            _ => {}
        }
        let names = ["fine", "moody", "dropped", "reused"];
        let test = names.iter().position(|name| id.starts_with(name)).unwrap();
        let connected = &CONNECTED[test];
        connected.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Counter {
            id,
            count: 0,
            connected,
        }))
    })
}

fn sites(client: &'static str, count: usize) -> Vec<Site> {
    vec![
        Site::new("server", <Server<Counting> as Param>::shape),
        Site::new(client, <Client<Counting> as Param>::shape).count(count),
    ]
}

type Both = (Server<Counting>, Vec<Client<Counting>>);

#[tokio::test]
async fn many_run_at_once_each_with_its_own_draws_and_are_gone_afterwards() {
    let fixture = Fixture::new();
    let (_server, clients): Both = fixture.build(sites("fine", 1)).await.unwrap();
    let all = Arc::new(tokio::sync::Barrier::new(64));
    // Borrowed by all of them.
    let sum = AtomicUsize::new(0);
    let report = Client::run_n(&clients[0], 64, async |client, part| {
        all.wait().await;
        client.count += 1;
        sum.fetch_add(part.number(), Ordering::SeqCst);
        let draws = [part.rng("a").random::<u64>(), part.rng("b").random()];
        Ok((client.id.clone(), draws))
    })
    .await
    .unwrap();
    assert_eq!(sum.load(Ordering::SeqCst), 64 * 65 / 2);
    assert_eq!(CONNECTED[0].load(Ordering::SeqCst), 1);
    let mut draws: Vec<u64> = Vec::new();
    for (number, ran) in (1..).zip(&report.clients) {
        assert_eq!(ran.name, format!("client-{number}"));
        let (id, drawn) = ran.value.as_ref().unwrap();
        assert_eq!(*id, format!("fine-client-{number}"));
        draws.extend(drawn);
    }
    let first = fixture.case.seed().derive("client-1").stream("a").random::<u64>();
    assert_eq!(draws[0], first);
    draws.sort_unstable();
    draws.dedup();
    assert_eq!(draws.len(), 128);
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn one_that_fails_panics_or_hangs_costs_no_other_its_result() {
    let fixture = Fixture::new();
    let (_server, clients): Both = fixture.build(sites("moody", 1)).await.unwrap();
    let over = AtomicUsize::new(0);
    let how = RunN::new(10).within(millis(300));
    let failed = Client::run_n(&clients[0], how, async |_, part| {
        match part.number() {
            6 => return Err(error("lost")),
            7 => panic!("in the run"),
            8 => pending().await,
            9 => return Err(skip("too old")),
            _ => {}
        }
        over.fetch_add(1, Ordering::SeqCst);
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(over.load(Ordering::SeqCst), 2);
    assert_eq!(CONNECTED[1].load(Ordering::SeqCst), 1, "all fresh ones are gone");
    let text = failed.to_string();
    assert!(
        text.starts_with(
            "6 of 10 clients failed: client-2, client-3, client-4, client-6, client-7, client-8\n"
        ),
        "{text}"
    );
    let RunNError::Failed { clients } = failed else {
        panic!()
    };
    let told = |outcome: &Outcome| match outcome {
        Outcome::Failed(problem) | Outcome::Errored(problem) => {
            (outcome.name(), Some(problem.class), problem.message.clone())
        }
        Outcome::Skipped { reason } => (outcome.name(), None, reason.clone()),
        outcome => (outcome.name(), None, String::new()),
    };
    let told: Vec<_> = clients.iter().map(|one| told(&one.outcome)).collect();
    let unconnected = "client `moody-client-2` (counter) cannot connect to server `server` (idle)";
    let late = "it did not end within 300 ms";
    let expected = [
        ("passed", None, ""),
        ("errored", Some(Class::Setup), unconnected),
        ("errored", Some(Class::Deadline), late),
        ("failed", Some(Class::Panic), "in connect"),
        ("skipped", None, "no IPv6"),
        ("failed", Some(Class::Error), "lost"),
        ("failed", Some(Class::Panic), "in the run"),
        ("errored", Some(Class::Deadline), late),
        ("skipped", None, "too old"),
        ("passed", None, ""),
    ];
    let expected = expected.map(|(name, class, text)| (name, class, text.to_owned()));
    assert_eq!(told, expected);
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn a_client_that_panics_when_it_is_dropped_fails_and_the_others_are_dropped_too() {
    let fixture = Fixture::new();
    let (_server, clients): Both = fixture.build(sites("dropped", 1)).await.unwrap();
    let failed = Client::run_n(&clients[0], 3, async |_, _| Ok(()))
        .await
        .unwrap_err();
    let text = failed.to_string();
    assert!(
        text.starts_with(
            "1 of 3 clients failed: client-2\nclient-2: panic: it panicked when it was dropped: in drop"
        ),
        "{text}"
    );
    assert_eq!(CONNECTED[2].load(Ordering::SeqCst), 1);
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn clients_that_are_there_run_again_and_again_under_names_of_their_own() {
    let fixture = Fixture::new();
    let (_server, mut clients): Both = fixture.build(sites("reused", 3)).await.unwrap();
    for round in 1..=2 {
        let report = Client::run(&mut clients, async |client, part| {
            client.count += 1;
            Ok((part.name().to_owned(), client.count))
        });
        let values = report.await.unwrap().into_values();
        let expected = (0..3).map(|at| (format!("client-{}", round * 3 - 2 + at), round));
        let expected: Vec<_> = expected.map(|(name, count)| (name, count as u32)).collect();
        assert_eq!(values, expected);
    }
    let report = Client::run_n(&clients[1], 2, async |client, _| Ok(client.id.clone())).await;
    assert_eq!(
        report.unwrap().into_values(),
        ["reused-client-7", "reused-client-8"]
    );
    assert_eq!(CONNECTED[3].load(Ordering::SeqCst), 3);

    let none = Client::run_n(&clients[0], 0, async |_, _| Ok(()))
        .await
        .unwrap_err();
    assert!(matches!(none, RunNError::NoClients), "{none}");
    let none = Client::<Counting>::run(&mut [], async |_, _| Ok(()))
        .await
        .unwrap_err();
    assert_eq!(
        none.to_string(),
        "there is no client to run: a run takes 1 or more"
    );
    let many = Client::run_n(&clients[0], 100_000, async |_, _| Ok(()))
        .await
        .unwrap_err();
    assert_eq!(many.to_string(), "cannot run 100000 clients");
    drop(clients);
    assert!(fixture.end().await.is_empty());
}
