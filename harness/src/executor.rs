//! One attempt at a case, inside the process that runs it: parameters in order, the body, teardown in
//! reverse, and a look at what is left.
//!
//! Knows nothing of the runner, of slots or of reports: an order comes in, a verdict goes out. The runner
//! keeps the deadlines, because a case may freeze tokio's clock or block its thread.

use std::io::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::case::{Case, Facts};
use crate::drive::{Cancel, catch, drive, new_runtime, or_cancelled, thaw};
use crate::error::Error;
use crate::footprint::{Footprint, Inventory, Observer};
use crate::leak::{self, Allowance, AllowedBy, Leak, LeakClass, Sorted};
use crate::matrix::Matrix;
use crate::outcome::{Class, Problem};
use crate::panics::{self, Phase};
use crate::param::{Begin, Body, BodyError, BodyResult, Build};
use crate::process_tree;
use crate::protocol::{Done, FromWorker, Order, WorkerConfig};
use crate::registry::{Flavor, Scenario};
use crate::sub_case;
use crate::temporary::Temporary;
use crate::variant;
use crate::verdict::{BodyEnd, Findings};

/// Runs cases one after another.
pub(crate) struct Executor {
    config: WorkerConfig,
    environment: Arc<crate::param::Environment>,
    scenarios: Vec<&'static Scenario>,
    /// By the scenario's number; made for its first case.
    matrices: Vec<Option<Rc<Matrix>>>,
    cancel: Arc<Cancel>,
    tell: Box<dyn Fn(&FromWorker) + Send>,
    /// What may outlive every case.
    allowed: Vec<Allowance>,
    /// Kept from case to case while it is provably clean.
    runtime: Option<Runtime>,
    observer: Observer,
    temporary: Temporary,
    /// What the process had before any case, without and with a runtime.
    bare: Baseline,
    with_runtime: Baseline,
    /// Whether this process is all the executor's own, so that what is new in it is the case's.
    inspects: bool,
}

struct Baseline {
    footprint: Footprint,
    inventory: Inventory,
    /// Whether something of a case belongs to it, as an allowance says.
    is_adopted: bool,
}

impl Baseline {
    fn now(observer: &Observer) -> Self {
        Self {
            inventory: Inventory::now(),
            footprint: observer.footprint(),
            is_adopted: false,
        }
    }
}

impl Executor {
    /// `tell` gets what is to be known before the verdict.
    ///
    /// # Errors
    /// When no runtime can be made.
    pub(crate) fn new(
        config: WorkerConfig,
        cancel: Arc<Cancel>,
        tell: Box<dyn Fn(&FromWorker) + Send>,
    ) -> std::io::Result<Self> {
        // The first runtime of a process opens descriptors that are never closed; they are no case's.
        drop(new_runtime(Flavor::CurrentThread, false)?);
        let observer = Observer::new();
        let bare = Baseline::now(&observer);
        let runtime = new_runtime(Flavor::CurrentThread, false)?;
        let with_runtime = Baseline::now(&observer);
        cancel.probe.set_runtime(Some(runtime.handle().clone()));
        cancel.probe.is_here();
        let scenarios = crate::registry::unsorted();
        Ok(Self {
            environment: Arc::new(config.environment.clone()),
            config,
            matrices: vec![None; scenarios.len()],
            scenarios,
            cancel,
            tell,
            allowed: leak::everywhere(),
            runtime: Some(runtime),
            observer,
            temporary: Temporary::new(std::env::temp_dir()),
            bare,
            with_runtime,
            inspects: true,
        })
    }

    /// For a process that does other things at the same time.
    pub(crate) fn without_inspection(mut self) -> Self {
        self.inspects = false;
        self
    }

    pub(crate) fn run(&mut self, order: &Order) -> Done {
        let began = Instant::now();
        let mut findings = Findings::default();
        let mut dirty = None;
        let mut files = !self.inspects;
        match self.matrix(order) {
            Ok(matrix) => {
                let scenario = matrix.scenario;
                files |= self.attempt(order, &matrix, &mut findings);
                findings.should_panic = scenario.options.should_panic;
                dirty = self.inspect(order, scenario, &mut findings);
                files = files || self.temporary.has_files();
            }
            Err(problem) => findings.body = Some(BodyEnd::Broken(problem)),
        }
        findings.other_panics = panics::take_foreign();
        if !findings.other_panics.is_empty() {
            dirty.get_or_insert_with(|| "a panic outside of the body".to_owned());
        }
        if self.inspects && panics::hook_was_replaced() {
            dirty.get_or_insert_with(|| "the case replaced the panic hook".to_owned());
        }
        if matches!(findings.body, Some(BodyEnd::Cancelled | BodyEnd::BrokenOff)) {
            dirty.get_or_insert_with(|| "the case was cancelled".to_owned());
        }
        crate::flush::flush_output();
        let sub_cases = sub_case::bounded(findings.sub_cases.clone());
        Done {
            number: order.number,
            outcome: findings.outcome().bounded(),
            dirty,
            files,
            took_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
            sub_cases,
        }
    }

