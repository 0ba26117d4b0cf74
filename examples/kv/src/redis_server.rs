//! The configuration of `redis-server`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::settings::{KvSettings, Persistence};

/// The user that clients connect as where the default user is off: everything but what operators do.
pub const APP: (&str, &str) = ("app", "a password");
/// The user of operators and of replicas, whether the default user is off or not.
pub const OPERATOR: (&str, &str) = ("operator", "another password");

/// Files in PEM for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of who signed the server's.
    pub authority: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's private key.
    pub key: PathBuf,
}

/// What of a server's configuration is no setting of a scenario.
#[derive(Debug)]
pub struct Placed<'a> {
    /// What processes and `CONFIG GET proc-title-template` call it: a name without spaces.
    pub name: &'a str,
    /// Where it listens without TLS.
    pub address: SocketAddr,
    /// At which port it listens with TLS, and with what.
    pub tls: Option<(u16, TlsFiles)>,
    /// Where its data goes; the folder must exist.
    pub folder: &'a Path,
    /// Whose replica it is.
    pub primary: Option<SocketAddr>,
    /// What outlives it.
    pub persistence: Persistence,
    /// Whether clients have to log in as [`APP`].
    pub login: bool,
}

/// The text of `redis.conf`: one server at one address, the log on stdout.
pub fn render(placed: &Placed<'_>, settings: &KvSettings) -> String {
    let mut text = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| {
        let _ = text.write_fmt(line);
        text.push('\n');
    };
    line(format_args!("bind {}", placed.address.ip()));
    line(format_args!("port {}", placed.address.port()));
    // Else it serves nobody but 127.0.0.1 where users need no password.
    line(format_args!("protected-mode no"));
    line(format_args!("dir {}", quoted(placed.folder)));
    line(format_args!("proc-title-template \"{{title}} {}\"", placed.name));
    line(format_args!("loglevel verbose"));
    line(format_args!("enable-debug-command yes"));
    line(format_args!("maxclients {}", settings.max_clients));
    match placed.persistence {
        Persistence::None => line(format_args!("save \"\"\nappendonly no")),
        // The three rules of redis' own redis.conf.
        Persistence::Rdb => line(format_args!("save 3600 1 300 100 60 10000\nappendonly no")),
        Persistence::AofEverySecond => {
            line(format_args!("save \"\"\nappendonly yes\nappendfsync everysec"));
        }
        Persistence::AofAlways => line(format_args!("save \"\"\nappendonly yes\nappendfsync always")),
    }
    let truncated = if settings.load_truncated { "yes" } else { "no" };
    line(format_args!("aof-load-truncated {truncated}"));
    // Else a primary waits 5 s for more replicas before it sends its data.
    line(format_args!("repl-diskless-sync-delay 0"));
    line(format_args!("repl-ping-replica-period 1"));
    if let Some(primary) = placed.primary {
        line(format_args!("replicaof {} {}", primary.ip(), primary.port()));
    }
    if let Some((port, files)) = &placed.tls {
        line(format_args!("tls-port {port}"));
        line(format_args!("tls-cert-file {}", quoted(&files.certificate)));
        line(format_args!("tls-key-file {}", quoted(&files.key)));
        line(format_args!("tls-ca-cert-file {}", quoted(&files.authority)));
        line(format_args!("tls-auth-clients no"));
    }
    let ((app, app_password), (operator, operator_password)) = (APP, OPERATOR);
    // A client asks for INFO when it connects.
    let rights = "~* &* +@all -@admin -@dangerous +info";
    line(format_args!("user {app} on \">{app_password}\" {rights}"));
    line(format_args!(
        "user {operator} on \">{operator_password}\" ~* &* +@all"
    ));
    line(format_args!(
        "masteruser {operator}\nmasterauth \"{operator_password}\""
    ));
    if placed.login {
        line(format_args!("user default off"));
    }
    text
}

/// A path as redis reads it whatever is in it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(persistence: Persistence) -> Placed<'static> {
        Placed {
            name: "db-2",
            address: ([10, 0, 0, 1], 7000).into(),
            tls: None,
            folder: Path::new("/tmp/a \"b\""),
            primary: None,
            persistence,
            login: false,
        }
    }

    #[test]
    fn a_configuration_says_what_was_asked_for() {
        let text = render(&placed(Persistence::AofAlways), &KvSettings::default());
        for line in [
            "bind 10.0.0.1",
            "port 7000",
            "dir \"/tmp/a \\\"b\\\"\"",
            "appendfsync always",
            "aof-load-truncated yes",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        for absent in ["replicaof", "tls-", "user default"] {
            assert!(!text.contains(absent), "{absent} in\n{text}");
        }
    }

    #[test]
    fn tls_a_login_and_a_primary_are_rendered() {
        let files = TlsFiles {
            authority: "/ca.pem".into(),
            certificate: "/cert.pem".into(),
            key: "/key.pem".into(),
        };
        let placed = Placed {
            tls: Some((7001, files)),
            primary: Some(([127, 0, 0, 1], 7002).into()),
            login: true,
            ..placed(Persistence::None)
        };
        let text = render(&placed, &KvSettings::default());
        for line in [
            "tls-port 7001",
            "tls-key-file \"/key.pem\"",
            "replicaof 127.0.0.1 7002",
            "user default off",
            "masteruser operator",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
