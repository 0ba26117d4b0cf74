use super::test_support::*;
use super::*;
use crate::registry::{Options, Site};

fn broker() -> Site {
    Site::new("broker", server)
}

fn names(matrix: &Matrix) -> Vec<String> {
    (0..matrix.cells()).map(|cell| matrix.case_name(cell)).collect()
}

fn error(sites: Vec<Site>, options: Options) -> String {
    try_expand(sites, options).err().expect("an error")
}

#[track_caller]
fn assert_error(sites: Vec<Site>, options: Options, expected: &str) {
    let text = error(sites, options);
    assert_eq!(
        text,
        format!("tests/suite.rs:7: scenario `m::x`: {expected}"),
        "{text}"
    );
}

#[test]
fn cells_are_named_in_mixed_radix_with_the_last_axis_fastest() {
    let sites = vec![
        Site::new("case", plain),
        broker().except(&["hivemq"]),
        values("qos", &["0", "1"]),
    ];
    let matrix = expand(sites, options());
    assert_eq!(
        names(&matrix),
        [
            "m::x[broker=mosquitto,qos=0]",
            "m::x[broker=mosquitto,qos=1]",
            "m::x[broker=nanomq,qos=0]",
            "m::x[broker=nanomq,qos=1]",
        ]
    );
    assert_eq!(matrix.labels(2), [("broker", "nanomq"), ("qos", "0")]);
    assert_eq!(matrix.choices(3), [0, 1, 1]);
}

#[test]
fn a_scenario_without_axes_has_one_cell_of_its_own_name() {
    let matrix = expand(vec![Site::new("case", plain)], options());
    assert_eq!(names(&matrix), ["m::x"]);
    assert_eq!(matrix.find("m::x"), Some(0));
    assert_eq!(matrix.find("m::x[]"), None);
    assert_eq!(matrix.find("m::xy"), None);
}

#[test]
fn find_is_the_inverse_of_case_name_also_with_awkward_labels() {
    let sites = vec![
        values("a", &["", "x,y", "x]", "[x", "a=1", ",b", ",bb=2", "é"]),
        values("b", &["1", "1]", "a=1,b=2", "x,c"]),
        values("cc", &[",cc=", "=", "]"]),
    ];
    let matrix = expand(sites, options());
    assert_eq!(matrix.cells(), 96);
    let all = names(&matrix);
    for (cell, name) in all.iter().enumerate() {
        assert_eq!(matrix.find(name), Some(cell as u64), "{name}");
    }
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), 96);
    for wrong in [
        "m::x",
        "m::x[a=,b=1]",
        "m::x[a=,b=1,cc==",
        "m::x[b=1,a=,cc==]",
        "x[a=,b=1,cc==]",
    ] {
        assert_eq!(matrix.find(wrong), None, "{wrong}");
    }
}

#[test]
fn a_million_cells_cost_nothing_until_they_are_asked_for() {
    let sites = ["a", "b", "c", "d", "e", "f"]
        .map(|name| numbers(name, 10))
        .into();
    let matrix = expand(sites, options());
    assert_eq!(matrix.cells(), 1_000_000);
    assert_eq!(matrix.case_name(123_456), "m::x[a=1,b=2,c=3,d=4,e=5,f=6]");
    let mut name = String::new();
    for cell in 0..1_000_000 {
        if cell % 7 == 0 {
            name.clear();
            matrix.write_case_name(cell, &mut name);
            assert_eq!(matrix.find(&name), Some(cell));
        }
        assert_eq!(matrix.skip_reason(cell), None);
    }
}

#[test]
fn choices_are_indices_into_the_axis_before_it_was_narrowed() {
    let matrix = expand(vec![broker().only(&["hivemq", "nanomq"])], options());
    assert_eq!(
        names(&matrix),
        ["m::x[broker=nanomq]", "m::x[broker=hivemq]"],
        "the axis keeps its order"
    );
    assert_eq!(matrix.choices(0), [1]);
    assert_eq!(matrix.choices(1), [2]);
}

#[test]
fn a_label_that_does_not_exist_is_an_error_with_the_near_miss() {
    assert_error(
        vec![broker().only(&["mosquito"])],
        options(),
        "`#[only]` names `mosquito`, which parameter `broker` does not have; did you mean `mosquitto`? \
         There are: hivemq, mosquitto, nanomq",
    );
    let text = error(vec![broker().except(&["kafka"])], options());
    assert!(text.contains("`#[except]` names `kafka`"), "{text}");
    assert!(
        text.ends_with("does not have; there are: hivemq, mosquitto, nanomq"),
        "{text}"
    );
}

