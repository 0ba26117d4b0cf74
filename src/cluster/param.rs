//! A cluster as a parameter.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use robust_test_harness::case::Case;
use robust_test_harness::error::{Error, error, skip};
use robust_test_harness::param::{
    Build, Environment, Param, Shape, TakesDisk, TakesHosts, TakesKinds, TakesMixed, TakesNodes,
    TakesProxied, TakesSettings,
};
use robust_test_harness::registry::Site;
use robust_test_harness::variant::VariantAxis;

use super::{Cluster, Inner, Nodes, mixed};
use crate::hosts::{NAMESPACES, Net};
use crate::member::Members;
use crate::server::{Server, Target, axis, token};
use crate::service::{ServerKind, Service, StartOrder, none_registered, server_kinds};

const NODES: usize = 3;

/// The kinds whose nodes can form a cluster, in the order of the axis.
fn cluster_kinds<S: Service>() -> Vec<&'static ServerKind> {
    let mut kinds = server_kinds::<S>();
    kinds.retain(|kind| kind.cluster.is_some());
    kinds
}

fn none<S: Service>() -> String {
    if server_kinds::<S>().is_empty() {
        return none_registered::<S>("robust_server");
    }
    "no kind of server of this service forms clusters: add `cluster` to its `#[robust_server(..)]`".to_owned()
}

/// The kinds of which a cluster's nodes are, where `choice` is its place on the axis.
fn kinds_of_cell<S: Service>(site: &Site, choice: usize) -> Result<Vec<&'static ServerKind>, Error> {
    if !site.mixed.is_empty() {
        return mixed::named(site.mixed, &server_kinds::<S>()).map_err(|wrong| error(wrong.join("\n")));
    }
    let kind = cluster_kinds::<S>().get(choice).copied();
    Ok(vec![kind.ok_or_else(|| error(none::<S>()))?])
}

/// The net that the nodes of a cluster are to be in.
fn net(case: &Case, name: &str, kinds: &[&'static ServerKind]) -> Result<Net, Error> {
    let external = &case.environment().external;
    if let Some(kind) = kinds.iter().find(|kind| external.contains_key(kind.name)) {
        let kind = kind.name;
        return Err(skip(format!(
            "cluster `{name}` ({kind}) runs somewhere else, so its nodes cannot be put on hosts of their own (`#[hosts]`)"
        )));
    }
    NAMESPACES.require(case.environment())?;
    Ok(Net::new(case, name)?)
}

impl<S: Service> Param for Cluster<S> {
    fn shape(site: &Site, environment: &Environment) -> Shape {
        let nodes = site.nodes.iter().max().unwrap_or(&NODES);
        let (kinds, wrong) = match mixed::named(site.mixed, &server_kinds::<S>()) {
            _ if site.mixed.is_empty() => (cluster_kinds::<S>(), Vec::new()),
            Ok(kinds) => (kinds, Vec::new()),
            Err(wrong) => (Vec::new(), wrong),
        };
        let mut axis = axis(kinds, u32::try_from(*nodes).ok(), environment, none::<S>);
        if !site.mixed.is_empty() {
            axis.values = mixed::mix(axis.values);
        }
        for value in &mut axis.values {
            value.variants.splice(0..0, VariantAxis::of_nodes(site.nodes));
        }
        Shape {
            axis: Some(axis),
            gives: Some(token::<S>()),
            needs: None,
            wrong,
        }
    }

    async fn build(build: &mut Build) -> Result<Self, Error> {
        let (case, site) = (build.case().clone(), build.site());
        let kinds = kinds_of_cell::<S>(site, build.choice())?;
        let is_serial = kinds.iter().any(|kind| kind.cluster == Some(StartOrder::Serial));
        let members = Members::default();
        let name = case.unique_name(site.name);
        let net = site.hosts.then(|| net(&case, &name, &kinds)).transpose()?;
        let cluster = Self(Arc::new(Inner {
            name,
            net,
            case,
            label: mixed::label(&kinds),
            kinds,
            order: if is_serial {
                StartOrder::Serial
            } else {
                StartOrder::Parallel
            },
            site,
            members: members.clone(),
            nodes: Mutex::new(Nodes {
                all: BTreeMap::new(),
                next: 1,
            }),
        }));
        for _ in 0..build.nodes().unwrap_or(NODES) {
            cluster.prepare_next()?;
        }
        let nodes = cluster.nodes();
        // The first error is the one to tell.
        let started = cluster.start_each(&nodes, Server::set_up).await;
        started.into_iter().collect::<Result<(), Error>>()?;
        members.are_formed();
        build.give(Target(members));
        Ok(cluster)
    }
}

impl<S: Service> TakesKinds for Cluster<S> {}
impl<S: Service> TakesNodes for Cluster<S> {}
impl<S: Service> TakesMixed for Cluster<S> {}
impl<S: Service> TakesProxied for Cluster<S> {}
impl<S: Service> TakesDisk for Cluster<S> {}
impl<S: Service> TakesHosts for Cluster<S> {}

impl<S: Service> TakesSettings for Cluster<S> {
    type Settings = S::Settings;
}
