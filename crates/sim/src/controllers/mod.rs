//! Controllers for clusters without a controller manager: Deployment, ReplicaSet, StatefulSet, DaemonSet, Job,
//! CronJob, PodDisruptionBudget, the taints of nodes, and volumes for PersistentVolumeClaims.
//!
//! One task watches everything and runs one reconcile per object at a time. A reconcile never sees the event that
//! woke it, and none runs on a cache older than our own last write.
mod budget;
mod claim;
mod cronjob;
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
mod volume;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cluster::{ApiError, Cache, Door, ObjectKey};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use model::time::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::clock::sleep_until;
use crate::pod::{Meta, Pod};
use crate::scheduler::Node;
pub use object::Object;
use world::World;

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
    CronJob,
    Budget,
    Claim,
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
            "CronJob" => Some(Self::CronJob),
            _ => None,
        }
    }
}

/// What a cache tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Pod,
    Revision,
    Of(Kind),
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

/// The caches that other parts of the simulation read too.
#[derive(Clone)]
pub struct Shared {
    pub pods: Cache<Pod>,
    pub nodes: Cache<Node>,
    pub claims: Cache<Object>,
}

/// Runs all controllers until `shutdown`.
pub async fn run(door: Door, shared: Shared, clock: Arc<dyn Clock>, seed: u64, shutdown: CancellationToken) {
    let mut driver = Driver::new(World::new(door, shared, clock, seed));
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
        self.world.synced().await;
        let mut news = self.world.news();
        loop {
            self.begin();
            let next = self.later.values().min().copied();
            tokio::select! {
                biased;
                Some((item, outcome)) = self.work.next(), if !self.work.is_empty() => self.end(item, outcome),
                fresh = news.next() => match fresh {
                    Some((what, key)) => self.notice(what, key),
                    None => return,
                },
                () = sleep_until(&self.world.clock, next) => {
                    let now = self.world.clock.now();
                    let due: Vec<_> = self.later.iter().filter(|(_, at)| **at <= now).map(|(i, _)| i.clone()).collect();
                    due.into_iter().for_each(|item| self.mark(item));
                }
            }
        }
    }

    /// Whom a change concerns: the object itself, what owns it, what may take it in, what counts it.
    fn notice(&mut self, what: What, key: ObjectKey) {
        let world = self.world.clone();
        let meta = match what {
            What::Pod => world.pods.get(&key).map(|pod| pod.metadata.clone()),
            What::Of(Kind::ReplicaSet) => world.replica_sets.get(&key).map(|o| o.meta.clone()),
            What::Of(Kind::Job) => world.jobs.get(&key).map(|o| o.meta.clone()),
            What::Revision => world.revisions.get(&key).map(|o| o.meta.clone()),
            _ => None,
        };
        match what {
            What::Pod => {
                self.orphan(
                    meta.as_ref(),
                    &[Kind::ReplicaSet, Kind::StatefulSet, Kind::DaemonSet, Kind::Job],
                );
                self.all(Kind::Budget, Some(key.namespace.as_str()));
                self.owned("Pod", key, meta);
            }
            What::Revision => self.owned("ControllerRevision", key, meta),
            What::Of(kind) => {
                self.mark((kind, key.clone()));
                match kind {
                    Kind::ReplicaSet => {
                        self.orphan(meta.as_ref(), &[Kind::Deployment]);
                        self.owned("ReplicaSet", key.clone(), meta);
                    }
                    Kind::Job => self.owned("Job", key.clone(), meta),
                    Kind::Node => self.all(Kind::DaemonSet, None),
                    _ => {}
                }
                if matches!(kind, Kind::Deployment | Kind::ReplicaSet | Kind::StatefulSet) {
                    self.all(Kind::Budget, Some(key.namespace.as_str()));
                }
            }
        }
    }

    /// Every object of a kind looks, in one namespace or in all.
    fn all(&mut self, kind: Kind, namespace: Option<&str>) {
        for key in self.world.keys(kind, namespace) {
            self.mark((kind, key));
        }
    }

    /// What nobody controls concerns all who would select it.
    fn orphan(&mut self, meta: Option<&Meta>, kinds: &[Kind]) {
        let Some(meta) = meta.filter(|m| m.controller().is_none() && m.deletion_timestamp.is_none()) else {
            return;
        };
        for kind in kinds {
            for key in self.world.selecting(*kind, meta) {
                self.mark((*kind, key));
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
