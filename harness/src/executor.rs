//! One attempt at a case, inside the process that runs it: parameters in order, the body, teardown in
//! reverse, and a look at what is left.
//!
//! Knows nothing of the runner, of slots or of reports: an order comes in, a verdict goes out. The runner
//! keeps the deadlines, because a case may freeze tokio's clock or block its thread.

mod keep;
mod leak_check;

pub use leak_check::cost_of_a_look;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::case::{Case, Closer, Facts};
use crate::drive::{Cancel, catch, drive, new_runtime, or_cancelled, thaw};
use crate::error::Error;
use crate::footprint::{Footprint, Inventory, Observer};
use crate::leak::{self, Allowance};
use crate::matrix::Matrix;
use crate::outcome::{Class, Problem};
use crate::panics::{self, Phase};
use crate::param::{Begin, Body, BodyError, BodyResult, Build};
use crate::protocol::{Done, FromWorker, Order, WorkerConfig};
use crate::registry::{Flavor, Scenario};
use crate::spare_folder::SpareFolder;
use crate::stash::{Holdings, Stash};
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
    /// What is kept from case to case; `None` in a process that does other things at the same time.
    stash: Option<Arc<Stash>>,
    /// What a case takes for its folder; `None` there too.
    spare: Option<Arc<SpareFolder>>,
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
    /// Without what is kept.
    fn now(observer: &Observer, kept: &Holdings) -> Self {
        Self {
            inventory: Inventory::now(kept),
            footprint: observer.footprint(kept),
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
        let bare = Baseline::now(&observer, &Holdings::default());
        let runtime = new_runtime(Flavor::CurrentThread, false)?;
        let with_runtime = Baseline::now(&observer, &Holdings::default());
        cancel.probe.set_runtime(Some(runtime.handle().clone()));
        cancel.probe.is_here();
        let scenarios = crate::registry::unsorted();
        let spare = config.folder.join(format!("spare.{}", std::process::id()));
        Ok(Self {
            environment: Arc::new(config.environment.clone()),
            config,
            matrices: vec![None; scenarios.len()],
            scenarios,
            cancel,
            tell,
            allowed: leak::everywhere(),
            stash: Some(Arc::default()),
            spare: Some(Arc::new(SpareFolder::new(spare))),
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
        self.stash = None;
        self.spare = None;
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
                findings.should_panic = scenario.options.should_panic;
                let has_folder = self.attempt(order, &matrix, &mut findings);
                dirty = self.inspect(order, scenario, &mut findings, has_folder);
                files |= has_folder && !self.removes_folder(order, dirty.is_some());
                files = files || self.temporary.has_files();
            }
            Err(problem) => findings.body = Some(BodyEnd::Broken(problem)),
        }
        findings.other_panics.extend(panics::take_foreign());
        if !findings.other_panics.is_empty() {
            dirty.get_or_insert_with(|| "a panic outside of the body".to_owned());
        }
        if self.inspects && panics::hook_was_replaced() {
            dirty.get_or_insert_with(|| "the case replaced the panic hook".to_owned());
        }
        if findings.was_kept {
            dirty.get_or_insert_with(|| "the case was kept up".to_owned());
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

    /// Whether the case's folder was empty, so that nothing is to be kept, and is gone: the next case need not wait for
    /// the runner then. One that the case may still have open is no other's.
    fn removes_folder(&self, order: &Order, is_dirty: bool) -> bool {
        let folder = order.folder(&self.config.folder);
        let spare = self.spare.as_ref().filter(|_| !is_dirty);
        spare.is_some_and(|spare| spare.take_back(&folder)) || std::fs::remove_dir(folder).is_ok()
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
            stash: self.stash.clone(),
            spare: self.spare.clone(),
        })
    }

    /// What belongs to the things that are kept.
    fn holdings(&self) -> Holdings {
        self.stash.as_deref().map(Stash::holdings).unwrap_or_default()
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
                    ..Baseline::now(&self.observer, &self.holdings())
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
            if !matches!(findings.body, Some(BodyEnd::Ok)) {
                case.spoil();
            }
            let mut until = self.teardown_ends();
            if self.config.keeps && self.keep(order, case, until, findings) {
                until = self.teardown_ends();
            }
            self.tear_down(until, findings, || case.pop_closer());
            findings.also(case.take_end());
        }
        if !matches!(
            findings.body,
            Some(BodyEnd::Ok | BodyEnd::Failed(_) | BodyEnd::Skipped(_))
        ) {
            self.drop_runtime();
        }
        case.is_some_and(|case| case.has_folder())
    }

    /// When a teardown that begins now is to be over.
    fn teardown_ends(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.config.teardown_ms_max)
    }

    /// Undoes what the case deferred, as `next` yields it, all until the given time.
    fn tear_down(&self, until: Instant, findings: &mut Findings, next: impl Fn() -> Option<Closer>) {
        let Some(runtime) = &self.runtime else { return };
        let mut thawed = false;
        while let Some(closer) = next() {
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
        None if error.is_required() => BodyEnd::Broken(Problem::new(Class::Required, error.to_string())),
        None => BodyEnd::Broken(Problem::new(Class::Setup, format!("{error:?}"))),
    }
}

fn body_end(result: BodyResult) -> BodyEnd {
    match result {
        Ok(()) => BodyEnd::Ok,
        Err(BodyError::Failed(text)) => BodyEnd::Failed(Problem::new(Class::Error, text)),
        Err(BodyError::Skipped(reason)) => BodyEnd::Skipped(reason),
        Err(BodyError::Required(text)) => BodyEnd::Broken(Problem::new(Class::Required, text)),
    }
}
