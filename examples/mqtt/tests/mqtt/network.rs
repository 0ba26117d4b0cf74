//! Connections that are reset, cut, lost and throttled, by a proxy between one client and its broker.
//!
//! `mosquitto_pub` connects again by itself and says nothing of it, so these look at clients that tell when their
//! connection is gone.

use std::collections::BTreeSet;

use super::*;

/// The link between a client and its broker.
fn link(client: &Client<Mqtt>) -> Proxy {
    let port = match Client::kind(client) {
        "rumqttc-v5" => "mqtt5",
        _ => "mqtt",
    };
    Client::proxy(client, port)
}

/// Bytes lost in the middle of a stream leave a connection of no use: it is reset, and made again.
async fn connect_again(client: &Client<Mqtt>) -> Result {
    link(client).reset_connections().await?;
    client.connect(client.options()).await?;
    Ok(())
}

#[robust_test(
    exclude(broker = "nats-server", qos = "2", because = "nats-server 2.9 has no QoS 2"),
    timeout = "60s"
)]
async fn resets_lose_nothing_that_was_acknowledged(
    _broker: Server<Mqtt>,
    #[proxied]
    #[except("mosquitto-clients")]
    publisher: Client<Mqtt>,
    subscriber: Client<Mqtt>,
    #[values(1, 2)] qos: u8,
) -> Result {
    const MESSAGES: usize = 100;
    const RESETS: usize = 5;
    let qos = Qos::try_from(qos)?;
    subscriber.subscribe("news", qos).await?;
    let (mut acknowledged, mut lost) = (BTreeSet::new(), 0);
    for number in 0..MESSAGES {
        if number % (MESSAGES / RESETS) == 10 {
            link(&publisher).reset_connections().await?;
        }
        match publisher
            .publish("news", number.to_string().as_bytes(), qos)
            .await
        {
            Ok(()) => drop(acknowledged.insert(number.to_string())),
            Err(ClientError::Lost { .. } | ClientError::NotConnected) => {
                lost += 1;
                publisher.connect(publisher.options()).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    assert!(lost >= RESETS, "{lost} of {RESETS} resets were felt");
    publisher.publish("news", b"end", qos).await?;
    let mut arrived = BTreeSet::new();
    loop {
        let message = subscriber.next(SOON).await?;
        if message.text() == "end" {
            break;
        }
        arrived.insert(message.text().into_owned());
    }
    let missing: Vec<_> = acknowledged.difference(&arrived).collect();
    assert!(
        missing.is_empty(),
        "acknowledged and never delivered: {missing:?}"
    );
    Ok(())
}

#[robust_test(timeout = "60s")]
async fn a_message_whose_acknowledgement_is_lost_is_not_acknowledged(
    _broker: Server<Mqtt>,
    #[proxied]
    #[except("mosquitto-clients")]
    publisher: Client<Mqtt>,
    subscriber: Client<Mqtt>,
) -> Result {
    subscriber.subscribe("news", Qos::AtLeastOnce).await?;
    let impatient = ConnectOptions {
        deadline: secs(1),
        ..publisher.options()
    };
    publisher.connect(impatient).await?;
    let hole = link(&publisher).add(Toxic::black_hole());
    let told = publisher.publish("news", b"told", Qos::AtLeastOnce).await;
    assert!(told.is_err(), "an acknowledgement came through a black hole");
    expect(&*subscriber, "told").await?;
    assert!(hole.hits().bytes > 0, "{:?}", hole.hits());
    hole.change(Toxic::black_hole().upstream());
    let unheard = publisher.publish("news", b"unheard", Qos::AtLeastOnce).await;
    assert!(
        unheard.is_err(),
        "an acknowledgement of what the broker never got"
    );
    hole.remove();
    connect_again(&publisher).await?;
    publisher.publish("news", b"heard", Qos::AtLeastOnce).await?;
    expect(&*subscriber, "heard").await?;
    Ok(())
}

#[robust_test(timeout = "60s")]
async fn a_client_behind_a_cut_cable_is_given_up_and_its_will_is_published(
    _broker: Server<Mqtt>,
    #[proxied]
    #[except("mosquitto-clients")]
    cut_off: Client<Mqtt>,
    observer: Client<Mqtt>,
) -> Result {
    observer.subscribe("died", Qos::AtLeastOnce).await?;
    // Under a name of its own: see `last_will`.
    let options = ConnectOptions {
        keep_alive: secs(5),
        ..ConnectOptions::new("cut-off-by-a-proxy")
    };
    cut_off
        .connect(options.will("died", "cut off", Qos::AtLeastOnce))
        .await?;
    let cut = link(&cut_off).add(Toxic::stall().both());
    // One and a half times the keep alive [MQTT-3.1.2-24], and what the broker takes to look.
    let will = observer.next(secs(30)).await?;
    assert_eq!(will.text(), "cut off");
    assert!(cut.hits().any(), "nothing was held");
    Ok(())
}

#[robust_test(timeout = "60s")]
async fn bytes_may_come_a_few_at_a_time(
    _broker: Server<Mqtt>,
    #[proxied] publisher: Client<Mqtt>,
    #[proxied] subscriber: Client<Mqtt>,
) -> Result {
    let sliced = || Toxic::slicer(3, 2, std::time::Duration::ZERO).both();
    let slicers = [link(&publisher).add(sliced()), link(&subscriber).add(sliced())];
    subscriber.subscribe("news", Qos::AtLeastOnce).await?;
    let payload = "0123456789".repeat(200);
    for _ in 0..3 {
        publisher
            .publish("news", payload.as_bytes(), Qos::AtLeastOnce)
            .await?;
        expect(&*subscriber, &payload).await?;
    }
    for slicer in slicers {
        assert!(
            slicer.hits().bytes > 3 * payload.len() as u64,
            "{:?}",
            slicer.hits()
        );
    }
    Ok(())
}

#[robust_test(timeout = "60s")]
async fn a_subscriber_behind_a_narrow_line_gets_all_and_holds_up_nobody(
    _broker: Server<Mqtt>,
    publisher: Client<Mqtt>,
    #[proxied] slow: Client<Mqtt>,
    fast: Client<Mqtt>,
) -> Result {
    const MESSAGES: usize = 40;
    for subscriber in [&slow, &fast] {
        subscriber.subscribe("flood", Qos::AtLeastOnce).await?;
    }
    let narrow = link(&slow).add(Toxic::bandwidth(200_000));
    let payload = |number: usize| format!("{number:02}").repeat(4000);
    for number in 0..MESSAGES {
        publisher
            .publish("flood", payload(number).as_bytes(), Qos::AtLeastOnce)
            .await?;
        expect(&*fast, payload(number)).await?;
    }
    for number in 0..MESSAGES {
        expect(&*slow, payload(number)).await?;
    }
    assert!(narrow.hits().bytes >= (MESSAGES * payload(0).len()) as u64);
    Ok(())
}
