//! A server of length-prefixed messages that it echoes, which has one of several defects or none: this test program, run a
//! second time for the one test that is it.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::prelude::*;

const DEFECT: &str = "VICTIM_DEFECT";
/// No message may be longer.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// One that runs; it is killed when this is dropped.
pub(super) struct Victim {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Victim {
    pub(super) fn with(defect: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "tests::victim::the_victim_of_other_tests",
                "--ignored",
                "--nocapture",
            ])
            .env(DEFECT, defect)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = io::BufReader::new(child.stderr.take().unwrap());
        said.read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap();
        Self { child, address }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A message, with its length before it.
pub(super) fn message(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap();
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

/// A well-behaved client: its message comes back.
pub(super) async fn ping(address: SocketAddr) -> Result {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let ping = message("ping");
    stream.write_all(&ping).await?;
    let mut echo = vec![0; ping.len()];
    stream.read_exact(&mut echo).await?;
    assert_eq!(echo, ping);
    Ok(())
}

#[test]
#[ignore = "a server for the tests of hostile peers, which start it"]
fn the_victim_of_other_tests() {
    let Ok(defect) = std::env::var(DEFECT) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    eprintln!("{}", listener.local_addr().unwrap());
    loop {
        let Ok((connection, _)) = listener.accept() else {
            continue;
        };
        let serve = {
            let defect = defect.clone();
            // What a peer says wrong ends its connection.
            move || drop(echo(connection, &defect))
        };
        match &*defect {
            "serves one after another" => serve(),
            _ => drop(std::thread::spawn(serve)),
        }
    }
}

fn echo(mut connection: TcpStream, defect: &str) -> io::Result<()> {
    match defect {
        "keeps memory" => drop(Vec::leak(vec![1_u8; 256 << 10])),
        "keeps descriptors" => std::mem::forget(connection.try_clone()?),
        _ => {}
    }
    loop {
        let mut length = [0; 4];
        connection.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MESSAGE_BYTES_MAX {
            if defect == "believes every length" {
                // As a program that takes memory before it looks whether it may.
                std::process::abort();
            }
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; length];
        connection.read_exact(&mut bytes)?;
        connection.write_all(&u32::try_from(length).map_err(io::Error::other)?.to_be_bytes())?;
        connection.write_all(&bytes)?;
    }
}
