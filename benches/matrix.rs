//! How time and memory grow with the matrix: ten times the cells must cost about ten times as much.
//!
//! `cargo bench --bench matrix -- [--quick] [--profile dev|release]`

mod support;

use std::process::Command;
use std::time::Duration;

use support::build::{Package, Target, robust_test};
use support::measure::time_and_memory;
use support::options::{Options, Profile};
use support::{source, table};

fn main() {
    let options = Options::from_args(&[Profile::Release], 1);
    let axes = if options.quick { 3 } else { 5 };
    let (small, large) = (vec![10; axes], vec![10; axes + 1]);
    let package = Package::write(
        "bench-matrix",
        &robust_test(),
        &[
            Target {
                name: "matrix_small",
                libtest: false,
                source: source::matrix(&small),
            },
            Target {
                name: "matrix_large",
                libtest: false,
                source: source::matrix(&large),
            },
        ],
    );
    let cells = 10_u64.pow(axes as u32);
    for &profile in &options.profiles {
        let programs = package.build(profile);
        let title = format!(
            "a matrix of {cells} cells and one of {} ({})",
            cells * 10,
            profile.name()
        );
        table::heading(
            &title,
            &format!("cargo bench --bench matrix -- --profile {}", profile.name()),
        );
        let mut rows = vec![row![
            "",
            "time",
            "memory",
            "ten times the cells",
            "memory",
            "growth",
            "of memory"
        ]];
        let mut worst: f64 = 0.0;
        for (what, arguments) in [
            ("`--list`", &["--list"][..]),
            ("`--plan`", &["--plan"]),
            ("a run of no-ops, with all reports", &["--quiet"]),
        ] {
            let measured = |target: &str| {
                let mut rounds: Vec<(Duration, u64)> = Vec::new();
                for _ in 0..options.rounds {
                    let mut command = Command::new(&programs[target]);
                    command.args(arguments);
                    rounds.push(time_and_memory(command));
                }
                support::measure::median(rounds)
            };
            let (small, small_bytes) = measured("matrix_small");
            let (large, large_bytes) = measured("matrix_large");
            let growth = large.as_secs_f64() / small.as_secs_f64();
            let of_memory = large_bytes as f64 / small_bytes.max(1) as f64;
            worst = worst.max(growth).max(of_memory);
            rows.push(row![
                what,
                table::seconds(small),
                mebibytes(small_bytes),
                table::seconds(large),
                mebibytes(large_bytes),
                format!("{growth:.1}"),
                format!("{of_memory:.1}"),
            ]);
        }
        table::print(&rows);
        table::claim(
            "growth with ten times the cells, at most 12",
            worst,
            worst <= 12.0,
        );
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}
