//! What becomes of packets, without a descriptor and without a clock.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use robust_test_harness::seed::Seed;

use super::direction::Traffic;
use super::impairment::{Effect, HitCounter, Impairment, Ways};
use super::packet::{Checksum, tests::udp};
use super::state::{Arrival, State};
use crate::clock::{millis, secs};

const NETWORK: [u8; 3] = [10, 7, 8];

fn address(last: u8) -> Ipv4Addr {
    let [a, b, c] = NETWORK;
    Ipv4Addr::new(a, b, c, last)
}

/// Three hosts.
struct Table {
    state: State,
    now: Duration,
    sent: u32,
}

impl Table {
    fn new(seed: u64) -> Self {
        let mut state = State::new(Seed(seed), NETWORK);
        for (number, name) in (1..).zip(["a", "b", "c"]) {
            assert_eq!(state.add_host(name), number);
        }
        Self {
            state,
            now: secs(1),
            sent: 0,
        }
    }

    fn with(fault: Impairment) -> Self {
        let mut table = Self::new(1);
        table.state.add_fault(fault);
        table
    }

    /// Sends from 1 a packet with its number, of 32 bytes: how many copies arrive at once.
    fn send(&mut self, to: u8) -> u32 {
        self.sent += 1;
        let mut packet = udp(address(to), &self.sent.to_be_bytes());
        let now = self.now;
        let arrival = self.state.send(1, &mut packet, || now);
        assert!(arrival.is_none_or(|it| (it.from, it.to) == (1, usize::from(to))));
        arrival.map_or(0, |it| it.copies)
    }

    /// What arrives until then, by number, and when it does.
    fn arrive(&mut self, until: Duration) -> Vec<(u32, Duration)> {
        let mut all = Vec::new();
        while let Some(due) = self.state.next_due().filter(|due| *due <= self.now + until) {
            let (_, packet) = self.state.arrived(due).unwrap();
            let number = u32::from_be_bytes(packet[28..].try_into().unwrap());
            all.push((number, due.saturating_sub(self.now)));
        }
        all
    }

    fn numbers(&mut self) -> Vec<u32> {
        self.arrive(secs(3600))
            .into_iter()
            .map(|(number, _)| number)
            .collect()
    }

    fn traffic(&self) -> Traffic {
        self.state.traffic(1, 2)
    }
}

fn along(fault: Impairment, from: usize, to: usize) -> Impairment {
    let ways = Ways::Pairs(BTreeSet::from([(from, to)]));
    Impairment { ways, ..fault }
}

#[test]
fn packets_go_where_they_are_addressed() {
    let mut table = Table::new(1);
    assert_eq!([table.send(2), table.send(3)], [1, 1]);
    assert_eq!([table.send(1), table.send(4), table.send(0)], [0, 0, 0]);
    assert_eq!(table.state.for_nobody, 3);
    let now = Duration::ZERO;
    for to in [address(255), Ipv4Addr::BROADCAST, Ipv4Addr::new(239, 1, 2, 3)] {
        assert_eq!(table.state.send(2, &mut udp(to, b"all"), || now), None);
        let mut reached = BTreeSet::new();
        while let Some((
            Arrival {
                from: 2,
                to,
                copies: 1,
            },
            packet,
        )) = table.state.arrived(now)
        {
            assert_eq!(packet[28..], *b"all");
            reached.insert(to);
        }
        assert_eq!(reached, BTreeSet::from([1, 3]));
    }
    // Of another protocol, of another network, and none.
    table.state.send(1, &mut [0x60; 60], || now);
    assert_eq!(table.state.for_nobody, 3);
    table
        .state
        .send(1, &mut udp(Ipv4Addr::new(10, 7, 9, 2), b""), || now);
    table.state.send(1, &mut [], || now);
    assert_eq!(table.state.for_nobody, 4);
}

#[test]
fn a_cut_is_of_its_direction_and_takes_what_is_on_its_way() {
    let mut table = Table::with(Impairment::delay(millis(10)));
    table.send(2);
    table.send(3);
    let (cut, hits) = table.state.add_fault(along(Impairment::cut(), 1, 2));
    table.send(2);
    table.send(3);
    assert_eq!(table.numbers(), [2, 4]);
    assert_eq!((hits.now().packets, hits.now().bytes), (2, 64));
    assert_eq!(table.traffic().cut, 2);
    table.state.remove_fault(cut);
    table.send(2);
    assert_eq!((table.numbers(), hits.now().packets), (vec![5], 2));
    // The other way all was well.
    let mut back = udp(address(1), &9_u32.to_be_bytes());
    table.state.add_fault(along(Impairment::cut(), 1, 2));
    table.state.send(2, &mut back, || secs(1));
    assert_eq!(table.numbers(), [9]);
}

