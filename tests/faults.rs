//! Faults as values, through the runner: as the user who runs this, as one without privileges, and when the runner is killed
//! in the middle of one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use robust_test::disk::Disk;
use robust_test::fault::{ClockSkew, MemoryLimit};
use robust_test::hosts::Net;
use robust_test_tests::gossip::Nobody;
use robust_test_tests::{Finished, Listed, Planted, Privilege, Signal, is_allowed, signal, starting};

const FAULTS: &str = env!("CARGO_BIN_EXE_faults");
/// How many cases there are that hold a fault until their runner is killed.
const HELD: usize = 15;
const GOSSIP: &str = env!("CARGO_BIN_EXE_gossip-server");

fn planted(arguments: &[&str]) -> Planted {
    Planted::new(FAULTS)
        .args(["--bin", &format!("gossip={GOSSIP}")])
        .args(arguments)
}

/// The tags of cases that need what not every machine has, and whether this one allows it.
fn are_allowed() -> [(&'static str, bool); 4] {
    [
        ("disk", is_allowed(Disk::available())),
        ("hosts", is_allowed(Net::available())),
        ("memory", is_allowed(MemoryLimit::available())),
        ("clock", is_allowed(ClockSkew::available())),
    ]
}

/// The verdicts by the names of their cases, without module.
fn statuses(finished: &Finished) -> Vec<(String, String)> {
    let verdicts = finished.verdicts();
    verdicts
        .into_iter()
        .map(|(name, verdict)| (name, verdict.status))
        .collect()
}

#[test]
fn every_fault_bites_and_is_healed() {
    let mut arguments = vec!["--skip-tag", "fails", "--show-output"];
    for (tag, _) in are_allowed().into_iter().filter(|(_, is_allowed)| !is_allowed) {
        arguments.extend(["--skip-tag", tag]);
    }
    let finished = planted(&arguments).run();
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
    let statuses = statuses(&finished);
    let ran = statuses.iter().filter(|(_, status)| status == "passed").count();
    // Those that hold a fault until their runner is killed, and the one of a node alone.
    assert_eq!(statuses.len() - ran, HELD + 1, "{statuses:?}");
    assert!(ran >= 14, "{statuses:?}");
    let bitten_and_healed = lives(&finished);
    for Listed {
        fault, target, here, ..
    } in planted(&["--faults"]).run().faults()
    {
        let start = DESCRIBED.iter().find(|(name, _)| *name == fault);
        let start = start.map_or(fault.as_str(), |(_, start)| start);
        let is_it = |(place, text): &(String, String)| {
            (place == "net") == (target == "net") && text.starts_with(start)
        };
        assert!(
            here != "yes" || bitten_and_healed.iter().any(is_it),
            "no case shows that `{fault}` bites and is healed: {bitten_and_healed:?}"
        );
    }
}

/// The faults whose descriptions do not begin with their names, and how they begin.
const DESCRIBED: [(&str, &str); 15] = [
    ("limit-data", "limit of"),
    ("black-hole", "black hole"),
    ("corrupt", "corruption of one byte"),
    ("reset-peer", "reset after"),
    ("slicer", "slices of"),
    ("slow-close", "close 50 ms late"),
    ("truncate", "truncation to"),
    ("host-partition", "partition"),
    ("packet-bandwidth", "bandwidth of"),
    ("packet-corruption", "corruption of a packet"),
    ("packet-cut", "cut"),
    ("packet-delay", "delay of"),
    ("packet-duplication", "duplication of a packet"),
    ("packet-loss", "loss of a packet"),
    ("packet-reordering", "hold of a packet"),
];

/// Where, and what: the faults that were proved and healed in cases that passed.
fn lives(finished: &Finished) -> BTreeSet<(String, String)> {
    let mut proved = BTreeSet::new();
    let mut healed = BTreeSet::new();
    let verdicts = finished.verdicts().into_values();
    for verdict in verdicts.filter(|verdict| verdict.status == "passed") {
        for line in verdict.output.lines() {
            // PLACE: FAULT: STEP
            let Some((_, told)) = line.split_once("timeline: ") else {
                continue;
            };
            let Some((place, life)) = told.split_once(": ") else {
                continue;
            };
            let of = |fault: &str| (place.to_owned(), fault.to_owned());
            if let Some((fault, _proof)) = life.split_once(": bites: ") {
                proved.insert(of(fault));
            } else if let Some(fault) = life.strip_suffix(": is healed") {
                healed.insert(of(fault));
            }
        }
    }
    &proved & &healed
}

#[test]
fn one_that_hits_nothing_is_an_error_and_its_life_is_kept_with_the_case() {
    let finished = planted(&["--tag", "fails", "--skip-tag", "memory"]).run();
    assert_eq!(finished.code(), Some(101), "{}", finished.stdout);
    let verdicts = finished.verdicts();
    let of = |name: &str| starting(&verdicts, name);
    let healed = of("one_that_hit_nothing_is_an_error");
    assert_eq!(
        (healed.status.as_str(), healed.message.as_str()),
        (
            "failed",
            "fault `stall (downstream)` of client was inert: it hit nothing while it held"
        )
    );
    let left = of("one_that_hit_nothing_until");
    assert_eq!(
        (left.status.as_str(), left.class.as_str()),
        ("errored", "teardown")
    );
    assert!(left.message.contains("of client was inert"), "{}", left.message);
    let stays = of("one_that_cannot_be_healed");
    assert_eq!(
        (stays.status.as_str(), stays.class.as_str()),
        ("errored", "teardown")
    );
    assert!(
        stays
            .message
            .contains("stubborn of db cannot be healed: it holds on"),
        "{}",
        stays.message
    );
    let died = of("one_whose_target_dies");
    assert_eq!((died.status.as_str(), died.class.as_str()), ("errored", "death"));
    let timeline = |folder: &Path| std::fs::read_to_string(folder.join("timeline.log")).unwrap();
    let kept = finished.report().join(healed.artifacts.as_ref().unwrap());
    let lines = timeline(&kept);
    let told: Vec<&str> = lines
        .lines()
        .map(|line| line.split_once(" s  ").unwrap().1)
        .collect();
    assert_eq!(
        told,
        [
            "client            stall (downstream): begins",
            "client            stall (downstream): holds",
            "client            stall (downstream): is healed",
            "client            stall (downstream): was inert",
        ]
    );
    assert!(healed.output.contains("client: stall (downstream): was inert"));
}

#[test]
fn all_faults_are_listed_with_what_they_need() {
    let finished = planted(&["--faults"]).run();
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert!(lines[0].starts_with("| fault"), "{}", lines[0]);
    let line = |name: &str| {
        let start = format!("| `{name}` ");
        lines.iter().find(|line| line.starts_with(&start)).unwrap()
    };
    assert!(line("kill").contains("| none "));
    assert!(line("partition").contains("| sock-diag "));
    let is_here = if Disk::available().is_ok() {
        "| yes"
    } else {
        "| no: "
    };
    assert!(line("power-loss").contains("| fuse ") && line("power-loss").contains(is_here));
    let is_here = if MemoryLimit::available().is_ok() {
        "| yes"
    } else {
        "| no: "
    };
    let limit = line("memory-limit");
    assert!(
        limit.contains("| cgroup-memory ") && limit.contains(is_here),
        "{limit}"
    );
    assert!(lines.len() > 20, "{}", finished.stdout);
    // The README has the same, but for what this machine has.
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let (_, rest) = readme.split_once("<!-- faults:begin -->\n").unwrap();
    let (table, _) = rest.split_once("<!-- faults:end -->").unwrap();
    let cells = |text: &str| -> Vec<Vec<String>> {
        let row = |line: &str| {
            line.split('|')
                .map(|cell| cell.trim().to_owned())
                .take(6)
                .collect()
        };
        text.lines()
            .filter(|line| !line.contains("---"))
            .map(row)
            .collect()
    };
    // .. and but for the one of this suite.
    let mut all = cells(&finished.stdout);
    all.retain(|row| row[1] != "`stubborn`");
    assert_eq!(cells(table), all);
}

fn as_nobody(arguments: &str) -> Planted {
    Nobody::default().runs((FAULTS, GOSSIP), arguments)
}

#[test]
fn without_privileges_all_but_disks_hosts_and_memory_run_and_those_say_why_not() {
    if !Privilege::OtherUser.is_granted() {
        return;
    }
    // Where every user may use the device, they may have hosts too.
    let has_device = rustix::fs::stat("/dev/net/tun").is_ok_and(|device| device.st_mode & 0o006 == 0o006);
    let finished = as_nobody("--skip-tag fails").run();
    assert_eq!(finished.code(), Some(0), "{}{}", finished.stdout, finished.stderr);
    let verdicts = finished.verdicts();
    for (name, verdict) in &verdicts {
        let needs_disk = ["without_power", "without_a_disk", "all_nodes_lose", "a_disk_is"]
            .iter()
            .any(|start| name.starts_with(start));
        let needs_hosts = name.starts_with("every_impairment");
        if needs_hosts && has_device {
            continue;
        }
        let needs_memory = [
            "all_processes_of_a_node",
            "a_node_that_is_killed_for",
            "several_nodes_have_so_much",
        ]
        .iter()
        .any(|start| name.starts_with(start));
        let expected = if needs_disk || needs_hosts || needs_memory || name.starts_with("holds") {
            "skipped"
        } else {
            "passed"
        };
        assert_eq!(verdict.status, expected, "{name}: {}", verdict.message);
        if needs_hosts {
            let start = "`namespaces` is not available: this user may not open /dev/net/tun";
            assert!(verdict.message.starts_with(start), "{}", verdict.message);
        }
        if needs_memory && MemoryLimit::available().is_ok() {
            let start = "`cgroup-memory` is not available: this user may not make control groups in /";
            assert!(verdict.message.starts_with(start), "{}", verdict.message);
        }
        if needs_disk {
            assert!(
                verdict
                    .message
                    .starts_with("`fuse` is not available: this user may not "),
                "{}",
                verdict.message
            );
        }
    }
    for (case, mechanism) in [
        ("all_nodes_lose_their_power", "fuse"),
        ("all_processes_of_a_node", "cgroup-memory"),
    ] {
        let finished = as_nobody(case).env("ROBUST_REQUIRE", mechanism).run();
        assert_eq!(finished.code(), Some(101), "{}", finished.stdout);
        let verdicts = finished.verdicts();
        let verdict = verdicts.values().next().unwrap();
        assert_eq!(
            (verdict.status.as_str(), verdict.class.as_str()),
            ("errored", "required")
        );
        let start = format!("ROBUST_REQUIRE demands `{mechanism}`: this user may not ");
        assert!(verdict.message.starts_with(&start), "{}", verdict.message);
    }
}

#[test]
fn nothing_is_left_of_a_runner_that_is_killed_in_the_middle_of_a_fault() {
    if are_allowed().iter().any(|(_, is_allowed)| !is_allowed) {
        return;
    }
    let listed = planted(&["--list", "--ignored"]).run().stdout;
    let cases = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    let cases: Vec<&str> = cases.filter(|name| name.starts_with("holds[")).collect();
    assert_eq!(cases.len(), HELD, "{listed}");
    for name in cases {
        let suite = planted(&["--ignored", "--exact", name]).start();
        let home = suite.report().parent().unwrap().to_owned();
        suite.wait_until("the fault holds", |_| holds(&home.join("tmp")));
        let groups = groups_of_runs_in(&home.join("tmp"));
        assert_eq!(
            groups.len(),
            usize::from(name.contains("memory")),
            "{name}: {groups:?}"
        );
        suite.signal(Signal::KILL);
        suite.finish();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let left = mounts.lines().find(|line| line.contains(home.to_str().unwrap()));
        assert_eq!(left, None, "{name}");
        assert!(groups.iter().all(|group| !group.exists()), "{name}: {groups:?}");
    }
}

#[test]
fn what_a_dead_worker_left_is_gone_while_its_run_goes_on() {
    if !is_allowed(MemoryLimit::available()) {
        return;
    }
    let cases = [
        "one_whose_worker_dies_leaves_that_to_the_runner[db=gossip]",
        "holds_a_node_alone[db=gossip]",
    ];
    let suite = planted(&["--include-ignored", "--test-threads", "1", "--exact"]);
    let suite = suite.args(cases).start();
    let home = suite.report().parent().unwrap().to_owned();
    suite.wait_until("the fault holds", |_| holds(&home.join("tmp")));
    assert!(
        home.join("report/cases")
            .read_dir()
            .is_ok_and(|mut cases| cases.next().is_some())
    );
    let groups = groups_of_runs_in(&home.join("tmp"));
    assert_eq!(groups.len(), 1, "{groups:?}");
    suite.signal(Signal::KILL);
    suite.finish();
    assert!(!groups[0].exists());
}

#[test]
fn what_a_run_left_that_was_killed_with_its_reaper_and_workers_the_next_one_removes_and_tells() {
    if !is_allowed(MemoryLimit::available()) {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let suite = planted(&["--ignored", "--exact", "holds_a_node_alone[db=gossip]"])
        .env("TMPDIR", temporary.path())
        .start();
    suite.wait_until("the fault holds", |_| holds(temporary.path()));
    let groups = groups_of_runs_in(temporary.path());
    assert_eq!(groups.len(), 1, "{groups:?}");
    let node = |(_, line): &&(u32, String)| line.contains(GOSSIP) && !line.contains("--bin");
    let processes = suite.processes();
    // All at once but the node: nobody is left who could end it.
    for (pid, _) in processes.iter().filter(|process| !node(process)) {
        signal(*pid, Signal::STOP);
    }
    for (pid, _) in processes.iter().filter(|process| !node(process)) {
        signal(*pid, Signal::KILL);
    }
    suite.wait_until("the node is alone", |suite| {
        suite.processes().iter().all(|process| node(&process))
    });
    assert_eq!(suite.processes().len(), 1, "{:?}", suite.processes());
    assert!(groups[0].exists());
    let next = || {
        planted(&["killed_and_stopped"])
            .env("TMPDIR", temporary.path())
            .run()
    };
    let finished = next();
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
    let told = format!(
        "removed the control group {}, which a run that was killed left behind; processes in it that were ended: 1",
        groups[0].display()
    );
    assert!(finished.stderr.contains(&told), "{}", finished.stderr);
    assert!(!groups[0].exists());
    suite.finish();
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
    assert!(!next().stderr.contains("control group"));
}

/// The control groups, in any tree, that have the names of runs with folders here.
fn groups_of_runs_in(temporary: &Path) -> Vec<PathBuf> {
    let runs = std::fs::read_dir(temporary).into_iter().flatten().flatten();
    let starts: Vec<String> = runs
        .map(|run| format!("{}.", run.file_name().display()))
        .collect();
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let name = entry.file_name();
                let is_one = starts
                    .iter()
                    .any(|start| name.display().to_string().starts_with(start));
                if is_one {
                    found.push(entry.path());
                }
                open.push(entry.path());
            }
        }
    }
    found
}

/// Whether a worker wrote in its temporary folder, below this one, that its fault holds.
fn holds(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let path = entry.path();
        // Not into what is mounted.
        path.file_name().is_some_and(|name| name == "holds")
            || path.is_dir() && !path.ends_with("data") && holds(&path)
    })
}
