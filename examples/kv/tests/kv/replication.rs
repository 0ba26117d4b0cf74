//! A primary and two replicas.

use robust_test::hosts::{Checksum, Impairment};

use super::*;

/// Every node sees every other one, and node 1 leads.
async fn settled(db: &Cluster<Kv>) -> Result {
    let leader = db.until_settled(SOON).await?;
    assert_eq!(leader.number(), 1);
    Ok(())
}

/// Waits until a node has `value`.
async fn until_has(node: &dyn KvClient, key: &str, value: &str) -> Result {
    eventually(format!("{key} is {value}"), SOON, || async {
        node.get(key)
            .await
            .map(|found| found.as_deref() == Some(value.as_bytes()))
    })
    .await?;
    Ok(())
}

#[robust_test(timeout = "60s")]
async fn a_write_reaches_both_replicas_which_take_none(db: Cluster<Kv>, client: Client<Kv>) -> Result {
    settled(&db).await?;
    client.set("key", b"value").await?;
    assert_eq!(client.wait(2, SOON).await?, 2);
    for number in [2, 3] {
        let replica = Client::connect_to(&client, &db.node(number)).await?;
        assert_eq!(replica.get("key").await?.as_deref(), Some(&b"value"[..]));
        let refused = replica.set("key", b"other").await;
        assert!(
            matches!(&refused, Err(ClientError::Refused { message }) if message.starts_with("READONLY")),
            "{refused:?}"
        );
    }
    assert_eq!(client.get("key").await?.as_deref(), Some(&b"value"[..]));
    Ok(())
}

#[robust_test(timeout = "60s")]
async fn wait_counts_the_replicas_that_have_it(db: Cluster<Kv>, client: Client<Kv>) -> Result {
    settled(&db).await?;
    db.node(3).pause().await?;
    client.set("key", b"value").await?;
    assert_eq!(client.wait(1, SOON).await?, 1);
    assert_eq!(client.wait(2, millis(300)).await?, 1);
    db.node(3).resume().await?;
    assert_eq!(client.wait(2, SOON).await?, 2);
    Ok(())
}

#[robust_test(timeout = "60s")]
async fn replicas_come_back_to_a_primary_that_restarts(
    db: Cluster<Kv>,
    client: Client<Kv>,
    #[values(stop = false, kill = true)] kill: bool,
) -> Result {
    settled(&db).await?;
    client.set("key", b"before").await?;
    assert_eq!(client.wait(2, SOON).await?, 2);
    db.node(1).admin().await?.run("SAVE", &[]).await?;
    match kill {
        true => db.node(1).kill().await?,
        false => db.node(1).stop().await?,
    }
    let replica = Client::connect_to(&client, &db.node(2)).await?;
    assert_eq!(replica.get("key").await?.as_deref(), Some(&b"before"[..]));
    db.node(1).start().await?;
    settled(&db).await?;
    until_answered(&*client).await?;
    client.set("key", b"after").await?;
    assert_eq!(client.wait(2, SOON).await?, 2);
    for number in [2, 3] {
        let replica = Client::connect_to(&client, &db.node(number)).await?;
        assert_eq!(replica.get("key").await?.as_deref(), Some(&b"after"[..]));
    }
    Ok(())
}

#[robust_test(timeout = "60s")]
async fn a_replica_that_was_away_catches_up(db: Cluster<Kv>, client: Client<Kv>) -> Result {
    settled(&db).await?;
    db.node(3).kill().await?;
    for number in 0..200 {
        client.set("key", number.to_string().as_bytes()).await?;
    }
    db.node(3).start().await?;
    settled(&db).await?;
    let replica = Client::connect_to(&client, &db.node(3)).await?;
    until_has(&*replica, "key", "199").await
}

/// Clients talk TLS to a port of their own here, so that the links are those of the replicas alone.
#[robust_test(pin(tls = "on"), timeout = "90s")]
async fn replicas_behind_slow_links_that_break_come_to_have_all(
    #[proxied] db: Cluster<Kv>,
    client: Client<Kv>,
) -> Result {
    const WRITES: usize = 300;
    const BREAKS: usize = 3;
    settled(&db).await?;
    let link = db.node(1).proxy("redis");
    let slow = [
        link.add(Toxic::latency(millis(5)).jitter(millis(5)).both()),
        link.add(Toxic::bandwidth(400_000)),
    ];
    let before = link.traffic().connections;
    let value = "x".repeat(1000);
    for number in 0..WRITES {
        if number % (WRITES / BREAKS) == 50 {
            eventually("both replicas are connected", SOON, || {
                std::future::ready(link.traffic().open >= 2)
            })
            .await?;
            link.reset_connections().await?;
        }
        client.set(&format!("{number} {value}"), b"x").await?;
    }
    client.set("last", b"x").await?;
    for number in [2, 3] {
        let replica = Client::connect_to(&client, &db.node(number)).await?;
        until_has(&*replica, "last", "x").await?;
        for number in 0..WRITES {
            let key = format!("{number} {value}");
            assert_eq!(replica.get(&key).await?.as_deref(), Some(&b"x"[..]), "{number}");
        }
    }
    // Each replica came back after each break.
    let again = link.traffic().connections - before;
    assert!(again >= 2 * BREAKS as u64, "{again} connections");
    assert!(slow.iter().all(|toxic| toxic.hits().bytes > 0), "{slow:?}");
    Ok(())
}

