//! Scenarios for the runner's contract: names, choosing, seeds, groups, retries. Run by `tests/contract.rs`.
#![allow(missing_docs)]

use std::io::Write as _;
use std::time::Duration;

use robust_test::harness::param::{Axis, AxisValue, Build, Environment, Param, Shape, TakesKinds};
use robust_test::harness::registry::Site;
use robust_test::prelude::*;

/// A parameter of the author's own: an axis of three kinds, one of which is not available.
struct Engine {
    kind: &'static str,
}

const KINDS: [(&str, &[&str]); 3] = [
    ("diesel", &["torque"]),
    ("electric", &["torque", "silence"]),
    ("steam", &[]),
];

impl Param for Engine {
    fn shape(_: &Site, _: &Environment) -> Shape {
        let values = KINDS.iter().map(|&(kind, provides)| AxisValue {
            label: kind.into(),
            provides,
            unavailable: (kind == "steam").then(|| "there is no coal here".to_owned()),
            ..AxisValue::default()
        });
        Shape {
            axis: Some(Axis {
                values: values.collect(),
                empty_because: None,
            }),
            ..Shape::default()
        }
    }

    async fn build(build: &mut Build) -> Result<Self> {
        let kind = KINDS[build.choice()].0;
        build.case().defer(format!("engine {kind}"), move || async move {
            println!("stopped {kind}");
            Ok(())
        });
        Ok(Self { kind })
    }
}

impl TakesKinds for Engine {}

mod product {
    use super::*;

    #[robust_test]
    fn of_values(#[values(1, 2)] a: u8, #[values("x", "y", long = "zzz")] b: &str) {
        assert!(a < 3 && b.len() < 4);
    }

    #[robust_test]
    fn of_engines(first: Engine, #[only("diesel", "electric")] second: Engine) {
        println!("{} and {}", first.kind, second.kind);
    }
}

#[robust_test(requires(engine = "silence"))]
async fn silent(engine: Engine) {
    assert_eq!(engine.kind, "electric");
}

#[robust_test(
    exclude(engine = "diesel", speed = 3, because = "it would burst"),
    known_failure(engine = "electric", speed = 3, because = "the battery is weak")
)]
fn fast(engine: Engine, #[values(1, 3)] speed: u8) {
    assert!(engine.kind != "electric" || speed < 3, "too slow");
}

#[robust_test]
fn without_any(#[except("diesel", "electric", "steam")] engine: Engine) {
    unreachable!("{}", engine.kind);
}

#[robust_test(tags("slow", "net"))]
fn tagged() {}

#[robust_test(ignore = "on request only")]
fn ignored() {}

#[robust_test(ignore = "it moves the whole run where there is one process")]
fn goes_elsewhere() {
    std::env::set_current_dir(std::env::temp_dir()).unwrap();
}

#[robust_test]
fn draws(case: Case) {
    use robust_test::rand::RngExt as _;
    let mut one = case.rng("one");
    let mut two = case.rng("two");
    println!(
        "seed {} draws {} {}",
        case.seed(),
        one.random::<u64>(),
        two.random::<u64>()
    );
    panic!("so that the output is shown");
}

fn log(line: &str) {
    if let Some(path) = std::env::var_os("CONTRACT_LOG") {
        let mut file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

#[robust_test(serial = "one at a time")]
async fn alone(#[values(1, 2, 3, 4, 5, 6)] number: u8) {
    log(&format!("begin {number}"));
    tokio::time::sleep(Duration::from_millis(20)).await;
    log(&format!("end {number}"));
}

#[robust_test(tags("long"))]
async fn sleeps(#[values(1, 2, 3, 4, 5, 6, 7, 8)] _number: u8) {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[robust_test(retries = 1)]
fn passes_at_the_second_try(case: Case) {
    assert_eq!(case.attempt(), 1);
}

#[robust_test(isolation = "process")]
fn counts_in_a_process_of_its_own(#[values(1, 2, 3)] number: u8) {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let before = COUNT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(before, 0, "case {number} shares its process");
}

#[robust_test(start_paused)]
async fn an_hour_of_paused_time() {
    tokio::time::sleep(Duration::from_secs(3600)).await;
}

#[robust_test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_a_thread_of_several() {
    let (send, receive) = std::sync::mpsc::channel();
    tokio::spawn(async move { send.send(()) });
    receive.recv_timeout(Duration::from_secs(20)).unwrap();
}

robust_test::main!();
