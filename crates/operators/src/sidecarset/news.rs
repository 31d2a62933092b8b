//! What is told as Kubernetes events: beginnings, ends and obstacles, each once for a generation of the spec.
//! Everything else is in status.
use cluster::events::{Event, Regarding};
use cluster::resource::{PODS, SIDECAR_SETS};
use model::decision::{Report, WaitingOn};
use model::pod::PodView;
use model::sidecarset::{SidecarSet, keys};
use std::collections::BTreeSet;

/// Refused pods that get an event each, for one generation.
const REFUSALS_TOLD: u32 = 10;

/// What was told of one SidecarSet already.
#[derive(Debug, Default)]
pub(super) struct News {
    generation: i64,
    /// The hash that an upgrade, announced and not finished, goes to.
    moving_to: Option<String>,
    told: BTreeSet<String>,
    refusals: u32,
}

impl News {
    /// Status says what a former leader must have told.
    pub fn known(set: &SidecarSet) -> Self {
        let mut news = Self {
            generation: set.metadata.generation,
            ..Self::default()
        };
        if set.status.observed_generation != set.metadata.generation {
            return news;
        }
        let reasons = set.status.waiting.iter().filter_map(|w| w["reason"].as_str());
        news.told = reasons.map(str::to_owned).collect();
        let upgraded = set.status.conditions.iter().find(|c| c["type"] == "Upgraded");
        if upgraded.is_some_and(|c| c["status"] == "False") && set.status.updated_pods > 0 {
            news.moving_to = set.metadata.annotations.get(keys::HASH).cloned();
        }
        news
    }

    /// Events about a decision that begins `upgrades` upgrades.
    pub fn of_decision(&mut self, set: &SidecarSet, report: &Report, upgrades: usize) -> Vec<Event> {
        if self.generation != set.metadata.generation {
            self.generation = set.metadata.generation;
            self.told.clear();
            self.refusals = 0;
        }
        let mut events = Vec::new();
        let hash = set.metadata.annotations.get(keys::HASH);
        let counts = report.counts;
        if upgrades > 0 && self.moving_to.as_ref() != hash {
            self.moving_to = hash.cloned();
            let outdated = counts.matched.saturating_sub(counts.updated);
            let note = format!("{outdated} of {} pods are to be updated", counts.matched);
            events.push(about_set(set, false, "UpgradeStarted", note));
        }
        let complete = report
            .conditions
            .iter()
            .any(|c| c.kind == "Upgraded" && c.status == "True");
        if complete && self.moving_to.take().is_some() {
            let note = format!("{} pods are updated and ready", counts.matched);
            events.push(about_set(set, false, "UpgradeFinished", note));
        }
        for waiting in &report.waiting {
            let Some((warning, reason)) = worth_telling(waiting) else {
                continue;
            };
            if self.told.insert(waiting.reason().to_owned()) {
                events.push(about_set(set, warning, reason, waiting.to_string()));
            }
        }
        events
    }

    /// A pod whose upgrade the API server refuses. The first few tell the story of all.
    pub fn of_refusal(&mut self, set: &SidecarSet, pod: &PodView, why: &str) -> Option<Event> {
        self.refusals = self.refusals.saturating_add(1);
        (self.refusals <= REFUSALS_TOLD).then(|| Event {
            regarding: Regarding {
                api_version: PODS.api_version(),
                kind: PODS.kind.to_string(),
                namespace: pod.namespace.to_string(),
                name: pod.name.to_string(),
                uid: pod.uid.to_string(),
            },
            warning: true,
            reason: "SidecarUpgradeRefused".to_owned(),
            action: "Upgrade".to_owned(),
            note: format!("sidecarset {}: {why}", set.metadata.name),
        })
    }
}

/// Whether it warns, and the event's reason.
fn worth_telling(waiting: &WaitingOn) -> Option<(bool, &'static str)> {
    match waiting {
        WaitingOn::FailureThreshold { .. } => Some((true, "UpgradePausedByFailures")),
        WaitingOn::PastDeadline { .. } => Some((true, "PodsNotReadyInTime")),
        WaitingOn::NotInjected { .. } => Some((true, "PodsNotInjected")),
        WaitingOn::Unreadable { .. } => Some((true, "PodsUnreadable")),
        WaitingOn::Invalid { .. } => Some((true, "Invalid")),
        WaitingOn::HashPending { problem: Some(_) } => Some((true, "HashesNotWritten")),
        WaitingOn::Recreation { .. } | WaitingOn::HotUpgrade { .. } | WaitingOn::NativeSidecar { .. } => {
            Some((false, "NotUpgradablePods"))
        }
        _ => None,
    }
}

