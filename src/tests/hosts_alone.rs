//! Hosts made by processes that are ended, that are other users', or that have little: this test's own binary, run again.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::time::timeout;

use super::hosts::{WITHIN, are_available, is_kept, network, until};
use super::{Fixture, skip_because};
use crate::hosts::{Impairment, Net};
use crate::prelude::*;

/// What a run of the binary is to do.
const ALONE: &str = "ROBUST_TEST_ALONE";
const NOBODY: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];

/// Not a test of its own: what the others run alone.
#[tokio::test]
async fn alone() {
    let Ok(what) = std::env::var(ALONE) else {
        return;
    };
    let told = match (what.as_str(), Net::available()) {
        (_, Err(why)) => why.to_string(),
        ("wait", _) => wait_to_be_killed(),
        ("few", _) => with_few_descriptors().await,
        (_, Ok(())) => use_one().await,
    };
    println!("told: {told}");
}

/// A delay, a cut, a program and sockets.
async fn use_one() -> String {
    let fixture = Fixture::new();
    let net = Net::new(&fixture.case, "net").unwrap();
    let (a, b) = (net.host("a").unwrap(), net.host("b").unwrap());
    let mut id = Command::new("sh");
    id.args(["-c", "echo $(id -u) $(id -g) $(grep CapEff /proc/self/status)"]);
    a.enter(&mut id).unwrap();
    let id = String::from_utf8(id.output().unwrap().stdout).unwrap();
    let cut = net.add(Impairment::cut().to(&b)).unwrap();
    let (from, to) = (a.udp_socket(0).unwrap(), b.udp_socket(53).unwrap());
    from.send_to(b"lost", b.address(53)).await.unwrap();
    cut.until_it_bites(WITHIN).await.unwrap();
    cut.heal().unwrap();
    from.send_to(b"heard", b.address(53)).await.unwrap();
    let mut bytes = [0; 5];
    timeout(WITHIN, to.recv(&mut bytes)).await.unwrap().unwrap();
    assert_eq!(bytes, *b"heard");
    let listener = b.listen(8080).unwrap();
    let delay = net.add(Impairment::delay(millis(5))).unwrap();
    a.connect(b.address(8080)).await.unwrap();
    timeout(WITHIN, listener.accept()).await.unwrap().unwrap();
    delay.heal().unwrap();
    let network = network(&a);
    assert!(is_kept(&network));
    assert_eq!(fixture.end().await, [""; 0]);
    assert!(!is_kept(&network));
    format!("works as {}", id.trim())
}

/// With a fault, packets on their way and a program on a host, until it is killed.
fn wait_to_be_killed() -> String {
    let fixture = Fixture::new();
    let net = Net::new(&fixture.case, "net").unwrap();
    let (a, b) = (net.host("a").unwrap(), net.host("b").unwrap());
    let _delay = net.add(Impairment::delay(secs(600))).unwrap();
    let mut program = Command::new("sleep");
    program.arg("600").stdout(Stdio::null()).stderr(Stdio::null());
    a.enter(&mut program).unwrap();
    #[expect(clippy::zombie_processes, reason = "it is there when this process is killed")]
    let program = program.spawn().unwrap();
    println!("told: {} {} {}", program.id(), network(&a), network(&b));
    std::io::stdout().flush().unwrap();
    let _ended = std::io::stdin().read_to_end(&mut Vec::new());
    "nobody killed it".to_owned()
}

/// Makes hosts until there are no more descriptors.
async fn with_few_descriptors() -> String {
    let fixture = Fixture::new();
    let net = Net::new(&fixture.case, "net").unwrap();
    let first = net.host("first").unwrap();
    let used = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let limit = getrlimit(Resource::Nofile);
    let few = Rlimit {
        current: Some(used + 12),
        ..limit
    };
    setrlimit(Resource::Nofile, few).unwrap();
    let mut made = (0..20).map(|number| net.host(format!("host-{number}")));
    let error = made.find_map(std::result::Result::err).unwrap();
    let refused = first.tcp_socket().map(drop);
    setrlimit(Resource::Nofile, limit).unwrap();
    drop(made);
    // What there is goes on, and more can be made.
    let (from, to) = (net.host("more").unwrap(), first.udp_socket(1).unwrap());
    from.udp_socket(0)
        .unwrap()
        .send_to(b"x", first.address(1))
        .await
        .unwrap();
    timeout(WITHIN, to.recv(&mut [0; 1])).await.unwrap().unwrap();
    let chain = |error: &dyn std::error::Error| format!("{error}: {}", error.source().unwrap());
    format!(
        "{} | {}",
        chain(&error),
        refused.map_or_else(|error| chain(&error), |()| "none".to_owned())
    )
}

