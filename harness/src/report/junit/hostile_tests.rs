//! Texts that look like the XML around them must come back as they were, from wherever they were told.

use super::super::*;
use super::{parse, rendered};
use crate::event::{Attempt, CaseFinished, RunFinished};
use crate::outcome::Class;
use crate::report::fixture;

/// Texts a pass over the XML could take for something else.
const HOSTILE: [&str; 16] = [
    "</testcase>",
    "<testcase name=\"x\">",
    "<testcase name='x' time=\"9\"/>",
    "]]>",
    "]]]]><![CDATA[>]]>",
    "<![CDATA[ </system-out></testcase></testsuite></testsuites>",
    "</testsuite><testsuite tests=\"9\">",
    "a > b < c & \"d\" 'e' &amp; &#xA; time=\"7\" />",
    " time=",
    "x time=\"1\" name='",
    "one\ntwo\r\nthree\tfour\r",
    "<?xml version=\"1.0\"?><!-- --><!DOCTYPE x>",
    "\u{0}\u{b}\u{1f}\u{7f}\u{85}\u{fffd}\u{fffe}\u{ffff}\u{efff}\u{1f980}",
    "]]",
    "",
    ">",
];

fn told(text: &str, outcome: Outcome) -> CaseFinished {
    let mut case = fixture::case(&format!("m::{text}"), outcome);
    case.module = text.to_owned().into();
    case.file = text.to_owned().into();
    case.tags = vec![text.to_owned().into(), "]".into(), "]>".into()];
    case.output = format!("{text}\n]]>{text}");
    case.artifacts = Some("/t".into());
    case.attachments = vec![text.into()];
    case
}

/// A suite that has the text in every place that takes one.
fn hostile(text: &str) -> Suite {
    let mut started = fixture::started(&[(0, 6)]);
    started.package = text.into();
    started.suite = text.into();
    started.hostname = text.into();
    started.arguments = vec![text.into()];
    started.planned[0].axes[0].1 = vec![text.into(), format!("{text}]]")];
    let mut suite = Suite::new(started);
    suite.runs[0].finished = Some(RunFinished {
        interrupted: Some(text.into()),
        ..fixture::finished()
    });
    let problem = |class| Problem {
        class,
        message: text.into(),
        details: format!("{text}\n{text}"),
    };
    let outcomes = [
        Outcome::Passed,
        Outcome::Failed(problem(Class::Panic)),
        Outcome::Errored(problem(Class::Leak)),
        Outcome::Skipped { reason: text.into() },
        Outcome::Unknown {
            reason: format!("{text}\n{text}"),
        },
        Outcome::KnownFailure {
            because: text.into(),
            problem: problem(Class::Deadline),
        },
    ];
    for (number, outcome) in outcomes.into_iter().enumerate() {
        let mut case = told(&format!("{text}{number}"), outcome);
        case.earlier = [Class::Panic, Class::Crash]
            .map(|class| Attempt {
                problem: problem(class),
                duration_us: 1,
                output: format!("{text}{text}"),
            })
            .to_vec();
        suite.cases.add(&case);
    }
    for (number, duration_us) in [0, 1, 499, 500, 1_500, 999_500, 1_234_567, 86_400_000_000]
        .into_iter()
        .enumerate()
    {
        let mut case = fixture::case(&format!("m::plain{number}[a={text},b=1]"), Outcome::Passed);
        case.duration_us = duration_us;
        suite.cases.add(&case);
    }
    suite.cases.settle(&suite.plan);
    suite
}

/// As a report can show it.
fn shown(text: &str) -> String {
    clean(text).into_owned()
}

#[test]
fn hostile_text_is_read_back_from_every_place() {
    for text in HOSTILE {
        let suite = hostile(text);
        let root = parse(&rendered(std::slice::from_ref(&suite)));
        assert_eq!(root.get("name"), shown(text));
        let [element] = root.all("testsuite")[..] else {
            panic!("{} suites", root.children.len());
        };
        for name in ["name", "package", "hostname"] {
            assert_eq!(element.get(name), shown(text), "{name}");
        }
        let interrupted = element
            .child("properties")
            .children
            .iter()
            .find(|property| property.get("name") == "interrupted");
        assert_eq!(interrupted.unwrap().get("value"), shown(text));
        let cases = element.all("testcase");
        assert_eq!(cases.len(), suite.cases.cases().count());
        for (case, element) in suite.cases.cases().zip(cases) {
            assert_eq!(element.get("name"), shown(case.short_name()));
            assert_eq!(element.get("classname"), shown(case.module()));
            assert_eq!(element.get("file"), shown(case.file()));
            assert_eq!(element.get("time"), seconds(case.duration_us()));
            assert_eq!(element.child("system-out").text, shown(&system_out(&case)));
            if let Some(problem) = case.outcome().problem()
                && let Some(told) = element.children.iter().find(|child| child.name != "system-out")
                && told.get("type") == problem.class.name()
            {
                assert_eq!(told.get("message"), shown(&problem.message));
                assert_eq!(told.text, shown(&problem.details));
            }
            let earlier = element
                .children
                .iter()
                .filter(|child| child.name.starts_with("flaky") || child.name.starts_with("rerun"));
            assert_eq!(earlier.clone().count(), case.earlier().len());
            for (told, attempt) in earlier.zip(case.earlier()) {
                assert_eq!(told.get("message"), shown(&attempt.problem.message));
                assert_eq!(told.child("stackTrace").text, shown(&attempt.problem.to_string()));
                if !attempt.output.is_empty() {
                    assert_eq!(told.child("system-out").text, shown(&attempt.output));
                }
            }
        }
    }
}

#[test]
fn suites_stay_apart_whatever_they_say() {
    let suites: Vec<_> = HOSTILE.iter().map(|text| hostile(text)).collect();
    let root = parse(&rendered(&suites));
    let elements = root.all("testsuite");
    assert_eq!(elements.len(), suites.len());
    for (suite, element) in suites.iter().zip(elements) {
        assert_eq!(element.get("name"), shown(&suite.name));
        assert_eq!(element.all("testcase").len(), suite.cases.cases().count());
    }
}
