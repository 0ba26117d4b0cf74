//! Parameters: what a scenario's argument types say about themselves.
//!
//! A type that implements [`Param`] tells, before anything starts, the axis it adds to the matrix and what
//! it gives to or needs from other parameters ([`Param::shape`], pure), and how it comes to life in a case
//! ([`Param::build`]). Nothing here knows a server or a client: those are parameters like any other.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;

use crate::case::Case;
use crate::error::{Error, error};
use crate::registry::Site;
use crate::require::Require;
use crate::variant::{Choice, NODES, VariantAxis, Variants};

/// A type that scenarios may take as a parameter.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a parameter of a scenario",
    label = "does not implement `Param`",
    note = "parameters are `Case`, `Scope`, `Server<S>`, `Client<S>`, `Vec<P>` and `[P; N]` of those, any type of your own that implements `Param`, and with `#[values(..)]` any value"
)]
pub trait Param: Sized + 'static {
    /// What the parameter adds to the matrix, gives and needs. Pure: called in the runner and again in
    /// every worker, and must say the same in both.
    fn shape(site: &Site, environment: &Environment) -> Shape;

    /// Makes the parameter for one case. Whatever must be undone goes to [`Case::defer`] the moment it
    /// exists, not when the function returns.
    ///
    /// # Errors
    /// The case ends as errored (`setup`), or as skipped for an error made by [`crate::error::skip`].
    fn build(build: &mut Build) -> impl Future<Output = Result<Self, Error>>;
}

/// Whether a type may carry `#[only(..)]` and `#[except(..)]`: it has an axis of kinds.
#[diagnostic::on_unimplemented(
    message = "`#[only]` and `#[except]` choose among the kinds of a parameter, and `{Self}` has none"
)]
pub trait TakesKinds: Param {}

/// Whether a type may carry `#[on(..)]`: it connects to another parameter.
#[diagnostic::on_unimplemented(
    message = "`#[on]` names what a client connects to, and `{Self}` connects to nothing"
)]
pub trait TakesOn: Param {}

/// Whether a type may carry `#[count(..)]`.
#[diagnostic::on_unimplemented(
    message = "`#[count]` says how many a `Vec` holds, and `{Self}` is not a `Vec` of parameters"
)]
pub trait TakesCount: Param {}

/// Whether a type may carry `#[nodes(..)]`.
#[diagnostic::on_unimplemented(
    message = "`#[nodes]` says how many nodes a cluster has, and `{Self}` is not a cluster"
)]
pub trait TakesNodes: Param {}

/// Whether a type may carry `#[mixed(..)]`.
#[diagnostic::on_unimplemented(
    message = "`#[mixed]` says of which kinds the nodes of a cluster are, and `{Self}` is not a cluster"
)]
pub trait TakesMixed: Param {}

/// Whether a type may carry `#[proxied]`: it is reached over a network, or reaches something over it.
#[diagnostic::on_unimplemented(
    message = "`#[proxied]` puts proxies between clients and servers, and `{Self}` is neither"
)]
pub trait TakesProxied: Param {}

/// Whether a type may carry `#[disk]`: it keeps data.
#[diagnostic::on_unimplemented(
    message = "`#[disk]` keeps the data of a server or cluster on a disk that can fail, and `{Self}` is neither"
)]
pub trait TakesDisk: Param {}

/// Whether a type may carry `#[hosts]`: it has nodes that talk to one another.
#[diagnostic::on_unimplemented(
    message = "`#[hosts]` gives each node of a cluster a host of its own, and `{Self}` is not a cluster"
)]
pub trait TakesHosts: Param {}

/// Whether a type may carry `#[settings(..)]`, and of which type those are.
#[diagnostic::on_unimplemented(message = "`#[settings]` configures a server, and `{Self}` takes no settings")]
pub trait TakesSettings: Param {
    /// The settings' type.
    type Settings: Any + Send + Sync;
}

/// What is known about the machine and the command line when shapes are asked for.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Environment {
    /// `--bin KIND[@VERSION]=PATH`: what replaces a kind's program, by the text before `=`.
    pub bins: BTreeMap<String, PathBuf>,
    /// The folders searched for programs, in order.
    pub path: Vec<PathBuf>,
    /// `[external.KIND]` of `robust.toml`: server kinds that already run somewhere, by their names, with the
    /// address of each of their ports, by its name. None has no port.
    pub external: BTreeMap<String, BTreeMap<String, SocketAddr>>,
    /// `--variants` and `--variant`.
    pub variants: Choice,
    /// `ROBUST_REQUIRE`: kinds and mechanisms that must be available.
    pub require: Require,
}

/// The version of a kind's program that is found where no version is asked for.
pub const INSTALLED: &str = "installed";

impl Environment {
    /// The path of a kind's program: its `--bin`, else the first executable called `program` on the path.
    pub fn program(&self, kind: &str, program: &str) -> Option<PathBuf> {
        if let Some(replaced) = self.bins.get(kind) {
            return Some(replaced.clone());
        }
        self.path
            .iter()
            .map(|folder| folder.join(program))
            .find(|path| is_executable(path))
    }

