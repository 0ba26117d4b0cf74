//! What a scenario may ask of a server, whichever it is. What a server can be varied in beside that (`variants(..)` of its
//! kind) is drawn for each case.

/// Settings that scenarios choose. mini-redis knows none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvSettings {
    /// What outlives the server, where the scenario is about that. Default: what is drawn.
    pub persistence: Option<Persistence>,
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
            persistence: None,
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

impl Persistence {
    /// From a value of the variant `persistence`.
    ///
    /// # Errors
    /// With the value, when there is no such one.
    pub fn of_variant(value: &str) -> Result<Self, String> {
        match value {
            "none" => Ok(Self::None),
            "rdb" => Ok(Self::Rdb),
            "aof-everysec" => Ok(Self::AofEverySecond),
            "aof-always" => Ok(Self::AofAlways),
            other => Err(format!("there is no persistence called `{other}`")),
        }
    }
}
