//! A run, from arguments to exit code: the order of things, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::artifacts;
use crate::case_run::{CaseToRun, Rules, blank_event, unix_ms};
use crate::cli::{self, Format, Settings};
use crate::descriptors;
use crate::event::{CaseFinished, FORMAT, RunFinished, RunStarted};
use crate::exit::Exit;
use crate::in_process::InProcess;
use crate::interrupt::{self, Interrupt, Urgency};
use crate::last_failed;
use crate::launcher::Launcher;
use crate::layout::{self, Layout};
use crate::matrix::Matrix;
use crate::outcome::{Class, Outcome, Problem};
use crate::param::Environment;
use crate::plan::{self, Nothing, Plan};
use crate::pool::{self, Work};
use crate::pressure::Controller;
use crate::protocol::{Mark, WorkerConfig};
use crate::reaper::{self, Reaper};
use crate::registry::{self, Isolation};
use crate::report::detached::{Backlog, detached};
use crate::report::opening::Opening;
use crate::report::{
    self, ConsoleOptions, FormatKind, Progress, RebuildOptions, Reporter, ReporterOptions, Style,
};
use crate::require::KnownNames;
use crate::seed::Seed;
use crate::serial_lock::SerialLocks;
use crate::worker;

/// How long all teardowns of one case may take together.
const TEARDOWN_WITHIN: Duration = Duration::from_secs(10);
/// How long the leak check waits for what is on its way out (CockroachDB's leaktest: 5 s too).
const SETTLE_WITHIN: Duration = Duration::from_secs(5);
/// How long the reporter lets verdicts gather once there are any. Waking it for each would cost more than half
/// of what an unremarkable case does; so much may be lost when the runner is killed.
const REPORT_GATHER: Duration = Duration::from_millis(1);
/// So many verdicts wait for the reporter; more of them wait in their slots, so that a run of a million cases does not
/// hold those that it was too quick with.
const REPORT_WAITING_MAX: usize = 4096;
/// How long an interrupted run waits for somebody to read the rest of its console.
const READ_WITHIN: Duration = Duration::from_secs(1);
/// How often the reporter looks at the clock while nothing happens.
const REPORT_TICK: Duration = Duration::from_millis(100);

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
    let known = KnownNames {
        kinds: &kinds,
        mechanisms: &[],
    };
    let mut settings =
        cli::parse(arguments.clone(), &variables, known).map_err(|error| match error.exit {
            Exit::Passed => Stop {
                exit: error.exit,
                text: error.text,
            },
            _ => Stop::unusable(error),
        })?;
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
    };
    let seed = settings.seed.unwrap_or_else(Seed::random);
    let mut selection = settings.selection.clone();
    if settings.last_failed {
        selection.last_failed = Some(
            last_failed::names(&folder)
                .map_err(|error| Stop::unusable(format!("--last-failed: {}: {error}", folder.display())))?,
        );
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
        plan::describe(&plan, &mut text).map_err(Stop::unusable)?;
        print(&text);
        return Ok(Exit::Passed);
    }
    if plan.not_found {
        return Ok(Exit::Failed);
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
        plan,
        seed,
        shuffle,
    }
    .go()
}

