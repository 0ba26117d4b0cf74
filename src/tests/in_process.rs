//! Servers inside the case's process.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Fixture;
use crate::instance::{PauseError, StopError};
use crate::prelude::*;
use crate::service::StartFuture;

struct Embeds;

#[derive(Default)]
struct How(&'static str);

impl Service for Embeds {
    type Client = ();
    type Settings = How;
}

server_kind!(Embeds, "embedded", None, start);

fn start(node: &mut Node<Embeds>) -> StartFuture<'_> {
    Box::pin(async {
        let address = node.address("echo");
        let how = node.settings().0;
        let embedded = match how {
            "thread" => {
                // A blocking server: a kill wakes it with a connection, after which it looks at the flag.
                let killed = Arc::new(AtomicBool::new(false));
                let kill = {
                    let killed = killed.clone();
                    move || {
                        killed.store(true, Ordering::SeqCst);
                        let _ = std::net::TcpStream::connect(address);
                    }
                };
                node.thread(move |stopping| -> std::io::Result<()> {
                    let listener = TcpListener::bind(address)?;
                    for stream in listener.incoming() {
                        if killed.load(Ordering::SeqCst) || stopping.is_requested() {
                            break;
                        }
                        let mut byte = [0];
                        let mut stream = stream?;
                        if stream.read(&mut byte)? == 1 {
                            stream.write_all(&byte)?;
                        }
                    }
                    Ok(())
                })
                .stop_within(millis(20))
                .on_kill(kill)
            }
            _ => node
                .task(move |stopping| echo(address, how, stopping))
                .stop_within(millis(50)),
        };
        Ok(embedded.ready_when(tcp("echo")).spawn().await?)
    })
}

async fn echo(address: std::net::SocketAddr, how: &'static str, stopping: Stopping) -> std::io::Result<()> {
    if how == "fails" {
        return Err(std::io::Error::other("no disk"));
    }
    let listener = tokio::net::TcpListener::bind(address).await?;
    loop {
        tokio::select! {
            () = stopping.requested(), if how != "deaf" => return Ok(()),
            accepted = listener.accept() => {
                let (mut stream, _) = accepted?;
                // Detached, as servers do: a kill has to take it too.
                tokio::spawn(async move {
                    let mut byte = [0];
                    while let Ok(1) = stream.read(&mut byte).await {
                        assert_ne!(byte, [0], "planted");
                        if stream.write_all(&byte).await.is_err() {
                            break;
                        }
                    }
                });
                if how == "leaves" {
                    return Ok(());
                }
            }
        }
    }
}

async fn answers(stream: &mut TcpStream) -> std::io::Result<bool> {
    stream.write_all(b"x").await?;
    let mut byte = [0];
    Ok(stream.read(&mut byte).await? == 1 && byte == *b"x")
}

#[tokio::test]
async fn a_task_is_killed_with_its_connections_and_restarts_on_its_port() {
    let fixture = Fixture::new();
    let server: Server<Embeds> = fixture.server(|_| Box::new(How("task"))).await.unwrap();
    let endpoint = server.endpoint("echo");
    let mut stream = TcpStream::connect(endpoint).await.unwrap();
    assert!(answers(&mut stream).await.unwrap());
    assert_eq!(server.pid(), None);

    server.kill().await.unwrap();
    assert!(!server.is_running());
    assert!(
        !answers(&mut stream).await.unwrap_or(false),
        "it outlived the kill"
    );
    assert!(TcpStream::connect(endpoint).await.is_err());

    server.restart().await.unwrap();
    assert_eq!(server.endpoint("echo"), endpoint);
    let mut stream = TcpStream::connect(endpoint).await.unwrap();
    assert!(answers(&mut stream).await.unwrap());
    server.stop().await.unwrap();
    assert!(TcpStream::connect(endpoint).await.is_err());
    server.restart().await.unwrap();
    assert!(matches!(server.pause().await, Err(PauseError::InProcess { .. })));
    assert!(fixture.end().await.is_empty());
    assert!(TcpStream::connect(endpoint).await.is_err());
}

#[tokio::test]
async fn a_task_that_ignores_its_token_is_dropped_and_told() {
    let fixture = Fixture::new();
    let server: Server<Embeds> = fixture.server(|_| Box::new(How("deaf"))).await.unwrap();
    let error = server.stop().await.unwrap_err();
    assert!(matches!(error, StopError::Ignored { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.starts_with("node `broker` ignored its stopping token for 50 ms and was killed\n"),
        "{text}"
    );
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn a_thread_is_ended_by_its_closure() {
    let fixture = Fixture::new();
    let server: Server<Embeds> = fixture.server(|_| Box::new(How("thread"))).await.unwrap();
    let endpoint = server.endpoint("echo");
    let mut stream = TcpStream::connect(endpoint).await.unwrap();
    assert!(answers(&mut stream).await.unwrap());
    server.kill().await.unwrap();
    assert!(TcpStream::connect(endpoint).await.is_err());
    server.restart().await.unwrap();
    // Once it has answered it blocks in `accept`, where the token does not reach it.
    let mut stream = TcpStream::connect(endpoint).await.unwrap();
    assert!(answers(&mut stream).await.unwrap());
    let error = server.stop().await.unwrap_err();
    assert!(matches!(error, StopError::Ignored { .. }), "{error}");
    assert!(TcpStream::connect(endpoint).await.is_err());
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn a_server_that_fails_at_its_start_is_told() {
    let fixture = Fixture::new();
    let error = fixture
        .server::<Embeds>(|_| Box::new(How("fails")))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("node `broker` returned an error: no disk before it was ready\n"),
        "{error}"
    );
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn a_server_that_leaves_by_itself_fails_the_case() {
    let fixture = Fixture::new();
    // The connection that proves readiness is the one it leaves after.
    let server: Result<Server<Embeds>> = fixture.server(|_| Box::new(How("leaves"))).await;
    let text = match server {
        Err(error) => error.to_string(),
        Ok(server) => {
            eventually("it leaves", secs(5), || async { !server.is_running() })
                .await
                .unwrap();
            fixture.end().await.join("\n")
        }
    };
    assert!(text.contains("returned from its function"), "{text}");
}
