//! Members that freeze and go on, without having noticed.

use super::*;

#[robust_test(timeout = "60s")]
async fn a_frozen_follower_catches_up(db: Cluster<Etcd>, client: Client<Etcd>) -> Result {
    let leader = db.until_settled(SETTLED).await?;
    let follower = others(&db, &leader).remove(0);
    let writer = at(&client, &leader).await?;
    follower.pause().await?;
    for number in 0..10 {
        put_at_last(&writer, "number", &number.to_string()).await?;
    }
    follower.resume().await?;
    assert_eq!(
        fresh(&at(&client, &follower).await?, "number").await?.as_deref(),
        Some("9")
    );
    db.until_settled(SETTLED).await?;
    until_equal(&db).await?;
    Ok(())
}

const READERS: usize = 4;

#[robust_test(timeout = "90s")]
async fn a_frozen_leader_is_replaced_and_serves_nothing_old(
    db: Cluster<Etcd>,
    client: Client<Etcd>,
) -> Result {
    let frozen = db.until_settled(SETTLED).await?;
    let old = at(&client, &frozen).await?;
    old.put("key", "old").await?;
    let term = frozen.admin().await?.status().await?.term;

    frozen.pause().await?;
    let next = db.until_settled(SETTLED).await?;
    assert_ne!(next.name(), frozen.name());
    put_at_last(&at(&client, &next).await?, "key", "new").await?;

    // These wait in its sockets when it wakes, and it still takes itself for the leader.
    let mut reads = std::pin::pin!(join_all((0..READERS).map(|_| old.get("key", Linearizable))));
    let early = timeout(millis(500), &mut reads).await;
    assert!(early.is_err(), "a frozen member answered: {early:?}");
    frozen.resume().await?;
    for answer in reads.await.into_iter().flatten() {
        assert_eq!(answer.map(|found| found.value).as_deref(), Some("new"));
    }
    assert_eq!(fresh(&old, "key").await?.as_deref(), Some("new"));
    db.until_settled(SETTLED).await?;
    assert!(
        frozen.admin().await?.status().await?.term > term,
        "it has heard of the new term"
    );
    until_equal(&db).await?;
    Ok(())
}
