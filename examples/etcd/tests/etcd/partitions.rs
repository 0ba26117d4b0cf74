//! Members that do not hear one another: the proxies between them hold what they say, and let it go when it is over; or they
//! are on hosts of their own, and what they say is lost.

use super::*;

/// What etcd answers where it has not its quorum.
#[track_caller]
fn assert_refused<T: std::fmt::Debug>(what: &str, answer: &Result<T, ClientError>) {
    let is_refused = matches!(
        answer,
        Err(ClientError::Refused { .. } | ClientError::TimedOut { .. })
    );
    assert!(is_refused, "{what} without the quorum: {answer:?}");
}

#[robust_test(timeout = "120s")]
async fn a_leader_that_is_cut_off_is_replaced_and_serves_nothing_fresh(
    #[proxied] db: Cluster<Etcd>,
    client: Client<Etcd>,
) -> Result {
    the_leader_is_cut_off(db, client).await
}

#[robust_test(timeout = "120s")]
async fn a_leader_whose_cable_is_cut_is_replaced_and_serves_nothing_fresh(
    #[hosts] db: Cluster<Etcd>,
    client: Client<Etcd>,
) -> Result {
    the_leader_is_cut_off(db, client).await
}

async fn the_leader_is_cut_off(db: Cluster<Etcd>, client: Client<Etcd>) -> Result {
    let old = db.until_settled(SETTLED).await?;
    put_at_last(&client, "key", "before").await?;
    let partition = db.partition(Partition::Isolate(old.number()))?;
    let rest = others(&db, &old);
    let alone = at(&client, &old).await?;
    let (written, read) = tokio::join!(alone.put("cut off", "x"), alone.get("key", Linearizable));
    assert_refused("a write", &written);
    assert_refused("a fresh read", &read);

    let new = leader_among(&rest).await?;
    assert_ne!(new.name(), old.name());
    let majority = at(&client, &new).await?;
    put_at_last(&majority, "key", "meanwhile").await?;
    let stale = alone.get("key", Serializable).await?.context("it has the key")?;
    assert_eq!(stale.value, "before");

    partition.heal()?;
    db.until_settled(SETTLED).await?;
    all_have(&db, &client, "key", "meanwhile").await?;
    for client in at_each(&client, &db.nodes()).await? {
        assert_eq!(
            fresh(&client, "cut off").await?,
            None,
            "it was refused, and another leader was there"
        );
    }
    until_equal(&db).await?;
    Ok(())
}

enum Deaf {
    Leader,
    Followers,
}

#[robust_test(timeout = "120s")]
async fn a_leader_that_hears_nobody_or_is_not_heard_costs_no_acknowledged_write(
    #[proxied] db: Cluster<Etcd>,
    client: Client<Etcd>,
    #[values(leader = Deaf::Leader, followers = Deaf::Followers)] deaf: Deaf,
) -> Result {
    one_way(db, client, deaf).await
}

#[robust_test(timeout = "120s")]
async fn a_leader_whose_packets_are_lost_one_way_costs_no_acknowledged_write(
    #[hosts] db: Cluster<Etcd>,
    client: Client<Etcd>,
    #[values(leader = Deaf::Leader, followers = Deaf::Followers)] deaf: Deaf,
) -> Result {
    one_way(db, client, deaf).await
}

async fn one_way(db: Cluster<Etcd>, client: Client<Etcd>, deaf: Deaf) -> Result {
    let leader = db.until_settled(SETTLED).await?;
    let rest = others(&db, &leader);
    let numbers: Vec<usize> = rest.iter().map(Server::number).collect();
    let leader_alone = vec![leader.number()];
    let load = Load::begun(&db, &client).await?;
    let partition = db.partition(match deaf {
        Deaf::Leader => Partition::OneWay {
            from: numbers,
            to: leader_alone,
        },
        Deaf::Followers => Partition::OneWay {
            from: leader_alone,
            to: numbers,
        },
    })?;
    partition.until_it_bites(SOON).await?;
    let new = leader_among(&rest).await?;
    assert_ne!(new.name(), leader.name());
    let majority = at(&client, &new).await?;
    put_at_last(&majority, "key", "meanwhile").await?;
    partition.heal()?;
    db.until_settled(SETTLED).await?;
    let ledger = load.end().await?;
    all_have(&db, &client, "key", "meanwhile").await?;
    is_kept_by_all(&db, &client, &ledger).await
}

#[robust_test(timeout = "120s")]
async fn slow_and_jittery_links_cost_time_and_nothing_else(
    #[proxied] db: Cluster<Etcd>,
    client: Client<Etcd>,
) -> Result {
    db.until_settled(SETTLED).await?;
    let mut slow = Vec::new();
    for node in db.nodes() {
        // Below the 100 ms between two heartbeats.
        let latency = Toxic::latency(millis(20)).jitter(millis(15)).both();
        slow.push(node.proxy("peer").add(latency));
    }
    for number in 0..10 {
        put_at_last(&client, "key", &number.to_string()).await?;
    }
    assert!(slow.iter().all(|latency| latency.hits().any()), "{slow:?}");
    all_have(&db, &client, "key", "9").await
}
