//! Peers that send brokers and clients what they never should get, while others' messages go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use robust_test::hostile::{Attack, Corpus, Hostile, HostileServer, Watch};
use robust_test::network::{Recording, Stream};

use super::raw::{CONNECT, connect_of, greets};
use super::*;

/// The port that a client of this kind connects to.
fn port(client: &Client<Mqtt>) -> &'static str {
    match Client::kind(client) {
        "rumqttc-v5" => "mqtt5",
        _ => "mqtt",
    }
}

/// What a client says to its broker and is told, in a talk that has something of everything.
async fn recorded(client: &Client<Mqtt>, qos: Qos) -> Result<Vec<Recording>> {
    let proxy = Client::proxy(client, port(client));
    proxy.record(1 << 20);
    client.connect(client.options()).await?;
    client.subscribe("recorded/#", qos).await?;
    client.publish("recorded/a", b"x", Qos::AtMostOnce).await?;
    client.publish("recorded/b", &[b'y'; 300], qos).await?;
    client.retain("recorded/c", b"z", qos).await?;
    for _ in 0..3 {
        client.next(SOON).await?;
    }
    client.retain("recorded/c", b"", qos).await?;
    client.disconnect().await?;
    let mut talks = proxy.recordings();
    // The end of the connection before this talk is none.
    talks.retain(|talk| talk.sent(Stream::Upstream).first() == Some(&CONNECT));
    Ok(talks)
}

#[robust_test(
    pin(tls = "off"),
    known_failure(
        broker = "rumqttd",
        because = "a client that is reset before its CONNACK leaves its id behind in rumqttd; the next one of that id makes it panic \
                   while it holds the lock of all those ids, and nobody can connect from then on: server/broker.rs, remote",
        expected = "it is accepted"
    )
)]
async fn a_client_that_is_reset_before_it_is_accepted_may_come_again(broker: Server<Mqtt>) -> Result {
    use tokio::io::AsyncWriteExt as _;
    // The reset has to come before CONNACK is written: some of them do.
    for _ in 0..50 {
        let mut stream = tokio::net::TcpStream::connect(broker.endpoint("mqtt")).await?;
        stream.write_all(&connect_of("again")).await?;
        stream.set_zero_linger()?;
    }
    // nats-server keeps an id that comes too often away for a second.
    let greeted = || async { greets(broker.endpoint("mqtt"), "again").await.map(Done) };
    eventually("it is accepted", SOON, greeted).await?;
    Ok(())
}

/// A packet that a client never sends, as CONNACK, is the end of its connection.
#[robust_test(
    pin(tls = "off"),
    exclude(
        broker = "nats-server",
        port = "mqtt5",
        because = "nats-server 2.9 has no MQTT 5"
    ),
    known_failure(
        broker = "rumqttd",
        port = "mqtt5",
        because = "rumqttd takes CONNACK and UNSUBACK from a client for impossible, and panics at them: protocol/v5/mod.rs, read_mut",
        expected = "entered unreachable code"
    )
)]
async fn a_packet_that_only_brokers_send_ends_its_connection_alone(
    broker: Server<Mqtt>,
    #[values(mqtt = "mqtt", mqtt5 = "mqtt5")] port: &str,
) -> Result {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(broker.endpoint(port)).await?;
    stream.write_all(&[0x20, 2, 0, 0]).await?;
    let mut answer = Vec::new();
    // A reset is an end too.
    let _reset = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await?;
    assert!(answer.is_empty(), "it is answered with {answer:x?}");
    greets(broker.endpoint("mqtt"), "other").await.map(drop)
}

/// What rumqttd bears. By the others it is ended as the scenarios before this one and
/// `that_were_replaced_harm_nobody_when_they_resume_beside_the_next_one` show, now or then.
const BORNE_BY_RUMQTTD: [Attack; 5] = [
    Attack::Truncated,
    Attack::Oversized,
    Attack::Garbage,
    Attack::Slowloris,
    Attack::HalfOpen,
];

