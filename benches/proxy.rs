//! The proxy without a toxic beside a direct connection, a bare loop that copies, and the crate `noxious`; what an idle
//! link holds; how exact latency and bandwidth are.
//!
//! `cargo bench --bench proxy -- [--quick] [--profile dev|release]`. Client, server and proxy share the machine's cores in
//! every case, so a proxy takes from the others what it uses.

mod support;

use std::collections::BTreeMap;

use support::options::{Options, Profile};
use support::suite::Suite;
use support::table;

fn main() {
    let options = Options::from_args(&[Profile::Release], 72);
    let suite = Suite::write(
        "bench-proxy",
        "proxy",
        "noxious = \"1\"\nbmrng = \"0.4\"\n\
         tokio = { version = \"1\", features = [\"io-util\", \"macros\", \"net\", \"rt\", \"time\"] }",
        include_str!("suites/proxy.rs"),
    );
    for &profile in &options.profiles {
        let (_, text) = suite.run(profile, options.rounds);
        report(&Measured::read(&text), profile);
    }
}

/// The numbers of each thing that was measured on each side, one a round.
struct Measured(BTreeMap<(String, String), Vec<f64>>);

impl Measured {
    /// From lines `measured WHAT SIDE NUMBER`.
    fn read(text: &str) -> Self {
        let mut all: BTreeMap<_, Vec<f64>> = BTreeMap::new();
        for line in text.lines() {
            let Some(line) = line.strip_prefix("measured ") else {
                continue;
            };
            let words: Vec<&str> = line.split(' ').collect();
            let [what, side, number] = words[..] else {
                panic!("not a measurement: {line}")
            };
            let numbers = all.entry((what.to_owned(), side.to_owned())).or_default();
            numbers.push(number.parse().expect("a number"));
        }
        Self(all)
    }

    /// Of what is a rate: all that was done in all rounds by the time that it took. A median would not do: a proxy of two tasks has
    /// rounds that take twice as long as others, depending on the processors that its threads get, and the median is one or the
    /// other.
    fn rate(&self, what: &str, side: &str) -> f64 {
        let rounds = &self.0[&(what.to_owned(), side.to_owned())];
        rounds.len() as f64 / rounds.iter().map(|rate| 1.0 / rate).sum::<f64>()
    }

    /// Of what is measured once.
    fn only(&self, what: &str) -> f64 {
        self.0[&(what.to_owned(), "proxy".to_owned())][0]
    }
}

fn report(measured: &Measured, profile: Profile) {
    table::heading(
        &format!("one connection, and many one after another ({})", profile.name()),
        &format!("cargo bench --bench proxy -- --profile {}", profile.name()),
    );
    let whats = ["throughput", "round_trips", "connections"];
    let mut rows = vec![row!["", "MiB/s", "round trips/s", "connections/s"]];
    for (label, side) in [
        ("direct", "direct"),
        ("a bare loop that copies", "bare"),
        ("noxious 1", "noxious"),
        ("the proxy", "proxy"),
    ] {
        let number = |what: &str| format!("{:.0}", measured.rate(what, side));
        rows.push(row![label, number(whats[0]), number(whats[1]), number(whats[2])]);
    }
    table::print(&rows);
    for what in whats {
        let by = |side: &str| measured.rate(what, "proxy") / measured.rate(what, side);
        let name = what.replace('_', " ");
        table::claim(
            &format!("{name}, by the bare loop, at least 0.8"),
            by("bare"),
            by("bare") >= 0.8,
        );
        table::claim(
            &format!("{name}, by noxious, at least 1.2"),
            by("noxious"),
            by("noxious") >= 1.2,
        );
    }
    let idle = measured.only("idle") / 1024.0;
    println!("\n1,000 idle links: {idle:.1} KiB each\n");
    let latency = measured.only("latency");
    table::claim(
        "latency of 50 ms, in ms, within 5 %",
        latency,
        (latency / 50.0 - 1.0).abs() <= 0.05,
    );
    let bandwidth = measured.only("bandwidth") / 1e6;
    table::claim(
        "bandwidth of 1 MB/s, in MB/s, within 5 %",
        bandwidth,
        (bandwidth - 1.0).abs() <= 0.05,
    );
}
