//! A server that says, to each connection, how often it was started on its data, in one of several moods: this
//! test program, run a second time for the one test that is it, so that it is a real process everywhere.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Signal, getpid, kill_process};

use crate::command::ServerCommand;
use crate::prelude::*;

const PORT: &str = "MOODY_PORT";
const DATA: &str = "MOODY_DATA";
const MOOD: &str = "MOODY_MOOD";

/// Becomes the test that is the server. Its stdout has libtest's words, so what it says goes to stderr.
const RUN: &str =
    "exec \"$1\" --exact tests::moody::the_server_that_other_tests_start --ignored --nocapture >/dev/null";

/// The command for a server in this mood.
pub(super) fn command<S: Service>(node: &mut Node<S>, mood: &str) -> Result<ServerCommand> {
    // What ignores SIGTERM has done so since before it was this program, and so do its children.
    let ignores = matches!(mood, "ignores-term" | "forks");
    let script = format!("{}{RUN}\n", if ignores { "trap '' TERM; " } else { "" });
    let script = node.write_file("server.sh", script)?;
    Ok(node
        .command("sh")
        .arg(script)
        .arg(std::env::current_exe()?)
        .env(PORT, node.port("tcp").to_string())
        .env(DATA, node.data_dir()?)
        .env(MOOD, mood))
}

#[test]
#[ignore = "a server for the tests of processes, which start it"]
fn the_server_that_other_tests_start() {
    let Ok(mood) = std::env::var(MOOD) else { return };
    let port = std::env::var(PORT).unwrap().parse().unwrap();
    let data = PathBuf::from(std::env::var_os(DATA).unwrap());
    match &*mood {
        "exits" => {
            eprintln!("line one\ncannot read the configuration");
            std::process::exit(3);
        }
        "silent" => {
            eprintln!("thinking");
            forever()
        }
        "crashes-at-stop" => {
            let mut stop = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM]).unwrap();
            std::thread::spawn(move || {
                stop.forever().next();
                std::process::abort();
            });
        }
        "forks" => {
            // The child serves, the leader only waits.
            let _ended = Command::new(std::env::current_exe().unwrap())
                .args(std::env::args_os().skip(1))
                .env(MOOD, "serves")
                .status();
            forever()
        }
        "forks-and-leaves" => leave_a_child(&data),
        _ => {}
    }
    serve(port, &data);
}

/// Leaves a child behind that ignores what stops well-behaved servers.
fn leave_a_child(data: &Path) {
    let mut child = Command::new("sh")
        .args(["-c", "trap '' TERM; echo; exec sleep 7601"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ignores = [0];
    child.stdout.take().unwrap().read_exact(&mut ignores).unwrap();
    std::fs::write(data.join("child"), child.id().to_string()).unwrap();
    std::thread::spawn(move || child.wait());
}

fn serve(port: u16, data: &Path) -> ! {
    let path = data.join("starts");
    let mut starts = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&path)
        .unwrap();
    starts.write_all(b"x").unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    eprintln!("listening");
    loop {
        let (connection, _) = listener.accept().unwrap();
        let count = starts.metadata().unwrap().len();
        // The other side may be gone already.
        let _gone = answer(connection, count);
    }
}

fn answer(mut connection: TcpStream, count: u64) -> std::io::Result<()> {
    connection.write_all(count.to_string().as_bytes())?;
    let mut said = [0; 100];
    let length = connection.read(&mut said)?;
    if said[..length] == *b"die" {
        eprintln!("about to die");
        loop {
            // Rust's handler takes the first one, for an overflow of the stack that it is not.
            kill_process(getpid(), Signal::SEGV)?;
        }
    }
    Ok(())
}

fn forever() -> ! {
    loop {
        std::thread::park();
    }
}
