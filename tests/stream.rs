//! Quick cases follow one another in a worker without waiting for the runner: each still has its own verdict,
//! its own output and its own files, whatever those around it do.

use std::collections::BTreeMap;

use robust_test_tests::{Finished, Planted, Verdict};

const STREAM: &str = env!("CARGO_BIN_EXE_stream");
const CASES: usize = 1500;

fn number(name: &str) -> usize {
    let label = name
        .strip_prefix("of_cases[number=")
        .and_then(|rest| rest.strip_suffix(']'));
    label
        .and_then(|label| label.parse().ok())
        .expect("a case of the stream")
}

fn numbered(finished: &Finished) -> BTreeMap<usize, Verdict> {
    let verdicts = finished.verdicts().into_iter();
    verdicts.map(|(name, verdict)| (number(&name), verdict)).collect()
}

fn output(number: usize) -> String {
    let mut text = String::new();
    if !number.is_multiple_of(3) {
        text.push_str(&format!("begin {number}\n"));
    }
    if is_long(number) {
        text.push_str(&"long ".repeat(40_000));
    }
    if number % 3 > 1 && !dies(number) && !fails(number) {
        text.push_str(&format!("end {number}\n"));
    }
    text
}

fn dies(number: usize) -> bool {
    number % 401 == 7
}

fn fails(number: usize) -> bool {
    number % 89 == 5 && !dies(number)
}

fn is_long(number: usize) -> bool {
    let others = [(401, 7), (89, 5), (97, 11), (61, 3), (67, 4), (5, 0)];
    number % 53 == 2 && others.iter().all(|&(of, rest)| number % of != rest)
}

#[test]
fn each_quick_case_has_its_own_verdict_output_and_files() {
    let finished = Planted::new(STREAM).args(["--show-output"]).run();
    assert_eq!(finished.code(), Some(101), "{}", finished.stderr);
    let verdicts = numbered(&finished);
    assert_eq!(verdicts.len(), CASES);
    assert_eq!(finished.junit().len(), CASES);
    for (&number, verdict) in &verdicts {
        let status = match number {
            _ if dies(number) => "errored",
            _ if fails(number) => "failed",
            _ => "passed",
        };
        assert_eq!(verdict.status, status, "{number}: {verdict:?}");
        let expected = output(number);
        if is_long(number) {
            // Reports show both ends.
            assert!(verdict.output.starts_with(&expected[..1000]), "{number}");
            assert!(
                verdict.output.ends_with(&expected[expected.len() - 1000..]),
                "{number}"
            );
        } else if fails(number) {
            assert!(
                verdict.output.starts_with(&expected),
                "{number}: {}",
                verdict.output
            );
            assert_eq!(
                verdict.output.matches("panicked").count(),
                1,
                "{}",
                verdict.output
            );
        } else if verdict.output != expected {
            // Of those that leave a file, which they may.
            let told = format!("{expected}left behind, as `allow_leak(files)` allows: `left-{number}` in");
            assert!(verdict.output.starts_with(&told), "{number}: {}", verdict.output);
        }
    }
}
