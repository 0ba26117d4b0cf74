//! What a scenario may ask of a server, whichever it is.

/// Settings that scenarios choose. mini-redis knows none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvSettings {
    /// What outlives the server. Default: [`Persistence::Rdb`], which redis' own configuration has.
    pub persistence: Persistence,
    /// Whether it also listens with TLS. Default: [`Tls::Off`].
    pub tls: Tls,
    /// As whom clients connect. Default: [`User::Default`].
    pub user: User,
    /// Connections at a time. Default: 10,000, which is redis'.
    pub max_clients: usize,
    /// Whether an append-only file whose end is torn is loaded up to there; otherwise the server does not start.
    /// Default: yes, which is redis'.
    pub load_truncated: bool,
    /// The number of the cluster's node that the others are replicas of. Default: 1.
    pub primary: usize,
}

impl Default for KvSettings {
    fn default() -> Self {
        Self {
            persistence: Persistence::Rdb,
            tls: Tls::Off,
            user: User::Default,
            max_clients: 10_000,
            load_truncated: true,
            primary: 1,
        }
    }
}

/// What a server keeps on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing.
    None,
    /// Everything, written at a clean exit, on demand, and every 60 s to an hour.
    Rdb,
    /// Every write, flushed to the disk each second.
    AofEverySecond,
    /// Every write, flushed to the disk before it is acknowledged.
    AofAlways,
}

/// Whether a server listens with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// It does not.
    Off,
    /// On a port of its own.
    On,
}

/// As whom clients connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// Nobody: no password.
    Default,
    /// A user of an access control list; the default user is off.
    Acl,
}
