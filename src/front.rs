//! The proxies between the parameters of a case: in front of the ports of a node, or of what one client connects to.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use robust_test_harness::case::{Case, WeakCase};

use crate::network::{AddedToxic, Origin, Proxy, ProxyError, Toxic};

/// A proxy for each port that is asked for, started then.
pub(crate) struct Fronts {
    case: WeakCase,
    /// Whose they are, for their names.
    owner: String,
    /// Tells where connections come from.
    origin: Option<Origin>,
    proxies: Mutex<BTreeMap<String, Proxy>>,
}

impl fmt::Debug for Fronts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&*self.proxies()).finish()
    }
}

impl Fronts {
    pub(crate) fn new(case: &Case, owner: String, origin: Option<Origin>) -> Self {
        Self {
            origin,
            case: case.downgrade(),
            owner,
            proxies: Mutex::default(),
        }
    }

    /// The proxy for what is called `name`, in front of this address.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub(crate) fn expect(&self, name: &str, behind: SocketAddr) -> Proxy {
        let mut proxies = self.proxies();
        if let Some(proxy) = proxies.get(name) {
            return proxy.clone();
        }
        match self.start(format!("{} {name}", self.owner), behind) {
            Ok(proxy) => {
                proxies.insert(name.to_owned(), proxy.clone());
                proxy
            }
            Err(ProxyError::Start { proxy, source }) => panic!("proxy `{proxy}` cannot be started: {source}"),
            Err(error) => panic!("{error}"),
        }
    }

    fn start(&self, name: String, behind: SocketAddr) -> Result<Proxy, ProxyError> {
        let Some(case) = self.case.upgrade() else {
            return Err(ProxyError::Ended { proxy: name });
        };
        Proxy::start_telling(&case, name, behind, self.origin.clone())
    }

    /// One that was asked for.
    pub(crate) fn get(&self, name: &str) -> Option<Proxy> {
        self.proxies().get(name).cloned()
    }

    /// All that were asked for.
    pub(crate) fn all(&self) -> Vec<Proxy> {
        self.proxies().values().cloned().collect()
    }

    /// Adds a toxic to each that was asked for.
    pub(crate) fn add(&self, toxic: &Toxic) -> Vec<AddedToxic> {
        self.proxies()
            .values()
            .map(|proxy| proxy.add(toxic.clone()))
            .collect()
    }

    /// What was asked for.
    pub(crate) fn names(&self) -> Vec<String> {
        self.proxies().keys().cloned().collect()
    }

    fn proxies(&self) -> MutexGuard<'_, BTreeMap<String, Proxy>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
