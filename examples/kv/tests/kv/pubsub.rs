//! Messages.

use kv_suite::{Command, Subscriber};

use super::raw::Raw;
use super::*;

/// The next message, which must say `payload`.
async fn expect(subscriber: &mut dyn Subscriber, channel: &str, payload: impl AsRef<str>) -> Result {
    let payload = payload.as_ref();
    let message = subscriber
        .next(SOON)
        .await
        .context(format!("waiting for {payload:?}"))?;
    assert_eq!(
        (&*message.channel, &*String::from_utf8_lossy(&message.payload)),
        (channel, payload)
    );
    Ok(())
}

#[robust_test]
async fn each_subscriber_gets_each_message_in_order(
    _server: Server<Kv>,
    publisher: Client<Kv>,
    #[count(3)] clients: Vec<Client<Kv>>,
) -> Result {
    const MESSAGES: usize = 300;
    let mut subscribers = Vec::new();
    for client in &clients {
        let mut subscriber = client.subscriber().await?;
        subscriber.subscribe("news").await?;
        subscribers.push(subscriber);
    }
    for number in 0..MESSAGES {
        let heard = publisher.publish("news", number.to_string().as_bytes()).await?;
        assert_eq!(heard, 3);
    }
    for subscriber in &mut subscribers {
        for number in 0..MESSAGES {
            expect(&mut **subscriber, "news", number.to_string()).await?;
        }
    }
    Ok(())
}

#[robust_test]
async fn nothing_arrives_after_an_unsubscribe(
    _server: Server<Kv>,
    publisher: Client<Kv>,
    client: Client<Kv>,
) -> Result {
    let mut subscriber = client.subscriber().await?;
    for channel in ["news", "weather", "end"] {
        subscriber.subscribe(channel).await?;
    }
    publisher.publish("news", b"first").await?;
    publisher.publish("weather", b"rain").await?;
    expect(&mut *subscriber, "news", "first").await?;
    expect(&mut *subscriber, "weather", "rain").await?;
    subscriber.unsubscribe("news").await?;
    // The crate fred says so a moment before the server knows, once in some hundred runs: what is published until then
    // may arrive.
    eventually("the server knows", SOON, || async {
        publisher
            .publish("news", b"late")
            .await
            .map(|receivers| receivers == 0)
    })
    .await?;
    publisher.publish("news", b"second").await?;
    publisher.publish("end", b"end").await?;
    let mut next = subscriber.next(SOON).await?;
    while next.payload == b"late" {
        next = subscriber.next(SOON).await?;
    }
    assert_eq!((&*next.channel, &*next.payload), ("end", &b"end"[..]));
    subscriber.subscribe("news").await?;
    publisher.publish("news", b"third").await?;
    expect(&mut *subscriber, "news", "third").await?;
    Ok(())
}

/// With the crates' own defaults, and nobody slow: all messages are sent while the subscriber's task has no turn.
#[robust_test(known_failure(
    client = "fred",
    because = "fred keeps 32 messages for its receivers by default and drops older ones, also those of one burst, which its \
               own task reads in one go: types/config.rs, PerformanceConfig::broadcast_channel_capacity",
    expected = "the client dropped "
))]
async fn a_burst_arrives_with_the_crates_defaults(
    _server: Server<Kv>,
    publisher: Client<Kv>,
    client: Client<Kv>,
) -> Result {
    const MESSAGES: usize = 200;
    let mut options = client.options().clone();
    options.messages_max = 32;
    let mut subscriber = client.open(options).await?.subscriber().await?;
    subscriber.subscribe("news").await?;
    let commands = (0..MESSAGES).map(|number| {
        let number = number.to_string();
        Command::new("PUBLISH").arg("news").arg(number)
    });
    publisher.pipeline(commands.collect()).await?;
    for number in 0..MESSAGES {
        expect(&mut *subscriber, "news", number.to_string()).await?;
    }
    Ok(())
}

mod slow_subscribers {
    use super::*;