#[test]
fn everything_wrong_with_a_scenario_is_told_at_once() {
    let text = error(
        vec![broker().only(&["x"]), values("qos", &["1", "1"])],
        requires("brokr", "qos2"),
    );
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(
        text.lines()
            .all(|line| line.starts_with("tests/suite.rs:7: scenario `m::x`: ")),
        "{text}"
    );
    assert!(text.contains("did you mean `broker`?"), "{text}");
}

#[test]
fn a_label_twice_on_an_axis_is_an_error() {
    let text = error(vec![Site::new("s", twins)], options());
    assert!(text.contains("parameter `s` has two values called `a`"), "{text}");
}

#[test]
fn labels_that_would_make_names_ambiguous_or_unprintable_are_errors() {
    let text = error(vec![values("a", &["1,b=2"]), values("b", &["1"])], options());
    assert!(text.contains("holds `,b=`"), "{text}");
    let text = error(vec![values("a", &["1\n"])], options());
    assert!(
        text.contains(r#"the label "1\n" of parameter `a` has control characters"#),
        "{text}"
    );
}

#[test]
fn an_empty_axis_makes_no_cells_and_says_why() {
    let matrix = expand(vec![Site::new("a", no_kinds).only(&["x"]), broker()], options());
    assert_eq!(matrix.cells(), 0);
    assert_eq!(matrix.empty().unwrap().kind, SkipKind::Empty);
    assert_eq!(
        &*matrix.empty().unwrap().reason,
        "no kind of `Amqp` is registered"
    );
    assert_eq!(matrix.find("m::x"), None);

    let all = broker().except(&["mosquitto", "nanomq", "hivemq"]);
    let reason = expand(vec![all], options()).empty().unwrap().reason;
    assert!(
        reason.contains("leave parameter \"broker\" none of its values: mosquitto, "),
        "{reason}"
    );
    assert_eq!(expand(vec![broker()], options()).empty(), None);
}

#[test]
fn a_product_that_no_run_can_hold_is_an_error() {
    let sites = ["a", "b", "c"].map(|name| numbers(name, 1000)).into();
    let text = error(sites, options());
    assert!(text.contains("more than 100000000 cells"), "{text}");
    // 2^64 overflows.
    let sites = ["a", "b", "c", "d", "e", "f", "g", "h"]
        .map(|name| numbers(name, 256))
        .into();
    assert!(error(sites, options()).contains("more than"));
}

#[test]
fn a_client_connects_to_the_sole_server_or_to_the_one_named() {
    let links = |sites| expand(sites, options()).links;
    let client = |name| Site::new(name, client);
    assert_eq!(links(vec![broker(), client("c")]), [None, Some(0)]);
    let two = || vec![broker(), Site::new("second", server)];
    let mut sites = two();
    sites.push(client("c").on("second"));
    assert_eq!(links(sites), [None, None, Some(1)]);

    let mut sites = two();
    sites.push(client("c"));
    assert_error(
        sites,
        options(),
        "parameter `c` connects to a server of Mqtt, and `broker`, `second` are that: add `#[on(..)]` to say which",
    );
    let text = error(vec![client("c"), Site::new("k", kafka)], options());
    assert!(
        text.contains("connects to a server of Mqtt, and no parameter is one"),
        "{text}"
    );
    let text = error(vec![client("c"), broker()], options());
    assert!(text.contains("move `broker` before `c`"), "{text}");
    let text = error(vec![broker(), client("c").on("brokr")], options());
    assert!(text.contains("did you mean `broker`?"), "{text}");
    let text = error(
        vec![Site::new("k", kafka), broker(), client("c").on("k")],
        options(),
    );
    assert!(
        text.contains("connects to a server of Mqtt, and `k` is a server of Kafka"),
        "{text}"
    );
    let text = error(vec![broker().on("broker")], options());
    assert!(
        text.contains("`#[on(broker)]` on parameter `broker`, which connects to nothing"),
        "{text}"
    );
    let text = error(vec![Site::new("case", plain).only(&["x"])], options());
    assert!(text.contains("`#[only]` on parameter `case`"), "{text}");
}

#[test]
fn cells_without_a_required_capability_are_skipped() {
    let matrix = expand(vec![broker()], requires("broker", "qos2"));
    assert_eq!(matrix.skip_reason(0), None);
    let skip = matrix.skip_reason(1).unwrap();
    assert_eq!(skip.kind, SkipKind::Requires);
    assert_eq!(
        &*skip.reason,
        "kind \"nanomq\" of parameter \"broker\" does not provide \"qos2\""
    );
    assert_eq!(matrix.skip_reason(2).unwrap().kind, SkipKind::Unavailable);
    assert_eq!(
        &*matrix.skip_reason(2).unwrap().reason,
        "`hivemq` is not installed"
    );
}

#[test]
fn a_capability_that_nothing_provides_is_an_error() {
    assert_error(
        vec![broker()],
        requires("broker", "qos3"),
        "`requires(broker = \"qos3\")`: no kind of parameter `broker` provides that; did you mean `qos2`? \
         There are: qos2, retain",
    );
    let text = error(vec![broker(), Site::new("case", plain)], requires("case", "x"));
    assert!(
        text.contains("`requires` names parameter `case`, which has no kinds"),
        "{text}"
    );
    // What only a removed kind provides is known, and what stays lacks it.
    let matrix = expand(vec![broker().only(&["nanomq"])], requires("broker", "qos2"));
    assert_eq!(matrix.skip_reason(0).unwrap().kind, SkipKind::Requires);
    // Without any kind, nothing is known.
    expand(vec![Site::new("a", no_kinds)], requires("a", "x"));
}

#[test]
fn cells_whose_client_requires_what_its_server_lacks_are_skipped() {
    let sites = || vec![broker(), Site::new("client", demanding)];
    let matrix = expand(sites(), options());
    let skips: Vec<_> = (0..6).map(|cell| matrix.skip_reason(cell)).collect();
    assert_eq!([&skips[0], &skips[1], &skips[2]], [&None, &None, &None]);
    let skip = skips[3].as_ref().unwrap();
    assert_eq!(skip.kind, SkipKind::Requires);
    assert_eq!(
        &*skip.reason,
        "kind \"exact\" of parameter \"client\" requires \"qos2\", which kind \"nanomq\" of parameter \"broker\" does not \
         provide"
    );
    assert_eq!(skips[5].as_ref().unwrap().kind, SkipKind::Unavailable);

    // It is of the server that the client connects to, and of no other.
    let sites = vec![
        broker().only(&["nanomq"]),
        Site::new("other", server).only(&["mosquitto"]),
        Site::new("client", demanding).on("other"),
    ];
    let matrix = expand(sites, options());
    assert_eq!(matrix.skip_reason(1), None, "{}", matrix.case_name(1));

    // What no kind of the parameter provides, others of the service may.
    let matrix = expand(vec![broker(), Site::new("client", presumptuous)], options());
    assert!((0..3).all(|cell| matrix.skip_reason(cell).unwrap().kind == SkipKind::Requires));
}

#[test]
fn rules_hold_where_all_their_labels_do() {
    let options = Options {
        exclude: rules([
            rule(&[("broker", "nanomq"), ("qos", "1")], "no qos here"),
            rule(&[("broker", "hivemq")], "too slow"),
        ]),
        known_failure: known([rule(&[("qos", "0")], "loses messages")]),
        ..options()
    };
    let matrix = expand(vec![broker(), values("qos", &["0", "1"])], options);
    let skips: Vec<_> = (0..6).map(|cell| matrix.skip_reason(cell)).collect();
    let reasons: Vec<_> = skips
        .iter()
        .map(|skip| skip.as_ref().map(|skip| &*skip.reason))
        .collect();
    assert_eq!(
        reasons,
        [
            None,
            None,
            None,
            Some("no qos here"),
            Some("too slow"),
            Some("too slow")
        ]
    );
    assert!(skips.iter().flatten().all(|skip| skip.kind == SkipKind::Excluded));
    let known: Vec<bool> = (0..6)
        .map(|cell| !matrix.known_failures(cell, &Assignment::default()).is_empty())
        .collect();
    assert_eq!(known, [true, false, true, false, true, false]);
    let known = matrix.known_failures(0, &Assignment::default());
    assert_eq!(known[0].rule.because, "loses messages");
}

#[test]
fn a_rule_without_labels_holds_everywhere_and_one_for_a_removed_kind_nowhere() {
    let options = Options {
        exclude: rules([rule(&[("broker", "hivemq")], "too slow")]),
        known_failure: known([rule(&[], "always")]),
        ..options()
    };
    let matrix = expand(vec![broker().except(&["hivemq"])], options);
    assert_eq!(matrix.skip_reason(0), None);
    assert_eq!(matrix.skip_reason(1), None);
    for cell in 0..2 {
        assert_eq!(matrix.known_failures(cell, &Assignment::default()).len(), 1);
    }
}

#[test]
fn a_rule_with_an_unknown_label_or_parameter_is_an_error() {
    let with = |when| Options {
        exclude: rules([rule(when, "b")]),
        ..options()
    };
    let text = error(vec![broker()], with(&[("broker", "nanomp")]));
    assert!(text.contains("`exclude` names `nanomp`"), "{text}");
    assert!(text.contains("did you mean `nanomq`?"), "{text}");
    let text = error(vec![broker()], with(&[("brokre", "nanomq")]));
    assert!(text.contains("`exclude` names parameter `brokre`"), "{text}");
    let text = error(vec![Site::new("case", plain)], with(&[("case", "a")]));
    assert!(
        text.contains("`exclude` names parameter `case`, which has no kinds"),
        "{text}"
    );
}
