//! The switch: a thread that reads what hosts send and writes it to the hosts it is for, as its [`State`] decides.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use robust_test_harness::error::{Error, error};
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustix::time::{timerfd_create, timerfd_settime};
use tokio::sync::oneshot;

use super::state::{Arrival, State};
use crate::clock::{Began, human, within};

const END_WITHIN: Duration = Duration::from_secs(5);
/// The largest packet there is.
const PACKET_MAX: usize = 65_536;
/// So many packets of one host are read before others have their turn.
const TURN: usize = 64;
/// What the events of others than hosts are called; hosts have their numbers, from 1.
const WAKE: u64 = 0;
const TIMER: u64 = u64::MAX;

/// A switch that runs until this is dropped.
#[derive(Debug)]
pub(super) struct Switch {
    shared: Arc<Shared>,
    ending: Arc<Ending>,
}

/// How a switch is waited for.
#[derive(Debug)]
pub(super) struct Ending {
    shared: Arc<Shared>,
    thread: Mutex<Option<(oneshot::Receiver<()>, JoinHandle<()>)>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    control: Mutex<Control>,
    /// Readable when `control` or what is due has changed.
    wake: OwnedFd,
}

#[derive(Debug, Default)]
struct Control {
    /// Devices that the thread does not know yet.
    devices: Vec<OwnedFd>,
    is_over: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn wake(&self) {
        // Fails only when it would wake it for the 2^64th time.
        let _awake = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Switch {
    pub(super) fn start(net: &str, state: State) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            control: Mutex::default(),
            wake,
        });
        let looper = Loop::new(Arc::clone(&shared))?;
        let (ending, ended) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(format!("hosts {net}"))
            .spawn(move || {
                if let Err(error) = looper.run() {
                    tracing::error!(%error, "the switch between the hosts has ended");
                }
                let _nobody_waits = ending.send(());
            })?;
        let ending = Arc::new(Ending {
            shared: Arc::clone(&shared),
            thread: Mutex::new(Some((ended, thread))),
        });
        Ok(Self { shared, ending })
    }

    /// Changes or asks what it decides by: so from the next packet on.
    pub(super) fn state<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut lock(&self.shared.state))
    }

    /// The same where packets may have become due.
    pub(super) fn change<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        let done = self.state(with);
        self.shared.wake();
        done
    }

    /// Connects the device of the host that was added last.
    pub(super) fn connect(&self, device: OwnedFd) {
        lock(&self.shared.control).devices.push(device);
        self.shared.wake();
    }

    pub(super) fn ending(&self) -> Arc<Ending> {
        Arc::clone(&self.ending)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.ending.begin();
    }
}

impl Ending {
    /// Has it end soon, and with it the devices.
    fn begin(&self) {
        lock(&self.shared.control).is_over = true;
        self.shared.wake();
    }

    /// Ends it and waits for that.
    pub(super) async fn wait(&self) -> Result<(), Error> {
        self.begin();
        let thread = lock(&self.thread).take();
        let Some((ended, thread)) = thread else {
            return Ok(());
        };
        if within(END_WITHIN, ended).await.is_err() {
            let limit = human(END_WITHIN);
            return Err(error(format!(
                "the switch's thread goes on {limit} after it was to end"
            )));
        }
        // A panic in it was told by the hook.
        let _panicked = thread.join();
        Ok(())
    }
}

/// The thread's own.
struct Loop {
    shared: Arc<Shared>,
    epoll: OwnedFd,
    timer: OwnedFd,
    /// When the timer goes off.
    armed: Option<Duration>,
    /// By the hosts' numbers, from 1.
    devices: Vec<OwnedFd>,
    clock: Began,
}

impl Loop {
    fn new(shared: Arc<Shared>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        for (source, name) in [(&shared.wake, WAKE), (&timer, TIMER)] {
            let data = epoll::EventData::new_u64(name);
            epoll::add(&epoll, source, data, epoll::EventFlags::IN)?;
        }
        Ok(Self {
            shared,
            epoll,
            timer,
            armed: None,
            devices: Vec::new(),
            clock: Began::now(),
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut packet = vec![0; PACKET_MAX];
        let mut space = [MaybeUninit::uninit(); 64];
        loop {
            let mut events = [0; 64];
            let count = match epoll::wait(&self.epoll, &mut space[..], None) {
                Ok((ready, _)) => {
                    for (to, from) in events.iter_mut().zip(&*ready) {
                        *to = from.data.u64();
                    }
                    ready.len()
                }
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for event in &events[..count] {
                match *event {
                    WAKE if self.has_ended()? => return Ok(()),
                    WAKE => {}
                    TIMER => {
                        let _count = rustix::io::read(&self.timer, &mut [0; 8]);
                        self.armed = None;
                    }
                    number => self.read(number as usize, &mut packet),
                }
            }
            self.deliver_due()?;
        }
    }

    /// Takes what was ordered; whether that is the end.
    fn has_ended(&mut self) -> io::Result<bool> {
        let _count = rustix::io::read(&self.shared.wake, &mut [0; 8]);
        let control = std::mem::take(&mut *lock(&self.shared.control));
        for device in control.devices {
            let name = self.devices.len() as u64 + 1;
            let data = epoll::EventData::new_u64(name);
            epoll::add(&self.epoll, &device, data, epoll::EventFlags::IN)?;
            self.devices.push(device);
        }
        Ok(control.is_over)
    }

    /// Takes some of what a host sent, and passes on what arrives at once.
    fn read(&self, from: usize, buffer: &mut [u8]) {
        for _ in 0..TURN {
            let device = &self.devices[from - 1];
            let count = match rustix::io::read(device, &mut *buffer) {
                Ok(count) => count,
                Err(Errno::AGAIN | Errno::INTR) => return,
                // Somebody in the host has removed it; it would be told of for ever.
                Err(_) => {
                    let _gone = epoll::delete(&self.epoll, device);
                    return;
                }
            };
            let packet = &mut buffer[..count];
            // Not while it is written.
            let arrival = lock(&self.shared.state).send(from, packet, || self.clock.elapsed());
            if let Some(arrival) = arrival {
                self.deliver(arrival, packet);
            }
        }
    }

    fn deliver(&self, arrival: Arrival, packet: &[u8]) {
        for _copy in 0..arrival.copies {
            // A host is in the state before its device is here: what is sent to it meanwhile is lost.
            let device = self.devices.get(arrival.to - 1);
            let is_taken = device.is_some_and(|device| rustix::io::write(device, packet).is_ok());
            lock(&self.shared.state).delivered(arrival, packet.len(), is_taken);
        }
    }

    /// Passes on whose time has come, and sets the timer for the next one.
    fn deliver_due(&mut self) -> io::Result<()> {
        loop {
            let (arrived, next) = {
                let mut state = lock(&self.shared.state);
                let Some(next) = state.next_due() else {
                    return Ok(());
                };
                (state.arrived(self.clock.elapsed()), next)
            };
            match arrived {
                Some((arrival, packet)) => self.deliver(arrival, &packet),
                None if self.armed == Some(next) => return Ok(()),
                None => return self.arm(next),
            }
        }
    }

    fn arm(&mut self, at: Duration) -> io::Result<()> {
        // Not 0, which would disarm it.
        let wait = at
            .saturating_sub(self.clock.elapsed())
            .max(Duration::from_nanos(1));
        let never = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let once = Itimerspec {
            it_interval: never,
            it_value: Timespec::try_from(wait).map_err(io::Error::other)?,
        };
        timerfd_settime(self.timer.as_fd(), TimerfdTimerFlags::empty(), &once)?;
        self.armed = Some(at);
        Ok(())
    }
}
