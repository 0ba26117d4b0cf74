//! Clients: the parameter that adds an axis of client kinds, and what their connect functions are given.
//!
//! A [`Client`] derefs to the service's own client type, usually a `dyn Trait`; its own functions are
//! associated ones (`Client::kind(&publisher)`), so that they never shadow the author's methods. When it is
//! dropped, wherever that is (a panic, a deadline, a task it was moved into), the box goes back to the case,
//! which drops it at its end, on its runtime. [`Client::close`] drops it at once.

use std::fmt;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use robust_test_harness::case::Case;
use robust_test_harness::error::{Error, error};
use robust_test_harness::param::{
    Axis, AxisValue, Build, Environment, Param, Shape, TakesKinds, TakesOn, TakesProxied,
};
use robust_test_harness::registry::Site;
use robust_test_harness::variant::Variants;

use crate::clock::{human, within};
use crate::front::Fronts;
use crate::member::Members;
use crate::network::Proxy;
use crate::place::{Place, ProgramError, View, program};
use crate::server::{Server, Target, token};
use crate::service::{Cause, ClientKind, ConnectFn, Service, client_kinds, none_registered};
use crate::tls::{self, Subject, TlsError, TlsFiles};
use crate::variant::{self, axes};

const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// What a connect function is given: where the server is, and who the client is. Clones are the same client.
#[derive(Clone)]
pub struct ClientLink {
    case: Case,
    kind: &'static ClientKind,
    id: String,
    /// The node it connects to.
    server: Arc<Place>,
    /// That node's cluster.
    members: Members,
    variants: Arc<Variants>,
    /// What it reaches servers through, where it is `#[proxied]`.
    fronts: Option<Arc<Fronts>>,
}

impl ClientLink {
    /// Where the server listens: the port that its start function asked for by this name. Of a cluster, the node
    /// that the client connects to: the first one, or the one that [`Client::connect_to`] names.
    ///
    /// # Panics
    /// When its start function asked for no port of that name, or for one that is not for clients.
    #[track_caller]
    pub fn endpoint(&self, name: &str) -> SocketAddr {
        self.reach(&self.server, name)
    }

    /// The same of every node of the cluster, by number, for clients that know several; one of a server on its
    /// own.
    ///
    /// # Panics
    /// As [`ClientLink::endpoint`].
    #[track_caller]
    pub fn endpoints(&self, name: &str) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        for place in self.members.places() {
            addresses.push(self.reach(&place, name));
        }
        addresses
    }

    #[track_caller]
    fn reach(&self, server: &Place, name: &str) -> SocketAddr {
        let address = server.expect_endpoint(name, View::Client);
        match &self.fronts {
            Some(fronts) => fronts.expect(&target(server, name), address).address(),
            None => address,
        }
    }

    /// The name of the server's kind.
    pub fn server_kind(&self) -> &'static str {
        self.server.kind()
    }

    /// The server's name: its parameter's.
    pub fn server_name(&self) -> &str {
        self.server.name()
    }

    /// The name of the client's kind.
    pub fn kind(&self) -> &'static str {
        self.kind.name
    }

    /// The value of one of the client's kind's `variants(..)` that it has.
    ///
    /// # Panics
    /// When the kind declares no such axis; the message tells those that it does.
    #[track_caller]
    pub fn variant(&self, axis: &str) -> &str {
        let of = || format!("kind `{}` of client `{}`", self.kind(), self.id);
        variant::value(&self.variants, axis, of)
    }

    /// The value of one of the server's kind's `variants(..)` that the server has: whether it speaks TLS, for
    /// example.
    ///
    /// # Panics
    /// As [`ClientLink::variant`].
    #[track_caller]
    pub fn server_variant(&self, axis: &str) -> &str {
        self.server.variant(axis)
    }

    /// A name that no other client of the case has: the parameter's, `publisher`, then `publisher-2`, ..
    pub fn client_id(&self) -> &str {
        &self.id
    }

    /// The proxies that it connects through, where it is `#[proxied]`.
    pub(crate) fn proxies(&self) -> Option<Vec<Proxy>> {
        self.fronts.as_ref().map(|fronts| fronts.all())
    }

    /// The case.
    pub fn case(&self) -> &Case {
        &self.case
    }

    /// A client certificate whose common name is the client's id, with its key and the authority that every node and
    /// client of the run trusts: made when they are first asked for. See [`tls`].
    ///
    /// # Errors
    /// When they cannot be made, or the id is longer than 64 characters.
    pub fn tls(&self) -> Result<TlsFiles, TlsError> {
        self.tls_in("tls".to_owned(), &self.id)
    }

    /// As [`ClientLink::tls`], with another common name, for servers that take it for a user's.
    ///
    /// # Errors
    /// As [`ClientLink::tls`], and for a name that is empty or has control characters.
    pub fn tls_as(&self, user: &str) -> Result<TlsFiles, TlsError> {
        self.tls_in(tls::folder_of_user(user), user)
    }

    fn tls_in(&self, folder: String, name: &str) -> Result<TlsFiles, TlsError> {
        let run_folder = self.case.run_folder();
        let case_folder = self.case.folder().map_err(|source| TlsError::Write {
            path: run_folder.to_owned(),
            source,
        })?;
        let folder = case_folder.join(&self.id).join(folder);
        TlsFiles::obtain(folder, run_folder, Subject::client(name))
    }

    /// The path of the kind's program (`program = ".."`): what `--bin` says, else as found on the path.
    ///
    /// # Errors
    /// When the attribute names no program, or it is not installed.
    pub fn program(&self) -> Result<PathBuf, ProgramError> {
        let version = variant::version(&self.variants);
        program(
            self.kind.name,
            self.kind.program,
            version,
            self.case.environment(),
        )
    }

    fn another(&self) -> Self {
        self.called(self.case.unique_name(self.base()))
    }

    /// Another one whose id says what it is for: `publisher-client-3`.
    pub(crate) fn another_for(&self, purpose: &str) -> Self {
        self.called(self.case.unique_name(&format!("{}-{purpose}", self.base())))
    }

    fn called(&self, id: String) -> Self {
        Self {
            fronts: self
                .fronts
                .as_ref()
                .map(|_| Arc::new(Fronts::new(&self.case, id.clone(), None))),
            id,
            ..self.clone()
        }
    }

    /// `publisher-2` is asked for as another `publisher`.
    fn base(&self) -> &str {
        self.id.split('-').next().unwrap_or(&self.id)
    }
}

