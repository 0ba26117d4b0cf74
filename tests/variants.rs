//! Variants from outside: what is drawn, given, pinned and forbidden, how it is told, and what repeats it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use robust_test_tests::{Finished, Planted};
use serde_json::Value;

const VARIANTS: &str = env!("CARGO_BIN_EXE_variants");

fn run(arguments: &[&str]) -> Finished {
    Planted::new(VARIANTS).args(arguments).run()
}

/// The variants of each case that ran: value and source by name.
fn assignments(finished: &Finished) -> BTreeMap<String, BTreeMap<String, (String, String)>> {
    let text = std::fs::read_to_string(finished.report().join("events.jsonl")).unwrap();
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        if event["event"] != "case_finished" {
            continue;
        }
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let none = Vec::new();
        let variants = event["variants"].as_array().unwrap_or(&none);
        let variants = variants
            .iter()
            .map(|one| (text(&one["name"]), (text(&one["value"]), text(&one["source"]))));
        all.insert(text(&event["case"]), variants.collect());
    }
    all
}

/// The words of a command as a shell takes them, without the program.
fn words(command: &str) -> Vec<String> {
    let output = std::process::Command::new("sh")
        .args([
            "-c",
            &format!("for word in {command}; do printf '%s\\n' \"$word\"; done"),
        ])
        .output()
        .unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    words.lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn a_draw_is_told_with_its_source_everywhere_and_changes_what_runs() {
    let finished = run(&["--seed", "5", "--exact", "nodes_differ"]);
    assert_eq!(finished.code(), Some(101));
    let case = "nodes_differ[engine=quorum]";
    let assignment = &assignments(&finished)[case];
    let names: Vec<&str> = assignment.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "engine-1.version",
            "engine-2.version",
            "engine-3.version",
            "engine.storage"
        ]
    );
    assert!(
        assignment.values().all(|(_, source)| source == "random"),
        "{assignment:?}"
    );

    let verdict = &finished.verdicts()[case];
    let told = format!("engine-2.version={} [random]", assignment["engine-2.version"].0);
    assert!(verdict.output.contains(&told), "the log: {}", verdict.output);
    let node = format!(
        "node 2: {} {}",
        assignment["engine-2.version"].0, assignment["engine.storage"].0
    );
    assert!(
        verdict.output.contains(&node),
        "what the case saw: {}",
        verdict.output
    );
    assert!(
        finished.stdout.contains("\nvariants: engine-1.version="),
        "{}",
        finished.stdout
    );
    for file in ["junit.xml", "report.html"] {
        let text = std::fs::read_to_string(finished.report().join(file)).unwrap();
        assert!(text.contains(&told), "{file}");
    }
}

