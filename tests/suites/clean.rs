//! Scenarios of every sort that leave nothing behind: the leak check must find nothing, however often they run. Run by
//! `tests/leaks.rs`, which gives the program by `--bin`.
#![allow(missing_docs)]

use std::time::Duration;

use robust_test::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

struct Echo;

impl Service for Echo {
    type Client = TcpStream;
    type Settings = ();
}

#[robust_server(Echo, program = "planted-echo-server")]
async fn process(node: &mut Node<Echo>) -> Result<Instance> {
    let command = node
        .command("planted-echo-server")
        .arg(node.port("echo").to_string());
    Ok(command.ready_when(tcp("echo")).spawn().await?)
}

#[robust_server(Echo)]
async fn embedded(node: &mut Node<Echo>) -> Result<Instance> {
    let address = node.address("echo");
    let serve = move |stopping: Stopping| async move {
        let listener = TcpListener::bind(address).await?;
        loop {
            let mut stream = tokio::select! {
                () = stopping.requested() => return Ok::<(), std::io::Error>(()),
                accepted = listener.accept() => accepted?.0,
            };
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    };
    Ok(node.task(serve).ready_when(tcp("echo")).spawn().await?)
}

#[robust_client(Echo)]
async fn tokio_stream(link: ClientLink) -> Result<Box<TcpStream>> {
    Ok(Box::new(TcpStream::connect(link.endpoint("echo")).await?))
}

#[robust_test]
async fn a_server_and_a_client(_server: Server<Echo>, mut client: Client<Echo>) -> Result {
    client.write_all(b"ping\n").await?;
    let mut answer = [0; 5];
    client.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"ping\n");
    Ok(())
}

#[robust_test]
async fn a_server_that_is_restarted(server: Server<Echo>, client: Client<Echo>) -> Result {
    drop(client);
    server.kill().await?;
    server.restart().await?;
    server.stop().await?;
    Ok(())
}

#[robust_test]
fn plain() {}

#[robust_test]
async fn asynchronous() {
    tokio::task::yield_now().await;
}

#[robust_test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_threads() {
    let tasks: Vec<_> = (0..4).map(|number| tokio::spawn(async move { number })).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[robust_test(start_paused)]
async fn paused() {
    tokio::time::sleep(Duration::from_secs(3600)).await;
}

#[robust_test]
async fn blocking_tasks() {
    tokio::task::spawn_blocking(|| ()).await.unwrap();
}

/// It ends by itself, a moment after the case.
#[robust_test]
async fn a_task_on_its_way_out() {
    tokio::spawn(async { tokio::time::sleep(Duration::from_millis(3)).await });
}

#[robust_test]
fn a_thread_on_its_way_out() {
    std::thread::spawn(|| std::thread::sleep(Duration::from_millis(3)));
}

#[robust_test]
fn a_child_that_was_waited_for() {
    assert!(std::process::Command::new("true").status().unwrap().success());
}

#[robust_test]
fn files_that_were_removed(case: Case) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    std::fs::write(case.folder().unwrap().join("the case's own"), "x").unwrap();
}

#[robust_test]
async fn sockets_that_were_closed() -> Result {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (_near, _far) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
    Ok(())
}

robust_test::main!();
