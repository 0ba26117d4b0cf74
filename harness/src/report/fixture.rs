//! A recording with everything that reports find hard, for their tests.

use crate::event::{Attempt, CaseFinished, Event, FORMAT, Planned, RunFinished, RunStarted, SubCase};
use crate::outcome::{Class, Outcome, Problem};
use crate::seed::Seed;

/// 2026-01-02 03:04:05 UTC, in milliseconds.
pub(crate) const START_MS: u64 = 1_767_323_045_678;

pub(crate) fn started(cells: &[(u64, u64)]) -> RunStarted {
    RunStarted {
        format: FORMAT,
        harness: "0.1.0".into(),
        package: "mqtt-suite".into(),
        suite: "robust".into(),
        seed: Seed(42),
        started_unix_ms: START_MS,
        hostname: "ci-7".into(),
        arguments: vec!["--seed".into(), "42".into(), "a b'c\u{1b}".into()],
        filtered_out: 3,
        planned: vec![Planned {
            scenario: "robust::kills::survives".into(),
            module: "robust::kills".into(),
            file: "tests/kills.rs".into(),
            line: 7,
            axes: vec![
                ("broker".into(), vec!["mosquitto".into(), "rumqttd".into()]),
                ("qos".into(), vec!["0".into(), "1".into(), "2".into()]),
            ],
            cells: cells.to_vec(),
        }],
    }
}

pub(crate) fn finished() -> RunFinished {
    RunFinished {
        duration_us: 12_345_678,
        concurrency_max: 8,
        interrupted: None,
        history_entered: false,
    }
}

pub(crate) fn case(name: &str, outcome: Outcome) -> CaseFinished {
    let axes = name
        .split_once('[')
        .map_or("", |(_, cell)| cell.trim_end_matches(']'));
    let axes = axes.split(',').filter_map(|pair| pair.split_once('='));
    CaseFinished {
        case: name.into(),
        module: "robust::kills".into(),
        file: "tests/kills.rs".into(),
        line: 7,
        iteration: 0,
        seed: Seed(42).derive(name),
        root_seed: Seed(42),
        axes: axes
            .map(|(axis, label)| (axis.to_owned().into(), label.into()))
            .collect(),
        variants: Vec::new(),
        forbidden: Vec::new(),
        tags: vec!["slow".into()],
        started_unix_ms: START_MS + 1000,
        duration_us: 1_234_567,
        earlier: Vec::new(),
        output: String::new(),
        output_bytes: 0,
        artifacts: None,
        attachments: Vec::new(),
        sub_cases: Vec::new(),
        reproduce: if matches!(outcome, Outcome::Skipped { .. }) {
            String::new()
        } else {
            format!("cargo test --test robust -- --seed 42 --exact '{name}'")
        },
        outcome,
    }
}

/// A case with sub-cases of every kind.
pub(crate) fn with_sub_cases(name: &str) -> CaseFinished {
    let text = "2 of 4 sub-cases failed: client-2, client-3";
    let mut case = case(name, Outcome::Failed(problem(Class::Error, text)));
    let sub_case = |number: u64, outcome| SubCase {
        name: format!("client-{number}"),
        outcome,
        duration_us: number * 1000,
    };
    case.sub_cases = vec![
        sub_case(1, Outcome::Passed),
        sub_case(
            2,
            Outcome::Failed(problem(Class::Error, "refused ]]> \0\ncaused by: \u{1b}")),
        ),
        sub_case(3, Outcome::Errored(problem(Class::Deadline, "not within 1 s"))),
        sub_case(
            4,
            Outcome::Skipped {
                reason: "no IPv6".into(),
            },
        ),
    ];
    case
}

pub(crate) fn problem(class: Class, text: &str) -> Problem {
    Problem::new(class, text)
}

/// The cases of the nasty recording, in the order they finish.
pub(crate) fn nasty_cases() -> Vec<CaseFinished> {
    let nasty =
        "NUL \0 ESC \u{1b}[31m red ]]> <![CDATA[ & < > \" ' \u{FFFE} \u{FFFF} \u{7f} 🦀\r\n</script><b>\tend";
    let mut flaky = case("robust::kills::survives[broker=mosquitto,qos=1]", Outcome::Passed);
    flaky.earlier = vec![
        Attempt {
            problem: problem(Class::Panic, &format!("first try\n{nasty}")),
            duration_us: 1000,
            output: nasty.into(),
        },
        Attempt {
            problem: problem(Class::Deadline, "did not end in 30s"),
            duration_us: 1000,
            output: String::new(),
        },
    ];
    let mut failed = case(
        "robust::kills::survives[broker=mosquitto,qos=0]",
        Outcome::Failed(problem(
            Class::Panic,
            &format!("lost \"m1\" & <m2> \u{1b}[1m]]>\n  at tests/kills.rs:9\n{nasty}"),
        )),
    );
    failed.output = nasty.into();
    failed.artifacts = Some("/t/robust/mqtt-suite/robust/cases/survives-1f".into());
    failed.attachments = vec!["broker.log".into(), "odd name #1 ]]>.txt".into()];
    let mut errored = case(
        "robust::kills::survives[broker=mosquitto,qos=2]",
        Outcome::Errored(problem(Class::Crash, "worker died of signal 6")),
    );
    errored.output = "0123456789abcde\n".repeat(5 << 16);
    errored.output_bytes = 10 << 20;
    errored.earlier = vec![Attempt {
        problem: problem(Class::Leak, "a process was left behind"),
        duration_us: 5,
        output: String::new(),
    }];
    let mut chatty = case(
        "robust::kills::quoted \"a\" <b>\nand more\t]]> \0",
        Outcome::Passed,
    );
    chatty.output = "said something</script>\n".into();
    let mut later = case(
        "robust::kills::later",
        Outcome::Skipped {
            reason: "program mosquitto is not installed".into(),
        },
    );
    later.tags.clear();
    vec![
        chatty,
        flaky,
        failed,
        case(
            "robust::kills::survives[broker=rumqttd,qos=0]",
            Outcome::Unknown {
                reason: "no linearization found in 10 s\n812 operations".into(),
            },
        ),
        errored,
        later,
        case(
            "robust::kills::survives[broker=rumqttd,qos=1]",
            Outcome::KnownFailure {
                because: "forgets on SIGKILL \u{1b}".into(),
                problem: problem(Class::Error, "message lost\nat line 3"),
            },
        ),
    ]
}

/// A run that was killed before `survives[broker=rumqttd,qos=2]` had a verdict.
pub(crate) fn nasty_events() -> Vec<Event> {
    let cases = nasty_cases()
        .into_iter()
        .map(|case| Event::CaseFinished(Box::new(case)));
    std::iter::once(Event::RunStarted(started(&[(0, 6)])))
        .chain(cases)
        .collect()
}
