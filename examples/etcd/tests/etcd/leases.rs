//! Leases: they end in time, and not before.

use super::*;

const TTL: Duration = secs(2);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Kill,
    Pause,
}

#[robust_test(timeout = "90s")]
async fn end_in_time_and_not_before(
    db: Cluster<Etcd>,
    client: Client<Etcd>,
    #[values(none = Fault::None, kill = Fault::Kill, pause = Fault::Pause)] fault: Fault,
) -> Result {
    let leader = db.until_settled(SETTLED).await?;
    let staying = others(&db, &leader);
    let client = at(&client, &staying[0]).await?;
    let lease = client.grant(TTL).await?;
    client.put_with_lease("leased", "x", lease).await?;
    let asked = Instant::now();
    assert!(client.keep_alive(lease).await?);
    match fault {
        Fault::None => {}
        Fault::Kill => leader.kill().await?,
        Fault::Pause => leader.pause().await?,
    }
    if fault != Fault::None {
        // A new leader begins the time of a lease anew.
        leader_among(&staying).await?;
    }
    eventually("the lease ends", SETTLED, || async {
        let found = client.get("leased", Linearizable).await?;
        Ok::<_, ClientError>(found.is_none())
    })
    .await?;
    assert!(asked.elapsed() >= TTL, "it ended after {:?}", asked.elapsed());
    assert!(!client.keep_alive(lease).await?);
    Ok(())
}

/// The old leader wakes with the old end of the lease in mind.
#[robust_test(timeout = "90s")]
async fn that_are_kept_alive_outlive_the_leader_and_its_return(
    db: Cluster<Etcd>,
    client: Client<Etcd>,
) -> Result {
    let leader = db.until_settled(SETTLED).await?;
    let staying = others(&db, &leader);
    let client = at(&client, &staying[0]).await?;
    let lease = client.grant(TTL).await?;
    client.put_with_lease("leased", "x", lease).await?;
    leader.pause().await?;
    leader_among(&staying).await?;
    let keep = || async { client.keep_alive(lease).await };
    eventually("it is kept alive", SETTLED, keep).await?;
    // Until long after the old leader's end of it.
    let begun = Instant::now();
    while begun.elapsed() < TTL * 2 {
        assert!(
            client.keep_alive(lease).await?,
            "it ended while it was kept alive"
        );
        tokio::time::sleep(TTL / 10).await;
    }
    leader.resume().await?;
    db.until_settled(SETTLED).await?;
    eventually("it is kept alive", SETTLED, keep).await?;
    let found = client.get("leased", Linearizable).await?;
    assert!(found.is_some(), "its key is gone");
    Ok(())
}