    /// The matrix that has the order's cell.
    fn matrix(&mut self, order: &Order) -> Result<Rc<Matrix>, Problem> {
        let broken = |text: String| Problem::new(Class::Harness, text);
        let number = order.scenario as usize;
        let matrix = match self.matrices.get(number) {
            Some(Some(known)) => Rc::clone(known),
            Some(None) => {
                let scenario = self.scenarios[number];
                let matrix = Matrix::expand(scenario, &self.config.suite_crate, &self.environment)
                    .map_err(|error| broken(error.to_string()))?;
                Rc::clone(self.matrices[number].insert(Rc::new(matrix)))
            }
            None => return Err(broken(format!("the worker knows no scenario number {number}"))),
        };
        if order.cell >= matrix.cells() {
            return Err(broken(format!(
                "the worker's matrix of {} has no cell {}",
                matrix.name, order.cell
            )));
        }
        Ok(matrix)
    }

    fn case(&self, order: &Order, matrix: &Matrix) -> Case {
        let variants = matrix.assignment(order.cell, order.seed);
        if !variants.is_empty() {
            tracing::info!("variants: {}", variant::line(&variants.list(), &[]));
        }
        Case::new(Facts {
            name: matrix.case_name(order.cell),
            seed: order.seed,
            attempt: order.attempt,
            folder: order.folder(&self.config.folder),
            environment: Arc::clone(&self.environment),
            run_id: self.config.run_id.clone(),
            variants,
        })
    }

    /// Returns whether the case has a folder with what it keeps.
    fn attempt(&mut self, order: &Order, matrix: &Matrix, findings: &mut Findings) -> bool {
        let scenario = matrix.scenario;
        panics::begin_case(|name| matrix.write_case_name(order.cell, name));
        let options = &scenario.options;
        let special = has_own_runtime(scenario);
        if special {
            self.drop_runtime();
        }
        if self.runtime.is_none() {
            match new_runtime(options.flavor, options.start_paused) {
                Ok(runtime) => self.keep_runtime(runtime),
                Err(error) => {
                    let text = format!("no tokio runtime could be made: {error}");
                    findings.body = Some(BodyEnd::Broken(Problem::new(Class::Harness, text)));
                    return false;
                }
            }
            if !special {
                self.with_runtime = Baseline {
                    is_adopted: self.bare.is_adopted,
                    ..Baseline::now(&self.observer)
                };
            }
        }
        let Some(runtime) = &self.runtime else {
            return false;
        };

        // Only parameters get hold of it.
        let mut case = None;
        let cancel = &self.cancel;
        let number = order.number;
        let end = catch(Phase::Case, || {
            let mut build = None;
            let body = match scenario.begin {
                Begin::Plain(body) => body(),
                Begin::Params(begin) => {
                    let case = case.insert(self.case(order, matrix));
                    let (choices, links) = (matrix.choices(order.cell), matrix.links.clone());
                    let build = build.insert(Build::new(case.clone(), scenario.sites, choices, links));
                    let built = or_cancelled(cancel, number, begin(build));
                    match drive(runtime, case.unless_broken_off(built)) {
                        Some(Some(Ok(body))) => body,
                        Some(Some(Err(error))) => return setup_error(&error),
                        Some(None) => return BodyEnd::Cancelled,
                        None => return BodyEnd::BrokenOff,
                    }
                }
            };
            panics::set_phase(Phase::Body);
            let result = match body {
                Body::Async(future) => {
                    let future = or_cancelled(cancel, number, future);
                    match &case {
                        None => drive(runtime, future),
                        Some(case) => match drive(runtime, case.unless_broken_off(future)) {
                            Some(result) => result,
                            None => return BodyEnd::BrokenOff,
                        },
                    }
                }
                Body::Sync(body) => {
                    let _context = runtime.enter();
                    Some(body())
                }
            };
            result.map_or(BodyEnd::Cancelled, body_end)
        });
        findings.body = Some(match end {
            Ok(end) => end,
            Err((Phase::Body, problem)) => BodyEnd::Panicked(problem),
            Err((_, problem)) => BodyEnd::Broken(Problem {
                class: Class::Setup,
                ..problem
            }),
        });
        if let Some(case) = &case {
            self.tear_down(case, findings);
            let end = case.take_end();
            findings.broken_off = end.broken;
            findings.failures = end.failures;
            findings.sub_cases = end.sub_cases;
        }
        if !matches!(
            findings.body,
            Some(BodyEnd::Ok | BodyEnd::Failed(_) | BodyEnd::Skipped(_))
        ) {
            self.drop_runtime();
        }
        case.is_some_and(|case| case.has_folder())
    }

