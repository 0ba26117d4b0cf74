use std::collections::BTreeSet;

use super::*;
use crate::matrix::test_support::*;
use crate::param::Environment;
use crate::registry::{Options, Scenario, Site};
use crate::require::Require;
use crate::selection::{Ignored, Selection, Shard};

fn try_prepare(
    scenarios: &[&'static Scenario],
    selection: &Selection,
    require: &Require,
) -> Result<Plan, String> {
    let environment = Environment::default();
    prepare(scenarios, "suite", &environment, selection, require).map_err(|error| error.to_string())
}

fn plan(scenarios: &[&'static Scenario], selection: &Selection) -> Plan {
    try_prepare(scenarios, selection, &Require::Nothing).unwrap_or_else(|text| panic!("{text}"))
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

fn filters(filters: &[&str]) -> Selection {
    Selection {
        filters: filters.iter().map(|filter| (*filter).to_owned()).collect(),
        ..Selection::default()
    }
}

fn exact(names: &[&str]) -> Selection {
    Selection {
        exact: true,
        ..filters(names)
    }
}

fn broker() -> Site {
    Site::new("broker", server)
}

/// `m::kill[broker=..]` with 3 kinds of which one is not installed, `m::plain`, `m::slow` (ignored, tagged).
fn suite() -> Vec<&'static Scenario> {
    let slow = Options {
        ignore: Some("takes an hour"),
        tags: &["slow"],
        ..options()
    };
    vec![
        scenario("kill", vec![broker()], options()),
        scenario("plain", vec![], options()),
        scenario("slow", vec![], slow),
    ]
}

#[test]
fn every_case_runs_but_those_that_are_ignored_or_not_available() {
    let plan = plan(&suite(), &Selection::default());
    assert_eq!(
        jobs(&plan),
        ["m::kill[broker=mosquitto]", "m::kill[broker=nanomq]", "m::plain"]
    );
    assert_eq!(
        skipped(&plan),
        [
            ("m::kill[broker=hivemq]".to_owned(), "`hivemq` is not installed"),
            ("m::slow".to_owned(), "takes an hour"),
        ]
    );
    assert_eq!(plan.filtered_out, 0);
    assert_eq!(plan.nothing(), None);
    assert_eq!(size_of::<Job>(), 16);
}

#[test]
fn filters_are_parts_of_names_of_which_one_must_occur() {
    let suite = suite();
    let chosen = |selection: Selection| jobs(&plan(&suite, &selection));
    assert_eq!(chosen(filters(&["nano"])), ["m::kill[broker=nanomq]"]);
    assert_eq!(
        chosen(filters(&["plain", "=nano"])),
        ["m::kill[broker=nanomq]", "m::plain"]
    );
    assert_eq!(chosen(filters(&["l["])).len(), 2);
    assert_eq!(chosen(filters(&["m::__robust_plain::plain"])), ["m::plain"]);
    let selection = Selection {
        skip: vec!["mosq".into(), "plain".into()],
        ..Selection::default()
    };
    assert_eq!(chosen(selection), ["m::kill[broker=nanomq]"]);

    let nothing = plan(&suite, &filters(&["zzz"]));
    assert_eq!(nothing.nothing(), Some(Nothing::Chosen));
    assert_eq!(nothing.filtered_out, 5);
    assert!(!nothing.not_found && nothing.warnings.is_empty());
}

#[test]
fn exact_takes_names_of_cases_and_scenarios_and_what_editors_send() {
    let suite = suite();
    let chosen = |names: &[&str]| jobs(&plan(&suite, &exact(names)));
    assert_eq!(chosen(&["m::kill[broker=nanomq]"]), ["m::kill[broker=nanomq]"]);
    assert_eq!(chosen(&["m::kill"]).len(), 2);
    assert_eq!(chosen(&["m::__robust_kill::kill"]).len(), 2);
    assert_eq!(chosen(&["m::plain", "m::kill[broker=nanomq]"]).len(), 2);
    assert_eq!(
        chosen(&["m::plain", "m::plain", "m::kill", "m::kill[broker=nanomq]"]).len(),
        3
    );
    let skip = Selection {
        skip: vec!["m::kill[broker=nanomq]".into(), "m::plain".into(), "m::ki".into()],
        ..exact(&[])
    };
    assert_eq!(jobs(&plan(&suite, &skip)), ["m::kill[broker=mosquitto]"]);
}

#[test]
fn exact_expands_only_the_scenarios_that_it_names() {
    fn explodes(_: &Site, _: &Environment) -> crate::param::Shape {
        panic!("asked for its shape")
    }
    let suite = [
        scenario("x", vec![], options()),
        scenario("xx", vec![Site::new("p", explodes)], options()),
    ];
    let plan = plan(&suite, &exact(&["m::x"]));
    assert_eq!(jobs(&plan), ["m::x"]);
    assert_eq!((plan.matrices.len(), plan.filtered_out), (1, 1));
}

#[test]
fn an_exact_name_in_a_large_matrix_is_found_without_going_through_it() {
    let sites = ["a", "b", "c", "d"].map(|name| numbers(name, 100)).into();
    let suite = [scenario("x", sites, options())];
    for _ in 0..1000 {
        let plan = plan(&suite, &exact(&["m::x[a=1,b=2,c=3,d=4]"]));
        assert_eq!(
            plan.jobs,
            [Job {
                scenario: 0,
                cell: 1_020_304
            }]
        );
        assert_eq!(plan.filtered_out, 99_999_999);
    }
}

#[test]
fn an_exact_name_that_does_not_exist_is_told_with_the_near_miss() {
    let suite = suite();
    let warning = |name| {
        let plan = plan(&suite, &exact(&[name]));
        assert!(plan.not_found);
        assert_eq!(plan.nothing(), Some(Nothing::Chosen));
        plan.warnings.join("\n")
    };
    assert_eq!(
        warning("m::plan"),
        "no scenario is called `m::plan`; did you mean `m::plain`?"
    );
    assert_eq!(
        warning("plain"),
        "no scenario is called `plain`; did you mean `m::plain`?"
    );
    assert_eq!(
        warning("m::kill[broker=x]"),
        "no case is called `m::kill[broker=x]`; those of the scenario are \
         `m::kill[broker=mosquitto|nanomq|hivemq]`"
    );
    assert!(warning("m::plain[a=1]").contains("its case is `m::plain`"));
    assert!(warning("qqqqqq").contains("`--list` tells all names"));
    // What exists and is left out by another choice was found.
    let selection = Selection {
        ignored: Ignored::Only,
        ..exact(&["m::plain"])
    };
    assert!(!plan(&suite, &selection).not_found);
}

#[test]
fn ignored_cases_are_chosen_alone_or_with_the_others() {
    let suite = suite();
    let with = |ignored| {
        let selection = Selection {
            ignored,
            ..Selection::default()
        };
        let plan = plan(&suite, &selection);
        (jobs(&plan).join(" "), plan.skipped.len(), plan.filtered_out)
    };
    let all = "m::kill[broker=mosquitto] m::kill[broker=nanomq] m::plain m::slow";
    assert_eq!(with(Ignored::Include), (all.to_owned(), 1, 0));
    // What cannot run here is reported as ignored, so it is among the ignored ones.
    assert_eq!(with(Ignored::Only), ("m::slow".to_owned(), 1, 3));
    let selection = Selection {
        benchmarks_only: true,
        ..Selection::default()
    };
    let bench = plan(&suite, &selection);
    assert_eq!((bench.jobs.len(), bench.skipped.len()), (0, 5));
    assert_eq!(bench.nothing(), Some(Nothing::Runnable));
}

#[test]
fn tags_choose_scenarios_and_an_unknown_tag_is_warned_of() {
    let suite = suite();
    let with = |tags: &[&str], skip_tags: &[&str]| {
        let owned = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect();
        let selection = Selection {
            tags: owned(tags),
            skip_tags: owned(skip_tags),
            ignored: Ignored::Include,
            ..Selection::default()
        };
        plan(&suite, &selection)
    };
    let slow = with(&["slow"], &[]);
    assert_eq!((jobs(&slow), slow.filtered_out), (vec!["m::slow".to_owned()], 4));
    assert_eq!(with(&[], &["slow"]).jobs.len(), 3);
    assert_eq!(
        with(&["slwo"], &[]).warnings,
        ["no scenario has the tag `slwo` (--tag); did you mean `slow`? There are: slow"]
    );
}

#[test]
fn shards_are_disjoint_and_together_everything_whatever_else_is_there() {
    let big = scenario("big", vec![numbers("a", 40), numbers("b", 50)], options());
    let mut suite = suite();
    suite.push(big);
    let whole = plan(&suite, &Selection::default());
    for count in 1..=7 {
        let mut seen = Vec::new();
        for index in 1..=count {
            let selection = Selection {
                shard: Some(Shard::new(index, count).unwrap()),
                ..Selection::default()
            };
            let part = plan(&suite, &selection);
            let alone = plan(&[big], &selection);
            let of_big: Vec<String> = jobs(&part)
                .into_iter()
                .filter(|name| name.starts_with("m::big"))
                .collect();
            assert_eq!(jobs(&alone), of_big, "a case's shard depends on its name alone");
            assert!(
                of_big.len() > 2000 / count as usize / 2,
                "{} of {count}",
                of_big.len()
            );
            let chosen = part.jobs.len() + part.skipped.len();
            assert_eq!(chosen as u64 + part.filtered_out, 2005);
            seen.extend(jobs(&part));
            seen.extend(skipped(&part).into_iter().map(|(name, _)| name));
        }
        assert_eq!(seen.len(), whole.jobs.len() + whole.skipped.len());
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>().len(), 2005);
    }
}

#[test]
fn the_shard_of_a_case_is_the_same_in_every_release() {
    let selection = Selection {
        shard: Some(Shard::new(1, 3).unwrap()),
        ..Selection::default()
    };
    let suite = [scenario("x", vec![numbers("a", 12)], options())];
    let chosen: Vec<u64> = plan(&suite, &selection).jobs.iter().map(|job| job.cell).collect();
    assert_eq!(chosen, [0, 3, 4, 6, 8, 11]);
}

#[test]
fn a_shuffle_is_a_permutation_that_its_seed_decides() {
    let order = |seed| {
        let mut plan = plan(
            &[scenario("x", vec![numbers("a", 8)], options())],
            &Selection::default(),
        );
        plan.shuffle(Seed(seed));
        plan.jobs.iter().map(|job| job.cell).collect::<Vec<_>>()
    };
    assert_eq!(order(1), order(1));
    assert_eq!(order(1), [1, 7, 0, 4, 6, 2, 3, 5], "the same in every release");
    let mut sorted = order(2);
    assert_ne!(sorted, order(1));
    sorted.sort_unstable();
    assert_eq!(sorted, [0, 1, 2, 3, 4, 5, 6, 7]);
    // Every job reaches the first place about equally often.
    let mut first = [0; 8];
    (0..800).for_each(|seed| first[order(seed)[0] as usize] += 1);
    assert!(first.iter().all(|times| (60..150).contains(times)), "{first:?}");
}

#[test]
fn last_failures_are_chosen_by_name_and_other_filters_still_hold() {
    let names = [
        "m::kill[broker=nanomq]",
        "m::kill[broker=hivemq]",
        "m::plain",
        "gone",
    ];
    let last_failed = Some(names.iter().map(|name| (*name).to_owned()).collect());
    let selection = Selection {
        last_failed,
        ..Selection::default()
    };
    let all = plan(&suite(), &selection);
    assert_eq!(jobs(&all), ["m::kill[broker=nanomq]", "m::plain"]);
    assert_eq!((all.skipped.len(), all.filtered_out), (1, 2));
    let selection = Selection {
        filters: vec!["kill".into()],
        ..selection
    };
    assert_eq!(jobs(&plan(&suite(), &selection)), ["m::kill[broker=nanomq]"]);
    let selection = Selection {
        last_failed: Some(BTreeSet::new()),
        ..Selection::default()
    };
    assert_eq!(plan(&suite(), &selection).nothing(), Some(Nothing::Chosen));
}

#[test]
fn what_is_required_is_an_error_instead_of_a_skip() {
    let require = |require| try_prepare(&suite(), &Selection::default(), &require).unwrap();
    let required = |plan: &Plan| -> Vec<String> {
        let errors = plan.skipped.iter().filter(|skipped| skipped.required);
        errors.map(|skipped| plan.skipped_name(skipped)).collect()
    };
    let names = |name: &str| Require::Names([name.to_owned()].into());
    assert_eq!(required(&require(Require::All)), ["m::kill[broker=hivemq]"]);
    assert_eq!(required(&require(names("hivemq"))), ["m::kill[broker=hivemq]"]);
    assert!(required(&require(names("nanomq"))).is_empty());

    // It is not ignored then, but runs by default to its error.
    let selection = Selection {
        ignored: Ignored::Only,
        ..Selection::default()
    };
    let ignored = try_prepare(&suite(), &selection, &Require::All).unwrap();
    assert!(required(&ignored).is_empty());
    let only = [scenario("x", vec![broker().only(&["hivemq"])], options())];
    let plan = try_prepare(&only, &Selection::default(), &Require::All).unwrap();
    assert_eq!(plan.nothing(), None);
}

#[test]
fn an_empty_axis_is_one_skipped_case() {
    let suite = [scenario(
        "x",
        vec![broker(), Site::new("amqp", no_kinds)],
        options(),
    )];
    let all = plan(&suite, &Selection::default());
    assert_eq!(
        skipped(&all),
        [("m::x".to_owned(), "no kind of `Amqp` is registered")]
    );
    assert_eq!(all.skipped[0].cell, None);
    assert_eq!(all.nothing(), Some(Nothing::Runnable));
    assert_eq!(plan(&suite, &exact(&["m::x"])).skipped.len(), 1);
    let left_out = plan(&suite, &filters(&["y"]));
    assert_eq!((left_out.skipped.len(), left_out.filtered_out), (0, 1));
    let required = try_prepare(&suite, &Selection::default(), &Require::All).unwrap();
    assert!(required.skipped[0].required);
    let gone = plan(&suite, &exact(&["m::x[broker=nanomq,amqp=a]"]));
    assert_eq!(
        gone.warnings,
        ["scenario `m::x` has no cases: no kind of `Amqp` is registered"]
    );
}

#[test]
fn everything_wrong_with_a_suite_is_told_at_once() {
    let error = |scenarios: &[&'static Scenario]| {
        let result = try_prepare(scenarios, &Selection::default(), &Require::Nothing);
        result.err().expect("an error")
    };
    let text = error(&[]);
    assert!(
        text.contains("use scenarios as _;") && text.contains("harness = false"),
        "{text}"
    );
    let text = error(&[
        scenario("x", vec![], options()),
        scenario("y", vec![Site::new("s", twins)], options()),
        scenario("x", vec![], options()),
        scenario("z", vec![broker().only(&["zzz"])], options()),
    ]);
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(
        text.contains("tests/suite.rs:7: scenario `m::x` has the name of the one at tests/suite.rs:7"),
        "{text}"
    );
}

#[test]
fn the_event_log_is_told_the_jobs_as_ranges() {
    let mut plan = plan(&suite(), &Selection::default());
    plan.shuffle(Seed(5));
    let planned = plan.planned();
    assert_eq!(planned.len(), 2);
    assert_eq!(planned[0].scenario, "m::kill");
    assert_eq!(planned[0].module, "suite::m");
    assert_eq!(planned[0].cells, [(0, 2)]);
    assert_eq!(
        planned[0].axes,
        [(
            "broker".to_owned(),
            ["mosquitto", "nanomq", "hivemq"].map(str::to_owned).to_vec()
        )]
    );
    assert_eq!(planned[1].cells, [(0, 1)]);
    plan.jobs = [4, 0, 1, 2, 6, 7].map(|cell| Job { scenario: 0, cell }).to_vec();
    assert_eq!(plan.planned()[0].cells, [(0, 3), (4, 5), (6, 8)]);
}

#[test]
fn a_million_cells_are_planned_and_told_in_one_range() {
    let sites = ["a", "b", "c"].map(|name| numbers(name, 100)).into();
    let suite = [scenario("x", sites, options())];
    let plan = plan(&suite, &filters(&["x"]));
    assert_eq!(plan.jobs.len(), 1_000_000);
    assert_eq!(plan.planned()[0].cells, [(0, 1_000_000)]);
}

#[test]
fn lists_are_printed_as_libtest_prints_them() {
    let printed = |selection: &Selection, format| {
        let mut text = String::new();
        let mut plan = plan(&suite(), selection);
        plan.shuffle(Seed(1));
        list(&plan, format, &mut text).unwrap();
        text
    };
    let names = "m::kill[broker=mosquitto]: test\nm::kill[broker=nanomq]: test\n\
                 m::kill[broker=hivemq]: test\nm::plain: test\nm::slow: test\n";
    let all = Selection::default();
    assert_eq!(printed(&all, ListFormat::Terse), names);
    assert_eq!(
        printed(&all, ListFormat::Pretty),
        format!("{names}\n5 tests, 0 benchmarks\n")
    );
    assert_eq!(
        printed(&filters(&["plain"]), ListFormat::Pretty),
        "m::plain: test\n\n1 test, 0 benchmarks\n"
    );
    assert_eq!(
        printed(&filters(&["zzz"]), ListFormat::Pretty),
        "0 tests, 0 benchmarks\n"
    );
}

#[test]
fn the_plan_tells_what_runs_and_groups_the_rest_by_reason() {
    let mut known = known([
        rule(&[("broker", "nanomq")], "issue 12"),
        rule(&[("broker", "mosquitto")], "issue 13"),
    ])
    .to_vec();
    known[1].intermittent = true;
    let known = Options {
        known_failure: known.leak(),
        ..options()
    };
    let mut suite = suite();
    suite.push(scenario("more", vec![broker()], known));
    let printed = |require| {
        let mut text = String::new();
        let plan = try_prepare(&suite, &Selection::default(), &require).unwrap();
        describe(&plan, &mut text).unwrap();
        text
    };
    assert_eq!(
        printed(Require::Nothing),
        "5 cases would run, 3 would be skipped, 0 filtered out\n\
         \nwould run:\n\
         \x20 m::kill[broker=mosquitto]\n\
         \x20 m::kill[broker=nanomq]\n\
         \x20 m::plain\n\
         \x20 m::more[broker=mosquitto] (known failure, at times: issue 13)\n\
         \x20 m::more[broker=nanomq] (known failure: issue 12)\n\
         \nwould be skipped (ignored): takes an hour (1 case)\n\
         \x20 m::slow\n\
         \nwould be skipped (unavailable): `hivemq` is not installed (2 cases)\n\
         \x20 m::kill[broker=hivemq]\n\
         \x20 m::more[broker=hivemq]\n"
    );
    let required = printed(Require::All);
    assert!(
        required.starts_with("5 cases would run, 1 would be skipped, 2 would be an error, 0 filtered out\n"),
        "{required}"
    );
    assert!(
        required
            .contains("\nwould be an error (unavailable, required): `hivemq` is not installed (2 cases)\n"),
        "{required}"
    );
}
