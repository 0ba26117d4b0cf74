//! Whether hosts can be made here, found out by making one.

use std::net::Ipv4Addr;
use std::sync::OnceLock;

use rustix::io::Errno;

use super::fork::{ChildError, Step};
use super::namespace::{Namespace, Privilege};

/// Why there can be no hosts on this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// There is no device for them.
    #[error("this system has no /dev/net/tun: load the module `tun`, or give the container that device")]
    NoDevice,
    /// This user may not use it.
    #[error(
        "this user may not open /dev/net/tun: run as root, or let the user read and write it (`chmod 666 /dev/net/tun`)"
    )]
    NotOpened,
    /// This user may make no network.
    #[error(
        "this user may make no network namespace ({0}): run as root with CAP_SYS_ADMIN and CAP_NET_ADMIN, or allow user \
         namespaces (`sysctl user.max_user_namespaces`, `kernel.apparmor_restrict_unprivileged_userns`)"
    )]
    NotMade(String),
    /// The system said something else.
    #[error("hosts of their own cannot be made here: {0}")]
    Other(String),
}

/// How they are made here. Probed once in a process.
pub(super) fn available() -> Result<Privilege, Unavailable> {
    static AVAILABLE: OnceLock<Result<Privilege, Unavailable>> = OnceLock::new();
    AVAILABLE.get_or_init(probe).clone()
}

fn probe() -> Result<Privilege, Unavailable> {
    let make = |privilege| match Namespace::make(privilege, Ipv4Addr::new(10, 0, 0, 1), 1500) {
        Ok(_closed) => Ok(privilege),
        Err(error) => Err(error),
    };
    let made = match make(Privilege::Own) {
        Err(ChildError::Failed(_, Errno::PERM)) => make(Privilege::InUserNamespace),
        other => other,
    };
    made.map_err(why)
}

/// Why the first one could not be made.
fn why(error: ChildError) -> Unavailable {
    match error {
        ChildError::Failed(Step::OpenDevice, Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
            Unavailable::NoDevice
        }
        ChildError::Failed(Step::OpenDevice, Errno::ACCESS | Errno::PERM) => Unavailable::NotOpened,
        ChildError::Failed(step, error) => {
            let what = format!("cannot {}: {}", step.text(), std::io::Error::from(error));
            match (step, error) {
                // No room for one more of them is what a system says that allows none.
                (Step::Unshare, Errno::NOSPC | Errno::USERS | Errno::INVAL)
                | (_, Errno::PERM | Errno::ACCESS) => Unavailable::NotMade(what),
                _ => Unavailable::Other(what),
            }
        }
        ChildError::NoChild(error) => Unavailable::Other(format!("no process could be forked: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_says_what_to_do() {
        let table = [
            (Step::OpenDevice, Errno::NOENT, "load the module `tun`"),
            (Step::OpenDevice, Errno::ACCESS, "chmod 666 /dev/net/tun"),
            (
                Step::Unshare,
                Errno::PERM,
                "(cannot make a network namespace: Operation not permitted (os error 1)): run as root with",
            ),
            (Step::Unshare, Errno::NOSPC, "user.max_user_namespaces"),
            (
                Step::MakeDevice,
                Errno::PERM,
                "apparmor_restrict_unprivileged_userns",
            ),
            (Step::BringUp, Errno::NOMEM, "cannot bring its network up: "),
        ];
        for (step, error, part) in table {
            let told = why(ChildError::Failed(step, error)).to_string();
            assert!(told.contains(part) && !told.contains('\n'), "{told}");
        }
    }
}