    /// The path of a version of a kind's program: its `--bin KIND@VERSION`, else that of the kind.
    pub fn program_version(&self, kind: &str, version: &str, program: &str) -> Option<PathBuf> {
        match self.bins.get(&format!("{kind}@{version}")) {
            Some(replaced) => Some(replaced.clone()),
            None => self.program(kind, program),
        }
    }

    /// The versions that `--bin KIND@VERSION` gives of a kind, sorted.
    pub fn versions<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        self.bins
            .keys()
            .filter_map(move |name| name.strip_prefix(kind)?.strip_prefix('@'))
    }
}

/// Whether `path` is a file that this process may execute.
pub(crate) fn is_executable(path: &std::path::Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// What a parameter is, as far as the matrix is concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// The axis it adds, if any.
    pub axis: Option<Axis>,
    /// What later parameters may connect to.
    pub gives: Option<Token>,
    /// What it connects to.
    pub needs: Option<Token>,
    /// What is wrong with the attributes on it, one line each: the scenario does not run.
    pub wrong: Vec<String>,
}

/// The values of one axis, in a stable order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Axis {
    /// The values.
    pub values: Vec<AxisValue>,
    /// What to say when there are none.
    pub empty_because: Option<String>,
}

/// One value of an axis.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AxisValue {
    /// As in the case's name.
    pub label: Cow<'static, str>,
    /// Capabilities, for `requires`.
    pub provides: &'static [&'static str],
    /// What the parameter that this one connects to must provide; cells where it does not are skipped.
    pub requires: &'static [&'static str],
    /// Why cases with this value cannot run here; they are skipped with it.
    pub unavailable: Option<String>,
    /// What it can be varied in.
    pub variants: Vec<VariantAxis>,
    /// How many nodes, called `param-1`, `param-2`, .., the parameter has that can differ in variants; `None`: one,
    /// called as the parameter. Where an axis of [`VariantAxis::of_nodes`] says how many, that counts.
    pub nodes: Option<u32>,
}

/// Something a parameter gives and another needs: a type, and the words for it.
#[derive(Debug, Clone, Copy)]
pub struct Token {
    /// The type both agree on.
    pub id: TypeId,
    /// For messages: `a server of Mqtt`.
    pub what: &'static str,
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Token {}

/// The building of a case's parameters, one after another in order.
pub struct Build {
    case: Case,
    sites: &'static [Site],
    /// The index into each parameter's axis (before `only` and `except` narrowed it); 0 without an axis.
    choices: Vec<usize>,
    /// The parameter each one connects to.
    links: Vec<Option<usize>>,
    given: Vec<Option<Box<dyn Any>>>,
    position: usize,
}

impl Build {
    /// For the executor: `choices` and `links` have one entry a site.
    pub fn new(case: Case, sites: &'static [Site], choices: Vec<usize>, links: Vec<Option<usize>>) -> Self {
        let given = sites.iter().map(|_| None).collect();
        Self {
            case,
            sites,
            choices,
            links,
            given,
            position: 0,
        }
    }

    /// The case.
    pub fn case(&self) -> &Case {
        &self.case
    }

    /// The parameter that is being built.
    pub fn site(&self) -> &'static Site {
        &self.sites[self.position]
    }

    /// Which value of this parameter's axis the cell has: an index into [`Axis::values`].
    pub fn choice(&self) -> usize {
        self.choices[self.position]
    }

    /// How many nodes `#[nodes(..)]` gives the parameter in this cell; `None` where it says nothing.
    pub fn nodes(&self) -> Option<usize> {
        match self.site().nodes {
            [] => None,
            [one] => Some(*one),
            _ => self.variants(None).get(NODES)?.parse().ok(),
        }
    }

    /// The variants of the parameter that is being built, of its node `node` (from 1 on) or of all of it.
    pub fn variants(&self, node: Option<u32>) -> Variants {
        self.case.variants(self.site().name, node)
    }

    /// Hands `value` to the parameters that connect to this one.
    pub fn give<T: 'static>(&mut self, value: T) {
        self.given[self.position] = Some(Box::new(value));
    }

    /// What the parameter gave that this one connects to.
    ///
    /// # Errors
    /// When there is none, or it gave something else.
    pub fn linked<T: 'static>(&self) -> Result<&T, Error> {
        let here = self.site().name;
        let from = self.links[self.position]
            .ok_or_else(|| error(format!("parameter `{here}` connects to no other parameter")))?;
        self.given[from]
            .as_ref()
            .and_then(|given| given.downcast_ref())
            .ok_or_else(|| {
                error(format!(
                    "parameter `{}` gave nothing that `{here}` can connect to",
                    self.sites[from].name
                ))
            })
    }

    /// Builds the parameter at `position`.
    pub(crate) async fn at<P: Param>(&mut self, position: usize) -> Result<P, Error> {
        self.position = position;
        P::build(self).await
    }
}

/// The body of a scenario, its parameters inside.
pub enum Body {
    /// Of an `async fn`.
    Async(Pin<Box<dyn Future<Output = BodyResult>>>),
    /// Of a plain `fn`.
    Sync(Box<dyn FnOnce() -> BodyResult>),
}

