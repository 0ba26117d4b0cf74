//! What is told of a case whose time is over: the line of the scenario it was at, whatever kept it there.

use robust_test_tests::Planted;

const STUCK: &str = env!("CARGO_BIN_EXE_stuck");
const SOURCE: &str = include_str!("suites/stuck.rs");

/// `tests/suites/stuck.rs:LINE:` of the mark.
fn marked(name: &str) -> String {
    let mark = format!("// here: {name}");
    let line = SOURCE.lines().position(|line| line.ends_with(&mark));
    format!("tests/suites/stuck.rs:{}:", line.expect("a mark") + 1)
}

fn part<'a>(details: &'a str, begins: &str) -> &'a str {
    let at = details
        .find(begins)
        .unwrap_or_else(|| panic!("{begins:?} is not in {details}"));
    let rest = &details[at..];
    rest.find("\n\n").map_or(rest, |end| &rest[..end])
}

#[test]
fn the_line_at_which_a_case_hangs_is_told() {
    let finished = Planted::new(STUCK).run();
    assert_eq!(finished.code(), Some(101), "{}", finished.stdout);
    let verdicts = finished.verdicts();
    let names = [
        "spins",
        "sleeps",
        "receives",
        "locks_what_another_thread_has",
        "awaits_for_ever",
        "awaits_what_takes_no_waker",
        "joins_a_task_that_blocks",
        "sleeps_in_async_code",
        "holds_the_allocator",
    ];
    for name in names {
        let verdict = &verdicts[name];
        assert_eq!(verdict.class, "deadline", "{name}: {verdict:?}");
        let at = format!("it was at {}", marked(name));
        let inner = format!("it was at {}", marked("the inner function"));
        let is_told = verdict.details.contains(&at) || verdict.details.contains(&inner);
        assert!(is_told, "{name}: {at} is not in {}", verdict.details);
        let kept = verdict.artifacts.as_ref().expect("kept").join("deadline.txt");
        let whole = std::fs::read_to_string(kept).expect("the state is kept");
        assert!(whole.contains("thread ") && whole.len() >= 100, "{name}: {whole}");
    }
    assert_eq!(verdicts.len(), names.len() + 1);

    let details = |name: &str| verdicts[name].details.as_str();
    let other = part(details("locks_what_another_thread_has"), "`other`: sleeping");
    assert!(other.contains(&marked("the other thread")), "{other}");

    let awaits = part(details("awaits_for_ever"), "what its code awaits:");
    assert!(awaits.contains(&marked("the inner function")), "{awaits}");
    assert!(awaits.contains(&marked("awaits_for_ever")), "{awaits}");
    assert!(details("awaits_for_ever").contains("1 tokio task is alive beside its code"));

    let joins = details("joins_a_task_that_blocks");
    assert!(joins.contains(&marked("the task")), "{joins}");

    let blocked = details("spins_and_blocks_signals");
    assert!(blocked.contains("`case`: running"), "{blocked}");
    assert!(blocked.contains("it did not tell its stack"), "{blocked}");
}
