//! How people reach a node: what runs, where it listens, where its files are.

use robust_test_harness::case::Reach;

use crate::supervisor::Supervisor;

/// Of the node as it is now. What runs somewhere else is no case's to keep up.
pub(super) fn reach(supervisor: &Supervisor) -> Reach {
    let place = supervisor.place();
    let instance = supervisor.instance();
    let ended = instance.as_ref().and_then(|instance| instance.exit_now());
    let runs = match (place.external(), &instance, ended) {
        (Some(_), ..) => "somewhere else".to_owned(),
        (None, None, _) => "down".to_owned(),
        (None, Some(_), Some(exit)) => format!("down: it {exit}"),
        (None, Some(instance), None) => match instance.pid() {
            Some(pid) if supervisor.is_paused() => {
                format!("pid {pid}, paused (`kill -CONT -{pid}` lets it go on)")
            }
            Some(pid) => format!("pid {pid}"),
            None => format!("inside process {}", std::process::id()),
        },
    };
    let mut text = format!("{} ({}), {runs}", place.name(), place.kind());
    let mut line = |name: &str, what: &dyn std::fmt::Display| {
        text.push_str(&format!("\n  {name:<8} {what}"));
    };
    for (name, address) in place.external().into_iter().flatten() {
        line(name, address);
    }
    for (name, port) in place.leased() {
        line(&name, &crate::port::local(port));
    }
    if let Some(seat) = place.seat() {
        line("host", &seat.host().ip());
    }
    line("files", &place.folder_path().display());
    line("log", &place.log().path().display());
    Reach {
        is_up: place.external().is_none() && instance.is_some_and(|instance| instance.exit_now().is_none()),
        text,
    }
}
