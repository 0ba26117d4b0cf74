//! A connection that speaks RESP 2 by hand, for what no client's crate would send, or would not leave unread.

use std::io::{Error as IoError, ErrorKind};

use robust_test::prelude::*;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{Kv, SOON};

pub(crate) struct Raw(BufReader<TcpStream>);

impl Raw {
    /// Connects, with a small buffer for what is received.
    pub(crate) async fn connect(server: &Server<Kv>) -> Result<Self> {
        const RECEIVE_BYTES: u32 = 16 * 1024;
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE_BYTES)?;
        let connecting = socket.connect(server.endpoint("redis"));
        Ok(Self(BufReader::new(timeout(SOON, connecting).await??)))
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result {
        Ok(timeout(SOON, self.0.write_all(bytes)).await??)
    }

    /// Sends a command of these words.
    pub(crate) async fn command(&mut self, words: &[&str]) -> Result {
        let mut bytes = format!("*{}\r\n", words.len());
        for word in words {
            bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.send(bytes.as_bytes()).await
    }

    /// The next line, without its end.
    pub(crate) async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if timeout(SOON, self.0.read_line(&mut line)).await?? == 0 {
            return Err(IoError::new(ErrorKind::UnexpectedEof, "the server closed the connection").into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Sends a command and returns the first line of its reply.
    pub(crate) async fn ask(&mut self, words: &[&str]) -> Result<String> {
        self.command(words).await?;
        self.line().await
    }

    /// Subscribes to a channel.
    pub(crate) async fn subscribe(&mut self, channel: &str) -> Result {
        let first = self.ask(&["subscribe", channel]).await?;
        assert_eq!(first, "*3");
        for _ in 0..5 {
            self.line().await?;
        }
        Ok(())
    }

    /// The payload of the next message; `None` when the server has closed the connection.
    pub(crate) async fn message(&mut self) -> Result<Option<Vec<u8>>> {
        match timeout(SOON, self.0.fill_buf()).await? {
            Ok(buffer) if !buffer.is_empty() => {}
            _ => return Ok(None),
        }
        // `*3`, `$7`, `message`, `$5`, `flood`, `$8192`
        let mut last = String::new();
        for _ in 0..6 {
            last = match self.line().await {
                Ok(line) => line,
                Err(_) => return Ok(None),
            };
        }
        let length: usize = last.trim_start_matches('$').parse()?;
        let mut payload = vec![0; length + 2];
        match timeout(SOON, self.0.read_exact(&mut payload)).await? {
            Ok(_) => payload.truncate(length),
            Err(_) => return Ok(None),
        }
        Ok(Some(payload))
    }
}
