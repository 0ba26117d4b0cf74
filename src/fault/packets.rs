//! Faults of the network between hosts, packet by packet, as impairments of a net or of some of its directions.

use robust_test_harness::case::Case;
use robust_test_harness::error::Result;
use robust_test_harness::mechanism::FaultKind;

use super::{Fault, Ongoing, Target};
use crate::cluster::Partition;
use crate::hosts::{AddedImpairment, Effect, Impairment, NAMESPACES, Net};
use crate::service::BoxFuture;

fault_kinds! {
    target: "net", mechanism: NAMESPACES,
    PACKET_CUT = "packet-cut": "every packet is lost, and nobody is told";
    PACKET_LOSS = "packet-loss": "packets are lost, each with a probability";
    PACKET_CORRUPTION = "packet-corruption": "a bit is flipped, with the checksum wrong or put right";
    PACKET_DUPLICATION = "packet-duplication": "packets arrive twice";
    PACKET_BANDWIDTH = "packet-bandwidth": "packets leave at a rate, and the rest waits or is lost";
    PACKET_DELAY = "packet-delay": "packets arrive later, by a time and a jitter, in order or not";
    PACKET_REORDERING = "packet-reordering": "packets are overtaken by later ones";
    HOST_PARTITION = "host-partition": "hosts do not hear others: isolate, split, groups, halves, ring, one way";
}

fn kind_of(effect: Effect) -> &'static FaultKind {
    match effect {
        Effect::Cut => &PACKET_CUT,
        Effect::Loss { .. } => &PACKET_LOSS,
        Effect::Corrupt { .. } => &PACKET_CORRUPTION,
        Effect::Duplicate { .. } => &PACKET_DUPLICATION,
        Effect::Bandwidth { .. } => &PACKET_BANDWIDTH,
        Effect::Delay { .. } => &PACKET_DELAY,
        Effect::Reorder { .. } => &PACKET_REORDERING,
    }
}

/// Links alone: which node is on which host it does not know.
impl Target for Net {
    fn label(&self) -> String {
        self.name().to_owned()
    }

    fn owner(&self) -> Option<Case> {
        self.case()
    }
}

struct Impaired(AddedImpairment);

impl Ongoing for Impaired {
    fn proof(&self) -> Option<String> {
        let hits = self.0.hits();
        hits.any()
            .then(|| format!("{} packets, {} bytes", hits.packets, hits.bytes))
    }

    fn heal(&mut self) -> BoxFuture<'_, Result> {
        self.0.remove();
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Fault<Net> for Impairment {
    fn kind(&self) -> &'static FaultKind {
        kind_of(self.effect())
    }

    fn describe(&self) -> String {
        self.to_string()
    }

    fn begin<'a>(&'a self, net: &'a Net) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        let begun = net.add(self.clone()).map(|added| Box::new(Impaired(added)) as _);
        Box::pin(std::future::ready(begun.map_err(Into::into)))
    }
}

impl Fault<Net> for Partition {
    fn kind(&self) -> &'static FaultKind {
        &HOST_PARTITION
    }

    fn describe(&self) -> String {
        format!("partition: {self}")
    }

    fn begin<'a>(&'a self, net: &'a Net) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        let begun = net
            .partition(self.clone())
            .map(|added| Box::new(Impaired(added)) as _);
        Box::pin(std::future::ready(begun.map_err(Into::into)))
    }
}