/// What the proxy of a client is called that is in front of this port.
fn target(server: &Place, port: &str) -> String {
    format!("to {} {port}", server.name())
}

impl fmt::Debug for ClientLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientLink")
            .field("id", &self.id)
            .field("kind", &self.kind.name)
            .field("server", &self.server.name())
            .finish_non_exhaustive()
    }
}

/// A client of service `S`, connected, as a parameter: `publisher: Client<Mqtt>` runs the scenario with every
/// kind of client that is registered for `Mqtt`. It connects to the server of its service, or to the one that
/// `#[on(..)]` names.
pub struct Client<S: Service> {
    /// There until dropped.
    held: Option<Box<S::Client>>,
    home: Arc<Home<S::Client>>,
    link: ClientLink,
}

/// Where a client's box goes when the scenario is done with it.
struct Home<C: ?Sized>(Mutex<Slot<C>>);

enum Slot<C: ?Sized> {
    /// The scenario has it.
    Out,
    Returned(Box<C>),
    /// The case is over.
    Closed,
}

impl<C: ?Sized> Home<C> {
    fn replace(&self, slot: Slot<C>) -> Slot<C> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut place, slot)
    }

    fn give_back(&self, client: Box<C>) {
        if let Slot::Closed = self.replace(Slot::Returned(client)) {
            drop(self.replace(Slot::Closed));
        }
    }
}

/// A client could not connect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Its connect function has not returned.
    #[error(
        "client `{client}` ({kind}) has not connected to server `{server}` ({server_kind}) within {}",
        human(CONNECT_WITHIN)
    )]
    TimedOut {
        /// The client's id.
        client: String,
        /// The client's kind.
        kind: &'static str,
        /// The server's name.
        server: String,
        /// The server's kind.
        server_kind: &'static str,
    },
    /// Its connect function failed.
    #[error("client `{client}` ({kind}) cannot connect to server `{server}` ({server_kind})")]
    Failed {
        /// The client's id.
        client: String,
        /// The client's kind.
        kind: &'static str,
        /// The server's name.
        server: String,
        /// The server's kind.
        server_kind: &'static str,
        /// What the connect function says.
        #[source]
        cause: Cause,
    },
}

