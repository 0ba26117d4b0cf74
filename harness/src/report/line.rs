//! A verdict as a line of `events.jsonl`, written by hand where nearly all are alike: a case that passed and
//! left nothing to tell. Byte for byte what serde would write, at a fraction of the cost.

use crate::event::{CaseFinished, Event, Planned, RunStarted};
use crate::outcome::Outcome;
use crate::report::json_bytes::{escaped, push_array, push_number, push_string, put};
use crate::variant::Source;

/// Appends the event as JSON.
///
/// # Errors
/// Those of serde, which memory does not have.
pub(super) fn push(line: &mut Vec<u8>, event: &Event) -> serde_json::Result<()> {
    match event {
        Event::CaseFinished(case) if is_plain(case) => {
            push_plain(line, case);
            Ok(())
        }
        Event::RunStarted(started) => push_started(line, started),
        event => serde_json::to_writer(line, event),
    }
}

/// Whether nothing is to be told of the case but that it passed.
fn is_plain(case: &CaseFinished) -> bool {
    matches!(case.outcome, Outcome::Passed)
        && case.earlier.is_empty()
        && case.output.is_empty()
        && case.artifacts.is_none()
        && case.attachments.is_empty()
        && case.reproduce.is_empty()
        && case.forbidden.is_empty()
        && case.sub_cases.is_empty()
}

fn source(source: Source) -> &'static str {
    match source {
        Source::CommandLine => "command_line",
        Source::Pinned => "pinned",
        Source::Default => "default",
        Source::Random => "random",
        Source::Expanded => "expanded",
    }
}

fn push_plain(line: &mut Vec<u8>, case: &CaseFinished) {
    let CaseFinished {
        line: number, seed, ..
    } = case;
    let begin = format!(
        "{{\"event\":\"case_finished\",\"case\":\"{}\",\"module\":\"{}\",\"file\":\"{}\",\"line\":{number}",
        escaped(&case.case),
        escaped(&case.module),
        escaped(&case.file),
    );
    put(line, &begin);
    if case.iteration != 0 {
        put(line, ",\"iteration\":");
        push_number(line, u64::from(case.iteration));
    }
    let middle = format!(
        ",\"status\":\"passed\",\"seed\":{seed},\"root_seed\":{}",
        case.root_seed
    );
    put(line, &middle);
    if !case.axes.is_empty() {
        put(line, ",\"axes\":");
        push_array(line, &case.axes, |line, (axis, label)| {
            put(line, &format!("[\"{}\",\"{}\"]", escaped(axis), escaped(label)));
        });
    }
    if !case.variants.is_empty() {
        put(line, ",\"variants\":");
        push_array(line, &case.variants, |line, variant| {
            let (name, value) = (escaped(&variant.name), escaped(&variant.value));
            let source = source(variant.source);
            put(
                line,
                &format!("{{\"name\":\"{name}\",\"value\":\"{value}\",\"source\":\"{source}\"}}"),
            );
        });
    }
    if !case.tags.is_empty() {
        put(line, ",\"tags\":");
        push_array(line, &case.tags, |line, tag| push_string(line, tag));
    }
    let end = format!(
        ",\"started_unix_ms\":{},\"duration_us\":{}",
        case.started_unix_ms, case.duration_us
    );
    put(line, &end);
    if case.output_bytes != 0 {
        put(line, ",\"output_bytes\":");
        push_number(line, case.output_bytes);
    }
    put(line, "}");
}

/// What is planned comes last in the event, and is nearly all of it.
fn push_started(line: &mut Vec<u8>, started: &RunStarted) -> serde_json::Result<()> {
    const EMPTY_END: &[u8] = b"[]}";
    let without_plan = Event::RunStarted(RunStarted {
        format: started.format,
        harness: started.harness.clone(),
        package: started.package.clone(),
        suite: started.suite.clone(),
        seed: started.seed,
        started_unix_ms: started.started_unix_ms,
        hostname: started.hostname.clone(),
        arguments: started.arguments.clone(),
        filtered_out: started.filtered_out,
        planned: Vec::new(),
    });
    serde_json::to_writer(&mut *line, &without_plan)?;
    line.truncate(line.len() - EMPTY_END.len());
    push_array(line, &started.planned, push_planned);
    put(line, "}");
    Ok(())
}

