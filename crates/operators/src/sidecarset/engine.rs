//! The leader's loop: changes in, decisions made, writes out, their answers in again.
mod chores;
mod jobs;
mod pace;
mod recording;
mod surroundings;
mod trouble;

use super::contain::{Step, contain};
use super::injection::{Injection, InjectionReceiver};
use super::intents::{Intents, Ledger, state_of};
use super::reconcile::{Wanted, reconcile};
use super::sight::Sight;
use super::tracker::Tracker;
use super::views::Caches;
use crate::{Metrics, Options};
use cluster::{Changes, Door, LeaderGuard, ObjectKey, Recorder};
use jobs::{Done, Job};
use model::time::Timestamp;
pub(super) use pace::shifted;
use pace::{Pace, later};
use recording::Recording;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use surroundings::doubt_now;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::field::Empty;
use workload::sidecarset::standing::Standing;
use workload::upgrade::{Action, Doubt};

/// While writes are awaited, they are looked for at least so often.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Writes decided and not sent yet, at most: what is decided later is decided on newer facts.
const WRITES_AHEAD: usize = 512;
/// With more than this many still to send there is nothing to decide but what status says.
const PLENTY: usize = WRITES_AHEAD / 2;
/// A decision that took longer is followed by a rest of some times its length, in which changes gather.
const CHEAP: Duration = Duration::from_millis(2);
const REST_FACTOR: u32 = 4;
/// Names us on events.
const CONTROLLER: &str = "tidegate.dev/sidecarset";

pub(super) struct Engine {
    door: Door,
    leader: Option<Arc<LeaderGuard>>,
    caches: Caches,
    options: Arc<Options>,
    metrics: Arc<Metrics>,
    recorder: Recorder,
    injection: InjectionReceiver,
    injection_seen: Injection,
    trackers: BTreeMap<String, Tracker>,
    dirty: BTreeSet<String>,
    wakes: BTreeMap<String, Timestamp>,
    /// Something was not decided for it.
    doubt: Option<Doubt>,
    pace: Pace,
    queue: VecDeque<Job>,
    recording: Recording,
    inherited: Intents,
    in_queue: BTreeSet<(String, ObjectKey, bool)>,
    running: usize,
    tasks: JoinSet<()>,
    done: mpsc::UnboundedSender<Done>,
}

impl Engine {
    pub fn new(
        door: &Door,
        leader: Option<Arc<LeaderGuard>>,
        caches: Caches,
        options: Arc<Options>,
        metrics: Arc<Metrics>,
        mut injection: InjectionReceiver,
    ) -> (Self, Answers) {
        // A subscriber takes what stands for seen: what was covered while we waited for the lease would go unread.
        injection.mark_changed();
        let recorder = Recorder::start(door, CONTROLLER, &options.identity, options.clocks.wall.clone());
        let (done, answers) = mpsc::unbounded_channel();
        let pace = Pace::beginning(options.clocks.wall.now());
        let engine = Self {
            door: door.clone(),
            leader,
            caches,
            options,
            metrics,
            recorder,
            injection,
            injection_seen: Injection::default(),
            trackers: BTreeMap::new(),
            dirty: BTreeSet::new(),
            wakes: BTreeMap::new(),
            doubt: None,
            pace,
            queue: VecDeque::new(),
            recording: Recording::default(),
            inherited: Intents::default(),
            in_queue: BTreeSet::new(),
            running: 0,
            tasks: JoinSet::new(),
            done,
        };
        (engine, Answers(answers))
    }

    /// From now on upgrades are recorded before they are sent; what a former leader recorded counts.
    pub fn inherit(&mut self, ledger: Ledger, intents: Intents) {
        self.recording.ledger = Some(ledger);
        self.inherited = intents;
    }

