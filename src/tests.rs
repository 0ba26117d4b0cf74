//! Servers and clients against real processes and threads, in cases made by hand.

/// Registers a function of the tests as a kind of server.
macro_rules! server_kind {
    ($service:ident, $name:literal, $program:expr, $start:ident) => {
        server_kind!($service, $name, $program, $start, None);
    };
    ($service:ident, $name:literal, $program:expr, $start:ident, $shared:expr) => {
        static SERVER: crate::service::ServerKind = crate::service::ServerKind {
            name: $name,
            service: std::any::TypeId::of::<$service>,
            service_name: stringify!($service),
            file: file!(),
            line: line!(),
            provides: &[],
            program: $program,
            variants: &[],
            shared: $shared,
            cluster: None,
            serve: crate::serve::Serve::of::<$service>(),
            start: &crate::service::StartFn::<$service>($start),
        };
        inventory::submit!(&SERVER);
    };
}

/// Registers a function of the tests as a kind of client.
macro_rules! client_kind {
    ($service:ident, $name:literal, $provides:expr, $connect:ident) => {
        static CLIENT: crate::service::ClientKind = crate::service::ClientKind {
            name: $name,
            service: std::any::TypeId::of::<$service>,
            service_name: stringify!($service),
            file: file!(),
            line: line!(),
            provides: $provides,
            requires: &[],
            program: None,
            variants: &[],
            connect: &crate::service::ConnectFn::<$service>($connect),
        };
        inventory::submit!(&CLIENT);
    };
}

mod client;
mod disk;
mod disk_programs;
mod hostile;
mod hosts;
mod hosts_alone;
mod hosts_programs;
mod in_process;
mod memory;
mod moody;
mod network;
mod network_limits;
mod node_clock;
mod process;
mod run_n;
mod scope;
mod shared;
mod tls;
mod tls_files;
mod tls_programs;
mod victim;

use std::any::Any;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use robust_test_harness::case::Facts;
use robust_test_harness::expansion::{Build, Params, Site};
use robust_test_harness::param::Environment;
use robust_test_harness::seed::Seed;
use robust_test_harness::stash::Stash;

use crate::prelude::*;

/// A case, and what the executor does around one.
struct Fixture {
    case: Case,
    _folder: Option<tempfile::TempDir>,
}

impl Fixture {
    fn new() -> Self {
        // As workers are: orphans of a group come to this process.
        #[cfg(target_os = "linux")]
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let fixture = Self::within(folder.path(), "case", None);
        Self {
            _folder: Some(folder),
            ..fixture
        }
    }

    /// The case called `name` of a run whose folder this is.
    fn within(run_folder: &Path, name: &str, stash: Option<Arc<Stash>>) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let case = Case::new(Facts {
            name: format!("suite::scenario[{name}]"),
            seed: Seed(1),
            attempt: 0,
            folder: run_folder.join(name),
            environment: Arc::new(Environment {
                path: std::env::split_paths(&path).collect(),
                ..Environment::default()
            }),
            run_id: "test".to_owned(),
            variants: Default::default(),
            stash,
            spare: None,
        });
        Self { case, _folder: None }
    }

    /// Builds parameters of the first kinds; all of them connect to the first one.
    async fn build<A: Params>(&self, sites: Vec<Site>) -> Result<A> {
        let count = sites.len();
        let sites = Box::leak(sites.into_boxed_slice());
        let mut build = Build::new(self.case.clone(), sites, vec![0; count], vec![Some(0); count]);
        A::build_all(&mut build).await
    }

    /// One server with these settings.
    async fn server<S: Service>(
        &self,
        settings: fn(usize) -> Box<dyn Any + Send + Sync>,
    ) -> Result<Server<S>> {
        let site = Site::new("broker", <Server<S> as robust_test_harness::param::Param>::shape);
        let (server,) = self.build::<(Server<S>,)>(vec![site.settings(settings)]).await?;
        Ok(server)
    }

    /// The teardown; what it found wrong.
    async fn end(self) -> Vec<String> {
        let mut wrong = Vec::new();
        while let Some(closer) = self.case.pop_closer() {
            if let Err(error) = (closer.close)().await {
                wrong.push(error.to_string());
            }
        }
        wrong.extend(self.case.broken_off().map(|problem| problem.to_string()));
        wrong
    }
}

/// Tells that the present test is skipped, on stderr, which libtest does not capture; it is to return.
///
/// # Panics
/// Where `ROBUST_REQUIRE` is `all`.
#[track_caller]
fn skip_because(why: &str) {
    let required = std::env::var("ROBUST_REQUIRE").unwrap_or_default();
    let is_required = required.split(',').any(|name| name.trim() == "all");
    assert!(!is_required, "ROBUST_REQUIRE=all: {why}");
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let told = format!("{test} is skipped, because {why}\n");
    let _closed = std::io::stderr().write_all(told.as_bytes());
}

/// Whether the machine allows it; where not, the test is to return.
pub(crate) fn is_allowed<E: std::fmt::Display>(available: Result<(), E>) -> bool {
    if let Err(why) = &available {
        skip_because(&format!("this machine does not allow it: {why}"));
    }
    available.is_ok()
}

/// Whether all of them are installed; where not, the test is to return.
fn are_installed(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let machine = Environment {
        path: std::env::split_paths(&path).collect(),
        ..Environment::default()
    };
    let missing = programs.iter().find(|name| machine.program("", name).is_none());
    if let Some(missing) = missing {
        skip_because(&format!("program `{missing}` was not found on PATH"));
    }
    missing.is_none()
}

fn is_alive(pid: u32) -> bool {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::test_kill_process(pid).is_ok()
}
