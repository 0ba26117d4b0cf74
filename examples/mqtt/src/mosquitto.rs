//! The configuration of `mosquitto`, whose listeners each speak MQTT 3.1, 3.1.1 and 5.

use std::fmt::Write as _;
use std::path::Path;

use crate::settings::{BrokerSettings, Listen, Persistence};

/// The text of `mosquitto.conf`: clients of any name, the log on stderr. `folder` is where
/// the database goes, and must exist.
pub fn render(listen: &Listen, folder: &Path, settings: &BrokerSettings) -> String {
    let mut text = String::new();
    for address in [listen.v4, listen.v5] {
        let _ = writeln!(text, "listener {} {}", address.port(), address.ip());
        if let Some(tls) = &listen.tls {
            let _ = writeln!(text, "certfile {}", tls.certificate.display());
            let _ = writeln!(text, "keyfile {}", tls.key.display());
        }
        let _ = writeln!(text, "max_connections {}", settings.max_connections);
    }
    text.push_str("allow_anonymous true\n");
    // Started by root, mosquitto otherwise becomes the user `mosquitto`, who may not write to `folder`;
    // started by anyone else, it ignores this.
    text.push_str("user root\n");
    text.push_str("set_tcp_nodelay true\nsys_interval 0\n");
    text.push_str("log_dest stderr\nlog_type all\nconnection_messages true\n");
    let _ = writeln!(text, "max_packet_size {}", settings.max_packet_bytes);
    let _ = writeln!(text, "max_inflight_messages {}", settings.max_in_flight);
    let _ = writeln!(text, "max_queued_messages {}", settings.max_queued);
    text.push_str(match settings.persistence {
        Persistence::Off => "persistence false\n",
        Persistence::OnExit => "persistence true\nautosave_interval 1800\n",
        Persistence::OnChange => "persistence true\nautosave_on_changes true\nautosave_interval 1\n",
    });
    if settings.persistence != Persistence::Off {
        // With the slash, to which mosquitto only appends a file's name.
        let _ = writeln!(text, "persistence_location {}/", folder.display());
    }
    text
}