#[test]
fn the_command_that_repeats_a_case_gives_it_the_same_variants() {
    for arguments in [
        &["--exact", "nodes_differ", "--seed", "3"][..],
        &["--exact", "nodes_differ", "--variants", "default"],
        &[
            "--exact",
            "nodes_differ",
            "--variants",
            "all",
            "--variant",
            "engine-2.version=3",
        ],
        &[
            "--exact",
            "nodes_differ",
            "--variants",
            "pairwise",
            "--variant",
            "storage=btree",
        ],
        &[
            "--exact",
            "nodes_differ",
            "--repeat",
            "1",
            "--variant",
            "version=2",
        ],
    ] {
        let first = run(arguments);
        let verdicts = first.verdicts();
        assert!(!verdicts.is_empty());
        for (case, verdict) in verdicts.iter().take(2) {
            let again = Planted::new(VARIANTS).args(words(&verdict.reproduce)).run();
            assert_eq!(again.code(), Some(101), "{}: {}", verdict.reproduce, again.stderr);
            let values = |finished: &Finished| {
                let assignment = assignments(finished)[case].clone();
                assignment
                    .into_iter()
                    .map(|(name, (value, _))| (name, value))
                    .collect::<Vec<_>>()
            };
            assert_eq!(values(&again), values(&first), "{}", verdict.reproduce);
            let seed = |finished: &Finished| {
                let line = finished.stdout.lines().find(|line| line.starts_with("seed: "));
                line.unwrap().to_owned()
            };
            if verdicts.len() == 1 {
                assert_eq!(seed(&again), seed(&first));
            }
            let seen = |finished: &Finished| {
                let output = finished.verdicts()[case].output.clone();
                let nodes = output.lines().filter(|line| line.starts_with("node "));
                nodes.map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(seen(&again), seen(&first));
        }
    }
}

#[test]
fn filters_and_what_is_given_change_no_other_draw() {
    let all = assignments(&run(&["--seed", "11"]));
    let few = assignments(&run(&["--seed", "11", "answers", "remembers"]));
    assert!(few.len() > 3);
    for (case, assignment) in &few {
        assert_eq!(assignment, &all[case], "{case}");
    }
    let given = assignments(&run(&["--seed", "11", "--variant", "server.auth=on", "answers"]));
    let case = "answers[server=store,client=line]";
    for (name, value) in &given[case] {
        match &**name {
            "server.auth" => assert_eq!(*value, ("on".to_owned(), "command_line".to_owned())),
            _ => assert_eq!(*value, all[case][name]),
        }
    }
    assert_eq!(
        all[case]["server.cache"],
        ("small".to_owned(), "default".to_owned()),
        "it is fixed"
    );
}

#[test]
fn what_clients_address_follows_the_servers_variant() {
    for auth in ["off", "on"] {
        let finished = run(&["--tag", "works", "--variant", &format!("auth={auth}")]);
        let verdicts = finished.verdicts();
        assert_eq!(verdicts["answers[server=store,client=line]"].status, "passed");
        assert_eq!(verdicts["answers[server=memory,client=line]"].status, "passed");
    }
    let asked = run(&["--exact", "asks_for_another", "--include-ignored"]);
    let verdict = &asked.verdicts()["asks_for_another[server=store]"];
    let text = format!("{} {}", verdict.message, verdict.details);
    assert!(
        text.contains(
            "kind `store` of node `server`: there is no variant `persistance`; did you mean `persistence`?"
        ),
        "{text}"
    );
}

#[test]
fn pins_and_what_is_forbidden_are_kept_to_and_reported() {
    let mut seen = BTreeSet::new();
    for seed in 0..4 {
        let finished = run(&["--seed", &seed.to_string(), "--exact", "remembers_what_can_be"]);
        assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
        let assignment = &assignments(&finished)["remembers_what_can_be[server=store,client=line]"];
        assert_eq!(assignment["server.auth"], ("on".to_owned(), "pinned".to_owned()));
        seen.insert(assignment["server.persistence"].0.clone());
        let html = std::fs::read_to_string(finished.report().join("report.html")).unwrap();
        assert!(html.contains("forbidden: server.persistence=none (it forgets by design)"));
    }
    assert!(!seen.contains("none"), "{seen:?}");

    let clash = run(&[
        "--exact",
        "remembers_what_can_be",
        "--variant",
        "persistence=none",
    ]);
    let verdict = &clash.verdicts()["remembers_what_can_be[server=store,client=line]"];
    assert_eq!(
        (&*verdict.status, &*verdict.message),
        (
            "skipped",
            "`forbid` meets --variant persistence=none: it forgets by design"
        )
    );
    let lacks = run(&["answers", "--variant", "persistence=aof"]);
    let verdicts = lacks.verdicts();
    assert_eq!(verdicts["answers[server=store,client=line]"].status, "passed");
    let verdict = &verdicts["answers[server=memory,client=line]"];
    assert_eq!(verdict.status, "skipped");
    assert!(
        verdict.message.contains("it has persistence none"),
        "{}",
        verdict.message
    );

    let plan = run(&["--plan", "--exact", "remembers_what_can_be"]);
    assert!(plan.stdout.contains("\nvariants: random\n"), "{}", plan.stdout);
    let narrowed =
        "remembers_what_can_be: not server.persistence=none (it forgets by design), server.auth=on [pinned]";
    assert!(plan.stdout.contains(narrowed), "{}", plan.stdout);
}

#[test]
fn exclusions_and_known_failures_follow_the_draw() {
    for seed in 0..3 {
        let seed = seed.to_string();
        let finished = run(&["--seed", &seed, "needs_no_password", "forgets_only"]);
        assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
        let assignments = assignments(&finished);
        assert_eq!(
            assignments["needs_no_password[server=store]"]["server.auth"].0,
            "off"
        );
        for (case, verdict) in finished.verdicts() {
            if case.starts_with("forgets_only") {
                let forgets = assignments[&case]["server.persistence"].0 == "none";
                let expected = if forgets { "known_failure" } else { "passed" };
                assert_eq!(verdict.status, expected, "{case}");
            }
        }
    }
    let expanded = run(&["--variants", "all", "needs_no_password"]);
    let verdicts = expanded.verdicts();
    assert_eq!(verdicts.len(), 3 * 2 * 2);
    for (case, verdict) in verdicts {
        let expected = if case.contains("auth=on") {
            "skipped"
        } else {
            "passed"
        };
        assert_eq!(verdict.status, expected, "{case}");
    }
}

#[test]
fn expanded_cases_are_listed_run_and_reported_under_one_name() {
    let listed = run(&["--list", "--format", "terse", "--variants", "all", "answers"]);
    let names: BTreeSet<String> = listed
        .stdout
        .lines()
        .map(|line| line.strip_suffix(": test").unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), 2 * (3 * 2 * 2 + 1));
    let case = "answers[server=store,server.persistence=aof,server.auth=on,server.cache=big,client=line,client.greeting=long]";
    assert!(names.contains(case), "{names:?}");
    let finished = run(&["--variants", "all", "answers"]);
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
    assert_eq!(finished.verdicts().into_keys().collect::<BTreeSet<_>>(), names);
    assert_eq!(finished.junit().into_keys().collect::<BTreeSet<_>>(), names);
    assert!(
        assignments(&finished)[case]
            .values()
            .all(|(_, source)| source == "expanded")
    );
    // The plan in the events says the same names: reports made from them have nothing that is pending.
    let rebuilt = Planted::new(VARIANTS)
        .arg_paths("--report-from", [finished.report().join("events.jsonl")])
        .run();
    assert_eq!(rebuilt.code(), Some(0), "{}", rebuilt.stdout);

    let pairwise = run(&["--list", "--format", "terse", "--variants", "pairwise", "answers"]);
    let fewer: BTreeSet<String> = pairwise
        .stdout
        .lines()
        .map(|line| line.strip_suffix(": test").unwrap().to_owned())
        .collect();
    assert!(fewer.is_subset(&names) && fewer.len() < names.len(), "{fewer:?}");
    let other = names.difference(&fewer).next().unwrap();
    let exact = run(&["--variants", "pairwise", "--exact", other]);
    assert_eq!(
        exact.verdicts().into_keys().collect::<BTreeSet<_>>(),
        BTreeSet::from([other.clone()])
    );
    let sharded: Vec<String> = ["1/2", "2/2"]
        .iter()
        .flat_map(|shard| {
            run(&["--variants", "pairwise", "--shard", shard, "answers"])
                .verdicts()
                .into_keys()
        })
        .collect();
    assert_eq!(sharded.len(), fewer.len());
    let missing = run(&[
        "--variants",
        "all",
        "--exact",
        "answers[server=store,client=line]",
    ]);
    assert_eq!(missing.code(), Some(101));
    assert!(
        missing.stderr.contains("server.persistence=none|rdb|aof"),
        "{}",
        missing.stderr
    );
}

