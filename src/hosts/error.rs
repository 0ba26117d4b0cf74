//! What can go wrong with hosts, and with faults between them.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

use super::available::Unavailable;
use super::fork::ChildError;
use crate::clock::human;

/// A net, a host, or a socket in one could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// There can be none on this machine.
    #[error("net `{net}` cannot be made")]
    Unavailable {
        /// The net's name.
        net: String,
        /// Why not.
        source: Unavailable,
    },
    /// There is no thread or descriptor for its switch.
    #[error("the switch of net `{net}` cannot be started{}", hint(.source))]
    Switch {
        /// The net's name.
        net: String,
        /// What the system said.
        source: io::Error,
    },
    /// A step of making it failed.
    #[error("host `{host}` of net `{net}`: cannot {step}{}", hint(.source))]
    Step {
        /// The net's name.
        net: String,
        /// The host's name.
        host: String,
        /// What could not be done.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A socket in it could not be used.
    #[error("host `{host}` of net `{net}`: cannot {what}")]
    Socket {
        /// The net's name.
        net: String,
        /// The host's name.
        host: String,
        /// What could not be done, and with which address.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// There is one of that name.
    #[error("net `{net}` has a host `{host}` already: give this one another name")]
    SameName {
        /// The net's name.
        net: String,
        /// The host's name.
        host: String,
    },
    /// Its addresses are used up.
    #[error(
        "net `{net}` has {} hosts, which is all it can have, so there is no room for `{host}`: make another net",
        super::HOSTS_MAX
    )]
    TooMany {
        /// The net's name.
        net: String,
        /// The host's name.
        host: String,
    },
    /// The case is over.
    #[error("net `{net}` has ended with its case")]
    Ended {
        /// Its name.
        net: String,
    },
}

impl HostError {
    pub(super) fn of_child(net: &str, host: &str, error: ChildError) -> Self {
        let (step, source) = match error {
            ChildError::Failed(step, error) => (step.text(), error.into()),
            ChildError::NoChild(source) => ("fork a process for it", source),
        };
        Self::Step {
            net: net.to_owned(),
            host: host.to_owned(),
            step,
            source,
        }
    }
}

/// What to do about it, where that is known.
fn hint(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE) => {
            " for want of descriptors: raise the limit of open files (`ulimit -n`)"
        }
        Some(Errno::NOSPC | Errno::USERS) => {
            " for want of namespaces: raise `sysctl user.max_net_namespaces` and `user.max_user_namespaces`"
        }
        Some(Errno::AGAIN) => " for want of processes: raise their limit (`ulimit -u`)",
        _ => "",
    }
}

/// A fault could not be added, or did nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImpairmentError {
    /// It names a host of another net.
    #[error("a fault of net `{net}` ({fault}) is for hosts of net `{other}`: add it there")]
    OtherNet {
        /// The net's name.
        net: String,
        /// The fault.
        fault: String,
        /// Whose hosts it names.
        other: String,
    },
    /// A number is no host's.
    #[error("net `{net}` has no host {number} to be partitioned; there are {count} of them, numbered from 1")]
    NoSuchHost {
        /// The net's name.
        net: String,
        /// What was asked for.
        number: usize,
        /// How many there are.
        count: usize,
    },
    /// There is no direction that it is for.
    #[error("a fault of net `{net}` ({fault}) is for no two of its hosts")]
    NoWay {
        /// The net's name.
        net: String,
        /// The fault.
        fault: String,
    },
    /// The case is over.
    #[error("a fault of net `{net}` ({fault}) comes too late: the net has ended with its case")]
    Ended {
        /// The net's name.
        net: String,
        /// The fault.
        fault: String,
    },
    /// It did nothing, so whatever was seen meanwhile says nothing about it.
    #[error("a fault of net `{net}` ({fault}) was inert: no packet was hit{}", within(*.limit))]
    Inert {
        /// The net's name.
        net: String,
        /// The fault.
        fault: String,
        /// How long it was waited for, where it was.
        limit: Option<Duration>,
    },
}

fn within(limit: Option<Duration>) -> String {
    limit.map_or_else(String::new, |limit| format!(" within {}", human(limit)))
}
