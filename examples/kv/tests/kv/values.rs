//! What is written is what is read, one command at a time and many.

use futures_util::future::join_all;
use kv_suite::{Command, Reply};

use super::*;

#[robust_test]
async fn a_write_is_read_by_everyone(_server: Server<Kv>, writer: Client<Kv>, reader: Client<Kv>) -> Result {
    assert_eq!(reader.get("key").await?, None);
    for number in 0..100 {
        let value = number.to_string().into_bytes();
        writer.set("key", &value).await?;
        assert_eq!(writer.get("key").await?.as_ref(), Some(&value));
        assert_eq!(reader.get("key").await?.as_ref(), Some(&value));
    }
    Ok(())
}

/// Every byte, and what delimits parts of the protocol.
fn every_byte() -> Vec<u8> {
    (0..=255).chain(*b"\r\n$3\r\nabc\r\n").collect()
}

#[robust_test]
async fn a_value_keeps_every_byte(
    _server: Server<Kv>,
    client: Client<Kv>,
    #[values(empty = Vec::new(), every_byte = every_byte(), large = every_byte().repeat(4096))] value: Vec<
        u8,
    >,
) -> Result {
    client.set("key", &value).await?;
    assert!(client.get("key").await? == Some(value));
    client.set("key", b"short").await?;
    assert_eq!(client.get("key").await?.as_deref(), Some(&b"short"[..]));
    Ok(())
}

#[robust_test(known_failure(
    server = "mini-redis",
    because = "mini-redis closes the connection for a key that is not UTF-8, where RESP's strings are of any bytes: \
               parse.rs, next_string",
    expected("the connection was lost", "the server closed the connection")
))]
async fn a_key_keeps_every_byte(_server: Server<Kv>, client: Client<Kv>) -> Result {
    let set = Command::new("SET").arg(every_byte()).arg("value");
    assert_eq!(client.call(set).await?, Reply::Bytes(b"OK".to_vec()));
    let get = Command::new("GET").arg(every_byte());
    assert_eq!(client.call(get).await?, Reply::Bytes(b"value".to_vec()));
    Ok(())
}

#[robust_test(requires(server = "counters"))]
async fn every_command_answers_with_what_it_did(server: Server<Kv>, client: Client<Kv>) -> Result {
    assert_eq!(client.append("text", b"abc").await?, 3);
    assert_eq!(client.append("text", b"de").await?, 5);
    assert_eq!(client.get("text").await?.as_deref(), Some(&b"abcde"[..]));
    assert!(client.del("text").await?);
    assert!(!client.del("text").await?);
    assert_eq!(client.incr("count").await?, 1);
    assert_eq!(client.rpush("list", b"x").await?, 1);
    client.ping().await?;
    let refused = client.incr("list").await;
    assert!(
        matches!(&refused, Err(ClientError::Refused { message }) if message.starts_with("WRONGTYPE")),
        "{refused:?}"
    );
    // Through its own file and back.
    let operator = server.admin().await?;
    operator.run("DEBUG", &["RELOAD"]).await?;
    assert_eq!(client.incr("count").await?, 2);
    Ok(())
}

mod pipelines {
    use super::*;

    #[robust_test]
    async fn are_answered_in_order(_server: Server<Kv>, client: Client<Kv>) -> Result {
        let number = |number: usize| number.to_string().into_bytes();
        let commands = (0..500).flat_map(|n| {
            let key = format!("key {}", n % 7);
            let set = Command::new("SET").arg(&key).arg(number(n));
            [set, Command::new("GET").arg(key)]
        });
        let replies = client.pipeline(commands.collect()).await?;
        assert_eq!(replies.len(), 1000);
        for (n, pair) in replies.chunks(2).enumerate() {
            assert_eq!(pair, [Reply::Bytes(b"OK".to_vec()), Reply::Bytes(number(n))]);
        }
        Ok(())
    }

    #[robust_test(requires(server = "pipeline"))]
    async fn go_on_after_an_error(_server: Server<Kv>, client: Client<Kv>) -> Result {
        client.set("text", b"abc").await?;
        let commands = ["count", "text", "count"].map(|key| Command::new("INCR").arg(key));
        let replies = client.pipeline(commands.into()).await?;
        assert_eq!(
            (&replies[0], &replies[2]),
            (&Reply::Integer(1), &Reply::Integer(2))
        );
        assert!(
            matches!(&replies[1], Reply::Error(message) if message.contains("not an integer")),
            "{replies:?}"
        );
        Ok(())
    }

    /// Calls of many tasks share a connection: each gets its own reply.
    #[robust_test]
    async fn of_concurrent_calls_mix_up_no_replies(_server: Server<Kv>, client: Client<Kv>) -> Result {
        let calls = (0..200).map(|n| {
            let client = &*client;
            async move {
                let key = format!("key {n}");
                client.set(&key, key.as_bytes()).await?;
                assert_eq!(client.get(&key).await?, Some(key.into_bytes()));
                Ok::<_, Error>(())
            }
        });
        join_all(calls).await.into_iter().collect()
    }
}

mod counters {
    use super::*;

    const INCREMENTS: i64 = 100;

    /// What one of many clients does.
    async fn count(client: &dyn KvClient) -> Result {
        for _ in 0..INCREMENTS {
            client.incr("count").await?;
        }
        Ok(())
    }

    #[robust_test(requires(server = "counters"), timeout = "60s")]
    async fn count_every_increment_of_16_clients(_server: Server<Kv>, client: Client<Kv>) -> Result {
        const CLIENTS: usize = 16;
        Client::run_n(&client, RunN::new(CLIENTS), async |client, _| {
            count(&**client).await
        })
        .await?;
        assert_eq!(client.incr("count").await?, INCREMENTS * CLIENTS as i64 + 1);
        Ok(())
    }
}
