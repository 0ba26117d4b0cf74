//! MQTT brokers and clients under robust-test: every broker with every pair of clients.
//!
//! What a client can do is `MqttClient`, in this package's library; the kinds below say how a broker is
//! started and how a client connects. Defects of the systems under test are `known_failure`s, each with its
//! cause: such a case fails when the defect is gone.
//!
//! "Nothing else arrives" is never shown by waiting: a last message is sent, and must come next.

use std::collections::BTreeSet;
use std::time::Duration;

use mqtt_suite::monitor::Monitor;
use mqtt_suite::mosquitto_clients::{self, Programs};
use mqtt_suite::nats_server::{self, Placed};
use mqtt_suite::{
    Broker, BrokerSettings, ClientError, ConnectOptions, Listen, Message, MqttClient, Persistence, Protocol,
    Qos, Retain, ServerTls, SessionPresent, embedded, mosquitto, rumqttc_v4, rumqttc_v5,
};
use robust_test::prelude::*;

#[path = "mqtt/churn.rs"]
mod churn;
#[path = "mqtt/clocks.rs"]
mod clocks;
#[path = "mqtt/cluster.rs"]
mod cluster;
#[path = "mqtt/hostile.rs"]
mod hostile;
#[path = "mqtt/network.rs"]
mod network;
#[path = "mqtt/raw.rs"]
mod raw;
#[path = "mqtt/secured.rs"]
mod secured;

/// The service under test.
struct Mqtt;

impl Service for Mqtt {
    type Client = dyn MqttClient;
    type Settings = BrokerSettings;
}

/// Where a node listens, with TLS or without.
fn listen(node: &Node<Mqtt>) -> Result<Listen> {
    Ok(Listen {
        v4: node.address("mqtt"),
        v5: node.address("mqtt5"),
        tls: tls(node)?,
    })
}

/// How a client on this machine reaches a node itself, whatever is in front of it.
fn itself(node: &Node<Mqtt>) -> Result<Broker> {
    let authority = match node.variant("tls") {
        "off" => None,
        _ => Some(node.tls()?.authority),
    };
    Ok(Broker {
        address: node.address("mqtt"),
        authority,
    })
}

/// That a broker takes a client.
async fn takes_a_client(broker: Broker, id: String) -> Result<(), ClientError> {
    let client = rumqttc_v4::connect(broker, ConnectOptions::new(id)).await?;
    client.disconnect().await
}

fn tls(node: &Node<Mqtt>) -> Result<Option<ServerTls>> {
    if node.variant("tls") == "off" {
        return Ok(None);
    }
    let files = node.tls()?;
    Ok(Some(ServerTls {
        certificate: files.certificate,
        key: files.key,
    }))
}

/// `rumqttd` in process. It has a port for each version of MQTT.
#[robust_server(Mqtt, provides("mqtt5", "qos2"), variants(tls = ["off", "on"]))]
async fn rumqttd(node: &mut Node<Mqtt>) -> Result<Instance> {
    let (listen, settings) = (listen(node)?, node.settings().clone());
    let broker = node
        .task(move |stopping| async move { embedded::serve(&listen, &settings, stopping.requested()).await });
    Ok(broker
        .ready_when(tcp("mqtt"))
        .ready_when(tcp("mqtt5"))
        .spawn()
        .await?)
}

/// `mosquitto`, which speaks every version of MQTT on each of its ports.
#[robust_server(
    Mqtt,
    name = "mosquitto",
    program = "mosquitto",
    provides("mqtt5", "qos2", "persistence", "process"),
    variants(tls = ["off", "on"])
)]
async fn start_mosquitto(node: &mut Node<Mqtt>) -> Result<Instance> {
    let config = mosquitto::render(&listen(node)?, &node.data_dir()?, node.settings());
    let config = node.write_file("mosquitto.conf", config)?;
    let broker = node.command("mosquitto").arg("-c").arg(config);
    Ok(broker
        .ready_when(tcp("mqtt"))
        .ready_when(tcp("mqtt5"))
        .spawn()
        .await?)
}

/// `nats-server`, which speaks MQTT 3.1.1 alone, and of it QoS 0 and 1.
#[robust_server(
    Mqtt,
    name = "nats-server",
    program = "nats-server",
    cluster,
    provides("persistence", "process"),
    variants(tls = ["off", "on"])
)]
async fn start_nats(node: &mut Node<Mqtt>) -> Result<Instance> {
    let members = node.members().into_iter().map(|member| nats_server::Member {
        name: member.name().to_owned(),
        route: member.address("route"),
        monitor: member.address("monitor"),
    });
    let members: Vec<_> = members.collect();
    let monitor = Monitor(node.address("monitor"));
    let placed = Placed {
        name: node.name(),
        mqtt: node.address("mqtt"),
        tls: tls(node)?,
        nats: node.address("nats"),
        monitor: monitor.0,
        route: node.address("route"),
        folder: &node.data_dir()?,
        members: &members,
    };
    let config = node.write_file("nats.conf", nats_server::render(&placed, node.settings()))?;
    let server = node.command("nats-server").arg("-c").arg(config);
    let mut server = server
        .ready_when(tcp("mqtt"))
        .ready_when(probe("JetStream has a leader", move || async move {
            monitor.is_serving().await
        }));
    // The first client of a cluster has all streams made, and is closed when that takes longer than 4 s.
    if members.len() > 1 && node.start() == 1 {
        let (broker, id) = (itself(node)?, format!("ready-{}", node.name()));
        server = server.ready_when(probe("a client is taken", move || {
            takes_a_client(broker.clone(), id.clone())
        }));
    }
    Ok(server.ready_within(SETTLED).spawn().await?)
}

