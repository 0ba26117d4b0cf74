//! Connections without a client: packets as they are on the wire.

use std::net::SocketAddr;

use robust_test::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The first byte of a CONNECT.
pub(super) const CONNECT: u8 = 0x10;
pub(super) const PINGREQ: [u8; 2] = [0xc0, 0];
pub(super) const PINGRESP: [u8; 2] = [0xd0, 0];
pub(super) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// CONNECT of MQTT 3.1.1 with a clean session.
pub(super) fn connect_of(id: &str) -> Vec<u8> {
    let length = u8::try_from(id.len()).unwrap_or_default();
    let fixed = [CONNECT, 12 + length];
    let header = b"\x00\x04MQTT\x04\x02\x00\x3c\x00";
    [&fixed[..], header, &[length], id.as_bytes()].concat()
}

/// A new connection is accepted: CONNECT is answered with CONNACK.
pub(super) async fn greets(address: SocketAddr, id: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&connect_of(id)).await?;
    let mut accepted = [0; 4];
    stream.read_exact(&mut accepted).await?;
    match accepted {
        [0x20, 2, 0, 0] => Ok(stream),
        _ => Err(error(format!("it answered CONNECT with {accepted:x?}"))),
    }
}
