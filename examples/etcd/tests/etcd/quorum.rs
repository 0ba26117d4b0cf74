//! More than one of three is away: nothing wrong is served, and nothing that was acknowledged is lost.

use super::*;

enum Survivor {
    Leader,
    Follower,
}

#[robust_test(timeout = "90s")]
async fn the_last_of_three_refuses_writes_and_fresh_reads(
    db: Cluster<Etcd>,
    client: Client<Etcd>,
    #[values(leader = Survivor::Leader, follower = Survivor::Follower)] survivor: Survivor,
) -> Result {
    let leader = db.until_settled(SETTLED).await?;
    let survivor = match survivor {
        Survivor::Leader => leader,
        Survivor::Follower => others(&db, &leader).remove(0),
    };
    let alone = at(&client, &survivor).await?;
    alone.put("key", "old").await?;
    let gone = others(&db, &survivor);
    for node in &gone {
        node.kill().await?;
    }

    let (written, read) = tokio::join!(alone.put("key", "new"), alone.get("key", Linearizable));
    match written {
        Err(ClientError::Refused { message }) => assert!(
            ["request timed out", "no leader", "context deadline exceeded"]
                .iter()
                .any(|reason| message.contains(reason)),
            "{message}"
        ),
        other => panic!("a write without the quorum: {other:?}"),
    }
    // The program tries again until its own limit.
    assert!(
        matches!(
            read,
            Err(ClientError::Refused { .. } | ClientError::TimedOut { .. })
        ),
        "a fresh read without the quorum: {read:?}"
    );
    let old = alone.get("key", Serializable).await?.context("it has the key")?;
    assert_eq!(old.value, "old");

    gone[0].start().await?;
    let value = fresh(&alone, "key").await?;
    assert!(matches!(value.as_deref(), Some("old" | "new")), "{value:?}");
    put_at_last(&alone, "key", "newer").await?;
    gone[1].start().await?;
    db.until_settled(SETTLED).await?;
    all_have(&db, &client, "key", "newer").await
}

#[robust_test(timeout = "90s")]
async fn all_killed_at_once_have_what_was_acknowledged(db: Cluster<Etcd>, client: Client<Etcd>) -> Result {
    db.until_settled(SETTLED).await?;
    let load = Load::begun(&db, &client).await?;
    db.kill().await?;
    let ledger = load.end().await?;
    db.start().await?;
    db.until_settled(SETTLED).await?;
    is_kept_by_all(&db, &client, &ledger).await
}
