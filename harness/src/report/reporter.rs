//! The reports of a run while it runs: verdicts in, files and console lines out.
//!
//! Owned by one thread. What happens when is here; what it looks like is in the modules of the formats. A
//! report that cannot be written costs that report: it is said once on stderr, the run goes on, and
//! [`Reporter::finish`] returns the errors.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::event::{CaseFinished, Event, RunFinished};
use crate::outcome::Class;
use crate::report::case::Case;
use crate::report::errors::{Errors, ReportError};
use crate::report::log::EventLog;
use crate::report::opening::{Opening, ReporterOptions};
use crate::report::output::{Console, TERMINAL_PAUSE};
use crate::report::rebuild::{write_both, write_junit};
use crate::report::suite::Suite;
use crate::report::totals::Totals;

/// After how long a running case is told to be slow: libtest's number.
const SLOW: Duration = Duration::from_secs(60);

/// Something the reporter hears of.
#[derive(Debug)]
pub enum Progress {
    /// A case starts.
    Started {
        /// Its full name.
        case: String,
    },
    /// A case has its verdict; also one that was never started.
    Finished(Box<CaseFinished>),
    /// A case whose verdict was told is kept up: people are told, when it is in every report.
    Kept {
        /// What they are told, on stderr.
        text: String,
    },
    /// What people are to know beside verdicts, on stderr.
    Aside {
        /// It.
        text: String,
    },
}

/// How reporting ended.
#[derive(Debug)]
pub struct Finished {
    /// How many cases have which verdict; [`Totals::failed`] of 0 is a success.
    pub totals: Totals,
    /// What could not be written; each was said on stderr.
    pub errors: Vec<ReportError>,
}

/// See the module.
pub struct Reporter {
    suite: Vec<Suite>,
    is_settled: bool,
    total: u64,
    log: Option<EventLog>,
    junit: Vec<PathBuf>,
    html: Option<PathBuf>,
    console: Console,
    cadence: Cadence,
    started: Instant,
    /// Since when a case has been running, and whether it was told to be slow.
    running: HashMap<String, (Instant, bool)>,
    live_shown: Option<Instant>,
    /// The cases that had a bad verdict, also where another one replaces it.
    bad: BTreeSet<String>,
    errors: Errors,
}

impl Reporter {
    /// Opens the events file, writes its first line, and tells on the console what is going to run.
    pub fn new(options: ReporterOptions) -> Self {
        Self::begin(Opening::new(options))
    }

    /// Writes the first line of the events, and makes ready for verdicts. Takes longer the more is planned.
    pub(crate) fn begin(opening: Opening) -> Self {
        let mut errors = opening.errors;
        let mut log = opening.log;
        let mut started = opening.run;
        if let Some(log) = &mut log {
            let first = [Event::RunStarted(started)];
            errors.catch(log.append(&first));
            let [Event::RunStarted(written)] = first else {
                unreachable!("it was just made");
            };
            started = written;
        }
        Self {
            suite: vec![Suite::new(started)],
            is_settled: false,
            total: opening.total,
            log,
            junit: opening.junit,
            html: opening.html,
            console: opening.console,
            cadence: Cadence::new(opening.total),
            started: now(),
            running: HashMap::new(),
            live_shown: None,
            bad: BTreeSet::new(),
            errors,
        }
    }

    /// Takes in what happened, in order. Verdicts are in the events file before anything else is done.
    pub fn handle(&mut self, batch: Vec<Progress>) {
        let mut verdicts = Vec::new();
        let mut told = Vec::with_capacity(batch.len());
        let mut asides = Vec::new();
        for progress in batch {
            told.push(match progress {
                Progress::Started { case } => Some(case),
                Progress::Finished(case) => {
                    verdicts.push(Event::CaseFinished(case));
                    None
                }
                Progress::Kept { text } => {
                    asides.push((true, text));
                    continue;
                }
                Progress::Aside { text } => {
                    asides.push((false, text));
                    continue;
                }
            });
        }
        if let Some(log) = &mut self.log {
            self.errors.catch(log.append(&verdicts));
        }
        let mut verdicts = verdicts.iter();
        for started in told {
            match (started, &mut verdicts) {
                (Some(case), _) => {
                    self.console.tell(|format, out| format.case_started(out, &case));
                    self.running.insert(case, (now(), false));
                }
                (None, verdicts) => {
                    let Some(Event::CaseFinished(case)) = verdicts.next() else {
                        continue;
                    };
                    if !self.running.is_empty() {
                        self.running.remove(&case.case);
                    }
                    if case.outcome.is_bad() {
                        self.bad.insert(case.case.clone());
                    }
                    self.suite[0].cases.add(case);
                    self.console.tell(|format, out| format.case_finished(out, case));
                }
            }
        }
        if !asides.is_empty() {
            self.tell_aside(asides);
        }
        self.tick();
    }

