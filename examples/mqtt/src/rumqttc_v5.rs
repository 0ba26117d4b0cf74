//! The client `rumqttc-v5`: MQTT 5 over the crate `rumqttc`.

use std::sync::Arc;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    LastWill, PubAckReason, PubCompReason, PubRecReason, SubscribeReasonCode, UnsubAckReason,
};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

use crate::client::{Broker, ClientError, ConnectOptions, Message, MqttClient, Protocol, Qos, Session};
use crate::connection::{Over, Packet, Packets, REQUESTS_MAX, Requests, Wire};
use crate::ledger::{Answer, Kind};
use crate::rumqttc_v4::{network_options, outgoing};
use crate::trust;

/// Connects to a broker that speaks MQTT 5 at `broker`.
///
/// # Errors
/// [`ClientError::Connect`].
pub async fn connect(
    broker: impl Into<Broker>,
    options: ConnectOptions,
) -> Result<Box<dyn MqttClient>, ClientError> {
    Over::<V5>::connect(broker.into(), options).await
}

/// Session Expiry Interval: never (MQTT 5, 3.1.2.11.2).
const NEVER: u32 = u32::MAX;

struct V5;

impl Wire for V5 {
    const PROTOCOL: Protocol = Protocol::V5;
    type Requests = AsyncClient;
    type Packets = EventLoop;

    fn open(broker: &Broker, options: &ConnectOptions) -> Result<(AsyncClient, EventLoop), String> {
        let (host, port) = (broker.address.ip().to_string(), broker.address.port());
        let mut given = MqttOptions::new(&options.client_id, host, port);
        given.set_transport(trust::transport(broker)?);
        given.set_keep_alive(options.keep_alive);
        given.set_clean_start(options.session == Session::Clean);
        if options.session == Session::Persistent {
            given.set_session_expiry_interval(Some(NEVER));
        }
        // Without a limit the library allocates a place for each of the 65,535 packet identifiers.
        given.set_outgoing_inflight_upper_limit(options.max_in_flight);
        given.set_max_packet_size(Some(options.max_packet_bytes));
        given.set_network_options(network_options(options));
        given.set_connection_timeout(options.deadline.as_secs().max(1));
        if let Some(will) = &options.will {
            let will = &will.0;
            given.set_last_will(LastWill::new(
                &will.topic,
                will.payload.clone(),
                to_wire(will.qos),
                will.retain.into(),
                None,
            ));
        }
        Ok(AsyncClient::new(given, REQUESTS_MAX))
    }
}

impl Requests for AsyncClient {
    fn publish(&self, message: Message) -> Result<(), String> {
        let Message {
            topic, payload, qos, ..
        } = message;
        self.try_publish(topic, to_wire(qos), message.retain.into(), payload)
            .map_err(|error| error.to_string())
    }

    fn subscribe(&self, filter: &str, qos: Qos) -> Result<(), String> {
        self.try_subscribe(filter, to_wire(qos))
            .map_err(|error| error.to_string())
    }

    fn unsubscribe(&self, filter: &str) -> Result<(), String> {
        self.try_unsubscribe(filter).map_err(|error| error.to_string())
    }

    fn disconnect(&self) -> Result<(), String> {
        self.try_disconnect().map_err(|error| error.to_string())
    }
}

impl Packets for EventLoop {
    async fn next(&mut self) -> Result<Packet, String> {
        match self.poll().await {
            Ok(Event::Incoming(packet)) => incoming(packet),
            Ok(Event::Outgoing(packet)) => Ok(outgoing(packet)),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn incoming(packet: rumqttc::v5::Incoming) -> Result<Packet, String> {
    use rumqttc::v5::Incoming as In;
    Ok(match packet {
        In::ConnAck(ack) => Packet::Connected(ack.session_present.into()),
        In::PubAck(ack) => {
            let outcome = match ack.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(Answer::PubAck),
                refused => Err(words(&refused)),
            };
            Packet::Answered(Kind::Publish, ack.pkid, outcome)
        }
        In::PubRec(ack) => match ack.reason {
            PubRecReason::Success | PubRecReason::NoMatchingSubscribers => Packet::Other,
            refused => Packet::Answered(Kind::Publish, ack.pkid, Err(words(&refused))),
        },
        In::PubComp(ack) => {
            let outcome = match ack.reason {
                PubCompReason::Success => Ok(Answer::PubComp),
                refused => Err(words(&refused)),
            };
            Packet::Answered(Kind::Publish, ack.pkid, outcome)
        }
        In::UnsubAck(ack) => {
            // MQTT 3.1.1 answers the same whether there was a subscription or not; so does this.
            let outcome = match ack.reasons[..] {
                [] | [UnsubAckReason::Success | UnsubAckReason::NoSubscriptionExisted] => {
                    Ok(Answer::UnsubAck)
                }
                ref refused => Err(words(refused)),
            };
            Packet::Answered(Kind::Unsubscribe, ack.pkid, outcome)
        }
        In::SubAck(ack) => {
            let outcome = match ack.return_codes[..] {
                [SubscribeReasonCode::Success(qos)] => Ok(Answer::SubAck(from_wire(qos))),
                ref refused => Err(words(refused)),
            };
            Packet::Answered(Kind::Subscribe, ack.pkid, outcome)
        }
        In::Publish(publish) => Packet::Message(Message {
            topic: String::from_utf8(publish.topic.into())
                .map_err(|error| format!("a topic is not UTF-8: {error}"))?,
            payload: publish.payload.into(),
            qos: from_wire(publish.qos),
            retain: publish.retain.into(),
            duplicate: publish.dup,
        }),
        In::Disconnect(disconnect) => {
            return Err(format!(
                "DISCONNECT from the broker: {:?}",
                disconnect.reason_code
            ));
        }
        _ => Packet::Other,
    })
}

fn words<T: std::fmt::Debug + ?Sized>(refused: &T) -> Arc<str> {
    format!("{refused:?}").into()
}

fn to_wire(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
        Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn from_wire(qos: QoS) -> Qos {
    match qos {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce => Qos::AtLeastOnce,
        QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
}
