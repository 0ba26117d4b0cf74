//! A run whose plan is made: everything around it is set up, used and taken down again.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::console::{complain, console, read_by_somebody};
use super::explain::Explainer;
use super::{Stop, Suite, exit_of, print};
use crate::artifacts;
use crate::cli::{self, Format, Settings};
use crate::descriptors;
use crate::event::{CaseFinished, FORMAT, RunFinished, RunStarted};
use crate::exit::Exit;
use crate::groups::{self, Left};
use crate::history;
use crate::history_file;
use crate::in_process::InProcess;
use crate::interrupt::{self, Interrupt};
use crate::keep::Keep;
use crate::launcher::Launcher;
use crate::layout::{self, Layout};
use crate::leak::{self, Allowance, AllowedBy};
use crate::matrix::Matrix;
use crate::mounts;
use crate::outcome::{Class, Outcome, Problem};
use crate::param::Environment;
use crate::plan::{self, Plan};
use crate::pool::{self, Until, Work};
use crate::pressure::{self, Controller};
use crate::protocol::{Mark, WorkerConfig};
use crate::reaper::Reaper;
use crate::registry::{self, Isolation};
use crate::report::detached::Backlog;
use crate::report::opening::Opening;
use crate::report::{Progress, Reporter, ReporterOptions};
use crate::rules::{CaseToRun, Rules, blank_event};
use crate::seed::Seed;
use crate::serial_lock::SerialLocks;
use crate::wall_clock::unix_ms;

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
/// How often the reporter looks at the clock while nothing happens.
const REPORT_TICK: Duration = Duration::from_millis(100);

/// What the names of runs' temporary folders begin with.
const FOLDER_PREFIX: &str = "robust-";

/// A run whose plan is made.
pub(super) struct Run<'a> {
    pub(super) suite: &'a Suite,
    pub(super) settings: Settings,
    pub(super) arguments: Vec<OsString>,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) program: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) environment: Environment,
    pub(super) registered: Vec<(u32, &'static registry::Scenario)>,
    /// What was told already of the history.
    pub(super) told: Vec<String>,
    pub(super) plan: Plan,
    pub(super) seed: Seed,
    pub(super) shuffle: Option<Seed>,
}

/// A run that was killed together with its reaper may have left control groups, with servers in them, and file systems
/// mounted, which nobody would look for.
fn remove_what_killed_runs_left() {
    let temporary = std::env::temp_dir();
    let mut folders = BTreeSet::new();
    for folder in groups::left_by_killed_runs(&temporary, FOLDER_PREFIX) {
        let mut are_gone = true;
        for Left { at, ended, removed } in groups::remove_of(&folder, None) {
            let at = at.display();
            complain(&match &removed {
                Ok(()) => format!(
                    "removed the control group {at}, which a run that was killed left behind; processes in it that were \
                     ended: {ended}"
                ),
                Err(error) => format!(
                    "the control group {at}, which a run that was killed left behind, cannot be removed: {error}"
                ),
            });
            are_gone &= removed.is_ok();
        }
        // Else the next run finds them by it again.
        folders.extend(are_gone.then_some(folder));
    }
    for folder in mounts::left_by_killed_runs(&temporary, FOLDER_PREFIX) {
        for mount in mounts::unmount_below(&folder) {
            let (kind, at) = (mount.kind, mount.at.display());
            complain(&format!(
                "unmounted {at} ({kind}), which a run that was killed left behind"
            ));
        }
        folders.insert(folder);
    }
    for folder in folders {
        // Not ours, perhaps.
        let _gone = artifacts::remove_all(&folder);
    }
}

/// What workers made and did not remove, or could not.
pub(super) fn remove_groups(run_folder: &Path) {
    for Left { at, removed, .. } in groups::remove_of(run_folder, None) {
        if let Err(error) = removed {
            let at = at.display();
            complain(&format!(
                "the control group {at} of this run cannot be removed: {error}"
            ));
        }
    }
}

