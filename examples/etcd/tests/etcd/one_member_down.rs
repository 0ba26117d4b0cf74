//! One of three is away: the others go on, and it catches up when it is back.

use super::*;

#[robust_test(timeout = "90s")]
async fn a_killed_leader_is_replaced_and_comes_back(db: Cluster<Etcd>, client: Client<Etcd>) -> Result {
    let leader = db.until_settled(SETTLED).await?;
    at(&client, &leader).await?.put("before", "1").await?;
    let term = leader.admin().await?.status().await?.term;

    leader.kill().await?;
    let next = db.until_settled(SETTLED).await?;
    assert_ne!(next.name(), leader.name());
    assert!(
        next.admin().await?.status().await?.term > term,
        "a new leader has a new term"
    );
    let client = at(&client, &next).await?;
    put_at_last(&client, "during", "2").await?;
    assert_eq!(fresh(&client, "before").await?.as_deref(), Some("1"));

    leader.start().await?;
    db.until_settled(SETTLED).await?;
    let back = at(&client, &leader).await?;
    assert_eq!(fresh(&back, "during").await?.as_deref(), Some("2"));
    until_equal(&db).await?;
    Ok(())
}

#[robust_test(timeout = "90s")]
async fn one_of_three_may_be_away(db: Cluster<Etcd>, client: Client<Etcd>) -> Result {
    let leader = db.until_settled(SETTLED).await?;
    let follower = others(&db, &leader).remove(0);
    let clients = at_each(&client, &others(&db, &follower)).await?;
    follower.kill().await?;
    // Nobody has to elect anybody.
    for number in 0..10 {
        let client = &clients[number % 2];
        put_at_last(client, "number", &number.to_string()).await?;
    }
    follower.start().await?;
    assert_eq!(
        fresh(&at(&client, &follower).await?, "number").await?.as_deref(),
        Some("9")
    );
    until_equal(&db).await?;
    Ok(())
}

/// How long nobody may be served while the members are restarted one after another.
const SILENCE_MAX: Duration = secs(10);

#[robust_test(timeout = "120s")]
async fn a_rolling_restart_loses_nothing(db: Cluster<Etcd>, client: Client<Etcd>) -> Result {
    db.until_settled(SETTLED).await?;
    let load = Load::on(at_each(&client, &db.nodes()).await?);
    db.rolling_restart(SETTLED).await?;
    let ledger = load.end().await?;
    assert!(
        ledger.longest_silence < SILENCE_MAX,
        "{:?}",
        ledger.longest_silence
    );
    is_kept_by_all(&db, &client, &ledger).await
}
