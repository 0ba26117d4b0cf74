//! Scenarios over servers that go on from case to case. Run by `tests/shared.rs`, with one worker and in the order of the
//! values; what each case saw goes to the file of the variable `SHARED_TRACE`.
#![allow(missing_docs)]

use std::io::Write as _;

use robust_test::prelude::*;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

struct Tally;

impl Service for Tally {
    type Client = Line;
    type Settings = ();
}

/// A connection that speaks lines.
struct Line(BufReader<TcpStream>);

impl Line {
    async fn connect(address: std::net::SocketAddr) -> std::io::Result<Self> {
        Ok(Self(BufReader::new(TcpStream::connect(address).await?)))
    }

    async fn say(&mut self, line: &str) -> std::io::Result<String> {
        self.0.write_all(format!("{line}\n").as_bytes()).await?;
        let mut answer = String::new();
        self.0.read_line(&mut answer).await?;
        Ok(answer.trim_end().to_owned())
    }
}

#[robust_server(Tally, program = "planted-tally-server", variants(colour = ["red", "blue"]), shared(forget))]
async fn tally(node: &mut Node<Tally>) -> Result<Instance> {
    node.write_file("colour", node.variant("colour"))?;
    let command = node
        .command("planted-tally-server")
        .arg(node.port("tally").to_string());
    Ok(command.ready_when(tcp("tally")).spawn().await?)
}

async fn forget(node: NodeLink) -> Result {
    let mut line = Line::connect(node.endpoint("tally")).await?;
    match &*line.say("forget").await? {
        "ok" => Ok(()),
        answer => Err(error(format!("it says {answer:?}"))),
    }
}

#[robust_client(Tally)]
async fn line(link: ClientLink) -> Result<Box<Line>> {
    Ok(Box::new(Line::connect(link.endpoint("tally")).await?))
}

/// Something whose kind says that it is shared, and which runs inside the case's process.
struct Inside;

impl Service for Inside {
    type Client = ();
    type Settings = ();
}

#[robust_server(Inside, shared(nothing))]
async fn embedded(node: &mut Node<Inside>) -> Result<Instance> {
    let serve = |stopping: Stopping| async move { stopping.requested().await };
    Ok(node.task(serve).spawn().await?)
}

async fn nothing(_: NodeLink) -> Result {
    Ok(())
}

/// Appends what this case sees: its name, the server's process and colour, and the count after one more.
async fn trace(what: &str, server: &Server<Tally>, client: &mut Client<Tally>) -> Result {
    let count = client.say("add").await?;
    let path = std::env::var("SHARED_TRACE")?;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    let pid = server
        .pid()
        .map_or_else(|| "none".to_owned(), |pid| pid.to_string());
    // In one write: it is read while cases run.
    file.write_all(format!("{what} {pid} {} {count}\n", server.variant("colour")).as_bytes())?;
    Ok(())
}

/// Every case beside the plain ones is followed by one that tells what it left.
#[robust_test]
async fn visit(
    server: Server<Tally>,
    mut client: Client<Tally>,
    #[values(
        "plain-1",
        "plain-2",
        "says",
        "heard",
        "kills",
        "plain-3",
        "pauses",
        "plain-4",
        "signals",
        "plain-5",
        "restarts",
        "plain-6",
        "retires",
        "plain-7",
        "fails",
        "plain-8",
        "stubborn",
        "plain-9",
        "hangs",
        "plain-10",
        "dies-later",
        "plain-11",
        "oracle",
        "plain-12",
        "allows",
        "says-what-was-allowed",
        "plain-13",
        "has-a-child",
        "plain-14",
        "leaks-a-process",
        "plain-15",
        "leaks-a-descriptor",
        "plain-16",
        "panics",
        "plain-17",
        "aborts",
        "plain-18"
    )]
    what: &str,
) -> Result {
    trace(what, &server, &mut client).await?;
    match what {
        "says" => drop(client.say("say a secret").await?),
        "heard" => {
            let log = server.log()?;
            assert!(!log.contains("a secret"), "of another case: {log}");
            let whole = std::fs::read_to_string(server.log_path())?;
            assert!(whole.contains("a secret"), "{whole}");
        }
        "kills" => server.kill().await?,
        "pauses" => {
            server.pause().await?;
            server.resume().await?;
        }
        "signals" => server.signal(Signal::Continue).await?,
        "restarts" => server.restart().await?,
        "retires" => server.retire(),
        "fails" => return Err(error("as planted")),
        "stubborn" => drop(client.say("stubborn").await?),
        "hangs" => drop(client.say("hang").await?),
        "dies-later" => drop(client.say("die-later").await?),
        "oracle" => drop(client.say("say panic: as planted").await?),
        "allows" => {
            server.allow_log("panic: as planted", "a test");
            client.say("say panic: as planted").await?;
        }
        "says-what-was-allowed" => drop(client.say("say panic: as planted").await?),
        "has-a-child" => drop(client.say("child").await?),
        "leaks-a-process" => drop(std::process::Command::new("sleep").arg("7778").spawn()?),
        "leaks-a-descriptor" => std::mem::forget(std::fs::File::open("/dev/null")?),
        "panics" => panic!("as planted"),
        "aborts" => std::process::abort(),
        _ => {}
    }
    Ok(())
}

#[robust_test]
async fn with_settings(
    #[settings(())] server: Server<Tally>,
    mut client: Client<Tally>,
    #[values("own-1", "own-2")] what: &str,
) -> Result {
    trace(what, &server, &mut client).await
}

#[robust_test]
async fn in_this_process(_server: Server<Inside>) {}

/// Twice at the same time, so that neither can be the other.
#[robust_test]
async fn two_at_once(
    first: Server<Tally>,
    second: Server<Tally>,
    #[on(first)] mut to_first: Client<Tally>,
    #[on(second)] mut to_second: Client<Tally>,
    #[values("twice-1", "twice-2")] what: &str,
) -> Result {
    assert_ne!(first.pid(), second.pid());
    trace(&format!("{what}-first"), &first, &mut to_first).await?;
    trace(&format!("{what}-second"), &second, &mut to_second).await
}

robust_test::main!();
