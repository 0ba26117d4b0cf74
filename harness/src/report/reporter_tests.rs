use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::*;
use crate::outcome::Outcome;
use crate::report::console::{FormatKind, Style};
use crate::report::{ConsoleOptions, RebuildOptions, fixture, read, rebuild};

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stdout whose reader went away, or whose disk is full.
struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn console(writer: impl Write + Send + 'static) -> ConsoleOptions {
    ConsoleOptions {
        format: FormatKind::Pretty,
        style: Style::default(),
        terminal: false,
        writer: Box::new(writer),
    }
}

fn options(folder: &Path, writer: impl Write + Send + 'static) -> ReporterOptions {
    ReporterOptions {
        run: fixture::started(&[(0, 6)]),
        skipped: 0,
        events: Some(folder.join("events.jsonl")),
        junit: vec![folder.join("junit.xml")],
        html: Some(folder.join("report.html")),
        console: console(writer),
    }
}

fn nasty() -> Vec<Progress> {
    let cases = fixture::nasty_cases().into_iter();
    let both = cases.flat_map(|case| {
        let started = Progress::Started {
            case: case.case.clone(),
        };
        [started, Progress::Finished(Box::new(case))]
    });
    both.collect()
}

#[test]
fn every_report_can_be_rebuilt_from_the_events_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let out = Shared::default();
    let mut reporter = Reporter::new(options(folder.path(), out.clone()));
    reporter.handle(nasty());
    // Where that took a second, `junit.xml` has been written and the one to come has its place.
    let so_far = reporter.totals();
    assert_eq!(so_far.failed() - so_far.pending, 3);
    let finished = reporter.finish(fixture::finished());
    assert!(finished.errors.is_empty(), "{:?}", finished.errors);
    // One was planned and never came.
    assert_eq!(finished.totals.failed(), 4);
    assert!(out.text().contains("running 6 tests") && out.text().contains("test result: FAILED"));

    let again = folder.path().join("again");
    let summary = Shared::default();
    let rebuilt = rebuild(
        &[folder.path().join("events.jsonl")],
        RebuildOptions {
            junit: vec![again.join("junit.xml")],
            html: Some(folder.path().join("again.html")),
            console: console(summary.clone()),
        },
    );
    assert_eq!(rebuilt.unwrap().totals, finished.totals);
    let same = |a: PathBuf, b: PathBuf| assert!(std::fs::read(a).unwrap() == std::fs::read(b).unwrap());
    same(folder.path().join("junit.xml"), again.join("junit.xml"));
    same(
        folder.path().join("report.html"),
        folder.path().join("again.html"),
    );
    let end = |text: &str| text[text.rfind("\nfailures:").unwrap()..].to_owned();
    assert_eq!(end(&summary.text()), end(&out.text()));
}

#[test]
fn a_run_that_was_killed_keeps_its_verdicts_and_its_junit_file_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    let mut reporter = Reporter::new(options(folder.path(), io::sink()));
    let passed = fixture::case("robust::kills::survives[broker=mosquitto,qos=0]", Outcome::Passed);
    reporter.cadence.next = Duration::ZERO;
    reporter.handle(vec![Progress::Finished(Box::new(passed))]);
    // No `finish`: nothing of the process is left.
    std::mem::forget(reporter);
    let recording = read(&[folder.path().join("events.jsonl")]).unwrap();
    assert_eq!((recording.totals().passed, recording.totals().pending), (1, 5));
    let junit = std::fs::read_to_string(folder.path().join("junit.xml")).unwrap();
    assert!(
        junit.contains("tests=\"6\" failures=\"0\" errors=\"5\""),
        "{junit}"
    );
}

#[test]
fn what_an_earlier_run_left_is_not_taken_for_this_one_s() {
    let folder = tempfile::tempdir().unwrap();
    let reports = [folder.path().join("junit.xml"), folder.path().join("report.html")];
    reports
        .iter()
        .for_each(|path| std::fs::write(path, "passed").unwrap());
    std::fs::write(folder.path().join("events.jsonl"), "{}\n").unwrap();
    let _reporter = Reporter::new(options(folder.path(), io::sink()));
    assert!(reports.iter().all(|path| !path.exists()));
    assert_eq!(read(&[folder.path()]).unwrap().warnings, []);
}

