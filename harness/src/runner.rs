//! A run, from arguments to exit code: the order of things, and nothing else.

mod console;
mod explain;
mod go;
mod serve;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::{self, Settings};
use crate::exit::Exit;
use crate::history::History;
use crate::history_file;
use crate::layout::{self, Layout};
use crate::mechanism;
use crate::param::Environment;
use crate::plan::{self, Budget, Nothing, Slots};
use crate::pressure;
use crate::reaper;
use crate::registry::{self, Isolation};
use crate::report::{self, RebuildOptions};
use crate::require::KnownNames;
use crate::seed::Seed;
use crate::wall_clock::unix_ms;
use crate::worker;
use console::{complain, console, read_by_somebody};
use go::Run;

/// What `main!` tells about the test target.
#[derive(Debug, Clone, Copy)]
pub struct Suite {
    /// The package's name.
    pub package: &'static str,
    /// The target's crate name.
    pub name: &'static str,
    /// The binary's name, when the suite is a binary and not a test target.
    pub binary: Option<&'static str>,
    /// The package's folder when it was built.
    pub manifest_dir: &'static str,
    /// `<target>/tmp`, which cargo tells test targets.
    pub target_tmpdir: Option<&'static str>,
    /// The names of every kind that is registered, for `--bin` and `ROBUST_REQUIRE`.
    pub kinds: fn() -> Vec<&'static str>,
    /// The scenario behind `--serve`: for a kind's name, and the number of nodes of a cluster.
    pub serve: fn(&str, Option<usize>) -> Result<&'static registry::Scenario, String>,
}

/// Runs the suite: what `main!` expands to.
pub fn run(suite: Suite) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|first| first.to_str()) {
        Some(worker::ARGUMENT) => {
            return worker::main(arguments.get(1).and_then(|number| number.to_str()?.parse().ok()));
        }
        Some(reaper::ARGUMENT) => {
            let run_id = arguments
                .get(1)
                .map(|id| id.to_string_lossy())
                .unwrap_or_default();
            return reaper::main(&run_id, Path::new(arguments.get(2).unwrap_or(&OsString::new())));
        }
        _ => {}
    }
    match whole(&suite, arguments) {
        Ok(exit) => exit.into(),
        Err(stop) => stop.end(),
    }
}

/// Why there is no run.
struct Stop {
    exit: Exit,
    text: String,
}

impl Stop {
    fn unusable(error: impl std::fmt::Display) -> Self {
        Self {
            exit: Exit::Unusable,
            text: format!("robust-test: {error}\n"),
        }
    }

    fn end(self) -> ExitCode {
        if self.exit == Exit::Passed {
            print(&self.text);
        } else {
            // Nobody is left to be told if stderr is gone too.
            let _closed = std::io::stderr().write_all(self.text.as_bytes());
        }
        self.exit.into()
    }
}