    /// Runs until cancelled; dropping it drops what was not sent.
    pub async fn run(mut self, mut answers: Answers) {
        let mut pods = self.caches.pods.changes();
        let mut sets = self.caches.sets.changes();
        let mut namespaces = self.caches.namespaces.changes();
        let mut nodes = self.caches.nodes.changes();
        let mut revisions = self.caches.revisions.changes();
        let mut whitelists = self.caches.whitelists.changes();
        // What there is now is read below; what changes meanwhile is told.
        pods.drain();
        namespaces.drain();
        nodes.drain();
        revisions.drain();
        whitelists.drain();
        loop {
            if self.leader.as_ref().is_some_and(|leader| leader.left().is_none()) {
                // Every write would be refused, and decided again at once. Whoever runs us is told, and drops us.
                std::future::pending::<()>().await;
            }
            // Whatever woke us, decisions are made on what is known by now; pods are read against SidecarSets.
            let changed = sets.drain();
            if !changed.is_empty() {
                self.sets_changed(changed).await;
            }
            self.pods_changed(pods.drain());
            self.reconcile_dirty().await;
            self.start_recording();
            self.start_jobs();
            let wake = self.next_wake();
            tokio::select! {
                biased;
                key = sets.next() => self.sets_changed(all(key, &mut sets)).await,
                Some(done) = answers.0.recv() => {
                    self.answered(done);
                    while let Ok(done) = answers.0.try_recv() {
                        self.answered(done);
                    }
                }
                key = pods.next() => self.pods_changed(all(key, &mut pods)),
                key = namespaces.next() => { all(key, &mut namespaces); self.read_all().await; }
                key = nodes.next() => self.nodes_changed(&all(key, &mut nodes)),
                key = revisions.next() => {
                    all(key, &mut revisions);
                    self.dirty.extend(self.trackers.keys().cloned());
                    self.judge_again(|standing| !standing.is_settled());
                }
                key = whitelists.next() => {
                    all(key, &mut whitelists);
                    self.judge_again(|standing| !standing.may_be_acted_upon());
                }
                Ok(()) = self.injection.changed() => self.injection_changed(),
                () = self.caches.sure(), if self.doubt.is_some() => self.is_sure_again(),
                () = self.caches.doubted(), if self.doubt.is_none() && self.moves() => self.is_in_doubt(),
                () = tokio::time::sleep(wake) => self.woken(),
            }
            while self.tasks.try_join_next().is_some() {}
        }
    }

    async fn sets_changed(&mut self, keys: Vec<ObjectKey>) {
        for key in keys {
            let name = key.name.to_string();
            match self.caches.sets.get(&key) {
                Some(set) if set.0.metadata.deletion_timestamp.is_none() => {
                    let set = set.0.clone();
                    match self.trackers.get_mut(&name) {
                        Some(tracker) if tracker.set.metadata.uid == set.metadata.uid => {
                            // After a server was put back the same generation may be of another spec.
                            let keep = (tracker.set.spec == set.spec).then_some(set.metadata.generation);
                            tracker.take(set, &self.caches, &self.options).await;
                            self.drop_jobs(&name, keep);
                        }
                        _ => {
                            self.drop_jobs(&name, None);
                            let claims = self.inherited.of(&name);
                            let sight = Sight::new(&self.door, &self.caches.sets, &name);
                            let tracker = Tracker::new(set, sight, claims, &self.caches, &self.options).await;
                            self.trackers.insert(name.clone(), tracker);
                        }
                    }
                    self.dirty.insert(name);
                }
                _ => {
                    self.drop_jobs(&name, None);
                    self.trackers.remove(&name);
                    self.wakes.remove(&name);
                    self.metrics.forget(&name);
                }
            }
        }
        self.judge_again(|standing| !standing.may_be_acted_upon());
    }

    /// Those that stand so are judged anew: what they depend on beside themselves has changed.
    fn judge_again(&mut self, which: impl Fn(&Standing) -> bool) {
        for (name, tracker) in &mut self.trackers {
            if which(&tracker.standing) {
                tracker.judge_again = true;
                self.dirty.insert(name.clone());
            }
        }
    }

    fn pods_changed(&mut self, keys: Vec<ObjectKey>) {
        for key in keys {
            let pod = self.caches.pods.get(&key);
            for (name, tracker) in &mut self.trackers {
                if tracker.read(&key, pod.as_ref().map(|p| &p.0), &self.caches, &self.options) {
                    self.dirty.insert(name.clone());
                }
            }
        }
    }

    async fn read_all(&mut self) {
        for (name, tracker) in &mut self.trackers {
            tracker.read_all(&self.caches, &self.options).await;
            self.dirty.insert(name.clone());
        }
    }

