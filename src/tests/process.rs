//! Servers that are child processes.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Fixture, is_alive, moody};
use crate::command::StartError;
use crate::instance::{KillError, PauseError, StopError};
use crate::prelude::*;
use crate::server::RestartError;
use crate::service::StartFuture;

struct Moody;

/// What the server of [`moody`] does, and what its start function adds.
#[derive(Default)]
struct Mood(&'static str);

impl Service for Moody {
    type Client = ();
    type Settings = Mood;
}

server_kind!(Moody, "moody", Some("sh"), start);

fn start(node: &mut Node<Moody>) -> StartFuture<'_> {
    Box::pin(async {
        let mood = node.settings().0;
        // A stranger that answers on the node's port.
        let _taken = match mood {
            "silent-and-taken" => Some(std::net::TcpListener::bind(node.address("tcp"))?),
            _ => None,
        };
        let mut command = moody::command(node, mood.trim_end_matches("-and-taken"))?
            .ready_when(tcp("tcp"))
            .ready_when(log_line("listening"));
        if mood == "silent" {
            command = command.ready_within(millis(300));
        }
        if mood == "ignores-term" {
            command = command.stop_within(millis(50));
        }
        Ok(command.spawn().await?)
    })
}

macro_rules! mood {
    ($mood:literal) => {
        |_| Box::new(Mood($mood))
    };
}

