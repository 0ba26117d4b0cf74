//! Scenarios that attack the process they run in, the runner, and the cases after them. Run by
//! `tests/adversary.rs`, one after another in one slot: after each attack a *witness* looks at what it finds.
#![allow(missing_docs, unsafe_code)]

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use robust_test::harness::param::{Axis, AxisValue, Build, Environment, Param, Shape};
use robust_test::harness::registry::Site;
use robust_test::prelude::*;

/// What a case may expect of the process it runs in.
fn witness(after: &str) {
    println!("stdout of the witness after {after}");
    eprintln!("stderr of the witness after {after}");
    for descriptor in [1, 2] {
        // SAFETY: plain queries of a descriptor.
        let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
        assert!(flags >= 0, "descriptor {descriptor} is closed");
        assert_eq!(
            flags & libc::O_NONBLOCK,
            0,
            "descriptor {descriptor} does not block"
        );
        let target = std::fs::read_link(format!("/proc/self/fd/{descriptor}")).unwrap();
        assert!(
            target.to_string_lossy().starts_with("pipe:"),
            "descriptor {descriptor} is {target:?}"
        );
    }
    let file = std::env::temp_dir().join("of the witness");
    std::fs::write(&file, "x").unwrap();
    std::fs::remove_file(file).unwrap();
    let files: Vec<_> = (0..64)
        .map(|_| std::fs::File::open("/dev/null").unwrap())
        .collect();
    assert!(files.len() == 64);
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let set = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        u64::from_str_radix(line[name.len()..].trim(), 16).unwrap() & 0x7fff_ffff
    };
    assert_eq!(set("SigBlk:"), 0, "signals are blocked");
    assert_eq!(
        set("SigIgn:"),
        1 << (libc::SIGPIPE - 1),
        "other signals are ignored than Rust does"
    );
    assert_eq!(
        set("SigCgt:") & (1 << (libc::SIGTERM - 1)),
        0,
        "SIGTERM has a handler"
    );
    assert_eq!(std::fs::read_dir("/proc/self/task").unwrap().count(), 2);
}

