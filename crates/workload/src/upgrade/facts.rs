//! What one pod is to one SidecarSet, read once per change of the pod.
use super::annotations::{hash_entry, is_injected, recorded_images, replaced_containers};
use super::completion::{Completion, Records, completion};
use super::patch;
use super::plan::Plan;
use model::pod::{PodPhase, PodView, intern};
use model::sidecarset::keys;
use model::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whether a pod counts for a SidecarSet.
#[derive(Debug, Clone)]
pub enum Membership {
    Stranger,
    /// Selected and active, created after the SidecarSet, and yet without its sidecars.
    NotInjected,
    Member(Box<PodFacts>),
}

/// Whether, and why not, an outdated pod can change in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InPlace {
    Possible,
    /// More than images differ.
    OtherChange,
    /// The image of this hot-upgrade container differs.
    Hot(String),
    /// Only a kubelet that restarts native sidecars can do it.
    Native,
    Unreadable(String),
}

/// A matched pod.
#[derive(Debug, Clone)]
pub struct PodFacts {
    pub pod: Arc<PodView>,
    pub updated: bool,
    pub in_place: InPlace,
    pub completion: Completion,
    /// Running, Ready and not terminating.
    pub available: bool,
    /// When the pod's hash entry was last written.
    pub updated_at: Option<Timestamp>,
    /// The revision it was injected or updated from.
    pub revision: Arc<str>,
    /// This SidecarSet updated the pod in place before.
    pub was_updated: bool,
    /// A write of ours is not visible in `pod` yet: it counts as updated and not ready.
    pub in_flight: bool,
    /// A former leader may still update it at any moment: it has a place in the budget.
    pub claimed: bool,
    /// A write of ours was refused for this reason: not tried again until this time.
    pub refused: Option<(String, Timestamp)>,
    /// What the pod's SidecarSetUpgradable condition says of this SidecarSet.
    pub marked: Option<bool>,
    /// The node's kubelet does not restart native sidecars.
    pub old_kubelet: bool,
}

impl PodFacts {
    /// Reads a pod. `namespace` are the labels of its namespace, if it can be read.
    pub fn read(plan: &Plan, pod: &Arc<PodView>, namespace: Option<&BTreeMap<String, String>>) -> Membership {
        if !pod.is_active() || !plan.selects(|key| pod.labels.get(key), namespace) {
            return Membership::Stranger;
        }
        if !is_injected(pod, &plan.name) {
            let younger = pod.creation_timestamp > plan.created;
            return if younger && !plan.injection_paused {
                Membership::NotInjected
            } else {
                Membership::Stranger
            };
        }
        let there = |name: &str| pod.container(name).is_some();
        let complete = plan.containers.iter().all(|c| match c.hot {
            true => c.slots().iter().all(|slot| there(slot)),
            false => there(&c.name),
        });
        if !complete {
            return Membership::Stranger;
        }
        Membership::Member(Box::new(Self::of_member(plan, pod)))
    }

    fn of_member(plan: &Plan, pod: &Arc<PodView>) -> Self {
        let read = |key| hash_entry(pod, key, &plan.name);
        let (entry, without_image) = match (read(keys::HASH), read(keys::HASH_WITHOUT_IMAGE)) {
            (Ok(entry), Ok(without)) => (entry, Ok(without)),
            (Ok(entry), Err(e)) => (entry, Err(e)),
            (Err(e), _) => (Default::default(), Err(e)),
        };
        let updated = !entry.hash.is_empty() && plan.hash.as_deref() == Some(entry.hash.as_str());
        let in_place = match without_image {
            Err(problem) => InPlace::Unreadable(problem),
            Ok(without) if Some(without.hash.as_str()) != plan.hash_without_image.as_deref() => {
                InPlace::OtherChange
            }
            Ok(_) => in_place(plan, pod),
        };
        let recorded = recorded_images(pod, &plan.name);
        let was_updated = recorded.is_some();
        let records = Records {
            images: recorded.unwrap_or_default(),
            replaced: replaced_containers(pod, &plan.name),
            updated: entry.updated,
        };
        let own = plan.containers.iter().filter(|c| !c.hot).chain(&plan.natives);
        Self {
            completion: completion(pod, own.filter(|c| has(pod, &c.name)), &records),
            available: pod.phase == PodPhase::Running && pod.is_ready() && pod.deletion_timestamp.is_none(),
            updated_at: entry.updated,
            revision: intern(&entry.revision),
            pod: pod.clone(),
            updated,
            in_place,
            was_updated,
            in_flight: false,
            claimed: false,
            refused: None,
            old_kubelet: false,
            marked: patch::marked(pod, &plan.name),
        }
    }

    /// Counts as on the current revision, our own writes included.
    pub fn counts_updated(&self) -> bool {
        self.updated || self.in_flight
    }

    /// Consistent and available, our own writes included.
    pub fn is_ready(&self, now: Timestamp) -> bool {
        !self.in_flight && self.available && self.completion.is_done(now)
    }

    /// `namespace/name`.
    pub fn unit(&self) -> String {
        format!("{}/{}", self.pod.namespace, self.pod.name)
    }
}

fn has(pod: &PodView, name: &str) -> bool {
    pod.container(name).is_some() || pod.init_container(name).is_some()
}

fn in_place(plan: &Plan, pod: &PodView) -> InPlace {
    let working = pod
        .annotations
        .get(keys::WORKING_HOT_CONTAINER)
        .unwrap_or_default();
    let working: BTreeMap<String, String> = serde_json::from_str(working).unwrap_or_default();
    for hot in plan.containers.iter().filter(|c| c.hot) {
        let [first, second] = hot.slots();
        let slot = if working.get(&hot.name) == Some(&first) {
            first
        } else {
            second
        };
        if pod.container(&slot).is_some_and(|c| *c.image != *hot.image) {
            return InPlace::Hot(hot.name.clone());
        }
    }
    let differs = |name: &str, image: &str| pod.init_container(name).is_some_and(|c| *c.image != *image);
    match plan.natives.iter().any(|c| differs(&c.name, &c.image)) {
        true => InPlace::Native,
        false => InPlace::Possible,
    }
}
