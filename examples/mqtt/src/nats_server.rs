//! The configuration of `nats-server`, whose MQTT 3.1.1 is a layer over JetStream, alone or as a member of a cluster.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use crate::monitor::tag;
use crate::settings::{BrokerSettings, ServerTls};

/// A server that starts.
#[derive(Debug)]
pub struct Placed<'a> {
    /// Its name, which no other member of its cluster has.
    pub name: &'a str,
    /// Where it listens for MQTT.
    pub mqtt: SocketAddr,
    /// What it proves itself by there; `None`: no TLS.
    pub tls: Option<ServerTls>,
    /// Where it listens for clients of NATS, of which there are none.
    pub nats: SocketAddr,
    /// Where it can be watched over HTTP.
    pub monitor: SocketAddr,
    /// Where it listens for other members.
    pub route: SocketAddr,
    /// Where JetStream stores.
    pub folder: &'a Path,
    /// Where each member of the cluster is reached by the others, itself included; one on its own needs none.
    pub members: &'a [Member],
}

/// A member of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where the others reach it.
    pub route: SocketAddr,
    /// Where it can be watched.
    pub monitor: SocketAddr,
}

/// The text of its configuration file; its log goes to stderr. All that MQTT keeps is kept by every member: with three,
/// two have it before it is acknowledged.
pub fn render(placed: &Placed<'_>, settings: &BrokerSettings) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "server_name: \"{}\"", placed.name);
    let _ = writeln!(text, "listen: \"{}\"", placed.nats);
    let _ = writeln!(text, "http: \"{}\"", placed.monitor);
    let _ = writeln!(text, "max_connections: {}", settings.max_connections);
    let _ = writeln!(text, "max_payload: {}", settings.max_packet_bytes);
    let _ = writeln!(text, "jetstream {{ store_dir: \"{}\" }}", placed.folder.display());
    let _ = writeln!(text, "mqtt {{\n  listen: \"{}\"", placed.mqtt);
    let _ = writeln!(text, "  max_ack_pending: {}", settings.max_in_flight);
    if placed.members.len() > 1 {
        let _ = writeln!(text, "  stream_replicas: {}", placed.members.len());
    }
    if let Some(tls) = &placed.tls {
        let (certificate, key) = (tls.certificate.display(), tls.key.display());
        let _ = writeln!(
            text,
            "  tls {{ cert_file: \"{certificate}\", key_file: \"{key}\" }}"
        );
    }
    text.push_str("}\n");
    text.push_str("server_tags: [\n");
    for member in placed.members {
        let _ = writeln!(text, "  \"{}\"", tag(&member.name, member.monitor));
    }
    text.push_str("]\n");
    let own = placed.members.iter().find(|member| member.name == placed.name);
    if let Some(own) = own.filter(|_| placed.members.len() > 1) {
        let _ = writeln!(
            text,
            "cluster {{\n  name: \"robust\"\n  listen: \"{}\"\n  advertise: \"{}\"\n  routes: [",
            placed.route, own.route
        );
        let others = placed.members.iter().filter(|member| member.name != placed.name);
        for other in others {
            let _ = writeln!(text, "    \"nats-route://{}\"", other.route);
        }
        text.push_str("  ]\n}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn rendered(tls: Option<ServerTls>, members: &[Member]) -> String {
        let placed = Placed {
            name: "b-1",
            mqtt: at(1),
            tls,
            nats: at(2),
            monitor: at(3),
            route: at(4),
            folder: Path::new("/data"),
            members,
        };
        render(&placed, &BrokerSettings::default())
    }

    #[test]
    fn a_server_on_its_own_has_neither_routes_nor_replicas() {
        let member = |name: &str, port| Member {
            name: name.to_owned(),
            route: at(port),
            monitor: at(port + 10),
        };
        let alone = rendered(None, &[member("b-1", 4)]);
        assert!(!alone.contains("cluster") && !alone.contains("stream_replicas"));
        assert!(!alone.contains("tls"), "{alone}");
        let files = ServerTls {
            certificate: "/c".into(),
            key: "/k".into(),
        };
        let third = rendered(
            Some(files),
            &[member("b-1", 4), member("b-2", 5), member("b-3", 6)],
        );
        assert!(third.contains("stream_replicas: 3"), "{third}");
        assert!(third.contains("tls { cert_file: \"/c\", key_file: \"/k\" }"));
        assert!(third.contains("listen: \"127.0.0.1:4\""));
        assert!(!third.contains("nats-route://127.0.0.1:4"), "not to itself");
        assert!(third.contains("nats-route://127.0.0.1:5"));
        assert!(third.contains("\"b-3@127.0.0.1:16\""));
    }
}
