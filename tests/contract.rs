//! The command line's contract, from outside: what is listed, chosen, drawn, repeated, merged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use robust_test_tests::{Finished, Planted, verdicts};

const CONTRACT: &str = env!("CARGO_BIN_EXE_contract");

fn run(arguments: &[&str]) -> Finished {
    Planted::new(CONTRACT).args(arguments).run()
}

fn names(finished: &Finished) -> BTreeSet<String> {
    finished.verdicts().into_keys().collect()
}

fn listed(arguments: &[&str]) -> Vec<String> {
    let finished = run(&[&["--list", "--format", "terse"], arguments].concat());
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    let name = |line: &str| line.strip_suffix(": test").expect("a listed case").to_owned();
    finished.stdout.lines().map(name).collect()
}

#[test]
fn every_cell_is_listed_once_under_the_name_reports_use() {
    let all = listed(&[]);
    let set: BTreeSet<_> = all.iter().cloned().collect();
    assert_eq!(set.len(), all.len());
    for name in [
        "product::of_values[a=1,b=x]",
        "product::of_values[a=2,b=long]",
        "product::of_engines[first=steam,second=diesel]",
        "silent[engine=electric]",
        "sleeps[number=8]",
        "without_any",
        "ignored",
    ] {
        assert!(set.contains(name), "{name} is not in {set:?}");
    }
    let finished = run(&[]);
    assert_eq!(names(&finished), set);
    let junit: BTreeSet<String> = finished.junit().into_keys().collect();
    let short = |name: &String| name.strip_prefix("product::").unwrap_or(name).to_owned();
    assert_eq!(junit, set.iter().map(short).collect());
}

#[test]
fn a_product_has_a_verdict_for_each_cell_and_skips_say_why() {
    let verdicts = run(&[]).verdicts();
    let of = |name: &str| {
        let verdict = &verdicts[name];
        (verdict.status.as_str(), verdict.message.as_str())
    };
    let values = verdicts
        .keys()
        .filter(|name| name.starts_with("product::of_values"))
        .count();
    assert_eq!(values, 6);
    let engines = verdicts
        .keys()
        .filter(|name| name.starts_with("product::of_engines"))
        .count();
    assert_eq!(engines, 6);
    assert_eq!(
        of("product::of_engines[first=steam,second=diesel]"),
        ("skipped", "there is no coal here")
    );
    let (status, why) = of("silent[engine=diesel]");
    assert_eq!(status, "skipped");
    assert!(why.contains("diesel") && why.contains("silence"), "{why}");
    assert_eq!(of("fast[engine=diesel,speed=3]"), ("skipped", "it would burst"));
    assert_eq!(of("fast[engine=electric,speed=3]").0, "known_failure");
    assert_eq!(of("fast[engine=electric,speed=1]").0, "passed");
    assert_eq!(of("without_any").0, "skipped");
    assert_eq!(of("ignored"), ("skipped", "on request only"));
    assert_eq!(of("an_hour_of_paused_time").0, "passed");
    assert_eq!(of("blocks_a_thread_of_several").0, "passed");
    assert_eq!(of("counts_in_a_process_of_its_own[number=3]").0, "passed");
    assert!(
        verdicts["fast[engine=electric,speed=3]"]
            .output
            .contains("stopped electric")
    );
}

#[test]
fn filters_skips_and_exact_names_choose_as_in_libtest() {
    let of = |arguments: &[&str]| names(&run(arguments));
    assert_eq!(of(&["of_values"]).len(), 6);
    assert_eq!(of(&["of_values", "of_engines"]).len(), 12);
    assert_eq!(of(&["product", "--skip", "of_engines"]).len(), 6);
    assert_eq!(of(&["--exact", "product::of_values[a=1,b=x]"]).len(), 1);
    assert_eq!(
        of(&["--exact", "product::of_values"]).len(),
        6,
        "a bare scenario name is all its cases"
    );
    let ignored = run(&["--ignored"]).verdicts();
    for (name, verdict) in &ignored {
        // Those that cannot run here are listed among the ignored ones, so that nextest shows them as skipped.
        let on_request = ["ignored", "goes_elsewhere"].contains(&&**name);
        let expected = if on_request { "passed" } else { "skipped" };
        assert_eq!(verdict.status, expected, "{name}");
    }
    assert!(ignored.contains_key("ignored") && ignored.contains_key("silent[engine=diesel]"));
    assert!(of(&["--include-ignored"]).contains("ignored"));
    assert_eq!(of(&["--tag", "net"]), BTreeSet::from(["tagged".to_owned()]));
    assert!(!of(&["--skip-tag", "net", "--skip-tag", "long"]).contains("tagged"));

    let nothing = run(&["no_such_case"]);
    assert_eq!(nothing.code(), Some(0), "as in libtest");
    let missing = run(&["--exact", "silnt"]);
    assert_eq!(missing.code(), Some(101));
    assert!(
        missing.stderr.contains("silent"),
        "the near miss: {}",
        missing.stderr
    );
}

