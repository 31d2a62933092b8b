//! What a write of ours is awaited by.
use std::cmp::Ordering;

use tokio::time::Instant;

use crate::key::compare_versions;

pub(super) struct Awaited {
    pub uid: String,
    pub until: Until,
    pub order: u64,
    pub since: Instant,
}

pub(super) enum Until {
    Version(String),
    Gone,
    /// Anything new of the object, as seen from this version of it.
    AnyChange,
}

impl Awaited {
    /// Whether this state of the object is what is waited for, or newer.
    pub(super) fn is_reached_by(&self, uid: &str, version: &str) -> bool {
        // An earlier object of the same name may still be on its way to us: another uid alone says nothing.
        match &self.until {
            Until::Version(wanted) => {
                newer_or_same(version, wanted)
                    || (self.uid != uid && compare_versions(version, wanted).is_none())
            }
            Until::Gone => self.uid != uid,
            Until::AnyChange => true,
        }
    }
}

impl Until {
    /// Whether a server that has told us all up to `version` has told us this.
    pub(super) fn reached_by(&self, version: &str) -> bool {
        match self {
            Until::Version(wanted) => newer_or_same(version, wanted),
            Until::Gone | Until::AnyChange => false,
        }
    }
}

/// Opaque versions are only ever the same.
pub(super) fn newer_or_same(version: &str, wanted: &str) -> bool {
    version == wanted || compare_versions(version, wanted).is_some_and(Ordering::is_ge)
}
