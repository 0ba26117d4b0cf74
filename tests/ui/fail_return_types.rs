//! Return types that say neither passed nor failed.
use robust_test::prelude::*;

struct Silent;

#[robust_test]
fn number() -> u32 {
    1
}

#[robust_test]
async fn ok_is_a_number(_case: Case) -> Result<u32> {
    Ok(1)
}

#[robust_test]
async fn error_cannot_be_shown() -> Result<(), Silent> {
    Err(Silent)
}

fn main() {}
