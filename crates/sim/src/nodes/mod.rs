//! Simulated nodes: one task plays the kubelets of all of them.
//!
//! One cache of pods, one heap of times, one write in flight per pod. When nothing is due and nobody changes
//! anything, the task sleeps; only heartbeats go on, and those can be switched off.
mod objects;
mod patch;
mod tracked;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cluster::resource::PODS;
use cluster::{ApiError, Cache, Door, ObjectKey, PatchKind, WriteReceipt};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use model::time::{Clock, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::clock::{WallClock, sleep_until};
use crate::kubelet::{NodeState, step};
use crate::pod::Pod;
use crate::script::Script;
use tracked::{Tracked, Write, remove};

/// Which nodes there are, and how they behave.
#[derive(Clone)]
pub struct NodesOptions {
    pub count: usize,
    /// `sim-` names nodes `sim-0`, `sim-1`, ...
    pub name_prefix: String,
    pub cpu: String,
    pub memory: String,
    pub pods: u32,
    pub labels: BTreeMap<String, String>,
    /// As in `spec.taints`.
    pub taints: Vec<Value>,
    pub kubelet_version: String,
    pub heartbeats: Option<Heartbeats>,
    pub script: Script,
    pub seed: u64,
    pub clock: Arc<dyn Clock>,
    /// Writes in flight at once.
    pub in_flight: usize,
}

/// Lease renewal.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeats {
    pub lease: Duration,
    pub renew: Duration,
}

impl Default for NodesOptions {
    fn default() -> Self {
        Self {
            count: 3,
            name_prefix: "sim-".to_owned(),
            cpu: "64".to_owned(),
            memory: "256Gi".to_owned(),
            pods: 5000,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            kubelet_version: "v1.36.3".to_owned(),
            heartbeats: Some(Heartbeats {
                lease: Duration::from_secs(40),
                renew: Duration::from_secs(10),
            }),
            script: Script::default(),
            seed: 0,
            clock: Arc::new(WallClock),
            in_flight: 128,
        }
    }
}

/// What the containers of simulated pods "printed".
#[derive(Clone, Default)]
pub struct Logs {
    pods: Arc<Mutex<BTreeMap<ObjectKey, Tracked>>>,
}

impl Logs {
    /// Lines of one container so far; `None` if no such pod is simulated.
    pub fn lines(&self, pod: &ObjectKey, container: &str) -> Option<Vec<String>> {
        self.lock().get(pod).map(|tracked| tracked.state.log(container))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Tracked>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Pod(ObjectKey),
    Retry(ObjectKey),
    Renew(usize),
}

enum Done {
    Status(ObjectKey, Value, Result<WriteReceipt, ApiError>),
    Removed(ObjectKey, Result<(), ApiError>),
    Renewed(usize, Result<(), ApiError>),
}

/// Simulated nodes.
pub struct Nodes {
    door: Door,
    pods: Cache<Pod>,
    options: NodesOptions,
    nodes: Vec<NodeState>,
    by_name: BTreeMap<String, usize>,
    logs: Logs,
    rng: StdRng,
    due: BinaryHeap<Reverse<(Timestamp, Due)>>,
    ready: BTreeSet<ObjectKey>,
    writes: FuturesUnordered<BoxFuture<'static, Done>>,
}

impl Nodes {
    /// Registers the nodes and plays their kubelets until `shutdown`. `pods` is a cache of (at least) the pods
    /// that may come to these nodes.
    pub async fn run(
        door: Door,
        pods: Cache<Pod>,
        options: NodesOptions,
        logs: Logs,
        shutdown: CancellationToken,
    ) {
        let nodes: Vec<_> = (0..options.count).map(|i| objects::state(&options, i)).collect();
        let by_name = nodes
            .iter()
            .enumerate()
            .map(|(i, node)| (node.name.clone(), i))
            .collect();
        let rng = StdRng::seed_from_u64(options.seed);
        let mut this = Self {
            door,
            pods,
            options,
            nodes,
            by_name,
            logs,
            rng,
            due: BinaryHeap::new(),
            ready: BTreeSet::new(),
            writes: FuturesUnordered::new(),
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = this.play() => {}
        }
    }

    async fn play(&mut self) {
        for node in 0..self.nodes.len() {
            objects::register(&self.door, &self.options, &self.nodes[node]).await;
            if let Some(beats) = self.options.heartbeats {
                let first = beats.renew.mul_f64(self.rng.random_range(0.0..1.0));
                self.wake_at(self.options.clock.now() + first, Due::Renew(node));
            }
        }
        let mut changes = self.pods.changes();
        loop {
            self.send_ready();
            let next = self.due.peek().map(|Reverse((at, _))| *at);
            tokio::select! {
                biased;
                Some(done) = self.writes.next(), if !self.writes.is_empty() => self.finish(done),
                key = changes.next() => match key {
                    Some(key) => self.look(&key),
                    None => return,
                },
                () = sleep_until(&self.options.clock, next) => self.handle_due(),
            }
        }
    }

