//! A run, from arguments to exit code.

use std::process::ExitCode;

/// What `main!` tells about the test target.
#[derive(Debug, Clone, Copy)]
pub struct Suite {
    /// The package's name.
    pub package: &'static str,
    /// The target's crate name.
    pub name: &'static str,
    /// The binary's name, when the suite is a binary and not a test target.
    pub binary: Option<&'static str>,
    /// The package's folder when it was built.
    pub manifest_dir: &'static str,
    /// `<target>/tmp`, which cargo tells test targets.
    pub target_tmpdir: Option<&'static str>,
}

/// Runs the suite.
pub fn run(_suite: Suite) -> ExitCode {
    ExitCode::FAILURE
}
