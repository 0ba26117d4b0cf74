//! All that a switch knows: its hosts, the faults between them, and what is on its way. Knows no descriptor and no clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use robust_test_harness::seed::Seed;

use super::HOSTS_MAX;
use super::direction::{Direction, Entry, Hold, Traffic, Verdict};
use super::impairment::{Effect, HitCounter, Impairment};
use super::packet::destination;

/// What a switch decides by. Hosts have numbers from 1, by their addresses.
#[derive(Debug)]
pub(super) struct State {
    seed: Seed,
    network: [u8; 3],
    names: Vec<String>,
    /// By sender, then receiver.
    directions: Vec<Vec<Direction>>,
    faults: Vec<Arc<Entry>>,
    /// How many were added.
    added: u64,
    queue: BinaryHeap<Reverse<Waiting>>,
    /// How many packets ever waited.
    waited: u64,
    /// Packets for addresses that no host has.
    pub(super) for_nobody: u64,
}

/// A packet on its way, in the order of arrival.
#[derive(Debug)]
struct Waiting {
    due: Duration,
    order: u64,
    from: usize,
    to: usize,
    holds: Vec<Hold>,
    packet: Box<[u8]>,
}

impl Waiting {
    fn key(&self) -> (Duration, u64) {
        (self.due, self.order)
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// A packet that arrives now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) copies: u32,
}

impl State {
    pub(super) fn new(seed: Seed, network: [u8; 3]) -> Self {
        Self {
            seed,
            network,
            names: Vec::new(),
            directions: Vec::new(),
            faults: Vec::new(),
            added: 0,
            queue: BinaryHeap::new(),
            waited: 0,
            for_nobody: 0,
        }
    }

    /// The host's number, from 1. The faults that there are apply to it too.
    pub(super) fn add_host(&mut self, name: &str) -> usize {
        self.names.push(name.to_owned());
        let number = self.names.len();
        for sender in &mut self.directions {
            sender.push(Direction::default());
        }
        self.directions
            .push((0..number).map(|_| Direction::default()).collect());
        for entry in self.faults.clone() {
            for other in 1..number {
                self.apply(&entry, other, number);
                self.apply(&entry, number, other);
            }
        }
        number
    }