impl AdminView for Mqtt {
    type Admin = Monitor;

    async fn admin(link: NodeLink) -> Result<Monitor> {
        Ok(Monitor(link.endpoint("monitor")))
    }
}

/// Of clusters of `nats-server`; no other broker here forms any.
impl ClusterView for Mqtt {
    async fn sees(link: NodeLink) -> Result<BTreeSet<String>> {
        Ok(Self::admin(link).await?.connected().await?)
    }

    async fn leader(link: NodeLink) -> Result<Option<String>> {
        Ok(Self::admin(link).await?.leader().await?)
    }
}

/// How a client reaches its broker at the port of this name.
fn broker(link: &ClientLink, port: &str) -> Result<Broker> {
    let authority = match link.server_variant("tls") {
        "on" => Some(link.tls()?.authority),
        _ => None,
    };
    Ok(Broker {
        address: link.endpoint(port),
        authority,
    })
}

/// MQTT 3.1.1.
#[robust_client(Mqtt, provides("unsubscribe", "subscribe-again", "stop-reading", "stay-away"))]
async fn rumqttc(link: ClientLink) -> Result<Box<dyn MqttClient>> {
    let options = ConnectOptions::new(link.client_id());
    Ok(rumqttc_v4::connect(broker(&link, "mqtt")?, options).await?)
}

/// MQTT 5.
#[robust_client(
    Mqtt,
    name = "rumqttc-v5",
    requires("mqtt5"),
    provides("unsubscribe", "subscribe-again", "stop-reading", "stay-away")
)]
async fn connect_v5(link: ClientLink) -> Result<Box<dyn MqttClient>> {
    let options = ConnectOptions::new(link.client_id());
    Ok(rumqttc_v5::connect(broker(&link, "mqtt5")?, options).await?)
}

/// `mosquitto_sub`, and `mosquitto_pub` beside it, at MQTT 3.1.1: they neither unsubscribe nor subscribe a second
/// time, read all there is, and connect again when they are replaced.
#[robust_client(Mqtt, name = "mosquitto-clients", program = "mosquitto_sub")]
async fn run_mosquitto_clients(link: ClientLink) -> Result<Box<dyn MqttClient>> {
    let subscribe = link.program()?;
    let programs = Programs {
        publish: subscribe.with_file_name("mosquitto_pub"),
        subscribe,
    };
    let options = ConnectOptions::new(link.client_id());
    Ok(mosquitto_clients::connect(programs, broker(&link, "mqtt")?, options).await?)
}

/// How long the members of a cluster may take to agree: nats-server waits 4 to 9 s before it elects.
const SETTLED: Duration = secs(30);

/// How long a message may take.
const SOON: Duration = secs(5);

/// The next message, which must say `payload`.
async fn expect(client: &dyn MqttClient, payload: impl AsRef<str>) -> Result<Message> {
    let payload = payload.as_ref();
    let message = client
        .next(SOON)
        .await
        .context(format!("waiting for {payload:?}"))?;
    if message.text() == payload {
        Ok(message)
    } else {
        Err(error(format!("expected {payload:?}, and {message:?} arrived")))
    }
}

/// The next message that is not the broker's own, which it publishes under `$`. Whether those may match a wildcard,
/// [`wildcards::at_the_beginning_match_nothing_of_the_brokers_own`] tells.
async fn next_of_clients(client: &dyn MqttClient) -> Result<Message> {
    loop {
        let message = client.next(SOON).await?;
        if !message.topic.starts_with('$') {
            return Ok(message);
        }
    }
}

/// That a client says this of the session that the broker kept for it, where it says anything.
#[track_caller]
fn assert_session(told: SessionPresent, expected: SessionPresent) {
    assert!(told == expected || told == SessionPresent::Unknown, "{told:?}");
}

mod delivery {
    use super::*;

    const MESSAGES: usize = 100;

