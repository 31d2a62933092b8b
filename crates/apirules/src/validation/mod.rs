//! Registry strategies: what the server sets itself, and what it refuses, per kind.
mod endpoints;
mod job_indexes;
mod job_policies;
mod job_status;
mod jobs;
mod kinds;
pub mod labels;
pub(crate) mod meta;
pub(crate) mod names;
mod nodes;
pub(crate) mod pod;
mod quotas;
mod rbac_kinds;
mod registrations;
mod secrets;
pub mod services;
mod stateful;
mod strategy;
mod workload_status;
mod workloads;

use model::field::FieldError;
use model::time::Timestamp;
use serde_json::Value;

use crate::path::{Errors, Path};
pub use labels::selector_matches;
pub(crate) use pod::{APPARMOR_ANNOTATION, deprecated_apparmor};
pub(crate) use strategy::keep_status_meta;

/// Which resource a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceRef<'a> {
    /// Empty for the core group.
    pub group: &'a str,
    /// Plural.
    pub resource: &'a str,
    /// Empty for the resource itself.
    pub subresource: &'a str,
}

impl<'a> ResourceRef<'a> {
    pub fn new(group: &'a str, resource: &'a str, subresource: &'a str) -> Self {
        Self {
            group,
            resource,
            subresource,
        }
    }
}

/// Clears what a creator may not set and fills what the server sets: status, generation, qosClass.
pub fn prepare_for_create(resource: &ResourceRef<'_>, object: &mut Value, now: Timestamp) {
    strategy::prepare_create(resource, object, now);
}

/// Keeps what this endpoint may not change (status, or all but status) and raises the generation where due.
pub fn prepare_for_update(resource: &ResourceRef<'_>, new: &mut Value, old: &Value) {
    strategy::prepare_update(resource, new, old);
}

/// What is wrong with a new object (after defaulting, name generation and [`prepare_for_create`]).
pub fn validate_create(resource: &ResourceRef<'_>, object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    kinds::create(resource, object, &mut errors);
    errors.0
}

/// What is wrong with how a conversion webhook is reached, as a definition says it at `path`.
pub fn webhook_client_errors(client: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Errors::default();
    registrations::client(client, &Path::new(path), &mut errors);
    errors.0
}

/// What is wrong with an update (after [`prepare_for_update`]).
pub fn validate_update(resource: &ResourceRef<'_>, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    kinds::update(resource, new, old, &mut errors);
    errors.0
}
