//! What a case left, looked at after its teardown: what is on its way out gets a settle window, what stays is named.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Baseline, Executor, has_own_runtime};
use crate::drive::thaw;
use crate::footprint::Inventory;
use crate::leak::{self, AllowedBy, Leak, LeakClass, Sorted};
use crate::mounts::{self, Mount};
use crate::process_tree;
use crate::protocol::{FromWorker, Order, WorkerConfig};
use crate::registry::Scenario;
use crate::seed::Seed;
use crate::stash::Holdings;
use crate::verdict::{BodyEnd, Findings};

/// What the look at a case that left nothing costs by itself: the mean of so many `rounds`, in a process that has a
/// scenario and an empty `TMPDIR`, and does nothing else. For the bench `overhead`, since it cannot be told from outside.
///
/// # Errors
/// When no runtime can be made.
pub fn cost_of_a_look(rounds: u32) -> std::io::Result<Duration> {
    let config = WorkerConfig::default();
    let mut executor = Executor::new(config, Default::default(), Box::new(|_| ()))?;
    let scenario = executor.scenarios[0];
    let order = Order {
        number: 1,
        ahead: false,
        scenario: 0,
        attempt: 0,
        cell: 0,
        seed: Seed(0),
    };
    let begin = Instant::now();
    for _ in 0..rounds {
        let mut findings = Findings {
            body: Some(BodyEnd::Ok),
            ..Findings::default()
        };
        let dirty = executor.inspect(&order, scenario, &mut findings, false);
        assert!(
            dirty.is_none() && findings.leaks.is_empty(),
            "{:?}",
            findings.leaks
        );
    }
    Ok(begin.elapsed() / rounds)
}

/// What is still mounted in the case's folder; it is unmounted when the folder is kept or removed.
fn mounted(folder: &Path) -> Vec<Leak> {
    let leak = |mount: Mount| Leak {
        class: LeakClass::Files,
        name: mount.at.display().to_string(),
        text: format!("a file system ({}) mounted at {}", mount.kind, mount.at.display()),
    };
    mounts::below(folder).into_iter().map(leak).collect()
}

impl Executor {
    /// Looks at what the case left, also in its folder if it has one; names what outlives the settle window. Returns why
    /// the process is not as it was.
    pub(super) fn inspect(
        &mut self,
        order: &Order,
        scenario: &'static Scenario,
        findings: &mut Findings,
        has_folder: bool,
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
        let kept = self.holdings();
        let (changes, same) = if !before.is_adopted && self.observer.sees(&before.footprint, &kept) {
            (None, true)
        } else {
            let now = self.observer.footprint(&kept);
            (
                now.changes(&before.footprint),
                now.same_resources(&before.footprint),
            )
        };
        // What a case that failed left there may tell why, and is kept with it.
        let files = matches!(findings.body, Some(BodyEnd::Ok | BodyEnd::Skipped(_)));
        let files = files && self.temporary.has_files();
        let folder = has_folder.then(|| order.folder(&self.config.folder));
        let folder =
            folder.filter(|folder| mounts::is_worth_a_look(folder) && !mounts::below(folder).is_empty());
        let has_children = || process_tree::has_children_beside(&kept.groups);
        if own_tasks.is_none() && self.tasks() == 0 && same && !files && folder.is_none() && !has_children() {
            return changes;
        }
        let sorted = self.settle(order, scenario, own_tasks, files, folder.as_deref(), &kept);
        process_tree::end_descendants(&process_tree::kept_children(&kept.groups));
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
        let now = Baseline::now(&self.observer, &kept);
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
        folder: Option<&Path>,
        kept: &Holdings,
    ) -> Sorted {
        (self.tell)(&FromWorker::BodyOver);
        let until = Instant::now() + Duration::from_millis(self.config.settle_ms_max);
        let mut pause = Duration::from_micros(100);
        loop {
            if self.tasks() == 0 {
                // Its idle helper threads end with it.
                self.drop_runtime();
            }
            process_tree::reap_all(&kept.groups);
            let mut leaks: Vec<Leak> = own_tasks.iter().cloned().chain(self.leaks(kept)).collect();
            if files {
                leaks.extend(self.temporary.left());
            }
            leaks.extend(folder.map(mounted).unwrap_or_default());
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

    fn leaks(&self, kept: &Holdings) -> Vec<Leak> {
        let mut leaks = Vec::new();
        leaks.extend(self.tasks_left());
        let skip = process_tree::kept_children(&kept.groups);
        let children = process_tree::descendants(std::process::id(), &skip);
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
        leaks.extend(Inventory::now(kept).beyond(&before.inventory));
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
}