    #[robust_test(
        exclude(broker = "nats-server", qos = "2", because = "nats-server 2.9 has no QoS 2"),
        timeout = "30s"
    )]
    async fn each_message_arrives_once_and_in_order(
        _broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        subscriber: Client<Mqtt>,
        #[values(0, 1, 2)] qos: u8,
    ) -> Result {
        let qos = Qos::try_from(qos)?;
        assert_eq!(subscriber.subscribe("news", qos).await?, qos);
        for number in 0..MESSAGES {
            publisher
                .publish("news", number.to_string().as_bytes(), qos)
                .await?;
        }
        publisher.publish("news", b"end", qos).await?;
        for number in 0..MESSAGES {
            let message = expect(&*subscriber, number.to_string()).await?;
            assert_eq!(message, Message::new("news", number.to_string(), qos));
        }
        expect(&*subscriber, "end").await?;
        Ok(())
    }

    #[robust_test(known_failure(
        broker = "rumqttd",
        because = "rumqttd delivers at the subscription's QoS, also what was published at a lower one [MQTT-3.8.4-6]: \
                   router/routing.rs, forward_device_data",
        expected = "left: ExactlyOnce"
    ))]
    async fn a_message_keeps_its_qos_in_a_subscription_of_a_higher_one(
        _broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        subscriber: Client<Mqtt>,
        #[values(0, 1)] qos: u8,
    ) -> Result {
        let qos = Qos::try_from(qos)?;
        subscriber.subscribe("news", Qos::ExactlyOnce).await?;
        publisher.publish("news", b"x", qos).await?;
        assert_eq!(expect(&*subscriber, "x").await?.qos, qos);
        Ok(())
    }

    #[robust_test(
        known_failure(
            broker = "rumqttd",
            topic = "latin",
            because = "rumqttd looks for a `$` in a topic's first byte, which panics when that is a part of a character, and \
                       ends the router for everybody: protocol/mod.rs, matches",
            expected("connection lost", "the router ended by itself")
        ),
        known_failure(
            broker = "rumqttd",
            topic = "emoji",
            because = "rumqttd looks for a `$` in a topic's first byte, which panics when that is a part of a character, and \
                       ends the router for everybody: protocol/mod.rs, matches",
            expected("connection lost", "the router ended by itself")
        ),
        known_failure(
            broker = "nats-server",
            topic = "space",
            because = "nats-server makes a topic a subject of NATS, which cannot hold a space or a dot, and ends the connection \
                       that publishes to one [MQTT-4.7.3]: server/mqtt.go, mqttToNATSSubjectConversion",
            expected = "connection lost"
        ),
        known_failure(
            broker = "nats-server",
            topic = "dot",
            because = "nats-server makes a topic a subject of NATS, which cannot hold a space or a dot, and ends the connection \
                       that publishes to one [MQTT-4.7.3]: server/mqtt.go, mqttToNATSSubjectConversion",
            expected = "connection lost"
        )
    )]
    async fn a_topic_may_begin_with_any_character(
        _broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        subscriber: Client<Mqtt>,
        #[values(ascii = "etat", latin = "état", emoji = "🚲", space = " a", dot = ".a")] topic: &str,
    ) -> Result {
        subscriber.subscribe("#", Qos::AtLeastOnce).await?;
        publisher.publish(topic, b"x", Qos::AtLeastOnce).await?;
        assert_eq!(next_of_clients(&*subscriber).await?.topic, topic);
        Ok(())
    }

    #[robust_test(timeout = "30s")]
    async fn many_publishers_keep_each_its_order(
        _broker: Server<Mqtt>,
        #[count(16)] publishers: Vec<Client<Mqtt>>,
        subscriber: Client<Mqtt>,
    ) -> Result {
        subscriber.subscribe("from/+", Qos::AtLeastOnce).await?;
        let count = publishers.len();
        let mut publishing = tokio::task::JoinSet::new();
        for (index, publisher) in publishers.into_iter().enumerate() {
            publishing.spawn(async move {
                let topic = format!("from/{index}");
                for number in 0..MESSAGES {
                    let payload = number.to_string();
                    publisher
                        .publish(&topic, payload.as_bytes(), Qos::AtLeastOnce)
                        .await?;
                }
                Ok::<_, ClientError>(())
            });
        }
        let mut expected = vec![0; count];
        for _ in 0..count * MESSAGES {
            let message = subscriber.next(SOON).await?;
            let index: usize = message.topic.trim_start_matches("from/").parse()?;
            assert_eq!(
                message.text(),
                expected[index].to_string(),
                "of publisher {index}"
            );
            expected[index] += 1;
        }
        while let Some(published) = publishing.join_next().await {
            published??;
        }
        Ok(())
    }
}

mod retained {
    use super::*;

    #[robust_test(exclude(broker = "nats-server", qos = "2", because = "nats-server 2.9 has no QoS 2"))]
    async fn the_last_one_greets_a_new_subscriber(
        _broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        subscriber: Client<Mqtt>,
        #[values(0, 1, 2)] qos: u8,
    ) -> Result {
        let qos = Qos::try_from(qos)?;
        subscriber.subscribe("weather", Qos::ExactlyOnce).await?;
        publisher.retain("weather", b"rain", qos).await?;
        publisher.retain("weather", b"sun", qos).await?;
        for payload in ["rain", "sun"] {
            let live = expect(&*subscriber, payload).await?;
            assert_eq!(
                live.retain,
                Retain::No,
                "it was subscribed when this was published"
            );
        }
        let late = Client::connect_another(&subscriber).await?;
        late.subscribe("weather", Qos::ExactlyOnce).await?;
        assert_eq!(expect(&*late, "sun").await?.retain, Retain::Yes);
        publisher.publish("weather", b"end", qos).await?;
        expect(&*late, "end").await?;
        Ok(())
    }

