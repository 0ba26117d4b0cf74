//! Every option and attribute, under every lint a suite may deny.
#![deny(warnings, missing_docs, unreachable_pub, unused, dead_code, unexpected_cfgs, clippy::all)]
#![forbid(unsafe_code)]

mod support;

use robust_test::prelude::*;
use support::{Broker, Plain, Publisher};

const K: usize = 1024;

robust_test::allow_leak!(threads = "pool", because = "no");
robust_test::allow_leak!(tasks, because = "no",);

#[robust_test]
fn plain() {}

#[robust_test()]
async fn empty_parentheses() {}

/// Documented.
#[robust_test(
    timeout = "1m 30s",
    retries = 2,
    tags("slow", "net"),
    ignore = "why",
    serial("a", "b"),
    weight = 4,
    isolation = "process",
    flavor = "multi_thread",
    worker_threads = 2,
    requires(broker = "qos2"),
    exclude(broker = "a", qos = 1, because = "no"),
    exclude(qos = -1, because = "no"),
    exclude(broker.tls = "on", qos = 0, because = "no"),
    known_failure(broker.tls = "off", because = "sometimes"),
    known_failure(because = "always"),
    pin(persistence = "aof", broker.version = 7),
    pin(tls = true),
    forbid(broker.persistence = "none", because = "it forgets"),
    forbid(cache = 0, cache = 64, because = "slow"),
    allow_leak(threads = "pool", because = "no"),
    allow_leak(files, because = "no"),
)]
async fn everything(
    _case: Case,
    #[only("a", "b")]
    #[nodes(3)]
    #[settings("x".to_owned())]
    broker: Broker,
    #[except("c")]
    #[on(broker)]
    mut publishers: Vec<Publisher>,
    #[count(4)] _plain: Vec<Plain>,
    #[values(-1, 0, 1)] qos: i8,
    #[allow(unused_variables)]
    #[values(small = 1, big = 64 * K)]
    size: usize,
) -> Result {
    publishers.clear();
    drop(broker);
    let _ = qos;
    Ok(())
}

#[robust_test(start_paused)]
async fn paused() -> std::result::Result<(), Box<dyn std::error::Error>> {
    Ok(())
}

#[robust_test(should_panic = "x", ignore)]
fn panics(#[values("a", "b")] text: &str, #[values('c', 'd')] _character: char, #[values(1.5)] _float: f32) {
    panic!("x{text}");
}

#[robust_test]
async fn returns_an_opaque_result() -> Result<(), impl std::fmt::Debug> {
    Err::<(), _>("x")
}

#[robust_test(known_failure(kind = "Kind::A", because = "bug 1"))]
async fn twelve(
    #[values(Kind::A, b = Kind::B(1, 2))] kind: Kind,
    _b: Plain,
    _c: Plain,
    _d: Plain,
    _e: Plain,
    _f: Plain,
    _g: Plain,
    _h: Plain,
    _i: Plain,
    _j: Plain,
    _k: [Plain; 2],
    _l: Plain,
) {
    if let Kind::B(x, y) = kind {
        let _ = x + y;
    }
}

enum Kind {
    A,
    B(u8, u8),
}

fn main() {}