#[robust_test(
    pin(tls = "off"),
    known_failure(
        broker = "rumqttd",
        speaker = "rumqttc-v5",
        because = "rumqttd panics at what begins as CONNACK or UNSUBACK on its port for MQTT 5, as garbage does now and then",
        expected = "entered unreachable code",
        intermittent
    ),
    timeout = "90s"
)]
async fn peers_harm_no_broker_and_lose_nobodys_messages(
    case: Case,
    broker: Server<Mqtt>,
    #[proxied]
    #[only("rumqttc", "rumqttc-v5")]
    speaker: Client<Mqtt>,
    #[only("rumqttc")] publisher: Client<Mqtt>,
    #[only("rumqttc")] subscriber: Client<Mqtt>,
) -> Result {
    let recordings = recorded(&speaker, Qos::AtLeastOnce).await?;
    subscriber.subscribe("healthy", Qos::AtLeastOnce).await?;
    // Each under an id of its own: nats-server keeps one that comes too often away for a second.
    let (greeted, looks) = (broker.endpoint("mqtt"), Arc::new(AtomicU64::new(0)));
    let answers = move || {
        let id = format!("look-{}", looks.fetch_add(1, Ordering::Relaxed));
        async move { greets(greeted, &id).await.map(drop) }
    };
    let peers = Hostile::against(&case, broker.name(), broker.endpoint(port(&speaker)))
        .with(Corpus::recorded(&recordings, Stream::Upstream))
        .watching(Watch::of(&broker).answers(answers))
        .attacks(150)
        .for_at_most(secs(20));
    let peers = match Server::kind(&broker) {
        "rumqttd" => peers.only(BORNE_BY_RUMQTTD),
        _ => peers,
    };
    let is_over = std::cell::Cell::new(false);
    let attacking = async {
        let report = peers.run().await;
        is_over.set(true);
        report
    };
    let working = async {
        let mut number = 0;
        while !is_over.get() {
            let text = number.to_string();
            publisher
                .publish("healthy", text.as_bytes(), Qos::AtLeastOnce)
                .await?;
            expect(&*subscriber, &text).await?;
            number += 1;
        }
        Ok::<_, Error>(number)
    };
    let (report, messages) = tokio::join!(attacking, working);
    assert!(report?.attacks() > 20);
    assert!(messages? > 0, "nobody was served meanwhile");
    Ok(())
}

#[robust_test(pin(tls = "off"), timeout = "90s")]
async fn a_client_of_a_hostile_broker_ends_what_it_does(
    case: Case,
    broker: Server<Mqtt>,
    #[proxied]
    #[only("rumqttc", "rumqttc-v5")]
    client: Client<Mqtt>,
    #[values(instead = false, between = true)] place: bool,
) -> Result {
    const TRIES: usize = 30;
    let recordings = recorded(&client, Qos::AtLeastOnce).await?;
    let hostile = HostileServer::new(&case, "hostile broker").deadline(secs(1));
    let hostile = match place {
        true => hostile.in_front_of(broker.endpoint(port(&client))),
        false => hostile
            .with(Corpus::recorded(&recordings, Stream::Downstream))
            .only(Attack::DRAWN),
    };
    let hostile = hostile.listen()?;
    let mut failed = 0;
    for number in 0..TRIES {
        let options = ConnectOptions {
            deadline: secs(2),
            ..ConnectOptions::new(format!("tries-{number}"))
        };
        let trying = async {
            let client = client.open(hostile.address().into(), options).await?;
            client.subscribe("tried/#", Qos::AtLeastOnce).await?;
            client.publish("tried/a", b"x", Qos::AtLeastOnce).await?;
            client.next(secs(2)).await?;
            Ok::<_, ClientError>(())
        };
        failed += usize::from(hostile.until_ended("a talk", secs(15), trying).await?.is_err());
    }
    assert!(failed > 0, "nothing was spoilt in {TRIES} talks");
    assert!(hostile.finish()?.attacks() > 0);
    // The real one is not harmed by what came through.
    client.connect(client.options()).await?;
    client.publish("after", b"x", Qos::AtLeastOnce).await?;
    Ok(())
}
