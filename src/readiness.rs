//! When a started node counts as ready.
//!
//! Conditions are looked at again and again until all hold, the node ends, or the time is over; nothing here sleeps
//! for a fixed time and hopes. The looks are 1 to 20 ms apart: a twentieth of what the start has taken so far, so
//! that they prolong no start by more than that.

use std::fmt;
use std::future::Future;
use std::io::ErrorKind;
use std::pin::Pin;
use std::time::Duration;

use crate::clock::{Began, Deadline, human, within};
use crate::eventually::Attempt;
use crate::exit::Exit;
use crate::instance::Instance;
use crate::launch::StartError;
use crate::listener::{Owner, owner};
use crate::place::Place;

const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// How long a connection to a port may take before its listener counts as one that takes no more of them.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// A listener's owner is looked up in several steps, between which processes fork and end: only what is seen
/// that often in a row is believed to be foreign.
const SIGHTINGS: u32 = 3;

/// A condition for readiness: [`tcp`], [`log_line`] or [`probe`].
#[must_use]
pub struct Ready(Condition);

enum Condition {
    Tcp {
        port: String,
        foreign: u32,
    },
    LogLine {
        text: String,
        /// Up to where the log was searched.
        searched: Option<u64>,
    },
    Probe {
        what: String,
        attempt: Box<dyn FnMut() -> ProbeFuture + Send>,
    },
}

type ProbeFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// What one look says.
enum Look {
    Holds,
    NotYet(String),
    Never(StartError),
}

/// Ready when the port of that name accepts connections, and the listening socket is the node's own: held by
/// its process, or by one it started. A listener of another process is an error at once. (Only Linux tells
/// who listens; elsewhere the connection alone counts.)
pub fn tcp(port: impl Into<String>) -> Ready {
    Ready(Condition::Tcp {
        port: port.into(),
        foreign: 0,
    })
}

/// Ready when a line with this text is in the log since this start.
pub fn log_line(text: impl Into<String>) -> Ready {
    Ready(Condition::LogLine {
        text: text.into(),
        searched: None,
    })
}

/// Ready when an attempt of your own holds, as in [`crate::eventually::eventually`].
///
/// ```
/// # use robust_test::prelude::*;
/// # async fn ping(address: std::net::SocketAddr) -> Result<bool> { Ok(true) }
/// # fn example<S: Service>(node: &Node<S>) {
/// let address = node.address("redis");
/// node.command("redis-server").ready_when(probe("PING is answered", move || ping(address)));
/// # }
/// ```
pub fn probe<M, F>(what: impl Into<String>, mut attempt: M) -> Ready
where
    M: FnMut() -> F + Send + 'static,
    F: Future<Output: Attempt> + Send + 'static,
{
    Ready(Condition::Probe {
        what: what.into(),
        attempt: Box::new(move || {
            let attempt = attempt();
            Box::pin(async { attempt.await.outcome().map(drop) })
        }),
    })
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Condition::Tcp { port, .. } => write!(f, "port `{port}` accepts connections"),
            Condition::LogLine { text, .. } => write!(f, "`{text}` is in the log"),
            Condition::Probe { what, .. } => f.write_str(what),
        }
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ready({self})")
    }
}

/// Waits until all conditions hold, one after another.
pub(crate) async fn wait(
    conditions: &mut [Ready],
    limit: Duration,
    place: &Place,
    instance: &Instance,
) -> Result<(), StartError> {
    let exited = |exit: Exit| StartError::Exited {
        node: place.name().to_owned(),
        hint: if exit == Exit::Status(0) {
            " (a program that puts itself in the background must be told to stay in the foreground)"
        } else {
            ""
        },
        exit,
        log: instance.tail(),
    };
    let (began, deadline) = (Began::now(), Deadline::after(limit));
    for condition in conditions {
        let mut last = "no answer".to_owned();
        loop {
            if let Some(exit) = instance.exit_now() {
                return Err(exited(exit));
            }
            // A look may hang, on a server that accepts and says nothing.
            let looked = tokio::select! {
                biased;
                looked = within(deadline.left(), condition.look(place, instance)) => looked,
                exit = instance.exited() => return Err(exited(exit)),
            };
            match looked {
                Ok(Look::Holds) => break,
                Ok(Look::Never(error)) => return Err(error),
                Ok(Look::NotYet(reason)) => last = reason,
                Err(_) => {}
            }
            if deadline.passed() {
                return Err(StartError::NotReady {
                    node: place.name().to_owned(),
                    within: limit,
                    probed: condition.to_string(),
                    last,
                    log: instance.tail(),
                });
            }
            tokio::select! {
                exit = instance.exited() => return Err(exited(exit)),
                () = tokio::time::sleep(pause(began.elapsed()).min(deadline.left())) => {}
            }
        }
    }
    // A program that fails at once, in a kind without conditions, or just after the last one held.
    instance.exit_now().map_or(Ok(()), |exit| Err(exited(exit)))
}

