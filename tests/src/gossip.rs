//! The program `gossip-server`: how planted suites start it, and how they and their tests ask it.

use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use robust_test::prelude::*;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::Planted;

/// The command for a node, which knows the others of its cluster; ready when its port `gossip` is.
///
/// # Errors
/// When it gets no folder for its data.
pub fn command<S: Service>(node: &Node<S>) -> Result<ServerCommand> {
    let own = (node.number(), node.address("gossip"));
    // It listens at its own address, and reaches the others where they can be reached.
    let members = node.members().into_iter().map(|member| match member.number() {
        number if number == own.0 => own,
        number => (number, member.address("gossip")),
    });
    let command = node
        .command("planted-gossip-server")
        .arg(node.number().to_string())
        .arg(node.data_dir()?)
        .args(members.map(|(number, address)| format!("{number}={address}")));
    Ok(command.ready_when(tcp("gossip")))
}

/// The service of it, for suites whose kinds need no more.
pub struct Gossip;

impl Service for Gossip {
    type Client = Asker;
    type Settings = ();
}

impl AdminView for Gossip {
    type Admin = SocketAddr;

    async fn admin(link: NodeLink) -> Result<SocketAddr> {
        Ok(link.endpoint("gossip"))
    }
}

/// A client of a node: a connection that is kept.
pub type Asker = Mutex<BufReader<TcpStream>>;

/// Connects one.
///
/// # Errors
/// When it cannot.
pub async fn connect(link: ClientLink) -> Result<Box<Asker>> {
    let stream = TcpStream::connect(link.endpoint("gossip")).await?;
    Ok(Box::new(Mutex::new(BufReader::new(stream))))
}

/// What is answered to a line on this connection; `None` when nothing is for so long.
///
/// # Errors
/// When the connection is closed or broken.
pub async fn answer_within(
    stream: &mut BufReader<TcpStream>,
    line: &str,
    limit: Duration,
) -> Result<Option<String>> {
    stream.write_all(format!("{line}\n").as_bytes()).await?;
    let mut answer = String::new();
    match tokio::time::timeout(limit, stream.read_line(&mut answer)).await {
        Ok(Ok(1..)) => Ok(Some(answer.trim_end().to_owned())),
        Ok(Ok(0)) => Err(error("the connection was closed")),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// Waits until a node, asked at the address that its operators have, says this of whom it sees.
///
/// # Errors
/// When it does not within 10 s.
pub async fn until_sees(node: &Server<Gossip>, expected: &str) -> Result {
    eventually(format!("{} sees {expected}", node.name()), secs(10), || async {
        let address = node.admin().await?;
        let seen = tokio::task::spawn_blocking(move || ask_port(address.port(), "sees"));
        Ok::<_, Error>(seen.await? == expected)
    })
    .await?;
    Ok(())
}

/// Partitions a cluster of five in each way, and shows of each node whom it sees, until it is healed.
///
/// # Errors
/// When a node sees another set of nodes than it should for 10 s.
pub async fn partitions_cut_what_their_names_say(db: &Cluster<Gossip>) -> Result {
    let all = "1 2 3 4 5";
    // Who is asked has to answer, so that one way cut is as good as two for this server.
    for (partition, views) in [
        (
            Partition::Isolate(2),
            ["1 3 4 5", "2", "1 3 4 5", "1 3 4 5", "1 3 4 5"],
        ),
        (
            Partition::Split(vec![2, 4]),
            ["1 3 5", "2 4", "1 3 5", "2 4", "1 3 5"],
        ),
        (Partition::Halves, ["1 2", "1 2", "3 4 5", "3 4 5", "3 4 5"]),
        (Partition::Ring, ["1 2 5", "1 2 3", "2 3 4", "3 4 5", "1 4 5"]),
        (
            Partition::OneWay {
                from: vec![1],
                to: vec![2],
            },
            ["1 3 4 5", "2 3 4 5", all, all, all],
        ),
    ] {
        until_sees(&db.node(1), all).await?;
        let partitioned = db.partition(partition)?;
        for (node, view) in db.nodes().iter().zip(views) {
            until_sees(node, view).await?;
        }
        // One that starts meanwhile is cut off as it was.
        db.node(2).restart().await?;
        until_sees(&db.node(2), views[1]).await?;
        // Clients reach it all the while.
        assert_eq!(ask(&db.node(2), "here").await?, "2");
        partitioned.until_it_bites(secs(10)).await?;
        assert!(partitioned.heal()?.any());
        for node in db.nodes() {
            until_sees(&node, all).await?;
        }
    }
    Ok(())
}

/// A user that nothing else runs as, who is given what is said here.
#[derive(Debug, Clone, Default)]
pub struct Nobody {
    /// What root does first, in a mount namespace of the suite's own, where it is not empty; it ends in `&&`.
    pub before: String,
    /// The program that executes the suite, and its first arguments; none where it is empty.
    pub through: String,
}

impl Nobody {
    /// The user's number.
    pub fn number() -> u32 {
        200_000 + std::process::id()
    }

    /// A suite, and the server that it needs, by that user, with copies of both: the checkout may be where only root can look.
    pub fn runs(&self, (suite, server): (&str, &str), arguments: &str) -> Planted {
        let Self { before, through } = self;
        let user = Self::number();
        let text = format!(
            "cd \"$TMPDIR\" && cp \"$SUITE\" ../suite && cp \"$GOSSIP\" ../gossip && chmod -R a+rwX .. && {before} \
             exec setpriv --reuid {user} --clear-groups {through} ../suite --bin gossip=\"$PWD/../gossip\" {arguments}"
        );
        let planted = match before.as_str() {
            "" => Planted::new("sh"),
            _ => Planted::new("unshare").args(["--mount", "sh"]),
        };
        planted
            .args(["-c", &text])
            .env("SUITE", suite)
            .env("GOSSIP", server)
    }
}

/// What a node answers to a line, over a connection of its own; empty when it closes that.
///
/// # Errors
/// When it cannot be reached.
pub async fn ask<S: Service>(node: &Server<S>, line: &str) -> Result<String> {
    let stream = TcpStream::connect(node.endpoint("gossip")).await?;
    let mut stream = BufReader::new(stream);
    stream.write_all(format!("{line}\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    Ok(answer.trim_end().to_owned())
}

/// The same from outside of the suite, within 10 s.
///
/// # Panics
/// When nothing listens on that port.
pub fn ask_port(port: u16, line: &str) -> String {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    stream
        .write_all(format!("{line}\n").as_bytes())
        .expect("it reads");
    let mut answer = String::new();
    let _closed = std::io::BufReader::new(stream).read_line(&mut answer);
    answer.trim_end().to_owned()
}

/// How far ahead of this process's clock a node's is, in seconds, and behind where that is negative. Both ask the same kernel,
/// so that the node's answer is between two readings here, moved by that.
///
/// # Errors
/// When it does not answer, or is not wrong by whole seconds.
pub async fn ahead(db: &Server<Gossip>) -> Result<i64> {
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let before = now()?.as_nanos();
    let there: u128 = ask(db, "clock").await?.parse()?;
    let after = now()?.as_nanos();
    let second = 1_000_000_000_i128;
    let (least, most) = (there as i128 - after as i128, there as i128 - before as i128);
    let ahead = least.div_euclid(second) + i128::from(least.rem_euclid(second) > 0);
    if ahead * second > most {
        return Err(error(format!(
            "{least} to {most} ns ahead, which is no whole second"
        )));
    }
    Ok(i64::try_from(ahead)?)
}
