//! The client `gateway`: the JSON gateway that each member has on its client port.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{
    ANSWER_WITHIN, ClientError, Consistency, EtcdClient, Event, KeyValue, Lease, Revision, Watch, within,
};
use crate::http::{Http, Lines, result_of};
use crate::wire::{Compared, Deleted, LeaseAnswer, Range, Watched, Written, encode, end_of, read};

/// A client of the member that listens at `member`. It connects for each request.
pub fn client(member: SocketAddr) -> Box<dyn EtcdClient> {
    Box::new(Gateway(Http(member)))
}

struct Gateway(Http);

impl Gateway {
    async fn ask<T: for<'a> Deserialize<'a>>(&self, path: &str, body: Value) -> Result<T, ClientError> {
        let answer = within(ANSWER_WITHIN, self.0.post(path, &body)).await?;
        read(&answer)
    }

    async fn range(&self, mut body: Value, consistency: Consistency) -> Result<Vec<KeyValue>, ClientError> {
        body["serializable"] = (consistency == Consistency::Serializable).into();
        Ok(self.ask::<Range>("/v3/kv/range", body).await?.all())
    }
}

#[async_trait]
impl EtcdClient for Gateway {
    async fn put(&self, key: &str, value: &str) -> Result<Revision, ClientError> {
        let body = json!({ "key": encode(key), "value": encode(value) });
        Ok(self.ask::<Written>("/v3/kv/put", body).await?.header.revision)
    }

    async fn put_with_lease(&self, key: &str, value: &str, lease: Lease) -> Result<Revision, ClientError> {
        let lease = lease.0.to_string();
        let body = json!({ "key": encode(key), "value": encode(value), "lease": lease });
        Ok(self.ask::<Written>("/v3/kv/put", body).await?.header.revision)
    }

    async fn get(&self, key: &str, consistency: Consistency) -> Result<Option<KeyValue>, ClientError> {
        let found = self.range(json!({ "key": encode(key) }), consistency).await?;
        Ok(found.into_iter().next())
    }

    async fn list(&self, prefix: &str, consistency: Consistency) -> Result<Vec<KeyValue>, ClientError> {
        let body = json!({ "key": encode(prefix), "range_end": end_of(prefix) });
        self.range(body, consistency).await
    }

    async fn delete(&self, key: &str) -> Result<bool, ClientError> {
        let body = json!({ "key": encode(key) });
        Ok(self.ask::<Deleted>("/v3/kv/deleterange", body).await?.deleted > 0)
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<&str>,
        new: &str,
    ) -> Result<bool, ClientError> {
        let compare = match expected {
            Some(value) => json!({ "key": encode(key), "target": "VALUE", "value": encode(value) }),
            None => json!({ "key": encode(key), "target": "VERSION", "version": "0" }),
        };
        let put = json!({ "request_put": { "key": encode(key), "value": encode(new) } });
        let body = json!({ "compare": [compare], "success": [put] });
        Ok(self.ask::<Compared>("/v3/kv/txn", body).await?.succeeded)
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watch>, ClientError> {
        let body = json!({ "create_request": {
            "key": encode(prefix),
            "range_end": end_of(prefix),
            "start_revision": from.to_string(),
        } });
        let answer = within(ANSWER_WITHIN, self.0.open("/v3/watch", &body)).await?;
        Ok(Box::new(Watching {
            lines: Lines::of(answer),
            events: VecDeque::new(),
        }))
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease, ClientError> {
        let body = json!({ "TTL": ttl.as_secs().to_string() });
        Ok(Lease(self.ask::<LeaseAnswer>("/v3/lease/grant", body).await?.id))
    }

    async fn keep_alive(&self, lease: Lease) -> Result<bool, ClientError> {
        let body = json!({ "ID": lease.0.to_string() });
        let asked = async {
            let answer = self.0.open("/v3/lease/keepalive", &body).await?;
            result_of::<LeaseAnswer>(&Lines::of(answer).next().await?)
        };
        Ok(within(ANSWER_WITHIN, asked).await?.ttl > 0)
    }
}

struct Watching {
    lines: Lines,
    events: VecDeque<Event>,
}

#[async_trait]
impl Watch for Watching {
    async fn next(&mut self, within: Duration) -> Result<Event, ClientError> {
        let next = async {
            loop {
                if let Some(event) = self.events.pop_front() {
                    return Ok(event);
                }
                let message: Watched = result_of(&self.lines.next().await?)?;
                self.events.extend(message.events()?);
            }
        };
        match tokio::time::timeout(within, next).await {
            Ok(event) => event,
            Err(_) => Err(ClientError::NoEvent { within }),
        }
    }
}