impl<S: Service> Client<S> {
    /// The name of its kind, as in the case's name.
    pub fn kind(client: &Self) -> &'static str {
        client.link.kind()
    }

    /// What its connect function was given.
    pub fn link(client: &Self) -> &ClientLink {
        &client.link
    }

    /// Connects another client of the same kind to the same server, with an id of its own.
    ///
    /// # Errors
    /// When it does not connect, within 10 s.
    pub async fn connect_another(client: &Self) -> Result<Self, ConnectError> {
        Self::connect(client.link.another()).await
    }

    /// Connects another client of the same kind to this server, such as another node of the cluster, with an id of
    /// its own.
    ///
    /// # Errors
    /// When it does not connect, within 10 s.
    pub async fn connect_to(client: &Self, server: &Server<S>) -> Result<Self, ConnectError> {
        let link = ClientLink {
            server: Arc::clone(server.place()),
            ..client.link.another()
        };
        Self::connect(link).await
    }

    /// The proxy between this client and a port of the server it connects to, where the parameter is `#[proxied]`: a link
    /// of its own, of which no other client has a part.
    ///
    /// # Panics
    /// When the parameter is not `#[proxied]`, and when its connect function has not asked for the port.
    #[track_caller]
    pub fn proxy(client: &Self, port: &str) -> Proxy {
        let (link, server) = (&client.link, &client.link.server);
        let Some(fronts) = &link.fronts else {
            panic!(
                "client `{}` is not behind proxies: write `#[proxied]` on the parameter",
                link.id
            )
        };
        fronts.get(&target(server, port)).unwrap_or_else(|| {
            panic!(
                "client `{}` did not ask for port `{port}` of `{}`, but {:?}",
                link.id,
                server.name(),
                fronts.names()
            )
        })
    }

    /// Drops the author's client now rather than at the end of the case.
    pub fn close(mut client: Self) {
        drop(client.held.take());
    }

    pub(crate) async fn connect(link: ClientLink) -> Result<Self, ConnectError> {
        let connect = link.kind.connect.downcast_ref::<ConnectFn<S>>();
        let (kind, server_kind) = (link.kind(), link.server_kind());
        let (client, server) = (link.id.clone(), link.server_name().to_owned());
        let connected = match connect {
            Some(connect) => within(CONNECT_WITHIN, (connect.0)(link.clone())).await,
            None => Ok(Err(error(format!(
                "client kind `{kind}` ({}:{}) holds no connect function of its service",
                link.kind.file, link.kind.line
            )))),
        };
        let held = match connected {
            Ok(Ok(held)) => held,
            Ok(Err(error)) => {
                return Err(ConnectError::Failed {
                    client,
                    kind,
                    server,
                    server_kind,
                    cause: Cause(error),
                });
            }
            Err(_) => {
                return Err(ConnectError::TimedOut {
                    client,
                    kind,
                    server,
                    server_kind,
                });
            }
        };
        let home = Arc::new(Home(Mutex::new(Slot::Out)));
        link.case.defer(format!("client `{client}`"), {
            let home = home.clone();
            move || async move {
                // A client that is still out is in a task that outlives the case, which the leak check tells.
                drop(home.replace(Slot::Closed));
                Ok(())
            }
        });
        Ok(Self {
            held: Some(held),
            home,
            link,
        })
    }
}

impl<S: Service> Deref for Client<S> {
    type Target = S::Client;

    fn deref(&self) -> &S::Client {
        self.held.as_deref().expect("held until dropped")
    }
}

impl<S: Service> DerefMut for Client<S> {
    fn deref_mut(&mut self) -> &mut S::Client {
        self.held.as_deref_mut().expect("held until dropped")
    }
}

impl<S: Service> Drop for Client<S> {
    fn drop(&mut self) {
        if let Some(client) = self.held.take() {
            self.home.give_back(client);
        }
    }
}

impl<S: Service> fmt::Debug for Client<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.link).finish()
    }
}

impl<S: Service> Param for Client<S> {
    fn shape(_: &Site, environment: &Environment) -> Shape {
        let values = client_kinds::<S>().into_iter().map(|kind| {
            let (variants, unavailable) = axes(kind.name, kind.program, kind.variants, environment);
            AxisValue {
                label: kind.name.into(),
                provides: kind.provides,
                requires: kind.requires,
                unavailable,
                variants,
                nodes: None,
            }
        });
        let values: Vec<_> = values.collect();
        Shape {
            axis: Some(Axis {
                empty_because: values.is_empty().then(|| none_registered::<S>("robust_client")),
                values,
            }),
            gives: None,
            needs: Some(token::<S>()),
            ..Shape::default()
        }
    }

    async fn build(build: &mut Build) -> Result<Self, Error> {
        let kind = *client_kinds::<S>()
            .get(build.choice())
            .ok_or_else(|| error(none_registered::<S>("robust_client")))?;
        let Target(members) = build.linked()?;
        let members = members.clone();
        let server = members
            .places()
            .into_iter()
            .next()
            .ok_or_else(|| error("the cluster has no node to connect to"))?;
        let case = build.case().clone();
        let id = case.unique_name(build.site().name);
        let is_proxied = build.site().proxied;
        let fronts = is_proxied.then(|| Arc::new(Fronts::new(&case, id.clone(), None)));
        let link = ClientLink {
            case,
            kind,
            id,
            server,
            members,
            variants: Arc::new(build.variants(None)),
            fronts,
        };
        Self::connect(link).await.map_err(|error| match error {
            // A skip stays one.
            ConnectError::Failed { cause, .. } if cause.0.skip_reason().is_some() => cause.0,
            other => other.into(),
        })
    }
}

impl<S: Service> TakesKinds for Client<S> {}
impl<S: Service> TakesOn for Client<S> {}
impl<S: Service> TakesProxied for Client<S> {}