#[test]
fn an_editors_run_button_runs_every_case_of_its_scenario() {
    let button = "product::__robust_of_values::of_values";
    let buttons: [&[&str]; 3] = [
        &["--exact", button, "--nocapture"],
        &[button, "--exact", "--nocapture"],
        &[button, "--exact", "--show-output"],
    ];
    for arguments in buttons {
        let finished = run(arguments);
        assert_eq!(finished.code(), Some(0), "{arguments:?}: {}", finished.stderr);
        let expected: BTreeSet<String> = listed(&["of_values"]).into_iter().collect();
        assert_eq!(expected.len(), 6);
        assert_eq!(names(&finished), expected, "{arguments:?}");
    }
    let outside_of_modules = names(&run(&["__robust_tagged::tagged", "--exact", "--nocapture"]));
    assert_eq!(outside_of_modules, BTreeSet::from(["tagged".to_owned()]));
}

#[test]
fn junit_goes_also_where_it_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let there = folder.path().join("junit.xml");
    let not_yet = folder.path().join("not/yet/there/results.xml");
    let by_flag = |path: &Path| Planted::new(CONTRACT).arg_paths("--junit", [path.to_owned()]);
    let by_variable = |path: &Path| Planted::new(CONTRACT).env("ROBUST_JUNIT", path);
    std::fs::write(&there, "of an earlier run").expect("a file");
    for (planted, path) in [
        (by_flag(&there), &there),
        (by_flag(&not_yet), &not_yet),
        (by_variable(&there), &there),
        (by_variable(&not_yet), &not_yet),
        (by_flag(&there).env("ROBUST_JUNIT", "/dev/null/below"), &there),
    ] {
        let finished = planted.args(["tagged", "draws"]).run();
        assert_eq!(finished.code(), Some(101), "{}", finished.stderr);
        assert_eq!(finished.junit().len(), 2);
        let asked_for = std::fs::read_to_string(path).expect("the file that was asked for");
        let usual = std::fs::read_to_string(finished.report().join("junit.xml")).expect("the usual file");
        assert_eq!(asked_for, usual);
        let _removed_for_the_next = std::fs::remove_dir_all(folder.path().join("not"));
    }
}

#[test]
fn a_relative_junit_path_is_of_where_the_run_began() {
    let folder = tempfile::tempdir().expect("a folder");
    let finished = Planted::new(CONTRACT)
        .args(["goes_elsewhere", "--isolation", "none", "--include-ignored"])
        .args(["--junit", "out/junit.xml"])
        .with(|command: &mut Command| {
            command.current_dir(folder.path());
        })
        .run();
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    let text = std::fs::read_to_string(folder.path().join("out/junit.xml")).expect("the file");
    assert!(text.contains("goes_elsewhere"), "{text}");
}

#[test]
fn a_junit_path_that_cannot_be_written_costs_that_file_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "of the user").expect("a file");
    let below_a_file = file.join("junit.xml");
    for path in [&below_a_file, folder.path()] {
        for (filter, code) in [("tagged", 2), ("draws", 101)] {
            let finished = Planted::new(CONTRACT)
                .args([filter])
                .arg_paths("--junit", [path.to_owned()])
                .run();
            assert_eq!(finished.code(), Some(code), "{}", finished.stderr);
            let lines: Vec<&str> = finished.stderr.lines().collect();
            assert_eq!(lines.len(), 1, "told once: {}", finished.stderr);
            let place = path.display().to_string();
            assert!(
                lines[0].contains(&place) || lines[0].contains(&*file.to_string_lossy()),
                "{}",
                lines[0]
            );
            assert!(lines[0].contains("--junit"), "{}", lines[0]);
            assert_eq!(finished.verdicts().len(), 1);
            assert_eq!(finished.junit().len(), 1);
            assert!(finished.report().join("report.html").exists());
            assert!(finished.stdout.contains("test result: "), "{}", finished.stdout);
        }
    }
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), "of the user");
}

#[test]
fn each_listed_name_is_found_again_by_exact() {
    for name in listed(&["--skip", "sleeps"]) {
        let found = listed(&["--exact", &name]);
        assert!(
            found == [name.clone()] || name == "without_any",
            "{name}: {found:?}"
        );
    }
}

