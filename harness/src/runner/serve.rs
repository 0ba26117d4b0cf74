//! `--serve KIND[xN]`: what a scenario would start, started in this process and left up until a signal comes.
//!
//! The same set-up and teardown as a case has, without a deadline, a worker or a report; what outlives it is
//! ended all the same, also when this process is killed.

use std::os::unix::process::CommandExt as _;
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::Stop;
use crate::artifacts;
use crate::case::{Case, Facts};
use crate::cli::Serve;
use crate::drive::{drive, new_runtime};
use crate::error::Error;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::matrix::Matrix;
use crate::outcome::Problem;
use crate::param::{Begin, Body, Build, Environment};
use crate::process_tree;
use crate::reaper::Reaper;
use crate::registry::{Flavor, Scenario};
use crate::seed::Seed;
use crate::trace;
use crate::variant;

/// How long each thing may take to end.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);
/// How the marker of such a run begins; that of a run around it, whose case started it, begins otherwise.
const OWN_RUN: &str = "serve-";
/// How often a signal is looked for.
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn serve(
    scenario: &'static Scenario,
    wanted: &Serve,
    environment: Environment,
    seed: Seed,
    log: &str,
) -> Result<Exit, Stop> {
    let matrix =
        Matrix::expand_named(scenario.name.to_owned(), scenario, &environment).map_err(Stop::unusable)?;
    let skip = matrix.empty().or_else(|| matrix.skip_reason(0));
    if let Some(skip) = skip {
        return Err(Stop::unusable(format!(
            "--serve {}: {}",
            wanted.kind, skip.reason
        )));
    }
    let Begin::Params(begin) = scenario.begin else {
        return Err(Stop::unusable(format!(
            "--serve {}: it has no parameters",
            wanted.kind
        )));
    };
    let run_id = run_id()?;
    let temporary = tempfile::Builder::new()
        .prefix("robust-serve-")
        .tempdir()
        .map_err(Stop::unusable)?;
    rustix::process::set_child_subreaper(rustix::process::getpid().into()).map_err(Stop::unusable)?;
    let mut reaper = Reaper::start(&run_id, temporary.path()).map_err(Stop::unusable)?;
    reaper.is_ready().map_err(Stop::unusable)?;
    let interrupt = Interrupt::install().map_err(Stop::unusable)?;
    trace::begin(log);

    let runtime = new_runtime(Flavor::CurrentThread, false).map_err(Stop::unusable)?;
    let name = matrix.case_name(0);
    let seed = seed.derive(&name);
    let variants = matrix.assignment(0, seed);
    if !variants.is_empty() {
        println!("variants: {}", variant::line(&variants.list(), &[]));
    }
    let case = Case::new(Facts {
        seed,
        variants,
        name,
        attempt: 0,
        folder: temporary.path().join("1"),
        environment: Arc::new(environment),
        run_id,
        stash: None,
        spare: None,
    });
    let ended = drive(&runtime, async {
        let up = async {
            let (choices, links) = (matrix.choices(0), matrix.links.clone());
            let mut build = Build::new(case.clone(), scenario.sites, choices, links);
            match begin(&mut build).await {
                Ok(Body::Async(body)) => drop(body.await),
                Ok(Body::Sync(_)) => {}
                Err(error) => return Some(Broken::SetUp(error)),
            }
            None
        };
        let (up, asked) = (pin!(case.unless_broken_off(up)), pin!(asked_to_end(&interrupt)));
        tokio::select! {
            ended = up => ended.unwrap_or_else(|| case.broken_off().map(Broken::Off)),
            () = asked => None,
        }
    });
    let mut wrong: Vec<String> = ended.iter().map(ToString::to_string).collect();
    while let Some(closer) = case.pop_closer() {
        let what = closer.what;
        let closed = drive(&runtime, async {
            tokio::time::timeout(CLOSE_WITHIN, (closer.close)()).await
        });
        match closed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => wrong.push(format!("{what}: {error:?}")),
            Err(_) => wrong.push(format!(
                "{what}: not done within {}",
                humantime::format_duration(CLOSE_WITHIN)
            )),
        }
    }
    if ended.is_none() {
        // A death that came with the signal.
        wrong.extend(case.broken_off().map(|problem| problem.to_string()));
    }
    runtime.shutdown_timeout(CLOSE_WITHIN);
    process_tree::end_descendants(&std::collections::BTreeSet::from([reaper.pid()]));
    super::go::remove_groups(temporary.path());
    let _gone = artifacts::remove_all(temporary.path());
    reaper.dismiss();
    for text in &wrong {
        super::complain(&format!("--serve {}: {text}", wanted.kind));
    }
    Ok(if wrong.is_empty() {
        Exit::Passed
    } else {
        Exit::Failed
    })
}

/// The marker that everything started from here inherits. The environment of a process cannot be changed once it has
/// threads, so this one begins anew, as itself, with the marker in it.
fn run_id() -> Result<String, Stop> {
    let own = |id: &String| id.starts_with(OWN_RUN);
    if let Some(id) = std::env::var(process_tree::MARKER).ok().filter(own) {
        return Ok(id);
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let error = Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .env(
            process_tree::MARKER,
            format!("{OWN_RUN}{:016x}", Seed::random().0),
        )
        .exec();
    Err(Stop::unusable(format!(
        "--serve: this program cannot be executed again: {error}"
    )))
}

/// Why nothing is up any more.
enum Broken {
    SetUp(Error),
    Off(Problem),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SetUp(error) => write!(f, "{error:?}"),
            Self::Off(problem) => problem.fmt(f),
        }
    }
}

async fn asked_to_end(interrupt: &Interrupt) {
    while interrupt.signal().is_none() {
        tokio::time::sleep(LOOK).await;
    }
}
