use super::*;
use crate::outcome::{Class, Problem};
use crate::report::fixture;

const NAME: &str = "robust::kills::survives[broker=mosquitto,qos=0]";

#[test]
fn iterations_become_one_report_told_by_the_worst() {
    let mut aggregate = Aggregate::default();
    let failed = |message: &str| Outcome::Failed(Problem::new(Class::Panic, message));
    aggregate.add(&fixture::case(NAME, Outcome::Passed));
    aggregate.add(&fixture::case(NAME, failed("first")));
    aggregate.add(&fixture::case(
        NAME,
        Outcome::Unknown {
            reason: "gave up".into(),
        },
    ));
    aggregate.add(&fixture::case(NAME, failed("second")));
    let totals = Totals {
        broken: 1,
        runs: 4,
        ..Totals::default()
    };
    assert_eq!(*aggregate.totals(), totals);
    let case = aggregate.cases().next().unwrap();
    assert_eq!(*case.outcome(), failed("failed in 3 of 4 runs: first"));
    assert_eq!(case.duration_us(), 4 * 1_234_567);
}

#[test]
fn a_verdict_replaces_an_interruption_whichever_comes_first() {
    let interrupted = Outcome::Errored(Problem::new(Class::Interrupted, "SIGINT"));
    for outcomes in [
        [interrupted.clone(), Outcome::Passed],
        [Outcome::Passed, interrupted],
    ] {
        let mut aggregate = Aggregate::default();
        outcomes
            .into_iter()
            .for_each(|outcome| aggregate.add(&fixture::case(NAME, outcome)));
        assert_eq!((aggregate.totals().passed, aggregate.totals().cases()), (1, 1));
    }
}

#[test]
fn a_passing_case_costs_little_and_tells_all() {
    let mut aggregate = Aggregate::default();
    let told = fixture::case(NAME, Outcome::Passed);
    aggregate.add(&told);
    assert!(aggregate.cases[0].detail.is_none());
    assert!(size_of::<CaseReport>() <= 80, "{}", size_of::<CaseReport>());
    assert_eq!(aggregate.cases().next().unwrap().to_finished(), told);
}

#[test]
fn what_passing_cases_wrote_is_kept_within_bounds() {
    let mut aggregate = Aggregate::default();
    for number in 0..40 {
        let mut case = fixture::case(&format!("m::case{number}"), Outcome::Passed);
        case.output = "x".repeat(1 << 20);
        aggregate.add(&case);
    }
    let kept: usize = aggregate.cases().map(|case| case.output().len()).sum();
    assert_eq!(kept, PASSING_OUTPUT_BYTES_MAX);
    assert!(aggregate.cases().all(|case| case.output_bytes() == 1 << 20));
}

#[test]
fn names_that_share_a_hash_stay_apart() {
    let mut aggregate = Aggregate::default();
    aggregate.add(&fixture::case("a", Outcome::Passed));
    let hash = aggregate.find("b").unwrap_err();
    aggregate.index.insert(hash, 0);
    aggregate.add(&fixture::case("b", Outcome::Passed));
    aggregate.add(&fixture::case("b", Outcome::Passed));
    assert_eq!(aggregate.totals().cases(), 2);
}

/// Twice the cases may not take four times as long; run by hand for figures, with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn a_million_cases_take_linear_time() {
    for count in [250_000_u64, 500_000, 1_000_000] {
        let start = std::time::Instant::now();
        let mut started = fixture::started(&[(0, count)]);
        started.planned[0].axes[0].1 = (0..count.div_ceil(3)).map(|n| n.to_string()).collect();
        let mut suite = crate::report::suite::Suite::new(started);
        let mut names = Vec::new();
        suite.plan.each(|case| names.push(case.name));
        for name in &names {
            suite.cases.add(&fixture::case(name, Outcome::Passed));
        }
        suite.cases.settle(&suite.plan);
        assert_eq!(suite.cases.totals().passed, count);
        println!("{count}: {:?}", start.elapsed());
    }
}
