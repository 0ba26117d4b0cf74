//! Servers: from start to ready under the harness beside the same program by hand, and 64 of them at once.
//!
//! `cargo bench --bench servers -- [--quick] [--profile dev|release] [--rounds N]`. Servers that are not installed are
//! left out, and said so.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use support::options::{Options, Profile};
use support::suite::Suite;
use support::table;

/// What the harness may add to a start.
const ADDED_MS_MAX: f64 = 5.0;

/// A line `measured NAME ROUNDS A B` of the suite.
struct Measured {
    name: String,
    rounds: String,
    first_ms: f64,
    second_ms: f64,
}

impl Measured {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("measured ")?.split(' ');
        let mut next = || words.next();
        let (name, rounds) = (next()?.replace('_', " "), next()?.to_owned());
        let ms = |word: Option<&str>| Some(word?.parse::<f64>().ok()? / 1e3);
        Some(Self {
            name,
            rounds,
            first_ms: ms(next())?,
            second_ms: ms(next())?,
        })
    }
}

/// So many cases, one after another in one worker.
const CASES: usize = 50;

/// What one case costs, of many; `None` when they were skipped.
fn case_ms(program: &Path, case: &str) -> Option<f64> {
    let run = |cases: usize| {
        let begin = Instant::now();
        let output = Command::new(program)
            .args([
                case,
                "--ignored",
                "--test-threads",
                "1",
                "--repeat",
                &cases.to_string(),
            ])
            .output()
            .expect("the suite runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{case} failed:\n{text}");
        (begin.elapsed(), text.contains(" skipped: "))
    };
    // The run itself, the worker's start and the first server are no part of it.
    let ((one, is_skipped), (all, _)) = (run(1), run(CASES + 1));
    (!is_skipped).then(|| (all.as_secs_f64() - one.as_secs_f64()) * 1e3 / CASES as f64)
}

fn main() {
    let options = Options::from_args(&[Profile::Dev], 31);
    let suite = Suite::write(
        "bench-servers",
        "servers",
        "tokio = { version = \"1\", features = [\"io-util\", \"net\", \"rt\", \"sync\", \"macros\", \"time\"] }",
        include_str!("suites/servers.rs"),
    );
    for &profile in &options.profiles {
        let (program, text) = suite.run(profile, options.rounds);
        let measured: Vec<Measured> = text.lines().filter_map(Measured::read).collect();
        let of = |prefix: &str| -> Vec<(String, &Measured)> {
            let found = measured.iter().filter_map(|one| {
                let name = one.name.strip_prefix(prefix)?;
                Some((name.to_owned(), one))
            });
            found.collect()
        };
        let command = format!("cargo bench --bench servers -- --profile {}", profile.name());
        table::heading(&format!("From start to ready ({})", profile.name()), &command);
        let mut rows = vec![row!["", "rounds", "by the harness", "by hand", "added"]];
        for (kind, one) in of("start:") {
            rows.push(row![
                kind,
                one.rounds,
                format!("{:.1} ms", one.first_ms),
                format!("{:.1} ms", one.second_ms),
                format!("{:.1} ms", one.first_ms - one.second_ms),
            ]);
        }
        table::print(&rows);
        for (kind, one) in of("start:") {
            let added = one.first_ms - one.second_ms;
            table::claim(
                &format!("{kind}: added to a start, under {ADDED_MS_MAX} ms"),
                added,
                added < ADDED_MS_MAX,
            );
        }
        table::heading(&format!("64 servers of one kind ({})", profile.name()), &command);
        let mut rows = vec![row!["", "all at once", "one after another", "by all at once"]];
        for (kind, one) in of("64:") {
            rows.push(row![
                kind,
                format!("{:.0} ms", one.first_ms),
                format!("{:.0} ms", one.second_ms),
                format!("{:.2}", one.second_ms / one.first_ms),
            ]);
        }
        table::print(&rows);
        table::heading(&format!("What a case costs ({})", profile.name()), &command);
        let mut rows = vec![row![
            "",
            "cases",
            "fresh server",
            "shared server",
            "fresh by shared"
        ]];
        for kind in ["redis", "etcd"] {
            let cost = |manner: &str| case_ms(&program, &format!("server={kind}_{manner}]"));
            if let (Some(fresh), Some(shared)) = (cost("fresh"), cost("shared")) {
                rows.push(row![
                    kind,
                    CASES,
                    format!("{fresh:.2} ms"),
                    format!("{shared:.2} ms"),
                    format!("{:.0}", fresh / shared),
                ]);
            }
        }
        table::print(&rows);
        for line in text
            .lines()
            .filter(|line| line.contains(" skipped: ") && line.contains("PATH"))
        {
            println!("{line}");
        }
    }
}