macro_rules! witnesses {
    ($($name:ident)*) => { $( #[robust_test] fn $name() { witness(stringify!($name)); } )* };
}

#[robust_test]
fn a01_closes_stdout() {
    // SAFETY: none; this is the attack.
    unsafe { libc::close(1) };
}
witnesses!(b01);

#[robust_test]
fn a02_sends_stdout_to_nowhere() {
    let nowhere = std::fs::File::options().write(true).open("/dev/null").unwrap();
    use std::os::fd::AsRawFd as _;
    for descriptor in [1, 2] {
        // SAFETY: none; this is the attack.
        unsafe { libc::dup2(nowhere.as_raw_fd(), descriptor) };
    }
}
witnesses!(b02);

#[robust_test]
fn a03_makes_stdout_not_block() {
    // SAFETY: none; this is the attack.
    unsafe { libc::fcntl(1, libc::F_SETFL, libc::O_NONBLOCK | libc::O_WRONLY) };
}
witnesses!(b03);

#[robust_test]
fn a04_closes_everything_but_stdio() {
    // SAFETY: none; this is the attack.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}
witnesses!(b04);

#[robust_test]
async fn a05_closes_everything_and_waits() {
    // SAFETY: none; this is the attack.
    unsafe { libc::close_range(0, libc::c_uint::MAX, 0) };
    tokio::time::sleep(Duration::from_millis(10)).await;
}
witnesses!(b05);

#[robust_test]
fn a06_lets_sigpipe_kill() {
    // SAFETY: none; this is the attack.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}
witnesses!(b06);

#[robust_test]
fn a07_ignores_sigterm() {
    // SAFETY: none; this is the attack.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
}
witnesses!(b07);

#[robust_test]
fn a08_blocks_signals() {
    // SAFETY: none; this is the attack.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&mut set);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}
witnesses!(b08);

#[robust_test]
fn a09_allows_few_descriptors() {
    let limit = libc::rlimit {
        rlim_cur: 20,
        rlim_max: 20,
    };
    // SAFETY: none; this is the attack.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
}
witnesses!(b09);

#[robust_test]
fn a10_removes_the_temporary_folder() {
    std::fs::remove_dir_all(std::env::temp_dir()).unwrap();
}
witnesses!(b10);

#[robust_test(allow_leak(files, because = "this is the attack"))]
fn a11_leaves_read_only_folders(case: Case) {
    use std::os::unix::fs::PermissionsExt as _;
    for root in [std::env::temp_dir(), case.folder().unwrap().to_owned()] {
        let below = root.join("read-only").join("below");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::write(below.join("file"), "x").unwrap();
        for folder in [&below, below.parent().unwrap()] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o500)).unwrap();
        }
    }
}
witnesses!(b11);

#[robust_test]
fn a12_takes_the_panic_hook_away() {
    std::panic::set_hook(Box::new(|_| ()));
}
#[robust_test]
fn b12_panics_on_a_thread() {
    let _told_by_the_hook = std::thread::spawn(|| panic!("seen by the hook")).join();
}

#[robust_test(timeout = "300ms")]
fn a13_stops_its_process_group() {
    // SAFETY: none; this is the attack.
    unsafe { libc::kill(0, libc::SIGSTOP) };
    // The other threads are stopped a moment later than the one that takes the signal.
    std::thread::sleep(Duration::from_millis(100));
}
witnesses!(b13);

#[robust_test]
fn a14_moves_to_another_group() {
    // SAFETY: none; this is the attack.
    unsafe {
        libc::setpgid(0, libc::getpgid(libc::getppid()));
        libc::setsid();
    }
}
witnesses!(b14);

#[robust_test(timeout = "300ms")]
fn a15_forks_a_child_that_holds_every_channel() {
    // SAFETY: none; this is the attack. The child only sleeps.
    unsafe {
        if libc::fork() == 0 {
            libc::setsid();
            libc::sleep(7501);
            libc::_exit(0);
        }
    }
}
witnesses!(b15);

#[robust_test]
fn a16_dies_and_leaves_a_fork_with_every_channel() {
    // SAFETY: none; this is the attack. The child only sleeps.
    unsafe {
        if libc::fork() == 0 {
            libc::setsid();
            libc::sleep(7502);
            libc::_exit(0);
        }
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
}
witnesses!(b16);

#[robust_test]
fn a17_a_child_writes_until_it_is_killed() {
    Command::new("sh")
        .args(["-c", "(while :; do echo of the child; done) &"])
        .status()
        .unwrap();
}
witnesses!(b17);

#[robust_test]
fn a18_panics_with_ten_megabytes() {
    panic!("{}", "long ".repeat(2 << 20));
}
witnesses!(b18);

#[robust_test]
fn a19_thousands_of_threads_panic() {
    for number in 0..5000 {
        let _panicked = std::thread::spawn(move || panic!("thread {number}\nand more of it")).join();
    }
}
witnesses!(b19);

#[robust_test]
fn a20_panics_with_no_text() {
    std::panic::panic_any(7);
}

#[robust_test]
fn a21_catches_its_own_panic() {
    let caught = std::panic::catch_unwind(|| panic!("caught"));
    assert!(caught.is_err());
}

#[robust_test(timeout = "300ms")]
async fn a22_panics_while_it_is_cancelled() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    let _bomb = Bomb;
    std::future::pending::<()>().await;
}
witnesses!(b22);

#[robust_test]
fn a23_panics_while_panicking() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the second");
        }
    }
    let _bomb = Bomb;
    panic!("the first");
}
witnesses!(b23);

#[robust_test]
async fn a24_blocks_on_a_handle_inside() {
    tokio::runtime::Handle::current().block_on(async {});
}

#[robust_test]
fn a25_has_a_runtime_of_its_own() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::sleep(Duration::from_millis(5)).await });
}
witnesses!(b25);

#[robust_test]
async fn a26_a_blocking_task_never_ends() {
    tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_secs(7503)));
    tokio::time::sleep(Duration::from_millis(20)).await;
}
witnesses!(b26);

