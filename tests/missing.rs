//! What faults work by, missing in turn: each is told with its reason, skips the cases that need it and no other ones, and is an
//! error where it is demanded. The user is not root, and is given everything else: the devices, a control group, and to be root
//! in a user namespace.

use std::collections::BTreeMap;
use std::path::PathBuf;

use robust_test::disk::Disk;
use robust_test::fault::{ClockSkew, MemoryLimit};
use robust_test::hosts::Net;
use robust_test_tests::gossip::Nobody;
use robust_test_tests::{Finished, Privilege, Verdict, is_allowed};

const FAULTS: &str = env!("CARGO_BIN_EXE_faults");
const GOSSIP: &str = env!("CARGO_BIN_EXE_gossip-server");
const WITHOUT: &str = env!("CARGO_BIN_EXE_without");
/// The cases that are to pass, or to be skipped.
const ALL: &str = "--skip-tag fails";
/// Where control groups of version 1 count memory.
const GROUPS: &str = "/sys/fs/cgroup/memory";

/// How something is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Nothing,
    /// There is no such device.
    Device(&'static str),
    /// The system says EPERM to it; a word of the program `without`.
    Call(&'static str),
    /// The control group that is the user's own.
    OwnGroup,
    /// All control groups.
    Groups,
}

/// Each mechanism that can be missing, how, what is told, and how many cases need it.
const MISSING: [(&str, Taken, &str, usize); 9] = [
    ("fuse", Taken::Device("fuse"), "this system has no /dev/fuse: ", 5),
    ("fuse", Taken::Call("mount"), "this user may not mount: ", 5),
    (
        "namespaces",
        Taken::Device("net/tun"),
        "this system has no /dev/net/tun: ",
        1,
    ),
    (
        "namespaces",
        Taken::Call("unshare"),
        "this user may make no network namespace (cannot make a network namespace: Operation not permitted (os error 1)): ",
        1,
    ),
    (
        "cgroup-memory",
        Taken::OwnGroup,
        "this user may not make control groups in /",
        3,
    ),
    (
        "cgroup-memory",
        Taken::Groups,
        "no control groups with the controller `memory` are mounted: ",
        3,
    ),
    (
        "sock-diag",
        Taken::Call("sock-diag"),
        "the kernel's table of sockets cannot be read (Operation not permitted (os error 1)): ",
        2,
    ),
    (
        "vdso",
        Taken::Call("ptrace"),
        "no program can be held until its clock is moved (Operation not permitted (os error 1)): ",
        4,
    ),
    (
        "prlimit",
        Taken::Call("prlimit"),
        "the limits of a process cannot be set from outside (Operation not permitted (os error 1)): ",
        1,
    ),
];

/// A control group that is a user's own, removed when it is dropped: there is nobody in it then.
struct Group(PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        let _never_made = std::fs::remove_dir(&self.0);
    }
}

/// Runs the suite as that user, who has everything but that.
fn run(taken: Taken, arguments: &str, required: Option<&str>) -> Finished {
    let group = Group(PathBuf::from(GROUPS).join(format!(
        "robust-test-given-{:?}-{}",
        std::thread::current().id(),
        std::process::id()
    )));
    let devices = [
        ("null", "1 3"),
        ("zero", "1 5"),
        ("full", "1 7"),
        ("random", "1 8"),
        ("urandom", "1 9"),
        ("tty", "5 0"),
        ("net/tun", "10 200"),
        ("fuse", "10 229"),
    ];
    let devices = devices.iter().filter(|(name, _)| taken != Taken::Device(name));
    let devices: String = devices
        .map(|(name, numbers)| format!("mknod -m 666 /dev/{name} c {numbers} && "))
        .collect();
    let user = Nobody::number();
    let at = group.0.display();
    let groups = match taken {
        Taken::OwnGroup => String::new(),
        Taken::Groups => "umount --recursive /sys/fs/cgroup && ".to_owned(),
        _ => format!("mkdir '{at}' && chown -R {user} '{at}' && echo $$ >'{at}/cgroup.procs' && "),
    };
    let nobody = Nobody {
        before: format!(
            "mount -t tmpfs -o dev,mode=755 none /dev && mkdir /dev/net && mkdir -m 1777 /dev/shm && ln -s /proc/self/fd /dev/fd \
             && {devices} {groups} install -m 755 '{WITHOUT}' ../without &&"
        ),
        through: match taken {
            Taken::Call(call) => format!("unshare --user --map-root-user --mount ../without {call}"),
            _ => "unshare --user --map-root-user --mount".to_owned(),
        },
    };
    let planted = nobody.runs((FAULTS, GOSSIP), arguments);
    match required {
        Some(mechanism) => planted.env("ROBUST_REQUIRE", mechanism).run(),
        None => planted.run(),
    }
}