#[test]
fn an_unwritable_folder_is_an_error_and_verdicts_still_reach_the_console() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let out = Shared::default();
    let mut reporter = Reporter::new(options(&file, out.clone()));
    for progress in nasty() {
        reporter.handle(vec![progress]);
    }
    let finished = reporter.finish(fixture::finished());
    assert_eq!(finished.totals.failed(), 4);
    let errors: Vec<_> = finished.errors.iter().map(ToString::to_string).collect();
    assert!(!errors.is_empty() && errors.len() <= 3, "{errors:?}");
    for error in errors {
        assert!(
            error.contains(&file.display().to_string()) && error.contains("--report-dir"),
            "{error}"
        );
    }
    assert!(out.text().contains("test result: FAILED"));
}

#[test]
fn a_full_disk_is_said_once() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path(), io::sink());
    options.events = Some("/dev/full".into());
    let mut reporter = Reporter::new(options);
    reporter.handle(nasty());
    reporter.handle(nasty());
    let finished = reporter.finish(fixture::finished());
    assert_eq!(finished.errors.len(), 1, "{:?}", finished.errors);
    assert!(
        finished.errors[0].to_string().contains("/dev/full"),
        "{}",
        finished.errors[0]
    );
}

#[test]
fn a_closed_stdout_is_no_error_and_a_full_one_is() {
    for (kind, errors) in [(io::ErrorKind::BrokenPipe, 0), (io::ErrorKind::StorageFull, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let mut reporter = Reporter::new(options(folder.path(), Broken(kind)));
        reporter.handle(nasty());
        let finished = reporter.finish(fixture::finished());
        assert_eq!(finished.errors.len(), errors, "{kind}");
        assert!(folder.path().join("junit.xml").exists());
    }
}

#[test]
fn writing_takes_no_more_than_a_tenth_of_the_time() {
    let mut cadence = Cadence::new(1000);
    let (mut elapsed, mut spent) = (Duration::ZERO, Duration::ZERO);
    let (mut writes, step) = (0, Duration::from_millis(10));
    while elapsed < Duration::from_secs(600) {
        elapsed += step;
        if cadence.is_due(elapsed) {
            // The report grows with the run.
            let cost = elapsed / 100;
            cadence.wrote(elapsed, elapsed + cost);
            (elapsed, spent, writes) = (elapsed + cost, spent + cost, writes + 1);
        }
    }
    assert!(spent <= elapsed / 10, "{spent:?} of {elapsed:?}");
    assert!((20..=600).contains(&writes), "{writes}");
}

#[test]
fn a_slow_case_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let out = Shared::default();
    let mut reporter = Reporter::new(options(folder.path(), out.clone()));
    reporter.handle(vec![Progress::Started { case: "a".into() }]);
    if let Some((since, _)) = reporter.running.get_mut("a") {
        let Some(earlier) = since.checked_sub(SLOW) else {
            return;
        };
        *since = earlier;
    }
    reporter.tick();
    reporter.tick();
    assert_eq!(
        out.text()
            .matches("test a has been running for over 60 seconds\n")
            .count(),
        1
    );
}

/// Run by hand for figures, with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn a_hundred_thousand_cases_are_reported_in_linear_time() {
    for count in [25_000_u64, 50_000, 100_000] {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(folder.path(), io::sink());
        options.run = fixture::started(&[(0, count)]);
        options.run.planned[0].axes[0].1 = (0..count.div_ceil(3)).map(|n| n.to_string()).collect();
        let mut names = Vec::new();
        Suite::new(options.run.clone())
            .plan
            .each(|case| names.push(case.name));
        let start = now();
        let mut reporter = Reporter::new(options);
        for names in names.chunks(8) {
            let cases = names.iter().map(|name| fixture::case(name, Outcome::Passed));
            reporter.handle(cases.map(|case| Progress::Finished(Box::new(case))).collect());
        }
        let handled = start.elapsed();
        assert_eq!(reporter.finish(fixture::finished()).errors.len(), 0);
        println!("{count}: {handled:?} + {:?}", start.elapsed() - handled);
    }
}
