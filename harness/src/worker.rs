//! A worker: this binary once more, serving one case after another to the slot that started it.
//!
//! Its main thread watches the second channel, for cancellation and for the runner's end; a thread of the
//! usual test stack size runs the cases. It is a subreaper, so daemons that a case leaves behind become its
//! children, and are found and ended.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::drive::Cancel;
use crate::executor::Executor;
use crate::gate::Gate;
use crate::protocol::{Frames, FromWorker, Order, Watched, WorkerConfig};
use crate::{panics, process_tree};

/// The argument that makes a process a worker; how many files it may open follows. An argument and not a variable: servers inherit variables.
pub(crate) const ARGUMENT: &str = "--robust-worker";

/// The whole life of a worker process, whose stdin is its orders channel.
pub(crate) fn main(descriptors: Option<u64>) -> ExitCode {
    if let Some(descriptors) = descriptors {
        crate::descriptors::restore(descriptors);
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("robust-test worker: {error}");
            ExitCode::from(2)
        }
    }
}

fn serve() -> io::Result<()> {
    rustix::process::set_child_subreaper(rustix::process::getpid().into())?;
    let orders = take_stdin()?;
    let watch = UnixStream::from(receive_descriptor(&orders)?);
    let mut frames = Frames::default();
    let Some(first) = frames.wait(&orders)? else {
        return Ok(());
    };
    let config = WorkerConfig::decode(&first)?;
    crate::trace::begin(&config.log);

    let answers = Arc::new(Mutex::new(orders.try_clone()?));
    let tell = Arc::clone(&answers);
    panics::install(move |problem| say(&tell, &FromWorker::Panicked(problem.clone())));

    let cancel = Arc::new(Cancel::default());
    let to_cancel = Arc::clone(&cancel);
    let gate = Arc::new(Gate::default());
    let to_close = Arc::clone(&gate);
    let closing = orders.try_clone()?;
    // Before anything looks at how many threads there are, the thread of the cases must be one of them.
    let beginning = Arc::clone(&answers);
    let recalled = Arc::clone(&answers);
    let looked = Arc::clone(&answers);
    let thread = std::thread::Builder::new()
        .name("case".to_owned())
        .spawn(move || {
            let result = run_cases(config, cancel, frames, &gate, &orders, &answers);
            if let Err(error) = result {
                eprintln!("robust-test worker: {error}");
            }
            end();
        });
    thread.inspect_err(|error| unready(&beginning, error))?;
    watch_runner(watch, |said| match said {
        Watched::Cancel(number) => to_cancel.cancel(number),
        Watched::GoOn(number) => to_cancel.tear_down(number, false),
        Watched::Release(number) => to_cancel.tear_down(number, true),
        Watched::Look => say(&looked, &FromWorker::Seen(to_cancel.look())),
        Watched::Recall(last) => say(&recalled, &FromWorker::Recalled(to_close.recall(last))),
    })?;
    let _both_ways = closing.shutdown(Shutdown::Both);
    end()
}

fn run_cases(
    config: WorkerConfig,
    cancel: Arc<Cancel>,
    mut frames: Frames,
    gate: &Gate,
    orders: &UnixStream,
    answers: &Arc<Mutex<UnixStream>>,
) -> io::Result<()> {
    let tell = Arc::clone(answers);
    let mark = config.mark;
    // Its own: a case may close or replace stdout, and is found out only afterwards.
    let mut output = std::fs::File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?);
    let tell_early = Box::new(move |message: &FromWorker| say(&tell, message));
    let mut executor =
        Executor::new(config, cancel, tell_early).inspect_err(|error| unready(answers, error))?;
    say(answers, &FromWorker::Began);
    while let Some(frame) = frames.wait(orders)? {
        let order = Order::decode(&frame)?;
        if !gate.begin(&order) {
            continue;
        }
        if order.ahead {
            output.write_all(&mark)?;
        }
        let done = executor.run(&order);
        gate.ended(&done);
        say(answers, &FromWorker::Done(done));
    }
    Ok(())
}

/// Returns when the runner is gone or ended this worker.
fn watch_runner(watch: UnixStream, hear: impl Fn(Watched)) -> io::Result<()> {
    let mut frames = Frames::default();
    while let Some(frame) = frames.wait(&watch)? {
        hear(Watched::decode(&frame)?);
    }
    Ok(())
}

/// Ends everything this process started, then the process, whatever its threads are doing.
fn end() -> ! {
    process_tree::end_descendants(&Default::default());
    std::process::exit(0)
}

fn say(answers: &Mutex<UnixStream>, message: &FromWorker) {
    let mut stream = answers.lock().unwrap_or_else(PoisonError::into_inner);
    // Nobody is there to be told when this fails; the watch channel will end too.
    let _runner_gone = stream.write_all(&message.encode());
}

fn unready(answers: &Mutex<UnixStream>, error: &io::Error) {
    say(answers, &FromWorker::Unready(error.raw_os_error().unwrap_or(0)));
}

/// Moves the channel away from stdin, so that no child inherits it, and leaves stdin empty.
fn take_stdin() -> io::Result<UnixStream> {
    let orders = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let empty = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&empty)?;
    Ok(UnixStream::from(orders))
}

/// Takes the descriptor of the watch channel, sent with one byte over the first.
fn receive_descriptor(from: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::net::recvmsg(
        from,
        &mut [io::IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    ancillary
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        })
        .ok_or_else(|| io::Error::other("no watch channel came; a worker is only started by a runner"))
}