    async fn reconcile_dirty(&mut self) {
        for name in std::mem::take(&mut self.dirty) {
            let now = self.now();
            let Some(tracker) = self.trackers.get_mut(&name) else {
                continue;
            };
            self.wakes.remove(&name);
            let pending = self.queue.len() + self.recording.pending();
            let status_due = tracker.decided_at.filter(|_| pending > PLENTY);
            let status_due = status_due.and_then(|at| at.checked_add(self.options.status_every).ok());
            if let Some(at) = status_due.max(tracker.decide_not_before).filter(|at| *at > now) {
                self.wakes.insert(name.clone(), at);
                continue;
            }
            if let Some(at) = tracker.resting_until {
                if at > now {
                    self.wakes.insert(name.clone(), at);
                    self.show_broken(&name, now);
                    continue;
                }
                tracker.start_over(&self.caches, &self.options).await;
            }
            if tracker.judge_again {
                tracker.judge(&self.caches, &self.options).await;
            }
            tracker.settle_flights(&self.caches, &self.options);
            if let Some(step) = tracker.broken {
                self.panicked(&name, step, now);
                continue;
            }
            let span = tracing::info_span!(
                "reconcile",
                sidecarset = name,
                generation = tracker.set.metadata.generation,
                matched = Empty,
                updated = Empty,
                writes = Empty,
                waits_for = Empty
            );
            let _entered = span.enter();
            let started = Instant::now();
            let (caches, options) = (&self.caches, &self.options);
            let injection = &self.injection_seen;
            let doubt = doubt_now(&mut self.doubt, caches, now);
            let room = tracker.room(WRITES_AHEAD.saturating_sub(pending));
            let result = contain(Step::Decide, &name, || {
                reconcile(tracker, caches, injection, options, (doubt, room), now)
            });
            let took = started.elapsed();
            self.metrics.reconciled(&name, took);
            tracker.decided_at = Some(now);
            tracker.decide_not_before = (took > CHEAP)
                .then(|| now.checked_add(took * REST_FACTOR).ok())
                .flatten();
            match result {
                Ok(wanted) => {
                    tracker.panics = 0;
                    self.apply(&name, wanted, now);
                }
                Err(step) => self.panicked(&name, step, now),
            }
        }
    }

    fn injection_changed(&mut self) {
        let now = self.injection.borrow_and_update().clone();
        self.dirty.extend(now.changed_since(&self.injection_seen));
        self.injection_seen = now;
    }

    fn apply(&mut self, name: &str, wanted: Wanted, now: Timestamp) {
        self.figures(name, &wanted);
        let Some(tracker) = self.trackers.get_mut(name) else {
            return;
        };
        let decided_on = tracker.set.clone();
        let moved = !wanted.actions.is_empty();
        let upgrades = wanted
            .actions
            .iter()
            .filter(|a| matches!(a, Action::Upgrade(_)))
            .count();
        let news = tracker.news.of_decision(&tracker.set, &wanted.report, upgrades);
        news.into_iter().for_each(|event| self.recorder.record(event));
        for action in wanted.actions {
            let (key, upgrade) = match &action {
                Action::Upgrade(u) => (ObjectKey::new(&u.namespace, &u.name), true),
                Action::Mark(m) => (ObjectKey::new(&m.namespace, &m.name), false),
            };
            // A mark that is not seen yet is not sent twice: nor is one that is seen, and not read.
            if !upgrade && !tracker.is_read(&key, &self.caches) {
                continue;
            }
            if !self.in_queue.insert((name.to_owned(), key.clone(), upgrade)) {
                continue;
            }
            let state = tracker.members.get(&key).map_or(0, |f| state_of(&f.pod));
            if upgrade {
                tracker.departs(&key);
            }
            let job = Job {
                set: name.to_owned(),
                decided_on: decided_on.clone(),
                key,
                state,
                action,
                decided: tracing::Span::current(),
            };
            match upgrade && self.recording.ledger.is_some() {
                true => self.recording.waiting.push_back(job),
                false => self.queue.push_back(job),
            }
        }
        let mut wake = wanted.wake_at;
        if tracker.has_flights() {
            wake = Some(later(now, LOOK_AGAIN.as_secs() as i64).min(wake.unwrap_or(Timestamp::MAX)));
        }
        if let Some(at) = wake {
            self.wakes.insert(name.to_owned(), at);
        }
        if !moved || wanted.chore.status.is_some() {
            self.start_chore(name, wanted.chore, now);
        }
    }

    fn figures(&self, name: &str, wanted: &Wanted) {
        let report = &wanted.report;
        self.metrics.pods(name, &report.counts, &report.waiting);
        let span = tracing::Span::current();
        span.record("matched", report.counts.matched);
        span.record("updated", report.counts.updated);
        span.record("writes", wanted.actions.len());
        if let Some(first) = report.waiting.first() {
            span.record("waits_for", first.reason());
        }
    }
}

/// Where answers to writes come in.
pub(super) struct Answers(mpsc::UnboundedReceiver<Done>);

/// A first key and all others there are now.
fn all(first: Option<ObjectKey>, changes: &mut Changes) -> Vec<ObjectKey> {
    let mut keys: Vec<ObjectKey> = first.into_iter().collect();
    keys.extend(changes.drain());
    keys
}
