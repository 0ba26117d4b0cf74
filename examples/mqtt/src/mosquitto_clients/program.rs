//! A running `mosquitto_pub` or `mosquitto_sub`: a task that owns the process, reads all that it prints, and ends it.
//!
//! Knows what the programs print and how they end, not what a client wants of them.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::arguments::Arguments;
use super::closing::closed_by;
use crate::client::{Broker, ClientError, Message, Qos};
use crate::printed::{self, Printed};

/// How long a program that was asked to disconnect may take; then it is killed. Its DISCONNECT has gone out by then. As long
/// may the broker take to close the connection of one that has ended by itself: what was wanted of it is done.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

impl Arguments {
    fn spawn(self) -> Result<Program, ClientError> {
        let failed = |error: std::io::Error| ClientError::Connect {
            broker: self.broker.address,
            reason: format!("cannot run {}: {error}", self.program.display()).into(),
        };
        let mut command = Command::new("stdbuf");
        command
            .arg("-oL")
            .arg(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(failed(std::io::Error::other("it has no pipes")));
        };
        let (say, said) = mpsc::unbounded_channel();
        let (orders, obeyed) = mpsc::unbounded_channel();
        let (ending, ended) = watch::channel(None);
        let driver = Driver {
            broker: self.broker.address,
            child,
            said: say,
            orders: obeyed,
            connects: 0,
        };
        let task = tokio::spawn(async move {
            let end = driver.run(stdout, stderr).await;
            ending.send_replace(Some(end));
        });
        Ok(Program {
            broker: self.broker,
            stdin: Mutex::new(Some(stdin)),
            said: Mutex::new(Said {
                lines: said,
                inbox: VecDeque::new(),
                duplicates: BTreeSet::new(),
            }),
            orders,
            ended,
            task,
        })
    }

    /// Runs the program, until it has its CONNACK.
    pub(super) async fn connect(self, deadline: Duration) -> Result<Program, ClientError> {
        let program = self.spawn()?;
        let failed = |reason: Arc<str>| ClientError::Connect {
            broker: program.broker.address,
            reason,
        };
        let connected = async {
            let mut said = program.said.lock().await;
            loop {
                match said.lines.recv().await {
                    Some(Printed::Connected(0)) => return Ok(()),
                    Some(_) => {}
                    // It says why, also after a CONNACK that refuses.
                    None => return Err(program.reason().await),
                }
            }
        };
        match timeout(deadline, connected).await {
            Ok(Ok(())) => Ok(program),
            Ok(Err(reason)) => Err(failed(reason)),
            Err(_) => Err(failed(format!("no CONNACK within {deadline:?}").into())),
        }
    }

    /// Runs a `mosquitto_pub` to its end, with what is in `message` as its input.
    pub(super) async fn run(self, message: &Message, deadline: Duration) -> Result<(), ClientError> {
        let program = self.spawn()?;
        let run = async {
            // One that ended before it read everything says why.
            let _ = program.write(&message.payload).await;
            program.finished().await
        };
        in_time(&publishing(message), deadline, run).await
    }
}

/// How a program ended.
#[derive(Debug, Clone)]
struct End {
    success: bool,
    /// What it said about it.
    reason: Arc<str>,
}

enum Order {
    Kill,
    Interrupt,
}

/// What the task of a program owns.
struct Driver {
    broker: SocketAddr,
    child: Child,
    said: mpsc::UnboundedSender<Printed>,
    orders: mpsc::UnboundedReceiver<Order>,
    connects: usize,
}

impl Driver {
    async fn run(mut self, stdout: ChildStdout, mut stderr: ChildStderr) -> End {
        let mut errors = Vec::new();
        let (again, _) = tokio::join!(self.read(stdout), stderr.read_to_end(&mut errors));
        let success = match self.child.wait().await {
            Ok(status) => {
                if status.signal().is_none() {
                    let _ = timeout(CLOSE_WAIT, closed_by(self.broker)).await;
                }
                status.success()
            }
            Err(_) => false,
        };
        let reason = match again {
            true => "it connected again by itself".to_owned(),
            false => reason(&String::from_utf8_lossy(&errors)),
        };
        End {
            success,
            reason: reason.into(),
        }
    }

    /// Reads until the end of the output; says whether that came because the program connected again.
    async fn read(&mut self, stdout: ChildStdout) -> bool {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        let mut again = false;
        loop {
            tokio::select! {
                // Of a read that is dropped, what came so far stays in `line`.
                read = stdout.read_until(b'\n', &mut line) => {
                    if !read.is_ok_and(|length| length > 0) {
                        return again;
                    }
                    line.pop();
                    let printed = printed::read(&line);
                    line.clear();
                    if printed == Some(Printed::Connecting) {
                        self.connects += 1;
                        if self.connects > 1 {
                            again = true;
                            let _ = self.child.start_kill();
                        }
                    }
                    if !again && let Some(printed) = printed {
                        // Nobody to hear of it: the program is being dropped.
                        let _ = self.said.send(printed);
                    }
                },
                order = self.orders.recv() => self.obey(&order.unwrap_or(Order::Kill)),
            }
        }
    }

