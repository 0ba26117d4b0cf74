use std::time::Instant;

use robust_test_harness::seed::Seed;

use super::*;
use crate::clock::{millis, secs};
use crate::network::hits::{Counter, Hits};
use crate::network::toxic::Toxic;

fn hits(connections: u64, bytes: u64, closed: u64) -> Hits {
    Hits {
        connections,
        bytes,
        closed,
    }
}

/// A lane at a time that passes only when it is told to.
struct Fixture {
    lane: Lane,
    toxics: Vec<Arc<Entry>>,
    begin: Instant,
    now: Instant,
}

impl Fixture {
    fn new(toxics: impl IntoIterator<Item = Toxic>) -> Self {
        Self::of_connection(1, toxics)
    }

    fn of_connection(number: u64, toxics: impl IntoIterator<Item = Toxic>) -> Self {
        let begin = Instant::now();
        let connection = Connection::new(Seed(7), number, Box::new(|| None));
        let mut fixture = Self {
            lane: Lane::new(Stream::Downstream, connection, begin),
            toxics: Vec::new(),
            begin,
            now: begin,
        };
        for toxic in toxics {
            fixture.add(toxic);
        }
        fixture
    }

    fn add(&mut self, toxic: Toxic) {
        self.toxics.push(Arc::new(Entry {
            number: self.toxics.len() as u64 + 1,
            revision: 0,
            toxic,
            hits: Arc::<Counter>::default(),
        }));
        self.lane.refresh(&self.toxics, self.now);
    }

    /// The toxic's successor is the same one.
    fn change(&mut self, at: usize, toxic: Toxic) {
        let before = &self.toxics[at];
        self.toxics[at] = Arc::new(Entry {
            number: before.number,
            revision: before.revision + 1,
            toxic,
            hits: Arc::clone(&before.hits),
        });
        self.lane.refresh(&self.toxics, self.now);
    }

    fn remove_all(&mut self) -> Vec<Hits> {
        let hits = self.toxics.iter().map(|entry| entry.hits.now()).collect();
        self.lane.refresh(&[], self.now);
        hits
    }

    fn hits(&self, at: usize) -> Hits {
        self.toxics[at].hits.now()
    }

    fn at(&mut self, ms: u64) -> &mut Self {
        self.now = self.begin + millis(ms);
        self
    }

    fn take(&mut self, bytes: &[u8]) {
        self.lane.take(bytes, self.now);
    }

    /// What passes now, piece by piece, and what is to be done then.
    fn pass(&mut self) -> (Vec<Vec<u8>>, Step) {
        let mut passed = Vec::new();
        loop {
            match self.lane.step(self.now) {
                Step::Write => {
                    let piece = self.lane.head().to_vec();
                    self.lane.wrote(piece.len());
                    passed.push(piece);
                }
                other => return (passed, other),
            }
        }
    }

    fn passed(&mut self) -> usize {
        self.pass().0.iter().map(Vec::len).sum()
    }

    /// When it has to be looked at again, in milliseconds from the beginning.
    fn waits(&mut self) -> Option<u128> {
        match self.lane.step(self.now) {
            Step::Wait { until, .. } => Some((until? - self.begin).as_millis()),
            other => panic!("{other:?}"),
        }
    }

    fn reads(&mut self) -> bool {
        matches!(self.lane.step(self.now), Step::Wait { reads: true, .. })
    }
}

#[test]
fn without_toxics_it_is_plain_and_bytes_pass_at_once() {
    let mut fixture = Fixture::new([]);
    assert!(fixture.lane.is_plain());
    fixture.take(b"abc");
    assert_eq!(fixture.pass().0, [b"abc"]);
    fixture.lane.end_of_input(false, fixture.now);
    assert_eq!(fixture.pass().1, Step::Finish);
    assert_eq!(fixture.pass().1, Step::Done);
}

#[test]
fn latency_holds_bytes_and_the_end_and_lets_them_go_when_it_is_changed() {
    let mut fixture = Fixture::new([Toxic::latency(millis(50))]);
    fixture.take(b"first");
    fixture.at(10).take(b"second");
    fixture.lane.end_of_input(false, fixture.now);
    assert_eq!((fixture.passed(), fixture.waits()), (0, Some(50)));
    assert_eq!(fixture.at(50).passed(), 5);
    assert_eq!(fixture.at(59).passed(), 0);
    assert_eq!(fixture.at(60).pass(), (vec![b"second".to_vec()], Step::Finish));
    assert_eq!(fixture.hits(0), hits(1, 11, 0));

    let mut fixture = Fixture::new([Toxic::latency(secs(50))]);
    fixture.take(b"bytes");
    assert_eq!(fixture.at(20).passed(), 0);
    fixture.change(0, Toxic::latency(millis(30)));
    assert_eq!((fixture.passed(), fixture.at(30).passed()), (0, 5));
    fixture.take(b"more");
    fixture.remove_all();
    assert_eq!(fixture.passed(), 4);
}

