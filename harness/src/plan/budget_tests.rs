use super::*;
use crate::history::{Past, Ran};
use crate::matrix::test_support::*;
use crate::param::Environment;
use crate::plan::prepare;
use crate::registry::{Options, Scenario};
use crate::require::Require;
use crate::selection::Selection;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn plan(scenarios: &[&'static Scenario]) -> Plan {
    let selection = Selection::default();
    let plan = prepare(
        scenarios,
        "suite",
        &Environment::default(),
        &selection,
        &Require::All,
    );
    plan.unwrap_or_else(|error| panic!("{error}"))
}

/// `m::x[n=0]`, ..
fn numbered(count: usize) -> &'static Scenario {
    scenario("x", vec![numbers("n", count)], options())
}

/// Cases with the day on which they ran (none: never), how many seconds they took, and their verdict.
fn history(cases: &[(&str, u64, u64, Verdict)]) -> History {
    let mut history = History::default();
    for &(name, day, seconds, verdict) in cases {
        let ran = Ran {
            started_unix_ms: day * DAY_MS,
            duration_us: seconds * 1_000_000,
        };
        let ran = (day > 0).then_some(ran);
        history.enter(name, Past { ran, verdict });
    }
    history
}

fn seconds(time: u64, slots: u32, history: &History) -> Budget<'_> {
    Budget {
        time: Duration::from_secs(time),
        repeat: 1,
        slots: Slots {
            count: slots,
            why: "said so",
        },
        history,
        now_unix_ms: 10 * DAY_MS,
    }
}

fn jobs(plan: &Plan) -> Vec<String> {
    plan.jobs.iter().map(|job| plan.job_name(*job)).collect()
}

fn skipped(plan: &Plan) -> Vec<(String, &str)> {
    let skipped = plan.skipped.iter();
    skipped
        .map(|one| (plan.skipped_name(one), &*one.reason))
        .collect()
}

#[test]
fn failures_come_first_then_what_never_ran_then_what_ran_longest_ago() {
    let mut plan = plan(&[numbered(7)]);
    let history = history(&[
        ("m::x[n=0]", 9, 1, Verdict::Good),
        ("m::x[n=1]", 7, 1, Verdict::Good),
        ("m::x[n=2]", 9, 1, Verdict::Bad),
        ("m::x[n=3]", 8, 1, Verdict::Bad),
        ("m::x[n=5]", 8, 1, Verdict::NotRun),
        ("m::x[n=6]", 0, 0, Verdict::NotRun),
    ]);
    let fit = plan.fit(&seconds(5, 1, &history));
    let all = jobs(&plan);
    assert_eq!(all[..2], ["m::x[n=3]", "m::x[n=2]"]);
    assert!(all[2..4].contains(&"m::x[n=4]".to_owned()) && all[2..4].contains(&"m::x[n=6]".to_owned()));
    assert_eq!(all[4..], ["m::x[n=1]"]);
    assert_eq!(
        skipped(&plan),
        [
            (
                "m::x[n=5]".to_owned(),
                "does not fit in the budget of 5s; last run 2 days ago"
            ),
            (
                "m::x[n=0]".to_owned(),
                "does not fit in the budget of 5s; last run 1 day ago"
            ),
        ]
    );
    assert!(
        plan.skipped
            .iter()
            .all(|one| one.kind == SkipKind::Budget && !one.required)
    );
    assert_eq!(
        fit.to_string(),
        "5 of 7 cases fit in the budget of 5s, in about 5s with 1 at a time (said so)"
    );
}

#[test]
fn what_is_too_long_leaves_room_for_what_is_short() {
    let mut plan = plan(&[numbered(4)]);
    let history = history(&[
        ("m::x[n=0]", 1, 8, Verdict::Good),
        ("m::x[n=1]", 2, 5, Verdict::Good),
        ("m::x[n=2]", 3, 3, Verdict::Good),
        ("m::x[n=3]", 4, 2, Verdict::Good),
    ]);
    plan.fit(&seconds(10, 1, &history));
    assert_eq!(jobs(&plan), ["m::x[n=0]", "m::x[n=3]"]);
    // Room for 15 s is not room for 5 s behind 8 s.
    let mut plan = self::plan(&[numbered(4)]);
    let fit = plan.fit(&seconds(8, 2, &history));
    assert_eq!(jobs(&plan), ["m::x[n=0]", "m::x[n=1]", "m::x[n=2]"]);
    assert_eq!(fit.ends_us, 8_000_000);
    // Twice in the same time.
    let mut plan = self::plan(&[numbered(4)]);
    let twice = Budget {
        repeat: 2,
        ..seconds(10, 2, &history)
    };
    assert_eq!(plan.fit(&twice).ends_us, 10_000_000);
    assert_eq!(jobs(&plan), ["m::x[n=1]", "m::x[n=2]", "m::x[n=3]"]);
}

