//! Where `tracing` goes in a worker: to the case's output, and what a thread tells that runs a node also to that
//! node's log.
//!
//! A thread that such a one starts by itself is not known to belong to the node: what it tells is in the case's output
//! alone.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

thread_local! {
    static NODE: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// From now on what this thread tells goes to `log` too.
pub fn also_to(log: File) {
    NODE.set(Some(log));
}

struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        NODE.with_borrow_mut(|node| {
            if let Some(node) = node {
                // The log is for people; a full disk shows elsewhere.
                let _lost = node.write_all(bytes);
            }
        });
        io::stderr().write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Begins to tell: these targets, as `tracing_subscriber` reads them; where there are none, everything from `info` up.
pub(crate) fn begin(log: &str) {
    let everything = Targets::new().with_default(LevelFilter::INFO);
    let targets = match log {
        "" => everything,
        // The runner has read it before.
        log => log.parse().unwrap_or(everything),
    };
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(|| Output);
    let _already_set = tracing_subscriber::registry()
        .with(layer.with_filter(targets))
        .try_init();
}
