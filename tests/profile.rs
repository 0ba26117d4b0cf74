//! `robust.toml` and `--budget`, from outside.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use robust_test_tests::{Finished, Planted, Signal, verdicts};

const PROFILE: &str = env!("CARGO_BIN_EXE_profile");

/// A workspace with the planted suite's package in it.
struct Workspace(tempfile::TempDir);

impl Workspace {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("suite")).expect("a folder");
        let workspace = Self(folder);
        workspace.write("Cargo.toml", "[workspace]\nmembers = [\"suite\"]\n");
        workspace
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file");
    }

    fn planted(&self, arguments: &[&str]) -> Planted {
        Planted::new(PROFILE)
            .env("PROFILE_PACKAGE", self.path("suite"))
            .args(arguments)
    }

    /// The first event of a run with these arguments.
    fn started(&self, arguments: &[&str], variables: &[(&str, &str)]) -> serde_json::Value {
        let planted = self.planted(arguments);
        let planted = variables
            .iter()
            .fold(planted, |planted, (name, value)| planted.env(name, value));
        let finished = planted.run();
        assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
        first_event(&finished.report())
    }

    /// What is complained about, with exit code 2 and on one line.
    fn error(&self, arguments: &[&str]) -> String {
        let finished = self.planted(arguments).run();
        assert_eq!(finished.code(), Some(2), "{}", finished.stdout);
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
        assert!(finished.stdout.is_empty(), "{}", finished.stdout);
        finished.stderr
    }
}

fn first_event(report: &Path) -> serde_json::Value {
    let events = std::fs::read_to_string(report.join("events.jsonl")).expect("events");
    serde_json::from_str(events.lines().next().expect("a line")).expect("json")
}

#[test]
fn the_command_line_counts_before_a_variable_that_before_a_profile_and_that_before_default() {
    let workspace = Workspace::new();
    workspace.write(
        "robust.toml",
        "[profile.default]\nseed = 1\ntag = [\"step\"]\n[profile.ci]\ninherits = \"base\"\nretries = 1\n[profile.base]\nseed = 2\n",
    );
    let seed = |arguments: &[&str], variables: &[(&str, &str)]| {
        let started = workspace.started(arguments, variables);
        assert_eq!(
            started["planned"].as_array().map(Vec::len),
            Some(1),
            "the tag of default"
        );
        started["seed"].as_u64().expect("a number")
    };
    assert_eq!(seed(&[], &[]), 1);
    assert_eq!(seed(&["--profile", "ci"], &[]), 2, "inherited");
    assert_eq!(seed(&[], &[("ROBUST_PROFILE", "ci")]), 2);
    assert_eq!(seed(&["--profile", "ci"], &[("ROBUST_SEED", "3")]), 3);
    assert_eq!(
        seed(&["--profile", "ci", "--seed", "4"], &[("ROBUST_SEED", "3")]),
        4
    );
    // The nearest file counts alone.
    workspace.write("suite/robust.toml", "[profile.default]\nseed = 5\n");
    let started = workspace.started(&["step"], &[]);
    assert_eq!(started["seed"], 5);
    // And one that is named counts before it.
    workspace.write("other.toml", "[profile.default]\nseed = 6\n");
    let other = workspace.path("other.toml");
    let named = [("ROBUST_CONFIG", other.to_str().expect("UTF-8"))];
    assert_eq!(workspace.started(&["step"], &named)["seed"], 6);
}

