//! Clients of a server inside the case's process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use robust_test_harness::expansion::Site;
use robust_test_harness::param::Param;

use super::Fixture;
use crate::prelude::*;
use crate::service::{ConnectFuture, StartFuture};

/// The author's own trait.
trait Greets: Send {
    fn greeting(&self) -> String;
    /// A name that `Client` has too.
    fn kind(&self) -> &'static str;
    fn counter(&mut self) -> Arc<AtomicUsize>;
}

struct Greeting;

impl Service for Greeting {
    type Client = dyn Greets;
    type Settings = ();
}

server_kind!(Greeting, "sleeper", None, start);

client_kind!(Greeting, "polite", &["greeting"], connect);

fn start(node: &mut Node<Greeting>) -> StartFuture<'_> {
    Box::pin(async {
        node.port("hello");
        let server = node.task(|stopping| async move { stopping.requested().await });
        Ok(server.spawn().await?)
    })
}

struct Polite {
    text: String,
    drops: Arc<AtomicUsize>,
}

impl Greets for Polite {
    fn greeting(&self) -> String {
        self.text.clone()
    }

    fn kind(&self) -> &'static str {
        "the author's"
    }

    fn counter(&mut self) -> Arc<AtomicUsize> {
        self.drops.clone()
    }
}

impl Drop for Polite {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

fn connect(link: ClientLink) -> ConnectFuture<Greeting> {
    Box::pin(async move {
        if link.client_id().starts_with("refused") {
            return Err(error("the server said no"));
        }
        if link.client_id().starts_with("skipped") {
            return Err(skip("no IPv6"));
        }
        assert!(link.endpoint("hello").ip().is_loopback());
        let text = format!(
            "{} to {} of {}",
            link.client_id(),
            link.server_name(),
            link.server_kind()
        );
        let client: Box<dyn Greets> = Box::new(Polite {
            text,
            drops: Arc::default(),
        });
        Ok(client)
    })
}

fn sites(client: &'static str) -> Vec<Site> {
    vec![
        Site::new("broker", <Server<Greeting> as Param>::shape),
        Site::new(client, <Client<Greeting> as Param>::shape).count(2),
    ]
}

#[tokio::test]
async fn clients_have_ids_of_their_own_and_the_authors_methods() {
    let fixture = Fixture::new();
    type Both = (Server<Greeting>, Vec<Client<Greeting>>);
    let (_server, clients): Both = fixture.build(sites("publisher")).await.unwrap();
    let third = Client::connect_another(&clients[1]).await.unwrap();
    let greetings: Vec<String> = clients
        .iter()
        .chain([&third])
        .map(|client| client.greeting())
        .collect();
    assert_eq!(
        greetings,
        [
            "publisher to broker of sleeper",
            "publisher-2 to broker of sleeper",
            "publisher-3 to broker of sleeper"
        ]
    );
    assert_eq!(Client::kind(&third), "polite");
    assert_eq!(third.kind(), "the author's");
    assert_eq!(Client::link(&third).client_id(), "publisher-3");
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn a_client_lives_until_the_case_ends_wherever_it_was_dropped() {
    let fixture = Fixture::new();
    type Both = (Server<Greeting>, [Client<Greeting>; 3]);
    let (_server, [mut moved, mut kept, mut closed]): Both = fixture.build(sites("publisher")).await.unwrap();
    let (in_task, outlives, gone) = (moved.counter(), kept.counter(), closed.counter());
    let panicked = tokio::spawn(async move {
        assert_eq!(moved.greeting(), "never");
    });
    assert!(panicked.await.unwrap_err().is_panic());
    assert_eq!(in_task.load(Ordering::SeqCst), 0, "dropped before the case ended");
    Client::close(closed);
    assert_eq!(gone.load(Ordering::SeqCst), 1);

    assert!(fixture.end().await.is_empty());
    assert_eq!(in_task.load(Ordering::SeqCst), 1);
    assert_eq!(outlives.load(Ordering::SeqCst), 0);
    drop(kept);
    assert_eq!(outlives.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_client_that_cannot_connect_is_told_with_its_server() {
    let fixture = Fixture::new();
    type Both = (Server<Greeting>, Client<Greeting>);
    let error = fixture.build::<Both>(sites("refused")).await.unwrap_err();
    assert_eq!(
        error.chain(),
        [
            "client `refused` (polite) cannot connect to server `broker` (sleeper)",
            "the server said no"
        ]
    );
    let error = fixture.build::<Both>(sites("skipped")).await.unwrap_err();
    assert_eq!(error.skip_reason().as_deref(), Some("no IPv6"));
    assert!(fixture.end().await.is_empty());
}

#[test]
fn shapes_tell_what_connects_to_what() {
    let environment = Default::default();
    let [server, client] = sites("publisher").try_into().ok().unwrap();
    let (server, client) = (
        (server.shape)(&server, &environment),
        (client.shape)(&client, &environment),
    );
    assert_eq!(server.gives, client.needs);
    assert!(server.gives.is_some() && server.needs.is_none() && client.gives.is_none());
    assert_eq!(client.axis.unwrap().values[0].provides, ["greeting"]);

    struct Nothing;
    impl Service for Nothing {
        type Client = ();
        type Settings = ();
    }
    let axis =
        <Server<Nothing> as Param>::shape(&Site::new("x", <Server<Nothing> as Param>::shape), &environment)
            .axis
            .unwrap();
    let because = axis.empty_because.unwrap();
    assert!(
        because.starts_with("no #[robust_server(Nothing)] is registered"),
        "{because}"
    );
}
