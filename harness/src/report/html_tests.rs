use super::*;
use crate::outcome::Outcome;
use crate::report::fixture;

fn rendered(suites: &[Suite]) -> Vec<u8> {
    let mut html = Vec::new();
    let flow = render(suites, Path::new("/t/robust/mqtt-suite/robust"), |piece| {
        html.extend_from_slice(piece);
        ControlFlow::Continue(())
    });
    assert!(flow.is_continue());
    html
}

fn page(suite: Suite) -> (String, serde_json::Value) {
    let html = String::from_utf8(rendered(&[suite])).unwrap();
    let (_, rest) = html.split_once("id=\"data\">").unwrap();
    let (json, _) = rest.split_once("</script>").unwrap();
    let json = serde_json::from_str(json).unwrap();
    (html, json)
}

fn nasty() -> Suite {
    let mut suite = Suite::new(fixture::started(&[(0, 6)]));
    fixture::nasty_cases()
        .iter()
        .for_each(|case| suite.cases.add(case));
    suite.cases.settle(&suite.plan);
    suite.runs[0].finished = Some(fixture::finished());
    suite
}

#[test]
fn nothing_a_case_wrote_or_is_called_is_markup() {
    let (html, json) = page(nasty());
    if let Some(path) = std::env::var_os("ROBUST_TEST_KEEP_HTML") {
        std::fs::write(path, &html).unwrap();
    }
    assert_eq!(html.matches("</script>").count(), 2);
    assert_eq!(html.matches("<b>").count(), 0);
    for request in ["http:", "https:", "src=", "@import", "url("] {
        assert!(!html.contains(request), "{request}");
    }
    let failed = json["details"]
        .as_array()
        .unwrap()
        .iter()
        .find(|detail| detail["class"] == "panic")
        .unwrap();
    assert_eq!(failed["message"], "lost \"m1\" & <m2> \u{1b}[1m]]>");
    assert!(
        failed["output"]
            .as_str()
            .unwrap()
            .contains("🦀\r\n</script><b>\tend")
    );
    let links = [
        ["broker.log", "./cases/survives-1f/broker.log"],
        [
            "odd name #1 ]]>.txt",
            "./cases/survives-1f/odd%20name%20%231%20%5D%5D%3E.txt",
        ],
    ];
    assert_eq!(failed["attachments"], serde_json::json!(links));
}

#[test]
fn every_case_is_there_with_its_cell() {
    let (_, json) = page(nasty());
    let cases = json["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    let axes = serde_json::json!([["broker", ["mosquitto", "rumqttd"]], ["qos", ["0", "1", "2"]]]);
    assert_eq!(json["scenarios"][0]["axes"], axes);
    let cells: Vec<_> = cases
        .iter()
        .map(|case| (case[1].clone(), case[2].as_u64().unwrap()))
        .collect();
    assert_eq!(cells[5], (serde_json::json!([1, 2]), 2));
    assert_eq!(cells[7], (serde_json::json!([]), 7));
}

#[test]
fn a_passing_case_costs_few_bytes() {
    let count = 99_000;
    let mut started = fixture::started(&[(0, count)]);
    started.planned[0].axes[0].1 = (0..count / 3).map(|n| format!("broker-{n}")).collect();
    let mut suite = Suite::new(started);
    let mut names = Vec::new();
    suite.plan.each(|case| names.push(case.name));
    for (at, name) in names.iter().enumerate() {
        let outcome = match at % 1000 {
            0 => Outcome::Skipped {
                reason: "no mosquitto".into(),
            },
            _ => Outcome::Passed,
        };
        suite.cases.add(&fixture::case(name, outcome));
    }
    suite.cases.settle(&suite.plan);
    let (html, _) = page(suite);
    assert!(html.len() < 70 * count as usize, "{}", html.len());
    if let Some(path) = std::env::var_os("ROBUST_TEST_KEEP_LARGE_HTML") {
        std::fs::write(path, &html).unwrap();
    }
}

#[test]
fn sub_cases_are_told_also_of_a_case_that_passed() {
    let mut suite = Suite::new(fixture::started(&[]));
    suite.cases.add(&fixture::with_sub_cases("m::failed"));
    let mut passed = fixture::with_sub_cases("m::passed");
    passed.outcome = Outcome::Passed;
    passed.sub_cases.truncate(1);
    suite.cases.add(&passed);
    let (html, json) = page(suite);
    if let Some(path) = std::env::var_os("ROBUST_TEST_KEEP_HTML_SUB_CASES") {
        std::fs::write(path, &html).unwrap();
    }
    let parts = &json["details"][0]["parts"];
    let told: Vec<_> = (0..4).map(|at| parts[at]["status"].as_u64().unwrap()).collect();
    assert_eq!(told, [6, 0, 1, 7]);
    assert_eq!(parts[1]["name"], "client-2");
    assert_eq!(parts[1]["text"], "error: refused ]]> \0\ncaused by: \u{1b}");
    assert_eq!(json["details"][1]["parts"].as_array().unwrap().len(), 1);
}