#[robust_test]
async fn a27_freezes_the_clock_and_tears_down_with_the_network(case: Case) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    case.defer("a slow peer", move || async move {
        use tokio::io::AsyncReadExt as _;
        let peer = std::thread::spawn(move || {
            let stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            std::thread::sleep(Duration::from_millis(300));
            drop(stream);
        });
        let (mut stream, _) = listener.accept().await?;
        let mut rest = Vec::new();
        tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await??;
        peer.join().unwrap();
        println!("the peer hung up");
        Ok(())
    });
    tokio::time::pause();
}
witnesses!(b27);

#[robust_test]
async fn a28_ten_thousand_tasks_end_soon() {
    for _ in 0..10_000 {
        tokio::spawn(async { tokio::time::sleep(Duration::from_millis(20)).await });
    }
}
witnesses!(b28);

#[robust_test(flavor = "multi_thread", worker_threads = 4)]
async fn a29_several_threads_leak_tasks() {
    for _ in 0..100 {
        tokio::spawn(std::future::pending::<()>());
    }
}
witnesses!(b29);

#[robust_test(timeout = "500ms")]
fn a30_teardown_never_ends(case: Case) {
    case.defer("a thread that blocks", || async {
        std::thread::sleep(Duration::from_secs(7504));
        Ok(())
    });
}
witnesses!(b30);

fn defer_again(case: Case, left: u32) {
    let again = case.clone();
    case.defer("one of many", move || async move {
        if left > 0 {
            defer_again(again, left - 1);
        }
        Ok(())
    });
}

#[robust_test]
fn a31_closers_defer_closers(case: Case) {
    defer_again(case, 1000);
}

#[robust_test]
fn a32_closers_defer_closers_for_ever(case: Case) {
    defer_again(case, u32::MAX);
}
witnesses!(b32);

struct Hangs;
impl Param for Hangs {
    fn shape(_: &Site, _: &Environment) -> Shape {
        Shape::default()
    }
    async fn build(build: &mut Build) -> Result<Self> {
        build.case().defer("what was begun", || async {
            println!("undone");
            Ok(())
        });
        std::future::pending().await
    }
}

struct Panics;
impl Param for Panics {
    fn shape(_: &Site, _: &Environment) -> Shape {
        Shape::default()
    }
    async fn build(build: &mut Build) -> Result<Self> {
        build.case().defer("what was begun", || async {
            println!("undone");
            Ok(())
        });
        panic!("while it was built")
    }
}

#[robust_test(timeout = "300ms", retries = 1)]
fn a33_setup_hangs(_thing: Hangs) {}

#[robust_test]
fn a34_setup_panics(_thing: Panics) {}
witnesses!(b34);

#[robust_test]
fn a35_prints_without_a_newline_and_dies() {
    std::io::stdout()
        .write_all(b"no newline")
        .and_then(|()| std::io::stdout().flush())
        .unwrap();
    // SAFETY: none; this is the attack.
    unsafe { libc::_exit(7) };
}
witnesses!(b35);

#[robust_test]
fn a36_enters_a_root_of_its_own() {
    if std::os::unix::fs::chroot(std::env::temp_dir()).is_err() {
        println!("not allowed");
    }
}
witnesses!(b36);

