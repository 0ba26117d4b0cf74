//! Which answer of the broker belongs to which request: pure bookkeeping, no I/O.
//!
//! A request is *asked* (handed to the library), then *sent* (the library says with which packet
//! identifier; it sends requests of a kind in the order they were asked), then *answered* by a packet with
//! that identifier.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::client::{ClientError, Qos};

/// What a packet identifier stands for. Each kind has its own packets, and its own order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Publish,
    Subscribe,
    Unsubscribe,
}

/// The packet that ends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// QoS 1.
    PubAck,
    /// QoS 2. A refusing PUBREC counts as this one too, as it is the last packet then.
    PubComp,
    SubAck(Qos),
    UnsubAck,
}

/// What [`Ledger::fail_all`] and the answers resolve.
pub(crate) type Reply = oneshot::Sender<Result<Answer, ClientError>>;

struct Entry {
    /// Of a publish; `AtMostOnce` for the other kinds is never looked at.
    qos: Qos,
    what: Arc<str>,
    reply: Reply,
}

#[derive(Default)]
pub(crate) struct Ledger {
    asked: BTreeMap<Kind, VecDeque<Entry>>,
    sent: BTreeMap<(Kind, u16), Entry>,
}

impl Ledger {
    pub(crate) fn asked(&mut self, kind: Kind, qos: Qos, what: Arc<str>, reply: Reply) {
        let entry = Entry { qos, what, reply };
        self.asked.entry(kind).or_default().push_back(entry);
    }

    /// Undoes the last [`Ledger::asked`] of this kind: the library would not take it.
    pub(crate) fn not_taken(&mut self, kind: Kind, reason: Arc<str>) {
        if let Some(entry) = self.asked.get_mut(&kind).and_then(VecDeque::pop_back) {
            entry.refuse(reason);
        }
    }

    /// The oldest asked of this kind went out; `id` is 0 for a publish of QoS 0, which this ends.
    ///
    /// # Errors
    /// In words, when that cannot be so.
    pub(crate) fn sent(&mut self, kind: Kind, id: u16) -> Result<(), String> {
        let entry = self.asked.get_mut(&kind).and_then(VecDeque::pop_front);
        let entry = entry.ok_or_else(|| format!("{kind:?} {id} was sent without being asked for"))?;
        if kind == Kind::Publish && entry.qos == Qos::AtMostOnce {
            // Its packet needs no answer. Whoever asked may have given up waiting: no error.
            let _ = entry.reply.send(Ok(Answer::PubAck));
            return Ok(());
        }
        match self.sent.insert((kind, id), entry) {
            None => Ok(()),
            Some(earlier) => {
                let reason = format!("packet identifier {id} was used again before its answer");
                earlier.refuse(reason.as_str().into());
                Err(format!("{kind:?}: {reason}"))
            }
        }
    }

    /// The broker answered.
    ///
    /// # Errors
    /// In words, when nothing waits for that answer.
    pub(crate) fn answered(
        &mut self,
        kind: Kind,
        id: u16,
        outcome: Result<Answer, Arc<str>>,
    ) -> Result<(), String> {
        let entry = self.sent.remove(&(kind, id));
        let entry = entry.ok_or_else(|| format!("{kind:?} {id} was answered, but not asked for"))?;
        match outcome {
            Ok(answer) => {
                let fits = match (&answer, entry.qos) {
                    (Answer::PubAck, qos) => qos == Qos::AtLeastOnce,
                    (Answer::PubComp, qos) => qos == Qos::ExactlyOnce,
                    (Answer::SubAck(_) | Answer::UnsubAck, _) => true,
                };
                if !fits {
                    let reason = format!("{answer:?} does not answer a publish of {}", entry.qos);
                    entry.refuse(reason.as_str().into());
                    return Err(reason);
                }
                let _ = entry.reply.send(Ok(answer));
            }
            Err(reason) => entry.refuse(reason),
        }
        Ok(())
    }

    /// No answer will come any more.
    pub(crate) fn fail_all(&mut self, error: &ClientError) {
        let asked = std::mem::take(&mut self.asked).into_values().flatten();
        let sent = std::mem::take(&mut self.sent).into_values();
        for entry in asked.chain(sent) {
            let _ = entry.reply.send(Err(error.clone()));
        }
    }
}

impl Entry {
    fn refuse(self, reason: Arc<str>) {
        let what = self.what;
        let _ = self.reply.send(Err(ClientError::Refused { what, reason }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(ledger: &mut Ledger, kind: Kind, qos: Qos) -> oneshot::Receiver<Result<Answer, ClientError>> {
        let (reply, answer) = oneshot::channel();
        ledger.asked(kind, qos, "it".into(), reply);
        answer
    }

    #[test]
    fn answers_out_of_order_reach_who_asked() {
        let mut ledger = Ledger::default();
        let mut zero = ask(&mut ledger, Kind::Publish, Qos::AtMostOnce);
        let mut one = ask(&mut ledger, Kind::Publish, Qos::AtLeastOnce);
        let mut two = ask(&mut ledger, Kind::Publish, Qos::ExactlyOnce);
        let mut subscribe = ask(&mut ledger, Kind::Subscribe, Qos::AtMostOnce);
        ledger.sent(Kind::Subscribe, 1).unwrap();
        for id in [0, 1, 2] {
            ledger.sent(Kind::Publish, id).unwrap();
        }
        assert!(matches!(zero.try_recv(), Ok(Ok(_))));
        ledger.answered(Kind::Publish, 2, Ok(Answer::PubComp)).unwrap();
        assert!(matches!(two.try_recv(), Ok(Ok(Answer::PubComp))));
        assert!(one.try_recv().is_err());
        ledger.answered(Kind::Subscribe, 1, Err("no".into())).unwrap();
        assert_eq!(
            subscribe.try_recv().unwrap().unwrap_err().to_string(),
            "it refused: no"
        );
        let lost = ClientError::Lost {
            reason: "cable".into(),
        };
        ledger.fail_all(&lost);
        assert_eq!(
            one.try_recv().unwrap().unwrap_err().to_string(),
            "connection lost: cable"
        );
    }

    #[test]
    fn what_the_protocol_forbids_is_told() {
        let mut ledger = Ledger::default();
        assert!(ledger.sent(Kind::Publish, 1).is_err());
        assert!(
            ledger
                .answered(Kind::Unsubscribe, 1, Ok(Answer::UnsubAck))
                .is_err()
        );
        let mut two = ask(&mut ledger, Kind::Publish, Qos::ExactlyOnce);
        ledger.sent(Kind::Publish, 7).unwrap();
        let error = ledger.answered(Kind::Publish, 7, Ok(Answer::PubAck)).unwrap_err();
        assert_eq!(error, "PubAck does not answer a publish of QoS 2");
        assert!(two.try_recv().unwrap().is_err());

        let _first = ask(&mut ledger, Kind::Publish, Qos::AtLeastOnce);
        let _second = ask(&mut ledger, Kind::Publish, Qos::AtLeastOnce);
        ledger.sent(Kind::Publish, 8).unwrap();
        assert!(ledger.sent(Kind::Publish, 8).is_err());
    }
}
