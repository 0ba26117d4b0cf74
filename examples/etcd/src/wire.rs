//! etcd's messages as JSON. The gateway writes 64-bit numbers as text and `etcdctl` as numbers; both write bytes in
//! base64, and leave out what is zero.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny};

use crate::client::{ClientError, Event, EventKind, KeyValue, Revision};

/// Bytes as they are written.
pub(crate) fn encode(text: &str) -> String {
    STANDARD.encode(text)
}

/// The first key beyond those that begin with `prefix`. The prefix is ASCII and not empty.
pub(crate) fn end_of(prefix: &str) -> String {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    STANDARD.encode(end)
}

/// A number, also as text.
pub(crate) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
        Negative(IgnoredAny),
    }
    match Either::deserialize(from)? {
        Either::Number(number) => Ok(number),
        // A time to live that is over.
        Either::Negative(_) => Ok(0),
        Either::Text(text) => text.parse().map_err(D::Error::custom),
    }
}

fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let encoded = String::deserialize(from)?;
    let bytes = STANDARD.decode(encoded).map_err(D::Error::custom)?;
    String::from_utf8(bytes).map_err(D::Error::custom)
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Header {
    #[serde(deserialize_with = "number")]
    pub(crate) member_id: u64,
    #[serde(deserialize_with = "number")]
    pub(crate) revision: Revision,
    #[serde(deserialize_with = "number")]
    pub(crate) raft_term: u64,
}

/// The answer to a write.
#[derive(Debug, Deserialize)]
pub(crate) struct Written {
    pub(crate) header: Header,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Kv {
    #[serde(deserialize_with = "text")]
    key: String,
    #[serde(deserialize_with = "text")]
    value: String,
    #[serde(deserialize_with = "number")]
    mod_revision: Revision,
}

impl From<Kv> for KeyValue {
    fn from(kv: Kv) -> Self {
        Self {
            key: kv.key,
            value: kv.value,
            revision: kv.mod_revision,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Range {
    kvs: Vec<Kv>,
}

impl Range {
    pub(crate) fn all(self) -> Vec<KeyValue> {
        self.kvs.into_iter().map(KeyValue::from).collect()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Deleted {
    #[serde(deserialize_with = "number")]
    pub(crate) deleted: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Compared {
    pub(crate) succeeded: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LeaseAnswer {
    #[serde(rename = "ID", alias = "id", deserialize_with = "number")]
    pub(crate) id: u64,
    #[serde(rename = "TTL", alias = "ttl", deserialize_with = "number")]
    pub(crate) ttl: u64,
}

/// One message of a watch.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Watched {
    #[serde(alias = "Canceled")]
    canceled: bool,
    #[serde(alias = "CompactRevision", deserialize_with = "number")]
    compact_revision: Revision,
    #[serde(alias = "Events")]
    events: Vec<WireEvent>,
}

#[derive(Debug, Deserialize)]
struct WireEvent {
    #[serde(default, rename = "type")]
    kind: WireKind,
    kv: Kv,
}

/// Left out for a write; `DELETE` or 1 for a deletion.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum WireKind {
    #[default]
    Absent,
    Name(String),
    Number(u64),
}

impl Watched {
    /// Its events, in order.
    pub(crate) fn events(self) -> Result<Vec<Event>, ClientError> {
        if self.compact_revision > 0 {
            let message = format!(
                "required revision has been compacted, up to {}",
                self.compact_revision
            );
            return Err(ClientError::refused(message));
        }
        if self.canceled {
            return Err(ClientError::refused("the watch was cancelled"));
        }
        let events = self.events.into_iter().map(|event| Event {
            kind: match event.kind {
                WireKind::Name(name) if name == "DELETE" => EventKind::Delete,
                WireKind::Number(1) => EventKind::Delete,
                _ => EventKind::Put,
            },
            change: event.kv.into(),
        });
        Ok(events.collect())
    }
}

/// Reads one message.
pub(crate) fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, ClientError> {
    serde_json::from_slice(json)
        .map_err(|error| ClientError::unreadable(format!("{error} in {}", String::from_utf8_lossy(json))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_write_numbers_are_read() {
        for json in [
            r#"{"header":{"revision":"3"},"kvs":[{"key":"Zm9v","mod_revision":"3","value":"YmFy"}]}"#,
            r#"{"header":{"revision":3},"kvs":[{"key":"Zm9v","mod_revision":3,"value":"YmFy"}]}"#,
        ] {
            let kvs = read::<Range>(json.as_bytes()).unwrap().all();
            let bar = KeyValue {
                key: "foo".into(),
                value: "bar".into(),
                revision: 3,
            };
            assert_eq!(kvs, [bar]);
            assert_eq!(read::<Written>(json.as_bytes()).unwrap().header.revision, 3);
        }
        assert!(read::<Range>(b"{}").unwrap().all().is_empty());
        assert_eq!(read::<LeaseAnswer>(br#"{"id":4660,"ttl":-1}"#).unwrap().ttl, 0);
    }

    #[test]
    fn events_of_a_watch_are_read() {
        for json in [
            r#"{"events":[{"kv":{"key":"Zm9v","mod_revision":"2"}},{"type":"DELETE","kv":{"key":"Zm9v","mod_revision":"3"}}]}"#,
            r#"{"Header":{},"Events":[{"kv":{"key":"Zm9v","mod_revision":2}},{"type":1,"kv":{"key":"Zm9v","mod_revision":3}}],"CompactRevision":0,"Canceled":false,"Created":false}"#,
        ] {
            let events = read::<Watched>(json.as_bytes()).unwrap().events().unwrap();
            let told: Vec<_> = events
                .iter()
                .map(|event| (event.kind, event.change.revision))
                .collect();
            assert_eq!(told, [(EventKind::Put, 2), (EventKind::Delete, 3)]);
        }
        let compacted = read::<Watched>(br#"{"canceled":true,"compact_revision":"7"}"#).unwrap();
        assert!(
            compacted
                .events()
                .unwrap_err()
                .to_string()
                .contains("compacted, up to 7")
        );
    }

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(end_of("n/"), encode("n0"));
    }
}
