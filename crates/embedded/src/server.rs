//! The server: what a clone of [`ApiServer`] shares.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use model::time::{Clock, Timestamp};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use crate::catalog::{self, Catalog, Resource, StorageKey};
use crate::config::{Config, Storage};
use crate::controllers;
use crate::hooks::Hooks;
use crate::pki::Pki;
use crate::service::ApiService;
use crate::store::{StorageFailure, Store};
use crate::user::UserInfo;

/// A Kubernetes API server in this process; clones share it.
#[derive(Clone)]
pub struct ApiServer {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub store: Arc<Store>,
    pub clock: Arc<dyn Clock>,
    pub rng: Mutex<StdRng>,
    pub pki: Pki,
    /// Custom resources only; built-in ones are shared by the process.
    pub custom: RwLock<Arc<Catalog>>,
    pub hooks: Hooks,
    pub rbac: crate::rbac::Authorizer,
    pub controllers: controllers::Queue,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    #[error("certificates: {0}")]
    Certificates(String),
    #[error("bootstrap: {0}")]
    Bootstrap(String),
}

impl ApiServer {
    /// Opens the store, makes sure that the bootstrap objects exist, and is ready to serve.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let store = match &config.storage {
            Storage::Memory => Store::in_memory(config.history),
            Storage::Durable(path) => Store::open(path, config.history)?,
        };
        Self::start_on(store, config).await
    }

    /// Starts over a store that exists already (one with a faulty disk, for example).
    pub async fn start_on(store: Arc<Store>, config: Config) -> Result<Self, StartError> {
        let mut rng = match config.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::from_os_rng(),
        };
        let pki = Pki::load_or_create(&store, &mut rng, &config.serving_names)?;
        let (queue, inbox) = controllers::Queue::new(config.controllers);
        let inner = Inner {
            rbac: crate::rbac::Authorizer::new(store.clone()),
            store,
            clock: config.clock,
            rng: Mutex::new(rng),
            pki,
            custom: RwLock::default(),
            hooks: Hooks::default(),
            controllers: queue,
        };
        let server = Self {
            inner: Arc::new(inner),
        };
        crate::custom::reload(&server);
        crate::bootstrap::ensure(&server)
            .await
            .map_err(|e| StartError::Bootstrap(e.to_string()))?;
        controllers::spawn(&server, inbox);
        Ok(server)
    }

    /// The API as a `tower::Service`, acting as `user`; no sockets.
    pub fn service(&self, user: UserInfo) -> ApiService {
        ApiService::new(self.clone(), user)
    }

    /// The store below, for tests and measurements.
    pub fn store(&self) -> &Arc<Store> {
        &self.inner.store
    }

    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    pub(crate) fn new_uid(&self) -> String {
        let mut bytes = [0_u8; 16];
        self.rng().fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// Five characters, as `generateName` appends them.
    pub(crate) fn name_suffix(&self) -> String {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let mut rng = self.rng();
        (0..5)
            .map(|_| char::from(ALPHABET[rng.next_u32() as usize % ALPHABET.len()]))
            .collect()
    }

    pub(crate) fn random_u64(&self) -> u64 {
        self.rng().next_u64()
    }

    fn rng(&self) -> std::sync::MutexGuard<'_, StdRng> {
        self.inner.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn custom(&self) -> Arc<Catalog> {
        self.inner
            .custom
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_custom(&self, catalog: Catalog) {
        *self.inner.custom.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
    }

    pub(crate) fn serves(&self, group: &str, version: &str) -> bool {
        let has = |c: &Catalog| c.of_version(group, version).next().is_some();
        has(catalog::builtin()) || has(&self.custom())
    }

    pub(crate) fn resource(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        catalog::builtin()
            .get(group, version, plural)
            .or_else(|| self.custom().get(group, version, plural))
    }

    /// The resource that stores a table, in its storage version.
    pub(crate) fn stored_resource(&self, key: &StorageKey) -> Option<Arc<Resource>> {
        let find = |c: &Catalog| {
            let found = c.resources.values().find(|r| r.storage == *key && !r.converts());
            found.cloned()
        };
        find(catalog::builtin()).or_else(|| find(&self.custom()))
    }

    /// Every stored resource once, in its storage version.
    pub(crate) fn stored_resources(&self) -> Vec<Arc<Resource>> {
        let custom = self.custom();
        let mut out: BTreeMap<StorageKey, Arc<Resource>> = BTreeMap::new();
        for resource in catalog::builtin()
            .resources
            .values()
            .chain(custom.resources.values())
        {
            if resource.is_stored() && !resource.converts() {
                out.insert(resource.storage.clone(), resource.clone());
            }
        }
        out.into_values().collect()
    }
}
