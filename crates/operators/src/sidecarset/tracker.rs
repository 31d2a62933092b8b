//! One SidecarSet and what is known of its pods: facts are read once per change, not once per decision.
use super::contain::{Step, contain};
use super::engine::shifted;
use super::intents::state_of;
use super::news::News;
use super::sight::Sight;
use super::standing::{Amendment, Judge};
use super::views::Caches;
use crate::Options;
use cluster::ObjectKey;
use model::decision::WaitingOn;
use model::pod::PodView;
use model::sidecarset::SidecarSet;
use model::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use workload::sidecarset::standing::Standing;
use workload::upgrade::{Membership, Plan, PlanError, PodFacts};

/// A refused write is tried again after this long, doubling.
const FIRST_RETRY_SECONDS: i64 = 2;
const LAST_RETRY_SECONDS: i64 = 300;
/// Pods read before others get their turn: a hundred thousand take the better part of a second.
const READ_AT_ONCE: usize = if cfg!(test) { 8 } else { 512 };
/// Namespaces that status names.
const NAMED: usize = 5;

/// How it stands and the plan, or what came in their way.
fn plan_of(set: &SidecarSet, caches: &Caches) -> (Standing, Result<Plan, PlanError>, Option<Step>) {
    let name = set.metadata.name.clone();
    let planned = contain(Step::Plan, &set.metadata.name, || {
        let standing = Judge::of(caches).standing(set);
        let mut plan = match &standing {
            Standing::Invalid(problem) => Err(problem.clone()),
            _ => Plan::new(set).map_err(|e| e.problem),
        };
        if let (Ok(plan), Standing::Missed(_)) = (&mut plan, &standing) {
            // What is stored stands for other content.
            plan.hash = None;
        }
        (standing, plan)
    });
    match planned {
        Ok((standing, plan)) => (
            standing,
            plan.map_err(|problem| PlanError { name, problem }),
            None,
        ),
        Err(step) => {
            let problem = "an internal error: see the operator's log".to_owned();
            let standing = Standing::Invalid(problem.clone());
            (standing, Err(PlanError { name, problem }), Some(step))
        }
    }
}

pub(super) struct Tracker {
    pub set: Arc<SidecarSet>,
    pub sight: Arc<Sight>,
    pub standing: Standing,
    /// Something changed that it may depend on.
    pub judge_again: bool,
    pub amendment: Amendment,
    pub plan: Result<Plan, PlanError>,
    /// Boxed: a map's nodes are half empty, and facts are large.
    pub members: BTreeMap<ObjectKey, Box<PodFacts>>,
    pub not_injected: BTreeMap<ObjectKey, Arc<PodView>>,
    /// Pods that would match, in namespaces that are never touched.
    excluded: BTreeMap<ObjectKey, ()>,
    /// Upgrades sent or about to be; true once answered and not yet seen.
    flights: BTreeMap<ObjectKey, bool>,
    /// Pods that a former leader may still update, while they are in this state.
    pub claims: BTreeMap<ObjectKey, u64>,
    refusals: BTreeMap<ObjectKey, Refusal>,
    /// The status as last written, until the cache shows it.
    pub written: Option<Value>,
    pub chore_runs: bool,
    pub status_not_before: Option<Timestamp>,
    pub chore_not_before: Option<Timestamp>,
    pub news: News,
    /// What panicked last, until it is tried again.
    pub broken: Option<Step>,
    pub panics: u32,
    pub resting_until: Option<Timestamp>,
    /// Decisions about many pods are kept apart, so that changes gather between them.
    pub decide_not_before: Option<Timestamp>,
    pub decided_at: Option<Timestamp>,
}

struct Refusal {
    why: String,
    until: Timestamp,
    wait_seconds: i64,
    /// A pod that changed since is tried again at once.
    version: Box<str>,
}

impl Tracker {
    pub async fn new(
        set: Arc<SidecarSet>,
        sight: Sight,
        claims: BTreeMap<ObjectKey, u64>,
        caches: &Caches,
        options: &Options,
    ) -> Self {
        let (standing, plan, broken) = plan_of(&set, caches);
        let mut tracker = Self {
            standing,
            judge_again: false,
            amendment: Amendment::default(),
            plan,
            broken,
            news: News::known(&set),
            set,
            sight: Arc::new(sight),
            members: BTreeMap::new(),
            not_injected: BTreeMap::new(),
            excluded: BTreeMap::new(),
            flights: BTreeMap::new(),
            claims,
            refusals: BTreeMap::new(),
            written: None,
            chore_runs: false,
            status_not_before: None,
            chore_not_before: None,
            panics: 0,
            resting_until: None,
            decide_not_before: None,
            decided_at: None,
        };
        tracker.read_all(caches, options).await;
        tracker
    }

