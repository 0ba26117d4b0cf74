use std::path::Path;
use std::process::Command;

use super::*;
use crate::outcome::{Class, Problem};
use crate::report::fixture;

const LIBTEST: &str = r#"
#[test] fn a_passes() { println!("said \"this\"\tand that"); }
#[test] fn b_fails() { println!("before"); panic!("boom"); }
#[test] #[ignore = "why"] fn c_ignored() {}
"#;

fn libtest(folder: &Path, arguments: &[&str]) -> String {
    let binary = folder.join("tiny");
    if !binary.exists() {
        std::fs::write(folder.join("tiny.rs"), LIBTEST).unwrap();
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        rustc.args([
            "--test",
            "--edition",
            "2024",
            "-Cdebuginfo=0",
            "tiny.rs",
            "-o",
            "tiny",
        ]);
        assert!(rustc.current_dir(folder).status().unwrap().success());
    }
    let mut command = Command::new(binary);
    command
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUST_BACKTRACE", "0")
        // It has no colors where it does not know the terminal, such as where there is none.
        .env("TERM", "xterm")
        .args(arguments);
    command
        .env_remove("RUST_TEST_SHUFFLE")
        .env_remove("RUST_TEST_TIME_UNIT");
    String::from_utf8(command.arg("--test-threads=1").output().unwrap().stdout).unwrap()
}

/// The same three verdicts through our formats.
fn ours(kind: FormatKind, style: Style) -> String {
    let mut suite = Suite::new(fixture::started(&[]));
    suite.runs[0].started.filtered_out = 0;
    let mut passes = fixture::case("a_passes", Outcome::Passed);
    passes.output = "said \"this\"\tand that\n".into();
    let mut fails = fixture::case("b_fails", Outcome::Failed(Problem::new(Class::Panic, "boom")));
    fails.output = "before\n".into();
    let ignored = fixture::case("c_ignored", Outcome::Skipped { reason: "why".into() });
    let cases = [passes, fails, ignored];
    let mut format = kind.formatter(style);
    let mut out = String::new();
    format.run_started(&mut out, 3);
    for case in &cases {
        format.case_started(&mut out, &case.case);
    }
    for case in &cases {
        format.case_finished(&mut out, case);
        suite.cases.add(case);
    }
    format.run_finished(&mut out, &Summary::of(&suite, style.show_output));
    out
}

/// Lines that libtest does not have.
const ADDED: [&str; 2] = ["seed 42", "1 skipped: "];

/// The lines without the blocks of cases: where those stand and what they say of failures differs on
/// purpose. Without empty lines, and without titles that then follow themselves.
fn without_blocks(text: &str) -> Vec<String> {
    let mut kept = Vec::<String>::new();
    let mut in_block = false;
    for line in text.lines() {
        let ends = ["test ", "failures:", "successes:"];
        in_block &= !ends.iter().any(|end| line.starts_with(end));
        in_block |= line.starts_with("---- ");
        let ends_block = line.starts_with("reproduce: ");
        let line = without_times(line);
        if !in_block
            && !line.is_empty()
            && !ADDED.iter().any(|added| line.starts_with(added))
            && kept.last() != Some(&line)
        {
            kept.push(line);
        }
        in_block &= !ends_block;
    }
    kept
}

fn without_times(line: &str) -> String {
    let mut line = line.to_owned();
    for (start, end) in [("finished in ", "s"), (" <", "s>"), ("\"exec_time\": ", " ")] {
        if let Some(at) = line.find(start).map(|at| at + start.len())
            && let Some(length) = line[at..].find(end)
        {
            line.replace_range(at..at + length, "TIME");
        }
    }
    line
}

#[test]
fn pretty_and_terse_are_libtest_s() {
    let folder = tempfile::tempdir().unwrap();
    let time = ["-Zunstable-options", "--report-time"];
    let plain = Style::default();
    for (kind, style, arguments) in [
        (FormatKind::Pretty, plain, &[][..]),
        (
            FormatKind::Pretty,
            Style {
                show_output: true,
                ..plain
            },
            &["--show-output"],
        ),
        (
            FormatKind::Pretty,
            Style {
                report_time: true,
                ..plain
            },
            &time,
        ),
        (FormatKind::Terse, plain, &["--format", "terse"]),
    ] {
        let theirs = libtest(folder.path(), arguments);
        let ours = ours(kind, style);
        assert_eq!(
            without_blocks(&ours),
            without_blocks(&theirs),
            "ours:\n{ours}\ntheirs:\n{theirs}"
        );
    }
    let theirs = libtest(folder.path(), &["--color=always"]);
    assert!(theirs.contains("\x1b[32mok\x1b"), "{theirs:?}");
    let ours = ours(FormatKind::Pretty, Style { color: true, ..plain });
    for word in ["\x1b[32mok\x1b", "\x1b[31mFAILED\x1b", "\x1b[33mignored, why\x1b"] {
        assert!(
            theirs.contains(word) && ours.contains(word),
            "{word:?}\n{theirs:?}\n{ours:?}"
        );
    }
}