    fn handle_due(&mut self) {
        let now = self.options.clock.now();
        while let Some(Reverse((at, _))) = self.due.peek() {
            if *at > now {
                return;
            }
            let Some(Reverse((at, due))) = self.due.pop() else {
                return;
            };
            match due {
                Due::Renew(node) => self.renew(node),
                Due::Retry(key) => {
                    self.ready.insert(key);
                }
                Due::Pod(key) => {
                    let current = self.logs.lock().get(&key).is_some_and(|t| t.wake == Some(at));
                    if current {
                        self.look(&key);
                    }
                }
            }
        }
    }

    /// Brings one pod to the present.
    fn look(&mut self, key: &ObjectKey) {
        let pod = self.pods.get(key);
        let node = pod
            .as_ref()
            .and_then(|pod| self.by_name.get(&pod.spec.node_name).copied());
        let logs = self.logs.clone();
        let mut tracked = logs.lock();
        let (Some(pod), Some(node)) = (pod, node) else {
            tracked.remove(key);
            return;
        };
        if tracked
            .get(key)
            .is_some_and(|known| known.uid != pod.metadata.uid)
        {
            tracked.remove(key);
        }
        let known = tracked.entry(key.clone()).or_insert_with(|| Tracked::new(&pod));
        let now = self.options.clock.now();
        let script = &self.options.script;
        let out = step(
            &pod,
            &mut known.state,
            &mut self.nodes[node],
            now,
            script,
            &mut self.rng,
        );
        known.queue.extend(out.statuses);
        known.remove |= out.remove;
        if self.pods.is_current_for(key) {
            known.tell_again_if_lost(&pod.status);
        }
        if known.has_work() {
            self.ready.insert(key.clone());
        }
        known.wake = out.wake;
        if let Some(wake) = out.wake {
            // Never at once again: what is due was handled.
            let wake = wake.max(now + Duration::from_millis(1));
            known.wake = Some(wake);
            self.due.push(Reverse((wake, Due::Pod(key.clone()))));
        }
    }

    fn send_ready(&mut self) {
        while self.writes.len() < self.options.in_flight {
            let Some(key) = self.ready.pop_first() else { return };
            let write = self.logs.lock().get_mut(&key).and_then(Tracked::next_write);
            let Some((uid, write)) = write else { continue };
            let door = self.door.clone();
            self.writes.push(Box::pin(async move {
                match write {
                    Write::Status { status, body } => {
                        let (ns, name) = (key.namespace(), &key.name);
                        let kind = PatchKind::Strategic;
                        let answer = door.patch_as(&PODS, ns, name, kind, &body, Some("status")).await;
                        Done::Status(key, status, answer)
                    }
                    Write::Remove => {
                        let answer = remove(&door, &key, uid).await;
                        Done::Removed(key, answer)
                    }
                }
            }));
        }
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Status(key, status, answer) => self.status_written(key, status, answer),
            Done::Removed(key, Ok(())) => {
                self.logs.lock().remove(&key);
            }
            Done::Removed(key, Err(error)) if error.is_not_found() || error.is_conflict() => {
                self.logs.lock().remove(&key);
            }
            Done::Removed(key, Err(error)) => self.retry(key, &error),
            Done::Renewed(node, answer) => {
                if let Err(error) = answer {
                    tracing::warn!(node = self.nodes[node].name, %error, "lease not renewed");
                }
            }
        }
    }

    fn status_written(&mut self, key: ObjectKey, status: Value, answer: Result<WriteReceipt, ApiError>) {
        let mut tracked = self.logs.lock();
        let Some(known) = tracked.get_mut(&key) else {
            return;
        };
        match answer {
            Ok(receipt) if receipt.metadata.uid == known.uid => {
                self.pods.observe(&receipt);
                known.writing = false;
                known.acked = status;
                if known.has_work() {
                    self.ready.insert(key);
                }
            }
            // Another pod has its name by now; its own changes come by the cache.
            Ok(_) => known.writing = false,
            Err(error) if error.is_not_found() || error.is_conflict() => {
                tracked.remove(&key);
                drop(tracked);
                self.look(&key);
            }
            Err(error) => {
                if error.is_transient() {
                    known.queue.push_front(status);
                } else {
                    // It will not be taken; the next one is sent whole.
                    known.acked = Value::Null;
                }
                drop(tracked);
                self.retry(key, &error);
            }
        }
    }

    fn retry(&mut self, key: ObjectKey, error: &ApiError) {
        tracing::warn!(pod = %key, %error, "simulated kubelet could not write");
        if let Some(known) = self.logs.lock().get_mut(&key) {
            known.writing = false;
        }
        let at = self.options.clock.now() + Duration::from_secs(1);
        self.wake_at(at, Due::Retry(key));
    }

    fn renew(&mut self, node: usize) {
        let Some(beats) = self.options.heartbeats else {
            return;
        };
        let now = self.options.clock.now();
        let next = beats.renew.mul_f64(self.rng.random_range(0.9..1.1));
        self.wake_at(now + next, Due::Renew(node));
        let door = self.door.clone();
        let name = self.nodes[node].name.clone();
        self.writes.push(Box::pin(async move {
            let answer = objects::renew(&door, &name, beats, now).await;
            Done::Renewed(node, answer)
        }));
    }

    fn wake_at(&mut self, at: Timestamp, due: Due) {
        self.due.push(Reverse((at, due)));
    }
}
