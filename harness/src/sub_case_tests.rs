use std::sync::Arc;

use super::*;
use crate::case::Facts;
use crate::error::{error, skip};
use crate::seed::Seed;

fn case() -> Case {
    Case::new(Facts {
        name: "m::a".into(),
        seed: Seed(1),
        attempt: 0,
        folder: "/nonexistent".into(),
        environment: Arc::default(),
        variants: Default::default(),
        run_id: "test".into(),
        stash: None,
        spare: None,
    })
}

fn sub_case(name: &str, outcome: Outcome) -> SubCase {
    SubCase {
        name: name.into(),
        outcome,
        duration_us: 1,
    }
}

fn problem(class: Class) -> Problem {
    Problem::new(class, "lost\nat x")
}

#[test]
fn each_has_its_verdict_in_the_order_they_were_opened_and_one_without_was_interrupted() {
    let case = case();
    let first = case.sub_case("first").unwrap();
    let forgotten = case.sub_case("forgotten").unwrap();
    let mut clients = case.sub_cases("client", 2).unwrap();
    clients.remove(1).end(Err(skip("no IPv6")));
    clients.remove(0).end(Err(error("refused")));
    drop(forgotten);
    first.end(Ok(()));
    case.sub_cases("client", 1).unwrap().remove(0).end(Ok(()));
    let told: Vec<_> = case.take_end().sub_cases;
    let told: Vec<_> = told.iter().map(|one| (&*one.name, one.outcome.name())).collect();
    let expected = [
        ("first", "passed"),
        ("forgotten", "errored"),
        ("client-1", "failed"),
        ("client-2", "skipped"),
        ("client-3", "passed"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn names_are_taken_once_and_there_is_an_end_to_them() {
    let case = case();
    case.sub_case("a").unwrap().end(Ok(()));
    let again = case.sub_case("a").unwrap_err();
    assert_eq!(again, SubCaseError::Taken { name: "a".into() });
    for name in ["".to_owned(), "x".repeat(NAME_BYTES_MAX + 1)] {
        let unusable = case.sub_case(&*name).unwrap_err();
        assert_eq!(unusable, SubCaseError::Unusable { name });
    }
    assert_eq!(case.sub_cases("b", MAX).unwrap_err(), SubCaseError::TooMany);
    assert_eq!(case.sub_cases("b", MAX - 1).unwrap().len(), MAX - 1);
    assert_eq!(case.sub_case("c").unwrap_err(), SubCaseError::TooMany);
}

#[test]
fn a_bad_one_makes_its_case_bad_and_a_broken_property_comes_first() {
    let passed = sub_case("client-1", Outcome::Passed);
    let skipped = sub_case("client-2", Outcome::Skipped { reason: "no".into() });
    assert_eq!(verdict(&[passed.clone(), skipped.clone()]), None);

    let late = sub_case("client-3", Outcome::Errored(problem(Class::Deadline)));
    let gone = sub_case("client-4", interrupted());
    let Some(Outcome::Errored(told)) = verdict(&[passed.clone(), gone.clone(), late.clone()]) else {
        panic!()
    };
    assert_eq!(told.class, Class::Error);
    let panicked = sub_case("client-5", Outcome::Failed(problem(Class::Panic)));
    let Some(Outcome::Failed(told)) = verdict(&[passed, skipped, late, gone, panicked]) else {
        panic!()
    };
    assert_eq!(told.class, Class::Panic);
    assert_eq!(
        told.message,
        "3 of 5 sub-cases failed: client-3, client-4, client-5"
    );
    assert_eq!(
        told.details,
        "client-3: deadline: lost\n  at x\nclient-4: interrupted: it had no verdict when its case ended\n\
         client-5: panic: lost\n  at x"
    );
    let many: Vec<_> = (0..30)
        .map(|at| sub_case(&at.to_string(), Outcome::Failed(problem(Class::Error))))
        .collect();
    let text = summary("clients", &many).unwrap();
    assert!(
        text.starts_with("30 of 30 clients failed: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 20 more\n"),
        "{text}"
    );
}

#[test]
fn the_texts_of_very_many_fit_into_a_frame() {
    let all = (0..MAX)
        .map(|at| {
            let text = "\u{1}".repeat(if at < 300 { 20 << 10 } else { 1 << 10 });
            let outcome = match at % 2 {
                0 => Outcome::Failed(Problem::new(Class::Panic, format!("{text}\n{text}"))),
                _ => Outcome::Skipped { reason: text },
            };
            sub_case(&"\u{1}".repeat(NAME_BYTES_MAX), outcome)
        })
        .collect();
    let bounded = bounded(all);
    assert_eq!(bounded.len(), MAX);
    let json = serde_json::to_vec(&bounded).unwrap();
    assert!(json.len() < 60 << 20, "{}", json.len());
    let Outcome::Failed(first) = &bounded[0].outcome else {
        panic!()
    };
    assert!(first.message.contains(" [...] ") && first.details.len() > 10_000);
    let Outcome::Failed(last) = &bounded[MAX - 2].outcome else {
        panic!()
    };
    assert!(last.message.len() > 100);
}
