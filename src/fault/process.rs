//! Faults of a node's processes: killed, stopped, frozen.

use robust_test_harness::error::Result;
use robust_test_harness::mechanism::FaultKind;

use super::{ALWAYS, Fault, Ongoing};
use crate::clock::secs;
use crate::server::Server;
use crate::service::{BoxFuture, Service};

/// Kills a node: SIGKILL to all its processes. Healing starts it again, on the same ports and data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill;

/// Stops a node as an operator does. Healing starts it again, on the same ports and data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop;

/// Freezes a node's processes: connections stay open, also new ones are made by the system, and nothing answers. Healing
/// lets them go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause;

/// Stops a node, and starts it on other ports when it is healed, as a machine that comes back under another address
/// ([`Restart::fresh_ports`](crate::server::Restart::fresh_ports)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relocate;

fault_kinds! {
    target: "node", mechanism: ALWAYS,
    KILL = "kill": "SIGKILL to all its processes; healed by a start";
    STOP = "stop": "its stop signal, SIGKILL when that is ignored; healed by a start";
    RELOCATE = "relocate": "its stop signal; healed by a start on fresh ports";
    PAUSE = "pause": "SIGSTOP to all its processes; healed by SIGCONT";
}

impl<S: Service> Fault<Server<S>> for Kill {
    fn kind(&self) -> &'static FaultKind {
        &KILL
    }

    fn begin<'a>(&'a self, server: &'a Server<S>) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        Box::pin(async move {
            let was_up = server.is_running();
            server.kill().await?;
            Ok(Down::of(server, was_up, "killed"))
        })
    }
}

impl<S: Service> Fault<Server<S>> for Stop {
    fn kind(&self) -> &'static FaultKind {
        &STOP
    }

    fn begin<'a>(&'a self, server: &'a Server<S>) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        Box::pin(async move {
            let was_up = server.is_running();
            server.stop().await?;
            Ok(Down::of(server, was_up, "stopped"))
        })
    }
}

impl<S: Service> Fault<Server<S>> for Relocate {
    fn kind(&self) -> &'static FaultKind {
        &RELOCATE
    }

    fn begin<'a>(&'a self, server: &'a Server<S>) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        Box::pin(async move {
            let was_up = server.is_running();
            server.stop().await?;
            Ok(Box::new(Down {
                has_fresh_ports: true,
                ..Down::new(server, was_up, "stopped")
            }) as Box<dyn Ongoing>)
        })
    }
}

/// A node that a fault ended.
pub(super) struct Down<S: Service> {
    server: Server<S>,
    /// Whether there was anything to end.
    was_up: bool,
    how: &'static str,
    /// Whether it comes back on other ports.
    has_fresh_ports: bool,
}

impl<S: Service> Down<S> {
    fn new(server: &Server<S>, was_up: bool, how: &'static str) -> Self {
        Self {
            server: server.clone(),
            was_up,
            how,
            has_fresh_ports: false,
        }
    }

    pub(super) fn of(server: &Server<S>, was_up: bool, how: &'static str) -> Box<dyn Ongoing> {
        Box::new(Self::new(server, was_up, how))
    }
}

impl<S: Service> Ongoing for Down<S> {
    fn proof(&self) -> Option<String> {
        self.was_up
            .then(|| format!("it was {}, and no process of it was left", self.how))
    }

    fn heal(&mut self) -> BoxFuture<'_, Result> {
        Box::pin(async {
            match self.has_fresh_ports {
                true => Ok(self.server.restarting().fresh_ports().run().await?),
                false => Ok(self.server.start().await?),
            }
        })
    }

    /// The case ends with it down.
    fn clean_up(&mut self) -> BoxFuture<'_, Result> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl<S: Service> Fault<Server<S>> for Pause {
    fn kind(&self) -> &'static FaultKind {
        &PAUSE
    }

    fn begin<'a>(&'a self, server: &'a Server<S>) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        Box::pin(async move {
            let was_awake = !server.is_paused();
            server.pause().await?;
            Ok(Box::new(Frozen {
                server: server.clone(),
                was_awake,
            }) as Box<dyn Ongoing>)
        })
    }
}

struct Frozen<S: Service> {
    server: Server<S>,
    was_awake: bool,
}

impl<S: Service> Ongoing for Frozen<S> {
    fn proof(&self) -> Option<String> {
        self.was_awake
            .then(|| "all its processes were seen stopped".to_owned())
    }

    fn heal(&mut self) -> BoxFuture<'_, Result> {
        Box::pin(async {
            self.server.resume().await?;
            // What froze it says nothing about when it answers again.
            Ok(self.server.until_healthy(secs(25)).await?)
        })
    }

    /// What ends a node ends a frozen one too.
    fn clean_up(&mut self) -> BoxFuture<'_, Result> {
        Box::pin(std::future::ready(Ok(())))
    }
}