/// How long to wait for the next look at a start that has taken so long.
fn pause(elapsed: Duration) -> Duration {
    (elapsed / 20).clamp(PAUSE_MIN, PAUSE_MAX)
}

/// Whether all conditions hold now: one look at each, all within `limit`; why not otherwise.
pub(crate) async fn holds_now(
    conditions: &mut [Ready],
    limit: Duration,
    place: &Place,
    instance: &Instance,
) -> Result<(), String> {
    let deadline = Deadline::after(limit);
    for condition in conditions {
        let reason = match within(deadline.left(), condition.look(place, instance)).await {
            Ok(Look::Holds) => continue,
            Ok(Look::NotYet(reason)) => reason,
            Ok(Look::Never(error)) => error.to_string(),
            Err(_) => format!("no answer within {}", human(limit)),
        };
        return Err(format!("not so: {condition}: {reason}"));
    }
    Ok(())
}

impl Ready {
    async fn look(&mut self, place: &Place, instance: &Instance) -> Look {
        match &mut self.0 {
            Condition::Tcp { port, foreign } => look_tcp(port, foreign, place, instance).await,
            Condition::LogLine { text, searched } => look_log(text, searched, place, instance),
            Condition::Probe { attempt, .. } => match attempt().await {
                Ok(()) => Look::Holds,
                Err(reason) => Look::NotYet(reason),
            },
        }
    }
}

/// A refused connection costs next to nothing; who listens is looked up only where one is accepted.
async fn look_tcp(name: &str, foreign: &mut u32, place: &Place, instance: &Instance) -> Look {
    let port = match place.port(name) {
        Ok(port) => port,
        Err(error) => return Look::NotYet(error.to_string()),
    };
    let connected = within(CONNECT_WITHIN, place.connect(port)).await;
    if let Ok(Err(error)) = connected {
        *foreign = 0;
        return Look::NotYet(match error.kind() {
            ErrorKind::ConnectionRefused => format!("nobody listens on port {port}"),
            _ => format!("port {port}: {error}"),
        });
    }
    let owner = match place.seat() {
        // Nobody else is on its host.
        Some(_) => Owner::Unknown,
        None => owner(port, instance.family()),
    };
    match owner {
        Owner::Nobody => Look::NotYet(format!("nobody listens on port {port}")),
        Owner::Other(process) => {
            *foreign += 1;
            if *foreign < SIGHTINGS {
                return Look::NotYet(format!("{process} listens on port {port}"));
            }
            Look::Never(StartError::ForeignListener {
                node: place.name().to_owned(),
                port,
                owner: process,
            })
        }
        Owner::Ours | Owner::Unknown if connected.is_err() => {
            let limit = human(CONNECT_WITHIN);
            Look::NotYet(format!("port {port} took no connection within {limit}"))
        }
        Owner::Ours | Owner::Unknown => Look::Holds,
    }
}

fn look_log(text: &str, searched: &mut Option<u64>, place: &Place, instance: &Instance) -> Look {
    let from = searched.unwrap_or_else(|| instance.log_begin());
    let bytes = match place.log().since(from) {
        Ok(bytes) => bytes,
        Err(error) => return Look::NotYet(format!("its log cannot be read: {error}")),
    };
    if String::from_utf8_lossy(&bytes).contains(text) {
        return Look::Holds;
    }
    // The text may be half written: search from its possible beginning next time.
    let overlap = text.len().saturating_sub(1);
    *searched = Some(from + bytes.len().saturating_sub(overlap) as u64);
    Look::NotYet("no such line yet".to_owned())
}