#[test]
fn the_same_seed_decides_the_same_and_each_direction_on_its_own() {
    let fates = |seed, to| {
        let mut table = Table::new(seed);
        table.state.add_fault(Impairment::loss(0.3));
        table.state.add_fault(Impairment::duplicate(0.3));
        (0..200).map(|_| table.send(to)).collect::<Vec<u32>>()
    };
    let fate = fates(1, 2);
    assert_eq!(fate, fates(1, 2));
    assert_ne!(fate, fates(2, 2));
    assert_ne!(fate, fates(1, 3));
    assert_eq!(BTreeSet::from_iter(fate.clone()), BTreeSet::from([0, 1, 2]));
    // What is sent elsewhere moves no draw.
    let mut table = Table::new(1);
    table.state.add_fault(Impairment::loss(0.3));
    table.state.add_fault(Impairment::duplicate(0.3));
    let both: Vec<u32> = (0..200)
        .map(|_| {
            table.send(3);
            table.send(2)
        })
        .collect();
    assert_eq!(both, fate);
    let lost = fate.iter().filter(|copies| **copies == 0).count() as u64;
    assert_eq!(table.traffic().lost, lost);
    assert!((30..90).contains(&lost), "{lost}");
}

#[test]
fn a_delay_keeps_the_order_unless_it_is_told_not_to() {
    let mut table = Table::with(Impairment::delay(millis(50)).jitter(millis(40)));
    let arrive = |table: &mut Table| {
        for _ in 0..100 {
            assert_eq!(table.send(2), 0);
        }
        let all = table.arrive(millis(90));
        assert_eq!(all.len(), 100);
        assert!(all.iter().all(|(_, at)| (millis(10)..=millis(90)).contains(at)));
        all.into_iter().map(|(number, _)| number).collect::<Vec<u32>>()
    };
    assert_eq!(arrive(&mut table), Vec::from_iter(1..=100));
    assert_eq!(table.traffic().delayed, 100);
    let mut table = Table::with(Impairment::delay(millis(50)).jitter(millis(40)).reordering());
    let mut numbers = arrive(&mut table);
    assert_ne!(numbers, Vec::from_iter(1..=100));
    numbers.sort_unstable();
    assert_eq!(numbers, Vec::from_iter(1..=100));
}

#[test]
fn what_was_delayed_arrives_when_that_is_healed_and_no_sooner_for_other_faults() {
    let mut table = Table::new(1);
    let (long, _) = table.state.add_fault(Impairment::delay(secs(10)));
    let (short, _) = table.state.add_fault(Impairment::delay(millis(5)));
    let (lossy, _) = table.state.add_fault(Impairment::loss(0.0));
    for _ in 0..3 {
        table.send(2);
    }
    table.state.remove_fault(lossy);
    assert_eq!(table.arrive(secs(9)), []);
    table.state.remove_fault(long);
    let at = millis(5);
    assert_eq!(table.arrive(secs(1)), [(1, at), (2, at), (3, at)]);
    table.send(2);
    table.send(2);
    table.state.remove_fault(short);
    // One that is sent before they are delivered does not overtake them.
    assert_eq!(table.send(2), 0);
    let at = Duration::ZERO;
    assert_eq!(table.arrive(at), [(4, at), (5, at), (6, at)]);
    assert_eq!(table.send(2), 1);
    table.state.remove_fault(short);
}

#[test]
fn a_bandwidth_spaces_packets_and_its_queue_loses_the_last() {
    // Each packet of 32 bytes takes 32 ms; three of them may wait.
    let mut table = Table::with(Impairment::bandwidth(1000, 96));
    for _ in 0..5 {
        table.send(2);
    }
    let at = |number: u32| (number, millis(32) * number);
    assert_eq!(table.arrive(secs(1)), [at(1), at(2), at(3)]);
    assert_eq!(table.traffic().overflowed, 2);
    // One that is larger than the queue passes where none waits.
    table.now += secs(1);
    let mut large = udp(address(2), &[7; 500]);
    let now = table.now;
    assert_eq!(table.state.send(1, &mut large, || now), None);
    let due = table.state.next_due().unwrap();
    assert_eq!(due - now, millis(528));
    assert!(table.state.arrived(due).is_some());
    // Each direction has its own.
    table.send(2);
    assert_eq!(table.arrive(secs(1)), []);
    table.send(3);
    assert_eq!(table.arrive(secs(1)), [(7, millis(32))]);
}

#[test]
fn a_packet_that_is_held_is_overtaken() {
    let mut table = Table::with(Impairment::reorder(0.2, millis(10)));
    let at_once: Vec<u32> = (1..=100).filter(|_| table.send(2) == 1).collect();
    let held = table.numbers();
    assert_eq!(held.len() + at_once.len(), 100);
    assert!((5..40).contains(&held.len()), "{held:?}");
    assert_eq!(table.traffic().reordered, held.len() as u64);
}