#[test]
fn jitter_spreads_but_keeps_the_order() {
    let mut fixture = Fixture::new([Toxic::latency(millis(50)).jitter(millis(40))]);
    for number in 0..100u8 {
        fixture.at(number.into()).take(&[number]);
    }
    let mut times = Vec::new();
    for ms in 0..200 {
        let (pieces, _) = fixture.at(ms).pass();
        times.extend(pieces.into_iter().map(|piece| (piece[0], ms)));
    }
    assert_eq!(
        times.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
        (0..100).collect::<Vec<u8>>()
    );
    let late: Vec<u64> = times.iter().map(|(number, ms)| ms - u64::from(*number)).collect();
    assert!(late.iter().all(|late| (10..=91).contains(late)), "{late:?}");
    assert!(
        late.iter().any(|late| *late < 45) && late.iter().any(|late| *late > 75),
        "{late:?}"
    );
}

#[test]
fn bandwidth_paces_exactly_and_makes_the_sender_wait() {
    let mut fixture = Fixture::new([Toxic::bandwidth(1_000_000)]);
    let mut passed = 0;
    for ms in 0..=2000 {
        fixture.at(ms);
        while fixture.reads() {
            fixture.take(&[0; 8192]);
        }
        passed += fixture.passed();
    }
    assert!(
        (1_980_000..=2_000_000).contains(&passed),
        "{passed} bytes in 2 s at 1 MB/s"
    );
    // Less than a tenth of a second is read ahead.
    assert!(fixture.lane.queued < 100_000, "{}", fixture.lane.queued);
}

#[test]
fn what_a_stall_held_does_not_break_a_bandwidth_afterwards() {
    let mut fixture = Fixture::new([Toxic::bandwidth(10_000), Toxic::stall()]);
    fixture.take(&[0; 1000]);
    assert_eq!(fixture.at(5000).passed(), 0);
    fixture.toxics.pop();
    let toxics = fixture.toxics.clone();
    fixture.lane.refresh(&toxics, fixture.now);
    assert_eq!(fixture.at(5050).passed(), 500);
    assert_eq!(fixture.at(5100).passed(), 500);
}

#[test]
fn slices_are_of_the_asked_size_and_apart() {
    let mut fixture = Fixture::new([Toxic::slicer(10, 5, millis(20))]);
    fixture.take(&[7; 200]);
    let (mut pieces, mut last) = (Vec::new(), None);
    for ms in 0..1000 {
        for piece in fixture.at(ms).pass().0 {
            assert!(last.is_none_or(|last| ms - last == 20), "at {ms} after {last:?}");
            last = Some(ms);
            pieces.push(piece.len());
        }
    }
    assert_eq!(pieces.iter().sum::<usize>(), 200);
    let whole = &pieces[..pieces.len() - 1];
    assert!(whole.iter().all(|size| (5..=15).contains(size)), "{pieces:?}");
    assert!(whole.iter().any(|size| *size != 10), "{pieces:?}");
    assert_eq!(fixture.hits(0), hits(1, 200, 0));
}

#[test]
fn a_limit_passes_so_many_bytes_and_closes() {
    let mut fixture = Fixture::new([Toxic::limit_data(10)]);
    fixture.take(b"1234567");
    assert!(matches!(fixture.pass().1, Step::Wait { .. }));
    fixture.take(b"890abc");
    assert_eq!(fixture.pass(), (vec![b"890".to_vec()], Step::Close));
    assert_eq!(fixture.hits(0), hits(1, 3, 1));
}

#[test]
fn a_timeout_loses_bytes_and_closes_and_a_black_hole_never_does() {
    let mut fixture = Fixture::new([Toxic::timeout(millis(100))]);
    fixture.take(b"lost");
    assert_eq!((fixture.passed(), fixture.waits()), (0, Some(100)));
    assert_eq!(fixture.at(100).pass(), (vec![], Step::Close));

    let mut fixture = Fixture::new([Toxic::black_hole()]);
    fixture.take(b"lost");
    fixture.lane.end_of_input(false, fixture.now);
    assert_eq!((fixture.at(100_000).passed(), fixture.waits()), (0, None));
    assert_eq!(fixture.remove_all(), [hits(1, 4, 0)]);
    // Its end is told then.
    assert_eq!(fixture.pass(), (vec![], Step::Finish));
}

#[test]
fn a_stall_loses_nothing_and_reads_nothing() {
    let mut fixture = Fixture::new([]);
    fixture.take(b"on its way");
    fixture.add(Toxic::stall());
    assert_eq!(fixture.hits(0), hits(1, 10, 0));
    assert!(!fixture.reads());
    assert_eq!(fixture.at(100_000).passed(), 0);
    fixture.remove_all();
    assert_eq!(fixture.passed(), 10);
    assert!(fixture.reads());

    let mut fixture = Fixture::new([Toxic::stall()]);
    assert!(matches!(
        fixture.lane.step(fixture.now),
        Step::Wait { looks: true, .. }
    ));
    assert_eq!(fixture.hits(0), Hits::default());
    fixture.lane.holds_something();
    assert!(matches!(
        fixture.lane.step(fixture.now),
        Step::Wait { looks: false, .. }
    ));
    assert!(fixture.hits(0).any());
}

