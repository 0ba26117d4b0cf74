//! Cases that a slot took before their turn, so that its worker need not wait for the next order.

use std::collections::VecDeque;

use crate::protocol::Order;
use crate::rules::Prepared;

/// The next cases of a slot, in turn. Where the present one takes long, they go back to run elsewhere.
pub(crate) struct Ahead<'a> {
    cases: VecDeque<Prepared<'a>>,
    give_back: &'a (dyn Fn(Vec<Prepared<'a>>) + Sync),
}

impl<'a> Ahead<'a> {
    pub(crate) fn new(give_back: &'a (dyn Fn(Vec<Prepared<'a>>) + Sync)) -> Self {
        Self {
            cases: VecDeque::new(),
            give_back,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.cases.len()
    }

    pub(crate) fn push(&mut self, case: Prepared<'a>) {
        self.cases.push_back(case);
    }

    /// The next case, which is the present one from now on.
    pub(crate) fn pop(&mut self) -> Option<Prepared<'a>> {
        self.cases.pop_front()
    }

    /// The orders of all of them, in turn.
    pub(crate) fn orders(&self) -> impl Iterator<Item = &Order> {
        self.cases.iter().map(|case| &case.order)
    }

    /// Keeps the first `count` and gives the others back.
    pub(crate) fn keep(&mut self, count: usize) {
        if count >= self.cases.len() {
            return;
        }
        (self.give_back)(self.cases.drain(count..).collect());
    }
}
