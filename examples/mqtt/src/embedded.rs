//! The broker `rumqttd` inside this process, and stoppable.
//!
//! `rumqttd::Broker::start` never returns, and its threads never end. [`serve`] runs the same parts, one
//! router and a server for each version of MQTT, so that they do:
//!
//! - The servers run on the caller's runtime, and spawn a task there for each connection. Dropping that
//!   runtime closes every socket, whatever a task waits for.
//! - The router is a thread of rumqttd's that holds a sender of its own channel, so that it never sees the
//!   channel's end. It ends by unwinding only; `Fuse` makes it, without a panic message or the panic hook,
//!   and with everything it owns dropped on the way.

use std::future::Future;
use std::net::SocketAddr;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttd::local::{LinkBuilder, LinkTx};
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::v5::V5;
use rumqttd::protocol::{LastWill, QoS};
use rumqttd::{ConnectionSettings, LinkType, Router, RouterConfig, Server, ServerSettings, TlsConfig};
use tokio::sync::oneshot;

use crate::settings::{BrokerSettings, Listen, ServerTls};

/// How long the router may take to end. It takes well under a millisecond when nothing is wrong.
const END_WITHIN: Duration = Duration::from_secs(5);

/// No filter matches a topic that begins with `$`, so the router drops what is published there at once, and
/// no client ever sees it.
const NOWHERE: &str = "$robust/nowhere";

