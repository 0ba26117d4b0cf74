//! Requests to the HTTP port of a member, each with a connection of its own: a member that is killed takes along what
//! was under way, and nothing else.

use std::net::SocketAddr;
use std::pin::{Pin, pin};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::client::ClientError;
use crate::wire::read;

type Connection = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

/// Where a member listens for clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Http(pub(crate) SocketAddr);

/// What the gateway says instead of an answer, in one of three forms.
#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    error: Value,
}

impl Failure {
    fn message(self) -> String {
        let inner = self.error.get("message").unwrap_or(&self.error);
        let inner = inner.as_str().map_or_else(|| inner.to_string(), str::to_owned);
        self.message.unwrap_or(inner)
    }
}

/// The error that `body` tells.
pub(crate) fn refusal(body: &[u8]) -> ClientError {
    match serde_json::from_slice::<Failure>(body) {
        Ok(failure) => ClientError::refused(failure.message()),
        Err(_) => ClientError::refused(String::from_utf8_lossy(body)),
    }
}

impl Http {
    /// The body of the answer to a POST of JSON; an answer other than 200 is an error.
    pub(crate) async fn post(self, path: &str, body: &Value) -> Result<Bytes, ClientError> {
        let mut answer = self.open(path, body).await?;
        let mut whole = Vec::new();
        while let Some(part) = answer.part().await? {
            whole.extend_from_slice(&part);
        }
        Ok(whole.into())
    }

    /// The body of the answer to a GET, whatever its status.
    pub(crate) async fn get(self, path: &str) -> Result<Bytes, ClientError> {
        let request = Request::get(path).header("Host", self.0.to_string());
        let request = request.body(Full::default()).map_err(ClientError::unreadable)?;
        let (_, mut answer) = self.send(request).await?;
        let mut whole = Vec::new();
        while let Some(part) = answer.part().await? {
            whole.extend_from_slice(&part);
        }
        Ok(whole.into())
    }

    /// The answer to a POST of JSON, to be read part by part.
    pub(crate) async fn open(self, path: &str, body: &Value) -> Result<Answer, ClientError> {
        let request = Request::post(path)
            .header("Host", self.0.to_string())
            .header("Content-Type", "application/json");
        let request = request
            .body(Full::from(body.to_string()))
            .map_err(ClientError::unreadable)?;
        let (status, mut answer) = self.send(request).await?;
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let mut whole = Vec::new();
        while let Some(part) = answer.part().await? {
            whole.extend_from_slice(&part);
        }
        Err(refusal(&whole))
    }

    async fn send(self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Answer), ClientError> {
        let stream = TcpStream::connect(self.0)
            .await
            .map_err(|error| ClientError::Connect {
                member: self.0,
                reason: error.to_string().into(),
            })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(ClientError::lost)?;
        let mut connection = Some(Box::pin(connection));
        let response = drive(&mut connection, sender.send_request(request)).await;
        let (head, body) = response.map_err(ClientError::lost)?.into_parts();
        Ok((head.status, Answer { connection, body }))
    }
}

/// What a member answers, as it comes.
pub(crate) struct Answer {
    /// `None`: it has ended, and what came before is still in `body`.
    connection: Option<Pin<Box<Connection>>>,
    body: Incoming,
}

impl Answer {
    /// The next part; `None` at the end.
    pub(crate) async fn part(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match drive(&mut self.connection, self.body.frame()).await {
                None => return Ok(None),
                Some(Err(error)) => return Err(ClientError::lost(error)),
                // Trailers are none.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

/// Awaits `step` while the connection moves: no task of its own, so that nothing of it outlives who asked.
async fn drive<T>(connection: &mut Option<Pin<Box<Connection>>>, step: impl Future<Output = T>) -> T {
    let mut step = pin!(step);
    loop {
        let Some(moving) = connection else {
            return step.await;
        };
        tokio::select! {
            biased;
            value = &mut step => return value,
            // What went wrong with it, `step` tells.
            _ended = moving => *connection = None,
        }
    }
}

/// The lines of an answer.
pub(crate) struct Lines {
    answer: Answer,
    buffer: Vec<u8>,
}

impl Lines {
    pub(crate) fn of(answer: Answer) -> Self {
        Self {
            answer,
            buffer: Vec::new(),
        }
    }

    /// The next one, without its end; may be dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<Vec<u8>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                if line.is_empty() {
                    continue;
                }
                return Ok(line);
            }
            match self.answer.part().await? {
                Some(part) => self.buffer.extend_from_slice(&part),
                None => return Err(ClientError::lost("the member ended its answer")),
            }
        }
    }
}

/// A message of a stream: its `result`, or what it says instead.
pub(crate) fn result_of<T: for<'a> Deserialize<'a>>(line: &[u8]) -> Result<T, ClientError> {
    #[derive(Deserialize)]
    struct Streamed<T> {
        result: Option<T>,
    }
    match read::<Streamed<T>>(line)?.result {
        Some(result) => Ok(result),
        None => Err(refusal(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_member() {
        for body in [
            r#"{"error":"etcdserver: no leader","code":14,"message":"etcdserver: no leader"}"#,
            r#"{"error":"etcdserver: no leader"}"#,
            r#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}}"#,
            "etcdserver: no leader",
        ] {
            assert_eq!(
                refusal(body.as_bytes()).to_string(),
                "refused: etcdserver: no leader"
            );
        }
    }
}