#[test]
fn whatever_is_wrong_is_told_with_file_line_and_key() {
    let workspace = Workspace::new();
    for (text, line, parts) in [
        (
            "[profile.ci]\nretires = 1\n",
            2,
            &["`retires`", "did you mean `retries`?", "timeout"][..],
        ),
        (
            "[profile.ci]\n\ntimeout = 30\n",
            3,
            &["profile.ci", "`timeout`", "a string", "a whole number"],
        ),
        (
            "[profile.ci]\ntimeout = \"30\"\n",
            2,
            &["`timeout`", "time unit needed"],
        ),
        (
            "[profile.ci]\nlist = true\n",
            2,
            &["`list` is no key", "command line"],
        ),
        (
            "[bin]\nplannted = \"/bin/sh\"\n",
            2,
            &["bin.plannted", "did you mean `planted`?"],
        ),
        (
            "[bin]\nplanted = \"missing\"\n",
            2,
            &["bin.planted", "there is no file", "suite/missing"],
        ),
        (
            "[external.plant]\necho = \"127.0.0.1:1\"\n",
            1,
            &["external.plant", "there are: planted"],
        ),
        (
            "[external.planted]\necho = 1883\n",
            2,
            &["external.planted.echo", "127.0.0.1:1883"],
        ),
        (
            "[profile.a]\ninherits = \"b\"\n[profile.b]\ninherits = \"a\"\n",
            2,
            &["profile.a", "a -> b -> a"],
        ),
        (
            "[profile.a]\ninherits = \"b\"\n",
            2,
            &["no profile is called `b`"],
        ),
        ("[profiles.a]\n", 1, &["did you mean `profile`?"]),
        ("[profile.a]\nseed =\n", 2, &[""]),
    ] {
        workspace.write("suite/robust.toml", text);
        let error = workspace.error(&[]);
        let file = workspace.path("suite/robust.toml");
        let start = format!("robust-test: {}:{line}: ", file.display());
        assert!(error.starts_with(&start), "{text}\n{error}");
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
    }
    // Help is there all the same.
    let help = workspace.planted(&["--help"]).run();
    assert_eq!(help.code(), Some(0));
    assert!(help.stdout.contains("--profile <NAME>") && help.stdout.contains("[profile.default]"));

    workspace.write("suite/robust.toml", "[profile.nightly]\n");
    let unknown = workspace.error(&["--profile", "nigthly"]);
    assert!(unknown.contains("did you mean `nightly`?"), "{unknown}");
    let missing = workspace
        .planted(&[])
        .env("ROBUST_CONFIG", "/nonexistent.toml")
        .run();
    assert_eq!(missing.code(), Some(2));
    assert!(
        missing.stderr.contains("cannot read /nonexistent.toml"),
        "{}",
        missing.stderr
    );
    std::fs::remove_file(workspace.path("suite/robust.toml")).expect("it is there");
    assert!(
        workspace
            .error(&["--profile", "ci"])
            .contains("there is no robust.toml")
    );
}

#[test]
fn programs_and_reports_are_where_the_file_says_from_its_folder() {
    let workspace = Workspace::new();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_echo-server"), workspace.path("echo")).expect("a link");
    workspace.write(
        "robust.toml",
        "[profile.default]\nreport-dir = \"out\"\nrequire = [\"planted\"]\n[bin]\nplanted = \"echo\"\n",
    );
    let finished = workspace
        .planted(&["served"])
        .with(|command| {
            command.env_remove("ROBUST_REPORT_DIR").current_dir("/");
        })
        .run();
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
    let verdicts = verdicts(&workspace.path("out/events.jsonl"));
    assert_eq!(verdicts["served[echo=planted]"].status, "passed");
    // Without the program, what is required is an error.
    workspace.write("robust.toml", "[profile.default]\nrequire = \"all\"\n");
    let finished = workspace.planted(&["served"]).run();
    assert_eq!(finished.code(), Some(101));
    assert_eq!(finished.verdicts()["served[echo=planted]"].class, "required");
}

#[test]
fn a_server_that_runs_somewhere_needs_no_program() {
    let workspace = Workspace::new();
    let plan = || workspace.planted(&["--plan", "served"]).run().stdout;
    assert!(
        plan().contains("would be skipped (unavailable): program `planted-and-not-installed`"),
        "{}",
        plan()
    );
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let at = |address| format!("[external.planted]\necho = \"{address}\"\n");
    workspace.write("robust.toml", &at(address));
    assert!(
        plan().contains("would run:\n  served[echo=planted]\n"),
        "{}",
        plan()
    );
    let finished = workspace.planted(&["--tag", "server"]).run();
    let verdicts = finished.verdicts();
    assert_eq!(verdicts["served[echo=planted]"].status, "passed", "{verdicts:?}");
    let killed = &verdicts["killed[echo=planted]"].message;
    assert!(
        killed.contains("`echo` runs somewhere else") && killed.contains("is_external"),
        "{killed}"
    );

    drop(listener);
    let finished = workspace.planted(&["served"]).run();
    let verdict = &finished.verdicts()["served[echo=planted]"];
    assert_eq!((&*verdict.status, &*verdict.class), ("errored", "setup"));
    let text = format!("{}{}", verdict.message, verdict.details);
    assert!(
        text.contains(&format!("nothing answers at its port `echo`, {address}")),
        "{text}"
    );
}

#[test]
fn the_command_that_runs_a_case_again_names_the_profile() {
    let workspace = Workspace::new();
    workspace.write("robust.toml", "[profile.ci]\nretries = 1\n");
    let finished = workspace
        .planted(&["--profile=ci", "--exact", "step[number=3]"])
        .env("PROFILE_FAILS", "3")
        .run();
    assert_eq!(finished.code(), Some(101));
    let verdict = &finished.verdicts()["step[number=3]"];
    assert!(
        verdict
            .reproduce
            .contains(" --profile ci --exact 'step[number=3]' --seed "),
        "{}",
        verdict.reproduce
    );
}

