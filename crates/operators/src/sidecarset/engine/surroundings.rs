//! What pods are decided on beside themselves: their nodes, and whether they are in doubt.
use super::super::tracker::Tracker;
use super::super::views::Caches;
use super::Engine;
use cluster::ObjectKey;
use model::time::Timestamp;
use std::collections::BTreeMap;
use workload::upgrade::Doubt;

impl Engine {
    /// Kubelets report every few seconds; only a change of version matters.
    pub(super) fn nodes_changed(&mut self, keys: &[ObjectKey]) {
        let changed: BTreeMap<&str, bool> = keys
            .iter()
            .filter_map(|key| {
                let node = self.caches.nodes.get(key)?;
                Some((key.name.as_str(), !node.restarts_native_sidecars()))
            })
            .collect();
        for (name, tracker) in &mut self.trackers {
            for facts in tracker.members.values_mut() {
                let old = facts
                    .pod
                    .node_name
                    .as_deref()
                    .and_then(|n| changed.get(n))
                    .copied();
                if let Some(old) = old.filter(|old| *old != facts.old_kubelet) {
                    facts.old_kubelet = old;
                    self.dirty.insert(name.clone());
                }
            }
        }
    }

    /// What was not decided while in doubt is decided now.
    /// Whether an upgrade is under way by what was last said of it: only then is a doubt worth a list at once.
    pub(super) fn moves(&self) -> bool {
        self.trackers.values().any(is_moving)
    }

    /// Nothing else may happen that would have it decided again, and status would go on naming another reason.
    pub(super) fn is_in_doubt(&mut self) {
        let now = self.now();
        doubt_now(&mut self.doubt, &self.caches, now);
        let moving = self.trackers.iter().filter(|(_, tracker)| is_moving(tracker));
        self.dirty.extend(moving.map(|(name, _)| name.clone()));
    }

    pub(super) fn is_sure_again(&mut self) {
        self.doubt = None;
        self.dirty.extend(self.trackers.keys().cloned());
    }
}

fn is_moving(tracker: &Tracker) -> bool {
    let status = &tracker.set.status;
    status.updated_ready_pods < status.matched_pods
}

/// What is in doubt now, and since when it is known to be; `known` until it is over.
pub(super) fn doubt_now(known: &mut Option<Doubt>, caches: &Caches, now: Timestamp) -> Option<Doubt> {
    let kind = caches.in_doubt()?;
    let since = known.map_or(now, |doubt| doubt.since);
    *known = Some(Doubt { kind, since });
    *known
}