    /// Takes a new state of the SidecarSet. Only a changed spec (which may be of the same generation, where the server
    /// was put back) or changed hashes change what pods are to it.
    pub async fn take(&mut self, set: Arc<SidecarSet>, caches: &Caches, options: &Options) {
        let same = self.set.metadata.generation == set.metadata.generation
            && self.set.metadata.annotations == set.metadata.annotations
            && self.set.metadata.uid == set.metadata.uid
            && self.set.spec == set.spec;
        self.set = set;
        self.sight.told(&self.set.metadata);
        if same {
            return;
        }
        // What was refused may be allowed now.
        self.refusals.clear();
        self.amendment = Amendment::default();
        self.panics = 0;
        self.start_over(caches, options).await;
    }

    /// Reads the SidecarSet and its pods anew, whatever happened before.
    pub async fn start_over(&mut self, caches: &Caches, options: &Options) {
        self.resting_until = None;
        self.decide_not_before = None;
        self.decided_at = None;
        self.judge_again = false;
        (self.standing, self.plan, self.broken) = plan_of(&self.set, caches);
        self.read_all(caches, options).await;
    }

    /// Judges it anew after something beside it changed.
    pub async fn judge(&mut self, caches: &Caches, options: &Options) {
        self.judge_again = false;
        let (standing, plan, broken) = plan_of(&self.set, caches);
        if standing != self.standing || broken.is_some() {
            (self.standing, self.plan, self.broken) = (standing, plan, broken);
            self.read_all(caches, options).await;
        }
    }

    /// Reads all pods anew.
    pub async fn read_all(&mut self, caches: &Caches, options: &Options) {
        self.members.clear();
        self.not_injected.clear();
        self.excluded.clear();
        if self.broken.is_some() {
            return;
        }
        for (number, (key, pod)) in caches.pods.snapshot().iter().enumerate() {
            self.read(key, Some(&pod.0), caches, options);
            if number % READ_AT_ONCE == READ_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
        }
        // Filled one by one in order, nodes of a map stay half empty; made from what is in order, they are full.
        self.members = std::mem::take(&mut self.members).into_iter().collect();
    }

    /// Reads one pod; true if it is, or was, ours.
    pub fn read(
        &mut self,
        key: &ObjectKey,
        pod: Option<&Arc<PodView>>,
        caches: &Caches,
        options: &Options,
    ) -> bool {
        // All are read anew when it is tried again.
        if self.broken.is_some() {
            return false;
        }
        let was = self.members.remove(key).is_some() | self.not_injected.remove(key).is_some();
        self.excluded.remove(key);
        let (Ok(plan), Some(pod)) = (&self.plan, pod) else {
            self.flights.remove(key);
            self.claims.remove(key);
            return was;
        };
        // Most pods are strangers: ask for the namespace only where it matters.
        let namespace = caches.namespaces.get(&ObjectKey::cluster(key.namespace.as_str()));
        let labels = namespace.as_ref().map(|n| &*n.metadata.labels);
        let membership = match contain(Step::Read, &plan.name, || PodFacts::read(plan, pod, labels)) {
            Ok(membership) => membership,
            Err(step) => {
                tracing::error!(pod = %key, "reading the pod panicked");
                self.broken = Some(step);
                return true;
            }
        };
        match membership {
            Membership::Stranger => was,
            _ if options.is_excluded(&key.namespace) => {
                self.excluded.insert(key.clone(), ());
                true
            }
            Membership::NotInjected => {
                self.not_injected.insert(key.clone(), pod.clone());
                true
            }
            Membership::Member(mut facts) => {
                self.overlay(key, &mut facts, caches);
                self.members.insert(key.clone(), facts);
                true
            }
        }
    }

    /// Adds what we did and did not get through, and what the node can do.
    fn overlay(&mut self, key: &ObjectKey, facts: &mut PodFacts, caches: &Caches) {
        if let Some(answered) = self.flights.get(key) {
            if *answered && is_all_that_is_known(key, &facts.pod, caches) {
                self.flights.remove(key);
            } else {
                facts.in_flight = true;
            }
        }
        facts.claimed = self.claims.get(key) == Some(&state_of(&facts.pod)) && !facts.in_flight;
        if !facts.claimed && !facts.in_flight {
            self.claims.remove(key);
        }
        let refusal = self
            .refusals
            .get(key)
            .filter(|r| r.version == facts.pod.resource_version);
        facts.refused = refusal.map(|r| (r.why.clone(), r.until));
        let node = facts
            .pod
            .node_name
            .as_deref()
            .and_then(|n| caches.nodes.get(&ObjectKey::cluster(n)));
        facts.old_kubelet = node.is_some_and(|n| !n.restarts_native_sidecars());
    }

