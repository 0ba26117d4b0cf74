//! How many files the runner may open, which bounds how many slots there can be.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A slot's waker and spill file, its worker's two channels, pidfd and two pipes, and some for artifacts.
const PER_SLOT: u64 = 10;
/// Reports, standard streams, the reaper, the other ends while workers are started.
const BESIDE_SLOTS: u64 = 40;
/// More than this is of no use.
const ENOUGH: u64 = 1 << 16;

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// The limit before it was raised, which workers, and so servers, go back to: programs that use
    /// `select` break under a high one.
    pub(crate) inherited: u64,
    /// As many slots can be served.
    pub(crate) slots_max: u32,
}

/// Raises this process's limit as far as it may.
pub(crate) fn raise() -> Descriptors {
    let limit = getrlimit(Resource::Nofile);
    let inherited = limit.current.unwrap_or(ENOUGH);
    let most = limit.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    let raised = most > inherited
        && setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(most),
                maximum: limit.maximum,
            },
        )
        .is_ok();
    Descriptors {
        inherited,
        slots_max: slots(if raised { most } else { inherited }),
    }
}

/// Sets this process's limit back.
pub(crate) fn restore(inherited: u64) {
    let limit = getrlimit(Resource::Nofile);
    // Lowering a soft limit is always allowed.
    let _unchanged = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(inherited),
            maximum: limit.maximum,
        },
    );
}

fn slots(descriptors: u64) -> u32 {
    u32::try_from(descriptors.saturating_sub(BESIDE_SLOTS) / PER_SLOT)
        .unwrap_or(u32::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_a_slot_and_never_more_than_descriptors_for_it() {
        assert_eq!(slots(0), 1);
        assert_eq!(slots(64), 2);
        assert_eq!(slots(1024), 98);
    }
}
