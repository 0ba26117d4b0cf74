//! A real server for the planted suites: echoes lines over TCP, and misbehaves on request.
//!
//! `echo-server PORT [ignore-term | exit-at-once | never-listen | fork-away]`
#![allow(missing_docs)]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, exit};
use std::thread;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let port: u16 = arguments[0].parse().expect("a port");
    let manner = arguments.get(1).map_or("", String::as_str);
    eprintln!("echo server on port {port}, {manner}");
    match manner {
        "exit-at-once" => exit(3),
        "never-listen" => loop {
            thread::park();
        },
        "fork-away" => {
            let own = std::env::current_exe().expect("a path");
            Command::new("setsid")
                .arg(own)
                .arg(port.to_string())
                .spawn()
                .expect("a daemon");
            exit(0);
        }
        "ignore-term" => {
            // The shell ignores SIGTERM, and what it becomes inherits that.
            let own = std::env::current_exe().expect("a path");
            let script = format!("trap '' TERM; exec {} {port}", own.display());
            let error = std::os::unix::process::CommandExt::exec(Command::new("sh").args(["-c", &script]));
            panic!("{error}");
        }
        _ => {}
    }
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port");
    for stream in listener.incoming().flatten() {
        thread::spawn(move || echo(stream));
    }
}

fn echo(stream: TcpStream) {
    let Ok(mut back) = stream.try_clone() else { return };
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if line == "die" {
            eprintln!("told to die");
            exit(7);
        }
        if back.write_all(format!("{line}\n").as_bytes()).is_err() {
            return;
        }
    }
}
