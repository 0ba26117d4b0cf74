//! The client `rumqttc`: MQTT 3.1.1 over the crate `rumqttc`.

use rumqttc::{
    AsyncClient, Event, EventLoop, LastWill, MqttOptions, NetworkOptions, Outgoing, QoS, SubscribeReasonCode,
};

use crate::client::{Broker, ClientError, ConnectOptions, Message, MqttClient, Protocol, Qos, Session};
use crate::connection::{Over, Packet, Packets, REQUESTS_MAX, Requests, Wire};
use crate::ledger::{Answer, Kind};
use crate::trust;

/// Connects to a broker that speaks MQTT 3.1.1 at `broker`.
///
/// # Errors
/// [`ClientError::Connect`].
pub async fn connect(
    broker: impl Into<Broker>,
    options: ConnectOptions,
) -> Result<Box<dyn MqttClient>, ClientError> {
    Over::<V4>::connect(broker.into(), options).await
}

struct V4;

impl Wire for V4 {
    const PROTOCOL: Protocol = Protocol::V311;
    type Requests = AsyncClient;
    type Packets = EventLoop;

    fn open(broker: &Broker, options: &ConnectOptions) -> Result<(AsyncClient, EventLoop), String> {
        let (host, port) = (broker.address.ip().to_string(), broker.address.port());
        let mut given = MqttOptions::new(&options.client_id, host, port);
        given.set_transport(trust::transport(broker)?);
        given.set_keep_alive(options.keep_alive);
        given.set_clean_session(options.session == Session::Clean);
        given.set_inflight(options.max_in_flight);
        let packet_bytes_max = options.max_packet_bytes as usize;
        given.set_max_packet_size(packet_bytes_max, packet_bytes_max);
        if let Some(will) = &options.will {
            let will = &will.0;
            given.set_last_will(LastWill::new(
                &will.topic,
                will.payload.clone(),
                to_wire(will.qos),
                will.retain.into(),
            ));
        }
        let (client, mut events) = AsyncClient::new(given, REQUESTS_MAX);
        events.set_network_options(network_options(options));
        Ok((client, events))
    }
}

/// What both versions set on the socket.
pub(crate) fn network_options(options: &ConnectOptions) -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(options.deadline.as_secs().max(1));
    if let Some(bytes) = options.receive_buffer_bytes {
        network.set_tcp_recv_buffer_size(bytes);
    }
    network
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
            Ok(Event::Incoming(packet)) => Ok(incoming(packet)),
            Ok(Event::Outgoing(packet)) => Ok(outgoing(packet)),
            Err(error) => Err(error.to_string()),
        }
    }
}

pub(crate) fn outgoing(packet: Outgoing) -> Packet {
    match packet {
        Outgoing::Publish(id) => Packet::Sent(Kind::Publish, id),
        Outgoing::Subscribe(id) => Packet::Sent(Kind::Subscribe, id),
        Outgoing::Unsubscribe(id) => Packet::Sent(Kind::Unsubscribe, id),
        Outgoing::Disconnect => Packet::Disconnecting,
        _ => Packet::Other,
    }
}

fn incoming(packet: rumqttc::Packet) -> Packet {
    use rumqttc::Packet as In;
    match packet {
        In::ConnAck(ack) => Packet::Connected(ack.session_present.into()),
        In::PubAck(ack) => Packet::Answered(Kind::Publish, ack.pkid, Ok(Answer::PubAck)),
        In::PubComp(ack) => Packet::Answered(Kind::Publish, ack.pkid, Ok(Answer::PubComp)),
        In::UnsubAck(ack) => Packet::Answered(Kind::Unsubscribe, ack.pkid, Ok(Answer::UnsubAck)),
        In::SubAck(ack) => {
            let outcome = match ack.return_codes[..] {
                [SubscribeReasonCode::Success(qos)] => Ok(Answer::SubAck(from_wire(qos))),
                ref codes => Err(format!("{codes:?}").into()),
            };
            Packet::Answered(Kind::Subscribe, ack.pkid, outcome)
        }
        In::Publish(publish) => Packet::Message(Message {
            topic: publish.topic,
            payload: publish.payload.into(),
            qos: from_wire(publish.qos),
            retain: publish.retain.into(),
            duplicate: publish.dup,
        }),
        _ => Packet::Other,
    }
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
