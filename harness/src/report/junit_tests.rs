use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::*;
use crate::report::fixture;

#[path = "junit/hostile_tests.rs"]
mod hostile_tests;

/// An element as a reader sees it.
#[derive(Debug, Default, Clone)]
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    text: String,
    children: Vec<Element>,
}

impl Element {
    fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("(none)", |value| value)
    }

    fn child(&self, name: &str) -> &Element {
        let found = self.children.iter().find(|child| child.name == name);
        found.unwrap_or_else(|| panic!("no <{name}> in {}", self.get("name")))
    }

    fn all(&self, name: &str) -> Vec<&Element> {
        self.children.iter().filter(|child| child.name == name).collect()
    }
}

/// Reads XML with another program than the one that wrote it would do: entities, CDATA and attribute
/// values are resolved as the recommendation says.
fn parse(xml: &[u8]) -> Element {
    let text = std::str::from_utf8(xml).unwrap();
    let forbidden = |c: char| c < ' ' && !"\t\n\r".contains(c) || c == '\u{FFFE}' || c == '\u{FFFF}';
    assert_eq!(text.find(forbidden), None);
    let mut reader = Reader::from_str(text);
    let mut open = vec![Element::default()];
    loop {
        let event = reader.read_event().unwrap();
        let is_empty = matches!(event, Event::Empty(_));
        match event {
            Event::Eof => break,
            Event::Start(tag) | Event::Empty(tag) => {
                let attributes = tag.attributes().map(|attribute| {
                    let attribute = attribute.unwrap();
                    let raw = String::from_utf8(attribute.value.to_vec()).unwrap();
                    let normalized = raw.replace(['\n', '\r', '\t'], " ");
                    let value = quick_xml::escape::unescape(&normalized).unwrap().into_owned();
                    (String::from_utf8(attribute.key.as_ref().to_vec()).unwrap(), value)
                });
                let element = Element {
                    attributes: attributes.collect(),
                    name: String::from_utf8(tag.name().as_ref().to_vec()).unwrap(),
                    ..Element::default()
                };
                if is_empty {
                    open.last_mut().unwrap().children.push(element);
                } else {
                    open.push(element);
                }
            }
            Event::End(_) => {
                let element = open.pop().unwrap();
                open.last_mut().unwrap().children.push(element);
            }
            Event::CData(data) => {
                let text = String::from_utf8(data.to_vec()).unwrap();
                open.last_mut().unwrap().text.push_str(&text);
            }
            Event::Text(data) => {
                let text = String::from_utf8(data.to_vec()).unwrap();
                open.last_mut().unwrap().text.push_str(&text);
            }
            Event::GeneralRef(name) => {
                let name = format!("&{};", String::from_utf8(name.to_vec()).unwrap());
                let value = quick_xml::escape::unescape(&name).unwrap().into_owned();
                open.last_mut().unwrap().text.push_str(&value);
            }
            _ => {}
        }
    }
    assert_eq!(open.len(), 1);
    open.pop().unwrap().children.pop().unwrap()
}

/// All of it, from several threads.
fn rendered(suites: &[Suite]) -> Vec<u8> {
    rendered_in_parts(suites, CASES_MAX, 3)
}

fn rendered_in_parts(suites: &[Suite], cases_max: usize, threads: usize) -> Vec<u8> {
    let mut xml = Vec::new();
    let take = |piece: &[u8]| {
        xml.extend_from_slice(piece);
        ControlFlow::Continue(())
    };
    render_in_parts(suites, cases_max, threads, take).unwrap();
    xml
}

fn suite() -> Suite {
    let mut suite = Suite::new(fixture::started(&[(0, 6)]));
    fixture::nasty_cases()
        .iter()
        .for_each(|case| suite.cases.add(case));
    suite.cases.settle(&suite.plan);
    suite.runs[0].finished = Some(fixture::finished());
    suite
}

