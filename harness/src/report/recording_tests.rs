use super::*;
use crate::outcome::{Class, Outcome};
use crate::report::case::NO_VERDICT;
use crate::report::fixture;
use crate::report::log::EventLog;
use crate::report::totals::Status;
use crate::seed::Seed;

fn written(events: &[Event]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/events.jsonl");
    let mut log = EventLog::create(&path).unwrap();
    for event in events {
        log.append(std::slice::from_ref(event)).unwrap();
    }
    (folder, path)
}

fn statuses(recording: &Recording) -> Vec<(String, Status)> {
    let suites = recording.suites.iter();
    let cases = suites.flat_map(|suite| suite.cases.cases());
    cases
        .map(|case| (case.short_name().to_owned(), case.status()))
        .collect()
}

#[test]
fn what_was_written_is_read_in_the_order_of_the_plan_and_the_rest_is_interrupted() {
    let (_folder, path) = written(&fixture::nasty_events());
    let recording = read(&[&path]).unwrap();
    assert_eq!(recording.warnings, []);
    let statuses = statuses(&recording);
    let expected = [
        ("survives[broker=mosquitto,qos=0]", Status::Failed),
        ("survives[broker=mosquitto,qos=1]", Status::Flaky),
        ("survives[broker=mosquitto,qos=2]", Status::Errored),
        ("survives[broker=rumqttd,qos=0]", Status::Unknown),
        ("survives[broker=rumqttd,qos=1]", Status::KnownFailure),
        ("survives[broker=rumqttd,qos=2]", Status::Pending),
        ("quoted \"a\" <b>\nand more\t]]> \0", Status::Passed),
        ("later", Status::Skipped),
    ];
    assert_eq!(statuses, expected.map(|(name, status)| (name.to_owned(), status)));

    let suite = &recording.suites[0];
    let missing = suite.cases.cases().nth(5).unwrap();
    let Outcome::Errored(problem) = missing.outcome().into_owned() else {
        panic!("{:?}", missing.outcome());
    };
    assert_eq!(
        (problem.class, &*problem.message),
        (Class::Interrupted, NO_VERDICT)
    );
    assert_eq!(missing.seed(), Seed(42).derive(missing.name()));
    assert_eq!(recording.totals().cases(), 8);
    assert_eq!(recording.totals().failed(), 4);
}

#[test]
fn every_case_comes_back_as_it_was() {
    let with_sub_cases = fixture::with_sub_cases("robust::kills::many");
    let mut events = fixture::nasty_events();
    events.push(Event::CaseFinished(Box::new(with_sub_cases.clone())));
    let (_folder, path) = written(&events);
    let recording = read(&[&path]).unwrap();
    for told in fixture::nasty_cases().into_iter().chain([with_sub_cases]) {
        let mut cases = recording.suites[0].cases.cases();
        let read = cases.find(|case| case.name() == told.case).unwrap().to_finished();
        let output_bytes = told.output_bytes.max(told.output.len() as u64);
        assert_eq!(read, crate::event::CaseFinished { output_bytes, ..told });
    }
}

#[test]
fn a_torn_last_line_and_a_corrupt_one_cost_only_themselves() {
    let (_folder, path) = written(&fixture::nasty_events());
    let mut bytes = std::fs::read(&path).unwrap();
    let second = bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    bytes[second + 3] = 0xFF;
    bytes.truncate(bytes.len() - 10);
    std::fs::write(&path, &bytes).unwrap();

    let recording = read(&[&path]).unwrap();
    let lines: Vec<u64> = recording.warnings.iter().map(|warning| warning.line).collect();
    assert_eq!(lines, [2, 8]);
    assert!(
        recording.warnings[1].reason.contains("not complete"),
        "{}",
        recording.warnings[1]
    );
    assert!(
        recording.warnings[0].to_string().contains("events.jsonl:2: "),
        "{}",
        recording.warnings[0]
    );
    assert_eq!(recording.totals().runs, 5);

    // Whoever goes on with the file starts on a line of their own.
    let mut log = EventLog::resume(&path).unwrap();
    log.append(&[Event::RunFinished(fixture::finished())]).unwrap();
    let recording = read(&[&path]).unwrap();
    assert!(recording.suites[0].runs[0].finished.is_some());
}

#[test]
fn shards_are_merged_and_only_what_no_shard_ran_is_interrupted() {
    let case = |name: &str| {
        let name = format!("robust::kills::survives[{name}]");
        Event::CaseFinished(Box::new(fixture::case(&name, Outcome::Passed)))
    };
    let shard = |cells: &[(u64, u64)], rest: &[&str]| {
        let started = Event::RunStarted(fixture::started(cells));
        written(
            &std::iter::once(started)
                .chain(rest.iter().map(|name| case(name)))
                .collect::<Vec<_>>(),
        )
    };
    let (_a, a) = shard(
        &[(0, 1), (2, 4)],
        &["broker=rumqttd,qos=0", "broker=mosquitto,qos=0"],
    );
    let (_b, b) = shard(&[(1, 2), (2, 3)], &["broker=mosquitto,qos=2"]);
    let recording = read(&[&b, &a]).unwrap();
    let expected = [
        ("survives[broker=mosquitto,qos=0]", Status::Passed),
        ("survives[broker=mosquitto,qos=1]", Status::Pending),
        ("survives[broker=mosquitto,qos=2]", Status::Passed),
        ("survives[broker=rumqttd,qos=0]", Status::Passed),
    ];
    assert_eq!(
        statuses(&recording),
        expected.map(|(name, status)| (name.to_owned(), status))
    );
    assert_eq!(recording.suites[0].runs.len(), 2);
    // 3 + 3 cases in the larger shard, of which 4 are here.
    assert_eq!(recording.suites[0].filtered_out(), 2);

    // A folder stands for the events files in it.
    let folder = a.parent().unwrap();
    std::fs::write(folder.join("junit.xml"), "<x/>").unwrap();
    assert_eq!(read(&[folder]).unwrap().totals().runs, 2);
}

#[test]
fn files_that_are_none_of_ours_are_refused_by_name() {
    let (folder, path) = written(&[Event::RunFinished(fixture::finished())]);
    let error = read(&[&path]).unwrap_err();
    assert!(matches!(error, ReadError::NoRun { .. }), "{error}");
    assert!(error.to_string().contains("events.jsonl"), "{error}");

    std::fs::write(&path, "{\"event\":\"run_started\",\"format\":9,\"new\":1}\n").unwrap();
    assert!(matches!(read(&[&path]), Err(ReadError::Newer { format: 9, .. })));
    assert!(matches!(
        read(&[folder.path().join("none")]),
        Err(ReadError::Unreadable { .. })
    ));
    assert!(matches!(read::<&Path>(&[]), Err(ReadError::Nothing { .. })));
}

#[test]
fn a_log_that_cannot_be_made_names_the_folder_and_the_option() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = EventLog::create(file.join("events.jsonl"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&file.display().to_string()) && error.contains("--report-dir"),
        "{error}"
    );
}
