//! A server as a parameter: its axis of kinds, and how it comes to life in a case.

use std::any::TypeId;
use std::path::Path;
use std::sync::Arc;

use robust_test_harness::case::Case;
use robust_test_harness::error::{Error, error, skip};
use robust_test_harness::param::{
    Axis, AxisValue, Build, Environment, Param, Shape, TakesDisk, TakesKinds, TakesProxied, TakesSettings,
    Token,
};
use robust_test_harness::registry::Site;
use robust_test_harness::stash::Stash;
use robust_test_harness::variant::Variants;

use super::reach::reach;
use super::{Inner, Server};
use crate::disk::{Disk, FUSE};
use crate::front::Fronts;
use crate::hosts::Net;
use crate::instance::Instance;
use crate::launch::StartError;
use crate::member::Members;
use crate::node::Node;
use crate::origin;
use crate::place::Place;
use crate::seat::Seat;
use crate::service::{Reset, ServerKind, Service, StartFn, none_registered, server_kinds};
use crate::shared::{Shared, Sharing};
use crate::supervisor::Supervisor;
use crate::variant::axes;
use crate::view::Internals;

/// What clients of `S` connect to.
pub(crate) fn token<S: Service>() -> Token {
    Token {
        id: TypeId::of::<S>(),
        what: "a server",
    }
}

/// What a server or cluster gives to the parameters that connect to it.
pub(crate) struct Target(pub(crate) Members);

/// What `#[settings(..)]` says of the node with this number, else the default.
fn settings<S: Service>(site: &Site, number: usize) -> Result<S::Settings, Error> {
    match site.settings {
        None => Ok(S::Settings::default()),
        Some(make) => make(number)
            .downcast()
            .map(|settings| *settings)
            .map_err(|_| error(format!("#[settings] of `{}` are of another type", site.name))),
    }
}

/// An axis of server kinds, of a server on its own or of a cluster of so many `nodes`.
pub(crate) fn axis(
    kinds: Vec<&'static ServerKind>,
    nodes: Option<u32>,
    environment: &Environment,
    empty: impl FnOnce() -> String,
) -> Axis {
    let values = kinds.into_iter().map(|kind| {
        let (variants, unavailable) = axes(kind.name, kind.program, kind.variants, environment);
        AxisValue {
            label: kind.name.into(),
            provides: kind.provides,
            unavailable,
            variants,
            nodes,
            ..AxisValue::default()
        }
    });
    let values: Vec<_> = values.collect();
    Axis {
        empty_because: values.is_empty().then(empty),
        values,
    }
}

impl<S: Service> Server<S> {
    /// A node that is prepared and not started, as the parameter at `site` wants it; it ends with the case.
    pub(crate) fn prepare(
        case: &Case,
        kind: &'static ServerKind,
        site: &Site,
        (name, number): (String, usize),
        variants: Variants,
        members: &Members,
        net: Option<&Net>,
    ) -> Result<Self, Error> {
        let settings = settings::<S>(site, number)?;
        let mut place = place(case, kind, name, number, variants, case.folder()?);
        if site.proxied {
            let name = place.name().to_owned();
            place = place.behind(Fronts::new(case, name, Some(origin::among(members))));
        }
        if let Some(net) = net {
            let host = net.host(place.name())?;
            place = place.seated(Seat::new(case, host));
        }
        if site.disk {
            let disk = disk(case, &place)?;
            place = place.on(disk);
        }
        Self::at(case, kind, Arc::new(place), settings, members, None)
    }

    /// The node in this place; it ends with the case, unless it goes on to the next one.
    fn at(
        case: &Case,
        kind: &'static ServerKind,
        place: Arc<Place>,
        settings: S::Settings,
        members: &Members,
        sharing: Option<Sharing>,
    ) -> Result<Self, Error> {
        let start = kind.start.downcast_ref::<StartFn<S>>().ok_or_else(|| {
            error(format!(
                "server kind `{}` ({}:{}) holds no start function of its service",
                kind.name, kind.file, kind.line
            ))
        })?;
        members.add(Arc::clone(&place));
        let internals = Internals::default();
        let supervisor = Supervisor::new(place.clone(), case, internals.clone(), sharing);
        let supervisor = Arc::new(supervisor);
        case.defer(format!("server `{}`", place.name()), {
            let supervisor = supervisor.clone();
            move || async move { supervisor.tear_down().await }
        });
        case.reachable({
            let supervisor = Arc::downgrade(&supervisor);
            move || Some(reach(&*supervisor.upgrade()?))
        });
        let node = Node::new(place, Arc::new(settings), members.clone(), internals.clone());
        Ok(Self(Arc::new(Inner {
            kind,
            start,
            node: tokio::sync::Mutex::new(node),
            supervisor,
            internals,
            case: case.clone(),
        })))
    }

