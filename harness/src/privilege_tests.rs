//! What tests need of the machine that not every machine grants.

use std::fmt::Display;
use std::io::Write as _;

/// Whether this user may do what was tried. Where not, the reason is told on stderr, which libtest does not capture, and the
/// test is to return.
///
/// # Panics
/// Where not, and `ROBUST_REQUIRE` is `all`.
#[track_caller]
pub(crate) fn is_allowed<T, E: Display>(what: &str, tried: &Result<T, E>) -> bool {
    if let Err(error) = tried {
        let required = std::env::var("ROBUST_REQUIRE").unwrap_or_default();
        let is_required = required.split(',').any(|name| name.trim() == "all");
        assert!(
            !is_required,
            "ROBUST_REQUIRE=all: this user may not {what}: {error}"
        );
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        let told = format!("{test} is skipped, because this user may not {what}: {error}\n");
        let _closed = std::io::stderr().write_all(told.as_bytes());
    }
    tried.is_ok()
}