    /// An upgrade is about to be sent.
    pub fn departs(&mut self, key: &ObjectKey) {
        self.flights.insert(key.clone(), false);
        if let Some(facts) = self.members.get_mut(key) {
            facts.in_flight = true;
            facts.claimed = false;
        }
    }

    pub fn has_flight(&self, key: &ObjectKey) -> bool {
        self.flights.contains_key(key)
    }

    /// A write was accepted, or its outcome is unknown: an upgrade counts until the cache has caught up. What became
    /// of a mark says nothing of an upgrade of the same pod that is on its way.
    pub fn arrived(&mut self, key: &ObjectKey, upgrade: bool) {
        self.refusals.remove(key);
        if let Some(answered) = self.flights.get_mut(key).filter(|_| upgrade) {
            *answered = true;
        }
    }

    /// An upgrade never happened.
    pub fn turned_back(&mut self, key: &ObjectKey) {
        self.flights.remove(key);
    }

    /// A write was refused for good, as far as one can tell: others go on meanwhile. True if not for the first time.
    pub fn refused(&mut self, key: &ObjectKey, upgrade: bool, why: String, now: Timestamp) -> bool {
        if upgrade {
            self.flights.remove(key);
            // What is refused to us is refused to whoever led before.
            self.claims.remove(key);
        }
        let before = self.refusals.get(key).map_or(0, |r| r.wait_seconds);
        let wait_seconds = (before * 2).clamp(FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS);
        let until = shifted(now, jiff::SignedDuration::from_secs(wait_seconds));
        let version = self
            .members
            .get(key)
            .map(|f| f.pod.resource_version.clone())
            .unwrap_or_default();
        self.refusals.insert(
            key.clone(),
            Refusal {
                why,
                until,
                wait_seconds,
                version,
            },
        );
        before > 0
    }

    /// The clock was set: everything waits as long as it would have.
    pub fn clock_was_set(&mut self, jump: jiff::SignedDuration) {
        let waits = [
            &mut self.status_not_before,
            &mut self.chore_not_before,
            &mut self.resting_until,
            &mut self.decide_not_before,
        ];
        let waits = waits.into_iter().flatten();
        let refusals = self.refusals.values_mut().map(|refusal| &mut refusal.until);
        waits.chain(refusals).for_each(|at| *at = shifted(*at, jump));
        for (key, facts) in &mut self.members {
            let refusal = self.refusals.get(key);
            if let (Some((_, until)), Some(refusal)) = (&mut facts.refused, refusal) {
                *until = refusal.until;
            }
        }
    }

    /// Looks again at pods whose writes were answered: the cache may have caught up without telling.
    pub fn settle_flights(&mut self, caches: &Caches, options: &Options) {
        let seen: Vec<ObjectKey> = self
            .flights
            .iter()
            .filter(|(key, answered)| **answered && caches.pods.is_current_for(key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in seen {
            self.flights.remove(&key);
            let pod = caches.pods.get(&key);
            self.read(&key, pod.as_ref().map(|p| &p.0), caches, options);
        }
    }

    /// Whether what was read of the pod is all that is known of it.
    pub fn is_read(&self, key: &ObjectKey, caches: &Caches) -> bool {
        let facts = self.members.get(key);
        facts.is_some_and(|facts| is_all_that_is_known(key, &facts.pod, caches))
    }

    /// Where the SidecarSet is known to be another by now, nothing that is decided would be let through.
    pub fn room(&self, room: usize) -> usize {
        let known = &self.set.metadata;
        match self.sight.contradicts(&known.uid, known.generation) {
            true => 0,
            false => room,
        }
    }

    pub fn has_flights(&self) -> bool {
        !self.flights.is_empty()
    }

    /// What status says of namespaces that are never touched.
    pub fn exclusion(&self) -> Option<WaitingOn> {
        if self.excluded.is_empty() {
            return None;
        }
        let mut namespaces: Vec<String> = self.excluded.keys().map(|k| k.namespace.to_string()).collect();
        namespaces.dedup();
        if namespaces.len() > NAMED {
            namespaces.truncate(NAMED);
            namespaces.push("...".to_owned());
        }
        Some(WaitingOn::Excluded {
            pods: u32::try_from(self.excluded.len()).unwrap_or(u32::MAX),
            namespaces,
        })
    }
}

/// Whether this is the pod as the cache holds it by now, and that includes our own writes.
fn is_all_that_is_known(key: &ObjectKey, pod: &Arc<PodView>, caches: &Caches) -> bool {
    let current = caches.pods.is_current_for(key);
    current
        && caches
            .pods
            .get(key)
            .is_some_and(|known| Arc::ptr_eq(&known.0, pod))
}