#[test]
fn what_no_kind_has_is_refused_with_the_near_miss() {
    for (arguments, part) in [
        (
            &["--variant", "persistance=aof"][..],
            "no kind has an axis `persistance`; did you mean `persistence`?",
        ),
        (
            &["--variant", "persistence=oaf"],
            "no kind has that value of `persistence`; did you mean `aof`?",
        ),
        (
            &["--variant", "servr.auth=on"],
            "no parameter with variants is called `servr`; did you mean `server`?",
        ),
        (
            &["--variant", "engine-2.storage=lsm"],
            "`storage` is the same for all nodes",
        ),
        (
            &["--variant", "server-2.auth=on"],
            "no parameter with variants is called `server-2`",
        ),
        (&["--variant", "auth"], "[PARAM.]AXIS=VALUE"),
        (
            &["--variant", "auth=on", "--variant", "auth=off"],
            "auth=on and auth=off contradict each other",
        ),
        (&["--variants", "some"], "invalid value 'some'"),
        (
            &["--exact", "always_fails", "--variant", "auth=maybe"],
            "no kind has that value",
        ),
    ] {
        let finished = run(arguments);
        assert_eq!(finished.code(), Some(2), "{arguments:?}");
        assert!(
            finished.stderr.contains(part),
            "{arguments:?}: {}",
            finished.stderr
        );
        assert!(finished.stdout.is_empty());
    }
    let variable = Planted::new(VARIANTS)
        .env("ROBUST_VARIANT", "auth=on,persistence=aof")
        .env("ROBUST_VARIANTS", "default")
        .args(["--exact", "answers"])
        .run();
    let assignment = &assignments(&variable)["answers[server=store,client=line]"];
    assert_eq!(
        assignment["server.auth"],
        ("on".to_owned(), "command_line".to_owned())
    );
    assert_eq!(
        assignment["client.greeting"],
        ("short".to_owned(), "default".to_owned())
    );
}

