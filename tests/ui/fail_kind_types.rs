//! Functions of other types than their service wants, as the compiler tells.
use robust_test::client::ClientLink;
use robust_test::node::{Instance, Node};
use robust_test::prelude::*;

struct Echo;
struct Other;
struct NoService;

impl Service for Echo {
    type Client = str;
    type Settings = ();
}

impl Service for Other {
    type Client = String;
    type Settings = ();
}

#[robust_server(NoService)]
async fn of_no_service(_: &mut Node<NoService>) -> Result<Instance> {
    todo!()
}

#[robust_server(Echo)]
async fn of_another_service(_: &mut Node<Other>) -> Result<Instance> {
    todo!()
}

#[robust_server(Echo)]
async fn returns_nothing(_: &mut Node<Echo>) -> Result {
    todo!()
}

#[robust_client(Echo)]
async fn another_client(_: ClientLink) -> Result<Box<String>> {
    todo!()
}

#[robust_client(Echo)]
async fn cannot_be_sent(_: ClientLink) -> Result<Box<str>> {
    let held = std::rc::Rc::new(());
    std::future::ready(()).await;
    drop(held);
    todo!()
}

fn main() {}