#[test]
fn three_shards_hold_each_case_exactly_once_and_merge_to_one_report() {
    let all: BTreeSet<_> = listed(&[]).into_iter().collect();
    let shards: Vec<Finished> = ["1/3", "2/3", "3/3"]
        .iter()
        .map(|shard| run(&["--shard", shard]))
        .collect();
    let mut together = BTreeSet::new();
    for shard in &shards {
        for name in names(shard) {
            assert!(together.insert(name.clone()), "{name} is in two shards");
        }
    }
    assert_eq!(together, all);

    let files = shards.iter().map(|shard| shard.report().join("events.jsonl"));
    let merged = Planted::new(CONTRACT).arg_paths("--report-from", files).run();
    assert_eq!(merged.junit().len(), all.len());
    assert_eq!(merged.code(), Some(101));
}

#[test]
fn a_seed_gives_the_same_draws_whatever_else_runs() {
    let drawn = |arguments: &[&str]| {
        let verdicts = run(arguments).verdicts();
        let line = verdicts["draws"]
            .output
            .lines()
            .find(|line| line.starts_with("seed "))
            .map(str::to_owned);
        line.expect("the draws")
    };
    let alone = drawn(&["--exact", "draws", "--seed", "7"]);
    assert_eq!(drawn(&["--seed", "7", "--shuffle", "--test-threads", "1"]), alone);
    assert_eq!(
        drawn(&["draws", "tagged", "--seed", "7", "--isolation", "process"]),
        alone
    );
    assert_ne!(drawn(&["--exact", "draws", "--seed", "8"]), alone);
    let printed = run(&["--exact", "draws"]);
    assert!(
        printed.stdout.contains("; seed ") || printed.stdout.contains("seed "),
        "{}",
        printed.stdout
    );
}

#[test]
fn a_serial_group_never_overlaps() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let finished = Planted::new(CONTRACT)
        .args(["alone", "sleeps"])
        .env("CONTRACT_LOG", &log)
        .run();
    assert_eq!(finished.code(), Some(0));
    let lines = std::fs::read_to_string(&log).expect("the log");
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 12);
    for pair in lines.chunks(2) {
        assert_eq!(
            pair[0].strip_prefix("begin "),
            pair[1].strip_prefix("end "),
            "{lines:?}"
        );
    }
}

#[test]
fn repetitions_have_seeds_of_their_own_and_one_testcase() {
    let finished = run(&["draws", "tagged", "--repeat", "5"]);
    let text = std::fs::read_to_string(finished.report().join("events.jsonl")).expect("events");
    let seeds: BTreeSet<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("json"))
        .filter(|event| event["case"] == "draws")
        .map(|event| event["seed"].to_string())
        .collect();
    assert_eq!(seeds.len(), 5);
    assert_eq!(finished.junit().len(), 2);
}

#[test]
fn a_flaky_case_passes_and_is_reported_as_flaky() {
    let finished = run(&["passes_at_the_second_try"]);
    assert_eq!(finished.code(), Some(0));
    assert!(finished.stdout.contains("flaky"), "{}", finished.stdout);
    let children = &finished.junit()["passes_at_the_second_try"];
    assert!(
        children.iter().any(|(tag, _)| tag == "flakyFailure"),
        "{children:?}"
    );
}

#[test]
fn last_failed_runs_what_failed_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let again = |arguments: &[&str]| {
        Planted::new(CONTRACT)
            .env("ROBUST_REPORT_DIR", folder.path())
            .args(arguments)
            .run();
        verdicts(&folder.path().join("events.jsonl"))
            .into_keys()
            .collect::<Vec<_>>()
    };
    assert!(again(&["draws", "tagged"]).len() == 2);
    assert_eq!(again(&["--last-failed"]), ["draws"]);
}

#[test]
fn what_is_not_available_is_an_error_where_it_is_required() {
    let finished = Planted::new(CONTRACT)
        .args(["of_engines"])
        .env("ROBUST_REQUIRE", "all")
        .run();
    assert_eq!(finished.code(), Some(101));
    let verdicts = finished.verdicts();
    let steam = &verdicts["product::of_engines[first=steam,second=diesel]"];
    assert_eq!(
        (steam.status.as_str(), steam.class.as_str()),
        ("errored", "required")
    );
    assert_eq!(
        verdicts["product::of_engines[first=diesel,second=diesel]"].status,
        "passed"
    );
}

#[test]
fn the_plan_says_what_runs_and_why_the_rest_does_not() {
    let plan = run(&["--plan"]);
    assert_eq!(plan.code(), Some(0));
    for part in [
        "product::of_values",
        "there is no coal here",
        "it would burst",
        "on request only",
    ] {
        assert!(plan.stdout.contains(part), "{part:?} is not in\n{}", plan.stdout);
    }
}

