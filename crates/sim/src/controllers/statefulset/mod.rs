//! StatefulSets: numbered pods, one after another, updated from the highest number down.
mod claims;

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::resource::STATEFUL_SETS;
use serde_json::{Value, json};

use super::pods::{Counts, available, pod_of};
use super::revision::{Revision, forget_old, revisions};
use super::rollout::resolve;
use super::{Next, Object, Outcome, World};
use crate::pod::Pod;

const HASH: &str = "controller-revision-hash";

struct Plan<'a> {
    set: &'a Object,
    first: usize,
    wanted: usize,
    parallel: bool,
    pods: BTreeMap<usize, Arc<Pod>>,
    current: &'a Revision,
    update: &'a Revision,
}

pub(super) async fn reconcile(world: &World, set: &Object) -> Outcome {
    let Some(all) = revisions(world, set).await? else {
        return Ok(Next::Stale);
    };
    let Some(update) = all.last() else {
        return Ok(Next::Quiet);
    };
    let named = |name: &Value| all.iter().find(|revision| *name == revision.name.as_str());
    let current = named(&set.status()["currentRevision"]).unwrap_or(update);
    let first = set.spec()["ordinals"]["start"].as_u64().unwrap_or(0);
    let first = usize::try_from(first).unwrap_or(0);
    let Some(pods) = world.claim_pods(set, |pod| number(set, pod).is_some()).await? else {
        return Ok(Next::Stale);
    };
    let numbered = pods.into_iter().filter_map(|pod| Some((number(set, &pod)?, pod)));
    let plan = Plan {
        set,
        first,
        wanted: set.replicas(),
        parallel: set.spec()["podManagementPolicy"] == "Parallel",
        pods: numbered.collect(),
        current,
        update,
    };
    plan.act(world).await?;
    let next = plan.write_status(world).await?;
    forget_old(world, set, &all, &[&current.name, &update.name]).await?;
    Ok(next)
}

/// The number in the pod's name.
fn number(set: &Object, pod: &Pod) -> Option<usize> {
    let rest = pod.metadata.name.strip_prefix(&set.meta.name)?;
    rest.strip_prefix('-')?.parse().ok()
}

