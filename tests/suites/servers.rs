//! Scenarios over a server that is a real process, and over the ways it misbehaves. Run by `tests/servers.rs`,
//! which gives the program by `--bin`.
#![allow(missing_docs)]

use robust_test::hostile::{Attack, Corpus, Hostile, Watch};
use robust_test::prelude::*;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

struct Echo;

impl Service for Echo {
    type Client = Line;
    type Settings = &'static str;
}

/// A connection that speaks lines.
struct Line(BufReader<TcpStream>);

impl Line {
    async fn say(&mut self, line: &str) -> std::io::Result<String> {
        self.0.write_all(format!("{line}\n").as_bytes()).await?;
        let mut answer = String::new();
        self.0.read_line(&mut answer).await?;
        Ok(answer.trim_end().to_owned())
    }
}

#[robust_server(Echo, program = "planted-echo-server")]
async fn echo(node: &mut Node<Echo>) -> Result<Instance> {
    let command = node
        .command("planted-echo-server")
        .arg(node.port("echo").to_string())
        .arg(node.settings());
    Ok(command
        .ready_when(tcp("echo"))
        .ready_within(secs(2))
        .stop_within(millis(300))
        .spawn()
        .await?)
}

#[robust_server(Echo)]
async fn embedded(node: &mut Node<Echo>) -> Result<Instance> {
    let address = node.address("echo");
    let serve = move |stopping: Stopping| async move {
        let listener = tokio::net::TcpListener::bind(address).await?;
        tracing::info!("the embedded server is up");
        loop {
            let stream = tokio::select! {
                () = stopping.requested() => return Ok::<(), std::io::Error>(()),
                accepted = listener.accept() => accepted?.0,
            };
            tokio::spawn(async move {
                let (mut read, mut write) = stream.into_split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    };
    Ok(node.task(serve).ready_when(tcp("echo")).spawn().await?)
}

#[robust_client(Echo)]
async fn line(link: ClientLink) -> Result<Box<Line>> {
    Ok(Box::new(Line(BufReader::new(
        TcpStream::connect(link.endpoint("echo")).await?,
    ))))
}

#[robust_client(Echo)]
async fn hangs(_link: ClientLink) -> Result<Box<Line>> {
    std::future::pending().await
}

#[robust_test]
async fn answers(_server: Server<Echo>, #[only("line")] mut client: Client<Echo>) -> Result {
    assert_eq!(client.say("hello").await?, "hello");
    Ok(())
}

#[robust_test]
async fn comes_back_at_the_same_address(
    server: Server<Echo>,
    #[only("line")] mut client: Client<Echo>,
) -> Result {
    let before = server.endpoint("echo");
    for end in ["kill", "stop", "restart"] {
        match end {
            "kill" => server.kill().await?,
            "stop" => server.stop().await?,
            _ => {}
        }
        server.restart().await?;
        assert_eq!(server.endpoint("echo"), before);
        assert!(
            client
                .say("is anybody there")
                .await
                .map_or(true, |answer| answer.is_empty())
        );
        client = Client::connect_another(&client).await?;
        assert_eq!(client.say(end).await?, end);
    }
    Ok(())
}

#[robust_test]
async fn dies_unasked(
    #[only("echo")] _server: Server<Echo>,
    #[only("line")] mut client: Client<Echo>,
) -> Result {
    assert_eq!(client.say("die").await?, "");
    Ok(())
}

#[robust_test]
async fn dies_while_the_case_waits_for_something_else(
    #[only("echo")] _server: Server<Echo>,
    #[only("line")] mut client: Client<Echo>,
) -> Result {
    assert_eq!(client.say("die").await?, "");
    std::future::pending().await
}

/// By a client's last word.
#[robust_test]
async fn dies_during_teardown(
    case: Case,
    #[only("echo")] _server: Server<Echo>,
    #[only("line")] mut client: Client<Echo>,
) {
    case.defer("the last word", move || async move {
        assert_eq!(client.say("die").await?, "");
        Ok(())
    });
}

/// By what a hostile peer says.
#[robust_test]
async fn dies_under_attack(case: Case, #[only("echo")] server: Server<Echo>) -> Result {
    Hostile::against(&case, server.name(), server.endpoint("echo"))
        .with(Corpus::default().conversation(["hello\n", "die\n"]))
        .only([Attack::Verbatim])
        .watching(Watch::of(&server))
        .run()
        .await?;
    std::future::pending().await
}

#[robust_test]
async fn dies_as_expected(
    #[only("echo")] server: Server<Echo>,
    #[only("line")] mut client: Client<Echo>,
) -> Result {
    let exit = server.expect_exit();
    assert_eq!(client.say("die").await?, "");
    assert_eq!(exit.wait().await?.to_string(), "exited with status 7");
    server.restart().await?;
    assert!(server.is_running());
    Ok(())
}

#[robust_test]
async fn exits_at_once(
    #[only("echo")]
    #[settings("exit-at-once")]
    _server: Server<Echo>,
) {
}

#[robust_test]
async fn never_listens(
    #[only("echo")]
    #[settings("never-listen")]
    _server: Server<Echo>,
) {
}

#[robust_test]
async fn forks_away(
    #[only("echo")]
    #[settings("fork-away")]
    _server: Server<Echo>,
) {
}

#[robust_test]
async fn ignores_sigterm(
    #[only("echo")]
    #[settings("ignore-term")]
    server: Server<Echo>,
) -> Result {
    server.stop().await?;
    Ok(())
}

#[robust_test]
async fn a_client_that_hangs_in_connect(_server: Server<Echo>, #[only("hangs")] _client: Client<Echo>) {}

#[robust_test(timeout = "3s")]
async fn waits_for_ever_beside_its_server(
    #[only("echo")] _server: Server<Echo>,
    #[only("line")] mut client: Client<Echo>,
) -> Result {
    assert_eq!(client.say("quiet").await?, "quiet");
    client.0.read_line(&mut String::new()).await?; // here: it waits
    Ok(())
}

#[robust_test]
async fn tells_of_itself(
    _server: Server<Echo>,
    #[only("line")] mut client: Client<Echo>,
    #[values(true, false)] fails: bool,
) -> Result {
    println!("by println");
    tracing::info!(number = 7, "by tracing");
    tracing::debug!("by tracing, for developers");
    assert_eq!(client.say("hello").await?, "hello");
    assert!(!fails, "as it should");
    Ok(())
}

robust_test::main!();