#[test]
fn cases_that_sleep_run_many_at_a_time_and_test_threads_fixes_the_number() {
    let concurrency = |arguments: &[&str]| {
        let finished = run(arguments);
        let text = std::fs::read_to_string(finished.report().join("events.jsonl")).expect("events");
        let last: serde_json::Value =
            serde_json::from_str(text.lines().last().expect("a line")).expect("json");
        last["concurrency_max"].as_u64().expect("a number")
    };
    assert!(concurrency(&["sleeps", "--repeat", "4"]) >= 4);
    assert_eq!(concurrency(&["sleeps", "--test-threads", "2"]), 2);
    assert_eq!(concurrency(&["sleeps", "--isolation", "none"]), 1);
}

#[test]
fn the_environment_sets_flags_and_workers_do_not_inherit_them() {
    let finished = Planted::new(CONTRACT)
        .env("ROBUST_SHARD", "1/1")
        .env("ROBUST_SEED", "9")
        .run();
    let first = std::fs::read_to_string(finished.report().join("events.jsonl")).expect("events");
    let first: serde_json::Value = serde_json::from_str(first.lines().next().expect("a line")).expect("json");
    assert_eq!(first["seed"], 9);
    let wrong = Planted::new(CONTRACT).env("ROBUST_RETRIES", "many").run();
    assert_eq!(wrong.code(), Some(2));
    assert!(wrong.stderr.contains("ROBUST_RETRIES"), "{}", wrong.stderr);
}

#[test]
fn max_fail_stops_and_says_what_did_not_run() {
    let finished = run(&["--fail-fast", "--test-threads", "1", "draws", "sleeps"]);
    assert_eq!(finished.code(), Some(101));
    let by_status: BTreeMap<String, usize> =
        finished
            .verdicts()
            .into_values()
            .fold(BTreeMap::new(), |mut count, verdict| {
                *count.entry(verdict.status).or_default() += 1;
                count
            });
    assert_eq!(by_status["failed"], 1);
    assert_eq!(by_status["skipped"], 8, "{by_status:?}");
}

#[test]
fn nextest_runs_each_case_in_a_worker_and_its_events_merge() {
    // What cargo-nextest does: one process a case, all with the run's id.
    let folder = tempfile::tempdir().expect("a folder");
    let nextest = |arguments: &[&str]| {
        Planted::new(CONTRACT)
            .env("NEXTEST", "1")
            .env("NEXTEST_RUN_ID", "the-run")
            .env("NEXTEST_EXECUTION_MODE", "process-per-test")
            .env("ROBUST_REPORT_DIR", folder.path())
            .args(arguments)
    };
    let cases = ["alone[number=1]", "alone[number=2]", "alone[number=3]", "draws"];
    let log = folder.path().join("log");
    let running: Vec<_> = cases
        .iter()
        .map(|case| {
            nextest(&["--exact", case, "--nocapture"])
                .env("CONTRACT_LOG", &log)
                .start()
        })
        .collect();
    for (case, run) in cases.iter().zip(running) {
        let finished = run.finish();
        let expected = if *case == "draws" { Some(101) } else { Some(0) };
        assert_eq!(finished.code(), expected, "{case}: {}", finished.stderr);
        if *case == "draws" {
            assert!(
                finished.stdout.contains("seed "),
                "its output is passed on: {}",
                finished.stdout
            );
        }
    }
    assert!(!folder.path().join("junit.xml").exists(), "no suite-level report");
    let log = std::fs::read_to_string(&log).expect("the log");
    for pair in log.lines().collect::<Vec<_>>().chunks(2) {
        assert_eq!(
            pair[0].strip_prefix("begin "),
            pair[1].strip_prefix("end "),
            "{log}"
        );
    }
    let events = folder.path().join("nextest").join("the-run");
    let merged = Planted::new(CONTRACT).arg_paths("--report-from", [events]).run();
    assert_eq!(merged.junit().len(), cases.len());
}

#[test]
fn nocapture_passes_output_on_as_it_comes() {
    let finished = run(&["draws", "--nocapture"]);
    assert!(finished.stdout.contains("draws "), "{}", finished.stdout);
    assert!(
        finished.stderr.contains("so that the output is shown"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_run_from_another_folder_writes_where_it_always_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let finished = Planted::new(CONTRACT)
        .args(["tagged"])
        .with(|command: &mut Command| {
            command.current_dir(folder.path());
        })
        .run();
    assert_eq!(finished.code(), Some(0));
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
}

#[test]
fn the_number_of_cases_includes_the_ignored_ones_as_in_libtest() {
    let finished = run(&["--format", "json", "tagged", "ignored"]);
    let first: serde_json::Value =
        serde_json::from_str(finished.stdout.lines().next().expect("a line")).expect("json");
    assert_eq!(
        (&first["event"], &first["test_count"]),
        (&"started".into(), &2.into())
    );
    assert!(run(&["tagged", "ignored"]).stdout.contains("running 2 tests"));
}
