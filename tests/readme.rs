//! The README's page "From nothing to your own suite", done by the book: its files are written as a crate of
//! their own, its command is run, and what it shows is compared with what comes out.
//!
//! A code block belongs to the page by its title, ```` ```toml title="Cargo.toml" ````, which is also the file's
//! path. Of shown output every line must come, in any order; numbers stand for any number, a lone `…` for lines
//! left out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const README: &str = include_str!("../README.md");
const TARGET_SHOWN: &str = "/home/you/web-suite/target";

#[test]
fn the_first_suite_passes_as_shown_and_catches_the_planted_defect_as_shown() {
    let suite = Suite::written("first-suite");
    let shown = block("text", "passes");

    let passed = suite.run(block("sh", "run"));
    assert_eq!(passed.status.code(), Some(0), "{}", told(&passed));
    suite.came(shown, &passed);
    let cases = cases(shown);
    assert_eq!(cases.len(), 12, "2 servers x 2 clients x 3 scenarios");
    let counted = format!("running {} tests", cases.len());
    assert!(
        told(&passed).contains(&counted),
        "not {counted}:\n{}",
        told(&passed)
    );
    assert_eq!(
        suite.junit(),
        cases.iter().map(|case| (case.clone(), true)).collect()
    );
    assert!(suite.report("report.html").exists());

    suite.patch("src/main.rs");
    let failed = suite.run(block("sh", "run"));
    assert_eq!(failed.status.code(), Some(101), "{}", told(&failed));
    suite.came(block("text", "fails"), &failed);
    let survives = |case: &str| !case.starts_with("a_file_survives_a_kill[web=process,");
    assert_eq!(
        suite.junit(),
        cases.iter().map(|case| (case.clone(), survives(case))).collect()
    );

    let output = told(&failed);
    let again = output
        .lines()
        .find_map(|line| line.strip_prefix("reproduce: "))
        .expect("a command");
    let again = suite.run(again);
    assert_eq!(again.status.code(), Some(101), "{}", told(&again));
    assert!(told(&again).contains("running 1 test\n"), "{}", told(&again));
}

#[test]
fn shown_output_is_compared_line_by_line() {
    let real = "running 12 tests\nseed: 77\ntest a ... ok\nfinished in 12.50s";
    assert_eq!(
        missing("test a ... ok\n…\n\nfinished in 3.20s", real),
        Vec::<&str>::new()
    );
    assert_eq!(
        missing("test b ... ok\ntest a ... ok\nseeds: 77", real),
        ["test b ... ok", "seeds: 77"]
    );
}

/// The page's crate.
struct Suite {
    folder: PathBuf,
    target: PathBuf,
}

impl Suite {
    /// The page's files, with this checkout in the place of the published package and without a network.
    fn written(name: &str) -> Self {
        let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let tests = temporary.parent().expect("the target folder").join("tests");
        let suite = Self {
            folder: tests.join(name),
            target: tests.join(format!("{name}-target")),
        };
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("the checkout");
        for old in [&suite.folder, &suite.target.join("robust")] {
            let _absent = std::fs::remove_dir_all(old);
        }
        let manifest = format!(
            "{}\n[workspace]\n\n[patch.crates-io]\nrobust-test = {{ path = {checkout:?} }}\n",
            block("toml", "Cargo.toml")
        );
        suite.write("Cargo.toml", &manifest);
        for path in ["src/main.rs", "tests/web.rs"] {
            suite.write(path, block("rust", path));
        }
        std::fs::copy(checkout.join("Cargo.lock"), suite.folder.join("Cargo.lock")).expect("the lock file");
        suite
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
        std::fs::write(path, text).expect("the file");
    }

    /// Changes one of the files as the page's diff of it, which has no line numbers, says.
    fn patch(&self, path: &str) {
        let diff = block("diff", path);
        let side = |without: char| -> String {
            let lines = diff.lines().filter(|line| !line.starts_with(without));
            lines.map(|line| format!("{}\n", &line[1..])).collect()
        };
        let (before, after) = (side('+'), side('-'));
        let source = block("rust", path);
        assert_eq!(
            source.matches(&before).count(),
            1,
            "the diff applies at one place:\n{before}"
        );
        self.write(path, &source.replace(&before, &after));
    }

