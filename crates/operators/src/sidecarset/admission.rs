//! What every replica does: answering reviews from memory, and telling the API server what to ask.
use super::configurations::{Announcer, answer_proof};
use super::contain::{Step, contain};
use super::injection::{InjectionSender, unprepared};
use super::shift;
use super::standing::Judge;
use super::views::{Caches, Set};
use crate::metrics::{Operation, Outcome};
use crate::{Metrics, Options};
use bytes::Bytes;
use cluster::resource::NAMESPACES;
use cluster::{Door, ObjectKey, Reviewer, Snapshot};
use model::selector::{LabelSelector, Selector};
use model::sidecarset::SidecarSet;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use workload::sidecarset::prepare::PreparedSidecarSet;
use workload::sidecarset::review::{
    BeforeSending, Outcome as Reviewing, PodWorld, Reviewed, SidecarSetWorld, review,
};
use workload::sidecarset::standing::Standing;
use workload::sidecarset::webhooks::{self, FailurePolicy, POD_PATH};

/// Answers the API server's reviews. Prepared when something changes, not when somebody asks.
pub struct Admission {
    door: Door,
    caches: Caches,
    options: Arc<Options>,
    metrics: Arc<Metrics>,
    excluded: BTreeSet<String>,
    world: RwLock<Arc<World>>,
    told: Arc<InjectionSender>,
    announcer: Announcer,
    rng: Mutex<StdRng>,
    /// One at a time: an older view never replaces a newer one.
    preparing: Mutex<()>,
}

/// How long a review waits for SidecarSets, or a namespace, to be read anew; the API server waits for ten seconds.
const REREAD: Duration = Duration::from_secs(5);

/// All SidecarSets, ready for use.
#[derive(Default)]
struct World {
    prepared: Vec<Arc<PreparedSidecarSet>>,
    /// Those that could not be prepared, and whose pods must not be created without their sidecars.
    unprepared: Vec<Arc<SidecarSet>>,
    /// What a SidecarSet under review is judged on: those of the others that may be acted upon.
    judge: Judge,
    /// Of all there are.
    names: BTreeSet<String>,
    /// What webhook entries call them, alive or being deleted.
    ids: BTreeMap<String, String>,
    /// What all this was made from.
    sets: Option<Snapshot<Set>>,
}

impl World {
    /// Whether a SidecarSet behind this path of ours is not known as that path says. It may be one that was: a pause
    /// that ended, as the one before it did, looks the same.
    fn is_behind(&self, path: &str) -> bool {
        let mut ids = webhooks::ids(path).into_iter().flatten();
        ids.any(|id| !self.ids.contains_key(id))
    }
}

type Labels = Arc<BTreeMap<String, String>>;

