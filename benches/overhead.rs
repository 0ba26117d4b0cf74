//! What a case costs beside its body: no-op cases under this runner, with workers, capture, deadlines and leak
//! checks on, and under its peers.
//!
//! `cargo bench --bench overhead -- [--quick] [--profile dev|release] [--rounds N]`

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use support::build::{Package, Target, robust_test};
use support::measure::{Side, take_turns};
use support::options::{Options, Profile};
use support::source::{ROBUST_HEAD, ROBUST_TAIL, functions};
use support::table;

fn main() {
    let options = Options::from_args(&[Profile::Dev, Profile::Release], 11);
    let count = options.size(2000, 20);
    let own = Package::write(
        "bench-overhead",
        &format!(
            "{}\nrobust-test-harness = {{ path = \"{}/harness\" }}\ntracing = \"0.1\"\n\
             tokio = {{ version = \"1\", features = [\"macros\", \"rt\"] }}\n",
            robust_test(),
            env!("CARGO_MANIFEST_DIR")
        ),
        &[
            target(
                "robust_sync",
                functions(count, ROBUST_HEAD, "#[robust_test]", "fn", "", ROBUST_TAIL),
            ),
            target(
                "robust_async",
                functions(count, ROBUST_HEAD, "#[robust_test]", "async fn", "", ROBUST_TAIL),
            ),
            target(
                "robust_log",
                parts(count, "tracing::info!(number = 7, \"a line\");"),
            ),
            target("robust_folder", parts(count, "case.folder()?;")),
            target("robust_look", LOOK.to_owned()),
            libtest("libtest_sync", functions(count, "", "#[test]", "fn", "", "")),
            libtest(
                "libtest_tokio",
                functions(count, "", "#[tokio::test]", "async fn", "", ""),
            ),
        ],
    );
    let peers = Package::write(
        "bench-overhead-peers",
        "skuld = \"0.6\"\ntest-r = \"3\"\n",
        &[
            target(
                "peer_test_r",
                functions(count, "test_r::enable!();", "#[test_r::test]", "fn", "", ""),
            ),
            target(
                "peer_skuld",
                functions(
                    count,
                    "",
                    "#[skuld::test]",
                    "fn",
                    "",
                    "fn main() { skuld::run_all() }",
                ),
            ),
        ],
    );
    for &profile in &options.profiles {
        let programs = own.build(profile);
        let peer_programs = peers.build(profile);
        let passed = format!("{count} passed");
        let mut sides = vec![
            Side::new("`#[robust_test] fn`", &passed, run(&programs["robust_sync"], &[])),
            Side::new("libtest `#[test]`", &passed, run(&programs["libtest_sync"], &[])),
            Side::new(
                "`#[robust_test] async fn`",
                &passed,
                run(&programs["robust_async"], &[]),
            ),
            Side::new("`#[tokio::test]`", &passed, run(&programs["libtest_tokio"], &[])),
            Side::new(
                "`#[robust_test] fn`, `--isolation process`",
                &passed,
                run(&programs["robust_sync"], &["--isolation", "process"]),
            ),
            Side::new(
                "test-r 3, captured",
                &passed,
                run(&peer_programs["peer_test_r"], &[]),
            ),
            Side::new(
                "skuld 0.6, captured",
                &passed,
                run(&peer_programs["peer_skuld"], &[]),
            ),
        ];
        let nextest = nextest(&own, profile);
        match nextest {
            Some(nextest) => sides.push(Side::new("cargo-nextest, libtest `#[test]`", &passed, nextest)),
            None => println!("cargo-nextest is not installed: its row is left out"),
        }
        take_turns(&mut sides, options.rounds);
        report(&sides, profile, count);
        one_case(&programs, &options, profile, count);
        parts_of_a_case(&programs, &options, profile, count);
    }
}

/// Cases that do one more thing each.
fn parts(count: u64, body: &str) -> String {
    let mut source = format!("{ROBUST_HEAD}\n");
    for number in 0..count {
        source += &format!(
            "#[robust_test]\nasync fn case_{number}(case: Case) -> Result {{ let _ = &case; {body} Ok(()) }}\n"
        );
    }
    source + ROBUST_TAIL
}

