//! The sources of suites.

/// `count` functions `case_0`, `case_1`, .. with the same attribute, signature and body, between `head` and
/// `tail`. `signature` is what stands before the name: `fn`, `async fn`.
pub(crate) fn functions(
    count: u64,
    head: &str,
    attribute: &str,
    signature: &str,
    body: &str,
    tail: &str,
) -> String {
    let mut source = format!("{head}\n");
    for number in 0..count {
        source += &format!("{attribute}\n{signature} case_{number}() {{ {body} }}\n");
    }
    source + tail + "\n"
}

/// What a suite of scenarios begins with.
pub(crate) const ROBUST_HEAD: &str = "use robust_test::prelude::*;";
/// What it ends with.
pub(crate) const ROBUST_TAIL: &str = "robust_test::main!();";

/// One scenario whose matrix is the product of axes of `lengths` values.
pub(crate) fn matrix(lengths: &[u64]) -> String {
    let parameters: Vec<String> = lengths
        .iter()
        .enumerate()
        .map(|(axis, length)| {
            let values: Vec<String> = (0..*length).map(|value| value.to_string()).collect();
            format!("#[values({})] axis_{axis}: u64", values.join(", "))
        })
        .collect();
    let names: Vec<String> = (0..lengths.len()).map(|axis| format!("axis_{axis}")).collect();
    format!(
        "{ROBUST_HEAD}\n#[robust_test]\nasync fn cell({}) {{ let _ = ({},); }}\n{ROBUST_TAIL}\n",
        parameters.join(", "),
        names.join(", ")
    )
}
