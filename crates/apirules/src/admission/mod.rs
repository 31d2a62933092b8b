//! Built-in admission as pure functions over what a [`Lookup`] shows, in the order of a real server's plugins:
//! NamespaceLifecycle, LimitRanger, ServiceAccount, TaintNodesByCondition, PodSecurity, Priority,
//! DefaultTolerationSeconds, StorageObjectInUseProtection, then (elsewhere) webhooks, then ResourceQuota.
mod apparmor;
mod host;
mod levels;
mod limits;
mod namespaces;
mod pod_defaults;
mod pod_security;
mod quota;
mod root;
mod runtime_class;
mod seccomp;
mod service_account;
mod storage_protection;

use serde_json::{Value, json};

use crate::path::go_quote;
pub use quota::{Charge, Evaluation};
pub use storage_protection::protection;

/// What plugins may look up: always the current state.
pub trait Lookup {
    fn get(&self, group: &str, resource: &str, namespace: Option<&str>, name: &str) -> Option<Value>;
    fn list(&self, group: &str, resource: &str, namespace: Option<&str>) -> Vec<Value>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// The request as plugins see it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub operation: Operation,
    pub group: &'a str,
    /// Plural.
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: Option<&'a str>,
    /// Empty on create with generateName.
    pub name: &'a str,
}

/// A refusal, in the terms of a Status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    /// `details` of the Status.
    pub details: Value,
}

impl Refusal {
    /// `pods "x" is forbidden: ...`.
    pub(crate) fn forbidden(request: &Request<'_>, why: &str) -> Self {
        let qualified = match request.group {
            "" => request.resource.to_owned(),
            group => format!("{}.{group}", request.resource),
        };
        let message = match request.name {
            "" => format!("{qualified} \"Unknown\" is forbidden: {why}"),
            name => format!("{qualified} {} is forbidden: {why}", go_quote(name)),
        };
        let name = if request.name.is_empty() {
            "Unknown"
        } else {
            request.name
        };
        let mut details = json!({"name": name, "kind": request.resource});
        if !request.group.is_empty() {
            details["group"] = request.group.into();
        }
        Self {
            code: 403,
            reason: "Forbidden",
            message,
            details,
        }
    }

    pub(crate) fn not_found(resource: &str, name: &str) -> Self {
        Self {
            code: 404,
            reason: "NotFound",
            message: format!("{resource} {} not found", go_quote(name)),
            details: json!({"name": name, "kind": resource}),
        }
    }
}

/// Warnings for the client.
pub type Warnings = Vec<String>;

impl Request<'_> {
    fn is_pod(&self) -> bool {
        self.group.is_empty() && self.resource == "pods"
    }

    fn writes_pod(&self) -> bool {
        self.is_pod()
            && self.subresource.is_empty()
            && matches!(self.operation, Operation::Create | Operation::Update)
    }
}

/// The mutating plugins, in order. Runs again after webhooks have changed the object: every step is idempotent.
///
/// `suffix` gives the five characters of a generated volume name.
pub fn mutate(
    request: &Request<'_>,
    object: &mut Value,
    old: Option<&Value>,
    lookup: &dyn Lookup,
    suffix: &mut dyn FnMut() -> String,
) -> Result<(), Refusal> {
    namespaces::lifecycle(request, lookup)?;
    limits::apply_defaults(request, object, lookup);
    service_account::mutate(request, object, lookup, suffix)?;
    pod_defaults::taint_new_node(request, object);
    pod_defaults::priority(request, object, old, lookup)?;
    pod_defaults::toleration_seconds(request, object);
    storage_protection::mutate(request, object);
    runtime_class::mutate(request, object, lookup)
}

/// Nothing is made in a namespace that ends, subresources neither.
pub fn lifecycle(request: &Request<'_>, lookup: &dyn Lookup) -> Result<(), Refusal> {
    namespaces::lifecycle(request, lookup)
}

/// The validating plugins before webhooks, in order.
pub fn validate(
    request: &Request<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    lookup: &dyn Lookup,
) -> Result<Warnings, Refusal> {
    namespaces::lifecycle(request, lookup)?;
    pod_defaults::keep_system_classes(request)?;
    let Some(object) = object else {
        return Ok(Vec::new());
    };
    limits::validate(request, object, lookup)?;
    limits::validate_claim(request, object, lookup)?;
    service_account::validate(request, object, lookup)?;
    let warnings = pod_security::validate(request, object, old, lookup)?;
    pod_defaults::validate_priority(request, object, lookup)?;
    runtime_class::validate(request, object, lookup)?;
    Ok(warnings)
}

/// ResourceQuota, the last plugin of all: what each quota's `status.used` becomes if the request is accepted.
///
/// The caller writes the charges with the quotas' resourceVersions as preconditions and evaluates again on conflict.
pub fn quota(
    request: &Request<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    lookup: &dyn Lookup,
) -> Result<Evaluation, Refusal> {
    quota::evaluate(request, object, old, lookup)
}