    /// Undoes what the case deferred, last in, first out, all within the configured time.
    fn tear_down(&self, case: &Case, findings: &mut Findings) {
        let Some(runtime) = &self.runtime else { return };
        let until = Instant::now() + Duration::from_millis(self.config.teardown_ms_max);
        let mut thawed = false;
        while let Some(closer) = case.pop_closer() {
            if !std::mem::replace(&mut thawed, true) {
                (self.tell)(&FromWorker::BodyOver);
                thaw(runtime);
            }
            let left = until.saturating_duration_since(Instant::now());
            let what = closer.what;
            let closed = catch(Phase::Teardown, || {
                drive(runtime, async {
                    tokio::time::timeout(left, (closer.close)()).await
                })
            });
            match closed {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => findings.teardown.push(format!("{what}: {error:?}")),
                Ok(Err(_)) => {
                    let limit = self.config.teardown_ms_max;
                    findings.teardown.push(format!(
                        "{what}: not done when the {limit} ms for teardown were over"
                    ));
                }
                Err((_, problem)) => findings.teardown.push(format!("{what}: {problem}")),
            }
        }
    }

    /// Looks at what the case left; names what outlives the settle window. Returns why the process is not as
    /// it was.
    fn inspect(
        &mut self,
        order: &Order,
        scenario: &'static Scenario,
        findings: &mut Findings,
    ) -> Option<String> {
        let own_tasks = if has_own_runtime(scenario) {
            self.end_own_runtime()
        } else {
            None
        };
        if !self.inspects {
            return None;
        }
        let before = if self.runtime.is_some() {
            &self.with_runtime
        } else {
            &self.bare
        };
        let (changes, same) = if !before.is_adopted && self.observer.sees(&before.footprint) {
            (None, true)
        } else {
            let now = self.observer.footprint();
            (
                now.changes(&before.footprint),
                now.same_resources(&before.footprint),
            )
        };
        // What a case that failed left there may tell why, and is kept with it.
        let files = matches!(findings.body, Some(BodyEnd::Ok | BodyEnd::Skipped(_)));
        let files = files && self.temporary.has_files();
        if own_tasks.is_none() && self.tasks() == 0 && same && !files && !process_tree::has_children() {
            return changes;
        }
        let sorted = self.settle(order, scenario, own_tasks, files);
        process_tree::end_descendants(&Default::default());
        self.drop_runtime();
        for (leak, by, allowance) in &sorted.allowed {
            (self.tell)(&FromWorker::Allowed(*by));
            // Not `eprintln!`: the case may have closed it.
            let _closed = writeln!(
                std::io::stderr(),
                "left behind, as `{allowance}` allows: {} (because: {})",
                leak.text,
                allowance.because
            );
        }
        let stays = |leak: &Leak| !leak.class.ends_with_the_case();
        let files_alone = sorted.bad.iter().all(|leak| leak.class == LeakClass::Files);
        findings.leaks = sorted.bad.into_iter().map(|leak| leak.text).collect();
        if !files_alone {
            return Some("the case left something behind".to_owned());
        }
        let mut left = sorted.allowed.iter().filter(|(leak, ..)| stays(leak));
        if left.any(|(_, by, _)| matches!(by, AllowedBy::Scenario(..))) {
            return Some("the case left behind what it may".to_owned());
        }
        // Nothing is left that should not be, but something may be gone: a descriptor that was closed.
        let now = Baseline::now(&self.observer);
        let lacks = now.inventory.lacks(&self.bare.inventory);
        let changes = changes.or_else(|| lacks.then(|| "closed descriptors that are not its own".to_owned()));
        if changes.is_none() && sorted.allowed.iter().any(|(leak, ..)| stays(leak)) {
            // A library's, once and for all: the next case finds it here.
            self.bare = Baseline {
                is_adopted: true,
                ..now
            };
        }
        changes
    }

