//! One host: a network namespace without a name, which is there as long as somebody has a descriptor of it or runs in it.
//!
//! Root makes it as it is. Others make a user namespace around it, in which they may do what root may with a network; there
//! they are mapped to themselves.

// What runs between fork and exec.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::device;
use super::fork::{ChildError, Step, Worked, in_child};

/// How this process may make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Privilege {
    /// As it is.
    Own,
    /// Within a user namespace.
    InUserNamespace,
}

/// The descriptors that keep a host's namespaces.
#[derive(Debug)]
pub(super) struct Namespace {
    net: OwnedFd,
    /// `None` where it was made without.
    user: Option<OwnedFd>,
}

impl Namespace {
    /// Makes one with its device up; what is sent there can be read from the descriptor.
    pub(super) fn make(
        privilege: Privilege,
        address: Ipv4Addr,
        mtu: c_int,
    ) -> Result<(Self, OwnedFd), ChildError> {
        match privilege {
            Privilege::Own => {
                let work = move || {
                    unshare(UnshareFlags::NEWNET)?;
                    let device = device::make(address, mtu)?;
                    Ok([own(c"/proc/self/ns/net")?, device])
                };
                // SAFETY: nothing but system calls.
                let [net, device] = unsafe { in_child(work) }?;
                Ok((Self { net, user: None }, device))
            }
            Privilege::InUserNamespace => {
                let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
                let (user, group) = (user.as_raw(), group.as_raw());
                // Written before the fork: it allocates.
                let (users, groups) = (format!("{user} {user} 1\n"), format!("{group} {group} 1\n"));
                let work = move || {
                    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)?;
                    // Without it a group may not be mapped.
                    write(c"/proc/self/setgroups", b"deny")?;
                    write(c"/proc/self/uid_map", users.as_bytes())?;
                    write(c"/proc/self/gid_map", groups.as_bytes())?;
                    let device = device::make(address, mtu)?;
                    Ok([own(c"/proc/self/ns/net")?, device, own(c"/proc/self/ns/user")?])
                };
                // SAFETY: nothing but system calls.
                let [net, device, user] = unsafe { in_child(work) }?;
                let user = Some(user);
                Ok((Self { net, user }, device))
            }
        }
    }

    /// Moves the calling process there. Nothing but system calls.
    fn enter(&self) -> Result<(), Errno> {
        if let Some(user) = &self.user {
            move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))?;
        }
        move_into_link_name_space(self.net.as_fd(), Some(LinkNameSpaceType::Network))
    }

    /// Has a command's process run there. The command does not keep it: one that is started when it is gone fails.
    pub(super) fn enter_with(self: &Arc<Self>, command: &mut Command) {
        let namespace = Arc::downgrade(self);
        let enter = move || {
            let namespace = namespace.upgrade().ok_or(Errno::NETDOWN)?;
            Ok(namespace.enter()?)
        };
        // SAFETY: nothing but counting and system calls.
        unsafe { command.pre_exec(enter) };
    }

    /// A socket there, for this process: where it was made is where it stays.
    pub(super) fn socket(self: &Arc<Self>, kind: SocketType) -> Result<OwnedFd, ChildError> {
        let namespace = Arc::clone(self);
        let open = move || {
            namespace.enter().map_err(|error| (Step::Enter, error))?;
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            socket_with(AddressFamily::INET, kind, flags, None)
                .map(|socket| [socket])
                .map_err(|error| (Step::OpenSocket, error))
        };
        let [socket] = if self.user.is_some() {
            // SAFETY: nothing but system calls.
            unsafe { in_child(open) }?
        } else {
            in_thread(open)?
        };
        Ok(socket)
    }
}

/// Does it in a thread, which need not come back from where it went: sooner done than in a child.
fn in_thread<const N: usize>(
    work: impl FnOnce() -> Worked<N> + Send + 'static,
) -> Result<[OwnedFd; N], ChildError> {
    let thread = std::thread::Builder::new().name("host".to_owned());
    let worked = thread.spawn(work).map_err(ChildError::NoChild)?.join();
    let worked = worked.map_err(|_panicked| ChildError::NoChild(Errno::CANCELED.into()))?;
    worked.map_err(|(step, error)| ChildError::Failed(step, error))
}

fn unshare(flags: UnshareFlags) -> Result<(), (Step, Errno)> {
    // SAFETY: no table of descriptors is unshared.
    unsafe { unshare_unsafe(flags) }.map_err(|error| (Step::Unshare, error))
}

/// A namespace of the calling process.
fn own(path: &std::ffi::CStr) -> Result<OwnedFd, (Step, Errno)> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| (Step::Unshare, error))
}

fn write(path: &std::ffi::CStr, text: &[u8]) -> Result<(), (Step, Errno)> {
    let write = || {
        let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(file, text)
    };
    write().map(drop).map_err(|error| (Step::MapUser, error))
}
