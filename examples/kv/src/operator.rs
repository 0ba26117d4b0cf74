//! What operators of a `redis-server` do: a connection of its own beside the clients'.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::client::{ClientError, Command, ConnectOptions, KvClient, Reply};
use crate::redis_rs;

/// An operator of one server. Its commands may be any.
pub struct Operator {
    client: Box<dyn KvClient>,
}

/// What a server says of its place in the replication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It takes writes; the ports of the replicas that are in step, in order.
    Primary {
        /// The replicas' ports.
        replicas: Vec<u16>,
    },
    /// It copies another.
    Replica {
        /// The port of its primary.
        primary: u16,
        /// Whether it is connected, and has all data up to some point.
        in_step: bool,
    },
}

impl Operator {
    /// Connects.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub async fn connect(options: ConnectOptions) -> Result<Self, ClientError> {
        let client = redis_rs::connect(options).await?;
        Ok(Self { client })
    }

    /// Sends a command of these words.
    ///
    /// # Errors
    /// As [`KvClient::call`].
    pub async fn run(&self, name: &'static str, arguments: &[&str]) -> Result<Reply, ClientError> {
        let command = arguments.iter().fold(Command::new(name), Command::arg);
        self.client.call(command).await
    }

    /// The same where the answer is text, such as INFO.
    ///
    /// # Errors
    /// Also when the answer is something else.
    pub async fn text(&self, name: &'static str, arguments: &[&str]) -> Result<String, ClientError> {
        match self.run(name, arguments).await? {
            Reply::Bytes(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            reply => Err(ClientError::Unexpected { reply }),
        }
    }

    /// INFO of one section, by name.
    ///
    /// # Errors
    /// As [`KvClient::call`].
    pub async fn info(&self, section: &str) -> Result<BTreeMap<String, String>, ClientError> {
        let text = self.text("INFO", &[section]).await?;
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Ok(pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect())
    }

    /// CLIENT LIST, one line each, but for this connection.
    ///
    /// # Errors
    /// As [`KvClient::call`].
    pub async fn clients(&self) -> Result<Vec<String>, ClientError> {
        let own = match self.run("CLIENT", &["ID"]).await? {
            Reply::Integer(own) => format!("id={own} "),
            reply => return Err(ClientError::Unexpected { reply }),
        };
        let list = self.text("CLIENT", &["LIST"]).await?;
        let others = list.lines().filter(|line| !line.starts_with(&own));
        Ok(others.map(str::to_owned).collect())
    }

    /// Its place in the replication.
    ///
    /// # Errors
    /// As [`KvClient::call`].
    pub async fn role(&self) -> Result<Role, ClientError> {
        let info = self.info("replication").await?;
        Ok(role(&info))
    }

    /// Makes it a replica of `primary`, or a primary.
    ///
    /// # Errors
    /// As [`KvClient::call`].
    pub async fn replica_of(&self, primary: Option<SocketAddr>) -> Result<(), ClientError> {
        let (host, port) = match primary {
            Some(primary) => (primary.ip().to_string(), primary.port().to_string()),
            None => ("NO".to_owned(), "ONE".to_owned()),
        };
        self.run("REPLICAOF", &[&host, &port]).await?;
        Ok(())
    }

    /// What its `proc-title-template` calls it.
    ///
    /// # Errors
    /// As [`KvClient::call`].
    pub async fn name(&self) -> Result<String, ClientError> {
        let reply = self.run("CONFIG", &["GET", "proc-title-template"]).await?;
        if let Reply::List(parts) = &reply
            && let Some(Reply::Bytes(template)) = parts.last()
            && let Some((_, name)) = String::from_utf8_lossy(template).rsplit_once(' ')
        {
            return Ok(name.to_owned());
        }
        Err(ClientError::Unexpected { reply })
    }
}

fn role(info: &BTreeMap<String, String>) -> Role {
    let value = |name: &str| info.get(name).map_or("", String::as_str);
    if value("role") == "slave" {
        return Role::Replica {
            primary: value("master_port").parse().unwrap_or(0),
            in_step: value("master_link_status") == "up",
        };
    }
    // `slave0:ip=127.0.0.1,port=7001,state=online,offset=42,lag=0`
    let replicas = info.iter().filter(|(name, fields)| {
        name.strip_prefix("slave")
            .is_some_and(|number| number.parse::<u32>().is_ok())
            && fields.contains("state=online")
    });
    let mut ports: Vec<u16> = replicas
        .filter_map(|(_, fields)| {
            let port = fields.split(',').find_map(|field| field.strip_prefix("port="));
            port?.parse().ok()
        })
        .collect();
    ports.sort_unstable();
    Role::Primary { replicas: ports }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(lines: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = lines.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_role_is_read_from_info() {
        let primary = info(&[
            ("role", "master"),
            ("connected_slaves", "2"),
            ("slave0", "ip=127.0.0.1,port=7002,state=online,offset=1,lag=0"),
            (
                "slave1",
                "ip=127.0.0.1,port=7001,state=wait_bgsave,offset=0,lag=0",
            ),
        ]);
        assert_eq!(role(&primary), Role::Primary { replicas: vec![7002] });
        let replica = info(&[
            ("role", "slave"),
            ("master_port", "7000"),
            ("master_link_status", "down"),
        ]);
        let expected = Role::Replica {
            primary: 7000,
            in_step: false,
        };
        assert_eq!(role(&replica), expected);
    }
}