/// Tells on stderr; nobody is left to be told if that is gone.
fn complain(text: &str) {
    let _closed = std::io::stderr().write_all(format!("robust-test: {text}\n").as_bytes());
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

fn console(settings: &Settings, shuffle: Option<Seed>) -> std::io::Result<(ConsoleOptions, Option<Backlog>)> {
    let terminal = std::io::stdout().is_terminal();
    let style = Style {
        color: match settings.color {
            cli::Color::Always => true,
            cli::Color::Never => false,
            cli::Color::Auto => terminal && settings.logfile.is_none(),
        },
        show_output: settings.show_output,
        report_time: settings.report_time,
        shuffle_seed: shuffle.map(|seed| seed.0),
    };
    let format = match settings.format {
        Format::Pretty => FormatKind::Pretty,
        Format::Terse => FormatKind::Terse,
        Format::Json => FormatKind::Json,
    };
    let mut options = ConsoleOptions::stdout(format, style);
    if let Some(path) = &settings.logfile {
        let file = std::fs::File::create(path).map_err(|error| {
            std::io::Error::new(error.kind(), format!("--logfile {}: {error}", path.display()))
        })?;
        options.terminal = false;
        options.writer = Box::new(file);
    } else if !terminal {
        let (writer, backlog) = detached(std::io::stdout())?;
        options.writer = Box::new(writer);
        return Ok((options, Some(backlog)));
    }
    Ok((options, None))
}

/// Waits until what was told is read: as long as it takes, or a moment where the run was interrupted.
fn read_by_somebody(backlog: &Backlog, finished: &mut report::Finished, interrupt: Option<&Interrupt>) {
    let is_over = || interrupt.is_some_and(|interrupt| interrupt.urgency() != Urgency::None);
    while !backlog.wait(REPORT_TICK) {
        if is_over() && !backlog.wait(READ_WITHIN) {
            return;
        }
    }
    if let Some(error) = backlog
        .error()
        .filter(|error| error.kind() != std::io::ErrorKind::BrokenPipe)
    {
        complain(&format!(
            "cannot write to stdout: {error}; the reports have what is missing there"
        ));
        finished.errors.push(report::ReportError::Console(error));
    }
}

/// A run whose plan is made.
struct Run<'a> {
    suite: &'a Suite,
    settings: Settings,
    arguments: Vec<OsString>,
    variables: BTreeMap<String, String>,
    program: PathBuf,
    folder: PathBuf,
    environment: Environment,
    registered: Vec<(u32, &'static registry::Scenario)>,
    plan: Plan,
    seed: Seed,
    shuffle: Option<Seed>,
}

impl Run<'_> {
    fn go(self) -> Result<Exit, Stop> {
        let (settings, suite) = (&self.settings, self.suite);
        let started = Instant::now();
        let seed = self.seed;
        let layout = self.layout()?;
        let failed_before = match settings.nextest {
            // Before the events it is made from are replaced by this run's.
            None => Some(last_failed::carry_over(&layout.folder).map_err(Stop::unusable)?),
            Some(_) => None,
        };
        let descriptors = descriptors::raise();
        let temporary = tempfile::Builder::new()
            .prefix("robust-")
            .tempdir()
            .map_err(|error| {
                let folder = std::env::temp_dir();
                Stop::unusable(format!(
                    "no temporary folder can be made in {}: {error}",
                    folder.display()
                ))
            })?;
        let run_id = format!("{:016x}", Seed::random().0);
        let mut mark: Mark = *b"\0robust\x1e........";
        mark[8..].copy_from_slice(&Seed::random().0.to_le_bytes());

        // Whatever a dead worker leaves becomes this process's child, to be found and ended.
        rustix::process::set_child_subreaper(rustix::process::getpid().into()).map_err(Stop::unusable)?;
        let mut reaper = Reaper::start(&run_id, temporary.path())
            .map_err(|error| Stop::unusable(format!("the reaper process cannot be started: {error}")))?;
        let interrupt = Interrupt::install()
            .map_err(|error| Stop::unusable(format!("signals cannot be handled: {error}")))?;

        let config = WorkerConfig {
            run_id: run_id.clone(),
            folder: temporary.path().to_owned(),
            mark,
            suite_crate: suite.name.to_owned(),
            environment: self.environment.clone(),
            teardown_ms_max: TEARDOWN_WITHIN.as_millis() as u64,
            settle_ms_max: SETTLE_WITHIN.as_millis() as u64,
        };
        let alone = settings.isolation == Some(Isolation::None);
        if alone {
            descriptors::restore(descriptors.inherited);
        }
        let in_process = if alone {
            let in_process = InProcess::start(config.clone())
                .map_err(|error| Stop::unusable(format!("no thread can be started: {error}")))?;
            Some(Mutex::new(in_process))
        } else {
            None
        };
        let rules = Rules {
            root_seed: seed,
            timeout: settings.timeout,
            retries: settings.retries,
            isolation: settings.isolation,
            teardown_within: TEARDOWN_WITHIN + SETTLE_WITHIN + Duration::from_secs(1),
            cases: layout.cases(),
            show_output: settings.show_output,
            show_logs: settings.show_logs,
            reproduce: layout::reproduce_prefix(suite, &self.program),
            launcher: Launcher {
                config: config.encode(),
                run_id,
                mark,
                folder: temporary.path().to_owned(),
                hidden_variables: cli::environment_for_children(&self.variables),
                show: settings.no_capture,
                known: Mutex::new(BTreeSet::from([reaper.pid()])),
                started: 0.into(),
                descriptors: descriptors.inherited,
            },
            interrupt: Arc::clone(&interrupt),
            in_process,
            orders: 0.into(),
        };

        let (progress, heard) = sync_channel(REPORT_WAITING_MAX);
        let (opening, backlog) = self.opening(&layout, seed)?;
        let tell_starts = settings.format != Format::Pretty || std::io::stdout().is_terminal();
        let skipped = self.skipped(seed);
        let controller = self.controller(alone, descriptors.slots_max);
        let until = settings.run_for.map(|duration| started + duration);
        let work = self.work(rules);
        let reporting = std::thread::Builder::new()
            .name("reporter".to_owned())
            .spawn(move || report_all(opening, skipped, &heard))
            .map_err(|error| Stop::unusable(format!("no thread can be started: {error}")))?;
        // As late as possible: it starts while everything else is made ready.
        reaper
            .is_ready()
            .map_err(|error| Stop::unusable(format!("the reaper process did not start: {error}")))?;
        let end = pool::run(work, controller, until, progress, tell_starts);
        let reporter = reporting
            .join()
            .map_err(|_| Stop::unusable("the reporter panicked"))?;

        // Where that fails, the next run reads the events.
        let last_failed_entered = failed_before.is_some_and(|before| {
            last_failed::enter(&layout.folder, &before, reporter.bad(), |case| {
                reporter.has_run(case)
            })
            .is_ok()
        });
        let signal = interrupt.signal();
        let mut finished = reporter.finish(RunFinished {
            duration_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
            concurrency_max: end.running_max,
            interrupted: signal.map(crate::signal::name),
            last_failed_entered,
        });
        end.join();
        // The destructor does not get rid of what a case made read-only.
        let _gone = artifacts::remove_all(temporary.path());
        drop(temporary);
        reaper.dismiss();
        if let Some(backlog) = backlog {
            read_by_somebody(&backlog, &mut finished, Some(&interrupt));
        }
        if let Some(signal) = interrupt.signal() {
            interrupt::die_of(signal);
        }
        Ok(exit_of(&finished))
    }

    /// Under nextest each case has a process of its own: they share a folder, each with its own events.
    fn layout(&self) -> Result<Layout, Stop> {
        match &self.settings.nextest {
            None => Layout::take(&self.folder).map_err(Stop::unusable),
            Some(nextest) => Ok(Layout::shared(self.folder.join("nextest").join(&nextest.run_id))),
        }
    }

    fn opening(&self, layout: &Layout, seed: Seed) -> Result<(Opening, Option<Backlog>), Stop> {
        let settings = &self.settings;
        let one_of_many = settings.nextest.is_some();
        let events = if one_of_many {
            let mut name = settings.selection.filters.join(" ");
            if let Some(attempt) = settings
                .nextest
                .as_ref()
                .and_then(|nextest| nextest.attempt_id.as_ref())
            {
                name.push_str(attempt);
            }
            layout
                .folder
                .join(format!("{}.jsonl", crate::artifacts::slug(&name)))
        } else {
            layout.events()
        };
        let mut junit: Vec<PathBuf> = settings.junit.clone().into_iter().collect();
        if !one_of_many {
            junit.insert(0, layout.junit());
        }
        let (console, backlog) = console(settings, self.shuffle).map_err(Stop::unusable)?;
        let opening = Opening::new(ReporterOptions {
            run: RunStarted {
                format: FORMAT,
                harness: env!("CARGO_PKG_VERSION").to_owned(),
                package: self.suite.package.to_owned(),
                suite: self.suite.name.to_owned(),
                seed,
                started_unix_ms: unix_ms(),
                hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
                arguments: self
                    .arguments
                    .iter()
                    .map(|text| text.to_string_lossy().into_owned())
                    .collect(),
                filtered_out: self.plan.filtered_out,
                planned: self.plan.planned(),
            },
            skipped: self.plan.skipped.len() as u64,
            events: Some(events),
            junit,
            html: (!one_of_many).then(|| layout.html()),
            console,
        });
        Ok((opening, backlog))
    }

    fn controller(&self, alone: bool, slots_max: u32) -> Controller {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        match self.settings.test_threads {
            _ if alone => Controller::fixed(1),
            Some(threads) => {
                let threads = u32::try_from(threads.get()).unwrap_or(u32::MAX);
                if threads > slots_max && self.plan.jobs.len() > slots_max as usize {
                    complain(&format!(
                        "at most {slots_max} cases run at a time: more files cannot be open (ulimit -n)"
                    ));
                }
                Controller::fixed(threads.min(slots_max))
            }
            None => Controller::for_cores(u32::try_from(cores).unwrap_or(1)).at_most(slots_max),
        }
    }

    /// The verdicts of cases that do not run.
    fn skipped(&self, seed: Seed) -> Vec<CaseFinished> {
        let event = |skipped: &plan::Skipped| {
            let matrix = &self.plan.matrices[skipped.scenario as usize];
            let case = CaseToRun {
                matrix,
                registered: 0,
                cell: skipped.cell.unwrap_or(0),
                iteration: 0,
            };
            let mut event = match skipped.cell {
                Some(_) => blank_event(case, seed),
                None => crate::case_run::cellless_event(matrix, seed),
            };
            event.outcome = if skipped.required {
                let text = format!("{}, and ROBUST_REQUIRE asks for it", skipped.reason);
                Outcome::Errored(Problem::new(Class::Required, text))
            } else {
                Outcome::Skipped {
                    reason: skipped.reason.to_string(),
                }
            };
            event
        };
        self.plan.skipped.iter().map(event).collect()
    }

    fn work(self, rules: Rules) -> Work {
        // The plan has a part of them, in the same order.
        let mut registered = self.registered.iter();
        let mut number = |matrix: &Matrix| {
            let found = registered.find(|(_, scenario)| std::ptr::eq(*scenario, matrix.scenario));
            found.map_or(u32::MAX, |(number, _)| *number)
        };
        let registered = self.plan.matrices.iter().map(&mut number).collect();
        let locks = self.settings.nextest.as_ref().map(|nextest| SerialLocks {
            folder: self.folder.join("nextest").join(&nextest.run_id),
        });
        Work {
            rules,
            registered,
            jobs: self
                .plan
                .jobs
                .iter()
                .map(|job| (job.scenario, job.cell))
                .collect(),
            matrices: self.plan.matrices,
            iterations: self
                .settings
                .run_for
                .is_none()
                .then_some(self.settings.repeat.get()),
            bad_max: self.settings.max_fail.map(std::num::NonZeroUsize::get),
            serial_locks: locks,
        }
    }
}

/// The reporter's thread: everything that happens, until nobody is left to tell.
fn report_all(opening: Opening, skipped: Vec<CaseFinished>, heard: &Receiver<Progress>) -> Reporter {
    let mut reporter = Reporter::begin(opening);
    reporter.handle(
        skipped
            .into_iter()
            .map(|event| Progress::Finished(Box::new(event)))
            .collect(),
    );
    loop {
        match heard.recv_timeout(REPORT_TICK) {
            Ok(first) => {
                std::thread::sleep(REPORT_GATHER);
                let mut batch = vec![first];
                batch.extend(heard.try_iter());
                reporter.handle(batch);
            }
            Err(RecvTimeoutError::Timeout) => reporter.tick(),
            Err(RecvTimeoutError::Disconnected) => return reporter,
        }
    }
}
