//! `--keep-on-failure`: what the first bad case of a run started stays up for people, until a signal comes or its time
//! is over.
//!
//! Its worker stops between the case's code and its teardown, tells what the case came to and how to reach what is up,
//! and waits ([`crate::protocol::FromWorker::Bad`]). Here it is decided whether that case is the one; its verdict is in
//! every report, and nothing new starts, before people are told. What shows afterwards changes no verdict.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use crate::artifacts::{self, Source};
use crate::capture::Capture;
use crate::case_run::{fill, folder_name, micros, tell_of_deadline};
use crate::deadline::Seen;
use crate::event::{CaseFinished, SubCase};
use crate::known_failure;
use crate::outcome::Outcome;
use crate::protocol::Order;
use crate::registry::KnownFailure;
use crate::report::Progress;
use crate::rules::{CaseToRun, Rules};
use crate::symbols::Symbols;
use crate::variant::Assignment;

/// Of one run.
#[derive(Debug)]
pub(crate) struct Keep {
    within: Duration,
    /// Whether a case was kept: the first one is, and no other.
    taken: AtomicBool,
}

/// What a case that runs reaches beside its own slot.
#[derive(Clone, Copy)]
pub(crate) struct Outside<'a> {
    pub(crate) progress: &'a SyncSender<Progress>,
    /// Starts nothing any more, for this reason.
    pub(crate) stop: &'a dyn Fn(&str),
}

/// A bad case before it is torn down.
pub(crate) struct Judged<'a> {
    /// Before it is known whether its failure is.
    pub(crate) outcome: Outcome,
    pub(crate) sub_cases: Vec<SubCase>,
    pub(crate) seen: Option<&'a Seen>,
    /// How to reach each thing that it started.
    pub(crate) reach: &'a [String],
}

/// The last attempt at a case, which may be kept.
pub(crate) struct Keeping<'a> {
    pub(crate) keep: &'a Keep,
    pub(crate) rules: &'a Rules,
    pub(crate) outside: Outside<'a>,
    pub(crate) case: CaseToRun<'a>,
    pub(crate) order: &'a Order,
    pub(crate) variants: &'a Assignment,
    pub(crate) known: &'a [&'static KnownFailure],
    /// With everything that is known before the attempt.
    pub(crate) event: &'a CaseFinished,
    /// When the first attempt began.
    pub(crate) started: Instant,
    /// The verdict that was told.
    pub(crate) told: OnceCell<CaseFinished>,
}

impl Outside<'_> {
    /// That of a bad case nothing is kept.
    pub(crate) fn tell_of_nothing(&self, case: &str) {
        let text = format!("{case}: nothing that it started was up any more, so nothing of it is kept up");
        let _reporter_gone = self.progress.send(Progress::Aside { text });
    }
}

impl Keep {
    pub(crate) fn new(within: Duration) -> Self {
        Self {
            within,
            taken: AtomicBool::new(false),
        }
    }

    /// Whether a case was kept.
    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Ordering::SeqCst)
    }

    fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::SeqCst)
    }
}

impl Keeping<'_> {
    /// For how long the case is kept, if it is; its verdict is told then.
    pub(crate) fn keep(&self, judged: Judged<'_>, capture: &mut Capture) -> Option<Duration> {
        let mut outcome = known_failure::judge(judged.outcome, self.known);
        if !outcome.is_bad() || !self.keep.take() {
            return None;
        }
        // Not in a run that is interrupted already.
        if !self.rules.interrupt.begin_keeping() {
            return None;
        }
        (self.outside.stop)("a case that failed is kept up (--keep-on-failure)");
        if let Some(seen) = judged.seen {
            tell_of_deadline(
                self.rules,
                self.order,
                self.case,
                (seen, &mut Symbols::default()),
                &mut outcome,
            );
        }
        let mut event = self.event.clone();
        event.outcome = outcome;
        event.sub_cases = judged.sub_cases;
        known_failure::hold_for_sub_cases(&event.outcome, &mut event.sub_cases);
        event.duration_us = micros(self.started.elapsed());
        let folder = self.order.folder(&self.rules.launcher.folder);
        let files = Source::Copied(std::slice::from_ref(&folder));
        fill(self.rules, &mut event, self.variants, self.case, capture, files);
        let _reporter_gone = self
            .outside
            .progress
            .send(Progress::Finished(Box::new(event.clone())));
        let text = text(&event, judged.reach, self.keep.within, std::process::id());
        let _reporter_gone = self.outside.progress.send(Progress::Kept { text });
        let _only_once = self.told.set(event);
        Some(self.keep.within)
    }

    /// Tells what happened to what is kept up.
    pub(crate) fn meanwhile(&self, text: &str) {
        let text = format!("kept up: {}", text.trim_end());
        let _reporter_gone = self.outside.progress.send(Progress::Aside { text });
    }

    /// Tells what showed after the verdict, and puts the case's files where the verdict says that they are.
    pub(crate) fn end(
        &self,
        mut event: CaseFinished,
        later: &Outcome,
        capture: &mut Capture,
        leftovers: &[std::path::PathBuf],
    ) -> CaseFinished {
        let (cases, name) = (&self.rules.cases, folder_name(&event));
        let kept = artifacts::keep(cases, &name, capture, Source::Moved(leftovers));
        let mut texts = Vec::new();
        if let Some(problem) = later.problem() {
            texts.push(format!(
                "after it was kept up, {}: {problem}",
                problem.class.name()
            ));
        }
        match kept {
            Ok(kept) => event.attachments = kept.files,
            Err(error) => texts.push(format!("its files could not be kept: {error}")),
        }
        for text in texts {
            let text = format!("{}: {text}", event.case);
            let _reporter_gone = self.outside.progress.send(Progress::Aside { text });
        }
        event
    }
}

/// What people are told of a case that is kept.
fn text(event: &CaseFinished, reach: &[String], within: Duration, runner: u32) -> String {
    let reach = reach.join("\n");
    format!(
        "{} {}; what it started is kept up (--keep-on-failure), and nothing new starts:\n\n{reach}\n\n\
         Ctrl-C or `kill {runner}` ends it, at the latest in {}",
        event.case,
        event.outcome.name(),
        humantime::format_duration(within)
    )
}
