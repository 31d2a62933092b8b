//! What a write of ours is awaited by.
use std::cmp::Ordering;

use crate::key::compare_versions;

pub(super) enum Until {
    Version(String),
    Gone,
    /// Anything new of the object, as seen from this version of it.
    AnyChange,
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
