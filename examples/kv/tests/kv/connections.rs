//! Many connections, slow servers, and clients that go away.

use futures_util::future::join_all;
use kv_suite::Command;

use super::raw::Raw;
use super::*;

#[robust_test(
    requires(server = "many-connections"),
    forbid(
        server.tls = "on",
        because = "the crate redis reads the system's root certificates anew for each connection, which takes longer than \
                   all else: redis-1.8.1/src/connection.rs, create_rustls_config"
    ),
    timeout = "60s"
)]
async fn five_hundred_at_once_are_served(server: Server<Kv>, client: Client<Kv>) -> Result {
    const CLIENTS: usize = 500;
    let mut options = client.options().clone();
    options.messages_max = 1;
    let opened = join_all((0..CLIENTS).map(|_| client.open(options.clone()))).await;
    let clients = opened.into_iter().collect::<Result<Vec<_>, _>>()?;
    let writes = clients.iter().enumerate().map(|(number, client)| async move {
        client.set(&format!("key {number}"), b"x").await?;
        client.ping().await
    });
    for written in join_all(writes).await {
        written?;
    }
    let operator = server.admin().await?;
    assert!(operator.clients().await?.len() > CLIENTS);
    drop(clients);
    // Its own, and nobody else's.
    eventually("they are gone", SOON, || async {
        Ok::<_, Error>(operator.clients().await?.len() == 1)
    })
    .await?;
    client.ping().await?;
    Ok(())
}

const LIMIT: usize = 250;

#[robust_test(
    pin(user = "default"),
    timeout = "60s",
    known_failure(
        server = "mini-redis",
        because = "mini-redis stops accepting at 250 connections, so that later ones are neither served nor refused: server.rs, \
                   Listener::run",
        expected = "deadline has elapsed"
    )
)]
async fn beyond_the_limit_are_refused_with_an_error(
    #[settings(KvSettings { max_clients: LIMIT, ..KvSettings::default() })] server: Server<Kv>,
    client: Client<Kv>,
) -> Result {
    client.set("key", b"value").await?;
    let mut open = Vec::new();
    let refusal = loop {
        let mut raw = Raw::connect(&server).await?;
        let answer = raw.ask(&["get", "key"]).await?;
        if answer != "$5" {
            break answer;
        }
        raw.line().await?;
        open.push(raw);
        assert!(open.len() < LIMIT, "there is no limit");
    };
    assert_eq!(refusal, "-ERR max number of clients reached");
    // The others go on, and there is room again when some leave.
    client.set("key", b"other").await?;
    let opened = client.open(client.options().clone().deadline(secs(1))).await;
    assert!(opened.is_err(), "the client says that it is connected");
    drop(open);
    eventually("there is room again", SOON, || async {
        client.open(client.options().clone()).await.map(drop)
    })
    .await?;
    assert_eq!(client.get("key").await?.as_deref(), Some(&b"other"[..]));
    Ok(())
}

/// Its answers come after the client has given up, and must not be taken for those of later commands.
#[robust_test(requires(server = "process"), timeout = "60s")]
async fn to_a_paused_server_time_out_and_mix_up_no_replies(server: Server<Kv>, client: Client<Kv>) -> Result {
    const KEYS: usize = 50;
    const DEADLINE: Duration = secs(2);
    let impatient = client.open(client.options().clone().deadline(DEADLINE)).await?;
    for number in 0..KEYS {
        client
            .set(&format!("key {number}"), number.to_string().as_bytes())
            .await?;
    }
    impatient.get("key 0").await?;
    server.pause().await?;
    let began = tokio::time::Instant::now();
    let keys: Vec<String> = (0..KEYS / 2).map(|number| format!("key {number}")).collect();
    for answer in join_all(keys.iter().map(|key| impatient.get(key))).await {
        assert!(matches!(answer, Err(ClientError::TimedOut { .. })), "{answer:?}");
    }
    let took = began.elapsed();
    assert!(took >= DEADLINE && took < DEADLINE + SOON, "it took {took:?}");
    server.resume().await?;
    until_answered(&*impatient).await?;
    for _ in 0..3 {
        for number in (0..KEYS).rev() {
            let value = impatient.get(&format!("key {number}")).await?;
            assert_eq!(value, Some(number.to_string().into_bytes()));
        }
    }
    // One that has more patience saw nothing of it.
    assert_eq!(client.get("key 1").await?.as_deref(), Some(&b"1"[..]));
    Ok(())
}

#[robust_test(requires(server = "process"))]
async fn to_a_slow_server_time_out_and_the_command_is_done(server: Server<Kv>, client: Client<Kv>) -> Result {
    let impatient = client
        .open(client.options().clone().deadline(millis(300)))
        .await?;
    let operator = server.admin().await?;
    let sleep = operator.run("DEBUG", &["SLEEP", "1"]);
    let write = async {
        // Sent once the server sleeps; else it is answered, and sent again.
        eventually("a command is not answered in time", SOON, || async {
            matches!(
                impatient.set("key", b"value").await,
                Err(ClientError::TimedOut { .. })
            )
        })
        .await
    };
    let (slept, written) = tokio::join!(sleep, write);
    slept?;
    written?;
    assert_eq!(client.get("key").await?.as_deref(), Some(&b"value"[..]));
    Ok(())
}

#[robust_test(requires(server = "process"), timeout = "60s")]
async fn of_clients_that_are_dropped_are_closed(server: Server<Kv>, client: Client<Kv>) -> Result {
    let operator = server.admin().await?;
    let before = operator.clients().await?.len();
    let leaving = client.open(client.options().clone()).await?;
    let mut subscriber = leaving.subscriber().await?;
    subscriber.subscribe("news").await?;
    server.pause().await?;
    // In the middle of a command: it is sent, and not answered.
    let call = leaving.call(Command::new("GET").arg("key"));
    let cut = tokio::time::timeout(millis(100), call).await;
    assert!(cut.is_err(), "{cut:?}");
    drop((leaving, subscriber));
    server.resume().await?;
    eventually("its connections are gone", SOON, || async {
        let clients = operator.clients().await?;
        match clients.len() == before {
            true => Ok(()),
            false => Err(error(clients.join("\n"))),
        }
    })
    .await?;
    client.ping().await?;
    Ok(())
}
