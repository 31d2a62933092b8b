//! Workload controllers: Deployment, ReplicaSet, StatefulSet, DaemonSet and Job, for clusters without a
//! controller manager.
//!
//! One task watches everything and runs one reconcile per object at a time. A reconcile never sees the event that
//! woke it, and none runs on a cache older than our own last write.
mod daemonset;
mod deployment;
mod job;
mod node;
mod object;
mod pods;
mod replicaset;
mod revision;
mod rollout;
mod statefulset;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::resource::{CONTROLLER_REVISIONS, DAEMON_SETS, DEPLOYMENTS, JOBS, REPLICA_SETS, STATEFUL_SETS};
use cluster::{ApiError, Cache, Door, ObjectKey, WatchScope, Watched};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use model::time::{Clock, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use crate::clock::sleep_until;
use crate::pod::{Meta, Pod};
use crate::scheduler::Node;
pub use object::Object;

/// Reconciles in flight.
const IN_FLIGHT: usize = 16;
/// A failed reconcile is tried again after this long.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    Job,
    Node,
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        match name {
            "Deployment" => Some(Self::Deployment),
            "ReplicaSet" => Some(Self::ReplicaSet),
            "StatefulSet" => Some(Self::StatefulSet),
            "DaemonSet" => Some(Self::DaemonSet),
            "Job" => Some(Self::Job),
            _ => None,
        }
    }
}

/// What reconciles read and write through.
#[derive(Clone)]
struct World {
    door: Door,
    clock: Arc<dyn Clock>,
    rng: Arc<Mutex<StdRng>>,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    deployments: Cache<Object>,
    replica_sets: Cache<Object>,
    stateful_sets: Cache<Object>,
    daemon_sets: Cache<Object>,
    jobs: Cache<Object>,
    revisions: Cache<Object>,
}

/// When to look again; `Stale` asks to wait for the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Quiet,
    At(Timestamp),
    Stale,
}

type Outcome = Result<Next, ApiError>;
type Item = (Kind, ObjectKey);

/// Runs all controllers until `shutdown`.
pub async fn run(
    door: Door,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    clock: Arc<dyn Clock>,
    seed: u64,
    shutdown: CancellationToken,
) {
    let cache = |resource| Cache::<Object>::start(&door, resource, WatchScope::default());
    let world = World {
        deployments: cache(DEPLOYMENTS),
        replica_sets: cache(REPLICA_SETS),
        stateful_sets: cache(STATEFUL_SETS),
        daemon_sets: cache(DAEMON_SETS),
        jobs: cache(JOBS),
        revisions: cache(CONTROLLER_REVISIONS),
        rng: Arc::new(Mutex::new(StdRng::seed_from_u64(seed ^ 0x636f_6e74))),
        door,
        clock,
        pods,
        nodes,
    };
    let mut driver = Driver::new(world);
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = driver.play() => {}
    }
}

struct Driver {
    world: World,
    dirty: BTreeSet<Item>,
    running: BTreeSet<Item>,
    work: FuturesUnordered<BoxFuture<'static, (Item, Outcome)>>,
    /// Waits for the caches to show our own writes.
    stale: BTreeSet<Item>,
    later: BTreeMap<Item, Timestamp>,
    owners: BTreeMap<(&'static str, ObjectKey), Item>,
}

impl Driver {
    fn new(world: World) -> Self {
        Self {
            world,
            dirty: BTreeSet::new(),
            running: BTreeSet::new(),
            work: FuturesUnordered::new(),
            stale: BTreeSet::new(),
            later: BTreeMap::new(),
            owners: BTreeMap::new(),
        }
    }

    async fn play(&mut self) {
        let world = self.world.clone();
        for cache in [&world.deployments, &world.replica_sets, &world.stateful_sets] {
            cache.synced().await;
        }
        for cache in [&world.daemon_sets, &world.jobs, &world.revisions] {
            cache.synced().await;
        }
        world.pods.synced().await;
        world.nodes.synced().await;
        let mut pods = world.pods.changes();
        let mut nodes = world.nodes.changes();
        let mut deployments = world.deployments.changes();
        let mut replica_sets = world.replica_sets.changes();
        let mut stateful_sets = world.stateful_sets.changes();
        let mut daemon_sets = world.daemon_sets.changes();
        let mut jobs = world.jobs.changes();
        let mut revisions = world.revisions.changes();
        loop {
            self.begin();
            let next = self.later.values().min().copied();
            tokio::select! {
                biased;
                Some((item, outcome)) = self.work.next(), if !self.work.is_empty() => self.end(item, outcome),
                Some(key) = pods.next() => self.owned("Pod", key.clone(), world.pods.get(&key).map(|p| p.metadata.clone())),
                Some(key) = deployments.next() => self.mark((Kind::Deployment, key)),
                Some(key) = replica_sets.next() => {
                    let meta = world.replica_sets.get(&key).map(|o| o.meta.clone());
                    self.mark((Kind::ReplicaSet, key.clone()));
                    self.owned("ReplicaSet", key, meta);
                }
                Some(key) = stateful_sets.next() => self.mark((Kind::StatefulSet, key)),
                Some(key) = daemon_sets.next() => self.mark((Kind::DaemonSet, key)),
                Some(key) = jobs.next() => self.mark((Kind::Job, key)),
                Some(key) = revisions.next() => {
                    let meta = world.revisions.get(&key).map(|o| o.meta.clone());
                    self.owned("ControllerRevision", key, meta);
                }
                Some(key) = nodes.next() => {
                    self.mark((Kind::Node, key));
                    let all: Vec<_> = world.daemon_sets.snapshot().iter().map(|(key, _)| key.clone()).collect();
                    all.into_iter().for_each(|key| self.mark((Kind::DaemonSet, key)));
                }
                () = sleep_until(&world.clock, next) => {
                    let now = world.clock.now();
                    let due: Vec<_> = self.later.iter().filter(|(_, at)| **at <= now).map(|(i, _)| i.clone()).collect();
                    due.into_iter().for_each(|item| self.mark(item));
                }
                else => return,
            }
        }
    }

