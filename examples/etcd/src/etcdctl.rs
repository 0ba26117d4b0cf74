//! The client `etcdctl`: the program, which speaks gRPC, once for each request. It tries a read again when the member
//! refuses it, until its own limit; a write it does not.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::client::{
    ANSWER_WITHIN, ClientError, Consistency, EtcdClient, Event, KeyValue, Lease, Revision, Watch, within,
};
use crate::wire::{Compared, Deleted, LeaseAnswer, Range, Watched, Written, read};

/// Its own limit for a request: longer than that of etcd, and shorter than ours.
const COMMAND_TIMEOUT: &str = "7s";

/// A client of the member that listens at `member`, which runs `program`.
pub fn client(program: PathBuf, member: SocketAddr) -> Box<dyn EtcdClient> {
    Box::new(Etcdctl { program, member })
}

struct Etcdctl {
    program: PathBuf,
    member: SocketAddr,
}

impl Etcdctl {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", self.member))
            .arg(format!("--command-timeout={COMMAND_TIMEOUT}"))
            .arg("--write-out=json")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn spawn(&self, arguments: &[&str]) -> Result<Child, ClientError> {
        self.command(arguments)
            .spawn()
            .map_err(|error| ClientError::Program {
                program: self.program.display().to_string().into(),
                reason: error.to_string().into(),
            })
    }

    /// What it prints, given `input`.
    async fn run(&self, arguments: &[&str], input: &str) -> Result<Vec<u8>, ClientError> {
        let ended = async {
            let mut child = self.spawn(arguments)?;
            if let Some(mut stdin) = child.stdin.take() {
                // One that ended before it read everything says why.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            child.wait_with_output().await.map_err(ClientError::lost)
        };
        let output = within(ANSWER_WITHIN, ended).await?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(failure(&String::from_utf8_lossy(&output.stderr)))
    }

    async fn range(
        &self,
        arguments: &[&str],
        consistency: Consistency,
    ) -> Result<Vec<KeyValue>, ClientError> {
        let consistency = match consistency {
            Consistency::Linearizable => "--consistency=l",
            Consistency::Serializable => "--consistency=s",
        };
        let printed = self.run(&[arguments, &[consistency]].concat(), "").await?;
        Ok(read::<Range>(&printed)?.all())
    }
}

/// The last `Error: ..` of what it printed, else the last line.
fn failure(stderr: &str) -> ClientError {
    let said = stderr.lines().rev().find_map(|line| line.strip_prefix("Error: "));
    let last = stderr.lines().last().unwrap_or("it said nothing");
    match said.unwrap_or(last) {
        "context deadline exceeded" => ClientError::TimedOut {
            within: ANSWER_WITHIN,
        },
        message => ClientError::refused(message),
    }
}

#[async_trait]
impl EtcdClient for Etcdctl {
    async fn put(&self, key: &str, value: &str) -> Result<Revision, ClientError> {
        let printed = self.run(&["put", "--", key, value], "").await?;
        Ok(read::<Written>(&printed)?.header.revision)
    }

    async fn put_with_lease(&self, key: &str, value: &str, lease: Lease) -> Result<Revision, ClientError> {
        let lease = format!("--lease={:x}", lease.0);
        let printed = self.run(&["put", &lease, "--", key, value], "").await?;
        Ok(read::<Written>(&printed)?.header.revision)
    }

    async fn get(&self, key: &str, consistency: Consistency) -> Result<Option<KeyValue>, ClientError> {
        let found = self.range(&["get", key], consistency).await?;
        Ok(found.into_iter().next())
    }

    async fn list(&self, prefix: &str, consistency: Consistency) -> Result<Vec<KeyValue>, ClientError> {
        self.range(&["get", "--prefix", prefix], consistency).await
    }

    async fn delete(&self, key: &str) -> Result<bool, ClientError> {
        let printed = self.run(&["del", key], "").await?;
        Ok(read::<Deleted>(&printed)?.deleted > 0)
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<&str>,
        new: &str,
    ) -> Result<bool, ClientError> {
        let compare = match expected {
            Some(value) => format!("value({key:?}) = {value:?}"),
            None => format!("version({key:?}) = \"0\""),
        };
        // Comparisons, what is done when they hold, what is done otherwise; an empty line ends each.
        let input = format!("{compare}\n\nput {key:?} {new:?}\n\n\n");
        let printed = self.run(&["txn"], &input).await?;
        Ok(read::<Compared>(&printed)?.succeeded)
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watch>, ClientError> {
        let from = format!("--rev={from}");
        let mut child = self.spawn(&["watch", "--prefix", &from, prefix])?;
        let pipes = child.stdout.take().zip(child.stderr.take());
        let (stdout, stderr) = pipes.ok_or_else(|| ClientError::lost("it has no output"))?;
        Ok(Box::new(Watching {
            _child: child,
            stdout: BufReader::new(stdout),
            stderr,
            line: Vec::new(),
            events: VecDeque::new(),
        }))
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease, ClientError> {
        let ttl = ttl.as_secs().to_string();
        let printed = self.run(&["lease", "grant", &ttl], "").await?;
        Ok(Lease(read::<LeaseAnswer>(&printed)?.id))
    }

    async fn keep_alive(&self, lease: Lease) -> Result<bool, ClientError> {
        let id = format!("{:x}", lease.0);
        match self.run(&["lease", "keep-alive", "--once", &id], "").await {
            // Of a lease that is over it prints a sentence.
            Ok(printed) => Ok(read::<LeaseAnswer>(&printed).is_ok_and(|answer| answer.ttl > 0)),
            Err(ClientError::Refused { message }) if message.contains("requested lease not found") => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// A running `etcdctl watch`. It connects again by itself, and goes on where it was.
struct Watching {
    _child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: ChildStderr,
    /// What there is of the line that is being read.
    line: Vec<u8>,
    events: VecDeque<Event>,
}

impl Watching {
    async fn message(&mut self) -> Result<Watched, ClientError> {
        // Of a read that is dropped, what came so far stays in `line`.
        let read_line = self.stdout.read_until(b'\n', &mut self.line).await;
        read_line.map_err(ClientError::lost)?;
        if self.line.is_empty() {
            let mut said = String::new();
            self.stderr
                .read_to_string(&mut said)
                .await
                .map_err(ClientError::lost)?;
            return Err(failure(&said));
        }
        let line = std::mem::take(&mut self.line);
        read(&line)
    }
}

#[async_trait]
impl Watch for Watching {
    async fn next(&mut self, within: Duration) -> Result<Event, ClientError> {
        let next = async {
            loop {
                if let Some(event) = self.events.pop_front() {
                    return Ok(event);
                }
                let message = self.message().await?;
                self.events.extend(message.events()?);
            }
        };
        match tokio::time::timeout(within, next).await {
            Ok(event) => event,
            Err(_) => Err(ClientError::NoEvent { within }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_without_the_log_around_it() {
        let printed = "{\"level\":\"warn\",\"msg\":\"retrying\"}\nError: etcdserver: request timed out\n";
        assert_eq!(
            failure(printed).to_string(),
            "refused: etcdserver: request timed out"
        );
        let late = failure("Error: context deadline exceeded\n");
        assert!(matches!(late, ClientError::TimedOut { .. }), "{late}");
        assert_eq!(failure("").to_string(), "refused: it said nothing");
    }
}