/// What a body returned, whatever its type was.
pub type BodyResult = Result<(), BodyError>;

/// What a body returned instead of `Ok`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyError {
    /// The error, as text: first line the message.
    Failed(String),
    /// It skipped itself.
    Skipped(String),
    /// Something is not available that must be.
    Required(String),
}

/// A scenario's function, from parameters to body.
pub enum Begin {
    /// Without parameters.
    Plain(fn() -> Body),
    /// With parameters.
    Params(for<'a> fn(&'a mut Build) -> BeginFuture<'a>),
}

/// See [`Begin::Params`].
pub type BeginFuture<'a> = Pin<Box<dyn Future<Output = Result<Body, Error>> + 'a>>;

/// What a scenario may return: `()`, or a `Result` of it with any error that has `Debug`.
#[diagnostic::on_unimplemented(
    message = "a scenario returns `()` or a `Result` of it, not `{Self}`",
    note = "the error of a `Result` needs `Debug` and `'static`"
)]
pub trait Report: 'static {
    /// As the executor sees it.
    fn report(self) -> BodyResult;
}

impl Report for () {
    fn report(self) -> BodyResult {
        Ok(())
    }
}

impl<T: Report, E: std::fmt::Debug + 'static> Report for Result<T, E> {
    fn report(self) -> BodyResult {
        match self {
            Ok(value) => value.report(),
            Err(error) => Err(describe(&error)),
        }
    }
}

fn describe<E: std::fmt::Debug + 'static>(error: &E) -> BodyError {
    let any = error as &dyn Any;
    if let Some(error) = any.downcast_ref::<Error>() {
        return match error.skip_reason() {
            Some(reason) => BodyError::Skipped(reason),
            None if error.is_required() => BodyError::Required(error.to_string()),
            None => BodyError::Failed(format!("{error:?}")),
        };
    }
    let boxed = any
        .downcast_ref::<Box<dyn std::error::Error + Send + Sync>>()
        .map(|error| &**error as &dyn std::error::Error)
        .or_else(|| {
            any.downcast_ref::<Box<dyn std::error::Error>>()
                .map(|error| &**error)
        });
    let Some(boxed) = boxed else {
        return BodyError::Failed(format!("{error:?}"));
    };
    let mut text = boxed.to_string();
    let mut next = boxed.source();
    while let Some(cause) = next {
        text.push_str(&format!("\n  caused by: {cause}"));
        next = cause.source();
    }
    BodyError::Failed(text)
}

/// The parameters of a scenario as a tuple, for the attribute's expansion.
pub trait Params: Sized {
    /// Builds them in order.
    fn build_all(build: &mut Build) -> impl Future<Output = Result<Self, Error>>;
}

macro_rules! tuples {
    ($($name:ident $index:tt),+) => {
        impl<$($name: Param),+> Params for ($($name,)+) {
            async fn build_all(build: &mut Build) -> Result<Self, Error> {
                Ok(($(build.at::<$name>($index).await?,)+))
            }
        }
    };
}

tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);

/// The parameter behind `#[values(..)]`: only the index travels.
pub struct ValueIndex(pub usize);

impl Param for ValueIndex {
    fn shape(site: &Site, _: &Environment) -> Shape {
        let values = site.values.iter().map(|label| AxisValue {
            label: (*label).into(),
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

    async fn build(build: &mut Build) -> Result<Self, Error> {
        Ok(Self(build.choice()))
    }
}

impl TakesKinds for ValueIndex {}

impl Param for Case {
    fn shape(_: &Site, _: &Environment) -> Shape {
        Shape::default()
    }

    async fn build(build: &mut Build) -> Result<Self, Error> {
        Ok(build.case().clone())
    }
}

impl<P: Param> Param for Vec<P> {
    fn shape(site: &Site, environment: &Environment) -> Shape {
        P::shape(site, environment)
    }

    async fn build(build: &mut Build) -> Result<Self, Error> {
        let count = build.site().count.unwrap_or(1);
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(P::build(build).await?);
        }
        Ok(all)
    }
}

impl<P: Param> TakesCount for Vec<P> {}
impl<P: TakesKinds> TakesKinds for Vec<P> {}
impl<P: TakesOn> TakesOn for Vec<P> {}
impl<P: TakesProxied> TakesProxied for Vec<P> {}
impl<P: TakesDisk> TakesDisk for Vec<P> {}

impl<P: Param, const N: usize> Param for [P; N] {
    fn shape(site: &Site, environment: &Environment) -> Shape {
        P::shape(site, environment)
    }

    async fn build(build: &mut Build) -> Result<Self, Error> {
        let mut all = Vec::with_capacity(N);
        for _ in 0..N {
            all.push(P::build(build).await?);
        }
        all.try_into()
            .map_err(|_| error("an array parameter was built with another length"))
    }
}

impl<P: TakesKinds, const N: usize> TakesKinds for [P; N] {}
impl<P: TakesOn, const N: usize> TakesOn for [P; N] {}
impl<P: TakesProxied, const N: usize> TakesProxied for [P; N] {}
impl<P: TakesDisk, const N: usize> TakesDisk for [P; N] {}
