//! A bad case that stays up, between its code and its teardown, as long as the runner wants it to (`--keep-on-failure`).
//!
//! Whether it is kept and for how long is the runner's to decide: here it is told, and waited for.

use std::time::Instant;

use super::Executor;
use crate::case::{Case, Reach};
use crate::drive::{drive, thaw};
use crate::panics;
use crate::protocol::{Bad, FromWorker, Order};
use crate::sub_case;
use crate::verdict::Findings;

impl Executor {
    /// Keeps what a bad case has up, where the runner wants that; whether it did. What runs beside the case's code is
    /// ended before, until the given time: it would change what people are to look at.
    pub(super) fn keep(&self, order: &Order, case: &Case, until: Instant, findings: &mut Findings) -> bool {
        let Some(runtime) = &self.runtime else {
            return false;
        };
        self.tear_down(until, findings, || case.pop_first_closer());
        findings.also(case.take_end());
        findings.other_panics.extend(panics::take_foreign());
        let outcome = findings.clone().outcome();
        if !outcome.is_bad() {
            return false;
        }
        // What was taken out of it spoke against it.
        case.spoil();
        let reach = case.reach();
        if !reach.iter().any(|one| one.is_up) {
            return false;
        }
        crate::flush::flush_output();
        case.begin_keeping();
        (self.tell)(&FromWorker::Bad(Bad {
            outcome: outcome.bounded(),
            sub_cases: sub_case::bounded(findings.sub_cases.clone()),
            reach: texts(reach),
        }));
        // What watches its servers does so by timers, which a frozen clock would fire without end.
        thaw(runtime);
        let was_kept = drive(runtime, async {
            loop {
                tokio::select! {
                    was_kept = self.cancel.was_kept(order.number) => return was_kept,
                    news = case.next_news() => for text in news {
                        (self.tell)(&FromWorker::Meanwhile(text));
                    },
                }
            }
        });
        if was_kept {
            *findings = Findings {
                body: findings.body.take(),
                should_panic: findings.should_panic,
                was_kept: true,
                ..Findings::default()
            };
        }
        was_kept
    }
}

fn texts(reach: Vec<Reach>) -> Vec<String> {
    reach.into_iter().map(|one| one.text).collect()
}
