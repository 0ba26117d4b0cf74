use std::collections::BTreeSet;

use super::*;
use crate::event::{CaseFinished, RunFinished};
use crate::history::push_case;
use crate::outcome::{Class, Outcome, Problem};
use crate::seed::Seed;

fn line_at(case: &str, outcome: Outcome, started_unix_ms: u64, duration_us: u64) -> String {
    let event = Event::CaseFinished(Box::new(CaseFinished {
        case: case.to_owned(),
        module: "suite".into(),
        file: "tests/suite.rs".into(),
        line: 1,
        iteration: 0,
        outcome,
        seed: Seed(1),
        root_seed: Seed(1),
        variants: Vec::new(),
        forbidden: Vec::new(),
        sub_cases: Vec::new(),
        axes: Vec::new(),
        tags: Vec::new(),
        started_unix_ms,
        duration_us,
        earlier: Vec::new(),
        output: String::new(),
        output_bytes: 0,
        artifacts: None,
        attachments: Vec::new(),
        reproduce: String::new(),
    }));
    serde_json::to_string(&event).unwrap() + "\n"
}

fn line(case: &str, outcome: Outcome) -> String {
    line_at(case, outcome, 7, 10)
}

fn failed() -> Outcome {
    Outcome::Failed(Problem::new(Class::Error, "x"))
}

fn interrupted() -> Outcome {
    Outcome::Errored(Problem::new(Class::Interrupted, "x"))
}

fn ended(entered: bool) -> String {
    let event = Event::RunFinished(RunFinished {
        duration_us: 1,
        concurrency_max: 1,
        interrupted: None,
        history_entered: entered,
    });
    serde_json::to_string(&event).unwrap() + "\n"
}

fn past(verdict: Verdict, started_unix_ms: u64, duration_us: u64) -> Past {
    let ran = Ran {
        started_unix_ms,
        duration_us,
    };
    Past {
        ran: (verdict != Verdict::NotRun).then_some(ran),
        verdict,
    }
}

/// A report folder.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self) -> PathBuf {
        self.path().join(FILE)
    }

    fn events(&self, lines: &[String]) {
        std::fs::write(self.path().join("events.jsonl"), lines.concat()).unwrap();
    }

    /// Begins a run; what is told.
    fn begin(&self) -> Vec<String> {
        begin(self.path(), 8, |_| true).unwrap()
    }

    fn enter(&self, cases: &[(&str, Past)]) {
        let mut lines = Vec::new();
        for (name, past) in cases {
            push_case(&mut lines, name, *past);
        }
        enter(self.path(), &lines).unwrap();
    }

    fn history(&self) -> History {
        read(self.path()).unwrap().0
    }

    /// The bad ones after the start of another run.
    fn bad(&self) -> Vec<String> {
        self.begin();
        self.history().bad().into_iter().collect()
    }
}

#[test]
fn a_case_is_bad_from_failing_until_it_passes_in_a_later_run() {
    let folder = Folder::new();
    assert!(folder.bad().is_empty());
    assert!(!folder.file().exists(), "nothing is known");
    let unknown = Outcome::Unknown { reason: "r".into() };
    folder.events(&[
        line("a[x=1]", failed()),
        line("b", unknown),
        line("c", Outcome::Passed),
    ]);
    assert_eq!(folder.bad(), ["a[x=1]", "b"]);
    assert_eq!(folder.bad(), ["a[x=1]", "b"], "twice is as once");
    let skipped = Outcome::Skipped { reason: "r".into() };
    folder.events(&[line("b", Outcome::Passed), line("a[x=1]", skipped)]);
    assert_eq!(folder.bad(), ["a[x=1]"]);
    std::fs::remove_file(folder.path().join("events.jsonl")).unwrap();
    assert_eq!(folder.bad(), ["a[x=1]"]);
}

#[test]
fn one_bad_repetition_counts_and_a_torn_line_does_not() {
    let mut history = History::default();
    history.enter("torn", past(Verdict::Bad, 1, 1));
    let mut events = [
        line_at("a", failed(), 9, 10),
        line_at("a", Outcome::Passed, 12, 20),
        line_at("b", Outcome::Passed, 5, 6),
        line("b", interrupted()),
        line("c", interrupted()),
        line("torn", Outcome::Passed),
    ]
    .concat();
    events.truncate(events.len() - 20);
    events.push('\u{e9}');
    apply(&mut history, events.as_bytes()).unwrap();
    assert_eq!(history.of("a"), Some(past(Verdict::Bad, 9, 15)), "the average");
    assert_eq!(history.of("b"), Some(past(Verdict::Bad, 5, 6)));
    assert_eq!(history.of("c"), Some(past(Verdict::NotRun, 0, 0)));
    assert_eq!(history.of("torn"), Some(past(Verdict::Bad, 1, 1)));
}

