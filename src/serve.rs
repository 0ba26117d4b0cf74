//! Servers by hand: `--serve KIND` starts a server as a scenario would and leaves it up, `--serve KINDx3` a cluster.
//!
//! What CockroachDB's `demo` is to its TestServer. Here is the scenario that the runner drives for it: one parameter,
//! and a body that tells how to reach what runs and waits to be ended.

use robust_test_harness::expansion::{BeginFuture, async_body, with_params};
use robust_test_harness::param::{Begin, Build, Environment, Param, Shape};
use robust_test_harness::registry::{Options, Scenario, Site};

use crate::cluster::Cluster;
use crate::server::Server;
use crate::service::{ServerKind, Service};

type ShapeFn = fn(&Site, &Environment) -> Shape;
type BeginFn = for<'a> fn(&'a mut Build) -> BeginFuture<'a>;

/// How a kind of server is started by hand: for the attribute's expansion.
pub struct Serve {
    server: (ShapeFn, BeginFn),
    cluster: (ShapeFn, BeginFn),
}

impl Serve {
    /// For servers of `S`.
    pub const fn of<S: Service>() -> Self {
        Self {
            server: (<Server<S> as Param>::shape, serve_one::<S>),
            cluster: (<Cluster<S> as Param>::shape, serve_cluster::<S>),
        }
    }
}

fn serve_one<S: Service>(build: &mut Build) -> BeginFuture<'_> {
    with_params::<(Server<S>,)>(build, |(server,)| stay_up(vec![server]))
}

fn serve_cluster<S: Service>(build: &mut Build) -> BeginFuture<'_> {
    with_params::<(Cluster<S>,)>(build, |(cluster,)| stay_up(cluster.nodes()))
}

fn stay_up<S: Service>(servers: Vec<Server<S>>) -> robust_test_harness::param::Body {
    async_body(Box::pin(async move {
        for server in &servers {
            println!("{}", server.reach());
        }
        println!("ready; Ctrl-C ends it");
        std::future::pending::<()>().await;
    }))
}

/// The scenario that starts one server of the kind called `name`, or a cluster of so many nodes.
///
/// # Errors
/// When it cannot: there is no such kind of server, or its nodes form no clusters.
pub fn scenario(name: &str, nodes: Option<usize>) -> Result<&'static Scenario, String> {
    let kinds: Vec<&'static ServerKind> = inventory::iter::<&'static ServerKind>()
        .copied()
        .filter(|kind| kind.name == name)
        .collect();
    let kind = match kinds[..] {
        [kind] => kind,
        [] => return Err(format!("`{name}` is a kind of client; servers can be served")),
        _ => {
            return Err(format!(
                "several services have a kind of server called `{name}`: rename one"
            ));
        }
    };
    if nodes.is_some() && kind.cluster.is_none() {
        return Err(format!(
            "the nodes of kind `{name}` form no clusters: serve one (`--serve {name}`)"
        ));
    }
    let (shape, begin) = match nodes {
        None => kind.serve.server,
        Some(_) => kind.serve.cluster,
    };
    // One a process, which it outlives.
    let only: &'static [&'static str] = vec![kind.name].leak();
    let mut site = Site::new(kind.name, shape).only(only);
    if let Some(nodes) = nodes {
        site = site.nodes(vec![nodes].leak());
    }
    Ok(Box::leak(Box::new(Scenario {
        name: "serve",
        module: "",
        file: kind.file,
        line: kind.line,
        options: Options::DEFAULT,
        sites: vec![site].leak(),
        begin: Begin::Params(begin),
    })))
}