#[test]
fn a_nasty_recording_is_read_back_as_it_was() {
    let xml = rendered(&[suite()]);
    if let Some(path) = std::env::var_os("ROBUST_TEST_KEEP_JUNIT") {
        std::fs::write(path, &xml).unwrap();
    }
    let root = parse(&xml);
    assert_eq!(root.name, "testsuites");
    let counts = ["tests", "failures", "errors", "time"];
    assert_eq!(counts.map(|name| root.get(name)), ["8", "1", "3", "12.346"]);
    assert_eq!(root.get("name"), "mqtt-suite");
    let suite = root.child("testsuite");
    assert_eq!(counts.map(|name| suite.get(name)), ["8", "1", "3", "12.346"]);
    let of_suite = ["name", "package", "hostname", "skipped", "timestamp"];
    let expected = ["robust", "mqtt-suite", "ci-7", "2", "2026-01-02T03:04:05Z"];
    assert_eq!(of_suite.map(|name| suite.get(name)), expected);

    let properties: Vec<_> = suite.child("properties").children.iter().collect();
    let properties: BTreeMap<_, _> = properties
        .iter()
        .map(|p| (p.get("name"), p.get("value")))
        .collect();
    let expected = [
        ("arguments", r"--seed 42 'a b'\''c#x1B'"),
        ("concurrency_max", "8"),
        ("filtered_out", "3"),
        ("flaky", "1"),
        ("harness", "0.1.0"),
        ("known_failures", "1"),
        ("no_verdict", "1"),
        ("package", "mqtt-suite"),
        ("seed", "42"),
        ("suite", "robust"),
        ("unknown", "1"),
    ];
    assert_eq!(properties, expected.into());

    let cases = suite.all("testcase");
    let [failed, flaky, errored, unknown, known, missing, quoted, later] = cases[..] else {
        panic!("{} cases", cases.len());
    };
    for case in &cases {
        assert_eq!(
            (case.get("classname"), case.get("file")),
            ("robust::kills", "tests/kills.rs")
        );
    }

    assert_eq!(failed.get("name"), "survives[broker=mosquitto,qos=0]");
    assert_eq!(failed.get("time"), "1.235");
    let failure = failed.child("failure");
    assert_eq!(failure.get("type"), "panic");
    assert_eq!(failure.get("message"), "lost \"m1\" & <m2> #x1B[1m]]>");
    let nasty =
        "NUL #x0 ESC #x1B[31m red ]]> <![CDATA[ & < > \" ' #xFFFE #xFFFF \u{7f} 🦀\r\n</script><b>\tend";
    assert_eq!(failure.text, format!("  at tests/kills.rs:9\n{nasty}"));
    let seed = crate::seed::Seed(42).derive("robust::kills::survives[broker=mosquitto,qos=0]");
    assert_eq!(
        failed.child("system-out").text,
        format!(
            "seed: {seed} (root seed 42)\naxes: broker=mosquitto, qos=0\ntags: slow\n\
             reproduce: cargo test --test robust -- --seed 42 --exact 'robust::kills::survives[broker=mosquitto,qos=0]'\n\
             \n{nasty}\n\
             [[ATTACHMENT|/t/robust/mqtt-suite/robust/cases/survives-1f/broker.log]]\n\
             [[ATTACHMENT|/t/robust/mqtt-suite/robust/cases/survives-1f/odd name #1 ]]>.txt]]\n"
        )
    );

    assert!(flaky.all("failure").is_empty() && flaky.all("error").is_empty());
    let first = flaky.child("flakyFailure");
    assert_eq!((first.get("type"), first.get("message")), ("panic", "first try"));
    let without_carriage_return = format!("first try\n{nasty}");
    assert_eq!(first.child("stackTrace").text, without_carriage_return);
    assert_eq!(first.child("system-out").text, nasty);
    assert_eq!(flaky.child("flakyError").get("type"), "deadline");

    assert_eq!(errored.child("error").get("message"), "worker died of signal 6");
    assert_eq!(errored.child("rerunError").get("type"), "leak");
    assert!(errored.child("system-out").text.len() > 5 << 20);
    let error = unknown.child("error");
    assert_eq!(
        (error.get("type"), error.get("message")),
        ("unknown", "no linearization found in 10 s")
    );
    assert_eq!(error.text, "812 operations");
    let skipped = known.child("skipped");
    assert_eq!(
        (skipped.get("type"), skipped.get("message")),
        ("known_failure", "forgets on SIGKILL #x1B")
    );
    assert_eq!(skipped.text, "message lost\nat line 3");
    assert_eq!(missing.child("error").get("type"), "interrupted");
    assert_eq!(missing.get("time"), "0.000");
    assert_eq!(quoted.get("name"), "quoted \"a\" <b>\nand more\t]]> #x0");
    assert_eq!(
        later.child("skipped").get("message"),
        "program mosquitto is not installed"
    );
    assert!(!later.child("system-out").text.contains("tags"));
}

#[test]
fn empty_suites_and_no_suite_at_all_are_reports_too() {
    let mut started = fixture::started(&[]);
    started.hostname.clear();
    let xml = rendered(&[Suite::new(started)]);
    let root = parse(&xml);
    assert_eq!(
        root.child("testsuite").child("properties").children[0].get("value"),
        "mqtt-suite"
    );
    assert_eq!(root.child("testsuite").get("tests"), "0");
    assert_eq!(parse(&rendered(&[])).get("tests"), "0");
}

#[test]
fn a_case_that_ran_often_is_one_testcase() {
    let mut suite = Suite::new(fixture::started(&[(0, 1)]));
    let mut case = fixture::nasty_cases().swap_remove(2);
    suite.cases.add(&case);
    case.outcome = Outcome::Passed;
    case.iteration = 1;
    suite.cases.add(&case);
    let root = parse(&rendered(&[suite]));
    let cases = root.child("testsuite").all("testcase");
    assert_eq!(cases.len(), 1);
    assert!(
        cases[0]
            .child("failure")
            .get("message")
            .starts_with("failed in 1 of 2 runs: lost")
    );
    assert_eq!(cases[0].get("time"), "2.469");
}

