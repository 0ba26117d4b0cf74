//! What `mosquitto_pub` and `mosquitto_sub` print with `-d`, line by line, without I/O.

use crate::client::{Message, Qos, Retain};

/// The `-F` of `mosquitto_sub`: QoS, RETAIN, packet identifier, the payload in hexadecimal, and the topic to the end
/// of the line. libmosquitto takes a topic with a line break for malformed, as every control character.
pub(crate) const MESSAGE_FORMAT: &str = "MSG %q %r %m %X %t";

/// A line that says something that somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Printed {
    /// A CONNECT goes out; a second one is an attempt to connect again.
    Connecting,
    /// CONNACK with this code; 0 is success.
    Connected(u8),
    /// A PUBLISH with this identifier goes out.
    Sent(u16),
    /// PUBACK or PUBCOMP.
    Acknowledged(u16),
    /// SUBACK with the granted QoS, or 128.
    Subscribed(u8),
    /// A PUBLISH came in that says it may have come before.
    Duplicate(u16),
    /// A message, with its identifier; 0 at QoS 0.
    Message(u16, Message),
}

/// What `line` says, without its end; `None`: nothing that anybody waits for.
pub(crate) fn read(line: &[u8]) -> Option<Printed> {
    if let Some(rest) = line.strip_prefix(b"MSG ") {
        return message(rest);
    }
    let line = String::from_utf8_lossy(line);
    if let Some(rest) = line.strip_prefix("Subscribed (mid: ") {
        let (_, granted) = rest.split_once("): ")?;
        return granted.parse().ok().map(Printed::Subscribed);
    }
    // The client's name may hold anything, and is the same in each line: what is looked for comes after it.
    let rest = line.strip_prefix("Client ")?;
    let place = |what: &str| rest.split_once(what).map(|(_, after)| after);
    if place(" sending CONNECT").is_some_and(str::is_empty) {
        return Some(Printed::Connecting);
    }
    if let Some(after) = place(" received CONNACK (") {
        return after.strip_suffix(')')?.parse().ok().map(Printed::Connected);
    }
    if let Some(after) = place(" sending PUBLISH (") {
        return identifier(after).map(Printed::Sent);
    }
    for what in [" received PUBACK (Mid: ", " received PUBCOMP (Mid: "] {
        if let Some(after) = place(what) {
            return after
                .split([',', ')'])
                .next()?
                .parse()
                .ok()
                .map(Printed::Acknowledged);
        }
    }
    let after = place(" received PUBLISH (d1")?;
    identifier(after).map(Printed::Duplicate)
}

/// The `m7` of `d0, q1, r0, m7, 'topic', ..`.
fn identifier(parts: &str) -> Option<u16> {
    let mut parts = parts.split(", ");
    parts.find_map(|part| part.strip_prefix('m'))?.parse().ok()
}

fn message(rest: &[u8]) -> Option<Printed> {
    let mut parts = rest.splitn(5, |byte| *byte == b' ');
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<u16>().ok();
    let (qos, retain, id) = (number()?, number()?, number()?);
    let payload = bytes(parts.next()?)?;
    let topic = String::from_utf8(parts.next()?.to_vec()).ok()?;
    let mut message = Message::new(topic, payload, Qos::try_from(u8::try_from(qos).ok()?).ok()?);
    message.retain = Retain::from(retain == 1);
    Some(Printed::Message(id, message))
}

/// The bytes behind hexadecimal digits.
fn bytes(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = digits.chunks(2).map(|pair| match *pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_programs_are_read() {
        for (line, expected) in [
            ("Client p1 sending CONNECT", Printed::Connecting),
            ("Client p1 received CONNACK (0)", Printed::Connected(0)),
            ("Client p1 received CONNACK (5)", Printed::Connected(5)),
            (
                "Client p1 sending PUBLISH (d0, q1, r0, m12, 'a, m3', ... (6 bytes))",
                Printed::Sent(12),
            ),
            (
                "Client p1 received PUBACK (Mid: 12, RC:0)",
                Printed::Acknowledged(12),
            ),
            (
                "Client p1 received PUBCOMP (Mid: 2, RC:0)",
                Printed::Acknowledged(2),
            ),
            ("Subscribed (mid: 1): 128", Printed::Subscribed(128)),
            (
                "Client s 1 received PUBLISH (d1, q1, r0, m5, 'a/b', ... (0 bytes))",
                Printed::Duplicate(5),
            ),
        ] {
            assert_eq!(read(line.as_bytes()), Some(expected), "{line}");
        }
        for line in [
            "",
            "Client p1 sending DISCONNECT",
            "Client s1 received SUBACK",
            "Client s1 received PUBLISH (d0, q1, r0, m5, 'a/b', ... (0 bytes))",
            "Client s1 received PUBREC (Mid: 1)",
            "MSG 1 0",
            "MSG 1 0 7 6 a",
            "MSG 3 0 7 61 a",
        ] {
            assert_eq!(read(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_message_keeps_its_bytes_and_its_topic() {
        let mut expected = Message::new("été en ville", &b"\0\n\xff "[..], Qos::AtLeastOnce).retained();
        let line = "MSG 1 1 7 000AFF20 été en ville";
        assert_eq!(read(line.as_bytes()), Some(Printed::Message(7, expected.clone())));
        expected.payload.clear();
        let line = "MSG 1 1 7  été en ville";
        assert_eq!(read(line.as_bytes()), Some(Printed::Message(7, expected)));
    }
}