/// Defaults and hashes were written by us, since no webhook did it.
pub(super) fn amended(set: &SidecarSet) -> Event {
    let note = "no webhook was asked when it was written: its defaults and hashes were added".to_owned();
    about_set(set, false, "HashesWritten", note)
}

fn about_set(set: &SidecarSet, warning: bool, reason: &str, note: String) -> Event {
    Event {
        regarding: Regarding {
            api_version: SIDECAR_SETS.api_version(),
            kind: SIDECAR_SETS.kind.to_string(),
            namespace: String::new(),
            name: set.metadata.name.clone(),
            uid: set.metadata.uid.clone(),
        },
        warning,
        reason: reason.to_owned(),
        action: "Upgrade".to_owned(),
        note,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::decision::{Condition, Counts};
    use serde_json::json;

    fn set(generation: i64, hash: &str) -> SidecarSet {
        let whole = json!({"metadata": {"name": "log", "uid": "u", "generation": generation,
            "annotations": {keys::HASH: hash}}, "spec": {}});
        serde_json::from_value(whole).unwrap()
    }

    fn report(updated: u32, waiting: Vec<WaitingOn>) -> Report {
        let counts = Counts {
            matched: 3,
            updated,
            ready: 3,
            updated_ready: updated,
        };
        let conditions = vec![Condition::new("Upgraded", updated == 3, "", "")];
        Report {
            counts,
            waiting,
            conditions,
        }
    }

    fn reasons(events: &[Event]) -> Vec<&str> {
        events.iter().map(|e| e.reason.as_str()).collect()
    }

    #[test]
    fn an_upgrade_is_told_when_it_begins_and_when_it_ends() {
        let mut news = News::known(&set(1, "a"));
        assert!(news.of_decision(&set(1, "a"), &report(3, vec![]), 0).is_empty());
        assert_eq!(
            reasons(&news.of_decision(&set(2, "b"), &report(0, vec![]), 1)),
            ["UpgradeStarted"]
        );
        assert!(news.of_decision(&set(2, "b"), &report(1, vec![]), 1).is_empty());
        assert!(news.of_decision(&set(3, "b"), &report(2, vec![]), 1).is_empty());
        assert_eq!(
            reasons(&news.of_decision(&set(3, "b"), &report(3, vec![]), 0)),
            ["UpgradeFinished"]
        );
        assert!(news.of_decision(&set(3, "b"), &report(3, vec![]), 0).is_empty());
    }

    #[test]
    fn an_obstacle_is_told_once_for_a_generation_whatever_its_numbers_do() {
        let mut news = News::default();
        let tell = |news: &mut News, generation, failed| {
            let waiting = vec![WaitingOn::FailureThreshold { failed, threshold: 2 }];
            news.of_decision(&set(generation, "b"), &report(2, waiting), 0)
                .len()
        };
        assert_eq!(tell(&mut news, 1, 2), 1);
        assert_eq!(tell(&mut news, 1, 3), 0);
        assert_eq!(tell(&mut news, 2, 3), 1);
    }

    #[test]
    fn a_new_leader_repeats_nothing_that_status_says() {
        let mut set = set(4, "b");
        set.status.observed_generation = 4;
        set.status.updated_pods = 1;
        set.status.waiting = vec![json!({"reason": "PastDeadline"})];
        set.status.conditions = vec![json!({"type": "Upgraded", "status": "False"})];
        let mut news = News::known(&set);
        let late = WaitingOn::PastDeadline {
            pods: vec![],
            total: 1,
            deadline_seconds: 600,
        };
        assert!(news.of_decision(&set, &report(1, vec![late]), 1).is_empty());
        assert_eq!(
            reasons(&news.of_decision(&set, &report(3, vec![]), 0)),
            ["UpgradeFinished"]
        );
    }

    #[test]
    fn a_thousand_refused_pods_are_few_events() {
        let mut news = News::default();
        let told = (0..1000).filter_map(|_| news.of_refusal(&set(1, "b"), &PodView::default(), "no"));
        assert_eq!(told.count(), 10);
    }
}