#[test]
fn events_are_read_where_their_end_does_not_say_that_they_were_entered() {
    let old = || {
        let folder = Folder::new();
        folder.enter(&[("old", past(Verdict::Bad, 1, 1))]);
        folder
    };
    let many: Vec<_> = (0..100)
        .map(|number| line(&format!("c{number}"), Outcome::Passed))
        .collect();
    let folder = old();
    folder.events(&[many.concat(), line("a", failed()), ended(true)]);
    assert_eq!(folder.bad(), ["old"]);
    for end in [
        ended(false),
        ended(true) + &line("b", failed()),
        ended(true).trim_end().to_owned(),
        String::new(),
    ] {
        let folder = old();
        folder.events(&[many.concat(), line("a", failed()), end.clone()]);
        assert!(folder.bad().contains(&"a".to_owned()), "{end}");
    }
    // The file was removed: what the events tell of it is no longer so.
    std::fs::remove_file(folder.file()).unwrap();
    assert_eq!(folder.history().bad(), BTreeSet::from(["a".to_owned()]));
    assert!(!folder.file().exists(), "who only asks changes nothing");
    assert_eq!(folder.bad(), ["a"]);
    assert!(folder.file().exists());
}

#[test]
fn entering_is_as_reading_the_events() {
    let before = [
        ("absent", past(Verdict::Bad, 1, 1)),
        ("bad", past(Verdict::Bad, 1, 1)),
        ("interrupted", past(Verdict::Good, 1, 1)),
        ("passed", past(Verdict::Bad, 1, 1)),
        ("skipped", past(Verdict::Bad, 1, 1)),
    ];
    let (entered, from_events) = (Folder::new(), Folder::new());
    entered.enter(&before);
    from_events.enter(&before);
    from_events.events(&[
        line("bad", failed()),
        line("passed", Outcome::Passed),
        line("skipped", Outcome::Skipped { reason: "r".into() }),
        line("interrupted", interrupted()),
        line("new", failed()),
    ]);
    from_events.begin();
    for _ in 0..2 {
        entered.enter(&[
            ("bad", past(Verdict::Bad, 7, 10)),
            ("passed", past(Verdict::Good, 7, 10)),
            ("interrupted", past(Verdict::NotRun, 0, 0)),
            ("new", past(Verdict::Bad, 7, 10)),
        ]);
        assert_eq!(entered.history(), from_events.history());
    }
    let bad = entered.history().bad().into_iter().collect::<Vec<_>>();
    assert_eq!(bad, ["absent", "bad", "interrupted", "new", "skipped"]);
}

#[test]
fn a_broken_file_is_told_and_begun_anew() {
    for broken in [
        &b"\x00\xff rubbish"[..],
        b"",
        b"robust-test history 2 0000000000000000\n+ 1 2 a\n",
    ] {
        let folder = Folder::new();
        folder.events(&[line("a", failed()), ended(true)]);
        std::fs::write(folder.file(), broken).unwrap();
        let told = folder.begin();
        assert!(told.len() == 1 && told[0].contains("is begun anew"), "{told:?}");
        assert_eq!(
            folder.history().bad().len(),
            1,
            "the last run's events are still there"
        );
        assert!(folder.begin().is_empty(), "told once");
    }
}

