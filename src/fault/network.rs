//! Faults of links: every toxic, cut links, and partitions of clusters.

use robust_test_harness::error::Result;
use robust_test_harness::mechanism::{FaultKind, Mechanism};

use super::{Fault, Ongoing, unusable};
use crate::client::ClientLink;
use crate::cluster::{Cluster, Partition, Partitioned};
use crate::down::Down;
use crate::network::{AddedToxic, Effect, Hits, Proxy, Toxic};
use crate::server::Server;
use crate::service::{BoxFuture, Service};

/// A proxy in user space, which stands in front of what is `#[proxied]`.
static PROXY: Mechanism = Mechanism {
    name: "proxy",
    privilege: "none",
    probe: || Ok(()),
};

/// The kernel's table of sockets, which tells the proxies whose connections are whose.
static SOCK_DIAG: Mechanism = Mechanism {
    name: "sock-diag",
    privilege: "none",
    probe: crate::sock_diag::available,
};

fault_kinds! {
    target: "link", mechanism: PROXY,
    LATENCY = "latency": "bytes arrive later, by a time and a jitter";
    BANDWIDTH = "bandwidth": "bytes pass at a rate";
    SLICER = "slicer": "bytes arrive in small pieces";
    LIMIT_DATA = "limit-data": "the connection ends after so many bytes";
    TIMEOUT = "timeout": "bytes are lost, and the connection is closed after a while";
    BLACK_HOLE = "black-hole": "bytes are lost";
    RESET_PEER = "reset-peer": "the connection is reset after a while";
    HALF_CLOSE = "half-close": "one stream ends, the other goes on";
    SLOW_CLOSE = "slow-close": "the end of a stream arrives later";
    STALL = "stall": "bytes are held and nothing is read, as by a cut cable";
    CORRUPT = "corrupt": "single bits are flipped";
    TRUNCATE = "truncate": "the end of what arrives at once is lost";
    CUT = "cut": "connections are reset, and new ones refused, closed or never answered";
}

fault_kinds! {
    target: "cluster", mechanism: SOCK_DIAG,
    PARTITION = "partition": "nodes do not hear others: isolate, split, groups, halves, ring, one way";
}

fn kind_of(effect: Effect) -> &'static FaultKind {
    match effect {
        Effect::Latency { .. } => &LATENCY,
        Effect::Bandwidth { .. } => &BANDWIDTH,
        Effect::Slicer { .. } => &SLICER,
        Effect::LimitData { .. } => &LIMIT_DATA,
        Effect::Timeout { after: Some(_) } => &TIMEOUT,
        Effect::Timeout { after: None } => &BLACK_HOLE,
        Effect::ResetPeer { .. } => &RESET_PEER,
        Effect::HalfClose { .. } => &HALF_CLOSE,
        Effect::SlowClose { .. } => &SLOW_CLOSE,
        Effect::Stall => &STALL,
        Effect::Corrupt { .. } => &CORRUPT,
        Effect::Truncate { .. } => &TRUNCATE,
    }
}

/// What was done to bytes and connections, as a proof.
fn told(hits: Hits) -> Option<String> {
    hits.any().then(|| {
        format!(
            "{} connections, {} bytes, {} closed",
            hits.connections, hits.bytes, hits.closed
        )
    })
}

/// A toxic on one proxy or several.
struct Poisoned(Vec<AddedToxic>);

impl Poisoned {
    fn with(toxic: &Toxic, proxies: &[Proxy]) -> Box<dyn Ongoing> {
        Box::new(Self(
            proxies.iter().map(|proxy| proxy.add(toxic.clone())).collect(),
        ))
    }
}

impl Ongoing for Poisoned {
    fn proof(&self) -> Option<String> {
        told(self.0.iter().map(AddedToxic::hits).sum())
    }

    fn heal(&mut self) -> BoxFuture<'_, Result> {
        self.0.iter().for_each(AddedToxic::remove);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The proxies of a target that has to have some.
fn proxies(fault: &FaultKind, target: &str, proxies: Option<Vec<Proxy>>) -> Result<Vec<Proxy>> {
    match proxies {
        Some(proxies) if !proxies.is_empty() => Ok(proxies),
        Some(_) => Err(unusable(
            fault.name,
            target,
            "nobody has asked for the address of one of its ports yet",
        )),
        None => Err(unusable(
            fault.name,
            target,
            "it is not behind proxies; write `#[proxied]` on the parameter",
        )),
    }
}

fn of_server<S: Service>(fault: &FaultKind, server: &Server<S>) -> Result<Vec<Proxy>> {
    let all = server.place().fronts().map(|fronts| fronts.all());
    proxies(fault, server.name(), all)
}

impl Fault<Proxy> for Toxic {
    fn kind(&self) -> &'static FaultKind {
        kind_of(self.effect())
    }

    fn describe(&self) -> String {
        self.to_string()
    }

