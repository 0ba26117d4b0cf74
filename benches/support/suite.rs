//! A suite that measures by itself: built from one source, run once, its lines read.

use std::path::PathBuf;
use std::process::Command;

use super::build::{Package, Target, robust_test};
use super::options::Profile;

/// The suite called `name`, alone in its package.
pub(crate) struct Suite {
    name: &'static str,
    package: Package,
}

impl Suite {
    /// Writes it; `dependencies` are lines of a manifest, beside robust-test's own.
    pub(crate) fn write(package: &'static str, name: &'static str, dependencies: &str, source: &str) -> Self {
        let dependencies = format!("{}\n{dependencies}\n", robust_test());
        let target = Target {
            name,
            libtest: false,
            source: source.to_owned(),
        };
        Self {
            name,
            package: Package::write(package, &dependencies, &[target]),
        }
    }

    /// Builds it and runs it, one case at a time; `BENCH_ROUNDS` tells it how often to measure. Returns the program and
    /// what it printed.
    ///
    /// # Panics
    /// When a case fails.
    pub(crate) fn run(&self, profile: Profile, rounds: usize) -> (PathBuf, String) {
        let program = self.package.build(profile)[self.name].clone();
        let output = Command::new(&program)
            .args(["--show-output", "--test-threads", "1"])
            .env("BENCH_ROUNDS", rounds.to_string())
            .output()
            .expect("the suite runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "the suite failed:\n{text}");
        (program, text)
    }
}