/// A frame that says: passed, case number 0.
const FALSE_VERDICT: [u8; 13] = [b'.', 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[robust_test]
fn a37_writes_a_verdict_of_its_own() {
    // The frame of a case that passed, on every socket there is.
    for descriptor in 3..32 {
        // SAFETY: none; this is the attack.
        unsafe { libc::write(descriptor, FALSE_VERDICT.as_ptr().cast(), FALSE_VERDICT.len()) };
    }
    panic!("and it failed");
}
witnesses!(b37);

#[robust_test(ignore = "for the test of one's own")]
fn kills_the_runner() {
    let mut child = Command::new("sleep").arg("7505").spawn().unwrap();
    if std::env::var_os("ADVERSARY_WAITS").is_none() {
        // SAFETY: none; this is the attack.
        unsafe { libc::kill(libc::getppid(), libc::SIGKILL) };
    }
    child.wait().unwrap();
}

#[robust_test(ignore = "for the test of one's own")]
fn kills_the_reaper() {
    let runner = std::os::unix::process::parent_id();
    let children = std::fs::read_to_string(format!("/proc/{runner}/task/{runner}/children")).unwrap();
    for pid in children.split_ascii_whitespace() {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        if line.contains("--robust-reaper") {
            // SAFETY: none; this is the attack.
            unsafe { libc::kill(pid.parse().unwrap(), libc::SIGKILL) };
        }
    }
}

#[robust_test(ignore = "for the test of one's own", timeout = "1s")]
fn outlives_a_stopped_runner() {
    std::thread::sleep(Duration::from_millis(400));
}

#[robust_test(ignore = "for the test of one's own")]
fn fails(#[values(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)] _a: u32, #[values(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)] _b: u32) {
    panic!("{}", "as always ".repeat(100));
}

#[robust_test(ignore = "for the test of one's own")]
fn says_its_number(#[values(1, 2, 3, 4, 5, 6, 7, 8)] number: u32) {
    for _ in 0..2000 {
        println!("<{number}>");
    }
    panic!("so that the output is kept");
}

#[robust_test(ignore = "for the test of one's own")]
async fn waits_a_little(
    #[values(1, 2, 3, 4, 5, 6, 7, 8)] _a: u32,
    #[values(1, 2, 3, 4, 5, 6, 7, 8)] _b: u32,
) {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

#[robust_test(ignore = "for the test of one's own")]
fn has_odd_labels(
    #[values(
        "it's",
        "a\"b",
        "<&>",
        "äöü漢字🦀",
        "$(reboot)",
        "`x`",
        "%s\\",
        "../..",
        "\u{202e}rtl"
    )]
    label: &str,
) {
    panic!("{label}");
}

/// A text of 10 KiB and more, as a parameter.
struct Long(String);

/// What long labels are made of.
const PARTS: [&str; 5] = [
    "plain ",
    "a/../b/",
    "äöü漢字🦀",
    "\u{200b}\u{2028}\u{202e}\u{feff}\u{fffe}",
    "it's \"<&>]]>%s\\$(x)`y`[,=",
];

impl Long {
    fn all() -> Vec<String> {
        let times = |part: &str| (10 << 10) / part.len() + 1;
        let ends = |part: &str| ["1", "2"].map(|end| part.repeat(times(part)) + end);
        PARTS.iter().flat_map(|part| ends(part)).collect()
    }
}

impl Param for Long {
    fn shape(_: &Site, _: &Environment) -> Shape {
        let values = Self::all().into_iter().map(|label| AxisValue {
            label: label.into(),
            ..AxisValue::default()
        });
        Shape {
            axis: Some(Axis {
                values: values.collect(),
                empty_because: None,
            }),
            ..Shape::default()
        }
    }
    async fn build(build: &mut Build) -> Result<Self> {
        Ok(Self(Self::all().swap_remove(build.choice())))
    }
}

#[robust_test(ignore = "for the test of one's own")]
fn has_a_long_label(text: Long, case: Case) {
    std::fs::write(case.folder().unwrap().join("label"), &text.0).unwrap();
    println!("said {}", text.0);
    panic!("with {}", text.0);
}

#[robust_test(ignore = "for the test of one's own")]
fn twenty_thousand(
    #[values(0, 1)] a: u8,
    #[values(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)] b: u8,
    #[values(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)] c: u8,
    #[values(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)] d: u8,
    #[values(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)] e: u8,
) {
    println!("<{a}{b}{c}{d}{e}>{}", "x".repeat(1000));
    panic!("as all {a}{b}{c}{d}{e} do");
}

#[robust_test(ignore = "for the test of one's own", timeout = "120s")]
fn prints_a_gigabyte_and_more() {
    let bytes = vec![b'x'; 1 << 20];
    let mut out = std::io::stdout().lock();
    for _ in 0..1100 {
        out.write_all(&bytes).unwrap();
    }
    out.flush().unwrap();
    drop(out);
    panic!("after 1100 megabytes");
}

#[robust_test(ignore = "for the test of one's own", timeout = "300ms")]
fn is_quick() {}

/// What a program with much to load does before `main`.
extern "C" fn load_slowly() {
    let is_worker = std::env::args_os().any(|argument| argument == "--robust-worker");
    if is_worker && std::env::var_os("ADVERSARY_LOADS_SLOWLY").is_some() {
        std::thread::sleep(Duration::from_millis(900));
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static LOAD_SLOWLY: extern "C" fn() = load_slowly;

robust_test::main!();