#[robust_test(timeout = "90s")]
async fn replicas_on_a_bad_network_come_to_have_all(
    #[hosts] db: Cluster<Kv>,
    client: Client<Kv>,
    faults: Faults,
) -> Result {
    const PHASE: usize = 100;
    settled(&db).await?;
    let write = async |from: usize| {
        for number in from..from + PHASE {
            client.set(&format!("{number}"), &[b'x'; 1000]).await?;
        }
        Ok::<_, Error>(())
    };
    let mut bad = Vec::new();
    for impairment in [
        Impairment::loss(0.05),
        Impairment::delay(millis(5)).jitter(millis(5)).reordering(),
        Impairment::corrupt(0.02, Checksum::Wrong),
    ] {
        bad.push(impairment.inject(db.net()).await?);
    }
    write(0).await?;
    let cut = Partition::Isolate(3).inject(&db).await?;
    write(PHASE).await?;
    assert_eq!(client.wait(1, SOON).await?, 1);
    assert_eq!(client.wait(2, millis(300)).await?, 1, "the third one is cut off");
    // Who waits for an acknowledgement that was lost says nothing for a while.
    cut.until_proved(SOON).await?;
    cut.heal().await?;
    write(2 * PHASE).await?;
    assert_eq!(client.wait(2, secs(30)).await?, 2);
    for number in [2, 3] {
        let replica = Client::connect_to(&client, &db.node(number)).await?;
        for number in 0..3 * PHASE {
            let found = replica.get(&number.to_string()).await?;
            assert_eq!(found.as_deref(), Some(&[b'x'; 1000][..]), "{number}");
        }
    }
    for fault in bad {
        fault.heal().await?;
    }
    assert!(faults.timeline().len() >= 4 * 4, "{:?}", faults.timeline());
    settled(&db).await
}

/// As redis' documentation warns ("Safety of replication when master has persistence turned off").
#[robust_test(pin(persistence = "rdb"), timeout = "60s")]
async fn a_primary_without_persistence_empties_its_replicas_when_it_restarts(
    #[settings(KvSettings { persistence: Some(Persistence::None), ..KvSettings::default() })] db: Cluster<Kv>,
    client: Client<Kv>,
) -> Result {
    settled(&db).await?;
    client.set("key", b"value").await?;
    assert_eq!(client.wait(2, SOON).await?, 2);
    db.node(1).kill().await?;
    db.node(1).start().await?;
    settled(&db).await?;
    let replica = Client::connect_to(&client, &db.node(2)).await?;
    eventually("it is empty", SOON, || async {
        replica.get("key").await.map(|found| found.is_none())
    })
    .await?;
    Ok(())
}

/// Replication is asynchronous: a write is promised to survive a failover once WAIT has counted every replica, and
/// may be lost before.
#[robust_test(timeout = "90s")]
async fn a_failover_keeps_what_wait_has_counted(db: Cluster<Kv>, client: Client<Kv>) -> Result {
    settled(&db).await?;
    for number in 0..50 {
        client.set(&format!("waited {number}"), b"x").await?;
    }
    assert_eq!(client.wait(2, SOON).await?, 2);
    // Not waited for, and on no replica.
    db.node(2).pause().await?;
    db.node(3).pause().await?;
    client.set("not waited", b"x").await?;
    db.node(1).kill().await?;
    db.node(2).resume().await?;
    db.node(3).resume().await?;

    // What an operator does.
    let second = db.node(2).admin().await?;
    second.replica_of(None).await?;
    let second_address = db.node(2).endpoint("redis");
    db.node(3).admin().await?.replica_of(Some(second_address)).await?;
    assert_eq!(db.until_settled(SOON).await?.number(), 2);

    let promoted = Client::connect_to(&client, &db.node(2)).await?;
    for number in 0..50 {
        let key = format!("waited {number}");
        assert_eq!(promoted.get(&key).await?.as_deref(), Some(&b"x"[..]), "{key}");
    }
    promoted.set("after", b"x").await?;
    assert_eq!(promoted.wait(1, SOON).await?, 1);

    // The old primary comes back as a replica, with what it has, and takes over what the new one has.
    let settings = KvSettings {
        primary: 2,
        ..KvSettings::default()
    };
    db.node(1).restarting().settings(settings).run().await?;
    assert_eq!(db.until_settled(SOON).await?.number(), 2);
    assert_eq!(promoted.wait(2, SOON).await?, 2);
    let returned = Client::connect_to(&client, &db.node(1)).await?;
    until_has(&*returned, "after", "x").await?;
    assert_eq!(
        returned.get("not waited").await?,
        promoted.get("not waited").await?,
        "they agree, whichever it is"
    );
    let Role::Replica { in_step, .. } = db.node(1).admin().await?.role().await? else {
        panic!("node 1 is still a primary");
    };
    assert!(in_step);
    Ok(())
}