    /// Whether there is an address for one more host.
    pub(super) fn has_room(&self) -> bool {
        self.names.len() < HOSTS_MAX
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Adds a fault, also to what is on its way where it cuts. Its number, and what counts its hits.
    pub(super) fn add_fault(&mut self, fault: Impairment) -> (u64, Arc<HitCounter>) {
        self.added += 1;
        let hits = Arc::<HitCounter>::default();
        let entry = Arc::new(Entry {
            number: self.added,
            fault,
            hits: Arc::clone(&hits),
        });
        let count = self.names.len();
        for (from, to) in (1..=count).flat_map(|from| (1..=count).map(move |to| (from, to))) {
            self.apply(&entry, from, to);
        }
        if entry.fault.effect == Effect::Cut {
            self.cut_off(&entry);
        }
        self.faults.push(entry);
        (self.added, hits)
    }

    fn apply(&mut self, entry: &Arc<Entry>, from: usize, to: usize) {
        if from != to && entry.fault.ways.have(from, to) {
            let (number, names) = (entry.number, &self.names);
            let stream = format!("fault {number} from {} to {}", names[from - 1], names[to - 1]);
            let rng = self.seed.stream(&stream);
            self.directions[from - 1][to - 1].add(entry, rng);
        }
    }

    /// Loses what is on its way in the fault's directions.
    fn cut_off(&mut self, entry: &Entry) {
        let Self {
            queue, directions, ..
        } = self;
        queue.retain(|Reverse(waiting)| {
            let is_cut = entry.fault.ways.have(waiting.from, waiting.to);
            if is_cut {
                let direction = &mut directions[waiting.from - 1][waiting.to - 1];
                direction.bytes_waiting -= waiting.packet.len();
                direction.traffic.cut += 1;
                entry.hits.packet(waiting.packet.len());
            }
            !is_cut
        });
    }

    /// Takes a fault away: what it delayed or held arrives as it would have without it. Nothing happens when it is gone.
    pub(super) fn remove_fault(&mut self, fault: u64) {
        self.faults.retain(|entry| entry.number != fault);
        for direction in self.directions.iter_mut().flatten() {
            direction.remove(fault);
        }
        let mut all: Vec<Waiting> = std::mem::take(&mut self.queue)
            .into_iter()
            .map(|Reverse(one)| one)
            .collect();
        // In the order in which they were sent, which those that had to keep it keep.
        all.sort_by_key(|waiting| waiting.order);
        let count = self.names.len();
        let mut last = vec![Duration::ZERO; count * count];
        for waiting in &mut all {
            for hold in waiting.holds.extract_if(.., |hold| hold.fault == fault) {
                waiting.due = waiting.due.saturating_sub(hold.by);
            }
            let last = &mut last[(waiting.from - 1) * count + waiting.to - 1];
            if self.directions[waiting.from - 1][waiting.to - 1].keeps_order() {
                waiting.due = waiting.due.max(*last);
                *last = waiting.due;
            }
        }
        self.queue = all.into_iter().map(Reverse).collect();
    }

    /// What becomes of a packet that a host sent: `Some` when it arrives now. One for all (multicast, broadcast) arrives with
    /// those that are due.
    pub(super) fn send(
        &mut self,
        from: usize,
        packet: &mut [u8],
        now: impl Fn() -> Duration,
    ) -> Option<Arrival> {
        // Of other protocols there is only talk to neighbours that do not answer.
        let address = destination(packet)?;
        let [a, b, c, last] = address.octets();
        if address.is_multicast() || address.is_broadcast() || ([a, b, c], last) == (self.network, 255) {
            for to in (1..=self.names.len()).filter(|to| *to != from) {
                self.forward(from, to, &mut packet.to_vec(), now(), true);
            }
            return None;
        }
        let to = usize::from(last);
        if [a, b, c] != self.network || !(1..=self.names.len()).contains(&to) || to == from {
            self.for_nobody += 1;
            return None;
        }
        let direction = &self.directions[from - 1][to - 1];
        // What was healed may have left packets that are due and not yet delivered: no other overtakes them.
        let waits = direction.bytes_waiting > 0 && direction.keeps_order();
        if direction.is_clear() && !waits {
            return Some(Arrival { from, to, copies: 1 });
        }
        self.forward(from, to, packet, now(), waits)
    }

    /// Decides on a packet. What is not to arrive now, or is to wait anyway, waits.
    fn forward(
        &mut self,
        from: usize,
        to: usize,
        packet: &mut [u8],
        now: Duration,
        waits: bool,
    ) -> Option<Arrival> {
        let direction = &mut self.directions[from - 1][to - 1];
        let Verdict::Arrives { copies, due, holds } = direction.decide(now, packet) else {
            return None;
        };
        if due <= now && !waits {
            return Some(Arrival { from, to, copies });
        }
        for _copy in 0..copies {
            direction.bytes_waiting += packet.len();
            self.waited += 1;
            self.queue.push(Reverse(Waiting {
                due,
                order: self.waited,
                from,
                to,
                holds: holds.clone(),
                packet: Box::from(&*packet),
            }));
        }
        None
    }

    /// When the next packet arrives of those that are on their way.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.queue.peek().map(|Reverse(waiting)| waiting.due)
    }

    /// A packet whose time has come.
    pub(super) fn arrived(&mut self, now: Duration) -> Option<(Arrival, Box<[u8]>)> {
        let first = self.queue.peek_mut()?;
        if first.0.due > now {
            return None;
        }
        let Reverse(Waiting { from, to, packet, .. }) = std::collections::binary_heap::PeekMut::pop(first);
        self.directions[from - 1][to - 1].bytes_waiting -= packet.len();
        Some((Arrival { from, to, copies: 1 }, packet))
    }

    /// Takes note of whether a copy was taken by its receiver.
    pub(super) fn delivered(&mut self, arrival: Arrival, bytes: usize, is_taken: bool) {
        let traffic = &mut self.directions[arrival.from - 1][arrival.to - 1].traffic;
        if is_taken {
            traffic.packets += 1;
            traffic.bytes += bytes as u64;
        } else {
            traffic.refused += 1;
        }
    }

    /// What went from one host to the other.
    pub(super) fn traffic(&self, from: usize, to: usize) -> Traffic {
        self.directions[from - 1][to - 1].traffic
    }

    /// The address of a host.
    pub(super) fn address(&self, number: usize) -> Ipv4Addr {
        let [a, b, c] = self.network;
        // No more than 254 are made.
        Ipv4Addr::new(a, b, c, number as u8)
    }

    /// The faults that there are, in the order in which they were added.
    pub(super) fn impairments(&self) -> Vec<Impairment> {
        self.faults.iter().map(|entry| entry.fault.clone()).collect()
    }
}