fn push_planned(line: &mut Vec<u8>, planned: &Planned) {
    let begin = format!(
        "{{\"scenario\":\"{}\",\"module\":\"{}\",\"file\":\"{}\",\"line\":{},\"axes\":",
        escaped(&planned.scenario),
        escaped(&planned.module),
        escaped(&planned.file),
        planned.line,
    );
    put(line, &begin);
    push_array(line, &planned.axes, |line, (axis, labels)| {
        put(line, "[");
        push_string(line, axis);
        put(line, ",");
        push_array(line, labels, |line, label| push_string(line, label));
        put(line, "]");
    });
    put(line, ",\"cells\":");
    push_array(line, &planned.cells, |line, (start, end)| {
        put(line, &format!("[{start},{end}]"));
    });
    put(line, "}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::RunFinished;
    use crate::report::fixture;
    use crate::seed::Seed;
    use crate::variant::Assigned;

    const TEXTS: [&str; 14] = [
        "",
        "a",
        "module::case[broker=mosquitto,qos=0]",
        "\"",
        "\\",
        "12345678\"",
        "1234567\\9",
        "\0\u{1}\u{8}\t\n\u{b}\u{c}\r\u{1f} \u{7f}",
        "\u{80}\u{ff}\u{2028}\u{2029}\u{fffe}\u{ffff}",
        "Gr\u{fc}\u{df}e \u{1f980}\u{1f980}\u{1f980}",
        "</script><b>'&/",
        "{}[],:",
        "ends with a line\n",
        "a long name without anything that has to be written in another way, many words of eight bytes",
    ];

    fn same(event: &Event) {
        let mut line = b"before".to_vec();
        push(&mut line, event).unwrap();
        let expected = format!("before{}", serde_json::to_string(event).unwrap());
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    #[test]
    fn plain_verdicts_are_written_as_serde_writes_them() {
        for (at, text) in TEXTS.into_iter().enumerate() {
            let mut case = fixture::case(text, Outcome::Passed);
            case.module = text.into();
            case.file = text.into();
            case.reproduce.clear();
            assert!(is_plain(&case));
            for (number, list) in [(0, 0), (9, 1), (10, 2), (u64::MAX, 3)] {
                case.line = number.min(u64::from(u32::MAX)) as u32;
                case.iteration = case.line;
                case.seed = Seed(number);
                case.root_seed = Seed(number / 2);
                (case.started_unix_ms, case.duration_us, case.output_bytes) = (number, number, number);
                let some = |other: usize| TEXTS[(at + other) % TEXTS.len()];
                case.axes = (0..list)
                    .map(|other| (some(other).into(), some(other + 1).into()))
                    .collect();
                case.tags = (0..list).map(|other| some(other).into()).collect();
                let sources = [
                    Source::CommandLine,
                    Source::Pinned,
                    Source::Default,
                    Source::Random,
                    Source::Expanded,
                ];
                case.variants = (0..list)
                    .map(|other| Assigned {
                        name: some(other).into(),
                        value: some(other + 1).into(),
                        source: sources[(at + other) % sources.len()],
                    })
                    .collect();
                same(&Event::CaseFinished(Box::new(case.clone())));
            }
        }
    }

    #[test]
    fn every_event_is_written_as_serde_writes_it() {
        fixture::nasty_events().iter().for_each(same);
        let mut case = fixture::with_sub_cases("m::a");
        same(&Event::CaseFinished(Box::new(case.clone())));
        case.outcome = Outcome::Passed;
        case.reproduce.clear();
        same(&Event::CaseFinished(Box::new(case)));
        same(&Event::RunFinished(RunFinished {
            interrupted: Some("\"".into()),
            ..fixture::finished()
        }));
        for cells in [&[][..], &[(0, 6)], &[(0, 1), (2, u64::MAX)]] {
            let mut started = fixture::started(cells);
            started.arguments.push("[]}\"planned\":[]}".into());
            same(&Event::RunStarted(started.clone()));
            for text in TEXTS {
                let mut planned = started.planned[0].clone();
                planned.scenario = text.into();
                planned.module = text.into();
                planned.file = text.into();
                planned
                    .axes
                    .push((text.into(), TEXTS.map(str::to_owned).to_vec()));
                planned.axes.push((text.into(), Vec::new()));
                started.planned.push(planned);
            }
            same(&Event::RunStarted(started.clone()));
            started.planned.clear();
            same(&Event::RunStarted(started));
        }
    }
}