    fn mark(&mut self, item: Item) {
        self.later.remove(&item);
        // Any news may be what the stale ones wait for.
        self.dirty.append(&mut self.stale);
        self.dirty.insert(item);
    }

    /// A thing changed or went: its owner looks, and its former owner too.
    fn owned(&mut self, what: &'static str, key: ObjectKey, meta: Option<Meta>) {
        let owner = meta.and_then(|meta| {
            let owner = meta.controller()?;
            let key = ObjectKey::new(&meta.namespace, &owner.name);
            Some((Kind::named(&owner.kind)?, key))
        });
        let slot = (what, key);
        let before = match &owner {
            Some(owner) => self.owners.insert(slot, owner.clone()),
            None => self.owners.remove(&slot),
        };
        self.dirty.append(&mut self.stale);
        let gone = owner.is_none();
        for item in [before, owner].into_iter().flatten() {
            // A Deployment that recreates waits for the last pod of its old sets to go, not for their counts.
            if gone && item.0 == Kind::ReplicaSet {
                let set = self.world.replica_sets.get(&item.1);
                let owner = set.and_then(|set| set.meta.controller().map(|owner| owner.name.clone()));
                if let Some(name) = owner {
                    let key = ObjectKey::new(&item.1.namespace, name);
                    self.mark((Kind::Deployment, key));
                }
            }
            self.mark(item);
        }
    }

    fn begin(&mut self) {
        while self.work.len() < IN_FLIGHT {
            let next = self.dirty.iter().find(|item| !self.running.contains(*item));
            let Some(item) = next.cloned() else { return };
            self.dirty.remove(&item);
            self.running.insert(item.clone());
            let world = self.world.clone();
            self.work.push(Box::pin(async move {
                let outcome = world.reconcile(&item).await;
                (item, outcome)
            }));
        }
    }

    fn end(&mut self, item: Item, outcome: Outcome) {
        self.running.remove(&item);
        match outcome {
            Ok(Next::Quiet) => {}
            Ok(Next::At(at)) => {
                self.later.insert(item, at);
            }
            Ok(Next::Stale) => {
                self.stale.insert(item.clone());
                // In case the news came before we listened.
                self.later
                    .insert(item, self.world.clock.now() + Duration::from_millis(200));
            }
            Err(error) => {
                if !error.is_conflict() && !error.is_not_found() && !error.is_already_exists() {
                    tracing::warn!(kind = ?item.0, object = %item.1, %error, "reconcile failed");
                }
                self.later.insert(item, self.world.clock.now() + RETRY);
            }
        }
    }
}

impl World {
    async fn reconcile(&self, item: &Item) -> Outcome {
        let (kind, key) = item;
        let found = match kind {
            Kind::Deployment => self.deployments.get(key),
            Kind::ReplicaSet => self.replica_sets.get(key),
            Kind::StatefulSet => self.stateful_sets.get(key),
            Kind::DaemonSet => self.daemon_sets.get(key),
            Kind::Job => self.jobs.get(key),
            Kind::Node => return node::reconcile(self, key).await,
        };
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
            Kind::Node => Ok(Next::Quiet),
        }
    }

    /// Whether all our own writes show.
    fn is_current(&self) -> bool {
        let workloads = [
            &self.deployments,
            &self.replica_sets,
            &self.stateful_sets,
            &self.daemon_sets,
            &self.jobs,
            &self.revisions,
        ];
        self.pods.is_current() && workloads.iter().all(|cache| cache.is_current())
    }

    /// Five letters for a name.
    fn suffix(&self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        (0..5)
            .map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())]))
            .collect()
    }
}

impl Watched for Object {
    fn key(&self) -> ObjectKey {
        self.meta.key()
    }

    fn resource_version(&self) -> &str {
        &self.meta.resource_version
    }

    fn uid(&self) -> &str {
        &self.meta.uid
    }
}