#[test]
fn parts_make_the_same_as_the_whole() {
    let large = || {
        let count = 1000;
        let mut started = fixture::started(&[(0, count)]);
        started.planned[0].axes[0].1 = (0..count.div_ceil(3)).map(|n| n.to_string()).collect();
        let mut large = Suite::new(started);
        fixture::nasty_cases()
            .iter()
            .for_each(|case| large.cases.add(case));
        large.cases.settle(&large.plan);
        large
    };
    let empty = || Suite::new(fixture::started(&[]));
    let suites = [
        empty(),
        suite(),
        large(),
        empty(),
        empty(),
        large(),
        suite(),
        empty(),
    ];
    let whole = rendered_in_parts(&suites, usize::MAX, 1);
    assert_eq!(parse(&whole).children[2].all("testcase").len(), 1007);
    for (cases_max, threads) in [
        (usize::MAX, 4),
        (1, 1),
        (1, 3),
        (7, 2),
        (CASES_MAX, 1),
        (CASES_MAX, 4),
    ] {
        assert!(
            rendered_in_parts(&suites, cases_max, threads) == whole,
            "{cases_max} cases a part on {threads} threads"
        );
    }
}

#[test]
fn much_output_makes_small_parts() {
    let mut suite = Suite::new(fixture::started(&[]));
    for number in 0..10 {
        let mut case = fixture::nasty_cases().swap_remove(2);
        case.case = format!("robust::kills::loud_{number}");
        case.output = "x".repeat(parts::OUTPUT_BYTES_MAX / 2);
        suite.cases.add(&case);
    }
    let suites = [suite];
    assert_eq!(Parts::new(&suites, CASES_MAX).count(), 4);
}

#[test]
fn nothing_is_made_that_nobody_takes() {
    for threads in [1, 3] {
        let (mut left, suites) = (3, [suite(), suite()]);
        let take = |_: &[u8]| {
            left -= 1;
            match left {
                0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        };
        render_in_parts(&suites, 1, threads, take).unwrap();
        assert_eq!(left, 0);
    }
}

#[test]
fn sub_cases_are_testcases_whose_class_is_their_case() {
    let names = ["robust::kills::many[broker=a]", "robust::kills::many[broker=b]"];
    let mut suite = Suite::new(fixture::started(&[]));
    for name in names {
        suite.cases.add(&fixture::with_sub_cases(name));
    }
    suite
        .cases
        .add(&fixture::case("robust::kills::plain", Outcome::Passed));
    let (xml, again) = (rendered(&[suite]), &names);
    if let Some(path) = std::env::var_os("ROBUST_TEST_KEEP_JUNIT_SUB_CASES") {
        std::fs::write(path, &xml).unwrap();
    }
    let root = parse(&xml);
    let suite = root.child("testsuite");
    let counts = ["tests", "failures", "errors", "skipped"];
    assert_eq!(counts.map(|name| suite.get(name)), ["11", "4", "2", "2"]);
    let cases = suite.all("testcase");
    assert_eq!(cases.len(), 11);
    for (at, name) in again.iter().enumerate() {
        let cases = &cases[at * 5..at * 5 + 5];
        assert_eq!(
            (cases[0].get("classname"), cases[0].get("name")),
            ("robust::kills", &name["robust::kills::".len()..])
        );
        for (number, case) in (1..).zip(&cases[1..]) {
            assert_eq!(case.get("classname"), *name);
            assert_eq!(case.get("name"), format!("client-{number}"));
            assert_eq!(case.get("file"), "tests/kills.rs");
            assert_eq!(case.get("time"), format!("0.00{number}"));
        }
        assert!(cases[1].children.is_empty());
        let failure = cases[2].child("failure");
        assert_eq!(failure.get("message"), "refused ]]> #x0");
        assert_eq!(failure.text, "caused by: #x1B");
        assert_eq!(cases[3].child("error").get("type"), "deadline");
        assert_eq!(cases[4].child("skipped").get("message"), "no IPv6");
    }
    assert_eq!(cases[10].get("classname"), "robust::kills");
}

#[test]
fn a_better_verdict_of_a_case_takes_its_sub_cases_out_of_the_counts() {
    let mut suite = Suite::new(fixture::started(&[]));
    let mut case = fixture::with_sub_cases("robust::kills::many");
    case.sub_cases.truncate(1);
    case.outcome = Outcome::Passed;
    suite.cases.add(&case);
    suite.cases.add(&fixture::with_sub_cases("robust::kills::many"));
    let root = parse(&rendered(&[suite]));
    assert_eq!(root.get("tests"), "5");
    assert_eq!(root.child("testsuite").all("testcase").len(), 5);
}