    #[robust_test]
    async fn an_empty_one_removes_it(
        _broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        subscriber: Client<Mqtt>,
    ) -> Result {
        publisher.retain("weather", b"rain", Qos::AtLeastOnce).await?;
        publisher.retain("weather", b"", Qos::AtLeastOnce).await?;
        subscriber.subscribe("weather", Qos::AtLeastOnce).await?;
        publisher.publish("weather", b"end", Qos::AtLeastOnce).await?;
        expect(&*subscriber, "end").await?;
        Ok(())
    }

    #[robust_test(known_failure(
        broker = "rumqttd",
        because = "rumqttd removes the retained message for any empty one, whatever its RETAIN flag [MQTT-3.3.1-12]: \
                   router/routing.rs, append_to_commitlog",
        expected = "expected \"rain\", and weather: \"end\""
    ))]
    async fn an_empty_one_that_is_not_retained_removes_nothing(
        _broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        subscriber: Client<Mqtt>,
    ) -> Result {
        publisher.retain("weather", b"rain", Qos::AtLeastOnce).await?;
        publisher.publish("weather", b"", Qos::AtLeastOnce).await?;
        subscriber.subscribe("weather", Qos::AtLeastOnce).await?;
        publisher.publish("weather", b"end", Qos::AtLeastOnce).await?;
        expect(&*subscriber, "rain").await?;
        Ok(())
    }

    #[robust_test(
        requires(subscriber = "subscribe-again"),
        known_failure(
            broker = "rumqttd",
            because = "rumqttd ignores a subscription that exists, and its retained messages with it [MQTT-3.8.4-3]: \
                   router/routing.rs, prepare_filter",
            expected = "expected \"rain\", and weather: \"end\""
        )
    )]
    async fn they_are_sent_again_to_who_subscribes_again(
        _broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        subscriber: Client<Mqtt>,
    ) -> Result {
        publisher.retain("weather", b"rain", Qos::AtLeastOnce).await?;
        for _ in 0..2 {
            subscriber.subscribe("weather", Qos::AtLeastOnce).await?;
            publisher.publish("weather", b"end", Qos::AtLeastOnce).await?;
            expect(&*subscriber, "rain").await?;
            expect(&*subscriber, "end").await?;
        }
        Ok(())
    }

    #[robust_test(known_failure(
        broker = "rumqttd",
        because = "rumqttd sends a new subscription at most 100 retained messages (200 at QoS 0) and drops the rest: \
                   router/routing.rs, forward_device_data truncates",
        expected = "and weather/end: \"end\""
    ))]
    async fn all_of_them_are_sent(
        _broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        subscriber: Client<Mqtt>,
        #[values(0, 1)] qos: u8,
    ) -> Result {
        const TOPICS: usize = 201;
        for number in 0..TOPICS {
            publisher
                .retain(&format!("weather/{number}"), b"rain", Qos::AtLeastOnce)
                .await?;
        }
        subscriber.subscribe("weather/+", Qos::try_from(qos)?).await?;
        publisher.publish("weather/end", b"end", Qos::AtLeastOnce).await?;
        for _ in 0..TOPICS {
            expect(&*subscriber, "rain").await?;
        }
        expect(&*subscriber, "end").await?;
        Ok(())
    }
}

mod wildcards {
    use super::*;

    const TOPICS: [&str; 7] = ["a", "a/b", "a/b/c", "/a", "a/", "a//c", "b/b"];

    /// MQTT 3.1.1, 4.7: what of [`TOPICS`] a filter matches.
    const FILTERS: [(&str, &[&str]); 9] = [
        ("#", &["a", "a/b", "a/b/c", "/a", "a/", "a//c", "b/b"]),
        ("+", &["a"]),
        ("a/#", &["a", "a/b", "a/b/c", "a/", "a//c"]),
        ("a/+", &["a/b", "a/"]),
        ("+/+", &["a/b", "/a", "a/", "b/b"]),
        ("/+", &["/a"]),
        ("a/+/c", &["a/b/c", "a//c"]),
        ("+/b/#", &["a/b", "a/b/c", "b/b"]),
        ("a/b", &["a/b"]),
    ];

    #[robust_test(requires(subscriber = "unsubscribe"))]
    async fn match_whole_levels(
        _broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        subscriber: Client<Mqtt>,
    ) -> Result {
        for (filter, matching) in FILTERS {
            subscriber.subscribe(filter, Qos::AtLeastOnce).await?;
            for topic in TOPICS {
                publisher.publish(topic, b"x", Qos::AtLeastOnce).await?;
            }
            // Messages of one topic keep their order, those of different topics need not.
            for topic in matching {
                publisher.publish(topic, b"end", Qos::AtLeastOnce).await?;
            }
            let (mut arrived, mut ended) = (BTreeSet::new(), 0);
            while ended < matching.len() {
                let message = next_of_clients(&*subscriber)
                    .await
                    .context(format!("subscribed to {filter}"))?;
                if message.text() == "end" {
                    ended += 1;
                } else {
                    assert!(arrived.insert(message.topic.clone()), "twice: {message:?}");
                }
            }
            let expected = matching.iter().map(|topic| (*topic).to_owned()).collect();
            assert_eq!(arrived, expected, "subscribed to {filter}");
            subscriber.unsubscribe(filter).await?;
        }
        Ok(())
    }

