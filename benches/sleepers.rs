//! Cases that wait: robustness cases do little else, and the number of slots follows how busy the machine is.
//!
//! `cargo bench --bench sleepers -- [--quick] [--profile dev|release] [--rounds N]`

mod support;

use std::path::Path;
use std::process::Command;

use support::build::{Package, Target, robust_test};
use support::measure::{Side, take_turns};
use support::options::{Options, Profile};
use support::source::{ROBUST_HEAD, ROBUST_TAIL, functions};
use support::table;

fn main() {
    let options = Options::from_args(&[Profile::Dev], 3);
    let count = options.size(200, 20);
    let asleep = "tokio::time::sleep(std::time::Duration::from_millis(100)).await;";
    let blocked = "std::thread::sleep(std::time::Duration::from_millis(100));";
    let package = Package::write(
        "bench-sleepers",
        &format!(
            "{}\ntokio = {{ version = \"1\", features = [\"time\"] }}\n",
            robust_test()
        ),
        &[
            Target {
                name: "sleep_robust",
                libtest: false,
                source: functions(
                    count,
                    ROBUST_HEAD,
                    "#[robust_test]",
                    "async fn",
                    asleep,
                    ROBUST_TAIL,
                ),
            },
            Target {
                name: "sleep_libtest",
                libtest: true,
                source: functions(count, "", "#[test]", "fn", blocked, ""),
            },
        ],
    );
    for &profile in &options.profiles {
        let programs = package.build(profile);
        let passed = format!("{count} passed");
        let mut sides = [
            Side::new(
                "`#[robust_test] async fn`",
                &passed,
                run(&programs["sleep_robust"]),
            ),
            Side::new("libtest `#[test]`", &passed, run(&programs["sleep_libtest"])),
        ];
        take_turns(&mut sides, options.rounds);
        let title = format!("{count} cases that sleep for 100 ms ({})", profile.name());
        table::heading(
            &title,
            &format!("cargo bench --bench sleepers -- --profile {}", profile.name()),
        );
        let mut rows = vec![row!["", "median", "at a time", "by `#[robust_test]`"]];
        for side in &sides {
            let at_a_time = count as f64 * 0.1 / side.median().as_secs_f64();
            let ratio = format!("{:.2}", side.ratio(&sides[0]));
            rows.push(row![
                side.label,
                table::seconds(side.median()),
                format!("{at_a_time:.1}"),
                ratio
            ]);
        }
        table::print(&rows);
        let ratio = sides[1].ratio(&sides[0]);
        table::claim(
            "libtest, by `#[robust_test]`, at least 10 on 2 processors",
            ratio,
            ratio >= 10.0,
        );
    }
}

fn run(program: &Path) -> impl Fn() -> Command + use<> {
    let program = program.to_owned();
    move || Command::new(&program)
}