#[test]
fn versions_of_a_program_are_an_axis_where_they_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let program = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (six, seven) = (
        format!("versioned@6={}", program("six")),
        format!("versioned@7={}", program("seven")),
    );
    let case = "has_versions[server=versioned,client=line]";
    let drawn: BTreeSet<String> = (0..8)
        .map(|seed| {
            let finished = run(&[
                "--seed",
                &seed.to_string(),
                "--bin",
                &six,
                "--bin",
                &seven,
                "--tag",
                "versions",
            ]);
            let (version, source) = assignments(&finished)[case]["server.version"].clone();
            assert_eq!(source, "random");
            let verdict = &finished.verdicts()[case];
            let program = if version == "6" { "/six" } else { "/seven" };
            assert!(
                verdict.output.contains(&format!("{program}\n")),
                "{}",
                verdict.output
            );
            for part in [
                "--bin versioned@6=",
                &format!("--variant server.version={version}"),
            ] {
                assert!(verdict.reproduce.contains(part), "{}", verdict.reproduce);
            }
            let again = Planted::new(VARIANTS).args(words(&verdict.reproduce)).run();
            assert_eq!(assignments(&again)[case]["server.version"].0, version);
            version
        })
        .collect();
    assert_eq!(
        drawn,
        BTreeSet::from(["6".to_owned(), "7".to_owned()]),
        "nothing is installed"
    );
    let installed = format!("versioned={}", program("plain"));
    let finished = run(&[
        "--bin",
        &installed,
        "--bin",
        &seven,
        "--variants",
        "all",
        "--tag",
        "versions",
    ]);
    let names: BTreeSet<String> = finished.verdicts().into_keys().collect();
    assert_eq!(names.len(), 4);
    assert!(names.contains(
        "has_versions[server=versioned,server.version=installed,client=line,client.greeting=long]"
    ));
    for (bin, part) in [
        ("versioned@installed", "what --bin KIND=PATH replaces"),
        ("versioned@a,b", "cannot be in a case's name"),
    ] {
        let finished = run(&["--bin", &format!("{bin}={}", program("plain"))]);
        assert_eq!(finished.code(), Some(2));
        assert!(finished.stderr.contains(part), "{}", finished.stderr);
    }
}

fn explanation(report: &Path) -> String {
    std::fs::read_to_string(report.join("explain.txt")).unwrap_or_default()
}

#[test]
fn a_failed_case_is_explained_by_the_variant_that_matters() {
    let arguments = [
        "--explain",
        "--tag",
        "explained",
        "--variant",
        "persistence=none",
        "--variant",
        "auth=on",
        "--variant",
        "greeting=long",
    ];
    let finished = run(&arguments);
    assert_eq!(finished.code(), Some(101));
    let line = "explain remembers[server=store,client=line]: fails with server.persistence=none, passes with rdb, aof; \
                server.auth, server.cache, client.greeting do not matter";
    assert_eq!(explanation(&finished.report()), format!("{line}\n"));
    assert!(finished.stdout.contains(line), "{}", finished.stdout);
    // The reports are the run's own.
    assert_eq!(finished.verdicts().len(), 1);
    assert_eq!(finished.junit().len(), 1);

    let expanded = run(&[
        "--explain",
        "--variants",
        "all",
        "--variant",
        "auth=off",
        "--exact",
        "remembers[server=store,server.persistence=none,server.cache=small,client=line,client.greeting=short]",
    ]);
    assert_eq!(
        explanation(&expanded.report()),
        "explain remembers[server=store,server.persistence=none,server.cache=small,client=line,client.greeting=short]: \
         fails with server.persistence=none, passes with rdb, aof; server.auth, server.cache, client.greeting do not \
         matter\n"
    );
    let json = run(&[&arguments[..], &["--format", "json"]].concat());
    assert!(json.stderr.contains(line), "{}", json.stderr);
    for text in json.stdout.lines() {
        assert!(serde_json::from_str::<Value>(text).is_ok(), "{text}");
    }
}

#[test]
fn what_does_not_fail_again_or_fails_always_is_said_to() {
    let folder = tempfile::tempdir().unwrap();
    let unsteady = Planted::new(VARIANTS)
        .env("VARIANTS_MARKER", folder.path().join("marker"))
        .args(["--explain", "--include-ignored", "--exact", "fails_once"])
        .run();
    let text = explanation(&unsteady.report());
    assert!(
        text.starts_with("explain fails_once[engine=quorum]: not reproducible"),
        "{text}"
    );

    let always = run(&["--explain", "--include-ignored", "--exact", "always_fails"]);
    assert_eq!(
        explanation(&always.report()),
        "explain always_fails[engine=quorum]: engine-1.version, engine-2.version, engine-3.version, engine.storage do \
         not matter\n"
    );
    let many = run(&[
        "--explain",
        "--include-ignored",
        "--variants",
        "all",
        "--exact",
        "always_fails",
        "nodes_differ",
    ]);
    let text = explanation(&many.report());
    assert_eq!(text.lines().count(), 11, "{text}");
    assert!(
        text.contains("explain: 2 more failed cases are left out: nodes_differ["),
        "{text}"
    );
    let passed = Planted::new(VARIANTS).args(["--explain", "--tag", "works"]).run();
    assert_eq!((passed.code(), &*explanation(&passed.report())), (Some(0), ""));
}
