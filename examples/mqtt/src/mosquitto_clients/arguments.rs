//! The command lines of `mosquitto_pub` and `mosquitto_sub`. Nothing here runs them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::client::{Broker, ClientError, ConnectOptions, Message, Retain};

/// A command line.
pub(super) struct Arguments {
    pub(super) program: OsString,
    pub(super) arguments: Vec<OsString>,
    pub(super) broker: Broker,
}

impl Arguments {
    /// What every connection says: where to, under which name, how.
    pub(super) fn new(program: &Path, broker: &Broker, name: &str, options: &ConnectOptions) -> Self {
        let mut all = Self {
            program: program.as_os_str().to_owned(),
            arguments: Vec::new(),
            broker: broker.clone(),
        };
        all.flag("-d");
        all.flag("--nodelay");
        all.option("-V", "mqttv311");
        all.option("-h", host(broker));
        all.option("-p", broker.address.port().to_string());
        all.option("-i", name);
        all.option("-k", options.keep_alive.as_secs().to_string());
        if let Some(authority) = &broker.authority {
            all.option("--cafile", authority);
        }
        all
    }

    pub(super) fn flag(&mut self, flag: &str) {
        self.arguments.push(flag.into());
    }

    pub(super) fn option(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.flag(name);
        self.arguments.push(value.as_ref().to_owned());
    }

    /// Adds a last will.
    ///
    /// # Errors
    /// Of a payload with a zero in it, which no argument can have.
    pub(super) fn will(&mut self, will: &Message) -> Result<(), ClientError> {
        if will.payload.contains(&0) {
            return Err(ClientError::Refused {
                what: "a last will".into(),
                reason: "its payload is an argument, which cannot hold a zero".into(),
            });
        }
        self.option("--will-topic", &will.topic);
        if !will.payload.is_empty() {
            self.option("--will-payload", OsStr::from_bytes(&will.payload));
        }
        self.option("--will-qos", (will.qos as u8).to_string());
        if will.retain == Retain::Yes {
            self.flag("--will-retain");
        }
        Ok(())
    }
}

/// What the programs call the host. With TLS they send it to the server as it is (SNI), also an address, which RFC 6066
/// (section 3) forbids, and which rustls 0.22, that is rumqttd, refuses for it.
fn host(broker: &Broker) -> String {
    match broker.authority.is_some() && broker.address.ip().is_loopback() {
        true => "localhost".to_owned(),
        false => broker.address.ip().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Qos;

    fn words(arguments: &Arguments) -> Vec<String> {
        let words = arguments.arguments.iter();
        words.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_command_line_says_where_who_and_whom_to_trust() {
        let mut broker = Broker::from(std::net::SocketAddr::from(([127, 0, 0, 1], 1883)));
        broker.authority = Some("/ca.pem".into());
        let options = ConnectOptions::new("x");
        let mut arguments = Arguments::new(Path::new("mosquitto_sub"), &broker, "name", &options);
        arguments
            .will(&Message::new("died", "bye", Qos::ExactlyOnce).retained())
            .unwrap();
        assert_eq!(
            words(&arguments).join(" "),
            "-d --nodelay -V mqttv311 -h localhost -p 1883 -i name -k 60 --cafile /ca.pem --will-topic died \
             --will-payload bye --will-qos 2 --will-retain"
        );
        broker.authority = None;
        assert_eq!(host(&broker), "127.0.0.1");
        let refused = arguments.will(&Message::new("died", b"\0", Qos::AtMostOnce));
        assert!(matches!(refused, Err(ClientError::Refused { .. })), "{refused:?}");
    }
}
