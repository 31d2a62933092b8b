//! What every replica does: answering reviews from memory, and telling the API server what to ask.
use super::views::{Caches, Configuration};
use crate::{Metrics, Options};
use bytes::Bytes;
use cluster::resource::NAMESPACES;
use cluster::{Cache, Door, ObjectKey, Reviewer};
use model::sidecarset::SidecarSet;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use workload::sidecarset::prepare::PreparedSidecarSet;
use workload::sidecarset::review::{PodWorld, Reviewed, SidecarSetWorld, review};
use workload::sidecarset::revision::Revision;
use workload::sidecarset::validate::Whitelist;
use workload::sidecarset::webhooks::POD_PATH;

/// Answers the API server's reviews. Prepared when something changes, not when somebody asks.
pub struct Admission {
    door: Door,
    caches: Caches,
    whitelists: Cache<Configuration>,
    options: Arc<Options>,
    metrics: Arc<Metrics>,
    excluded: BTreeSet<String>,
    world: RwLock<Arc<World>>,
    rng: Mutex<StdRng>,
}

/// All SidecarSets, ready for use.
#[derive(Default)]
struct World {
    prepared: Vec<Arc<PreparedSidecarSet>>,
    sets: Vec<Arc<SidecarSet>>,
    revisions: Vec<Revision>,
    whitelist: Option<Whitelist>,
}

type Labels = Arc<BTreeMap<String, String>>;

impl Admission {
    pub(super) fn new(door: &Door, caches: Caches, options: Arc<Options>, metrics: Arc<Metrics>) -> Self {
        let mut excluded = options.excluded.clone();
        excluded.insert(options.namespace.clone());
        let rng = match options.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::from_os_rng(),
        };
        Self {
            whitelists: Configuration::watch(door, &options.namespace),
            door: door.clone(),
            caches,
            options,
            metrics,
            excluded,
            world: RwLock::default(),
            rng: Mutex::new(rng),
        }
    }

    /// Waits until everything there is has been prepared once.
    pub(super) async fn ready(&self) {
        tokio::join!(
            self.caches.sets.synced(),
            self.caches.namespaces.synced(),
            self.caches.revisions.synced(),
            self.whitelists.synced()
        );
        self.prepare();
    }

    /// Prepares anew whenever something changes. Never ends.
    pub(super) async fn follow(&self) {
        let mut sets = self.caches.sets.changes();
        let mut revisions = self.caches.revisions.changes();
        let mut whitelists = self.whitelists.changes();
        loop {
            tokio::select! {
                _ = sets.next() => {}
                _ = revisions.next() => {}
                _ = whitelists.next() => {}
            }
            sets.drain();
            revisions.drain();
            whitelists.drain();
            self.prepare();
        }
    }

    fn prepare(&self) {
        let revisions: Vec<Revision> = self
            .caches
            .revisions
            .snapshot()
            .values()
            .map(|r| r.revision.clone())
            .collect();
        let sets: Vec<Arc<SidecarSet>> = self
            .caches
            .sets
            .snapshot()
            .values()
            .filter(|s| s.0.metadata.deletion_timestamp.is_none())
            .map(|s| s.0.clone())
            .collect();
        let whitelist = self.whitelists.snapshot().values().find_map(|c| c.whitelist());
        let prepared = sets
            .iter()
            .map(|s| Arc::new(PreparedSidecarSet::new(s, &revisions)))
            .collect();
        let world = World {
            prepared,
            sets,
            revisions,
            whitelist,
        };
        *self.world.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(world);
    }

    /// The answer to a review, or the HTTP status of a refusal. Needs no sockets.
    pub async fn answer(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, u16> {
        let started = tokio::time::Instant::now();
        let path = path.split('?').next().unwrap_or_default();
        let (mut reviewed, missing) = self.review(path, body, None)?;
        if let Some(name) = missing {
            // A namespace younger than our view of it.
            let read = self.door.get(&NAMESPACES, None, &name).await;
            if let Ok(namespace) = read {
                let labels = BTreeMap::deserialize(&namespace["metadata"]["labels"]).unwrap_or_default();
                reviewed = self.review(path, body, Some((&name, Arc::new(labels))))?.0;
            }
        }
        self.metrics.admitted(path, started.elapsed());
        Ok(reviewed.body)
    }

    fn review(
        &self,
        path: &str,
        body: &[u8],
        known: Option<(&str, Labels)>,
    ) -> Result<(Reviewed, Option<String>), u16> {
        let world = self.world.read().unwrap_or_else(PoisonError::into_inner).clone();
        let missing = Mutex::new(None);
        let namespace_labels = |name: &str| -> Option<Labels> {
            if let Some((_, labels)) = known.as_ref().filter(|(n, _)| *n == name) {
                return Some(labels.clone());
            }
            let found = self.caches.namespaces.get(&ObjectKey::cluster(name));
            if found.is_none() {
                *missing.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.to_owned());
            }
            found.map(|n| n.metadata.labels.clone())
        };
        let draw = match path {
            POD_PATH => self.rng.lock().unwrap_or_else(PoisonError::into_inner).random(),
            _ => 0,
        };
        let pods = PodWorld {
            sets: &world.prepared,
            namespace_labels: &namespace_labels,
            excluded_namespaces: &self.excluded,
            now: self.options.clocks.wall.now(),
            draw,
        };
        let sets = SidecarSetWorld {
            others: &world.sets,
            revisions: &world.revisions,
            whitelist: world.whitelist.as_ref(),
            metadata_allowed_by_default: false,
        };
        let reviewed = review(path, body, &pods, &sets).ok_or(404_u16)?;
        let missing = missing.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((reviewed, missing.filter(|_| known.is_none())))
    }
}

impl Reviewer for Admission {
    async fn review(&self, path: &str, body: Bytes) -> Result<Bytes, u16> {
        self.answer(path, &body).await.map(Bytes::from)
    }
}