    #[robust_test(known_failure(
        broker = "nats-server",
        because = "nats-server hands a filter to NATS, where `*` and `>` are wildcards: server/mqtt.go, \
                   mqttToNATSSubjectConversion leaves them as they are",
        expected = "and a/b: \"x\""
    ))]
    async fn are_plus_and_hash_and_nothing_else(
        _broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        subscriber: Client<Mqtt>,
        #[values(star = "a/*", greater = "a/>")] filter: &str,
    ) -> Result {
        subscriber.subscribe(filter, Qos::AtLeastOnce).await?;
        publisher.publish("a/b", b"x", Qos::AtLeastOnce).await?;
        publisher.publish(filter, b"end", Qos::AtLeastOnce).await?;
        expect(&*subscriber, "end").await?;
        Ok(())
    }

    #[robust_test(known_failure(
        broker = "nats-server",
        because = "nats-server matches its own subjects with `#` and `+`, and a topic's `$` is nothing to it \
                   [MQTT-4.7.2-1]: a subscription to # is sent what sessions store and what is published in them",
        expected = "and $"
    ))]
    async fn at_the_beginning_match_nothing_of_the_brokers_own(
        _broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        subscriber: Client<Mqtt>,
        #[values(all = "#", levels = "+/+")] filter: &str,
    ) -> Result {
        subscriber.subscribe(filter, Qos::AtLeastOnce).await?;
        publisher.publish("$a/b", b"x", Qos::AtLeastOnce).await?;
        publisher.publish("a/b", b"end", Qos::AtLeastOnce).await?;
        assert_eq!(expect(&*subscriber, "end").await?.topic, "a/b");
        Ok(())
    }
}

mod last_will {
    use super::*;

    /// Connects under a name of its own: see [`of_a_connection_that_replaces_another_waits_for_its_own_end`].
    async fn connect_with_will(client: &dyn MqttClient, payload: &str, qos: Qos) -> Result {
        let options = ConnectOptions::new(format!("{}-{payload}", client.options().client_id));
        client.connect(options.will("died", payload, qos)).await?;
        Ok(())
    }

    #[robust_test(exclude(broker = "nats-server", qos = "2", because = "nats-server 2.9 has no QoS 2"))]
    async fn is_published_for_a_client_that_was_killed(
        _broker: Server<Mqtt>,
        dying: Client<Mqtt>,
        observer: Client<Mqtt>,
        #[values(0, 1, 2)] qos: u8,
    ) -> Result {
        let qos = Qos::try_from(qos)?;
        observer.subscribe("died", qos).await?;
        for payload in ["first", "second"] {
            connect_with_will(&*dying, payload, qos).await?;
            dying.publish("died", b"not yet", qos).await?;
            expect(&*observer, "not yet").await?;
            dying.abort().await;
            assert_eq!(
                expect(&*observer, payload).await?,
                Message::new("died", payload, qos)
            );
        }
        Ok(())
    }

    #[robust_test]
    async fn is_not_published_for_one_that_disconnects(
        _broker: Server<Mqtt>,
        leaving: Client<Mqtt>,
        observer: Client<Mqtt>,
    ) -> Result {
        observer.subscribe("died", Qos::AtLeastOnce).await?;
        connect_with_will(&*leaving, "never", Qos::AtLeastOnce).await?;
        leaving.disconnect().await?;
        connect_with_will(&*leaving, "now", Qos::AtLeastOnce).await?;
        leaving.abort().await;
        expect(&*observer, "now").await?;
        Ok(())
    }

    #[robust_test(
        requires(client = "stay-away"),
        known_failure(
            broker = "rumqttd",
            because = "rumqttd keeps one last will a client id, so the end of a connection publishes that of the connection \
                   which replaced it: server/broker.rs, remote; router/routing.rs, handle_last_will",
            expected = "and died: \"too soon\""
        )
    )]
    async fn of_a_connection_that_replaces_another_waits_for_its_own_end(
        _broker: Server<Mqtt>,
        client: Client<Mqtt>,
        observer: Client<Mqtt>,
    ) -> Result {
        observer.subscribe("died", Qos::AtLeastOnce).await?;
        let replacement = Client::connect_another(&client).await?;
        let same_id = ConnectOptions::new(client.options().client_id);
        replacement
            .connect(same_id.will("died", "too soon", Qos::AtLeastOnce))
            .await?;
        let replaced = client.next(SOON).await;
        assert!(matches!(replaced, Err(ClientError::Lost { .. })), "{replaced:?}");
        // A will that is published wrongly comes before one of these.
        for number in 0..20 {
            replacement
                .publish("died", number.to_string().as_bytes(), Qos::AtLeastOnce)
                .await?;
            expect(&*observer, number.to_string()).await?;
        }
        Ok(())
    }
}

mod sessions {
    use super::*;

    /// How a subscriber goes away.
    enum Leave {
        Politely,
        Abruptly,
    }

    async fn leave(client: &dyn MqttClient, how: &Leave) -> Result {
        match how {
            Leave::Politely => client.disconnect().await?,
            Leave::Abruptly => client.abort().await,
        }
        Ok(())
    }

