//! How each SidecarSet stands, judged on everything the operator watches.
use super::views::Caches;
use model::sidecarset::SidecarSet;
use model::time::Timestamp;
use std::sync::Arc;
use workload::sidecarset::review::SidecarSetWorld;
use workload::sidecarset::revision::Revision;
use workload::sidecarset::standing::{Standing, standing};
use workload::sidecarset::validate::Whitelist;

/// Defaults and hashes that were not written are tried again after this long, doubling.
const FIRST_RETRY_SECONDS: i64 = 2;

/// What SidecarSets are judged on, as it was when this was made.
#[derive(Default)]
pub(super) struct Judge {
    pub sets: Vec<Arc<SidecarSet>>,
    pub revisions: Vec<Revision>,
    pub whitelist: Option<Whitelist>,
}

impl Judge {
    pub fn of(caches: &Caches) -> Self {
        let sets = caches.sets.snapshot();
        let alive = sets.values().map(|s| &s.0);
        let alive = alive.filter(|s| s.metadata.deletion_timestamp.is_none());
        let revisions = caches.revisions.snapshot();
        Self {
            sets: alive.cloned().collect(),
            revisions: revisions.values().map(|r| r.revision.clone()).collect(),
            whitelist: caches.whitelists.snapshot().values().find_map(|c| c.whitelist()),
        }
    }

    pub fn world(&self) -> SidecarSetWorld<'_> {
        SidecarSetWorld {
            others: &self.sets,
            fresh: false,
            revisions: &self.revisions,
            whitelist: self.whitelist.as_ref(),
            metadata_allowed_by_default: false,
        }
    }

    pub fn standing(&self, set: &SidecarSet) -> Standing {
        standing(set, &self.world())
    }
}

/// What became of writing what the webhooks missed.
#[derive(Default)]
pub(super) struct Amendment {
    pub problem: Option<String>,
    pub not_before: Option<Timestamp>,
    tries: u32,
}

impl Amendment {
    /// Answered; looked at again after a while, should it still be needed.
    pub fn tried(&mut self, problem: Option<String>, now: Timestamp) {
        let wait = FIRST_RETRY_SECONDS << self.tries.min(5);
        self.tries = self.tries.saturating_add(1);
        self.problem = problem;
        self.not_before = now.checked_add(jiff::SignedDuration::from_secs(wait)).ok();
    }
}