impl Run<'_> {
    pub(super) fn go(self) -> Result<Exit, Stop> {
        let (settings, suite) = (&self.settings, self.suite);
        let started = Instant::now();
        let seed = self.seed;
        let layout = self.layout()?;
        if settings.nextest.is_none() {
            // Before the events that it may be made from are replaced by this run's.
            let told = history_file::begin(&layout.folder, unix_ms(), self.has_case());
            let told = told.map_err(Stop::unusable)?;
            told.iter()
                .filter(|text| !self.told.contains(text))
                .for_each(|text| complain(text));
        }
        let descriptors = descriptors::raise();
        remove_what_killed_runs_left();
        let temporary = tempfile::Builder::new()
            .prefix(FOLDER_PREFIX)
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
            log: settings.log.clone(),
            teardown_ms_max: TEARDOWN_WITHIN.as_millis() as u64,
            settle_ms_max: SETTLE_WITHIN.as_millis() as u64,
            keeps: settings.keep_on_failure.is_some(),
        };
        let keep = settings.keep_on_failure.map(|within| Arc::new(Keep::new(within)));
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
        let allowed = Arc::new(Mutex::new(BTreeSet::new()));
        let allowances = self.allowances();
        let rules = Rules {
            root_seed: seed,
            timeout: settings.timeout,
            retries: settings.retries,
            isolation: settings.isolation,
            teardown_within: TEARDOWN_WITHIN + SETTLE_WITHIN + Duration::from_secs(1),
            cases: layout.cases(),
            show_output: settings.show_output,
            show_logs: settings.show_logs,
            keep_logs: settings.keep_logs,
            reproduce: layout::reproduce_prefix(suite, &self.program, settings.profile.as_deref()),
            reproduce_programs: layout::reproduce_programs(&settings.bins),
            mode: settings.variants.mode,
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
            keep: keep.clone(),
            allowed: Arc::clone(&allowed),
        };

        let (progress, heard) = sync_channel(REPORT_WAITING_MAX);
        let (opening, backlog) = self.opening(&layout, seed)?;
        let tell_starts = settings.format != Format::Pretty || std::io::stdout().is_terminal();
        let skipped = self.skipped(seed);
        let controller = self.controller(alone, descriptors.slots_max);
        let until = self.until(started);
        let (one_of_many, slots_fixed) = (
            settings.nextest.is_some(),
            alone || settings.test_threads.is_some(),
        );
        let explainer = self.explainer(&rules);
        let (explanation, format) = (layout.explanation(), settings.format);
        if explanation.exists() {
            std::fs::remove_file(&explanation).map_err(Stop::unusable)?;
        }
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

        let took = started.elapsed();
        // Where that fails, the next run reads the events.
        let history_entered = !one_of_many && {
            let mut entry = history_file::Entry::new(reporter.cases(), reporter.bad());
            let percent = history::concurrency_percent(entry.runs, pressure::cores(), entry.busy_us, took);
            let has_waited = keep.is_some_and(|keep| keep.is_taken());
            if let Some(percent) = percent.filter(|_| !slots_fixed && !has_waited) {
                history::push_concurrency(&mut entry.lines, percent);
            }
            history_file::enter(&layout.folder, &entry.lines).is_ok()
        };
        let took_effect = allowed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let signal = interrupt.signal();
        if signal.is_none() {
            for warning in without_effect(&allowances, &took_effect) {
                complain(&warning);
            }
        }
        let bad = explainer
            .as_ref()
            .map(|_| reporter.bad_cases())
            .unwrap_or_default();
        let mut finished = reporter.finish(RunFinished {
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            concurrency_max: end.running_max,
            interrupted: signal.map(crate::signal::name),
            history_entered,
        });
        end.join();
        let explained = explainer
            .map(|explainer| explainer.explain(&bad))
            .unwrap_or_default();
        remove_groups(temporary.path());
        // The destructor does not get rid of what a case made read-only.
        let _gone = artifacts::remove_all(temporary.path());
        drop(temporary);
        reaper.dismiss();
        if let Some(backlog) = backlog {
            read_by_somebody(&backlog, &mut finished, Some(&interrupt));
        }
        if !explained.is_empty() {
            tell(&explained.join("\n"), format, &explanation);
        }
        if let Some(signal) = interrupt.signal() {
            interrupt::die_of(signal);
        }
        Ok(exit_of(&finished))
    }

    /// When nothing starts any more: the time of `--for` or the budget is over.
    fn until(&self, started: Instant) -> Option<Until> {
        let run_for = self.settings.run_for.map(|time| Until {
            at: started + time,
            why: "the time of --for is over".to_owned(),
        });
        let budget = self.settings.budget.map(|time| Until {
            at: started + time,
            why: plan::over(time),
        });
        run_for.into_iter().chain(budget).min_by_key(|until| until.at)
    }

    /// Says whether the suite has a case of this name; yes where not every scenario was asked.
    fn has_case(&self) -> impl Fn(&str) -> bool {
        let all = self.plan.matrices.len() == self.registered.len();
        let by_name = OnceCell::new();
        move |case| {
            let scenario = &case[..case.find('[').unwrap_or(case.len())];
            // Only where a history is written as a whole is anything asked.
            let by_name: &BTreeMap<&str, &Matrix> = by_name.get_or_init(|| {
                let matrices = self.plan.matrices.iter();
                matrices.map(|matrix| (matrix.name.as_str(), matrix)).collect()
            });
            !all || by_name
                .get(scenario)
                .is_some_and(|matrix| matrix.find(case).is_some())
        }
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

    /// Under nextest, each case has a process of its own, which is not the place for more runs.
    fn explainer(&self, rules: &Rules) -> Option<Explainer> {
        let is_asked = self.settings.explain && self.settings.nextest.is_none();
        is_asked.then(|| Explainer {
            settings: self.settings.clone(),
            environment: self.environment.clone(),
            suite_crate: self.suite.name,
            scenarios: self.registered.iter().map(|(_, scenario)| *scenario).collect(),
            hidden_variables: rules.launcher.hidden_variables.clone(),
            run_id: rules.launcher.run_id.clone(),
            folder: rules.launcher.folder.join("explain"),
            interrupt: Arc::clone(&rules.interrupt),
        })
    }

    fn controller(&self, alone: bool, slots_max: u32) -> Controller {
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
            None => Controller::for_cores(pressure::cores()).at_most(slots_max),
        }
    }

    /// The allowances that this run can tell something about, each with the scenario it stands on: those of scenarios
    /// that run, and those for all where nothing is left out.
    fn allowances(&self) -> Vec<(AllowedBy, Allowance, String)> {
        let mut found = Vec::new();
        if self.settings.isolation == Some(Isolation::None) || self.settings.nextest.is_some() {
            return found;
        }
        let run: BTreeSet<u32> = self.plan.jobs.iter().map(|job| job.scenario).collect();
        for matrix in run.iter().map(|&number| &self.plan.matrices[number as usize]) {
            let scenario = matrix.scenario;
            let own = scenario.options.allow_leak;
            if own.is_empty() {
                continue;
            }
            let number = self.registered.iter().find(|(_, it)| std::ptr::eq(*it, scenario));
            let Some((number, _)) = number else { continue };
            let all = (0..).zip(own).map(|(at, allowance)| {
                (
                    AllowedBy::Scenario(*number, at),
                    *allowance,
                    format!(" of `{}`", matrix.name),
                )
            });
            found.extend(all);
        }
        if self.plan.filtered_out == 0 && !run.is_empty() {
            let all = (0..).zip(leak::everywhere());
            found.extend(all.map(|(at, allowance)| (AllowedBy::Everywhere(at), allowance, "!".to_owned())));
        }
        found
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
                None => crate::rules::cellless_event(matrix, seed),
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

/// Tells what `--explain` found: on the console, beside JSON on stderr, and in a file.
fn tell(text: &str, format: Format, file: &std::path::Path) {
    match format {
        Format::Json => complain(text),
        Format::Pretty | Format::Terse => print(&format!("{text}\n\n")),
    }
    if let Err(error) = std::fs::write(file, format!("{text}\n")) {
        complain(&format!("cannot write {}: {error}", file.display()));
    }
}

/// What to say of allowances that were of no use.
fn without_effect(
    allowances: &[(AllowedBy, Allowance, String)],
    took_effect: &BTreeSet<AllowedBy>,
) -> Vec<String> {
    let unused = allowances.iter().filter(|(by, ..)| !took_effect.contains(by));
    unused
        .map(|(_, allowance, place)| {
            format!(
                "`{allowance}`{place} took effect in no case: remove it if that is gone (because: {})",
                allowance.because
            )
        })
        .collect()
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
