//! What pods are decided on beside themselves: their nodes, and whether they are in doubt.
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
    pub(super) fn is_sure_again(&mut self) {
        self.doubt = None;
        self.dirty.extend(self.trackers.keys().cloned());
    }
}

/// What is in doubt now, and since when it is known to be; `known` until it is over.
pub(super) fn doubt_now(known: &mut Option<Doubt>, caches: &Caches, now: Timestamp) -> Option<Doubt> {
    let kind = caches.in_doubt()?;
    let since = known.map_or(now, |doubt| doubt.since);
    *known = Some(Doubt { kind, since });
    *known
}