/// Runs of the steps with one report folder, one case at a time.
struct Runs(tempfile::TempDir);

impl Runs {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn planted(&self, arguments: &[&str], ms: u64) -> Planted {
        Planted::new(PROFILE)
            .env("ROBUST_REPORT_DIR", self.0.path())
            .env("PROFILE_MS", ms.to_string())
            .args(["--tag=step", "--test-threads=1"])
            .args(arguments)
    }

    fn run(&self, arguments: &[&str], ms: u64) -> Finished {
        self.planted(arguments, ms).run()
    }

    /// The cases that ran in the last run, and the reason of the others.
    fn outcome(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let all = verdicts(&self.events());
        let skipped = all.values().filter(|verdict| verdict.status == "skipped");
        let reasons = skipped.map(|verdict| verdict.message.clone()).collect();
        let ran = all.into_iter().filter(|(_, verdict)| verdict.status != "skipped");
        (ran.map(|(name, _)| name).collect(), reasons)
    }

    fn events(&self) -> PathBuf {
        self.0.path().join("events.jsonl")
    }

    fn history(&self) -> PathBuf {
        self.0.path().join("history")
    }

    /// Says of every case that ran that it took so long: what it really took depends on the machine.
    fn took(&self, ms: u64) {
        let history = std::fs::read_to_string(self.history()).expect("a history");
        let lines = history.lines().map(|line| {
            let mut fields: Vec<&str> = line.splitn(4, ' ').collect();
            let took_us = (ms * 1000).to_string();
            if matches!(fields[..], ["+" | "-", _, _, _]) {
                fields[2] = &took_us;
            }
            fields.join(" ") + "\n"
        });
        std::fs::write(self.history(), lines.collect::<String>()).expect("it can be written");
    }

    /// What `--plan` says would run within a budget, in order.
    fn plan(&self, budget: &str) -> Vec<String> {
        let plan = self.run(&["--plan", "--budget", budget], 0).stdout;
        let (_, list) = plan
            .split_once("would run:\n")
            .unwrap_or_else(|| panic!("{plan}"));
        let names = list.lines().map_while(|line| line.strip_prefix("  "));
        names.map(str::to_owned).collect()
    }

    /// Starts a run of steps of 300 ms, and sends it a signal when one case has its verdict.
    fn broken_off(&self, signal: Signal) -> Finished {
        let running = self.planted(&[], 300).start();
        running.wait_until("a verdict", |_| {
            std::fs::read_to_string(self.events()).is_ok_and(|events| events.contains("case_finished"))
        });
        running.signal(signal);
        running.finish()
    }
}

#[test]
fn three_runs_within_a_budget_meet_all_cases_failures_first() {
    let runs = Runs::new();
    let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    // Nothing is known: a second each.
    let planned = runs.plan("2s");
    let first = runs.run(&["--budget", "2s"], 0);
    assert_eq!(first.code(), Some(0), "{}", first.stderr);
    assert!(
        first
            .stderr
            .contains("2 of 6 cases fit in the budget of 2s, in about 2s with 1 at a time"),
        "{}",
        first.stderr
    );
    let (ran_first, why) = runs.outcome();
    assert_eq!((ran_first.len(), &ran_first), (2, &set(&planned)));
    assert_eq!(
        why,
        BTreeSet::from(["does not fit in the budget of 2s; never run".to_owned()])
    );

    // At 4 s each, the four that never ran fit, and no fifth.
    runs.took(4000);
    let planned = runs.plan("19s");
    let fails = &planned[3];
    let number = fails
        .trim_end_matches(']')
        .rsplit('=')
        .next()
        .expect("a number")
        .to_owned();
    let second = runs
        .planted(&["--budget", "19s"], 0)
        .env("PROFILE_FAILS", number)
        .env("ROBUST_REQUIRE", "all")
        .run();
    assert_eq!(second.code(), Some(101), "{}", second.stderr);
    let (ran_second, why) = runs.outcome();
    assert!(
        ran_second.is_disjoint(&ran_first) && ran_second.len() == 4,
        "{ran_second:?}"
    );
    let why = why.first().expect("a reason");
    assert!(
        why.starts_with("does not fit in the budget of 19s; last run ") && why.ends_with(" ago"),
        "{why}"
    );

    // The failure, then those of the first run, then one of the second.
    runs.took(4000);
    let planned = runs.plan("19s");
    assert_eq!(planned.len(), 4, "{planned:?}");
    assert_eq!(&planned[0], fails);
    assert_eq!(set(&planned[1..3]), ran_first);
    let third = runs.run(&["--budget", "19s"], 0);
    assert_eq!(third.code(), Some(0), "what does not fit is no error");
    assert_eq!(runs.outcome().0, set(&planned));

    // A list has all, and a budget for everything skips nothing.
    let list = runs.run(&["--list", "--budget", "2s"], 0).stdout;
    assert!(list.ends_with("6 tests, 0 benchmarks\n"), "{list}");
    runs.run(&["--budget", "1h"], 0);
    assert_eq!(runs.outcome().0.len(), 6);
}