/// Prints what the leak check of a clean case costs, in nanoseconds.
const LOOK: &str = "use robust_test::prelude::*;
#[robust_test]
async fn nothing() {}
fn main() {
    robust_test_harness::cost_of_a_look(1000).unwrap();
    println!(\"{}\", robust_test_harness::cost_of_a_look(100_000).unwrap().as_nanos());
}
";

/// What the leak check and the log scope of a case cost apart.
fn parts_of_a_case(
    programs: &std::collections::BTreeMap<String, PathBuf>,
    options: &Options,
    profile: Profile,
    count: u64,
) {
    let passed = format!("{count} passed");
    let side = |label: &str, program: &str| Side::new(label, &passed, run(&programs[program], &[]));
    let mut sides = [
        side("a no-op", "robust_async"),
        side("one that traces a line", "robust_log"),
        side("one that makes its folder", "robust_folder"),
    ];
    take_turns(&mut sides, options.rounds);
    // Beside the program, and as empty as a worker's.
    let empty = programs["robust_look"].with_extension("empty");
    std::fs::create_dir_all(&empty).expect("a folder");
    let output = Command::new(&programs["robust_look"])
        .env("TMPDIR", &empty)
        .output()
        .expect("the look runs");
    let look = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse::<f64>()
        .expect("nanoseconds")
        / 1e3;
    let each = |side: &Side| side.median().as_secs_f64() * 1e6 / count as f64;
    let logs = each(&sides[1]) - each(&sides[0]);
    let folder = each(&sides[2]) - each(&sides[0]);
    let bare = make_and_remove(count);
    println!("\nOf what a case costs ({}):\n", profile.name());
    table::print(&[
        row!["", "a case"],
        row!["all, of a no-op", format!("{:.1} µs", each(&sides[0]))],
        row!["leak check", format!("{look:.1} µs")],
        row!["a line in its log, more", format!("{logs:.1} µs")],
        row!["a folder of its own, more", format!("{folder:.1} µs")],
        row![
            "to make and remove a folder here, by hand",
            format!("{bare:.1} µs")
        ],
    ]);
    let both = look + logs + folder;
    table::claim("leak check, log and folder, under 100 µs", both, both < 100.0);
}

/// What the file system takes for an empty folder where runs have theirs, one after another, in microseconds.
fn make_and_remove(count: u64) -> f64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let began = Instant::now();
    for number in 0..count {
        let path = folder.path().join(number.to_string());
        std::fs::create_dir(&path).expect("a folder");
        std::fs::remove_dir(&path).expect("it goes");
    }
    began.elapsed().as_secs_f64() * 1e6 / count as f64
}

fn report(sides: &[Side], profile: Profile, count: u64) {
    let title = format!("{count} no-op cases ({})", profile.name());
    table::heading(
        &title,
        &format!("cargo bench --bench overhead -- --profile {}", profile.name()),
    );
    let mut rows = vec![row![
        "",
        "median",
        "a case",
        "by `#[robust_test] fn`",
        "by `#[robust_test] async fn`"
    ]];
    for side in sides {
        rows.push(row![
            side.label,
            table::ms(side.median()),
            table::us_each(side.median(), count),
            format!("{:.2}", side.ratio(&sides[0])),
            format!("{:.2}", side.ratio(&sides[2])),
        ]);
    }
    table::print(&rows);
    let ratio = sides[0].ratio(&sides[1]);
    table::claim("sync, by `#[test]`, at most 1", ratio, ratio <= 1.0);
    let ratio = sides[2].ratio(&sides[3]);
    table::claim("async, by `#[tokio::test]`, at most 1", ratio, ratio <= 1.0);
    if let Some(nextest) = sides.get(7) {
        let ratio = nextest.ratio(&sides[0]);
        table::claim(
            "cargo-nextest, by `#[robust_test] fn`, at least 50",
            ratio,
            ratio >= 50.0,
        );
    }
}

/// What a run costs beside its cases.
fn one_case(
    programs: &std::collections::BTreeMap<String, PathBuf>,
    options: &Options,
    profile: Profile,
    count: u64,
) {
    const ONE: &[&str] = &["--exact", "case_7"];
    let mut sides = [
        Side::new(
            "`#[robust_test] fn`",
            "1 passed",
            run(&programs["robust_sync"], ONE),
        ),
        Side::new(
            "`#[robust_test] async fn`",
            "1 passed",
            run(&programs["robust_async"], ONE),
        ),
        Side::new(
            "libtest `#[test]`",
            "1 passed",
            run(&programs["libtest_sync"], ONE),
        ),
    ];
    take_turns(&mut sides, options.rounds * 3);
    println!("\n1 of the {count} ({}):\n", profile.name());
    let mut rows = vec![row!["", "median", "by `#[test]`"]];
    for side in &sides {
        let time = format!("{:.1} ms", side.median().as_secs_f64() * 1e3);
        rows.push(row![side.label, time, format!("{:.2}", side.ratio(&sides[2]))]);
    }
    table::print(&rows);
}

fn target(name: &'static str, source: String) -> Target {
    Target {
        name,
        libtest: false,
        source,
    }
}

fn libtest(name: &'static str, source: String) -> Target {
    Target {
        name,
        libtest: true,
        source,
    }
}

fn run(program: &Path, arguments: &'static [&'static str]) -> impl Fn() -> Command + use<> {
    let program = program.to_owned();
    move || {
        let mut command = Command::new(&program);
        command.args(arguments);
        command
    }
}

/// A run as its users start one, without the build; `None` where it is not installed.
fn nextest(package: &Package, profile: Profile) -> Option<impl Fn() -> Command + use<>> {
    let installed = package
        .cargo(&["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !installed.is_ok_and(|status| status.success()) {
        return None;
    }
    let package = package.clone();
    Some(move || {
        let mut command = package.cargo(&["nextest", "run", "--cargo-profile", profile.name()]);
        command.args(["--test", "libtest_sync"]);
        command
    })
}
