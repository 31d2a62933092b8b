//! Whether injection is in force: the webhook configuration that makes the API server ask us about a SidecarSet's
//! pods was seen to hold it, and we can answer.
use model::decision::{Condition, WaitingOn};
use model::sidecarset::SidecarSet;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;
use workload::sidecarset::webhooks::id;

/// Told by the admission side, read by the side that writes status.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Injection {
    /// By name: what entries of the configuration in force call each SidecarSet.
    covered: BTreeMap<String, String>,
    /// SidecarSets that could not be prepared.
    unprepared: BTreeSet<String>,
    /// SidecarSets that would not have passed validation.
    invalid: BTreeSet<String>,
}

pub(super) type InjectionSender = watch::Sender<Injection>;
pub(super) type InjectionReceiver = watch::Receiver<Injection>;

/// The API server was heard to act by a configuration that was made from these.
pub(super) fn covers<'a>(told: &InjectionSender, sets: impl Iterator<Item = &'a SidecarSet>) {
    let covered: BTreeMap<String, String> = sets.map(|s| (s.metadata.name.clone(), id(s))).collect();
    told.send_if_modified(|state| {
        let changed = state.covered != covered;
        state.covered = covered;
        changed
    });
}

pub(super) fn unprepared(told: &InjectionSender, names: BTreeSet<String>, invalid: BTreeSet<String>) {
    told.send_if_modified(|state| {
        let changed = state.unprepared != names || state.invalid != invalid;
        state.unprepared = names;
        state.invalid = invalid;
        changed
    });
}

impl Injection {
    /// The condition on a SidecarSet, and what status lists beside it.
    pub fn report(&self, set: &SidecarSet, configuration: &str) -> (Condition, Option<WaitingOn>) {
        let name = &set.metadata.name;
        let no = |reason: &str, message: String| Condition::new("InjectionReady", false, reason, message);
        if set.spec.injection_strategy.paused {
            let why = "spec.injectionStrategy.paused: new pods are not injected".to_owned();
            return (no("InjectionPaused", why), None);
        }
        if self.unprepared.contains(name) {
            let why = "an internal error in preparing injection: see the operator's log".to_owned();
            return (no("InternalError", why), None);
        }
        if self.covered.get(name) != Some(&id(set)) {
            let waiting = WaitingOn::InjectionPending {
                configuration: configuration.to_owned(),
            };
            return (no("WebhookPending", waiting.to_string()), Some(waiting));
        }
        (Condition::new("InjectionReady", true, "InForce", ""), None)
    }

    /// SidecarSets about which something else holds than in `before`.
    pub fn changed_since(&self, before: &Self) -> BTreeSet<String> {
        let names = self.covered.keys().chain(before.covered.keys());
        let covered = names.filter(|name| self.covered.get(*name) != before.covered.get(*name));
        let unprepared = self.unprepared.symmetric_difference(&before.unprepared);
        let invalid = self.invalid.symmetric_difference(&before.invalid);
        covered.chain(unprepared).chain(invalid).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn set(selector: &str, image: &str) -> SidecarSet {
        let whole = json!({"metadata": {"name": "log", "uid": "u"}, "spec": {
            "selector": {"matchLabels": {"app": selector}}, "containers": [{"name": "log", "image": image}]}});
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn a_changed_selector_is_not_in_force_and_a_changed_image_is() {
        let told = InjectionSender::default();
        let ready = |s: &SidecarSet| told.borrow().report(s, "c").0.status == "True";
        assert!(!ready(&set("a", "log:1")));
        covers(&told, [&set("a", "log:1")].into_iter());
        assert!(ready(&set("a", "log:1")) && ready(&set("a", "log:2")));
        assert!(!ready(&set("b", "log:1")));
        unprepared(&told, BTreeSet::from(["log".to_owned()]), BTreeSet::new());
        assert!(!ready(&set("a", "log:1")));
    }

    #[test]
    fn only_sidecarsets_whose_state_changed_are_looked_at_again() {
        let told = InjectionSender::default();
        let before = told.borrow().clone();
        covers(&told, [&set("a", "log:1")].into_iter());
        assert_eq!(told.borrow().changed_since(&before), ["log".to_owned()].into());
        let before = told.borrow().clone();
        covers(&told, [&set("a", "log:2")].into_iter());
        assert!(told.borrow().changed_since(&before).is_empty());
    }
}