    /// A server that may go on to the next case, and may have come from the one before.
    async fn shared(
        case: &Case,
        kind: &'static ServerKind,
        (reset, stash): (Reset, &Arc<Stash>),
        name: String,
        variants: Variants,
        members: &Members,
    ) -> Result<Self, Error> {
        // Two that differ in what a start function sees cannot stand for one another.
        let key = format!("{}:{} {} {name} {variants:?}", kind.file, kind.line, kind.name);
        let make = |home: &Path| place(case, kind, name, 1, variants, home);
        let settings = S::Settings::default();
        match Sharing::obtain(case, stash, key, reset, make).await? {
            Shared::Running(place, instance, sharing) => {
                let server = Self::at(case, kind, place, settings, members, Some(sharing))?;
                server.adopt(instance).await?;
                Ok(server)
            }
            Shared::Fresh(place, sharing) => {
                let server = Self::at(case, kind, place, settings, members, Some(sharing))?;
                server.set_up().await?;
                match server.pid() {
                    Some(_) => Ok(server),
                    None => Err(error(format!(
                        "server kind `{}` runs inside the case's process, and only a program can be shared: remove \
                         `shared(..)` from its attribute",
                        kind.name
                    ))),
                }
            }
        }
    }

    async fn adopt(&self, instance: Instance) -> Result<(), Error> {
        let adopted = self.0.supervisor.adopt(instance).await;
        adopted.map_err(|_| error("the case ended while its server started"))
    }

    /// The first start of a node, as a part of the case's set-up.
    pub(crate) async fn set_up(&self) -> Result<(), Error> {
        if let Some(ports) = self.place().external() {
            let node = self.name();
            tracing::info!(
                node,
                ?ports,
                "runs somewhere else: it is not started, and does not end with the case"
            );
            return match self.ailment().await {
                None => Ok(()),
                Some(ailment) => Err(error(format!(
                    "server `{node}` ({kind}) runs somewhere else, as `[external.{kind}]` in robust.toml says: {ailment}",
                    kind = self.kind()
                ))),
            };
        }
        let _turn = self.0.supervisor.turn().await;
        let instance = self.run_start().await.map_err(|error| {
            // A skip is its reason, and the node's own errors name it.
            if error.skip_reason().is_some() || error.downcast_ref::<StartError>().is_some() {
                error
            } else {
                error.context(format!("cannot start server `{}` ({})", self.name(), self.kind()))
            }
        })?;
        self.adopt(instance).await
    }
}

/// A place for a node of this kind whose files are in `home`.
fn place(
    case: &Case,
    kind: &'static ServerKind,
    name: String,
    number: usize,
    variants: Variants,
    home: &Path,
) -> Place {
    let environment = case.environment().clone();
    let place = Place::new(name, number, kind.name, kind.program, environment, home);
    place.with_variants(variants)
}

/// The disk that the data of a node is to be on. It is unmounted after the end of the node, which is deferred later.
fn disk(case: &Case, place: &Place) -> Result<Disk, Error> {
    if place.external().is_some() {
        let (node, kind) = (place.name(), place.kind());
        return Err(skip(format!(
            "server `{node}` ({kind}) runs somewhere else, so its data cannot be kept on a disk that can fail (`#[disk]`)"
        )));
    }
    FUSE.require(case.environment())?;
    let (backing, at) = place.disk_folders();
    Ok(Disk::mount_in(case, place.name().to_owned(), backing, at)?)
}

/// What resets the servers of the kind and keeps them, where one of them may serve several cases: not where something is asked of it
/// that is this case's alone, and not for another attempt, which is to tell whether the server before it was the reason.
fn sharing<'a>(kind: &ServerKind, site: &Site, case: &'a Case) -> Option<(Reset, &'a Arc<Stash>)> {
    let is_external = case.environment().external.contains_key(kind.name);
    let is_own = site.settings.is_some() || site.proxied || site.disk || case.attempt() > 0 || is_external;
    kind.shared.filter(|_| !is_own).zip(case.stash())
}

impl<S: Service> Param for Server<S> {
    fn shape(_: &Site, environment: &Environment) -> Shape {
        let empty = || none_registered::<S>("robust_server");
        Shape {
            axis: Some(axis(server_kinds::<S>(), None, environment, empty)),
            gives: Some(token::<S>()),
            needs: None,
            ..Shape::default()
        }
    }

    async fn build(build: &mut Build) -> Result<Self, Error> {
        let (case, site) = (build.case().clone(), build.site());
        let kind = *server_kinds::<S>()
            .get(build.choice())
            .ok_or_else(|| error(none_registered::<S>("robust_server")))?;
        let members = Members::default();
        let name = case.unique_name(site.name);
        let variants = build.variants(None);
        let server = match sharing(kind, site, &case) {
            Some(sharing) => Self::shared(&case, kind, sharing, name, variants, &members).await?,
            None => {
                let server = Self::prepare(&case, kind, site, (name, 1), variants, &members, None)?;
                server.set_up().await?;
                server
            }
        };
        build.give(Target(members));
        Ok(server)
    }
}

impl<S: Service> TakesKinds for Server<S> {}
impl<S: Service> TakesProxied for Server<S> {}
impl<S: Service> TakesDisk for Server<S> {}

impl<S: Service> TakesSettings for Server<S> {
    type Settings = S::Settings;
}
