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
    let options = Options::from_args(&[Profile::Release], 216);
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

/// The number of each thing that was measured on each side.
struct Measured(BTreeMap<(String, String), f64>);

impl Measured {
    /// From lines `measured WHAT SIDE NUMBER`.
    fn read(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.strip_prefix("measured "));
        let measured = lines.map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [what, side, number] = words[..] else {
                panic!("not a measurement: {line}")
            };
            let number = number.parse().expect("a number");
            ((what.to_owned(), side.to_owned()), number)
        });
        Self(measured.collect())
    }

    fn of(&self, what: &str, side: &str) -> f64 {
        self.0[&(what.to_owned(), side.to_owned())]
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
        let number = |what: &str| format!("{:.0}", measured.of(what, side));
        rows.push(row![label, number(whats[0]), number(whats[1]), number(whats[2])]);
    }
    table::print(&rows);
    for what in whats {
        let by = |side: &str| measured.of(what, "proxy") / measured.of(what, side);
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
    let idle = measured.of("idle", "proxy") / 1024.0;
    println!("\n1,000 idle links: {idle:.1} KiB each\n");
    let latency = measured.of("latency", "proxy");
    table::claim(
        "latency of 50 ms, in ms, within 5 %",
        latency,
        (latency / 50.0 - 1.0).abs() <= 0.05,
    );
    let bandwidth = measured.of("bandwidth", "proxy") / 1e6;
    table::claim(
        "bandwidth of 1 MB/s, in MB/s, within 5 %",
        bandwidth,
        (bandwidth - 1.0).abs() <= 0.05,
    );
}
