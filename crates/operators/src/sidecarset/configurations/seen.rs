//! The SidecarSets that entries are made from.
use super::TIMEOUT_SECONDS;
use crate::sidecarset::contain::{Step, contain};
use crate::sidecarset::standing::Judge;
use crate::sidecarset::views::{Caches, Set};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use workload::sidecarset::standing::Standing;
use workload::sidecarset::webhooks::{self, WebhookOptions, desired};

/// SidecarSets as of one moment.
#[derive(Default)]
pub(super) struct Seen {
    /// Ids of all there are.
    pub stored: BTreeSet<String>,
    /// Those that entries can be made from, and that are acted upon.
    pub usable: Vec<Arc<Set>>,
}

impl Seen {
    pub fn of(caches: &Caches) -> Self {
        let none = |_: &str| Value::Null;
        let options = WebhookOptions {
            client_config: &none,
            excluded_namespaces: &[],
            timeout_seconds: TIMEOUT_SECONDS,
        };
        let judge = Judge::of(caches);
        let usable = |set: &&Arc<Set>| {
            let name = &set.0.metadata.name;
            let valid = || {
                drop(desired(&[&*set.0], &options));
                !matches!(judge.standing(&set.0), Standing::Invalid(_))
            };
            set.0.metadata.deletion_timestamp.is_none()
                && contain(Step::Configure, name, valid).is_ok_and(|valid| valid)
        };
        let all = caches.sets.snapshot();
        Self {
            stored: all.values().map(|s| webhooks::id(&s.0)).collect(),
            usable: all.values().filter(usable).cloned().collect(),
        }
    }
}