/// Has a program run this binary, or a copy of it, alone.
fn run_by(program: &str, arguments: &[&str], binary: &Path, what: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg(binary)
        .args(["--exact", "--nocapture", "tests::hosts_alone::alone"])
        .env(ALONE, what)
        .env_remove("TMPDIR")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// What it told.
fn told(ran: &Output) -> String {
    let said = String::from_utf8_lossy(&ran.stdout);
    let told = said.lines().find_map(|line| line.split_once("told: "));
    told.map(|(_, told)| told.to_owned())
        .unwrap_or_else(|| format!("{said}{}", String::from_utf8_lossy(&ran.stderr)))
}

#[test]
fn other_users_have_hosts_too_or_are_told_why_not() {
    let may_mount = Command::new("unshare").args(["--mount", "true"]).output();
    let may_mount = may_mount.is_ok_and(|ran| ran.status.success());
    if !are_available() {
        return;
    }
    if !rustix::process::geteuid().is_root() || !may_mount {
        skip_because("this user cannot mount or become another one");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("test");
    // By another process: who is forked while this one writes it would keep it from being run.
    let copied = Command::new("cp")
        .args([&std::env::current_exe().unwrap(), &copy])
        .status();
    assert!(copied.unwrap().success());
    let told_by =
        |program: &str, arguments: &[&str]| told(&run_by(program, arguments, &copy, "use").output().unwrap());
    let nobody = format!("exec setpriv {} \"$@\"", NOBODY.join(" "));
    let open = "mount -t tmpfs -o dev none /dev/net && mknod -m 666 /dev/net/tun c 10 200";
    let missing = "mount -t tmpfs none /dev/net";
    // Without any right, and with no user namespaces left to be made.
    let none_left = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all \
                     --inh-caps=-all \"$@\"";
    let in_mounts = |script: &str| {
        let script = format!("{script} && {nobody}");
        told_by("unshare", &["--mount", "sh", "-c", &script, "sh"])
    };
    let works = "works as 65534 65534 CapEff: 0000000000000000";
    assert_eq!(in_mounts(open), works);
    let may_not = "this user may not open /dev/net/tun: run as root";
    let closed = "mount -t tmpfs -o dev none /dev/net && mknod -m 600 /dev/net/tun c 10 200";
    let told = in_mounts(closed);
    assert!(told.starts_with(may_not), "{told}");
    let told = in_mounts(missing);
    assert!(told.starts_with("this system has no /dev/net/tun"), "{told}");
    let told = told_by(
        "unshare",
        &["--user", "--map-root-user", "sh", "-c", none_left, "sh"],
    );
    assert!(
        told.starts_with("this user may make no network namespace"),
        "{told}"
    );
    // As the machine is.
    let told = told_by("setpriv", &NOBODY);
    assert!(told == works || told.starts_with(may_not), "{told}");
    println!("here, an unprivileged user is told: {told}");
}

/// The program that the killed process left, which is ended with this.
struct Left(Pid);

impl Drop for Left {
    fn drop(&mut self) {
        let _ended = rustix::process::kill_process(self.0, Signal::KILL);
        let _reaped = rustix::process::waitpid(Some(self.0), rustix::process::WaitOptions::empty());
    }
}

#[tokio::test]
async fn of_a_process_that_is_killed_nothing_is_left() {
    if !are_available() {
        return;
    }
    // What the killed process leaves comes to this one.
    let _subreaper = Fixture::new();
    let own = std::env::current_exe().unwrap();
    let mut process = run_by("env", &[], &own, "wait").spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let told = lines.find_map(|line| Some(line.unwrap().split_once("told: ")?.1.to_owned()));
    let told = told.unwrap();
    let [program, a, b] = told.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let program = Left(Pid::from_raw(program.parse().unwrap()).unwrap());
    assert!(is_kept(a) && is_kept(b));
    process.kill().unwrap();
    process.wait().unwrap();
    until("the host without a program is gone", || !is_kept(b)).await;
    assert!(is_kept(a), "its program is in it");
    drop(program);
    until("the other one is gone", || !is_kept(a)).await;
}

#[test]
fn without_descriptors_there_are_no_more_hosts_and_those_there_are_go_on() {
    if !are_available() {
        return;
    }
    let own = std::env::current_exe().unwrap();
    let told = told(&run_by("env", &[], &own, "few").output().unwrap());
    let (host, socket) = told.split_once(" | ").unwrap_or_else(|| panic!("{told}"));
    let hint = "for want of descriptors: raise the limit of open files (`ulimit -n`)";
    assert!(host.starts_with("host `host-") && host.contains(hint), "{host}");
    assert!(socket == "none" || socket.contains(hint), "{socket}");
}
