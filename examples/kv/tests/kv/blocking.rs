//! A client that waits in BLPOP.

use super::*;

/// Waits until so many clients wait in a blocking command.
async fn until_blocked(server: &Server<Kv>, count: usize) -> Result {
    let operator = server.admin().await?;
    eventually(format!("{count} clients are blocked"), SOON, || async {
        let info = operator.info("clients").await?;
        Ok::<_, Error>(info.get("blocked_clients") == Some(&count.to_string()))
    })
    .await?;
    Ok(())
}

#[robust_test(requires(server = "blocking"))]
async fn is_woken_by_a_push(server: Server<Kv>, waiter: Client<Kv>, pusher: Client<Kv>) -> Result {
    let push = async {
        until_blocked(&server, 1).await?;
        pusher.rpush("queue", b"first").await?;
        pusher.rpush("queue", b"second").await?;
        Ok::<_, Error>(())
    };
    let (first, pushed) = tokio::join!(waiter.blpop("queue", secs(30)), push);
    pushed?;
    assert_eq!(first?.as_deref(), Some(&b"first"[..]));
    let second = waiter.blpop("queue", secs(30)).await?;
    assert_eq!(second.as_deref(), Some(&b"second"[..]));
    Ok(())
}

#[robust_test(requires(server = "blocking"))]
async fn gives_up_in_time(_server: Server<Kv>, client: Client<Kv>) -> Result {
    let began = tokio::time::Instant::now();
    assert_eq!(client.blpop("queue", millis(300)).await?, None);
    assert!(began.elapsed() >= millis(300), "after {:?}", began.elapsed());
    client.ping().await?;
    Ok(())
}

/// Each of many waiters gets one element, and none gets the same.
#[robust_test(requires(server = "blocking"))]
async fn is_one_of_many_and_gets_its_own(
    server: Server<Kv>,
    #[count(8)] waiters: Vec<Client<Kv>>,
    pusher: Client<Kv>,
) -> Result {
    let waiting = waiters.iter().map(|waiter| waiter.blpop("queue", secs(30)));
    let push = async {
        until_blocked(&server, 8).await?;
        for number in 0..8 {
            pusher.rpush("queue", format!("{number}").as_bytes()).await?;
        }
        Ok::<_, Error>(())
    };
    let (popped, pushed) = tokio::join!(futures_util::future::join_all(waiting), push);
    pushed?;
    let mut elements = BTreeSet::new();
    for element in popped {
        let element = element?.context("a waiter got nothing")?;
        assert!(elements.insert(element), "two got the same");
    }
    assert_eq!(elements.len(), 8);
    Ok(())
}

#[robust_test(requires(server = "blocking"), timeout = "60s")]
async fn is_told_when_its_server_is_killed(server: Server<Kv>, client: Client<Kv>) -> Result {
    let kill = async {
        until_blocked(&server, 1).await?;
        server.kill().await?;
        Ok::<_, Error>(tokio::time::Instant::now())
    };
    let (popped, killed) = tokio::join!(client.blpop("queue", secs(30)), kill);
    assert!(matches!(popped, Err(ClientError::Lost { .. })), "{popped:?}");
    assert!(killed?.elapsed() < SOON, "it was told late");
    Ok(())
}

#[robust_test(requires(server = "blocking"), timeout = "60s")]
async fn goes_on_when_its_server_was_paused(
    server: Server<Kv>,
    waiter: Client<Kv>,
    pusher: Client<Kv>,
) -> Result {
    let push = async {
        until_blocked(&server, 1).await?;
        server.pause().await?;
        server.resume().await?;
        pusher.rpush("queue", b"element").await?;
        Ok::<_, Error>(())
    };
    let (popped, pushed) = tokio::join!(waiter.blpop("queue", secs(30)), push);
    pushed?;
    assert_eq!(popped?.as_deref(), Some(&b"element"[..]));
    Ok(())
}

#[robust_test(requires(server = "blocking"))]
async fn leaves_no_connection_when_it_is_dropped(
    server: Server<Kv>,
    client: Client<Kv>,
    pusher: Client<Kv>,
) -> Result {
    let impatient = tokio::time::timeout(millis(300), client.blpop("queue", secs(30))).await;
    assert!(impatient.is_err(), "{impatient:?}");
    until_blocked(&server, 0).await?;
    let operator = server.admin().await?;
    eventually("its connection is gone", SOON, || async {
        let clients = operator.clients().await?;
        Ok::<_, Error>(clients.iter().all(|client| !client.contains("cmd=blpop")))
    })
    .await?;
    // Nobody is there to take it.
    pusher.rpush("queue", b"element").await?;
    assert_eq!(
        pusher.blpop("queue", secs(5)).await?.as_deref(),
        Some(&b"element"[..])
    );
    Ok(())
}