    /// What is left once nothing is but what is allowed, or the settle window is over.
    fn settle(
        &mut self,
        order: &Order,
        scenario: &'static Scenario,
        own_tasks: Option<Leak>,
        files: bool,
    ) -> Sorted {
        (self.tell)(&FromWorker::BodyOver);
        let until = Instant::now() + Duration::from_millis(self.config.settle_ms_max);
        let mut pause = Duration::from_micros(100);
        loop {
            if self.tasks() == 0 {
                // Its idle helper threads end with it.
                self.drop_runtime();
            }
            process_tree::reap_all();
            let mut leaks: Vec<Leak> = own_tasks.iter().cloned().chain(self.leaks()).collect();
            if files {
                leaks.extend(self.temporary.left());
            }
            let own = scenario.options.allow_leak;
            let sorted = leak::sort(leaks, (order.scenario, own), &self.allowed);
            // Tasks of a runtime that is gone have had their time.
            let over = sorted.bad.iter().all(|leak| Some(leak) == own_tasks.as_ref());
            if over || Instant::now() >= until {
                return sorted;
            }
            match &self.runtime {
                Some(runtime) => {
                    thaw(runtime);
                    runtime.block_on(async { tokio::time::sleep(pause).await });
                }
                None => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Ends a runtime that is the case's alone: its threads and descriptors go with it, so its tasks are
    /// looked at before. Returns those that do not end by themselves.
    fn end_own_runtime(&mut self) -> Option<Leak> {
        if self.inspects && self.tasks() > 0 {
            (self.tell)(&FromWorker::BodyOver);
            let until = Instant::now() + Duration::from_millis(self.config.settle_ms_max);
            while let Some(runtime) = self
                .runtime
                .as_ref()
                .filter(|_| self.tasks() > 0 && Instant::now() < until)
            {
                thaw(runtime);
                runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
            }
        }
        let left = self.tasks_left();
        self.drop_runtime();
        left
    }

    fn leaks(&self) -> Vec<Leak> {
        let mut leaks = Vec::new();
        leaks.extend(self.tasks_left());
        let children = process_tree::descendants(std::process::id(), &Default::default());
        leaks.extend(children.into_iter().map(|process| Leak {
            class: LeakClass::Processes,
            text: format!("process {process}"),
            name: process.command_line,
        }));
        let before = if self.runtime.is_some() {
            &self.with_runtime
        } else {
            &self.bare
        };
        leaks.extend(Inventory::now().beyond(&before.inventory));
        leaks
    }

    fn tasks_left(&self) -> Option<Leak> {
        let tasks = self.tasks();
        let text = format!("{tasks} tokio task{}", if tasks == 1 { "" } else { "s" });
        (tasks > 0).then(|| Leak::new(LeakClass::Tasks, text))
    }

    fn tasks(&self) -> usize {
        self.runtime
            .as_ref()
            .map_or(0, |runtime| runtime.metrics().num_alive_tasks())
    }

    fn keep_runtime(&mut self, runtime: Runtime) {
        self.cancel.probe.set_runtime(Some(runtime.handle().clone()));
        self.runtime = Some(runtime);
    }

    fn drop_runtime(&mut self) {
        self.cancel.probe.set_runtime(None);
        if let Some(runtime) = self.runtime.take() {
            // Dropping it would wait for blocking tasks for ever.
            runtime.shutdown_timeout(Duration::from_millis(100));
        }
    }
}

/// Whether the scenario runs on a runtime made for each of its cases.
fn has_own_runtime(scenario: &Scenario) -> bool {
    scenario.options.start_paused || !matches!(scenario.options.flavor, Flavor::CurrentThread)
}

fn setup_error(error: &Error) -> BodyEnd {
    match error.skip_reason() {
        Some(reason) => BodyEnd::Skipped(reason),
        None => BodyEnd::Broken(Problem::new(Class::Setup, format!("{error:?}"))),
    }
}

fn body_end(result: BodyResult) -> BodyEnd {
    match result {
        Ok(()) => BodyEnd::Ok,
        Err(BodyError::Failed(text)) => BodyEnd::Failed(Problem::new(Class::Error, text)),
        Err(BodyError::Skipped(reason)) => BodyEnd::Skipped(reason),
    }
}