/// Why a broker ended other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Its address is taken, most likely.
    #[error("the server at {listen} ended")]
    Server {
        /// The address.
        listen: SocketAddr,
        /// rumqttd's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The router did not take the link that watches and ends it.
    #[error("the router does not answer")]
    Link(#[source] Box<rumqttd::local::LinkError>),
    /// It panicked, which says on its own thread why. Its connections are closed then.
    #[error("the router ended by itself")]
    RouterDied,
    /// Its thread is still there.
    #[error("the router still runs {END_WITHIN:?} after it was ended")]
    RouterStays,
}

/// Serves MQTT 3.1.1 and MQTT 5, until `stop` is ready: rumqttd has a listener for each.
/// Clients of both share topics, retained messages and sessions.
///
/// When this future has returned or was dropped, the router's thread is gone and nothing listens. The tasks
/// of connections end with the runtime, which should be this broker's own. Dropping it blocks for the moment
/// that the router's thread needs to end.
///
/// # Errors
/// See [`BrokerError`].
pub async fn serve(
    listen: &Listen,
    settings: &BrokerSettings,
    stop: impl Future<Output = ()>,
) -> Result<(), BrokerError> {
    let router_tx = Router::new(0, router_config(settings)).spawn();
    let (canary, ended) = Canary::will();
    // Blocks until the router answers, which it does at once: it has nothing else to do yet.
    let (link, ..) = LinkBuilder::new("robust-test-link", router_tx.clone())
        .last_will(Some(canary))
        .build()
        .map_err(|error| BrokerError::Link(error.into()))?;
    let mut router = RouterThread {
        link: Some(link),
        ended,
        thread: None,
    };
    let (v4, v5) = (listen.v4, listen.v5);
    let server = |name, address| server_settings(name, address, listen.tls.as_ref(), settings);
    let mut v4_server = Server::new(server("v4", v4), router_tx.clone(), V4);
    let mut v5_server = Server::new(server("v5", v5), router_tx, V5);
    let (listen, ended) = tokio::select! {
        () = stop => return router.end(),
        () = router.ended() => return Err(BrokerError::RouterDied),
        ended = v4_server.start(LinkType::Remote) => (v4, ended),
        ended = v5_server.start(LinkType::Remote) => (v5, ended),
    };
    let source = match ended {
        Err(error) => error.into(),
        Ok(()) => "it stopped accepting".into(),
    };
    Err(BrokerError::Server { listen, source })
}

fn router_config(settings: &BrokerSettings) -> RouterConfig {
    // As in rumqttd's own `rumqttd.toml`, but for the number of connections. One more is the link to it.
    RouterConfig {
        max_connections: settings.max_connections + 1,
        max_outgoing_packet_count: 200,
        max_segment_size: 104_857_600,
        max_segment_count: 10,
        ..RouterConfig::default()
    }
}

fn server_settings(
    name: &str,
    listen: SocketAddr,
    tls: Option<&ServerTls>,
    settings: &BrokerSettings,
) -> ServerSettings {
    ServerSettings {
        name: name.to_owned(),
        listen,
        tls: tls.map(|tls| TlsConfig::Rustls {
            // It asks no client for a certificate.
            capath: None,
            certpath: tls.certificate.display().to_string(),
            keypath: tls.key.display().to_string(),
        }),
        next_connection_delay_ms: 1,
        connections: ConnectionSettings {
            connection_timeout_ms: 60_000,
            max_payload_size: settings.max_packet_bytes,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: false,
        },
    }
}

/// The router's thread. When this is dropped, it ends, and is gone.
struct RouterThread {
    link: Option<LinkTx>,
    ended: oneshot::Receiver<Thread>,
    /// Known when it has begun to end.
    thread: Option<Thread>,
}

impl RouterThread {
    /// Waits until it ends by itself.
    async fn ended(&mut self) {
        self.thread = (&mut self.ended).await.ok();
    }

    /// Ends it and blocks until it is gone.
    fn end(&mut self) -> Result<(), BrokerError> {
        let Some(mut link) = self.link.take() else {
            return Ok(());
        };
        let fuse = Fuse(std::thread::current().id());
        // An error is a router that is gone already.
        let _ = link.publish(NOWHERE, Bytes::from_owner(fuse));
        let deadline = Instant::now() + END_WITHIN;
        while Instant::now() < deadline {
            if self.thread.is_none() {
                self.thread = self.ended.try_recv().ok();
            }
            if self.thread.as_ref().is_some_and(Thread::is_gone) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        Err(BrokerError::RouterStays)
    }
}

impl Drop for RouterThread {
    fn drop(&mut self) {
        // Nobody is left to tell; what stays behind, a leak check finds.
        let _ = self.end();
    }
}

/// The payload of a message. The thread that drops it unwinds, unless it is the one that made it.
struct Fuse(ThreadId);

impl AsRef<[u8]> for Fuse {
    fn as_ref(&self) -> &[u8] {
        b"the end"
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        if !std::thread::panicking() && std::thread::current().id() != self.0 {
            // Unwinds without being a panic: no hook hears of it, and nothing is printed.
            std::panic::resume_unwind(Box::new("the broker is stopped"));
        }
    }
}

/// The payload of a last will that is never published: the router drops it when it ends, and only then.
struct Canary(Option<oneshot::Sender<Thread>>);

impl Canary {
    /// The receiver hears of the end, and on which thread it is.
    fn will() -> (LastWill, oneshot::Receiver<Thread>) {
        let (sender, ended) = oneshot::channel();
        let will = LastWill {
            topic: Bytes::from_static(NOWHERE.as_bytes()),
            message: Bytes::from_owner(Self(Some(sender))),
            qos: QoS::AtMostOnce,
            retain: false,
        };
        (will, ended)
    }
}

impl AsRef<[u8]> for Canary {
    fn as_ref(&self) -> &[u8] {
        b"alive"
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            // An error is a broker that nobody waits for.
            let _ = sender.send(Thread::current());
        }
    }
}

/// A thread that nobody can join.
#[derive(Debug)]
struct Thread {
    #[cfg(target_os = "linux")]
    id: rustix::thread::Pid,
}

impl Thread {
    fn current() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            id: rustix::thread::gettid(),
        }
    }

    /// Elsewhere than on Linux there is nothing to look at, and it is on its way.
    #[cfg_attr(not(target_os = "linux"), expect(clippy::unused_self))]
    fn is_gone(&self) -> bool {
        #[cfg(target_os = "linux")]
        return !std::path::Path::new(&format!("/proc/self/task/{}", self.id.as_raw_nonzero())).exists();
        #[cfg(not(target_os = "linux"))]
        true
    }
}
