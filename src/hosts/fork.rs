//! Work that has to be done in a process of one thread: in a forked child that executes nothing, and what it opened.
//!
//! A process of several threads cannot enter a user namespace, and a thread that went into another network would have to come
//! back. The child does it, sends descriptors through a socket, and ends.

// What runs between fork and end.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::forks;

const DESCRIPTORS_MAX: usize = 3;

/// What the child was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Step {
    Unshare = 1,
    MapUser,
    OpenDevice,
    MakeDevice,
    SetAddress,
    SetQueue,
    BringUp,
    Enter,
    OpenSocket,
    Send,
}

const STEPS: [Step; 10] = [
    Step::Unshare,
    Step::MapUser,
    Step::OpenDevice,
    Step::MakeDevice,
    Step::SetAddress,
    Step::SetQueue,
    Step::BringUp,
    Step::Enter,
    Step::OpenSocket,
    Step::Send,
];

impl Step {
    /// What it could not do.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Unshare => "make a network namespace",
            Self::MapUser => "map its user",
            Self::OpenDevice => "open /dev/net/tun",
            Self::MakeDevice => "make a network device",
            Self::SetAddress => "set its address",
            Self::SetQueue => "set the length of its queue",
            Self::BringUp => "bring its network up",
            Self::Enter => "enter its namespaces",
            Self::OpenSocket => "open a socket in it",
            Self::Send => "hand its descriptors over",
        }
    }
}

/// Why a child did not do its work.
#[derive(Debug)]
pub(super) enum ChildError {
    /// It said why.
    Failed(Step, Errno),
    /// There was none, or it did not say.
    NoChild(io::Error),
}

/// What a child's work came to.
pub(super) type Worked<const N: usize> = Result<[OwnedFd; N], (Step, Errno)>;

/// Runs `work` in a forked child and gives the descriptors that it opened.
///
/// # Safety
/// Between fork and end of a child of a process that has threads, no lock of theirs may be waited for: `work` does nothing
/// but system calls, so it allocates nothing.
pub(super) unsafe fn in_child<const N: usize>(
    mut work: impl FnMut() -> Worked<N> + Send + Sync + 'static,
) -> Result<[OwnedFd; N], ChildError> {
    const { assert!(N <= DESCRIPTORS_MAX) }
    let failed = |error: Errno| ChildError::NoChild(error.into());
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(failed)?;
    // It is never executed: the child ends before.
    let mut command = Command::new("robust-test-host");
    let in_child = move || {
        let (said, descriptors) = match work() {
            Ok(descriptors) => ([0; 5], Some(descriptors)),
            Err((step, error)) => (failure(step, error), None),
        };
        let sent = match &descriptors {
            Some(descriptors) => send(&theirs, said, &descriptors.each_ref().map(|one| one.as_fd())),
            None => send(&theirs, said, &[]),
        };
        if let Err(error) = sent {
            let _nobody_listens = send(&theirs, failure(Step::Send, error), &[]);
        }
        // Ends the child.
        Err(Errno::CANCELED.into())
    };
    // SAFETY: the caller's, for `work`; the rest are system calls, and closing descriptors.
    unsafe { command.pre_exec(in_child) };
    let spawned = {
        let _forks = forks::hold_off();
        command.spawn()
    };
    drop(command);
    match (receive(&ours), spawned) {
        (Ok(Ok(descriptors)), _) => descriptors
            .try_into()
            .map_err(|_| ChildError::NoChild(Errno::MFILE.into())),
        (Ok(Err((step, error))), _) => Err(ChildError::Failed(step, error)),
        // Not forked: the system's reason.
        (Err(_), Err(error)) => Err(ChildError::NoChild(error)),
        (Err(error), Ok(_)) => Err(failed(error)),
    }
}

fn failure(step: Step, error: Errno) -> [u8; 5] {
    let [a, b, c, d] = error.raw_os_error().to_le_bytes();
    [step as u8, a, b, c, d]
}

fn send(to: &OwnedFd, said: [u8; 5], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(to, &[IoSlice::new(&said)], &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// What the child said before it ended; it has ended.
fn receive(from: &OwnedFd) -> Result<Result<Vec<OwnedFd>, (Step, Errno)>, Errno> {
    let mut said = [0; 5];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(from, &mut [IoSliceMut::new(&mut said)], &mut control, flags)?;
    if received.bytes != said.len() {
        return Err(Errno::CONNRESET);
    }
    let [step, error @ ..] = said;
    if let Some(step) = STEPS.into_iter().find(|known| *known as u8 == step) {
        return Ok(Err((step, Errno::from_raw_os_error(i32::from_le_bytes(error)))));
    }
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(Ok(descriptors))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::port::Lease;

    const CHILD: &str = "hosts::fork::tests::leased_ports_can_be_bound";

    /// In a process of its own: other tests fork without a thought.
    #[test]
    fn a_leased_port_can_be_bound_while_children_are_forked() {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", CHILD, "--ignored"])
            .output()
            .unwrap();
        assert!(
            child.status.success(),
            "{}",
            String::from_utf8_lossy(&child.stdout)
        );
        assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
    }

    #[test]
    #[ignore = "the child of `a_leased_port_can_be_bound_while_children_are_forked`"]
    fn leased_ports_can_be_bound() {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    // SAFETY: it does nothing.
                    let forked = unsafe { in_child::<0>(|| Err((Step::Unshare, Errno::CANCELED))) };
                    assert!(matches!(forked, Err(ChildError::Failed(Step::Unshare, _))));
                }
            });
            let taken = (0..1000).filter(|_| {
                let lease = Lease::new().unwrap();
                TcpListener::bind((Ipv4Addr::LOCALHOST, lease.port())).is_err()
            });
            let taken = taken.count();
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(taken, 0, "of 1000 leased ports were in use");
        });
    }
}
