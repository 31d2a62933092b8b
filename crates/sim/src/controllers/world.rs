//! What reconciles read and write through.
use std::sync::{Arc, Mutex, PoisonError};

use cluster::resource::{
    CONTROLLER_REVISIONS, CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, JOBS, PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS, REPLICA_SETS, STATEFUL_SETS,
};
use cluster::{Cache, Door, ObjectKey, WatchScope};
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll, select_all};
use model::time::Clock;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{
    Item, Kind, Next, Object, Outcome, Shared, What, budget, cronjob, daemonset, deployment, job, node,
    replicaset, statefulset, volume,
};
use crate::labels::selects;
use crate::pod::{Meta, Pod};
use crate::scheduler::Node;

#[derive(Clone)]
pub(super) struct World {
    pub door: Door,
    pub clock: Arc<dyn Clock>,
    rng: Arc<Mutex<StdRng>>,
    pub pods: Cache<Pod>,
    pub nodes: Cache<Node>,
    pub deployments: Cache<Object>,
    pub replica_sets: Cache<Object>,
    pub stateful_sets: Cache<Object>,
    pub daemon_sets: Cache<Object>,
    pub jobs: Cache<Object>,
    pub cron_jobs: Cache<Object>,
    pub revisions: Cache<Object>,
    pub budgets: Cache<Object>,
    pub claims: Cache<Object>,
    pub volumes: Cache<Object>,
}

impl World {
    pub fn new(door: Door, shared: Shared, clock: Arc<dyn Clock>, seed: u64) -> Self {
        let cache = |resource| Cache::<Object>::start(&door, resource, WatchScope::default());
        Self {
            deployments: cache(DEPLOYMENTS),
            replica_sets: cache(REPLICA_SETS),
            stateful_sets: cache(STATEFUL_SETS),
            daemon_sets: cache(DAEMON_SETS),
            jobs: cache(JOBS),
            cron_jobs: cache(CRON_JOBS),
            revisions: cache(CONTROLLER_REVISIONS),
            budgets: cache(POD_DISRUPTION_BUDGETS),
            volumes: cache(PERSISTENT_VOLUMES),
            rng: Arc::new(Mutex::new(StdRng::seed_from_u64(seed ^ 0x636f_6e74))),
            door,
            clock,
            pods: shared.pods,
            nodes: shared.nodes,
            claims: shared.claims,
        }
    }

    fn objects(&self) -> [(What, &Cache<Object>); 10] {
        [
            (What::Of(Kind::Deployment), &self.deployments),
            (What::Of(Kind::ReplicaSet), &self.replica_sets),
            (What::Of(Kind::StatefulSet), &self.stateful_sets),
            (What::Of(Kind::DaemonSet), &self.daemon_sets),
            (What::Of(Kind::Job), &self.jobs),
            (What::Of(Kind::CronJob), &self.cron_jobs),
            (What::Of(Kind::Budget), &self.budgets),
            (What::Of(Kind::Claim), &self.claims),
            // A volume bears the name of its claim, not its key: see `volume`.
            (What::Of(Kind::Claim), &self.volumes),
            (What::Revision, &self.revisions),
        ]
    }

    pub async fn synced(&self) {
        for (_, cache) in self.objects() {
            cache.synced().await;
        }
        self.pods.synced().await;
        self.nodes.synced().await;
    }

    /// The keys of everything that changes.
    pub fn news(&self) -> SelectAll<BoxStream<'static, (What, ObjectKey)>> {
        let mut all: Vec<BoxStream<'static, (What, ObjectKey)>> = vec![
            self.pods.changes().map(|key| (What::Pod, key)).boxed(),
            self.nodes
                .changes()
                .map(|key| (What::Of(Kind::Node), key))
                .boxed(),
        ];
        for (what, cache) in self.objects() {
            all.push(cache.changes().map(move |key| (what, key)).boxed());
        }
        select_all(all)
    }

    fn cache(&self, kind: Kind) -> Option<&Cache<Object>> {
        let of_kind = |(what, _): &(What, &Cache<Object>)| *what == What::Of(kind);
        self.objects().into_iter().find(of_kind).map(|(_, cache)| cache)
    }

    pub fn keys(&self, kind: Kind, namespace: Option<&str>) -> Vec<ObjectKey> {
        let all = self.cache(kind).map(Cache::snapshot);
        let keys = all.iter().flat_map(|all| all.iter().map(|(key, _)| key));
        keys.filter(|key| namespace.is_none_or(|namespace| key.namespace == namespace))
            .cloned()
            .collect()
    }

    /// Objects of a kind whose selector matches these labels, in the same namespace.
    pub fn selecting(&self, kind: Kind, meta: &Meta) -> Vec<ObjectKey> {
        let all = self.cache(kind).map(Cache::snapshot);
        let there = all.iter().flat_map(|all| all.in_namespace(&meta.namespace));
        there
            .filter(|(_, object)| selects(&object.spec()["selector"], &meta.labels))
            .map(|(key, _)| key.clone())
            .collect()
    }

    pub async fn reconcile(&self, item: &Item) -> Outcome {
        let (kind, key) = item;
        match kind {
            Kind::Node => return node::reconcile(self, key).await,
            Kind::Claim => return volume::reconcile(self, key).await,
            _ => {}
        }
        let found = self.cache(*kind).and_then(|cache| cache.get(key));
        let Some(object) = found.filter(|object| object.meta.deletion_timestamp.is_none()) else {
            return Ok(Next::Quiet);
        };
        if !self.is_current() {
            return Ok(Next::Stale);
        }
        match kind {
            Kind::Deployment => deployment::reconcile(self, &object).await,
            Kind::ReplicaSet => replicaset::reconcile(self, &object).await,
            Kind::StatefulSet => statefulset::reconcile(self, &object).await,
            Kind::DaemonSet => daemonset::reconcile(self, &object).await,
            Kind::Job => job::reconcile(self, &object).await,
            Kind::CronJob => cronjob::reconcile(self, &object).await,
            Kind::Budget => budget::reconcile(self, &object).await,
            Kind::Claim | Kind::Node => Ok(Next::Quiet),
        }
    }

    /// Whether all our own writes show.
    pub fn is_current(&self) -> bool {
        self.pods.is_current() && self.objects().iter().all(|(_, cache)| cache.is_current())
    }

    /// Five letters for a name.
    pub fn suffix(&self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        (0..5)
            .map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())]))
            .collect()
    }
}
