//! What scenarios cost to compile: clean (the suite alone, its dependencies built) and after one body changed.
//!
//! `cargo bench --bench compile_time -- [--quick] [--rounds N]`

mod support;

use std::time::Duration;

use support::build::{Package, Target, robust_test};
use support::measure::median;
use support::options::{Options, Profile};
use support::source::{self, ROBUST_HEAD, ROBUST_TAIL, functions};
use support::table;

struct Subject {
    label: String,
    package: Package,
    target: &'static str,
    source: String,
    clean: Vec<Duration>,
    incremental: Vec<Duration>,
}

/// A package for each: cleaning one must not clean the others.
fn subject(label: String, name: &'static str, libtest: bool, source: String) -> Subject {
    let tokio = "tokio = { version = \"1\", features = [\"macros\", \"rt\"] }\n";
    let dependencies = if libtest { tokio.to_owned() } else { robust_test() };
    let package = Package::write(
        name,
        &dependencies,
        &[Target {
            name,
            libtest,
            source: source.clone(),
        }],
    );
    Subject {
        label,
        package,
        target: name,
        source,
        clean: Vec::new(),
        incremental: Vec::new(),
    }
}

fn main() {
    let options = Options::from_args(&[Profile::Dev], 5);
    let count = options.size(500, 10);
    let cells = options.size(20, 2);
    let scenarios =
        |count, signature| functions(count, ROBUST_HEAD, "#[robust_test]", signature, BODY, ROBUST_TAIL);
    let tokio_tests = |count| functions(count, "", "#[tokio::test]", "async fn", BODY, "");
    let mut subjects = [
        subject(
            format!("{count} `#[robust_test] async fn`"),
            "compile-robust",
            false,
            scenarios(count, "async fn"),
        ),
        subject(
            format!("{count} `#[tokio::test]`"),
            "compile-tokio",
            true,
            tokio_tests(count),
        ),
        subject(
            format!("a matrix of {} cases", cells * 100),
            "compile-matrix",
            false,
            matrix(cells),
        ),
        subject(
            "1 `#[robust_test] async fn`".into(),
            "compile-one",
            false,
            scenarios(1, "async fn"),
        ),
        subject(
            "1 `#[tokio::test]`".into(),
            "compile-tokio-one",
            true,
            tokio_tests(1),
        ),
    ];
    for subject in &subjects {
        subject.package.write_source(subject.target, &subject.source);
        subject.package.build(Profile::Dev);
    }
    for round in 0..options.rounds {
        for subject in &mut subjects {
            subject.package.write_source(subject.target, &subject.source);
            subject.package.clean(Profile::Dev);
            subject
                .clean
                .push(subject.package.time_build(subject.target, Profile::Dev));
            let changed = subject
                .source
                .replacen(BODY, &format!("let _changed = {round};"), 1);
            subject.package.write_source(subject.target, &changed);
            subject
                .incremental
                .push(subject.package.time_build(subject.target, Profile::Dev));
        }
    }

    table::heading("compile time (dev)", "cargo bench --bench compile_time");
    let mut rows = vec![row!["", "clean", "one body changed"]];
    for subject in &subjects {
        let [clean, incremental] = [&subject.clean, &subject.incremental].map(|times| median(times.clone()));
        rows.push(row![
            subject.label,
            table::seconds(clean),
            table::seconds(incremental)
        ]);
    }
    table::print(&rows);
    let ratio = |times: fn(&Subject) -> &Vec<Duration>, this: usize, other: usize| {
        let pairs = times(&subjects[this]).iter().zip(times(&subjects[other]));
        median(
            pairs
                .map(|(this, other)| this.as_secs_f64() / other.as_secs_f64())
                .collect(),
        )
    };
    let clean = ratio(|subject| &subject.clean, 0, 1);
    table::claim(
        &format!("{count} scenarios by {count} `#[tokio::test]`, clean, at most 1.7"),
        clean,
        clean <= 1.7,
    );
    let changed = ratio(|subject| &subject.incremental, 0, 1);
    table::claim("the same, one body changed, at most 1.7", changed, changed <= 1.7);
    let matrix = ratio(|subject| &subject.clean, 2, 3);
    table::claim(
        "the matrix by one function, clean, at most 1.2",
        matrix,
        matrix <= 1.2,
    );
}

const BODY: &str = "let _unchanged = 0;";

fn matrix(cells: u64) -> String {
    source::matrix(&[10, 10, cells]).replacen("{ let", &format!("{{ {BODY} let"), 1)
}
