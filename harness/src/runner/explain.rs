//! `--explain`, after the run: failed cases as child runs of this binary, one variant flipped at a time.
//!
//! Each child has a report folder of its own in the run's temporary folder, and carries the run's mark, so that the
//! reaper ends it where this runner is killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cli::Settings;
use crate::event::{CaseFinished, Event};
use crate::explain::{CASES_MAX, Subject, Trial, Verdict, left_out};
use crate::interrupt::Interrupt;
use crate::matrix::Matrix;
use crate::param::Environment;
use crate::process_tree;
use crate::registry::{Isolation, Scenario};

/// What one attempt at a case may take beside its deadline: the start of a runner, teardown and leak check.
const AROUND: Duration = Duration::from_secs(30);
/// How long an interrupted child may take; it ends what it started.
const INTERRUPTED_WITHIN: Duration = Duration::from_secs(15);
/// How often a child is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// What child runs need to know of this one.
pub(super) struct Explainer {
    pub(super) settings: Settings,
    pub(super) environment: Environment,
    pub(super) suite_crate: &'static str,
    pub(super) scenarios: Vec<&'static Scenario>,
    pub(super) hidden_variables: Vec<String>,
    pub(super) run_id: String,
    /// Where reports of children go: made when it is needed.
    pub(super) folder: PathBuf,
    pub(super) interrupt: Arc<Interrupt>,
}

impl Explainer {
    /// One line for each of the first bad cases that have variants.
    pub(super) fn explain(&self, bad: &[CaseFinished]) -> Vec<String> {
        let varied: Vec<&CaseFinished> = bad.iter().filter(|case| !case.variants.is_empty()).collect();
        let (first, rest) = varied.split_at(varied.len().min(CASES_MAX));
        let mut lines = Vec::new();
        for case in first {
            if self.interrupt.signal().is_some() {
                break;
            }
            lines.push(match self.case(case) {
                Ok(line) => line,
                Err(error) => format!("explain {}: it could not be explained: {error}", case.case),
            });
        }
        if !rest.is_empty() {
            let names: Vec<String> = rest.iter().map(|case| case.case.clone()).collect();
            lines.push(left_out(&names));
        }
        lines
    }

    fn case(&self, case: &CaseFinished) -> std::io::Result<String> {
        let name = &case.case;
        let base = &name[..name.find('[').unwrap_or(name.len())];
        let mut scenarios = self.scenarios.iter();
        let scenario = scenarios.find(|scenario| scenario.full_name(self.suite_crate) == base);
        let matrix =
            scenario.and_then(|scenario| Matrix::expand(scenario, self.suite_crate, &self.environment).ok());
        let Some((matrix, cell)) = matrix.and_then(|matrix| {
            let cell = matrix.find(name)?;
            Some((matrix, cell))
        }) else {
            return Err(std::io::Error::other("its matrix has changed"));
        };
        let subject = Subject::new(case, &matrix.assignment(cell, case.seed), matrix.mode());
        if subject.alternatives().is_empty() {
            return Ok(format!("explain {name}: it has no variant with another value"));
        }
        let run = |trial: &Trial| self.run(case, &matrix, trial);
        let again = run(&subject.unchanged())?;
        if again != Verdict::Fails {
            return Ok(subject.not_reproducible(&again));
        }
        let mut results = Vec::new();
        for alternative in subject.alternatives() {
            let mut of = Vec::new();
            for value in &alternative.others {
                of.push(run(&subject.flipped(alternative, value))?);
            }
            results.push(of);
        }
        if self.interrupt.signal().is_some() {
            return Err(std::io::Error::other("the run was interrupted"));
        }
        Ok(subject.explain(&results))
    }

    /// Runs the case once more.
    fn run(&self, case: &CaseFinished, matrix: &Matrix, trial: &Trial) -> std::io::Result<Verdict> {
        if self.interrupt.signal().is_some() {
            return Ok(Verdict::Unknown("the run was interrupted".to_owned()));
        }
        let reports = self.folder.join("report");
        let temporary = self.folder.join("tmp");
        std::fs::create_dir_all(&reports)?;
        std::fs::create_dir_all(&temporary)?;
        let mut command = self.command(case, trial, &reports);
        command.env("TMPDIR", &temporary);
        let mut child = command.spawn()?;
        let options = &matrix.scenario.options;
        let attempts = 1 + options.retries.unwrap_or(0);
        let within = (options.timeout.unwrap_or(self.settings.timeout) + AROUND) * attempts;
        let result = if self.wait(&mut child, within)? {
            verdict(&reports.join("events.jsonl"), &trial.name)
        } else {
            Verdict::Unknown("it did not end in time".to_owned())
        };
        crate::artifacts::remove_all(&self.folder)?;
        Ok(result)
    }

    fn command(&self, case: &CaseFinished, trial: &Trial, reports: &Path) -> Command {
        let name = std::env::args_os().next().unwrap_or_default();
        let mut command = Command::new("/proc/self/exe");
        for variable in &self.hidden_variables {
            command.env_remove(variable);
        }
        let settings = &self.settings;
        let timeout = humantime::format_duration(settings.timeout).to_string();
        std::os::unix::process::CommandExt::arg0(&mut command, name)
            .args(["--exact", &trial.name])
            .args(["--seed", &case.root_seed.to_string()])
            .args(["--variants", settings.variants.mode.name()])
            .args(["--timeout", &timeout])
            .arg("--include-ignored")
            .arg("--report-dir")
            .arg(reports)
            .env(process_tree::MARKER, &self.run_id)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        for variant in &trial.variants {
            command.args(["--variant", variant]);
        }
        for (kind, path) in &settings.bins {
            let mut bin = std::ffi::OsString::from(format!("{kind}="));
            bin.push(path);
            command.arg("--bin").arg(bin);
        }
        if settings.isolation == Some(Isolation::Process) {
            command.args(["--isolation", "process"]);
        }
        command
    }

    /// Waits for a child, which is ended when its time is over. Returns whether it ended by itself.
    fn wait(&self, child: &mut Child, within: Duration) -> std::io::Result<bool> {
        let mut until = Instant::now() + within;
        let mut is_interrupted = false;
        loop {
            if child.try_wait()?.is_some() {
                return Ok(!is_interrupted);
            }
            if !is_interrupted && self.interrupt.signal().is_some() {
                is_interrupted = true;
                until = Instant::now() + INTERRUPTED_WITHIN;
                if let Some(pid) = process_tree::as_pid(child.id()) {
                    let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                }
            }
            if Instant::now() >= until {
                // Its reaper ends what it leaves.
                child.kill()?;
                child.wait()?;
                return Ok(false);
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// The verdict of the case in a child's events.
fn verdict(events: &Path, name: &str) -> Verdict {
    let text = std::fs::read_to_string(events).unwrap_or_default();
    let found = text.lines().find_map(|line| match serde_json::from_str(line) {
        Ok(Event::CaseFinished(case)) if case.case == name => Some(Verdict::of(&case.outcome)),
        _ => None,
    });
    found.unwrap_or_else(|| Verdict::Unknown("it has no verdict".to_owned()))
}