    #[robust_test(
        exclude(broker = "nats-server", qos = "2", because = "nats-server 2.9 has no QoS 2"),
        exclude(
            broker = "nats-server",
            subscriber = "mosquitto-clients",
            left = "politely",
            because = "mosquitto_sub does not wait until its DISCONNECT is read, and what nats-server sends it until then comes \
                       30 s late: send_first_what_was_under_way"
        ),
        timeout = "30s"
    )]
    async fn keep_what_was_published_meanwhile(
        _broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        subscriber: Client<Mqtt>,
        #[values(1, 2)] qos: u8,
        #[values(politely = Leave::Politely, abruptly = Leave::Abruptly)] left: Leave,
    ) -> Result {
        const MESSAGES: usize = 500;
        let qos = Qos::try_from(qos)?;
        // Its last will tells when the broker has noticed; what happens before that, `send_first_what_was_under_way`
        // shows.
        let session = subscriber.options().persistent();
        let session = session.will("left", "abruptly", Qos::AtLeastOnce);
        publisher.subscribe("left", Qos::AtLeastOnce).await?;
        assert_session(subscriber.connect(session.clone()).await?, SessionPresent::No);
        subscriber.subscribe("news", qos).await?;
        leave(&*subscriber, &left).await?;
        if let Leave::Abruptly = left {
            expect(&*publisher, "abruptly").await?;
        }
        for number in 0..MESSAGES {
            publisher
                .publish("news", number.to_string().as_bytes(), qos)
                .await?;
        }
        assert_session(subscriber.connect(session.clone()).await?, SessionPresent::Yes);
        publisher.publish("news", b"end", qos).await?;
        for number in 0..MESSAGES {
            expect(&*subscriber, number.to_string()).await?;
        }
        expect(&*subscriber, "end").await?;
        leave(&*subscriber, &left).await?;
        assert_session(subscriber.connect(session.clean()).await?, SessionPresent::No);
        Ok(())
    }

    #[robust_test(
        requires(subscriber = "stop-reading"),
        known_failure(
            broker = "nats-server",
            because = "nats-server sends what a connection left unacknowledged again when JetStream's ack_wait is over, 30 s \
                       after it was sent, and later messages before it [MQTT-4.4.0-1], [MQTT-4.6.0-1]",
            expected = "and news: \"end\""
        )
    )]
    async fn send_first_what_was_under_way(
        _broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        subscriber: Client<Mqtt>,
    ) -> Result {
        let session = subscriber.options().persistent();
        subscriber.connect(session.clone()).await?;
        subscriber.subscribe("news", Qos::AtLeastOnce).await?;
        subscriber.stop_reading()?;
        for number in 0..10 {
            publisher
                .publish("news", number.to_string().as_bytes(), Qos::AtLeastOnce)
                .await?;
        }
        subscriber.abort().await;
        assert_session(subscriber.connect(session).await?, SessionPresent::Yes);
        publisher.publish("news", b"end", Qos::AtLeastOnce).await?;
        for number in 0..10 {
            expect(&*subscriber, number.to_string()).await?;
        }
        expect(&*subscriber, "end").await?;
        Ok(())
    }

    #[robust_test(
        requires(subscriber = "unsubscribe"),
        known_failure(
            broker = "rumqttd",
            because = "rumqttd answers no UNSUBSCRIBE in a resumed session, and goes on delivering: the new connection is \
                   not in its subscription_map: router/routing.rs, handle_new_connection",
            expected = "no answer within"
        )
    )]
    async fn can_be_unsubscribed_after_they_are_resumed(
        _broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        subscriber: Client<Mqtt>,
    ) -> Result {
        let mut session = subscriber.options().persistent();
        session.deadline = secs(2);
        subscriber.connect(session.clone()).await?;
        subscriber.subscribe("news", Qos::AtLeastOnce).await?;
        subscriber.disconnect().await?;
        subscriber.connect(session).await?;
        subscriber.unsubscribe("news").await?;
        subscriber.subscribe("end", Qos::AtLeastOnce).await?;
        publisher.publish("news", b"news", Qos::AtLeastOnce).await?;
        publisher.publish("end", b"end", Qos::AtLeastOnce).await?;
        expect(&*subscriber, "end").await?;
        Ok(())
    }

    #[robust_test(
        requires(client = "unsubscribe"),
        known_failure(
            broker = "rumqttd",
            because = "rumqttd does not answer an UNSUBSCRIBE from what is not subscribed to [MQTT-3.10.4-5]: \
                   router/routing.rs, handle_device_payload",
            expected = "no answer within"
        )
    )]
    async fn answer_who_unsubscribes_from_nothing(_broker: Server<Mqtt>, client: Client<Mqtt>) -> Result {
        let mut options = client.options();
        options.deadline = secs(2);
        client.connect(options).await?;
        client.unsubscribe("never/subscribed").await?;
        Ok(())
    }
}

mod restarts {
    use super::*;

    const TOPICS: usize = 50;

    /// Retains messages and leaves one for an absent client with a session, each acknowledged.
    pub(super) async fn fill(publisher: &dyn MqttClient, absent: &dyn MqttClient) -> Result {
        absent.connect(absent.options().persistent()).await?;
        absent.subscribe("news", Qos::AtLeastOnce).await?;
        absent.disconnect().await?;
        for number in 0..TOPICS {
            publisher
                .retain(&format!("weather/{number}"), b"rain", Qos::AtLeastOnce)
                .await?;
        }
        publisher.publish("news", b"kept", Qos::AtLeastOnce).await?;
        Ok(())
    }