impl Plan<'_> {
    fn revision_for(&self, number: usize) -> &Revision {
        let partition = self.set.spec()["updateStrategy"]["rollingUpdate"]["partition"]
            .as_u64()
            .unwrap_or(0);
        let on_delete = self.set.spec()["updateStrategy"]["type"] == "OnDelete";
        let keep = (number as u64) < partition && !on_delete;
        if keep || (self.is_first_pass_incomplete(number)) {
            self.current
        } else {
            self.update
        }
    }

    /// A pod lost below the ones already updated comes back as it was.
    fn is_first_pass_incomplete(&self, number: usize) -> bool {
        let updated_above = self.pods.range(number..).any(|(_, pod)| self.is_updated(pod));
        self.current.name != self.update.name
            && !updated_above
            && self.set.spec()["updateStrategy"]["type"] != "OnDelete"
            && self.pods.range(number + 1..).next().is_some()
    }

    fn is_updated(&self, pod: &Pod) -> bool {
        pod.metadata
            .labels
            .get(HASH)
            .is_some_and(|hash| *hash == self.update.name)
    }

    fn pod(&self, number: usize) -> Value {
        let revision = self.revision_for(number);
        let name = format!("{}-{number}", self.set.meta.name);
        let labels = [
            (HASH, revision.name.as_str()),
            ("statefulset.kubernetes.io/pod-name", name.as_str()),
            ("apps.kubernetes.io/pod-index", &number.to_string()),
        ];
        let mut pod = pod_of(self.set, &revision.template, &name, &labels);
        pod["spec"]["hostname"] = json!(name);
        let service = &self.set.spec()["serviceName"];
        if service.as_str().is_some_and(|name| !name.is_empty()) {
            pod["spec"]["subdomain"] = service.clone();
        }
        claims::mount(self.set, number, &mut pod);
        pod
    }

    async fn act(&self, world: &World) -> Result<(), cluster::ApiError> {
        let now = world.clock.now();
        let min_ready = self.set.count("minReadySeconds", 0);
        let good = |pod: &Pod| pod.is_active() && available(pod, min_ready, now).is_ok();
        let range = self.first..self.first + self.wanted;
        let finished: Vec<_> = self
            .pods
            .values()
            .filter(|pod| pod.is_finished() && pod.metadata.deletion_timestamp.is_none())
            .cloned()
            .collect();
        if !finished.is_empty() {
            return world.delete_pods(finished).await;
        }
        let mut missing = Vec::new();
        for number in range.clone() {
            match self.pods.get(&number) {
                None => missing.push(number),
                Some(pod) if good(pod) || self.parallel => continue,
                Some(_) if missing.is_empty() => return Ok(()),
                Some(_) => break,
            }
            if !self.parallel {
                break;
            }
        }
        if !missing.is_empty() {
            claims::ensure(world, self.set, &missing).await?;
            let bodies = missing.iter().map(|number| self.pod(*number)).collect();
            world.create_pods(self.set, bodies).await?;
            if !self.parallel {
                return Ok(());
            }
        }
        let surplus: Vec<_> = self
            .pods
            .iter()
            .rev()
            .filter(|(number, _)| !range.contains(number))
            .map(|(_, pod)| pod.clone())
            .collect();
        if !surplus.is_empty() {
            let some = if self.parallel { surplus.len() } else { 1 };
            // Without Parallel the highest goes first, and the next only when it has gone.
            let next = surplus
                .into_iter()
                .take(some)
                .filter(|pod| pod.metadata.deletion_timestamp.is_none());
            return world.delete_pods(next.collect()).await;
        }
        claims::forget_scaled_down(world, self.set, &range).await?;
        self.update_pods(world, good).await
    }

    /// Deletes outdated pods from the highest number down, as many as may be unavailable.
    async fn update_pods(&self, world: &World, good: impl Fn(&Pod) -> bool) -> Result<(), cluster::ApiError> {
        let strategy = &self.set.spec()["updateStrategy"];
        if strategy["type"] == "OnDelete" || self.current.name == self.update.name {
            return Ok(());
        }
        let rolling = &strategy["rollingUpdate"];
        let partition = rolling["partition"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(0);
        let allowed = resolve(&rolling["maxUnavailable"], "1", self.wanted, true).max(1);
        let mut down = (self.first..self.first + self.wanted)
            .filter(|number| !self.pods.get(number).is_some_and(|pod| good(pod)))
            .count();
        let mut goers = Vec::new();
        for (number, pod) in self.pods.iter().rev() {
            if *number < partition {
                break;
            }
            let outdated = !self.is_updated(pod) && pod.metadata.deletion_timestamp.is_none();
            if outdated && !good(pod) {
                // It is down already: replacing it costs nothing.
                goers.push(pod.clone());
            } else if outdated && down < allowed {
                down += 1;
                goers.push(pod.clone());
            } else if !good(pod) && down >= allowed {
                break;
            }
        }
        world.delete_pods(goers).await
    }

    async fn write_status(&self, world: &World) -> Outcome {
        let now = world.clock.now();
        let range = self.first..self.first + self.wanted;
        let there: Vec<_> = self.pods.values().filter(|pod| !pod.is_finished()).collect();
        let counts = Counts::of(there.iter().copied(), self.set.count("minReadySeconds", 0), now);
        let of = |revision: &Revision| {
            let has = |pod: &&&Arc<Pod>| pod.metadata.labels.get(HASH) == Some(&revision.name);
            there.iter().filter(has).count()
        };
        let updated = of(self.update);
        let partition = self.set.spec()["updateStrategy"]["rollingUpdate"]["partition"]
            .as_u64()
            .unwrap_or(0);
        let done = partition == 0
            && range.len() == there.len()
            && updated == there.len()
            && counts.ready == there.len();
        let current = if done { self.update } else { self.current };
        let status = json!({
            "observedGeneration": self.set.meta.generation,
            "replicas": there.len(),
            "readyReplicas": counts.ready,
            "availableReplicas": counts.available,
            "currentReplicas": of(current),
            "updatedReplicas": updated,
            "currentRevision": current.name,
            "updateRevision": self.update.name,
            "collisionCount": self.set.status()["collisionCount"].as_i64().unwrap_or(0),
        });
        world
            .write_status(&world.stateful_sets, &STATEFUL_SETS, self.set, status)
            .await?;
        Ok(counts.next.map_or(Next::Quiet, Next::At))
    }
}