/// How often the server was started on its data.
async fn starts(server: &Server<Moody>) -> Result<String> {
    let mut stream = TcpStream::connect(server.endpoint("tcp")).await?;
    stream.shutdown().await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_and_data() {
    let fixture = Fixture::new();
    let server: Server<Moody> = fixture.server(mood!("serves")).await.unwrap();
    let (endpoint, pid) = (server.endpoint("tcp"), server.pid().unwrap());
    assert_eq!(starts(&server).await.unwrap(), "1");
    assert!(server.is_running());

    server.kill().await.unwrap();
    assert!(!server.is_running());
    assert_eq!(server.pid(), None);
    assert!(!is_alive(pid), "not even as a zombie");
    assert!(TcpStream::connect(endpoint).await.is_err());
    server.kill().await.unwrap();

    server.restart().await.unwrap();
    assert_eq!(server.endpoint("tcp"), endpoint);
    assert_eq!(starts(&server).await.unwrap(), "2");
    assert_eq!(
        std::fs::read(server.data_dir().unwrap().join("starts")).unwrap(),
        b"xx"
    );
    server.restart().await.unwrap();
    assert_eq!(starts(&server).await.unwrap(), "3");
    server.stop().await.unwrap();

    let log = server.log().unwrap();
    let starts: Vec<&str> = log.lines().filter(|line| line.starts_with("--- start")).collect();
    assert_eq!(starts.len(), 3, "{log}");
    assert!(starts[2].starts_with("--- start 3: /"), "{log}");
    assert!(log.contains(&format!("--- pid {pid} ---")), "{log}");
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn the_end_of_a_case_kills_what_runs_and_forgives_no_restart_after_it() {
    let fixture = Fixture::new();
    let server: Server<Moody> = fixture.server(mood!("serves")).await.unwrap();
    let pid = server.pid().unwrap();
    assert!(fixture.end().await.is_empty());
    assert!(!is_alive(pid));
    let error = server.restart().await.unwrap_err();
    assert!(matches!(error, RestartError::Closed { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_ignores_the_stop_signal_is_killed_and_told() {
    let fixture = Fixture::new();
    let server: Server<Moody> = fixture.server(mood!("ignores-term")).await.unwrap();
    let pid = server.pid().unwrap();
    let error = server.stop().await.unwrap_err();
    assert!(matches!(error, StopError::Ignored { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.starts_with("node `broker` ignored SIGTERM for 50 ms and was killed\n  the end of broker.log, among the case's artifacts:\n  | listening"),
        "{text}"
    );
    assert!(!is_alive(pid));
    assert!(fixture.end().await.is_empty(), "told once");
}

#[tokio::test]
async fn a_crash_on_the_way_out_is_not_a_stop() {
    let fixture = Fixture::new();
    let server: Server<Moody> = fixture.server(mood!("crashes-at-stop")).await.unwrap();
    let text = server.stop().await.unwrap_err().to_string();
    assert!(
        text.starts_with("node `broker` was asked to stop, and was ended by signal 6 (SIGABRT)\n"),
        "{text}"
    );
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn a_program_that_exits_at_once_is_told_with_its_last_words() {
    let fixture = Fixture::new();
    let error = fixture.server::<Moody>(mood!("exits")).await.unwrap_err();
    let start: &StartError = error.downcast_ref().unwrap();
    assert!(matches!(
        start,
        StartError::Exited {
            exit: Exit::Status(3),
            ..
        }
    ));
    let text = start.to_string();
    assert!(
        text.starts_with("node `broker` exited with status 3 before it was ready\n"),
        "{text}"
    );
    assert!(
        text.ends_with("\n  | line one\n  | cannot read the configuration"),
        "{text}"
    );
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn a_server_that_never_listens_is_told_with_what_was_waited_for() {
    let fixture = Fixture::new();
    let error = fixture
        .server::<Moody>(mood!("silent"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(
            "node `broker` was not ready within 300 ms: waited until port `tcp` accepts connections, and nobody listens on port "
        ),
        "{error}"
    );
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn another_process_on_the_port_is_not_taken_for_the_server() {
    let fixture = Fixture::new();
    let error = fixture
        .server::<Moody>(mood!("silent-and-taken"))
        .await
        .unwrap_err();
    let start: &StartError = error.downcast_ref().unwrap();
    let StartError::ForeignListener { owner, .. } = start else {
        panic!("{start}");
    };
    assert_eq!(owner.pid, std::process::id());
    let text = start.to_string();
    assert!(text.contains("of node `broker` is answered by pid "), "{text}");
    assert!(text.contains("robust_test-"), "the command line is told: {text}");
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn a_kill_reaches_the_children_of_a_server() {
    let fixture = Fixture::new();
    // Ready at all: the listener is held by the leader's child.
    let server: Server<Moody> = fixture.server(mood!("forks")).await.unwrap();
    assert_eq!(starts(&server).await.unwrap(), "1");
    let group = server.pid().unwrap();
    assert_eq!(crate::listener::alive_in_group(group).len(), 2);
    server.kill().await.unwrap();
    assert!(crate::listener::alive_in_group(group).is_empty());
    server.restart().await.unwrap();
    assert_eq!(starts(&server).await.unwrap(), "2");
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn a_stop_leaves_no_child_of_the_server_behind() {
    let fixture = Fixture::new();
    let server: Server<Moody> = fixture.server(mood!("forks-and-leaves")).await.unwrap();
    let data = fixture.case.folder().unwrap().join("broker/data/child");
    let child = std::fs::read_to_string(data).unwrap().parse().unwrap();
    assert!(is_alive(child));
    server.stop().await.unwrap();
    assert!(!is_alive(child), "not even as a zombie");
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn a_paused_server_is_silent_until_resumed() {
    let fixture = Fixture::new();
    let server: Server<Moody> = fixture.server(mood!("serves")).await.unwrap();
    server.pause().await.unwrap();
    server.pause().await.unwrap();
    assert!(server.is_running());
    // The kernel accepts; the server says nothing.
    let answer = tokio::time::timeout(millis(50), starts(&server)).await;
    assert!(answer.is_err());
    server.resume().await.unwrap();
    assert_eq!(starts(&server).await.unwrap(), "1");

    server.pause().await.unwrap();
    server.stop().await.unwrap();
    let error = server.resume().await.unwrap_err();
    assert!(matches!(error, PauseError::Down { .. }), "{error}");
    server.restart().await.unwrap();
    server.pause().await.unwrap();
    assert!(
        fixture.end().await.is_empty(),
        "a paused server ends with its case"
    );
}

/// Has the server end itself by SIGSEGV.
async fn poison(server: &Server<Moody>) {
    let mut stream = TcpStream::connect(server.endpoint("tcp")).await.unwrap();
    stream.write_all(b"die").await.unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text).await;
    eventually("the server dies", secs(5), || async { !server.is_running() })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_death_that_nobody_ordered_fails_the_case() {
    let fixture = Fixture::new();
    let server: Server<Moody> = fixture.server(mood!("serves")).await.unwrap();
    poison(&server).await;
    let wrong = fixture.end().await;
    assert_eq!(wrong.len(), 1);
    assert!(
        wrong[0].starts_with("node `broker` died unexpectedly: it was ended by signal 11 (SIGSEGV)\n"),
        "{wrong:?}"
    );
    assert!(wrong[0].ends_with("\n  | about to die"), "{wrong:?}");
}

#[tokio::test]
async fn a_death_is_not_covered_up_by_a_kill() {
    let fixture = Fixture::new();
    let server: Server<Moody> = fixture.server(mood!("serves")).await.unwrap();
    poison(&server).await;
    let error = server.kill().await.unwrap_err();
    assert!(matches!(error, KillError::Died(_)), "{error}");
    // Whoever reacts to that can go on, but the case has failed.
    server.restart().await.unwrap();
    assert_eq!(starts(&server).await.unwrap(), "2");
    assert_eq!(fixture.end().await.len(), 1);
}

#[tokio::test]
async fn a_death_that_was_waited_for_is_expected() {
    let fixture = Fixture::new();
    let server: Server<Moody> = fixture.server(mood!("serves")).await.unwrap();
    let exit = server.expect_exit();
    poison(&server).await;
    assert_eq!(exit.wait().await.unwrap(), Exit::Signaled(11));
    server.expect_exit().wait().await.unwrap_err();
    server.restart().await.unwrap();

    // Nobody need wait for it.
    let _exit = server.expect_exit();
    poison(&server).await;
    server.restart().await.unwrap();
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn a_start_that_is_cancelled_leaves_nothing() {
    let fixture = Fixture::new();
    let start = fixture.server::<Moody>(mood!("silent"));
    // Long enough for the program to start; its own deadline comes later.
    let folder = fixture.case.folder().unwrap().to_owned();
    let logged = || async {
        let log = std::fs::read_to_string(folder.join("broker.log")).ok()?;
        let pid = log.lines().find_map(|line| line.strip_prefix("--- pid "))?;
        pid.strip_suffix(" ---")?.parse::<u32>().ok()
    };
    let pid = tokio::select! {
        biased;
        pid = eventually("the program runs", secs(5), logged) => pid.unwrap(),
        _ = start => panic!("it was never ready"),
    };
    assert!(!is_alive(pid), "not even as a zombie");
    assert!(fixture.end().await.is_empty());
}

#[tokio::test]
async fn a_case_that_is_dropped_without_teardown_kills_its_servers() {
    let fixture = Fixture::new();
    let server: Server<Moody> = fixture.server(mood!("serves")).await.unwrap();
    let pid = server.pid().unwrap();
    drop((server, fixture));
    assert!(!is_alive(pid));
}

#[test]
fn a_missing_program_makes_the_kind_unavailable() {
    use robust_test_harness::param::{Environment, Param};
    use robust_test_harness::registry::Site;

    let site = Site::new("broker", <Server<Moody> as Param>::shape);
    let shape = <Server<Moody> as Param>::shape(&site, &Environment::default());
    let value = &shape.axis.unwrap().values[0];
    assert_eq!(value.label, "moody");
    assert_eq!(
        value.unavailable.as_deref(),
        Some("program `sh` was not found on PATH; install it or give --bin moody=PATH")
    );
}