    fn obey(&mut self, order: &Order) {
        // It has no process identifier once it has ended, and then there is nothing to do.
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(rustix::process::Pid::from_raw);
        match (order, pid) {
            (Order::Interrupt, Some(pid)) => {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            _ => {
                let _ = self.child.start_kill();
            }
        }
    }
}

/// The last thing that a program said before it ended, on one line.
fn reason(errors: &str) -> String {
    let lines = errors.lines().map(str::trim).filter(|line| !line.is_empty());
    let said: Vec<&str> = lines.collect();
    match said.is_empty() {
        true => "the program ended, and said nothing".to_owned(),
        false => said.join("; "),
    }
}

/// What a program has printed, in order.
struct Said {
    lines: mpsc::UnboundedReceiver<Printed>,
    /// Messages that came while something else was waited for.
    inbox: VecDeque<Message>,
    /// Identifiers of messages that may have come before.
    duplicates: BTreeSet<u16>,
}

impl Said {
    /// Takes the next thing: messages are kept, all else is returned. `None`: the program has ended.
    async fn take(&mut self) -> Option<Option<Printed>> {
        match self.lines.recv().await? {
            Printed::Duplicate(id) => {
                self.duplicates.insert(id);
            }
            Printed::Message(id, mut message) => {
                message.duplicate = self.duplicates.remove(&id);
                self.inbox.push_back(message);
            }
            other => return Some(Some(other)),
        }
        Some(None)
    }
}

/// A program that runs. Dropping it kills it.
pub(super) struct Program {
    broker: Broker,
    stdin: Mutex<Option<ChildStdin>>,
    said: Mutex<Said>,
    orders: mpsc::UnboundedSender<Order>,
    ended: watch::Receiver<Option<End>>,
    task: JoinHandle<()>,
}

impl Drop for Program {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Program {
    /// How it ended, once it has.
    async fn ending(&self) -> Option<End> {
        let mut ended = self.ended.clone();
        let end = ended.wait_for(Option::is_some).await.ok()?;
        end.clone()
    }

    async fn reason(&self) -> Arc<str> {
        match self.ending().await {
            Some(end) => end.reason,
            None => "the program is gone".into(),
        }
    }

    /// The error that its end is to who is connected; waits for it.
    pub(super) async fn end(&self) -> ClientError {
        ClientError::Lost {
            reason: self.reason().await,
        }
    }

    async fn finished(&self) -> Result<(), ClientError> {
        *self.stdin.lock().await = None;
        match self.ending().await {
            Some(End { success: true, .. }) => Ok(()),
            _ => Err(self.end().await),
        }
    }

    /// Ends its input, after which it disconnects.
    pub(super) async fn finish(&self, deadline: Duration) -> Result<(), ClientError> {
        in_time("disconnecting", deadline, self.finished()).await
    }

    /// Asks it to disconnect, and waits until it has.
    pub(super) async fn interrupt(&self, deadline: Duration) -> Result<(), ClientError> {
        // An error is one that has ended.
        let _ = self.orders.send(Order::Interrupt);
        if timeout(CLOSE_WAIT.min(deadline), self.ending()).await.is_err() {
            self.kill().await;
        }
        Ok(())
    }

    /// Kills it, and waits until it is gone: its connection ends without DISCONNECT.
    pub(super) async fn kill(&self) {
        let _ = self.orders.send(Order::Kill);
        self.ending().await;
    }

    async fn write(&self, bytes: &[u8]) -> std::io::Result<()> {
        let mut stdin = self.stdin.lock().await;
        let Some(stdin) = stdin.as_mut() else {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        };
        stdin.write_all(bytes).await?;
        stdin.flush().await
    }

    /// What the broker granted to the subscription that it was started with.
    pub(super) async fn granted(&self, what: &str, deadline: Duration) -> Result<Qos, ClientError> {
        let granted = async {
            let mut said = self.said.lock().await;
            loop {
                match said.take().await {
                    Some(Some(Printed::Subscribed(granted))) => {
                        return Qos::try_from(granted).map_err(|_| ClientError::Refused {
                            what: what.into(),
                            reason: format!("the broker answers {granted}").into(),
                        });
                    }
                    Some(_) => {}
                    None => return Err(self.end().await),
                }
            }
        };
        in_time(what, deadline, granted).await
    }

    /// The next message; may be dropped and called again.
    pub(super) async fn next_message(&self) -> Result<Message, ClientError> {
        let mut said = self.said.lock().await;
        loop {
            if let Some(message) = said.inbox.pop_front() {
                return Ok(message);
            }
            if said.take().await.is_none() {
                return Err(self.end().await);
            }
        }
    }

    /// Gives a message to a `mosquitto_pub -l`, as a line, and waits for what its QoS promises; of QoS 0, until it is
    /// about to be written.
    pub(super) async fn publish(&self, message: &Message, deadline: Duration) -> Result<(), ClientError> {
        let publish = async {
            let mut said = self.said.lock().await;
            if self.write(&[&message.payload[..], b"\n"].concat()).await.is_err() {
                return Err(self.end().await);
            }
            let mut sent = None;
            loop {
                match said.take().await {
                    Some(Some(Printed::Sent(_))) if message.qos == Qos::AtMostOnce => return Ok(()),
                    Some(Some(Printed::Sent(id))) => sent = Some(id),
                    Some(Some(Printed::Acknowledged(id))) if sent == Some(id) => return Ok(()),
                    Some(_) => {}
                    None => return Err(self.end().await),
                }
            }
        };
        in_time(&publishing(message), deadline, publish).await
    }
}

fn publishing(message: &Message) -> String {
    format!("publish to {} at {}", message.topic, message.qos)
}

async fn in_time<T>(
    what: &str,
    deadline: Duration,
    answer: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match timeout(deadline, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(ClientError::Unanswered {
            what: what.into(),
            within: deadline,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_what_was_said_on_one_line() {
        assert_eq!(
            reason("Error: bad\n\n  more\n"),
            "Error: bad; more",
            "the lines of an error belong together"
        );
        assert_eq!(reason(""), "the program ended, and said nothing");
    }
}