#[test]
fn a_run_that_takes_longer_than_estimated_starts_nothing_when_its_budget_is_over() {
    let runs = Runs::new();
    assert_eq!(runs.run(&[], 0).code(), Some(0));
    let slow = runs.run(&["--budget", "1s"], 450);
    assert_eq!(slow.code(), Some(0), "{}", slow.stderr);
    assert!(slow.stderr.contains("6 of 6 cases fit"), "{}", slow.stderr);
    let (ran, why) = runs.outcome();
    assert!(ran.len() <= 3, "{ran:?}");
    assert_eq!(
        why,
        BTreeSet::from(["it did not run: the budget of 1s is over".to_owned()])
    );
}

#[test]
fn runs_that_were_interrupted_or_killed_count_as_far_as_they_came() {
    for signal in [Signal::INT, Signal::KILL] {
        let runs = Runs::new();
        let finished = runs.broken_off(signal);
        assert_eq!(finished.code(), None, "it ended by the signal");
        let ran: BTreeSet<_> = verdicts(&runs.events())
            .into_iter()
            .filter(|(_, verdict)| verdict.status == "passed")
            .map(|(name, _)| name)
            .collect();
        assert!(!ran.is_empty() && ran.len() < 6, "{ran:?}");
        // At least 0.3 s for each: also for those that never ran, which come first.
        let planned = runs.plan("1h");
        assert_eq!(
            planned[6 - ran.len()..].iter().cloned().collect::<BTreeSet<_>>(),
            ran,
            "{signal:?}"
        );
        let short = runs.plan("1s");
        assert!(short.len() <= 3, "{signal:?}: {short:?}");
        assert_eq!(short[..], planned[..short.len()], "{signal:?}");
        // A later run does not lose it.
        runs.run(&["--exact", &planned[0]], 0);
        let later = runs.plan("1h");
        assert_eq!(later.last(), planned.first());
        assert_eq!(later[..5], planned[1..]);
    }
}

#[test]
fn a_broken_history_is_told_and_begun_anew() {
    let runs = Runs::new();
    runs.run(&[], 0);
    let good = std::fs::read(runs.history()).expect("a history");
    assert_eq!(
        good.split(|&byte| byte == b'\n').count(),
        1 + 6 + 1,
        "a head and six cases"
    );
    std::fs::write(runs.history(), b"\x00 not a history").expect("it can be written");
    let finished = runs.run(&[], 0);
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    assert_eq!(
        finished.stderr.matches("is begun anew").count(),
        1,
        "{}",
        finished.stderr
    );
    let finished = runs.run(&["--budget", "1h"], 0);
    assert!(!finished.stderr.contains("is begun anew"), "{}", finished.stderr);
    assert_eq!(runs.plan("1h").len(), 6);
    // Asking twice in one run is told once.
    std::fs::write(runs.history(), b"").expect("it can be written");
    let finished = runs.run(&["--budget", "1h"], 0);
    assert_eq!(
        finished.stderr.matches("is begun anew").count(),
        1,
        "{}",
        finished.stderr
    );
}

#[test]
fn a_budget_counts_on_as_many_cases_at_a_time_as_an_earlier_run_had() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let planted = Planted::new(PROFILE).env("ROBUST_REPORT_DIR", folder.path());
        let finished = planted
            .env("PROFILE_MS", "40")
            .args(["--tag=step"])
            .args(arguments)
            .run();
        assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
        finished.stdout
    };
    assert!(run(&["--plan", "--budget=1h"]).contains("at a time (a guess: one on each core)"));
    run(&["--repeat=60"]);
    let plan = run(&["--plan", "--budget=1h"]);
    assert!(plan.contains("at a time (as in an earlier run)"), "{plan}");
    let (_, number) = plan
        .split(" at a time")
        .next()
        .and_then(|text| text.rsplit_once(' '))
        .expect("a number");
    assert!(
        number.parse::<u32>().is_ok_and(|number| number >= 2),
        "sleepers run together: {plan}"
    );
    let fixed = run(&["--plan", "--budget=1h", "--test-threads=3"]);
    assert!(
        fixed.contains("with 3 at a time (as fixed for this run)"),
        "{fixed}"
    );
    let alone = run(&["--plan", "--budget=1h", "--isolation=none"]);
    assert!(
        alone.contains("with 1 at a time (as fixed for this run)"),
        "{alone}"
    );
}