#[test]
fn an_unknown_case_takes_as_long_as_others_of_its_scenario_or_of_the_suite() {
    let other = scenario("y", vec![], options());
    let mut plan = plan(&[numbered(4), other]);
    let empty = History::default();
    plan.fit(&seconds(3, 1, &empty));
    assert_eq!(jobs(&plan).len(), 3, "a second each");
    let known = history(&[
        ("m::x[n=0]", 1, 2, Verdict::Good),
        ("m::x[n=1]", 1, 3, Verdict::Good),
        ("m::x[n=2]", 1, 100, Verdict::Good),
        ("m::z", 1, 7, Verdict::Good),
        ("m::z[a=1]", 1, 9, Verdict::Good),
    ]);
    let estimates = Estimates::new(&known);
    assert_eq!(estimates.of("m::x"), 3_000_000);
    assert_eq!(estimates.of("m::y"), 7_000_000);
    assert_eq!(median(vec![]), None);
}

#[test]
fn a_short_budget_meets_every_scenario_and_the_next_one_goes_on() {
    let two = |name| scenario(name, vec![numbers("a", 10), numbers("b", 10)], options());
    let scenarios = [two("p"), two("q"), two("r")];
    let mut known = History::default();
    let mut seen = std::collections::BTreeSet::new();
    for day in 1..=3 {
        let mut plan = plan(&scenarios);
        plan.fit(&seconds(6, 1, &known));
        let jobs = jobs(&plan);
        assert_eq!(jobs.len(), 6);
        for scenario in ["m::p[", "m::q[", "m::r["] {
            assert_eq!(jobs.iter().filter(|name| name.starts_with(scenario)).count(), 2);
        }
        for name in jobs {
            let ran = Ran {
                started_unix_ms: day,
                duration_us: 1_000_000,
            };
            known.enter(
                &name,
                Past {
                    ran: Some(ran),
                    verdict: Verdict::Good,
                },
            );
            assert!(seen.insert(name), "it ran before");
        }
    }
    // Ten cells of a hundred have most values of both axes.
    let mut plan = plan(&scenarios);
    plan.fit(&seconds(30, 1, &History::default()));
    let of_p: Vec<_> = plan.jobs.iter().filter(|job| job.scenario == 0).collect();
    let rows: std::collections::BTreeSet<_> = of_p.iter().map(|job| job.cell / 10).collect();
    let columns: std::collections::BTreeSet<_> = of_p.iter().map(|job| job.cell % 10).collect();
    assert!(
        of_p.len() == 10 && rows.len() >= 5 && columns.len() >= 5,
        "{of_p:?}"
    );
}

#[test]
fn serial_groups_and_weights_take_the_room_they_need() {
    let serial = Options {
        serial: &["one"],
        ..options()
    };
    let mut serial = plan(&[scenario("x", vec![numbers("n", 8)], serial)]);
    let empty = History::default();
    serial.fit(&seconds(3, 4, &empty));
    assert_eq!(serial.jobs.len(), 3, "one at a time");
    let mut heavy = plan(&[scenario(
        "x",
        vec![numbers("n", 8)],
        Options {
            weight: 2,
            ..options()
        },
    )]);
    heavy.fit(&seconds(3, 4, &empty));
    assert_eq!(heavy.jobs.len(), 6, "two at a time");
    let mut alone = plan(&[scenario(
        "x",
        vec![numbers("n", 8)],
        Options {
            weight: 9,
            ..options()
        },
    )]);
    alone.fit(&seconds(3, 4, &empty));
    assert_eq!(alone.jobs.len(), 3);
}

#[test]
fn the_number_of_slots_is_the_fixed_one_or_that_of_earlier_runs_or_that_of_cores() {
    let mut known = History::default();
    assert_eq!(Slots::new(None, &known, 4).count, 4);
    known.read(b"= 730\n");
    assert_eq!(Slots::new(None, &known, 4).count, 7);
    assert_eq!(Slots::new(NonZeroUsize::new(2), &known, 4).count, 2);
    let mut plan = plan(&[numbered(3)]);
    plan.fit(&seconds(1, u32::MAX, &known));
    assert_eq!(plan.jobs.len(), 3, "and no more memory than three slots need");
}

#[test]
fn times_are_told_roughly() {
    let ages = [
        0,
        1000,
        59_999,
        60_000,
        7_199_000,
        DAY_MS - 1,
        DAY_MS,
        400 * DAY_MS,
    ]
    .map(age);
    assert_eq!(
        ages,
        [
            "0 seconds ago",
            "1 second ago",
            "59 seconds ago",
            "1 minute ago",
            "1 hour ago",
            "23 hours ago",
            "1 day ago",
            "400 days ago",
        ]
    );
    assert_eq!(
        [1, 12_345, 65_123_456, 3_723_000_000].map(rough),
        ["1us", "12ms", "1m 5s", "1h 2m"]
    );
}