    const MESSAGE_BYTES: usize = 8 * 1024;
    /// More than the system's buffers hold, and 1,024 (what mini-redis keeps) beyond.
    const MESSAGES: usize = 2_000;

    fn flood_message(number: usize) -> Vec<u8> {
        let mut payload = format!("{number:05}").into_bytes();
        payload.resize(MESSAGE_BYTES, b'.');
        payload
    }

    async fn flood(publisher: &dyn KvClient) -> Result {
        let numbers: Vec<usize> = (0..MESSAGES).collect();
        for numbers in numbers.chunks(100) {
            let publish = |number: &usize| Command::new("PUBLISH").arg("flood").arg(flood_message(*number));
            publisher.pipeline(numbers.iter().map(publish).collect()).await?;
        }
        Ok(())
    }

    #[robust_test(
        pin(user = "default"),
        timeout = "60s",
        known_failure(
            server = "mini-redis",
            because = "mini-redis leaves out what a slow subscriber had no room for, and says nothing: cmd/subscribe.rs, \
                       subscribe_to_channel ignores RecvError::Lagged",
            expected = " messages"
        )
    )]
    async fn get_everything_or_are_disconnected(server: Server<Kv>, publisher: Client<Kv>) -> Result {
        let mut slow = Raw::connect(&server).await?;
        slow.subscribe("flood").await?;
        flood(&*publisher).await?;
        for number in 0..MESSAGES {
            // `None`: disconnected, which tells it that something is missing.
            let Some(payload) = slow.message().await? else {
                break;
            };
            let found = String::from_utf8_lossy(&payload[..5]);
            assert_eq!(found, format!("{number:05}"), "of {MESSAGES} messages");
        }
        Ok(())
    }

    #[robust_test(pin(user = "default"), timeout = "60s")]
    async fn do_not_stall_others(server: Server<Kv>, publisher: Client<Kv>, client: Client<Kv>) -> Result {
        let mut slow = Raw::connect(&server).await?;
        slow.subscribe("flood").await?;
        let mut subscriber = client.subscriber().await?;
        subscriber.subscribe("flood").await?;
        for number in 0..MESSAGES {
            publisher.publish("flood", &flood_message(number)).await?;
            let message = subscriber.next(SOON).await.context(format!("message {number}"))?;
            assert!(message.payload == flood_message(number), "message {number}");
        }
        Ok(())
    }

    #[robust_test(
        pin(user = "default"),
        timeout = "60s",
        known_failure(
            server = "mini-redis",
            because = "mini-redis does not stop while a subscriber does not read: it waits for every connection, and one that \
                       writes does not look whether it is to stop: cmd/subscribe.rs, apply",
            expected = "ignored its stopping token"
        )
    )]
    async fn do_not_keep_a_server_from_stopping(server: Server<Kv>, publisher: Client<Kv>) -> Result {
        let mut slow = Raw::connect(&server).await?;
        slow.subscribe("flood").await?;
        flood(&*publisher).await?;
        server.stop().await?;
        Ok(())
    }

    /// redis disconnects a subscriber for which more than `client-output-buffer-limit` waits: 32 MiB, or 8 MiB for
    /// 60 s.
    #[robust_test(pin(user = "default"), requires(server = "process"), timeout = "60s")]
    async fn are_disconnected_at_the_limit(server: Server<Kv>, publisher: Client<Kv>) -> Result {
        let operator = server.admin().await?;
        // Its configuration is no other case's.
        server.retire();
        operator
            .run("CONFIG", &["SET", "client-output-buffer-limit", "pubsub 1mb 0 0"])
            .await?;
        let mut slow = Raw::connect(&server).await?;
        slow.subscribe("flood").await?;
        flood(&*publisher).await?;
        let mut received = 0;
        while slow.message().await?.is_some() {
            received += 1;
        }
        assert!(received < MESSAGES, "it got all {received} messages");
        assert_eq!(publisher.publish("flood", b"end").await?, 0, "it is still there");
        Ok(())
    }
}
