//! Which daemon pods come and go in one turn.
use std::collections::BTreeMap;
use std::sync::Arc;

use model::time::Timestamp;

use super::HASH;
use crate::controllers::Object;
use crate::controllers::pods::available;
use crate::controllers::revision::Revision;
use crate::controllers::rollout::resolve;
use crate::pod::Pod;

/// What a turn does.
pub(super) struct Turn<'a> {
    /// Nodes that get a pod of the newest revision.
    pub make: Vec<&'a str>,
    pub remove: Vec<Arc<Pod>>,
}

type ByNode = BTreeMap<String, Vec<Arc<Pod>>>;

struct Rules<'a> {
    update: &'a Revision,
    min_ready: i64,
    now: Timestamp,
    surge: usize,
    unavailable: usize,
    on_delete: bool,
}

pub(super) fn turn<'a>(
    set: &Object,
    update: &Revision,
    wanted: &[&'a str],
    by_node: &ByNode,
    now: Timestamp,
) -> Turn<'a> {
    let strategy = &set.spec()["updateStrategy"];
    let rolling = &strategy["rollingUpdate"];
    let surge = resolve(&rolling["maxSurge"], "0", wanted.len(), true);
    let unavailable = resolve(&rolling["maxUnavailable"], "1", wanted.len(), true);
    let rules = Rules {
        update,
        min_ready: set.count("minReadySeconds", 0),
        now,
        surge,
        unavailable: if surge == 0 {
            unavailable.max(1)
        } else {
            unavailable
        },
        on_delete: strategy["type"] == "OnDelete",
    };
    let mut turn = Turn {
        make: Vec::new(),
        remove: Vec::new(),
    };
    rules.keep_one_each(wanted, by_node, &mut turn);
    if !rules.on_delete && surge > 0 {
        rules.surge(wanted, by_node, &mut turn);
    } else if !rules.on_delete {
        rules.replace(wanted, by_node, &mut turn);
    }
    turn
}

impl Rules<'_> {
    fn is_updated(&self, pod: &Pod) -> bool {
        pod.metadata.labels.get(HASH) == Some(&self.update.hash)
    }

    fn is_good(&self, pod: &Pod) -> bool {
        available(pod, self.min_ready, self.now).is_ok()
    }

    /// One pod per node that wants one; two while the newer stands in for the older.
    fn keep_one_each<'a>(&self, wanted: &[&'a str], by_node: &ByNode, turn: &mut Turn<'a>) {
        for (node, pods) in by_node {
            let mut living: Vec<_> = pods
                .iter()
                .filter(|pod| pod.metadata.deletion_timestamp.is_none())
                .collect();
            if !wanted.contains(&node.as_str()) {
                turn.remove.extend(living.into_iter().cloned());
                continue;
            }
            // Failed ones are replaced; of several the oldest stays.
            living.sort_by_key(|pod| (pod.is_finished(), pod.metadata.creation_timestamp));
            let mut kept: Vec<bool> = Vec::new();
            for pod in living {
                let updated = self.is_updated(pod);
                let room = if self.surge > 0 && !self.on_delete {
                    !kept.contains(&updated)
                } else {
                    kept.is_empty()
                };
                if room && !pod.is_finished() {
                    kept.push(updated);
                } else {
                    turn.remove.push(pod.clone());
                }
            }
        }
        let bare = |node: &&&str| by_node.get(**node).is_none_or(Vec::is_empty);
        turn.make.extend(wanted.iter().filter(bare));
    }

    /// Outdated pods go first, as many as may be unavailable.
    fn replace<'a>(&self, wanted: &[&'a str], by_node: &ByNode, turn: &mut Turn<'a>) {
        let pod_on = |node: &str| by_node.get(node)?.iter().find(|p| p.is_active());
        let up = |node: &&&str| pod_on(node).is_some_and(|pod| self.is_good(pod));
        let down = wanted.len() - wanted.iter().filter(up).count();
        let mut left = self.unavailable.saturating_sub(down);
        for pod in wanted.iter().filter_map(|node| pod_on(node)) {
            if self.is_updated(pod) {
                continue;
            }
            if !self.is_good(pod) {
                turn.remove.push(pod.clone());
            } else if left > 0 {
                left -= 1;
                turn.remove.push(pod.clone());
            }
        }
    }

    /// New pods come first, as many as may be in surplus; an old one goes when its successor is available.
    fn surge<'a>(&self, wanted: &[&'a str], by_node: &ByNode, turn: &mut Turn<'a>) {
        let (mut at_once, mut candidates, mut surging) = (Vec::new(), Vec::new(), 0);
        for node in wanted {
            let of = |updated: bool| {
                let pods = by_node.get(*node)?;
                pods.iter()
                    .find(|p| p.is_active() && self.is_updated(p) == updated)
            };
            match (of(false), of(true)) {
                (None, _) => {}
                (Some(old), None) if !self.is_good(old) => at_once.push(*node),
                (Some(_), None) => candidates.push(*node),
                (Some(old), Some(new)) if self.is_good(new) => turn.remove.push(old.clone()),
                (Some(_), Some(_)) => surging += 1,
            }
        }
        candidates.truncate(self.surge.saturating_sub(surging));
        turn.make.extend(at_once.into_iter().chain(candidates));
    }
}
