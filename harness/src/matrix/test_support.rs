//! Hand-made scenarios for the tests of matrix and plan.

use std::any::TypeId;

use super::Matrix;
use crate::param::{Axis, AxisValue, Begin, Body, Environment, Param, Shape, Token, ValueIndex};
use crate::registry::{KnownFailure, Options, Requirement, Rule, Scenario, Site};
use crate::variant::{Choice, Mode, VariantAxis};

struct Mqtt;
struct Kafka;

const MQTT: fn() -> Token = || Token {
    id: TypeId::of::<Mqtt>(),
    what: "a server of Mqtt",
};

fn kind(label: &'static str, provides: &'static [&'static str], unavailable: Option<&str>) -> AxisValue {
    AxisValue {
        label: label.into(),
        provides,
        unavailable: unavailable.map(str::to_owned),
        ..AxisValue::default()
    }
}

fn kinds(values: Vec<AxisValue>, gives: Option<Token>, needs: Option<Token>) -> Shape {
    Shape {
        axis: Some(Axis {
            values,
            empty_because: None,
        }),
        gives,
        needs,
        ..Shape::default()
    }
}

/// `mosquitto` (provides qos2 and retain), `nanomq` (retain), `hivemq` (not installed).
pub(crate) fn server(_: &Site, _: &Environment) -> Shape {
    let values = vec![
        kind("mosquitto", &["qos2", "retain"], None),
        kind("nanomq", &["retain"], None),
        kind("hivemq", &["qos2", "retain"], Some("`hivemq` is not installed")),
    ];
    kinds(values, Some(MQTT()), None)
}

/// `redis`: persistence none, rdb or aof, tls off or on; `mini`: persistence none; `bare`: no variants.
pub(crate) fn kv(_: &Site, _: &Environment) -> Shape {
    let mut redis = kind("redis", &[], None);
    redis.variants = vec![
        VariantAxis::new("persistence", ["none", "rdb", "aof"]),
        VariantAxis::new("tls", ["off", "on"]),
    ];
    let mut mini = kind("mini", &[], None);
    mini.variants = vec![VariantAxis::new("persistence", ["none"])];
    kinds(vec![redis, mini, kind("bare", &[], None)], Some(MQTT()), None)
}

/// `quorum`: three nodes, its version one for each, its engine one for all and fixed.
pub(crate) fn cluster(_: &Site, _: &Environment) -> Shape {
    let mut quorum = kind("quorum", &[], None);
    quorum.variants = vec![
        VariantAxis {
            per_node: true,
            ..VariantAxis::new("version", ["installed", "1", "2"])
        },
        VariantAxis {
            fixed: true,
            ..VariantAxis::new("engine", ["lsm", "btree"])
        },
    ];
    quorum.nodes = Some(3);
    kinds(vec![quorum], Some(MQTT()), None)
}

/// A run with `--variants` and each `--variant`.
pub(crate) fn chosen(mode: Mode, given: &[&str]) -> Environment {
    Environment {
        variants: Choice {
            mode,
            given: given.iter().map(|given| given.parse().unwrap()).collect(),
        },
        ..Environment::default()
    }
}

/// `rumqttc` and `paho`, which need a server.
pub(crate) fn client(_: &Site, _: &Environment) -> Shape {
    let values = vec![kind("rumqttc", &[], None), kind("paho", &[], None)];
    kinds(values, None, Some(MQTT()))
}

/// `plain`, and `exact`, which requires qos2 of its server.
pub(crate) fn demanding(_: &Site, _: &Environment) -> Shape {
    let mut exact = kind("exact", &[], None);
    exact.requires = &["qos2"];
    kinds(vec![kind("plain", &[], None), exact], None, Some(MQTT()))
}

/// A kind that requires what no server provides.
pub(crate) fn presumptuous(_: &Site, _: &Environment) -> Shape {
    let mut first = kind("first", &[], None);
    first.requires = &["qos3"];
    kinds(vec![first], None, Some(MQTT()))
}

/// A server of another service.
pub(crate) fn kafka(_: &Site, _: &Environment) -> Shape {
    let token = Token {
        id: TypeId::of::<Kafka>(),
        what: "a server of Kafka",
    };
    kinds(vec![kind("redpanda", &[], None)], Some(token), None)
}

/// A service without kinds.
pub(crate) fn no_kinds(_: &Site, _: &Environment) -> Shape {
    Shape {
        axis: Some(Axis {
            values: Vec::new(),
            empty_because: Some("no kind of `Amqp` is registered".to_owned()),
        }),
        ..Shape::default()
    }
}

/// Two kinds of one name.
pub(crate) fn twins(_: &Site, _: &Environment) -> Shape {
    kinds(vec![kind("a", &[], None), kind("a", &[], None)], None, None)
}

/// No axis.
pub(crate) fn plain(_: &Site, _: &Environment) -> Shape {
    Shape::default()
}

pub(crate) fn values(name: &'static str, labels: &'static [&'static str]) -> Site {
    Site::new(name, ValueIndex::shape).values(labels)
}

/// Labels `0`, `1`, .. as `#[values]`.
pub(crate) fn numbers(name: &'static str, count: usize) -> Site {
    let labels: Vec<&'static str> = (0..count).map(|number| &*number.to_string().leak()).collect();
    values(name, labels.leak())
}

pub(crate) fn options() -> Options {
    Options { ..Options::DEFAULT }
}

pub(crate) fn requires(param: &'static str, capability: &'static str) -> Options {
    Options {
        requires: vec![Requirement { param, capability }].leak(),
        ..options()
    }
}

pub(crate) const fn rule(when: &'static [(&'static str, &'static str)], because: &'static str) -> Rule {
    Rule { when, because }
}

pub(crate) fn rules<const N: usize>(rules: [Rule; N]) -> &'static [Rule] {
    Box::leak(Box::new(rules))
}

pub(crate) fn known<const N: usize>(rules: [Rule; N]) -> &'static [KnownFailure] {
    Box::leak(Box::new(rules.map(KnownFailure::new)))
}

pub(crate) fn scenario(name: &'static str, sites: Vec<Site>, options: Options) -> &'static Scenario {
    Box::leak(Box::new(Scenario {
        name,
        module: "suite::m",
        file: "tests/suite.rs",
        line: 7,
        options,
        sites: sites.leak(),
        begin: Begin::Plain(|| Body::Sync(Box::new(|| Ok(())))),
    }))
}

/// The error as text.
pub(crate) fn try_expand_in(
    sites: Vec<Site>,
    options: Options,
    environment: &Environment,
) -> Result<Matrix, String> {
    let scenario = scenario("x", sites, options);
    Matrix::expand(scenario, "suite", environment).map_err(|error| error.to_string())
}

pub(crate) fn expand_in(sites: Vec<Site>, options: Options, environment: &Environment) -> Matrix {
    match try_expand_in(sites, options, environment) {
        Ok(matrix) => matrix,
        Err(text) => panic!("{text}"),
    }
}

pub(crate) fn expand(sites: Vec<Site>, options: Options) -> Matrix {
    match try_expand(sites, options) {
        Ok(matrix) => matrix,
        Err(text) => panic!("{text}"),
    }
}

/// The error as text.
pub(crate) fn try_expand(sites: Vec<Site>, options: Options) -> Result<Matrix, String> {
    try_expand_in(sites, options, &Environment::default())
}
