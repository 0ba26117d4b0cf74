//! Packages that are written and built for a bench.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::options::Profile;

/// A test target.
pub(crate) struct Target {
    /// Its name, unique in its package.
    pub(crate) name: &'static str,
    /// Whether it is libtest's.
    pub(crate) libtest: bool,
    /// Its whole source.
    pub(crate) source: String,
}

/// A package on disk.
#[derive(Clone)]
pub(crate) struct Package {
    name: &'static str,
    folder: PathBuf,
}

/// Cargo's target directory.
fn target_directory() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the target directory")
}

impl Package {
    /// Writes the package; files that are as they should be keep their times, so that nothing is rebuilt for
    /// them. `dependencies` are lines of a manifest.
    pub(crate) fn write(name: &'static str, dependencies: &str, targets: &[Target]) -> Self {
        let folder = target_directory().join("bench-suites").join(name);
        let package = Self { name, folder };
        let mut manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n\
             [workspace]\n\n[dependencies]\n{dependencies}\n"
        );
        for Target {
            name,
            libtest,
            source,
        } in targets
        {
            manifest += &format!("\n[[test]]\nname = \"{name}\"\nharness = {libtest}\n");
            package.write_source(name, source);
        }
        package.write_file("Cargo.toml", &manifest);
        package.write_file("src/lib.rs", "");
        let lock = package.folder.join("Cargo.lock");
        if !lock.exists() {
            // The versions this checkout is tested with.
            std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"), lock)
                .expect("a lock file");
        }
        package
    }

    /// Replaces a target's source.
    pub(crate) fn write_source(&self, target: &str, source: &str) {
        self.write_file(&format!("tests/{target}.rs"), source);
    }

    fn write_file(&self, path: &str, text: &str) {
        let path = self.folder.join(path);
        if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return;
        }
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for a suite");
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Cargo, in the package.
    pub(crate) fn cargo(&self, subcommand: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(subcommand).current_dir(&self.folder);
        command.env("CARGO_TARGET_DIR", target_directory().join("bench-suites/target"));
        // What `cargo bench` sets for this process is not meant for the suites.
        for (name, _) in std::env::vars() {
            if name.starts_with("CARGO_PKG_") || name.starts_with("ROBUST_") || name == "CARGO_MANIFEST_DIR" {
                command.env_remove(name);
            }
        }
        command
    }

    /// Builds all targets; their programs, by name.
    ///
    /// # Panics
    /// When they do not compile.
    pub(crate) fn build(&self, profile: Profile) -> BTreeMap<String, PathBuf> {
        eprintln!("building {} ({})", self.name, profile.name());
        let output = self
            .cargo(&[
                "build",
                "--tests",
                "--message-format=json-render-diagnostics",
                "--profile",
                profile.name(),
            ])
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{} does not build", self.name);
        let text = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
        text.lines()
            .filter_map(|line| {
                let program = json_text(line, "\"executable\":\"")?;
                let target = line.split_once("\"target\":{")?.1;
                Some((
                    json_text(target, "\"name\":\"")?.to_owned(),
                    PathBuf::from(program),
                ))
            })
            .collect()
    }

    /// Builds one target, and says how long that took.
    ///
    /// # Panics
    /// When it does not compile.
    pub(crate) fn time_build(&self, target: &str, profile: Profile) -> Duration {
        let mut command = self.cargo(&["build", "--quiet", "--test", target, "--profile", profile.name()]);
        let start = Instant::now();
        let status = command.status().expect("cargo runs");
        let time = start.elapsed();
        assert!(status.success(), "{target} does not build");
        time
    }

    /// Removes what was built of the package itself; its dependencies stay.
    ///
    /// # Panics
    /// When cargo fails.
    pub(crate) fn clean(&self, profile: Profile) {
        let mut command = self.cargo(&[
            "clean",
            "--quiet",
            "--package",
            self.name,
            "--profile",
            profile.name(),
        ]);
        assert!(
            command.status().expect("cargo runs").success(),
            "{} cannot be cleaned",
            self.name
        );
    }
}

/// The dependency on this checkout.
pub(crate) fn robust_test() -> String {
    format!("robust-test = {{ path = {:?} }}", env!("CARGO_MANIFEST_DIR"))
}

/// The string after `key`, of which paths and names here need no unescaping.
fn json_text<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_once(key)?.1.split('"').next()
}
