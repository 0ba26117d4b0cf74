//! What the attributes accept, and what they say to what they do not: a case a file in `ui/`.
//!
//! After a change of wording: `TRYBUILD=overwrite cargo test -p robust-test-tests --test ui`, then read the
//! difference.

#[test]
fn the_attributes_tell_mistakes_at_their_tokens() {
    let cases = trybuild::TestCases::new();
    cases.pass("ui/pass_*.rs");
    cases.compile_fail("ui/fail_*.rs");
}
