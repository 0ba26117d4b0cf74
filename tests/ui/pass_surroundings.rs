//! Wherever functions stand and whatever else is called what the expansion uses.
#![deny(warnings)]
#![allow(unused_attributes)]

mod nested {
    #[robust_test::robust_test]
    fn inside() {}

    pub mod deeper {
        use robust_test::robust_test as scenario;

        #[scenario(timeout = "1s")]
        pub async fn public_and_renamed() {}
    }
}

/// Names of the standard library's and of the harness' that mean something else here.
mod shadowed {
    #[allow(dead_code)]
    pub struct Option;
    #[allow(dead_code)]
    pub struct Box;
    #[allow(dead_code)]
    pub struct Some;
    #[allow(dead_code)]
    pub struct Scenario;
    mod core {}
    mod robust_test {}

    #[::robust_test::robust_test(timeout = "1s", should_panic = "x", flavor = "multi_thread")]
    async fn shadowed(p0: ::robust_test::Case, #[values(1, 2)] p1: u8, #[values(3)] value: u8) {
        let _ = (p0, p1, value);
    }
}

macro_rules! scenarios {
    ($($name:ident $value:literal $ty:ty, $expression:expr;)*) => {$(
        #[robust_test::robust_test(exclude(value = $value, because = "x"))]
        async fn $name(case: robust_test::Case, #[values($value, other = $expression)] value: $ty) {
            let _: ($ty, robust_test::Case) = (value, case);
        }
    )*};
}

scenarios! {
    first 1 u8, 2 + 3;
    second "a" &str, "b";
}

#[cfg(any())]
#[robust_test::robust_test]
fn not_compiled(_: NoSuchType) {}

#[robust_test::robust_test]
#[cfg(any())]
fn not_compiled_either(_: NoSuchType) {}

#[robust_test::robust_test]
#[cfg_attr(all(), allow(non_snake_case))]
fn notSnakeCase() {}

#[robust_test::robust_test]
async fn r#async(#[values(r#in = 1)] r#fn: u8) {
    let _ = r#fn;
}

fn main() {
    #[robust_test::robust_test]
    fn within_a_function() {}
}
