//! What the attributes register, and that what they register runs.

#[path = "ui/support/mod.rs"]
mod support;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use robust_test::client::ClientLink;
use robust_test::node::{Instance, Node};
use robust_test::prelude::*;
use robust_test::service::{ClientKind, ConnectFn, ServerKind, StartFn};
use robust_test_harness::case::Facts;
use robust_test_harness::matrix::Matrix;
use robust_test_harness::param::{Begin, Body, BodyError, BodyResult, Build, Environment};
use robust_test_harness::registry::{
    Flavor, Isolation, KnownFailure, Requirement, Rule, Scenario, ShouldPanic, Site, scenarios,
};
use robust_test_harness::seed::Seed;
use support::{Broker, Echo, EchoClient, Publisher};

#[robust_test]
async fn bare() {}

#[robust_test(
    timeout = "1m 30s",
    retries = 2,
    tags("slow", "net"),
    ignore = "why",
    serial = "group",
    weight = 4,
    isolation = "process",
    flavor = "multi_thread",
    worker_threads = 3,
    requires(broker = "qos2", broker = "retain"),
    requires(publisher = "qos2"),
    exclude(broker = "a", qos = -1, because = "no"),
    exclude(on = true, because = "never"),
    known_failure(because = "always"),
    known_failure(qos = -1, because = "at times", expected("lost", "gone"), intermittent)
)]
async fn everything(
    #[only("a", "b")]
    #[nodes(3)]
    #[settings(format!("{}!", "set"))]
    broker: Broker,
    #[except("x", 1)]
    #[on(broker)]
    publisher: Publisher,
    #[values(-1, 0, low = i8::MIN)] qos: i8,
    #[values(true, false)]
    #[except("false")]
    on: bool,
    #[count(4)] all: Vec<Publisher>,
) -> Result<(), String> {
    let _ = (broker, publisher, on);
    Err(format!("{qos} of {}", all.len()))
}

#[robust_test(
    should_panic,
    ignore,
    start_paused = true,
    serial("a", "b"),
    isolation = "worker"
)]
async fn r#loop() {}

#[robust_test(
    should_panic = "boom",
    flavor = "multi_thread",
    isolation = "none",
    start_paused = false
)]
fn plain() -> std::result::Result<(), std::num::ParseIntError> {
    "x".parse::<u8>().map(drop)
}

#[robust_test(flavor = "current_thread")]
fn plain_with_values(#[values("a", big = "b")] text: &str, #[values('c')] mut character: char) -> Result {
    character.make_ascii_uppercase();
    Err(error(format!("{text}{character}")))
}

mod nested {
    use robust_test::prelude::*;

    #[robust_test]
    pub(super) fn deep() {}
}

#[robust_server(Echo)]
async fn server(node: &mut Node<Echo>) -> Result<Instance> {
    let _ = node;
    Err(error("not started"))
}

#[robust_server(Echo, cluster)]
async fn forms_clusters(node: &mut Node<Echo>) -> Result<Instance> {
    let _ = node;
    Err(error("not started"))
}

#[robust_test]
fn mixes_what_cannot_be(#[mixed("forms_clusters", "server", "servre")] _db: Cluster<Echo>) {}

#[robust_client(Echo, name = "client-2", program = "echo", provides("a", "b"))]
async fn client(link: ClientLink) -> Result<Box<dyn EchoClient>> {
    let _ = link;
    Err(error("not connected"))
}

fn scenario(name: &str) -> &'static Scenario {
    let all = scenarios();
    all.into_iter()
        .find(|scenario| scenario.name == name)
        .expect(name)
}