fn is_everything_here() -> bool {
    let groups = || {
        std::fs::metadata(GROUPS)
            .map(drop)
            .map_err(|error| format!("{GROUPS}: {error}"))
    };
    Privilege::Mount.is_granted()
        && Privilege::OtherUser.is_granted()
        && is_allowed(Disk::available())
        && is_allowed(Net::available())
        && is_allowed(MemoryLimit::available())
        && is_allowed(ClockSkew::available())
        && is_allowed(groups())
}

/// The cases that did not pass, but for those that hold a fault until their runner is killed.
fn not_passed(finished: &Finished) -> BTreeMap<String, Verdict> {
    let mut verdicts = finished.verdicts();
    verdicts.retain(|name, verdict| verdict.status != "passed" && !name.starts_with("holds"));
    verdicts
}

#[test]
fn each_is_told_in_the_table_of_faults_and_no_other_one() {
    if !is_everything_here() {
        return;
    }
    let all = run(Taken::Nothing, "--faults", None).faults();
    assert!(all.iter().all(|fault| fault.here == "yes"), "{all:?}");
    for (missing, taken, reason, _) in MISSING {
        let told = run(taken, "--faults", None).faults();
        assert_eq!(told.len(), all.len());
        for fault in told {
            let is_told = match fault.mechanism == missing {
                true => fault.here.starts_with(&format!("no: {reason}")),
                false => fault.here == "yes",
            };
            assert!(is_told, "{taken:?}: {fault:?}");
        }
    }
}

#[test]
fn each_skips_the_cases_that_need_it_and_no_other_ones() {
    if !is_everything_here() {
        return;
    }
    for (missing, taken, reason, needed_by) in MISSING {
        let finished = run(taken, ALL, None);
        assert_eq!(
            finished.code(),
            Some(0),
            "{taken:?}: {}{}",
            finished.stdout,
            finished.stderr
        );
        let skipped = not_passed(&finished);
        assert_eq!(skipped.len(), needed_by, "{taken:?}: {skipped:?}");
        let start = format!("`{missing}` is not available: {reason}");
        for (name, verdict) in &skipped {
            assert_eq!(verdict.status, "skipped", "{name}: {}", verdict.message);
            assert!(verdict.message.starts_with(&start), "{name}: {}", verdict.message);
        }
        let names = skipped.keys().filter_map(|name| name.split('[').next());
        let names: Vec<&str> = names.collect();
        let finished = run(taken, &names.join(" "), Some(missing));
        let errors = finished.verdicts();
        assert_eq!(errors.len(), needed_by, "{taken:?}: {errors:?}");
        let start = format!("ROBUST_REQUIRE demands `{missing}`: {reason}");
        for (name, verdict) in errors {
            let class = (verdict.status.as_str(), verdict.class.as_str());
            assert_eq!(class, ("errored", "required"), "{name}: {}", verdict.message);
            assert!(verdict.message.starts_with(&start), "{name}: {}", verdict.message);
        }
    }
}

#[test]
fn a_user_without_privileges_who_is_given_everything_has_every_fault() {
    if !is_everything_here() {
        return;
    }
    let finished = run(Taken::Nothing, ALL, Some("all"));
    assert_eq!(finished.code(), Some(0), "{}{}", finished.stdout, finished.stderr);
    assert_eq!(not_passed(&finished), BTreeMap::new());
}
