//! What scopes and runs of many clients come to, seen from outside: verdicts, places, the order of closers, and
//! sub-cases in every report.

use std::collections::BTreeMap;

use robust_test_tests::{Finished, Planted, Verdict};
use serde_json::Value;

const SCOPES: &str = env!("CARGO_BIN_EXE_scopes");
const SOURCE: &str = include_str!("suites/scopes.rs");

/// What each case of `suites/scopes.rs` must come to: status, class and a part of the message or details.
const EXPECTED: &[(&str, &str, &str, &str)] = &[
    ("a_paused_clock_is_no_reason_to_wait", "passed", "", ""),
    (
        "a_plain_function_has_its_tasks_begin_at_its_end",
        "passed",
        "",
        "",
    ),
    ("a_scope_is_not_used", "passed", "", ""),
    (
        "a_scope_is_stopped_before_the_servers_wherever_it_stands[server=embedded]",
        "passed",
        "",
        "",
    ),
    (
        "a_stop_that_the_deadline_cuts_off_goes_on",
        "errored",
        "deadline",
        "also, teardown: teardown of scope: closer `endless`, deferred at tests/suites/scopes.rs:",
    ),
    (
        "a_task_blocks_its_thread",
        "errored",
        "teardown",
        "cannot be aborted: it blocks its thread",
    ),
    (
        "a_task_fails_and_nobody_looks",
        "errored",
        "teardown",
        "teardown of scope: task `importer`, opened at tests/suites/scopes.rs:",
    ),
    (
        "a_task_fails_long_after_its_scope_has_stopped",
        "failed",
        "error",
        "task `child/kept`, opened at tests/suites/scopes.rs:",
    ),
    (
        "a_task_ignores_its_cancellation",
        "errored",
        "teardown",
        "teardown of scope: task `stubborn`, opened at tests/suites/scopes.rs:{} and open for 2",
    ),
    (
        "a_task_panics",
        "failed",
        "panic",
        "task `judge`, opened at tests/suites/scopes.rs:",
    ),
    (
        "closers_go_wrong_in_every_way[server=embedded]",
        "errored",
        "teardown",
        "teardown of scope: 4 problems",
    ),
    (
        "closers_hang_for_longer_than_a_teardown_has[server=embedded]",
        "errored",
        "teardown",
        "teardown of scope: 3 problems",
    ),
    ("closers_run_after_a_deadline", "errored", "deadline", "300ms"),
    ("closers_run_after_a_panic", "failed", "panic", "the body's panic"),
    (
        "many_one_fails[server=embedded,client=named]",
        "failed",
        "error",
        "1 of 4 clients failed: client-2",
    ),
    (
        "many_one_fails_and_the_body_does_not_mind[server=embedded,client=named]",
        "failed",
        "error",
        "1 of 4 sub-cases failed: client-2",
    ),
    (
        "many_one_fails_as_known[server=embedded,client=named]",
        "known_failure",
        "error",
        "",
    ),
    (
        "many_one_hangs_in_connect[server=embedded,deaf=named]",
        "failed",
        "error",
        "client-2: deadline: it did not end within 300 ms",
    ),
    (
        "many_one_hangs_until_the_deadline[server=embedded,client=named]",
        "errored",
        "deadline",
        "500ms",
    ),
    (
        "many_one_panics[server=embedded,client=named]",
        "failed",
        "error",
        "client-3: panic: assertion `left != right` failed: the third is wrong",
    ),
    (
        "many_one_panics_in_a_task[server=embedded,client=named]",
        "failed",
        "error",
        "1 of 2 clients failed: client-2",
    ),
    (
        "many_parts_by_hand",
        "failed",
        "error",
        "2 of 3 sub-cases failed: b, forgotten",
    ),
    (
        "many_sixteen_are_fine[server=embedded,client=named]",
        "passed",
        "",
        "",
    ),
    (
        "many_sixty_four_meet[server=embedded,client=named]",
        "passed",
        "",
        "",
    ),
    (
        "scopes_within_are_stopped_before_what_is_around_them",
        "passed",
        "",
        "",
    ),
    ("tasks_that_watch_their_scope_end_with_it", "passed", "", ""),
    (
        "thousands_of_tasks_panic",
        "failed",
        "panic",
        "1980 more failures beside the body",
    ),
];

fn check_verdicts(verdicts: &BTreeMap<String, Verdict>) {
    let names: Vec<&str> = verdicts.keys().map(String::as_str).collect();
    let expected: Vec<&str> = EXPECTED.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, expected);
    let line = SOURCE
        .lines()
        .position(|line| line.contains("// line of the stubborn task"));
    let line = (line.expect("it is marked") + 1).to_string();
    for (name, status, class, part) in EXPECTED {
        let verdict = &verdicts[*name];
        assert_eq!(
            (verdict.status.as_str(), verdict.class.as_str()),
            (*status, *class),
            "{name}: {verdict:#?}"
        );
        let part = part.replace("{}", &line);
        let text = format!("{}\n{}", verdict.message, verdict.details);
        assert!(text.contains(&part), "{name}: {part:?} is not in {text}");
        assert!(
            !text.contains("outside of the body"),
            "{name}: told twice: {text}"
        );
    }
}

