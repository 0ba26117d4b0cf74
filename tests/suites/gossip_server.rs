//! A small server of a cluster, for the planted suites: its nodes ask one another who is there, and the lowest number
//! leads.
//!
//! `gossip-server NUMBER DATA [NUMBER=ADDRESS ..]`, the first of them its own. It counts its starts in the folder
//! DATA, and answers lines: `starts`, `sees`, `leader`, `die`, `print N` (N lines of its log), `say TEXT` (one),
//! `take BYTES` (of memory, and keep them), `helper` (start one, as `gossip-server helper`), `helper take BYTES` (the helper
//! does), all of which it answers with `done`, or `it ended`; `clock` (nanoseconds since 1970), `watch N` (the clock, all the
//! time, in N threads).
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio, exit};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

struct Node {
    number: u32,
    starts: usize,
    members: BTreeMap<u32, SocketAddr>,
    taken: Mutex<Vec<Vec<u8>>>,
    helper: Mutex<Option<Child>>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["helper"] {
        return help();
    }
    let number: u32 = arguments[0].parse().expect("a number");
    let members = arguments[2..].iter().map(|member| {
        let (number, address) = member.split_once('=').expect("NUMBER=ADDRESS");
        (
            number.parse().expect("a number"),
            address.parse().expect("an address"),
        )
    });
    let members: BTreeMap<u32, SocketAddr> = members.collect();
    let starts = count_start(Path::new(&arguments[1])).expect("the folder for data");
    eprintln!("node {number} of {members:?}, start {starts}");
    let listener = TcpListener::bind(members[&number]).expect("the port");
    let node = Arc::new(Node {
        number,
        starts,
        members,
        taken: Mutex::default(),
        helper: Mutex::default(),
    });
    for stream in listener.incoming().flatten() {
        let node = Arc::clone(&node);
        thread::spawn(move || node.serve(stream));
    }
}

fn count_start(data: &Path) -> std::io::Result<usize> {
    let file = data.join("starts");
    let mut starts = std::fs::read(&file).unwrap_or_default();
    starts.push(b'x');
    std::fs::write(file, &starts)?;
    Ok(starts.len())
}

fn since_1970() -> u128 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.as_nanos())
}

/// Memory that is really there: every page of it is written to.
fn take(bytes: &str) -> Vec<u8> {
    vec![1; bytes.parse().expect("a number of bytes")]
}

/// The whole life of a helper: it takes so many bytes for each line, and keeps them.
fn help() {
    let mut taken = Vec::new();
    println!("done");
    for bytes in std::io::stdin().lines().map_while(Result::ok) {
        taken.push(take(&bytes));
        println!("done");
    }
}

impl Node {
    /// What the helper says to so many bytes, or to its start.
    fn ask_helper(&self, bytes: Option<&str>) -> Option<String> {
        let mut helper = self.helper.lock().expect("no panic");
        let helper = match bytes {
            None => helper.insert(
                Command::new("/proc/self/exe")
                    .arg("helper")
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .ok()?,
            ),
            Some(_) => helper.as_mut()?,
        };
        if let Some(bytes) = bytes {
            writeln!(helper.stdin.as_mut()?, "{bytes}").ok()?;
        }
        // A line at a time is all it writes.
        let mut line = String::new();
        BufReader::new(helper.stdout.as_mut()?)
            .read_line(&mut line)
            .ok()?;
        if line.is_empty() {
            helper.wait().ok()?;
            return None;
        }
        Some(line.trim_end().to_owned())
    }

    fn serve(&self, stream: TcpStream) {
        let Ok(mut back) = stream.try_clone() else { return };
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let answer = match word {
                "starts" => self.starts.to_string(),
                "here" => self.number.to_string(),
                "sees" => {
                    let seen: Vec<String> = self.seen().iter().map(ToString::to_string).collect();
                    seen.join(" ")
                }
                "leader" => self.seen().first().map(ToString::to_string).unwrap_or_default(),
                "print" => {
                    let lines: usize = rest.parse().unwrap_or(1);
                    let text = format!("{}\n", "x".repeat(1023)).repeat(1024);
                    for _ in 0..lines {
                        let _ = std::io::stderr().write_all(text.as_bytes());
                    }
                    "printed".to_owned()
                }
                "say" => {
                    eprintln!("{rest}");
                    "said".to_owned()
                }
                "take" => {
                    self.taken.lock().expect("no panic").push(take(rest));
                    "done".to_owned()
                }
                "helper" => {
                    let bytes = rest.strip_prefix("take ");
                    self.ask_helper(bytes).unwrap_or_else(|| "it ended".to_owned())
                }
                "clock" => since_1970().to_string(),
                "watch" => {
                    for _ in 0..rest.parse().unwrap_or(1) {
                        thread::spawn(|| while since_1970() > 0 {});
                    }
                    "watched".to_owned()
                }
                "die" => {
                    eprintln!("told to die");
                    exit(7)
                }
                _ => "what?".to_owned(),
            };
            if back.write_all(format!("{answer}\n").as_bytes()).is_err() {
                return;
            }
        }
    }

    /// Who answers, in order.
    fn seen(&self) -> Vec<u32> {
        let members = self.members.iter();
        let alive = members.filter(|(number, address)| **number == self.number || is_there(**address));
        alive.map(|(number, _)| *number).collect()
    }
}

fn is_there(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(500))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        stream.write_all(b"here\n")?;
        let mut answer = String::new();
        Ok(BufReader::new(stream).read_line(&mut answer)? > 0)
    };
    ask().unwrap_or(false)
}