    /// After the verdicts that came with it; where it must, with these in every report.
    fn tell_aside(&mut self, asides: Vec<(bool, String)>) {
        if asides.iter().any(|(in_reports, _)| *in_reports) {
            self.settle();
            write_both(&self.junit, self.html.as_deref(), &self.suite, &mut self.errors);
        }
        self.console.flush(true, &mut self.errors);
        for (_, text) in asides {
            self.console.aside(&format!("robust-test: {text}"));
        }
    }

    /// Does what is due: status lines, slow cases, `junit.xml`. To be called a few times a second also while
    /// nothing happens.
    pub fn tick(&mut self) {
        for (case, (since, is_told)) in &mut self.running {
            if !*is_told && since.elapsed() >= SLOW {
                *is_told = true;
                self.console
                    .tell(|format, out| format.case_slow(out, case, SLOW.as_secs()));
            }
        }
        self.console.flush(false, &mut self.errors);
        if let Some(live) = &self.console.live
            && self
                .live_shown
                .is_none_or(|shown| shown.elapsed() >= TERMINAL_PAUSE)
        {
            let running = self
                .running
                .iter()
                .map(|(case, (since, _))| (&**case, since.elapsed()));
            let running: Vec<_> = running.collect();
            // Placeholders of cases to come are no verdicts.
            let totals = Totals {
                pending: 0,
                ..*self.suite[0].cases.totals()
            };
            live.update(&totals, self.total, self.started.elapsed(), &running);
            self.live_shown = Some(now());
        }
        if !self.junit.is_empty() && self.cadence.is_due(self.started.elapsed()) {
            let start = self.started.elapsed();
            self.write_junit();
            self.cadence.wrote(start, self.started.elapsed());
        }
    }

    /// How many cases have which verdict so far.
    pub fn totals(&self) -> &Totals {
        self.suite[0].cases.totals()
    }

    /// The cases that had a bad verdict so far.
    pub(crate) fn bad(&self) -> &BTreeSet<String> {
        &self.bad
    }

    /// The cases whose verdict is bad and no interruption, as reports tell them, by name.
    pub(crate) fn bad_cases(&self) -> Vec<CaseFinished> {
        let cases = self.suite[0].cases.cases();
        let bad = cases.filter(|case| {
            let outcome = case.outcome();
            let is_interrupted = outcome
                .problem()
                .is_some_and(|problem| problem.class == Class::Interrupted);
            outcome.is_bad() && !is_interrupted
        });
        let mut bad: Vec<CaseFinished> = bad.map(|case| case.to_finished()).collect();
        bad.sort_by(|a, b| a.case.cmp(&b.case));
        bad
    }

    /// The cases that have a verdict so far.
    pub(crate) fn cases(&self) -> impl Iterator<Item = Case<'_>> {
        self.suite[0].cases.cases()
    }

    /// Writes every report a last time. Cases without a verdict are told as interrupted.
    pub fn finish(mut self, run: RunFinished) -> Finished {
        if let Some(log) = &mut self.log {
            self.errors.catch(log.append(&[Event::RunFinished(run.clone())]));
        }
        self.suite[0].runs[0].finished = Some(run);
        self.settle();
        self.console.end(&self.suite[0], &mut self.errors);
        write_both(&self.junit, self.html.as_deref(), &self.suite, &mut self.errors);
        Finished {
            totals: *self.totals(),
            errors: self.errors.all,
        }
    }

    fn settle(&mut self) {
        if !std::mem::replace(&mut self.is_settled, true) {
            let suite = &mut self.suite[0];
            suite.cases.settle(&suite.plan);
        }
    }

    fn write_junit(&mut self) {
        if !self.junit.is_empty() {
            self.settle();
            // The other processors are the cases'.
            write_junit(&self.junit, &self.suite, 1, &mut self.errors);
        }
    }
}

/// When `junit.xml` is written while the run goes on: at most about once a second, and so seldom that no
/// more than a tenth of the time goes into it however long it takes.
#[derive(Debug)]
struct Cadence {
    next: Duration,
}

impl Cadence {
    const PAUSE: Duration = Duration::from_secs(1);
    /// Times as long as the last write took; more than 9, because the next one takes longer.
    const REST: u32 = 12;

    /// The first time; its cost is not known, but that it grows with the cases.
    fn new(cases: u64) -> Self {
        let per_case = if cfg!(debug_assertions) { 20 } else { 4 };
        let cost = Duration::from_micros(cases.saturating_mul(per_case));
        Self {
            next: Self::PAUSE.max(cost.saturating_mul(Self::REST)),
        }
    }

    /// `elapsed` is the time since the run began, here and below.
    fn is_due(&self, elapsed: Duration) -> bool {
        elapsed >= self.next
    }

    fn wrote(&mut self, start: Duration, end: Duration) {
        self.next = end + Self::PAUSE.max((end - start) * Self::REST);
    }
}

/// The clock of the machine: reports are about real time.
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
#[path = "reporter_tests.rs"]
mod tests;