#[test]
fn what_was_read_as_a_stall_began_is_held_and_counted() {
    let mut fixture = Fixture::new([Toxic::stall()]);
    fixture.take(b"held");
    assert_eq!(fixture.hits(0), hits(1, 4, 0));
    assert_eq!(fixture.at(1000).passed(), 0);
    assert_eq!(fixture.remove_all(), [hits(1, 4, 0)]);
    assert_eq!(fixture.passed(), 4);
}

#[test]
fn resets_and_half_closes_come_in_time() {
    let mut fixture = Fixture::new([Toxic::reset_peer(millis(10))]);
    fixture.take(b"passes");
    assert_eq!((fixture.passed(), fixture.waits()), (6, Some(10)));
    assert_eq!(fixture.at(10).pass().1, Step::Reset);
    assert_eq!(fixture.hits(0), hits(1, 0, 1));

    let mut fixture = Fixture::new([Toxic::half_close(millis(10))]);
    fixture.take(b"passes");
    assert_eq!(fixture.passed(), 6);
    assert_eq!(fixture.at(10).pass().1, Step::Finish);
    fixture.take(b"is lost");
    assert_eq!((fixture.passed(), fixture.waits()), (0, None));
    assert_eq!(fixture.hits(0), hits(1, 7, 1));
    fixture.lane.end_of_input(false, fixture.now);
    assert_eq!(fixture.pass().1, Step::Done);
}

#[test]
fn a_slow_close_delays_the_end_alone() {
    let mut fixture = Fixture::new([Toxic::slow_close(millis(30))]);
    fixture.take(b"bytes");
    fixture.lane.end_of_input(false, fixture.now);
    assert_eq!((fixture.passed(), fixture.waits()), (5, Some(30)));
    assert_eq!(fixture.at(30).pass().1, Step::Finish);
    assert_eq!(fixture.hits(0), hits(1, 0, 1));
}

#[test]
fn corruption_flips_about_as_many_bytes_as_asked_and_truncation_cuts() {
    let mut fixture = Fixture::new([Toxic::corrupt(10)]);
    fixture.take(&[0; 10_000]);
    let bytes = fixture.pass().0.concat();
    let flipped = bytes.iter().filter(|byte| **byte != 0).count();
    assert!((800..1200).contains(&flipped), "{flipped}");
    assert!(bytes.iter().all(|byte| byte.count_ones() <= 1));
    assert_eq!(fixture.hits(0).bytes, flipped as u64);

    let mut fixture = Fixture::new([Toxic::truncate(3)]);
    fixture.take(b"abcdef");
    fixture.take(b"xy");
    assert_eq!(fixture.pass().0.concat(), b"abcxy");
    assert_eq!(fixture.hits(0).bytes, 3);
}

#[test]
fn the_end_of_a_broken_stream_is_a_reset_behind_its_bytes() {
    let mut fixture = Fixture::new([Toxic::latency(millis(10))]);
    fixture.take(b"last words");
    fixture.lane.end_of_input(true, fixture.now);
    assert_eq!(fixture.at(9).passed(), 0);
    assert_eq!(fixture.at(10).pass(), (vec![b"last words".to_vec()], Step::Reset));
}

#[test]
fn a_reset_is_due_where_the_receiver_takes_nothing_as_late_as_bytes_are() {
    let mut fixture = Fixture::new([Toxic::latency(millis(10))]);
    fixture.take(b"not taken");
    assert_eq!(fixture.lane.reset_due(), None);
    fixture.lane.break_off(fixture.begin + millis(5));
    assert_eq!(fixture.lane.reset_due(), Some(fixture.begin + millis(15)));
    // One that had ended in an orderly way before.
    let mut fixture = Fixture::new([]);
    fixture.lane.end_of_input(false, fixture.now);
    assert_eq!(fixture.lane.reset_due(), None);
    fixture.lane.break_off(fixture.now + millis(5));
    assert_eq!(fixture.lane.reset_due(), Some(fixture.begin));
}

#[test]
fn a_probability_hits_its_part_of_the_connections_and_always_the_same() {
    let hit = |number| {
        let mut fixture = Fixture::of_connection(number, [Toxic::black_hole().probability(0.3)]);
        fixture.take(b"x");
        fixture.passed() == 0
    };
    let first: Vec<bool> = (0..1000).map(hit).collect();
    let count = first.iter().filter(|hit| **hit).count();
    assert!((240..360).contains(&count), "{count}");
    assert_eq!(first, (0..1000).map(hit).collect::<Vec<_>>());
}

#[test]
fn a_toxic_for_the_other_stream_does_nothing() {
    let fixture = Fixture::new([Toxic::black_hole().upstream()]);
    assert!(fixture.lane.is_plain());
}

#[test]
fn what_a_toxic_counts_goes_on_when_it_is_changed() {
    let mut fixture = Fixture::new([Toxic::latency(millis(1))]);
    fixture.take(b"abc");
    fixture.change(0, Toxic::truncate(1));
    fixture.take(b"abc");
    assert_eq!(fixture.hits(0), hits(1, 5, 0));
    assert_eq!(fixture.at(1).pass().0.concat(), b"abca");
}
