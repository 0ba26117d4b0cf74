//! A server that remembers, for the planted suite `shared`.
//!
//! `tally-server PORT`. It answers lines: `add` (counts, and tells the count), `forget` (counts from 0 again), `stubborn` (it
//! forgets no more), `hang` (it answers nobody who wants it to forget), `say TEXT` (a line of its log), `child` (it starts a
//! program that goes on), `die-later` (it ends when it is to forget).
#![allow(missing_docs)]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, exit};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;

static COUNT: AtomicU64 = AtomicU64::new(0);
static IS_STUBBORN: AtomicBool = AtomicBool::new(false);
static HANGS: AtomicBool = AtomicBool::new(false);
static DIES: AtomicBool = AtomicBool::new(false);

fn main() {
    let port: u16 = std::env::args()
        .nth(1)
        .and_then(|port| port.parse().ok())
        .expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port");
    for stream in listener.incoming().flatten() {
        thread::spawn(move || serve(stream));
    }
}

fn serve(stream: TcpStream) {
    let Ok(mut back) = stream.try_clone() else { return };
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match word {
            "add" => (COUNT.fetch_add(1, SeqCst) + 1).to_string(),
            "forget" if DIES.load(SeqCst) => {
                eprintln!("it was told to end");
                exit(9)
            }
            "forget" if HANGS.load(SeqCst) => loop {
                thread::park();
            },
            "forget" if IS_STUBBORN.load(SeqCst) => "no".to_owned(),
            "forget" => {
                COUNT.store(0, SeqCst);
                "ok".to_owned()
            }
            "stubborn" => {
                IS_STUBBORN.store(true, SeqCst);
                "ok".to_owned()
            }
            "hang" => {
                HANGS.store(true, SeqCst);
                "ok".to_owned()
            }
            "say" => {
                eprintln!("{rest}");
                "ok".to_owned()
            }
            "child" => {
                let mut child = Command::new("sleep").arg("7777").spawn().expect("a child");
                thread::spawn(move || child.wait());
                "ok".to_owned()
            }
            "die-later" => {
                DIES.store(true, SeqCst);
                "ok".to_owned()
            }
            _ => "what?".to_owned(),
        };
        if back.write_all(format!("{answer}\n").as_bytes()).is_err() {
            return;
        }
    }
}