    fn begin<'a>(&'a self, proxy: &'a Proxy) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        let poisoned = Poisoned::with(self, std::slice::from_ref(proxy));
        Box::pin(std::future::ready(Ok(poisoned)))
    }
}

/// On every port of a node that is `#[proxied]`: what clients and other nodes reach it through.
impl<S: Service> Fault<Server<S>> for Toxic {
    fn kind(&self) -> &'static FaultKind {
        kind_of(self.effect())
    }

    fn describe(&self) -> String {
        self.to_string()
    }

    fn begin<'a>(&'a self, server: &'a Server<S>) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        Box::pin(async move {
            let proxies = of_server(kind_of(self.effect()), server)?;
            Ok(Poisoned::with(self, &proxies))
        })
    }
}

/// On what a client that is `#[proxied]` connects through.
impl Fault<ClientLink> for Toxic {
    fn kind(&self) -> &'static FaultKind {
        kind_of(self.effect())
    }

    fn describe(&self) -> String {
        self.to_string()
    }

    fn begin<'a>(&'a self, client: &'a ClientLink) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        Box::pin(async move {
            let proxies = proxies(kind_of(self.effect()), client.client_id(), client.proxies())?;
            Ok(Poisoned::with(self, &proxies))
        })
    }
}

/// Cuts a link, as a proxy that goes down: connections are reset, and new ones come to this. Healing brings it back on the
/// same port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut(
    /// What new connections come to.
    pub Down,
);

impl Cut {
    async fn of(self, proxies: Vec<Proxy>) -> Result<Box<dyn Ongoing>> {
        let mut cut = Severed {
            reset: proxies.iter().map(|proxy| proxy.traffic().open).sum(),
            turned_away_before: 0,
            proxies,
        };
        cut.turned_away_before = cut.turned_away();
        for proxy in &cut.proxies {
            if let Err(error) = proxy.down(self.0).await {
                cut.heal().await?;
                return Err(error.into());
            }
        }
        Ok(Box::new(cut))
    }
}

struct Severed {
    proxies: Vec<Proxy>,
    /// Connections that it reset.
    reset: u64,
    turned_away_before: u64,
}

impl Severed {
    fn turned_away(&self) -> u64 {
        self.proxies.iter().map(|proxy| proxy.traffic().turned_away).sum()
    }
}

impl Ongoing for Severed {
    /// Refused ones are not counted: the system refuses them.
    fn proof(&self) -> Option<String> {
        let turned_away: u64 = self.turned_away() - self.turned_away_before;
        (self.reset + turned_away > 0)
            .then(|| format!("{} connections reset, {turned_away} turned away", self.reset))
    }

    fn heal(&mut self) -> BoxFuture<'_, Result> {
        Box::pin(async {
            for proxy in &self.proxies {
                proxy.up().await?;
            }
            Ok(())
        })
    }
}

impl Fault<Proxy> for Cut {
    fn kind(&self) -> &'static FaultKind {
        &CUT
    }

    fn begin<'a>(&'a self, proxy: &'a Proxy) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        Box::pin(self.of(vec![proxy.clone()]))
    }
}

impl<S: Service> Fault<Server<S>> for Cut {
    fn kind(&self) -> &'static FaultKind {
        &CUT
    }

    fn begin<'a>(&'a self, server: &'a Server<S>) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        Box::pin(async move { self.of(of_server(&CUT, server)?).await })
    }
}

impl Fault<ClientLink> for Cut {
    fn kind(&self) -> &'static FaultKind {
        &CUT
    }

    fn begin<'a>(&'a self, client: &'a ClientLink) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        Box::pin(async move {
            let proxies = proxies(&CUT, client.client_id(), client.proxies())?;
            self.of(proxies).await
        })
    }
}

impl Ongoing for Partitioned {
    fn proof(&self) -> Option<String> {
        told(self.hits())
    }

    fn heal(&mut self) -> BoxFuture<'_, Result> {
        self.remove();
        Box::pin(std::future::ready(Ok(())))
    }
}

impl<S: Service> Fault<Cluster<S>> for Partition {
    fn kind(&self) -> &'static FaultKind {
        &PARTITION
    }

    fn describe(&self) -> String {
        format!("partition: {self}")
    }

    /// All but the largest group that goes on together.
    fn disturbs(&self, cluster: &Cluster<S>) -> Vec<String> {
        let numbers: Vec<usize> = cluster.nodes().iter().map(Server::number).collect();
        let cut_off = self.cut_off(&numbers);
        let mut nodes = cluster.nodes();
        nodes.retain(|node| cut_off.contains(&node.number()));
        nodes.iter().map(|node| node.name().to_owned()).collect()
    }

    fn begin<'a>(&'a self, cluster: &'a Cluster<S>) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        Box::pin(async move {
            let partitioned = cluster.partition(self.clone())?;
            Ok(Box::new(partitioned) as Box<dyn Ongoing>)
        })
    }
}
