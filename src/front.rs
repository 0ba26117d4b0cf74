//! The proxies between the parameters of a case: in front of the ports of a node, or of what one client connects to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use robust_test_harness::case::{Case, WeakCase};

use crate::network::{Origin, Proxy, ProxyError};
use crate::origin::Origins;

/// A proxy for each port that is asked for, started then.
#[derive(Debug)]
pub(crate) struct Fronts {
    case: WeakCase,
    /// Whose they are, for their names.
    owner: String,
    /// Tells where connections come from.
    origins: Option<Origins>,
    proxies: Mutex<BTreeMap<String, Proxy>>,
}

impl Fronts {
    pub(crate) fn new(case: &Case, owner: String, origins: Option<Origins>) -> Self {
        Self {
            origins,
            case: case.downgrade(),
            owner,
            proxies: Mutex::default(),
        }
    }

    /// The proxy for what is called `name`, in front of this address.
    pub(crate) fn of(&self, name: &str, behind: SocketAddr) -> Result<Proxy, ProxyError> {
        let mut proxies = self.proxies();
        if let Some(proxy) = proxies.get(name) {
            return Ok(proxy.clone());
        }
        let title = format!("{} {name}", self.owner);
        let case = self
            .case
            .upgrade()
            .ok_or_else(|| ProxyError::Ended { proxy: title.clone() })?;
        let origin = self
            .origins
            .clone()
            .map(|origins| -> Box<Origin> { Box::new(move |client, proxy| origins.of(client, proxy)) });
        let proxy = Proxy::start_telling(&case, title, behind, origin)?;
        proxies.insert(name.to_owned(), proxy.clone());
        Ok(proxy)
    }

    /// The same for callers who cannot go on without it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub(crate) fn expect(&self, name: &str, behind: SocketAddr) -> Proxy {
        match self.of(name, behind) {
            Ok(proxy) => proxy,
            Err(ProxyError::Start { proxy, source }) => panic!("proxy `{proxy}` cannot be started: {source}"),
            Err(error) => panic!("{error}"),
        }
    }

    /// One that was asked for.
    pub(crate) fn get(&self, name: &str) -> Option<Proxy> {
        self.proxies().get(name).cloned()
    }

    /// All that were asked for.
    pub(crate) fn all(&self) -> Vec<Proxy> {
        self.proxies().values().cloned().collect()
    }

    /// What was asked for.
    pub(crate) fn names(&self) -> Vec<String> {
        self.proxies().keys().cloned().collect()
    }

    fn proxies(&self) -> MutexGuard<'_, BTreeMap<String, Proxy>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
