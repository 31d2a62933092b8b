//! By which version of the mutating configuration the API server acts, as far as it was heard.
use super::entries::{entries_of, ids};
use super::{Keeper, SELDOM, SOON, Stored, proof};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;
use workload::takeover::Actor;

/// Versions that are remembered: more than are written while one is proved.
const REMEMBERED: usize = 64;

/// Its resourceVersion, the ids of the SidecarSets that its entries stand for, and the entries' names. All of them: a
/// server that was put back to an earlier state gives the same version to another content.
#[derive(Default, Clone, Debug, PartialEq, Eq)]
pub(super) struct InForce {
    version: String,
    pub ids: BTreeSet<String>,
    names: BTreeSet<String>,
}

impl InForce {
    fn by(found: &Stored) -> Self {
        let names = entries_of(found).filter_map(|e| e["name"].as_str());
        Self {
            version: found.metadata.resource_version.clone(),
            ids: ids(entries_of(found)),
            names: names.map(str::to_owned).collect(),
        }
    }
}

/// What is asked to learn it.
pub(super) struct Proof {
    /// The newest versions, by their states.
    known: BTreeMap<String, InForce>,
    not_before: Instant,
    pause: Duration,
}

impl Proof {
    pub fn new() -> Self {
        Self {
            known: BTreeMap::new(),
            not_before: Instant::now(),
            pause: SOON,
        }
    }

    fn remember(&mut self, state: &str, version: InForce) {
        // Older ones are only of use for as long as a proof takes.
        if self.known.len() > REMEMBERED {
            self.known.clear();
        }
        self.known.insert(state.to_owned(), version);
    }
}

impl Keeper {
    /// Learns by which version of the configuration the API server acts. Returns when to ask again: it may act by one that
    /// is not the newest, or not be heard.
    pub(super) async fn prove(&mut self, actor: Actor) -> Option<Instant> {
        if actor == Actor::Kruise {
            self.in_force = InForce::default();
            return None;
        }
        if Instant::now() < self.proof.not_before {
            return Some(self.proof.not_before);
        }
        let end = Instant::now() + proof::PATIENCE;
        let mut pause = proof::FIRST_PAUSE;
        loop {
            let found = self.found().filter(|_| self.is_current())?;
            let state = proof::state(&found)?;
            let wanted = InForce::by(&found);
            if self.in_force == wanted {
                return None;
            }
            self.proof.remember(&state, wanted);
            let heard = proof::heard(&self.door, &self.options.namespace).await;
            let known = heard.as_ref().ok().and_then(|state| self.proof.known.get(state));
            if let Some(known) = known.filter(|k| **k != self.in_force) {
                self.in_force = known.clone();
                self.proof.pause = SOON;
                self.announcements.are_in_force(&self.in_force.names);
                let newest = heard.is_ok_and(|heard| heard == state);
                return (!newest).then(|| Instant::now() + pause);
            }
            if Instant::now() + pause >= end {
                let configuration = &self.options.mutating_configuration;
                let error = heard
                    .err()
                    .unwrap_or_else(|| "it acts by an older version".to_owned());
                tracing::warn!(error, configuration, "stored, but not seen in force");
                // What was, is not known to have ended where the configuration still says it.
                let still = ids(entries_of(&found));
                self.in_force.ids.retain(|id| still.contains(id));
                self.proof.not_before = Instant::now() + self.proof.pause;
                self.proof.pause = (self.proof.pause * 2).min(SELDOM);
                return Some(self.proof.not_before);
            }
            // Nothing tells when another process has read what we wrote: there is nothing to wait for.
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(proof::LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_same_version_with_another_content_is_not_known_to_be_in_force() {
        let stored = |name: &str| {
            let body =
                json!({"metadata": {"name": "c", "resourceVersion": "163"}, "webhooks": [{"name": name}]});
            InForce::by(&Stored::from(body))
        };
        assert_eq!(
            stored("a.sidecarset.tidegate.dev"),
            stored("a.sidecarset.tidegate.dev")
        );
        assert_ne!(
            stored("a.sidecarset.tidegate.dev"),
            stored("b.sidecarset.tidegate.dev")
        );
    }
}