/// Writes to stdout; a reader that went away is no error.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _closed = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn whole(suite: &Suite, arguments: Vec<OsString>) -> Result<Exit, Stop> {
    let variables = cli::process_environment();
    let kinds = (suite.kinds)();
    let faults = mechanism::registered();
    let mechanisms: BTreeSet<&str> = faults.iter().map(|fault| fault.mechanism.name).collect();
    let mechanisms: Vec<&str> = mechanisms.into_iter().collect();
    let known = KnownNames {
        kinds: &kinds,
        mechanisms: &mechanisms,
    };
    let config = || cli::Config::find(Path::new(suite.manifest_dir), &variables, known);
    let mut settings =
        cli::parse(arguments.clone(), &variables, known, config).map_err(|error| match error.exit {
            Exit::Passed => Stop {
                exit: error.exit,
                text: error.text,
            },
            _ => Stop::unusable(error),
        })?;
    if settings.faults {
        print(&mechanism::table(&faults));
        return Ok(Exit::Passed);
    }
    let program = std::env::current_exe().map_err(Stop::unusable)?;
    let folder = settings
        .report_dir
        .clone()
        .unwrap_or_else(|| layout::default_folder(suite, &program));
    // Relative to where the run began: a case may change the current folder.
    let folder = std::path::absolute(&folder).map_err(Stop::unusable)?;
    if let Some(junit) = &mut settings.junit {
        *junit = std::path::absolute(&*junit).map_err(Stop::unusable)?;
    }
    if !settings.report_from.is_empty() {
        return rebuild(&settings, &folder);
    }

    let environment = Environment {
        bins: settings.bins.clone(),
        path: std::env::var_os("PATH")
            .map(|path| std::env::split_paths(&path).collect())
            .unwrap_or_default(),
        external: settings.external.clone(),
        variants: settings.variants.clone(),
        require: settings.require.clone(),
    };
    let seed = settings.seed.unwrap_or_else(Seed::random);
    if let Some(wanted) = &settings.serve {
        let nodes = wanted.nodes.map(std::num::NonZeroUsize::get);
        let scenario = (suite.serve)(&wanted.kind, nodes)
            .map_err(|error| Stop::unusable(format!("--serve: {error}")))?;
        return serve::serve(scenario, wanted, environment, seed, &settings.log);
    }
    if settings.nextest.is_some() && settings.keep_on_failure.is_some() {
        return Err(Stop::unusable(
            "--keep-on-failure waits for somebody who reads how to reach what is kept up, and cargo-nextest shows that \
             when the case is over: run it with cargo test (ROBUST_KEEP_ON_FAILURE must be unset under nextest)",
        ));
    }
    let mut selection = settings.selection.clone();
    let (history, told) = if settings.last_failed || settings.budget.is_some() {
        history_file::read(&folder).map_err(Stop::unusable)?
    } else {
        <(History, Vec<String>)>::default()
    };
    told.iter().for_each(|text| complain(text));
    if settings.last_failed {
        selection.last_failed = Some(history.bad());
    }
    let registered = registry::numbered();
    let scenarios: Vec<&registry::Scenario> = registered.iter().map(|(_, scenario)| *scenario).collect();
    let mut plan = plan::prepare(
        &scenarios,
        suite.name,
        &environment,
        &selection,
        &settings.require,
    )
    .map_err(Stop::unusable)?;
    if settings.nextest.is_some() && settings.budget.take().is_some() {
        complain(
            "--budget is about one run, so it does not count under cargo-nextest, which makes a run of each case",
        );
    }
    // A list has everything that was chosen.
    let budget = settings.budget.filter(|_| settings.list.is_none());
    let fit = budget.map(|time| plan.fit(&budget_of(time, &settings, &history)).to_string());
    let shuffle = settings.shuffle.map(|shuffle| shuffle.seed(seed));
    if let Some(shuffle) = shuffle {
        plan.shuffle(shuffle);
    }
    for warning in &plan.warnings {
        complain(warning);
    }
    let mut text = String::new();
    if let Some(format) = settings.list {
        plan::list(&plan, format, &mut text).map_err(Stop::unusable)?;
        print(&text);
        return Ok(if plan.not_found {
            Exit::Failed
        } else {
            Exit::Passed
        });
    }
    if settings.plan {
        if let Some(fit) = fit {
            text.push_str(&format!("{fit}\n"));
        }
        plan::describe(&plan, &mut text).map_err(Stop::unusable)?;
        print(&text);
        return Ok(Exit::Passed);
    }
    if plan.not_found {
        return Ok(Exit::Failed);
    }
    if let Some(fit) = fit {
        complain(&fit);
    }
    if plan.nothing() == Some(Nothing::Runnable) {
        complain(
            "nothing runs: every chosen case is skipped (--plan says why; ROBUST_REQUIRE=all makes that an error)",
        );
    }
    Run {
        suite,
        settings,
        arguments,
        variables,
        program,
        folder,
        environment,
        registered,
        told,
        plan,
        seed,
        shuffle,
    }
    .go()
}

fn budget_of<'a>(time: Duration, settings: &Settings, history: &'a History) -> Budget<'a> {
    let alone = settings.isolation == Some(Isolation::None);
    let fixed = if alone {
        Some(NonZeroUsize::MIN)
    } else {
        settings.test_threads
    };
    Budget {
        time,
        // With `--for`, the time of that is over before or after the budget's.
        repeat: settings.repeat.get(),
        slots: Slots::new(fixed, history, pressure::cores()),
        history,
        now_unix_ms: unix_ms(),
    }
}

fn rebuild(settings: &Settings, folder: &Path) -> Result<Exit, Stop> {
    let layout = Layout::take(folder).map_err(Stop::unusable)?;
    let (console, backlog) = console(settings, None).map_err(Stop::unusable)?;
    let options = RebuildOptions {
        junit: std::iter::once(layout.junit())
            .chain(settings.junit.clone())
            .collect(),
        html: Some(layout.html()),
        console,
    };
    let mut finished = report::rebuild(&settings.report_from, options).map_err(Stop::unusable)?;
    if let Some(backlog) = backlog {
        read_by_somebody(&backlog, &mut finished, None);
    }
    Ok(exit_of(&finished))
}

fn exit_of(finished: &report::Finished) -> Exit {
    if finished.totals.failed() > 0 {
        Exit::Failed
    } else if finished.errors.is_empty() {
        Exit::Passed
    } else {
        Exit::Unusable
    }
}