#[test]
fn lines_that_cannot_be_read_are_told_and_a_torn_end_does_not_reach_the_next_line() {
    let folder = Folder::new();
    folder.enter(&[("a", past(Verdict::Bad, 1, 1))]);
    let mut text = std::fs::read(folder.file()).unwrap();
    text.extend_from_slice(b"- 1 2 to");
    std::fs::write(folder.file(), text).unwrap();
    let told = folder.begin();
    assert!(told.len() == 1 && told[0].ends_with("passed over: 1"), "{told:?}");
    folder.enter(&[("b", past(Verdict::Bad, 1, 1))]);
    assert_eq!(folder.bad(), ["a", "b"]);
    assert!(read(folder.path()).unwrap().1.is_empty());
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Many cases, which began on the first day.
fn many() -> Vec<(String, Past)> {
    let name = |number| format!("module::scenario[number={number}]");
    (0..1000)
        .map(|number| (name(number), past(Verdict::Good, DAY_MS, 5)))
        .collect()
}

#[test]
fn lines_are_taken_together_when_there_are_as_many_again() {
    let folder = Folder::new();
    let many = many();
    let cases: Vec<_> = many.iter().map(|(name, past)| (name.as_str(), *past)).collect();
    let bytes = || folder.file().metadata().map_or(0, |metadata| metadata.len());
    let (mut bytes_max, mut together) = (0, 0);
    for _ in 0..100 {
        let before = bytes();
        folder.begin();
        together += u32::from(bytes() < before);
        folder.enter(&cases);
        bytes_max = bytes_max.max(bytes());
    }
    assert!(bytes_max < 3 * TOGETHER_BYTES_MIN, "{bytes_max}");
    assert!((2..20).contains(&together), "not each time: {together}");
    assert_eq!(folder.history().durations_us().count(), 1000);
}

#[test]
fn cases_that_do_not_exist_are_forgotten_after_90_days() {
    let many = many();
    let cases: Vec<_> = many.iter().map(|(name, past)| (name.as_str(), *past)).collect();
    for (now, left) in [(91 * DAY_MS, 1000), (91 * DAY_MS + 1, 1)] {
        let folder = Folder::new();
        folder.enter(&cases);
        folder.events(&[ended(false)]);
        begin(folder.path(), now, |name| name.ends_with("=3]")).unwrap();
        assert_eq!(folder.history().durations_us().count(), left);
    }
}

#[test]
fn a_run_is_entered_as_its_reports_tell_it() {
    let mut aggregate = crate::report::Aggregate::default();
    let events = [
        line_at("a", Outcome::Passed, 9, 10),
        line_at("a", Outcome::Passed, 12, 20),
        line_at("b", failed(), 5, 6),
        line("c", interrupted()),
        line("d", Outcome::Skipped { reason: "r".into() }),
        line_at("e", Outcome::Passed, 5, 6),
        line("e", interrupted()),
    ];
    for event in &events {
        let Ok(Event::CaseFinished(finished)) = serde_json::from_str(event) else {
            panic!("{event}");
        };
        aggregate.add(&finished);
    }
    let bad = ["b", "c", "e"].map(str::to_owned).into();
    let entry = Entry::new(aggregate.cases(), &bad);
    assert_eq!(
        str::from_utf8(&entry.lines).unwrap(),
        "+ 9 15 a\n- 5 6 b\n? 0 0 c\n- 5 6 e\n"
    );
    assert_eq!((entry.runs, entry.busy_us), (4, 42));
    let mut history = History::default();
    apply(&mut history, events.concat().as_bytes()).unwrap();
    let mut entered = History::default();
    entered.read(&entry.lines);
    assert_eq!(history, entered, "as from the events");
}

#[test]
#[ignore = "a measurement"]
fn entering_costs_little() {
    const CASES: u32 = 100_000;
    let mut aggregate = crate::report::Aggregate::default();
    let Ok(Event::CaseFinished(mut finished)) = serde_json::from_str(&line("x", Outcome::Passed)) else {
        panic!("an event");
    };
    for number in 0..CASES {
        finished.case = format!("module::of_many[broker=mosquitto,number={number}]");
        aggregate.add(&finished);
    }
    let folder = Folder::new();
    let time = |what: &str, work: &mut dyn FnMut()| {
        let started = std::time::Instant::now();
        work();
        let each = started.elapsed() / CASES;
        println!("{what}: {each:?} a case, {:?} in all", started.elapsed());
    };
    let mut entry = Entry::default();
    time("lines", &mut || {
        entry = Entry::new(aggregate.cases(), &BTreeSet::new())
    });
    time("append", &mut || enter(folder.path(), &entry.lines).unwrap());
    time("begin together", &mut || drop(folder.begin()));
    time("begin", &mut || drop(folder.begin()));
    time("append a few", &mut || {
        enter(folder.path(), &entry.lines[..70]).unwrap()
    });
    time("read", &mut || drop(folder.history()));
}
