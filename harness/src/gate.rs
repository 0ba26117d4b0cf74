//! Which orders a worker begins, decided where the thread of the cases and the one that hears of recalls meet.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::protocol::{Done, Order};

/// Lets orders through one after another; those that were sent ahead only while it is open.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The last order that began.
    begun: u64,
    /// Whether orders that were sent ahead are dropped until one comes that was not.
    closed: bool,
    /// Up to this number they are dropped in any case.
    recalled: u64,
}

impl Gate {
    /// Whether the order may begin; it has begun then.
    pub(crate) fn begin(&self, order: &Order) -> bool {
        let mut state = self.state();
        if order.ahead && (state.closed || order.number <= state.recalled) {
            return false;
        }
        state.closed = false;
        state.begun = order.number;
        true
    }

    /// After more than a pass, the runner has things to do before the next case begins.
    pub(crate) fn ended(&self, done: &Done) {
        if !done.is_plain() {
            self.state().closed = true;
        }
    }

    /// Drops orders up to `last` that were sent ahead and have not begun. Returns the last order that began.
    pub(crate) fn recall(&self, last: u64) -> u64 {
        let mut state = self.state();
        state.recalled = last;
        state.begun
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;
    use crate::seed::Seed;

    fn order(number: u64, ahead: bool) -> Order {
        Order {
            number,
            ahead,
            scenario: 0,
            attempt: 0,
            cell: 0,
            seed: Seed(1),
        }
    }

    #[test]
    fn what_is_recalled_never_begins_and_what_began_is_told() {
        let gate = Gate::default();
        assert!(gate.begin(&order(1, false)) && gate.begin(&order(2, true)));
        assert_eq!(gate.recall(4), 2);
        assert!(!gate.begin(&order(3, true)) && !gate.begin(&order(4, true)));
        assert!(gate.begin(&order(5, false)) && gate.begin(&order(6, true)));
    }

    #[test]
    fn a_recall_may_come_before_the_order_that_the_others_follow() {
        let gate = Gate::default();
        assert_eq!(gate.recall(3), 0);
        assert!(gate.begin(&order(1, false)));
        assert!(!gate.begin(&order(2, true)) && !gate.begin(&order(3, true)));
        assert!(gate.begin(&order(3, false)) && gate.begin(&order(4, true)));
    }

    #[test]
    fn nothing_begins_by_itself_after_a_case_that_left_files() {
        let gate = Gate::default();
        let done = |files| Done {
            number: 1,
            outcome: Outcome::Passed,
            dirty: None,
            files,
            took_us: 1,
            sub_cases: Vec::new(),
        };
        assert!(gate.begin(&order(1, false)));
        gate.ended(&done(false));
        assert!(gate.begin(&order(2, true)));
        gate.ended(&done(true));
        assert!(!gate.begin(&order(3, true)));
        assert!(gate.begin(&order(4, false)));
    }
}
