//! Disks that can fail, from outside: whatever becomes of the worker or the runner, no mount and no folder is left, and
//! what a node wrote is kept with the case. Skipped where nothing can be mounted.

use std::path::Path;

use robust_test::disk::Disk;
use robust_test_tests::{Planted, Privilege, Signal, is_allowed};

const DISKS: &str = env!("CARGO_BIN_EXE_disks");

fn mounted_below(folder: &Path) -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let folder = folder.display().to_string();
    mounts
        .lines()
        .filter(|line| line.contains(&folder))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_case_ends_as_it_does_and_what_its_node_wrote_is_kept() {
    if !is_allowed(Disk::available()) {
        return;
    }
    let suite = Planted::new(DISKS).args(["--test-threads", "4"]).start();
    let home = suite.report().parent().unwrap().to_owned();
    let finished = suite.finish();
    assert_eq!(mounted_below(&home), [""; 0]);
    assert_eq!(finished.code(), Some(101));
    let verdicts = finished.verdicts();
    let of = |name: &str| {
        let verdict = &verdicts[name];
        (verdict.status.as_str(), verdict.class.as_str())
    };
    assert_eq!(of("passes").0, "passed", "{:?}", verdicts["passes"]);
    assert_eq!(of("fails").0, "failed", "{:?}", verdicts["fails"]);
    assert_eq!(of("its_worker_dies"), ("errored", "crash"));
    assert_eq!(of("leaves_a_process_on_it"), ("errored", "leak"));
    assert_eq!(of("blocks_in_its_own_disk"), ("errored", "deadline"));
    assert_eq!(of("its_worker_stands_still"), ("errored", "deadline"));
    assert_eq!(of("leaves_a_file_system"), ("errored", "leak"));
    let leak = &verdicts["leaves_a_file_system"];
    let told = format!("{}\n{}", leak.message, leak.details);
    assert!(
        told.contains("a file system (tmpfs) mounted at ") && told.contains("/left"),
        "{told}"
    );
    assert!(!verdicts["leaves_a_process_on_it"].details.contains("mounted"));
    for name in [
        "fails",
        "its_worker_dies",
        "leaves_a_process_on_it",
        "blocks_in_its_own_disk",
        "its_worker_stands_still",
    ] {
        let kept = verdicts[name].artifacts.as_ref().unwrap();
        let kept = finished.report().join(kept);
        let file = kept.join("backing/written");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "by the node", "{name}");
        assert_eq!(std::fs::read_dir(kept.join("data")).unwrap().count(), 0);
    }
}

#[test]
fn nothing_is_left_of_a_killed_runner() {
    if !is_allowed(Disk::available()) {
        return;
    }
    let suite = Planted::new(DISKS).args(["--ignored", "waits"]).start();
    let home = suite.report().parent().unwrap().to_owned();
    suite.wait_until("a disk is used", |suite| {
        suite
            .processes()
            .iter()
            .any(|(_, line)| line.contains("sleep 7822"))
    });
    assert_eq!(mounted_below(&home).len(), 1);
    suite.signal(Signal::KILL);
    suite.finish();
    assert_eq!(mounted_below(&home), [""; 0]);
}

#[test]
fn what_a_run_left_that_was_killed_with_its_reaper_the_next_one_unmounts_and_tells() {
    if !Privilege::Mount.is_granted() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let left = temporary.path().join("robust-left/1/data");
    std::fs::create_dir_all(&left).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "tmpfs"])
        .arg(&left)
        .status();
    let is_mounted = mounted.is_ok_and(|status| status.success());
    if !is_allowed(is_mounted.then_some(()).ok_or("this user may not mount")) {
        return;
    }
    let run = || {
        Planted::new(DISKS)
            .args(["--exact", "passes"])
            .env("TMPDIR", temporary.path())
            .run()
    };
    let finished = run();
    let told = format!(
        "unmounted {} (tmpfs), which a run that was killed left behind",
        left.display()
    );
    assert!(finished.stderr.contains(&told), "{}", finished.stderr);
    assert!(!temporary.path().join("robust-left").exists());
    assert_eq!(mounted_below(temporary.path()), [""; 0]);
    assert!(!run().stderr.contains("unmounted"));
}