    /// That [`fill`] lasted.
    pub(super) async fn check(publisher: &dyn MqttClient, absent: &dyn MqttClient) -> Result {
        publisher.connect(publisher.options()).await?;
        publisher.subscribe("weather/+", Qos::AtLeastOnce).await?;
        publisher.publish("weather/end", b"end", Qos::AtLeastOnce).await?;
        for number in 0..TOPICS {
            expect(publisher, "rain")
                .await
                .context(format!("message {number} of {TOPICS}"))?;
        }
        expect(publisher, "end").await?;
        assert_session(absent.connect(absent.options()).await?, SessionPresent::Yes);
        expect(absent, "kept").await?;
        Ok(())
    }

    #[robust_test(requires(broker = "persistence"), timeout = "30s")]
    async fn keep_what_was_acknowledged(
        broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        absent: Client<Mqtt>,
    ) -> Result {
        fill(&*publisher, &*absent).await?;
        broker.restart().await?;
        check(&*publisher, &*absent).await
    }

    #[robust_test(
        requires(broker = "persistence"),
        timeout = "30s",
        known_failure(
            broker = "mosquitto",
            because = "mosquitto saves at a clean exit and every autosave_interval, 30 minutes by default: a SIGKILL loses \
                       what it has acknowledged since",
            expected = "and weather/end: \"end\""
        )
    )]
    async fn after_a_kill_keep_what_was_acknowledged(
        broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        absent: Client<Mqtt>,
    ) -> Result {
        fill(&*publisher, &*absent).await?;
        broker.kill().await?;
        broker.restart().await?;
        check(&*publisher, &*absent).await
    }

    /// With `autosave_on_changes` mosquitto acknowledges first and saves then, so the last acknowledged
    /// message may still be lost. It serves nobody while it saves: one more answer, and it has.
    #[robust_test(
        requires(publisher = "unsubscribe"),
        requires(broker = "persistence"),
        timeout = "30s"
    )]
    async fn after_a_kill_keep_what_was_saved(
        #[settings(BrokerSettings { persistence: Persistence::OnChange, ..BrokerSettings::default() })]
        broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        absent: Client<Mqtt>,
    ) -> Result {
        fill(&*publisher, &*absent).await?;
        publisher.unsubscribe("an/answer").await?;
        broker.kill().await?;
        broker.restart().await?;
        check(&*publisher, &*absent).await
    }
}

mod slow_subscribers {
    use super::*;

    const MESSAGES: usize = 400;
    const MESSAGE_BYTES: usize = 32 * 1024;

    fn flood_message(number: usize) -> Vec<u8> {
        let mut payload = format!("{number:05}").into_bytes();
        payload.resize(MESSAGE_BYTES, b'.');
        payload
    }

    /// Connects anew with a small buffer, subscribes and stops reading.
    async fn stall(client: &dyn MqttClient, qos: Qos) -> Result {
        let mut options = client.options();
        options.receive_buffer_bytes = Some(16 * 1024);
        client.connect(options).await?;
        client.subscribe("flood", qos).await?;
        client.stop_reading()?;
        Ok(())
    }

    /// Stalls it with much of what is published under way, and connects another client under its id.
    async fn stall_and_replace(publisher: &Client<Mqtt>, slow: &Client<Mqtt>) -> Result<Client<Mqtt>> {
        stall(&**slow, Qos::AtMostOnce).await?;
        for number in 0..MESSAGES {
            publisher
                .publish("flood", &flood_message(number), Qos::AtLeastOnce)
                .await?;
        }
        let replacement = Client::connect_another(slow).await?;
        replacement
            .connect(ConnectOptions::new(slow.options().client_id))
            .await?;
        Ok(replacement)
    }