impl Admission {
    pub(super) fn new(
        door: &Door,
        caches: Caches,
        options: Arc<Options>,
        metrics: Arc<Metrics>,
        told: Arc<InjectionSender>,
        announcer: Announcer,
    ) -> Self {
        let mut excluded = options.excluded.clone();
        excluded.insert(options.namespace.clone());
        let rng = match options.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::from_os_rng(),
        };
        Self {
            door: door.clone(),
            caches,
            options,
            metrics,
            excluded,
            world: RwLock::default(),
            told,
            announcer,
            rng: Mutex::new(rng),
            preparing: Mutex::default(),
        }
    }

    /// Waits until everything there is has been prepared once.
    pub async fn ready(&self) {
        tokio::join!(
            self.caches.sets.synced(),
            self.caches.namespaces.synced(),
            self.caches.revisions.synced(),
            self.caches.whitelists.synced()
        );
        self.prepare();
    }

    /// Prepares anew whenever something changes. Never ends.
    pub(super) async fn follow(&self) {
        let mut sets = self.caches.sets.changes();
        let mut revisions = self.caches.revisions.changes();
        let mut whitelists = self.caches.whitelists.changes();
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
        let _one = self.preparing.lock().unwrap_or_else(PoisonError::into_inner);
        self.prepare_world();
    }

    fn prepare_world(&self) {
        let sets = self.caches.sets.snapshot();
        let mut judge = Judge::of(&self.caches);
        let (mut prepared, mut failed, mut invalid) = (Vec::new(), Vec::new(), BTreeSet::new());
        for set in &judge.sets {
            let name = &set.metadata.name;
            let prepare = || match judge.standing(set) {
                Standing::Invalid(_) => None,
                // Until its hashes are written, pods get what will be written.
                Standing::Missed(amended) => Some(PreparedSidecarSet::new(&amended, &judge.revisions)),
                Standing::Written | Standing::Kept => Some(PreparedSidecarSet::new(set, &judge.revisions)),
            };
            match contain(Step::Prepare, name, prepare) {
                Ok(Some(one)) => prepared.push(Arc::new(one)),
                Ok(None) => {
                    invalid.insert(name.clone());
                }
                Err(_) => {
                    self.metrics.panicked(name);
                    failed.push(set.clone());
                }
            }
        }
        unprepared(
            &self.told,
            failed.iter().map(|s| s.metadata.name.clone()).collect(),
            invalid.clone(),
        );
        failed.retain(|s| FailurePolicy::of(s) == FailurePolicy::Fail);
        let names = judge.sets.iter().map(|s| s.metadata.name.clone()).collect();
        judge.sets.retain(|s| !invalid.contains(&s.metadata.name));
        let ids: BTreeMap<_, _> = sets
            .values()
            .map(|s| (webhooks::id(&s.0), s.0.metadata.name.clone()))
            .collect();
        let world = Arc::new(World {
            names,
            prepared,
            unprepared: failed,
            judge,
            ids,
            sets: Some(sets),
        });
        let before = {
            let mut current = self.world.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, world.clone())
        };
        let gone = before.names.difference(&world.names);
        gone.for_each(|name| self.metrics.forget(name));
    }

    fn world(&self) -> Arc<World> {
        self.world.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Prepares from what there is now, not from what was last heard of.
    async fn read_anew(&self) -> Result<(), u16> {
        let read = tokio::time::timeout(REREAD, self.caches.sets.refresh()).await;
        // The API server does then what the failure policy says.
        read.map_err(|_| 500_u16)?;
        let _one = self.preparing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.caches.sets.snapshot();
        // Another review may have done it, and many may have waited.
        if !self
            .world()
            .sets
            .as_ref()
            .is_some_and(|made_from| made_from.is(&now))
        {
            self.prepare_world();
        }
        Ok(())
    }

    /// The same, of what SidecarSets may depend on beside one another, too.
    async fn read_anew_beside(&self, revisions: bool, whitelist: bool) -> Result<(), u16> {
        let others = async {
            if revisions {
                self.caches.revisions.refresh().await;
            }
            if whitelist {
                self.caches.whitelists.refresh().await;
            }
        };
        let (sets, others) = tokio::join!(self.read_anew(), tokio::time::timeout(REREAD, others));
        if revisions || whitelist {
            others.map_err(|_| 500_u16)?;
            self.prepare();
        }
        sets
    }

    /// The answer to a review, or the HTTP status of a refusal. Needs no sockets.
    pub async fn answer(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, u16> {
        let started = tokio::time::Instant::now();
        let path = path.split('?').next().unwrap_or_default();
        if let Some(answer) = shift::answer_probe(path, body).or_else(|| answer_proof(path, body)) {
            return Ok(answer);
        }
        if self.world().is_behind(path) {
            self.read_anew().await?;
        }
        // The API server does then what the failure policy says.
        let review = |known, fresh| {
            contain(Step::Review, path, || self.review(path, body, known, fresh)).unwrap_or(Err(500))
        };
        let (mut reviewed, missing) = review(None, false)?;
        if let Some(BeforeSending::JudgedByMemory { revisions, whitelist }) = reviewed.before_sending {
            self.read_anew_beside(revisions, whitelist).await?;
            reviewed = review(None, true)?.0;
        }
        let in_doubt = match &reviewed.before_sending {
            Some(BeforeSending::NamespaceInDoubt(name)) => Some(name.clone()),
            _ => missing,
        };
        if let Some(name) = in_doubt {
            // A namespace, or its labels, younger than our view of it.
            let read = tokio::time::timeout(REREAD, self.door.get(&NAMESPACES, None, &name)).await;
            if let Ok(Ok(namespace)) = read {
                let labels = BTreeMap::deserialize(&namespace["metadata"]["labels"]).unwrap_or_default();
                reviewed = review(Some((&name, Arc::new(labels))), false)?.0;
            }
        }
        if let Some(BeforeSending::Announce(set)) = reviewed.before_sending.take()
            && let Err(why) = self.announcer.announce(set).await
        {
            reviewed = reviewed.warned(&why);
        }
        self.count(path, &reviewed.outcome, started.elapsed());
        Ok(reviewed.body)
    }

    fn count(&self, path: &str, outcome: &Reviewing, took: Duration) {
        let Some(path) = webhooks::known(path) else {
            return;
        };
        let came_to = match outcome {
            Reviewing::Changed { .. } => "changed",
            Reviewing::Untouched => "untouched",
            Reviewing::Denied(_) => "denied",
            Reviewing::Malformed(_) => "malformed",
        };
        self.metrics.admitted(path, came_to, took);
        let span = tracing::Span::current();
        span.record("outcome", came_to);
        if let (POD_PATH, Reviewing::Changed { sets, .. }) = (path, outcome) {
            span.record("sidecarsets", tracing::field::debug(sets));
            for set in sets {
                self.metrics
                    .operated(set, Operation::Inject, Outcome::Success, took);
            }
        }
    }

    fn review(
        &self,
        path: &str,
        body: &[u8],
        known: Option<(&str, Labels)>,
        fresh: bool,
    ) -> Result<(Reviewed, Option<String>), u16> {
        let world = self.world();
        let for_pods = webhooks::known(path) == Some(POD_PATH);
        if for_pods && world.unprepared.iter().any(|s| self.may_select(s, body)) {
            return Err(500);
        }
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
        let draw = match for_pods {
            true => self.rng.lock().unwrap_or_else(PoisonError::into_inner).random(),
            false => 0,
        };
        let ids = webhooks::ids(path).into_iter().flatten();
        let asked_for: Vec<&str> = ids
            .filter_map(|id| world.ids.get(id).map(String::as_str))
            .collect();
        let pods = PodWorld {
            sets: &world.prepared,
            namespace_labels: &namespace_labels,
            excluded_namespaces: &self.excluded,
            asked_for: &asked_for,
            now: self.options.clocks.wall.now(),
            draw,
        };
        let judged_by = SidecarSetWorld {
            fresh,
            ..world.judge.world()
        };
        let reviewed = review(path, body, &pods, &judged_by).ok_or(404_u16)?;
        let missing = missing.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((reviewed, missing.filter(|_| known.is_none())))
    }
}

impl Admission {
    /// Whether the pod under review may be one of the SidecarSet's: yes, unless its labels say no.
    fn may_select(&self, set: &SidecarSet, body: &[u8]) -> bool {
        let Ok(request) = serde_json::from_slice::<Value>(body) else {
            return false;
        };
        let request = &request["request"];
        let labels = BTreeMap::deserialize(&request["object"]["metadata"]["labels"]).unwrap_or_default();
        let says_no = |selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>| {
            let selector = selector.and_then(|s| Selector::try_from(s).ok());
            selector.is_some_and(|s| !s.matches_map(labels))
        };
        let namespace = ObjectKey::cluster(request["namespace"].as_str().unwrap_or_default());
        let namespace = self.caches.namespaces.get(&namespace);
        !(says_no(set.spec.selector.as_ref(), &labels)
            || namespace.is_some_and(|n| says_no(set.spec.namespace_selector.as_ref(), &n.metadata.labels)))
    }
}

impl Reviewer for Admission {
    async fn review(&self, path: &str, body: Bytes) -> Result<Bytes, u16> {
        self.answer(path, &body).await.map(Bytes::from)
    }
}
