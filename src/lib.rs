//! robust-test: robustness scenarios for client/server systems.

pub mod client;
pub mod node;
pub mod service;

pub use robust_test_harness::case::Case;
pub use robust_test_harness::error::{Context, Error, Result, error, skip};

/// What scenarios and kinds use.
pub mod prelude {
    pub use crate::service::Service;
    pub use crate::{Case, Context, Error, Result, error, skip};
}

/// For the attributes' expansions alone.
#[doc(hidden)]
pub mod __private {
    pub use crate::service::{ClientKind, ConnectFn, ServerKind, StartFn};
    pub use inventory;
    pub use robust_test_harness::expansion::*;
}

/// The `main` of a test target with `harness = false`: runs every scenario that is linked in.
#[macro_export]
macro_rules! main {
    () => {
        fn main() -> ::std::process::ExitCode {
            $crate::__private::run($crate::__private::Suite {
                package: env!("CARGO_PKG_NAME"),
                name: env!("CARGO_CRATE_NAME"),
                binary: option_env!("CARGO_BIN_NAME"),
                manifest_dir: env!("CARGO_MANIFEST_DIR"),
                target_tmpdir: option_env!("CARGO_TARGET_TMPDIR"),
            })
        }
    };
}
