//! What a cluster without faults owes: one leader, fresh reads everywhere, and reads that go forward.

use super::*;

#[robust_test(timeout = "60s")]
async fn three_members_agree_on_a_leader(db: Cluster<Etcd>) -> Result {
    let leader = db.until_settled(SETTLED).await?;
    for node in db.nodes() {
        let operator = node.admin().await?;
        assert_eq!(operator.members().await?.len(), 3);
        assert_eq!(operator.alarms().await?, 0);
    }
    // Handing the lead over is something only the leader does.
    let follower = others(&db, &leader).remove(0);
    let to = id_of(&follower).await?;
    let refused = follower.admin().await?.move_leader(to).await;
    assert!(matches!(refused, Err(ClientError::Refused { .. })), "{refused:?}");
    hand_over(&db.nodes(), &follower).await?;
    follower.admin().await?.defragment().await?;
    until_equal(&db).await?;
    Ok(())
}

#[robust_test(timeout = "60s")]
async fn what_one_member_acknowledged_is_read_from_every_other(
    db: Cluster<Etcd>,
    client: Client<Etcd>,
) -> Result {
    const ROUNDS: usize = 6;
    let clients = at_each(&client, &db.nodes()).await?;
    for round in 0..ROUNDS {
        let writer = &clients[round % clients.len()];
        let written = writer.put("word", &round.to_string()).await?;
        let answers = try_join_all(clients.iter().map(|client| client.get("word", Linearizable))).await?;
        for answer in answers {
            let found = answer.context("a member has not heard of it")?;
            assert_eq!((found.value, found.revision), (round.to_string(), written));
        }
    }
    assert!(clients[0].delete("word").await?);
    assert!(!clients[1].delete("word").await?);
    for client in &clients {
        assert_eq!(client.get("word", Linearizable).await?, None);
    }
    Ok(())
}

#[robust_test(timeout = "60s")]
async fn serializable_reads_go_forward_and_arrive(db: Cluster<Etcd>, client: Client<Etcd>) -> Result {
    const LAST: u32 = 20;
    let clients = at_each(&client, &db.nodes()).await?;
    let write = async {
        for number in 1..=LAST {
            clients[0].put("number", &number.to_string()).await?;
        }
        Ok::<_, Error>(())
    };
    let read = try_join_all(clients.iter().map(|client| async {
        let mut seen = 0;
        while seen < LAST {
            let found = client.get("number", Serializable).await?;
            let number = found.map_or(Ok(0), |found| found.value.parse())?;
            assert!(number >= seen, "{number} after {seen}");
            seen = number;
        }
        Ok::<_, Error>(())
    }));
    let (written, read) = tokio::join!(write, timeout(SETTLED, read));
    written?;
    read.context("the last write arrives")??;
    Ok(())
}