#[test]
fn faults_act_in_the_order_of_their_kinds_whatever_was_added_first() {
    // Copies are made before they are held, and take their share of the rate.
    let mut table = Table::with(Impairment::delay(millis(1)));
    table.state.add_fault(Impairment::bandwidth(1000, 1 << 20));
    table.state.add_fault(Impairment::duplicate(1.0));
    table.send(2);
    table.send(2);
    let (first, second) = (millis(65), millis(129));
    assert_eq!(
        table.arrive(secs(1)),
        [(1, first), (1, first), (2, second), (2, second)]
    );
    let mut table = Table::with(Impairment::delay(secs(1)));
    table.state.add_fault(Impairment::cut());
    table.send(2);
    assert_eq!((table.traffic().cut, table.traffic().delayed), (1, 0));
}

#[test]
fn corruption_is_counted_where_it_flips_something() {
    let mut table = Table::with(Impairment::corrupt(1.0, Checksum::Right));
    let good = udp(address(2), b"text");
    let mut packet = good.clone();
    assert!(table.state.send(1, &mut packet, Duration::default).is_some());
    assert_ne!(packet, good);
    let mut empty = udp(address(2), b"");
    table.state.send(1, &mut empty, Duration::default);
    assert_eq!(table.traffic().corrupted, 1);
}

#[test]
fn what_is_on_its_way_is_bounded() {
    let mut table = Table::with(Impairment::delay(secs(60)));
    let mut packet = udp(address(2), &[0; 60_000]);
    let now = table.now;
    let room = (64 << 20) / packet.len() as u64;
    for _ in 0..room + 10 {
        table.state.send(1, &mut packet, || now);
    }
    assert_eq!((table.traffic().delayed, table.traffic().overflowed), (room, 10));
    while let Some((arrival, packet)) = table.state.arrived(now + secs(60)) {
        table.state.delivered(arrival, packet.len(), true);
    }
    assert_eq!(table.traffic().packets, room);
    table.state.send(1, &mut packet, || now);
    assert_eq!(table.traffic().delayed, room + 1);
}

#[test]
fn a_host_that_is_made_later_has_the_faults_that_are_for_it() {
    let mut table = Table::new(1);
    let hits: Vec<_> = [
        Impairment::cut(),
        along(Impairment::cut(), 1, 4),
        along(Impairment::cut(), 2, 3),
    ]
    .into_iter()
    .map(|fault| table.state.add_fault(fault).1)
    .collect();
    table.state.remove_fault(1);
    assert_eq!(table.state.add_host("d"), 4);
    assert_eq!([table.send(4), table.send(2)], [0, 1]);
    let hit = |counter: &std::sync::Arc<HitCounter>| counter.now().any();
    assert_eq!(hits.iter().map(hit).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(table.state.impairments().len(), 2);
}

#[test]
fn a_net_has_an_address_for_254_hosts() {
    let mut state = State::new(Seed(1), NETWORK);
    for number in 1..=254 {
        assert!(state.has_room());
        assert_eq!(state.add_host(&number.to_string()), number);
        assert_eq!(usize::from(state.address(number).octets()[3]), number);
    }
    assert!(!state.has_room());
    let mut packet = udp(address(254), b"last");
    let arrival = state.send(1, &mut packet, Duration::default);
    assert_eq!(arrival.map(|it| it.to), Some(254));
}

#[test]
#[should_panic(expected = "a probability is between 0 and 1, and not 1.5")]
fn a_probability_is_a_probability() {
    let _ = Impairment::loss(1.5);
}

#[test]
fn faults_read_like_prose() {
    let table = [
        (Impairment::cut(), "cut (all hosts)"),
        (
            along(Impairment::loss(0.25), 1, 2),
            "loss of a packet with probability 0.25 (hosts 1 to 2)",
        ),
        (
            Impairment::delay(millis(5)).jitter(millis(1)).reordering(),
            "delay of 5 ms, give or take 1 ms, in any order (all hosts)",
        ),
        (
            Impairment::new(Effect::Corrupt {
                probability: 0.5,
                checksum: Checksum::Wrong,
            }),
            "corruption of a packet with probability 0.5, checksum wrong (all hosts)",
        ),
        (
            Impairment::reorder(0.1, millis(3)),
            "hold of a packet with probability 0.1 for 3 ms (all hosts)",
        ),
        (
            Impairment::bandwidth(1000, 64_000),
            "bandwidth of 1000 bytes a second, 64000 waiting (all hosts)",
        ),
        (
            Impairment::duplicate(1.0),
            "duplication of a packet with probability 1 (all hosts)",
        ),
    ];
    for (fault, text) in table {
        assert_eq!(fault.to_string(), text);
    }
}