/// Runs the cell of `choices`.
async fn run(scenario: &Scenario, choices: &[usize]) -> BodyResult {
    let facts = Facts {
        name: scenario.name.to_owned(),
        seed: Seed::random(),
        attempt: 0,
        folder: PathBuf::new(),
        environment: Arc::default(),
        run_id: String::new(),
        stash: None,
        spare: None,
        variants: Default::default(),
    };
    let links = vec![None; scenario.sites.len()];
    let mut build = Build::new(Case::new(facts), scenario.sites, choices.to_vec(), links);
    let body = match scenario.begin {
        Begin::Plain(begin) => begin(),
        Begin::Params(begin) => begin(&mut build).await.unwrap(),
    };
    match body {
        Body::Async(body) => body.await,
        Body::Sync(body) => body(),
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn a_bare_scenario_has_the_defaults_and_its_place() {
    let bare = scenario("bare");
    assert_eq!(bare.module, "expansion");
    assert!(bare.file.ends_with("tests/expansion.rs"), "{}", bare.file);
    assert_eq!(bare.line, line_of("async fn bare") - 1);
    assert!(bare.sites.is_empty());
    let options = &bare.options;
    assert_eq!(options.timeout, None);
    assert_eq!(options.ignore, None);
    assert_eq!(options.should_panic, None);
    assert_eq!(options.weight, 1);
    assert_eq!(options.flavor, Flavor::CurrentThread);
    assert_eq!(now(run(bare, &[])), Ok(()));
}

fn line_of(text: &str) -> u32 {
    let position = include_str!("expansion.rs")
        .lines()
        .position(|line| line.contains(text));
    u32::try_from(position.unwrap() + 1).unwrap()
}

#[test]
fn every_option_arrives() {
    let options = &scenario("everything").options;
    assert_eq!(options.timeout, Some(Duration::from_secs(90)));
    assert_eq!(options.retries, Some(2));
    assert_eq!(options.tags, ["slow", "net"]);
    assert_eq!(options.ignore, Some("why"));
    assert_eq!(options.serial, ["group"]);
    assert_eq!(options.weight, 4);
    assert_eq!(options.isolation, Some(Isolation::Process));
    assert_eq!(options.flavor, Flavor::MultiThread(Some(3)));
    let requires = [("broker", "qos2"), ("broker", "retain"), ("publisher", "qos2")];
    let requires = requires.map(|(param, capability)| Requirement { param, capability });
    assert_eq!(options.requires, requires);
    assert_eq!(
        options.exclude,
        [
            Rule {
                when: &[("broker", "a"), ("qos", "-1")],
                because: "no"
            },
            Rule {
                when: &[("on", "true")],
                because: "never"
            },
        ]
    );
    assert_eq!(
        options.known_failure,
        [
            KnownFailure::new(Rule {
                when: &[],
                because: "always"
            }),
            KnownFailure {
                rule: Rule {
                    when: &[("qos", "-1")],
                    because: "at times"
                },
                expected: &["lost", "gone"],
                intermittent: true,
            },
        ]
    );

    let options = &scenario("loop").options;
    assert_eq!(options.should_panic, Some(ShouldPanic { expected: None }));
    assert_eq!(options.ignore, Some(""));
    assert!(options.start_paused);
    assert_eq!(options.serial, ["a", "b"]);
    assert_eq!(options.isolation, Some(Isolation::Worker));

    let options = &scenario("plain").options;
    assert_eq!(
        options.should_panic,
        Some(ShouldPanic {
            expected: Some("boom")
        })
    );
    assert_eq!(options.isolation, Some(Isolation::None));
    assert_eq!(options.flavor, Flavor::MultiThread(None));
    assert!(!options.start_paused);
}

#[test]
fn kinds_that_cannot_be_mixed_are_told_before_anything_runs() {
    let expanded = Matrix::expand(
        scenario("mixes_what_cannot_be"),
        "expansion",
        &Environment::default(),
    );
    let text = expanded.err().expect("it is wrong").to_string();
    for part in [
        "scenario `mixes_what_cannot_be`: parameter `db`: `#[mixed]` names `server`, whose nodes form no clusters: \
         add `cluster` to its `#[robust_server(..)]`",
        "`#[mixed]` names `servre`, which is no kind of server of this service; did you mean `server`?",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("names `forms_clusters`"), "{text}");
    assert_eq!(scenario("mixes_what_cannot_be").sites[0].mixed.len(), 3);
}

#[test]
fn every_attribute_of_a_parameter_arrives() {
    let [broker, publisher, qos, on, all] = scenario("everything").sites else {
        panic!("five parameters");
    };
    let names = [broker, publisher, qos, on, all].map(|site: &Site| site.name);
    assert_eq!(names, ["broker", "publisher", "qos", "on", "all"]);
    assert_eq!(broker.only, ["a", "b"]);
    assert_eq!(broker.nodes, [3]);
    let settings = broker.settings.unwrap()(1);
    assert_eq!(settings.downcast_ref::<String>().unwrap(), "set!");
    assert_eq!(publisher.except, ["x", "1"]);
    assert_eq!(publisher.on, Some("broker"));
    assert_eq!(qos.values, ["-1", "0", "low"]);
    assert_eq!(on.values, ["true", "false"]);
    assert_eq!(on.except, ["false"]);
    assert_eq!(all.count, Some(4));
}

#[test]
fn the_body_gets_the_cells_values_and_its_error_is_told() {
    for (choices, message) in [
        ([0, 0, 0, 0, 0], "\"-1 of 4\""),
        ([0, 0, 2, 1, 0], "\"-128 of 4\""),
    ] {
        assert_eq!(
            now(run(scenario("everything"), &choices)),
            Err(BodyError::Failed(message.to_owned()))
        );
    }
    let Err(BodyError::Failed(message)) = now(run(scenario("plain_with_values"), &[1, 0])) else {
        panic!("it fails");
    };
    assert!(message.starts_with("bC\n"), "{message}");
    assert!(matches!(
        now(run(scenario("plain"), &[])),
        Err(BodyError::Failed(_))
    ));
    assert_eq!(now(run(scenario("deep"), &[])), Ok(()));
    assert_eq!(scenario("deep").full_name("expansion"), "nested::deep");
}

#[test]
fn kinds_are_registered_with_their_functions() {
    let server = robust_test_harness::inventory::iter::<&'static ServerKind>
        .into_iter()
        .find(|kind| kind.name == "server")
        .unwrap();
    assert_eq!((server.service)(), std::any::TypeId::of::<Echo>());
    assert_eq!(server.service_name, "Echo");
    assert_eq!(server.line, line_of("async fn server") - 1);
    assert_eq!((server.program, server.provides.len()), (None, 0));
    assert!(server.start.downcast_ref::<StartFn<Echo>>().is_some());

    let client = robust_test_harness::inventory::iter::<&'static ClientKind>
        .into_iter()
        .find(|kind| kind.name == "client-2")
        .unwrap();
    assert_eq!(client.program, Some("echo"));
    assert_eq!(client.provides, ["a", "b"]);
    assert!(client.connect.downcast_ref::<ConnectFn<Echo>>().is_some());
}

#[test]
fn a_crate_that_renamed_the_dependency_registers_its_own() {
    use robust_test_tests_renamed as _;
    let scenario = scenario("of_a_renamed_dependency");
    assert_eq!(scenario.module, "robust_test_tests_renamed");
    assert_eq!(scenario.options.timeout, Some(Duration::from_secs(1)));
    assert_eq!(now(run(scenario, &[0, 0])), Ok(()));
}