#[test]
fn json_is_libtest_s_with_one_more_field() {
    let folder = tempfile::tempdir().unwrap();
    let json = [
        "-Zunstable-options",
        "--format",
        "json",
        "--report-time",
        "--show-output",
    ];
    let style = Style {
        report_time: true,
        show_output: true,
        ..Style::default()
    };
    let theirs = libtest(folder.path(), &json);
    let ours = ours(FormatKind::Json, style);
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
            let end = line
                .find(", \"robust\": ")
                .map_or(line.to_owned(), |at| format!("{} }}", &line[..at]));
            let mut line = without_times(&end);
            if let Some(at) = line.find("before\\n") {
                line.replace_range(at..line.len() - 3, "before");
            }
            line
        });
        let mut lines: Vec<_> = lines.collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(&ours), lines(&theirs));
    assert!(
        ours.contains(r#""status":"failed""#) && ours.contains("reproduce: cargo test"),
        "{ours}"
    );
}

#[test]
fn what_libtest_has_no_word_for_is_told() {
    let mut suite = Suite::new(fixture::started(&[(0, 6)]));
    let mut out = String::new();
    let mut format = FormatKind::Pretty.formatter(Style::default());
    for case in fixture::nasty_cases() {
        let mut case = case;
        case.output.truncate(0);
        suite.cases.add(&case);
        format.case_finished(&mut out, &case);
    }
    suite.cases.settle(&suite.plan);
    suite.runs[0].finished = Some(fixture::finished());
    format.run_finished(&mut out, &Summary::of(&suite, false));
    let name = |rest: &str| format!("test robust::kills::survives[broker={rest}");
    for expected in [
        name("mosquitto,qos=1] ... ok (flaky: passed on attempt 3)\n"),
        name("rumqttd,qos=1] ... ignored, known failure: forgets on SIGKILL \x1b\n"),
        name("rumqttd,qos=0] ... FAILED\n\n---- robust::kills::survives[broker=rumqttd,qos=0] stdout ----\n\
              unknown: no linearization found in 10 s\n812 operations\nseed: "),
        "attempt 1: leak: a process was left behind\nseed: ".into(),
        "artifacts: /t/robust/mqtt-suite/robust/cases/survives-1f\nreproduce: cargo test".into(),
        "test result: FAILED. 2 passed; 4 failed; 2 ignored; 0 measured; 3 filtered out; finished in 12.35s\n\
         flaky: 1; known failures: 1; unknown: 1; errored: 1; without a verdict: 1; seed 42; \
         up to 8 cases at a time\n1 skipped: program mosquitto is not installed\n\n".into(),
    ] {
        assert!(out.contains(&expected), "{expected:?} not in\n{out}");
    }
}

#[test]
fn sub_cases_have_a_line_each_and_do_not_count_as_cases() {
    let case = fixture::with_sub_cases("a");
    let told = explanation(&case);
    let expected = "sub-cases: 4, 2 failed\n    client-1 ... ok <0.001s>\n    client-2 ... FAILED <0.002s>, refused ]]> \0\n    \
         client-3 ... FAILED <0.003s>, not within 1 s\n    client-4 ... ignored <0.004s>, no IPv6\n";
    assert!(told.contains(expected), "{told}");

    let mut many = case.clone();
    many.sub_cases.splice(0..0, vec![case.sub_cases[0].clone(); 200]);
    if let Outcome::Failed(problem) = &mut many.outcome {
        problem.details = "client-2: error: refused ]]> \0".into();
    }
    let told = explanation(&many);
    let (_, lines) = told.split_once("sub-cases: 204, 2 failed\n").unwrap();
    assert!(
        lines.starts_with("    client-2 ... FAILED <0.002s>\n    client-3 ... FAILED <0.003s>, not"),
        "{told}"
    );
    assert!(lines.contains("\n    and 104 more\nseed"), "{told}");

    let mut suite = Suite::new(fixture::started(&[]));
    suite.cases.add(&case);
    let mut out = String::new();
    let mut format = FormatKind::Pretty.formatter(Style::default());
    format.run_finished(&mut out, &Summary::of(&suite, false));
    assert!(out.contains("0 passed; 1 failed; 0 ignored"), "{out}");
    assert!(out.contains("sub-cases: 4 (2 failed); seed 42"), "{out}");
}

#[test]
fn a_terse_line_has_87_cases() {
    let mut format = FormatKind::Terse.formatter(Style::default());
    let mut out = String::new();
    format.run_started(&mut out, 100);
    for _ in 0..100 {
        format.case_finished(&mut out, &fixture::case("a", Outcome::Passed));
    }
    format.run_finished(&mut out, &Summary::default());
    let expected = format!(
        "\nrunning 100 tests\n{} 87/100\n{}\ntest result: ok.",
        ".".repeat(87),
        ".".repeat(13)
    );
    assert!(out.starts_with(&expected), "{out}");
}
