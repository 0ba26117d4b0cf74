//! Functions that cannot be scenarios.
#![allow(improper_ctypes_definitions)]

use robust_test::prelude::*;

#[robust_test]
const fn constant() {}

#[robust_test]
unsafe fn not_safe() {}

#[robust_test]
extern "C" fn foreign() {}

#[robust_test]
unsafe extern "C" fn variadic(_case: Case, _more: ...) {}

#[robust_test]
fn lifetime<'a>(_case: &'a Case) {}

#[robust_test]
async fn generic<T, const N: usize>(_case: [T; N]) {}

#[robust_test]
fn bounded()
where
    String: Clone,
{
}

#[robust_test]
fn opaque(#[values(1, 2)] _value: impl Into<u64>) {}

struct Holder;

impl Holder {
    #[robust_test]
    fn method(&self, _case: Case) {}
}

#[robust_test]
fn thirteen(
    _a: Case,
    _b: Case,
    _c: Case,
    _d: Case,
    _e: Case,
    _f: Case,
    _g: Case,
    _h: Case,
    _i: Case,
    _j: Case,
    _k: Case,
    _l: Case,
    _m: Case,
) {
}

fn main() {}
