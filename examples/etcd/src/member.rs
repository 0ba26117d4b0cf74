//! How a member starts: the flags of the program `etcd`, and what scenarios may ask of it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// What a scenario may ask of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdSettings {
    /// Default: [`Join::WhenAdded`].
    pub join: Join,
    /// How often the leader says that it is there. Default: 50 ms, half of etcd's own.
    pub heartbeat_interval: Duration,
    /// How long a member waits for that before it wants to lead. Default: 500 ms, half of etcd's own.
    pub election_timeout: Duration,
}

/// What a member without data takes its cluster for: `--initial-cluster-state`. One with data does not ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// One that is there already if the member was added to it, else a new one.
    WhenAdded,
    /// One that is there already.
    Always,
}

impl Default for EtcdSettings {
    fn default() -> Self {
        Self {
            join: Join::WhenAdded,
            heartbeat_interval: Duration::from_millis(50),
            election_timeout: Duration::from_millis(500),
        }
    }
}

/// A member that starts.
#[derive(Debug)]
pub struct Start<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where its data goes.
    pub data: &'a Path,
    /// Where it listens for clients.
    pub client: SocketAddr,
    /// Where it listens for other members.
    pub peer: SocketAddr,
    /// Where they reach it.
    pub advertised_peer: SocketAddr,
    /// All members, itself included: name and peer address.
    pub members: &'a [(String, SocketAddr)],
    /// Whether the cluster was there before it.
    pub is_joining: bool,
    /// The rest.
    pub settings: &'a EtcdSettings,
}

impl Start<'_> {
    /// The arguments of `etcd`; its log goes to stderr.
    pub fn arguments(&self) -> Vec<String> {
        let Self { settings, .. } = self;
        let members = self.members.iter();
        let members: Vec<String> = members
            .map(|(name, peer)| format!("{name}=http://{peer}"))
            .collect();
        let state = match self.is_joining || settings.join == Join::Always {
            true => "existing",
            false => "new",
        };
        vec![
            format!("--name={}", self.name),
            format!("--data-dir={}", self.data.display()),
            format!("--listen-client-urls=http://{}", self.client),
            format!("--advertise-client-urls=http://{}", self.client),
            format!("--listen-peer-urls=http://{}", self.peer),
            format!("--initial-advertise-peer-urls=http://{}", self.advertised_peer),
            format!("--initial-cluster={}", members.join(",")),
            format!("--initial-cluster-state={state}"),
            format!("--heartbeat-interval={}", settings.heartbeat_interval.as_millis()),
            format!("--election-timeout={}", settings.election_timeout.as_millis()),
            "--logger=zap".to_owned(),
            "--log-outputs=stderr".to_owned(),
        ]
    }
}