/// The lines of the output that begin so, without that.
fn said(verdict: &Verdict, begin: &str) -> Vec<String> {
    let lines = verdict.output.lines();
    lines
        .filter_map(|line| line.strip_prefix(begin).map(str::to_owned))
        .collect()
}

/// The events of the cases, by name.
fn events(finished: &Finished) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(finished.report().join("events.jsonl")).expect("events");
    let events = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let cases = events.filter(|event| event["event"] == "case_finished");
    cases
        .map(|case| (case["case"].as_str().expect("a name").to_owned(), case))
        .collect()
}

/// Name and status of each sub-case of the case whose name begins so.
fn sub_cases(events: &BTreeMap<String, Value>, case: &str) -> Vec<(String, String)> {
    let (_, event) = events
        .range(case.to_owned()..)
        .next()
        .expect("there is such a case");
    let all = event["sub_cases"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    all.iter()
        .map(|one| (text(&one["name"]), text(&one["status"])))
        .collect()
}

/// Attributes and children of each testcase, by class and name.
fn testcases(junit: &str) -> BTreeMap<(String, String), Vec<String>> {
    let document = roxmltree::Document::parse(junit).expect("well-formed");
    let mut all = BTreeMap::new();
    for case in document
        .descendants()
        .filter(|node| node.has_tag_name("testcase"))
    {
        let attribute = |name| case.attribute(name).expect("an attribute").to_owned();
        let children = case.children().filter(roxmltree::Node::is_element);
        let children: Vec<String> = children.map(|child| child.tag_name().name().to_owned()).collect();
        let key = (attribute("classname"), attribute("name"));
        assert!(
            all.insert(key.clone(), children).is_none(),
            "{key:?} is there twice"
        );
    }
    // What the suites say of themselves is what is there.
    let count = |tag: &str| {
        all.values()
            .filter(|children| children.iter().any(|child| child == tag))
            .count()
    };
    let suite = document.descendants().find(|node| node.has_tag_name("testsuite"));
    let suite = suite.expect("a suite");
    for (attribute, found) in [
        ("tests", all.len()),
        ("failures", count("failure")),
        ("errors", count("error")),
        ("skipped", count("skipped")),
    ] {
        assert_eq!(
            suite.attribute(attribute),
            Some(&*found.to_string()),
            "{attribute}"
        );
    }
    all
}

#[test]
fn scopes_stop_whatever_happens_and_many_clients_are_told_one_by_one() {
    let finished = Planted::new(SCOPES).run();
    assert_eq!(
        finished.code(),
        Some(101),
        "{}\n{}",
        finished.stdout,
        finished.stderr
    );
    let verdicts = finished.verdicts();
    check_verdicts(&verdicts);
    check_closers(&verdicts);

    // One case fails for one reason.
    let text = |name: &str| format!("{}\n{}", verdicts[name].message, verdicts[name].details);
    assert_eq!(text("a_task_panics").matches("a task's own assertion").count(), 1);
    for (name, part) in [
        (
            "many_one_panics[server=embedded,client=named]",
            "the third is wrong",
        ),
        (
            "many_one_fails[server=embedded,client=named]",
            "lost what it wrote",
        ),
    ] {
        assert_eq!(text(name).matches(part).count(), 1, "{}", text(name));
        assert!(!text(name).contains("also, "), "{}", text(name));
    }

    let events = events(&finished);
    let names = |count: usize| (1..=count).map(|number| format!("client-{number}"));
    for (case, count) in [("many_sixteen_are_fine", 16), ("many_sixty_four_meet", 64)] {
        let expected: Vec<_> = names(count).map(|name| (name, "passed".to_owned())).collect();
        assert_eq!(sub_cases(&events, case), expected);
    }
    let statuses = |case: &str| -> Vec<String> {
        let all = sub_cases(&events, case);
        all.into_iter().map(|(_, status)| status).collect()
    };
    assert_eq!(
        statuses("many_one_fails["),
        ["passed", "failed", "passed", "passed"]
    );
    assert_eq!(
        statuses("many_one_fails_and"),
        ["passed", "failed", "skipped", "passed"]
    );
    assert_eq!(statuses("many_one_fails_as"), ["passed", "known_failure"]);
    for case in ["many_one_hangs_in_connect", "many_one_hangs_until"] {
        assert_eq!(
            statuses(case),
            ["passed", "errored", "passed", "passed"],
            "{case}"
        );
    }
    assert_eq!(statuses("many_parts_by_hand"), ["passed", "failed", "errored"]);
    assert!(statuses("a_task_panics").is_empty());

    check_console(&finished);
    let junit = std::fs::read_to_string(finished.report().join("junit.xml")).expect("junit.xml");
    let cases = testcases(&junit);
    let total: usize = events
        .values()
        .map(|event| 1 + event["sub_cases"].as_array().map_or(0, Vec::len))
        .sum();
    assert_eq!(cases.len(), total);
    let children = |class: &str, name: &str| cases[&(class.to_owned(), name.to_owned())].clone();
    let case = "many_one_fails[server=embedded,client=named]";
    assert_eq!(children(case, "client-2"), ["failure"]);
    assert_eq!(children("scopes", case), ["failure", "system-out"]);
    let known = "many_one_fails_as_known[server=embedded,client=named]";
    assert_eq!(children(known, "client-2"), ["skipped"]);
    let html = std::fs::read_to_string(finished.report().join("report.html")).expect("report.html");
    assert!(html.contains("\"parts\":[{\"name\":\"client-1\""));

    let rebuilt = Planted::new(SCOPES)
        .args(["--report-from".into(), finished.report().join("events.jsonl")])
        .run();
    let again = std::fs::read_to_string(rebuilt.report().join("junit.xml")).expect("junit.xml");
    assert_eq!(again, junit);
}

fn check_closers(verdicts: &BTreeMap<String, Verdict>) {
    let closed = |case: &str| said(&verdicts[case], "closed ");
    assert_eq!(closed("closers_run_after_a_panic"), ["third", "second", "first"]);
    assert_eq!(closed("closers_run_after_a_deadline"), ["second", "first"]);
    assert!(
        verdicts["closers_run_after_a_deadline"]
            .output
            .contains("task cancelled")
    );
    assert_eq!(closed("a_stop_that_the_deadline_cuts_off_goes_on"), ["first"]);
    for case in ["a_task_ignores_its_cancellation", "a_task_blocks_its_thread"] {
        assert_eq!(closed(case), ["what comes after it"], "{case}");
    }
    let wrong = "closers_go_wrong_in_every_way[server=embedded]";
    assert_eq!(closed(wrong), ["last", "first"]);
    for (name, what) in [
        ("deaf", "failed: deaf"),
        ("failing", "failed: no such bucket"),
        ("panicking", "panicked: in a closer"),
        ("hanging", "was not done within 50 ms"),
    ] {
        let line = verdicts[wrong].details.lines().find(|line| line.contains(what));
        let line = line.unwrap_or_else(|| panic!("{what} is not in {:#?}", verdicts[wrong]));
        let begin = format!("closer `{name}`, deferred at tests/suites/scopes.rs:");
        assert!(line.starts_with(&begin), "{line}");
    }
    let long = &verdicts["closers_hang_for_longer_than_a_teardown_has[server=embedded]"];
    assert_eq!(said(long, "the server runs: "), ["true"]);
    assert_eq!(said(long, "closed "), ["first"]);
    assert!(!long.details.contains("teardown of server"), "{long:#?}");
}

fn check_console(finished: &Finished) {
    for line in [
        "test many_one_fails[server=embedded,client=named] ... FAILED",
        "sub-cases: 4, 1 failed",
        "    client-1 ... ok <",
        "    client-2 ... FAILED <",
        "    client-3 ... ignored <",
        "; sub-cases: ",
        "test result: FAILED. 8 passed; 18 failed; 1 ignored;",
    ] {
        assert!(
            finished.stdout.contains(line),
            "{line:?} is not in\n{}",
            finished.stdout
        );
    }
    // Each client's lines say whose they are.
    let line = finished
        .stdout
        .lines()
        .find(|line| line.contains("problem=\"lost what it wrote\""));
    let line = line.expect("a line of the client's own");
    assert!(
        line.contains("client{name=\"client-2\" id=\"client-client-2\" seed="),
        "{line}"
    );
}

#[test]
fn what_passes_passes_again_and_again_and_shows_its_order_on_demand() {
    let finished = Planted::new(SCOPES)
        .args(["--repeat", "20", "--show-output"])
        .args([
            "a_paused",
            "a_plain",
            "a_scope",
            "scopes_within",
            "tasks_that",
            "many_six",
        ])
        .run();
    assert_eq!(
        finished.code(),
        Some(0),
        "{}\n{}",
        finished.stdout,
        finished.stderr
    );
    let order = "closed alone\nbody over\nclosed innermost\nclosed inner\nclosed outer\n";
    assert_eq!(finished.stdout.matches(order).count(), 20, "{}", finished.stdout);
    let order = "the task ran\nclosed closer\n";
    assert_eq!(finished.stdout.matches(order).count(), 20, "{}", finished.stdout);
    let order = "the server runs: true\nclosed the case's\n";
    assert_eq!(finished.stdout.matches(order).count(), 20, "{}", finished.stdout);
    let junit = std::fs::read_to_string(finished.report().join("junit.xml")).expect("junit.xml");
    // One testcase a sub-case, however often it ran.
    assert_eq!(testcases(&junit).len(), 8 + 16 + 64);
}

#[test]
fn sub_cases_are_told_in_the_runners_own_process_too() {
    let finished = Planted::new(SCOPES)
        .args(["--isolation", "none", "many_one_fails"])
        .run();
    assert_eq!(
        finished.code(),
        Some(101),
        "{}\n{}",
        finished.stdout,
        finished.stderr
    );
    let events = events(&finished);
    assert_eq!(sub_cases(&events, "many_one_fails[").len(), 4);
}
