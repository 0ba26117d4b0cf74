//! Watches: every change, once, in order.

use super::*;

/// What is under `seen/`, by revision: what a watcher from the beginning must be told.
async fn truth(client: &Client<Etcd>) -> Result<Vec<(String, u64)>> {
    let read = || async { client.list("seen/", Linearizable).await };
    let found: Vec<KeyValue> = eventually("all keys are read", SETTLED, read).await?;
    let mut all: Vec<_> = found
        .into_iter()
        .map(|found| (found.key, found.revision))
        .collect();
    all.sort_by_key(|(_, revision)| *revision);
    Ok(all)
}

fn told(events: &[Event]) -> Vec<(String, u64)> {
    let told = events
        .iter()
        .map(|event| (event.change.key.clone(), event.change.revision));
    told.collect()
}

/// Each key is written at most once: a failed write is not repeated.
async fn write(client: &Client<Etcd>, name: &str, count: usize) {
    for number in 0..count {
        let _may_fail = timeout(secs(2), client.put(&format!("seen/{name}/{number}"), "x")).await;
    }
}

#[robust_test(timeout = "90s")]
async fn see_every_change_once_across_a_change_of_leader(db: Cluster<Etcd>, client: Client<Etcd>) -> Result {
    let leader = db.until_settled(SETTLED).await?;
    let staying = others(&db, &leader);
    let (watcher, writer) = (at(&client, &staying[0]).await?, at(&client, &staying[1]).await?);
    let mut watch = watcher.watch("seen/", 1).await?;
    write(&writer, "before", 10).await;
    leader.kill().await?;
    write(&writer, "during", 3).await;
    db.until_settled(SETTLED).await?;
    write(&writer, "after", 10).await;
    put_at_last(&writer, "seen/end", "x").await?;

    let mut events: Vec<Event> = Vec::new();
    while events.last().is_none_or(|event| event.change.key != "seen/end") {
        events.push(
            watch
                .next(SOON)
                .await
                .context(format!("after {:?}", told(&events)))?,
        );
    }
    assert_eq!(told(&events), truth(&writer).await?);
    Ok(())
}

#[robust_test(timeout = "90s")]
async fn go_on_without_a_gap_at_another_member(db: Cluster<Etcd>, client: Client<Etcd>) -> Result {
    db.until_settled(SETTLED).await?;
    let nodes = db.nodes();
    let writer = at(&client, &nodes[2]).await?;
    let mut watch = at(&client, &nodes[0]).await?.watch("seen/", 1).await?;
    write(&writer, "before", 10).await;
    let mut events = Vec::new();
    for _ in 0..5 {
        events.push(watch.next(SOON).await?);
    }
    nodes[0].kill().await?;
    drop(watch);
    write(&writer, "meanwhile", 5).await;
    let seen = events.last().context("five events")?.change.revision;
    let mut watch = at(&client, &nodes[1]).await?.watch("seen/", seen + 1).await?;
    put_at_last(&writer, "seen/end", "x").await?;
    while events.last().is_none_or(|event| event.change.key != "seen/end") {
        events.push(
            watch
                .next(SOON)
                .await
                .context(format!("after {:?}", told(&events)))?,
        );
    }
    assert_eq!(told(&events), truth(&writer).await?);
    Ok(())
}

#[robust_test(timeout = "60s")]
async fn see_deletions_and_are_refused_what_was_compacted(
    server: Server<Etcd>,
    client: Client<Etcd>,
) -> Result {
    let put = client.put("seen/key", "1").await?;
    assert!(client.delete("seen/key").await?);
    let mut watch = client.watch("seen/", put).await?;
    let events = [watch.next(SOON).await?, watch.next(SOON).await?];
    let kinds = events.each_ref().map(|event| event.kind);
    assert_eq!(kinds, [EventKind::Put, EventKind::Delete]);
    assert_eq!(events[1].change.revision, put + 1);
    drop(watch);
    server.admin().await?.compact(put + 1).await?;
    let mut watch = client.watch("seen/", put).await?;
    let refused = watch.next(SOON).await;
    assert!(
        matches!(&refused, Err(ClientError::Refused { message }) if message.contains("compacted")),
        "{refused:?}"
    );
    Ok(())
}
