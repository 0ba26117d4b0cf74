//! What no client's crate sends. A server answers it with an error, and serves everybody else as before.

use super::raw::Raw;
use super::*;

/// That the server serves new connections and old ones.
async fn is_unharmed(server: &Server<Kv>, client: &dyn KvClient) -> Result {
    client.set("key", b"value").await?;
    let mut raw = Raw::connect(server).await?;
    assert_eq!(raw.ask(&["get", "key"]).await?, "$5");
    Ok(())
}

#[robust_test(
    pin(user = "default"),
    known_failure(
        server = "mini-redis",
        because = "mini-redis closes the connection for a command with wrong arguments, without an answer: server.rs, \
               Handler::run returns at the error of Command::from_frame",
        expected = "the server closed the connection"
    )
)]
async fn wrong_arguments_are_answered_with_an_error(
    server: Server<Kv>,
    client: Client<Kv>,
    #[values(too_few = &["get"], too_many = &["get", "a", "b"], no_option = &["set", "a", "b", "c"])]
    words: &'static [&'static str],
) -> Result {
    let mut raw = Raw::connect(&server).await?;
    let answer = raw.ask(words).await?;
    assert!(answer.starts_with("-ERR"), "{answer}");
    assert_eq!(raw.ask(&["get", "no such key"]).await?, "$-1");
    is_unharmed(&server, &*client).await
}

#[robust_test(pin(user = "default"))]
async fn an_unknown_command_is_answered_with_an_error(server: Server<Kv>, client: Client<Kv>) -> Result {
    let mut raw = Raw::connect(&server).await?;
    let answer = raw.ask(&["no-such-command", "a"]).await?;
    assert!(answer.starts_with("-ERR unknown command"), "{answer}");
    assert_eq!(raw.ask(&["get", "no such key"]).await?, "$-1");
    is_unharmed(&server, &*client).await
}

#[robust_test(
    pin(user = "default"),
    known_failure(
        server = "mini-redis",
        because = "mini-redis panics while it holds the lock of all data when an expiry is beyond what a clock can say; the lock is \
               poisoned, and every command of everybody fails from then on: db.rs, Db::set",
        expected("the connection was lost", "the server closed the connection")
    )
)]
async fn an_endless_expiry_harms_nobody(server: Server<Kv>, client: Client<Kv>) -> Result {
    let mut raw = Raw::connect(&server).await?;
    raw.command(&["set", "a", "b", "ex", "18446744073709551615"])
        .await?;
    let _refused = raw.line().await;
    is_unharmed(&server, &*client).await
}

#[robust_test(
    pin(user = "default"),
    known_failure(
        server = "mini-redis",
        because = "mini-redis closes the connection for an impossible length, without an answer, after a panic where overflows are \
               checked: frame.rs, Frame::check adds 2 to it",
        expected = "the server closed the connection"
    )
)]
async fn an_impossible_length_is_answered_with_an_error(server: Server<Kv>, client: Client<Kv>) -> Result {
    let mut raw = Raw::connect(&server).await?;
    raw.send(b"*2\r\n$3\r\nget\r\n$18446744073709551615\r\nabc\r\n")
        .await?;
    let answer = raw.line().await?;
    assert!(answer.starts_with("-ERR Protocol error"), "{answer}");
    is_unharmed(&server, &*client).await
}

#[robust_test(
    pin(user = "default"),
    known_failure(
        server = "mini-redis",
        because = "mini-redis follows arrays in arrays without a limit, and a message of 400 kB overflows its stack, which ends the \
               whole process: frame.rs, Frame::check calls itself",
        expected = "SIGABRT"
    )
)]
async fn nested_arrays_harm_nobody(server: Server<Kv>, client: Client<Kv>) -> Result {
    let mut raw = Raw::connect(&server).await?;
    // The server may close the connection before it has all of it.
    let _closed = raw.send(&b"*1\r\n".repeat(100_000)).await;
    let _answer = raw.line().await;
    is_unharmed(&server, &*client).await
}

#[robust_test(pin(user = "default"))]
async fn a_command_in_many_pieces_is_one(server: Server<Kv>, client: Client<Kv>) -> Result {
    let mut raw = Raw::connect(&server).await?;
    for byte in b"*3\r\n$3\r\nset\r\n$3\r\nkey\r\n$5\r\nvalue\r\n" {
        raw.send(&[*byte]).await?;
        tokio::task::yield_now().await;
    }
    assert_eq!(raw.line().await?, "+OK");
    assert_eq!(client.get("key").await?.as_deref(), Some(&b"value"[..]));
    Ok(())
}

#[robust_test(pin(user = "default"))]
async fn half_a_command_is_forgotten_with_its_connection(server: Server<Kv>, client: Client<Kv>) -> Result {
    let mut raw = Raw::connect(&server).await?;
    raw.send(b"*3\r\n$3\r\nset\r\n$3\r\nkey\r\n$5\r\nval").await?;
    drop(raw);
    is_unharmed(&server, &*client).await
}

mod subscriptions {
    use super::*;

    #[robust_test(
        pin(user = "default"),
        known_failure(
            server = "mini-redis",
            because = "mini-redis closes the connection for an UNSUBSCRIBE before any SUBSCRIBE: cmd/mod.rs, Command::apply",
            expected = "the server closed the connection"
        )
    )]
    async fn may_be_ended_before_there_are_any(server: Server<Kv>, client: Client<Kv>) -> Result {
        let mut raw = Raw::connect(&server).await?;
        assert_eq!(raw.ask(&["unsubscribe", "news"]).await?, "*3");
        is_unharmed(&server, &*client).await
    }

    #[robust_test(
        pin(user = "default"),
        known_failure(
            server = "mini-redis",
            because = "mini-redis never leaves a connection's subscribed mode: after the last UNSUBSCRIBE it still refuses GET as \
                   unknown: cmd/subscribe.rs, Subscribe::apply",
            expected = "unknown command 'get'"
        )
    )]
    async fn leave_a_connection_for_commands_when_they_end(server: Server<Kv>, client: Client<Kv>) -> Result {
        let mut raw = Raw::connect(&server).await?;
        raw.subscribe("news").await?;
        assert_eq!(raw.ask(&["unsubscribe", "news"]).await?, "*3");
        for _ in 0..5 {
            raw.line().await?;
        }
        assert_eq!(raw.ask(&["get", "no such key"]).await?, "$-1");
        is_unharmed(&server, &*client).await
    }
}
