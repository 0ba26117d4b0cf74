//! The program `gossip-server`: how planted suites start it, and how they and their tests ask it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use robust_test::prelude::*;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};

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

/// What a node answers to a line, over a connection of its own; empty when it closes that.
///
/// # Errors
/// When it cannot be reached.
pub async fn ask<S: Service>(node: &Server<S>, line: &str) -> Result<String> {
    let stream = tokio::net::TcpStream::connect(node.endpoint("gossip")).await?;
    let mut stream = tokio::io::BufReader::new(stream);
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
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    stream
        .write_all(format!("{line}\n").as_bytes())
        .expect("it reads");
    let mut answer = String::new();
    let _closed = BufReader::new(stream).read_line(&mut answer);
    answer.trim_end().to_owned()
}