    #[robust_test(
        exclude(broker = "nats-server", qos = "2", because = "nats-server 2.9 has no QoS 2"),
        known_failure(
            broker = "rumqttd",
            broker.tls = "on",
            because = "over TLS rumqttd sometimes keeps the last of many messages until it has more to send: \
                       link/network.rs writes and never flushes",
            expected = "no message within",
            intermittent
        ),
        requires(subscriber = "stop-reading"),
        timeout = "60s"
    )]
    async fn do_not_stall_others_and_lose_nothing(
        _broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        subscriber: Client<Mqtt>,
        #[values(0, 1, 2)] qos: u8,
    ) -> Result {
        let qos = Qos::try_from(qos)?;
        let slow = Client::connect_another(&subscriber).await?;
        stall(&*slow, qos).await?;
        subscriber.subscribe("flood", qos).await?;
        for number in 0..MESSAGES {
            let payload = flood_message(number);
            publisher.publish("flood", &payload, qos).await?;
            let message = subscriber.next(SOON).await.context(format!("message {number}"))?;
            assert!(message.payload == payload, "expected {number}, got {message:?}");
        }
        slow.resume_reading()?;
        for number in 0..MESSAGES {
            let message = slow
                .next(SOON)
                .await
                .context(format!("message {number} of the slow one"))?;
            assert!(
                message.payload == flood_message(number),
                "expected {number}, got {message:?}"
            );
        }
        Ok(())
    }

    #[robust_test(
        requires(slow = "stop-reading"),
        timeout = "60s",
        known_failure(
            broker = "rumqttd",
            because = "rumqttd ends a connection by a number that the next one has got by then: router/routing.rs, \
                       handle_disconnection; server/broker.rs, remote",
            expected = "connection lost"
        )
    )]
    async fn can_be_replaced_by_a_new_connection_of_the_client(
        _broker: Server<Mqtt>,
        publisher: Client<Mqtt>,
        slow: Client<Mqtt>,
    ) -> Result {
        let replacement = stall_and_replace(&publisher, &slow).await?;
        replacement.subscribe("news", Qos::AtLeastOnce).await?;
        slow.abort().await;
        // The broker has to notice the end of the first connection; what it does then shows within this.
        for number in 0..20 {
            publisher
                .publish("news", number.to_string().as_bytes(), Qos::AtLeastOnce)
                .await?;
            expect(&*replacement, number.to_string()).await?;
        }
        Ok(())
    }

    #[robust_test(
        requires(slow = "stop-reading"),
        timeout = "60s",
        known_failure(
            broker = "rumqttd",
            because = "rumqttd tells its router that a connection is ready for more under a number that is gone by then, which \
                       panics and ends the router for everybody: router/scheduler.rs, reschedule",
            expected("connection lost", "the router ended by itself")
        )
    )]
    async fn that_were_replaced_harm_nobody_when_they_resume(
        _broker: Server<Mqtt>,
        // These connect for each message; whom rumqttd is about to serve when its router dies, it waits for with a thread
        // that nothing can end: link/local.rs, LinkBuilder::build.
        #[except("mosquitto-clients")] publisher: Client<Mqtt>,
        slow: Client<Mqtt>,
    ) -> Result {
        let replacement = stall_and_replace(&publisher, &slow).await?;
        replacement.disconnect().await?;
        slow.resume_reading()?;
        while slow.next(SOON).await.is_ok() {}
        publisher.publish("news", b"x", Qos::AtLeastOnce).await?;
        Ok(())
    }

    #[robust_test(
        requires(slow = "stop-reading"),
        timeout = "60s",
        known_failure(
            broker = "rumqttd",
            because = "rumqttd tells its router that a connection is ready for more under a number that the next one has got by then, \
                       which in a debug build panics and ends the router for everybody: router/scheduler.rs, Tracker::try_ready",
            expected("connection lost", "the router ended by itself")
        )
    )]
    async fn that_were_replaced_harm_nobody_when_they_resume_beside_the_next_one(
        _broker: Server<Mqtt>,
        #[except("mosquitto-clients")] publisher: Client<Mqtt>,
        slow: Client<Mqtt>,
    ) -> Result {
        let replacement = stall_and_replace(&publisher, &slow).await?;
        replacement.subscribe("news", Qos::AtLeastOnce).await?;
        publisher.publish("news", b"before", Qos::AtLeastOnce).await?;
        expect(&*replacement, "before").await?;
        slow.resume_reading()?;
        while slow.next(SOON).await.is_ok() {}
        publisher.publish("news", b"after", Qos::AtLeastOnce).await?;
        expect(&*replacement, "after").await?;
        Ok(())
    }
}

mod clients {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A broker of a few bytes, because no real one can be made to cut a handshake at this place.
    #[robust_test(known_failure(
        because = "rumqttc drops the connection for a PUBREL it does not know, each time it reconnects: \
                   https://github.com/bytebeamio/rumqtt/issues/664",
        expected = "the answer to PUBREL"
    ))]
    async fn complete_a_delivery_whose_handshake_was_cut(
        #[values(v311 = Protocol::V311, v5 = Protocol::V5)] protocol: Protocol,
    ) -> Result {
        const CONNACK_SESSION_PRESENT: [&[u8]; 2] = [b"\x20\x02\x01\x00", b"\x20\x03\x01\x00\x00"];
        const PUBREL_1: &[u8] = b"\x62\x02\x00\x01";
        const PUBCOMP: u8 = 0x70;

        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let broker = async {
            let (mut socket, _) = listener.accept().await?;
            let mut packet = [0; 1024];
            assert!(socket.read(&mut packet).await? > 0, "a CONNECT comes first");
            let connack = CONNACK_SESSION_PRESENT[usize::from(protocol == Protocol::V5)];
            socket.write_all(&[connack, PUBREL_1].concat()).await?;
            let length = tokio::time::timeout(SOON, socket.read(&mut packet)).await??;
            Ok::<_, Error>(packet[..length].to_vec())
        };
        let options = ConnectOptions::new("resuming").persistent();
        let connect = async {
            match protocol {
                Protocol::V311 => rumqttc_v4::connect(address, options).await,
                Protocol::V5 => rumqttc_v5::connect(address, options).await,
            }
        };
        let (answer, client) = tokio::join!(broker, connect);
        let _connected = client?;
        assert_eq!(answer?.first(), Some(&PUBCOMP), "the answer to PUBREL");
        Ok(())
    }
}

robust_test::main!();