    /// Runs a command of the page in the suite's folder.
    fn run(&self, command: &str) -> Output {
        let mut shell = Command::new("sh");
        shell.args(["-ec", command]).current_dir(&self.folder);
        for (name, _) in std::env::vars_os() {
            // What the runner of this test was told is not meant for that suite.
            let name = name.to_string_lossy().into_owned();
            if ["ROBUST_", "RUST_TEST_", "NEXTEST"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
            {
                shell.env_remove(name);
            }
        }
        shell
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_TERM_COLOR", "never")
            // Nobody debugs it, and the first build has less to write.
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env_remove("RUST_BACKTRACE")
            .env_remove("RUST_LOG")
            .output()
            .expect("sh runs")
    }

    fn report(&self, name: &str) -> PathBuf {
        self.target.join("robust/web-suite/web").join(name)
    }

    /// The cases in `junit.xml`, and whether they passed.
    fn junit(&self) -> BTreeSet<(String, bool)> {
        let text = std::fs::read_to_string(self.report("junit.xml")).expect("junit.xml is there");
        let document = roxmltree::Document::parse(&text).expect("junit.xml is well-formed");
        let cases = document
            .descendants()
            .filter(|node| node.has_tag_name("testcase"));
        cases
            .map(|case| {
                let bad = ["failure", "error", "skipped"];
                let passed = !case
                    .children()
                    .any(|child| bad.iter().any(|&name| child.has_tag_name(name)));
                (case.attribute("name").expect("a name").to_owned(), passed)
            })
            .collect()
    }

    /// Checks that the output is as shown.
    fn came(&self, shown: &str, output: &Output) {
        let real = told(output).replace(&*self.target.to_string_lossy(), TARGET_SHOWN);
        let missing = missing(shown, &real);
        assert!(
            missing.is_empty(),
            "the README shows lines that did not come:\n{}\n\nwhat came:\n{real}",
            missing.join("\n")
        );
    }
}

/// The code block of the page with that language and title.
fn block(language: &str, title: &str) -> &'static str {
    let (_, page) = README
        .split_once("<!-- first-suite:begin -->\n")
        .expect("where the page begins");
    let (page, _) = page
        .split_once("<!-- first-suite:end -->")
        .expect("where the page ends");
    let fence = format!("\n```{language} title=\"{title}\"\n");
    let mut blocks = page.split(&*fence).skip(1);
    let block = blocks
        .next()
        .unwrap_or_else(|| panic!("the page has no block{fence}"));
    assert!(blocks.next().is_none(), "the page has two blocks{fence}");
    let end = block
        .find("\n```\n")
        .unwrap_or_else(|| panic!("the block has no end{fence}"));
    &block[..=end]
}

/// What the suite printed; cargo's own words are in the other stream.
fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The names of the cases that shown output calls passed.
fn cases(shown: &str) -> BTreeSet<String> {
    let names = shown
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... ok"));
    names.map(str::to_owned).collect()
}

/// The shown lines that did not come.
fn missing<'a>(shown: &'a str, real: &str) -> Vec<&'a str> {
    let real: BTreeSet<String> = real.lines().map(without_numbers).collect();
    let lines = shown
        .lines()
        .filter(|line| !line.trim().is_empty() && *line != "…");
    lines
        .filter(|line| !real.contains(&without_numbers(line)))
        .collect()
}

/// The line with every run of digits as `#`: seeds, times and counts differ, names are compared in `junit.xml`.
fn without_numbers(line: &str) -> String {
    let mut text = String::new();
    for char in line.chars() {
        match char.is_ascii_digit() {
            true if text.ends_with('#') => {}
            true => text.push('#'),
            false => text.push(char),
        }
    }
    text
}
