//! Admission: built-in plugins, policies, webhooks, then quota; the first three once more after a change by policies
//! or webhooks.
pub(crate) mod builtin;
mod compiled;
mod conditions;
mod matching;
mod policies;
mod review;
pub(crate) mod transport;
mod webhooks;

use http::StatusCode;
use serde_json::Value;

use crate::attributes::{Attributes, Kind, Operation};
use crate::catalog::StorageKey;
use crate::pipeline;
use crate::server::ApiServer;
use crate::status::{Status, Warnings};
pub(crate) use compiled::expression_errors;
use matching::Invocation;
use webhooks::Passes;

/// Lets plugins and webhooks change an object. On deletion `object` is null.
pub(crate) async fn mutate(
    server: &ApiServer,
    attributes: &Attributes,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<Warnings, Status> {
    let mut sight = Sight { server, attributes };
    let placed = as_namespace(attributes);
    if let Some(placed) = &placed {
        sight.attributes = placed;
    }
    let mut passes = Passes::default();
    builtin::mutate(&sight, object, old)?;
    passes.changed = policies::mutate(&sight, object, old, false).await?;
    let mut warnings = webhooks::mutate(&sight, object, old, &mut passes).await?;
    if passes.changed {
        passes.again();
        builtin::mutate(&sight, object, old)?;
        policies::mutate(&sight, object, old, true).await?;
        warnings.extend(webhooks::mutate(&sight, object, old, &mut passes).await?);
    }
    sight.check_grant(object, old)?;
    Ok(warnings)
}

/// Lets plugins and webhooks refuse; the last word is the quota's.
pub(crate) async fn validate(
    server: &ApiServer,
    attributes: &Attributes,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<Warnings, Status> {
    let mut sight = Sight { server, attributes };
    let placed = as_namespace(attributes);
    if let Some(placed) = &placed {
        sight.attributes = placed;
    }
    let mut warnings = builtin::validate(&sight, object, old)?;
    warnings.extend(policies::validate(&sight, object, old).await?);
    warnings.extend(webhooks::validate(&sight, object, old).await?);
    builtin::charge_quota(&sight, object, old).await?;
    Ok(warnings)
}

/// Requests about a namespace carry its name as their namespace, as a real server's do.
fn as_namespace(attributes: &Attributes) -> Option<Attributes> {
    let namespaces = attributes.group.is_empty() && attributes.resource == "namespaces";
    (namespaces && attributes.namespace.is_none() && !attributes.name.is_empty()).then(|| {
        let mut out = attributes.clone();
        out.namespace = Some(attributes.name.clone());
        out
    })
}

/// The request and the server it came to.
pub(super) struct Sight<'a> {
    server: &'a ApiServer,
    attributes: &'a Attributes,
}

impl Sight<'_> {
    fn configurations(&self, plural: &str) -> Vec<Value> {
        let key = StorageKey::new("admissionregistration.k8s.io", plural);
        self.server
            .store()
            .snapshot(&key, "")
            .1
            .iter()
            .map(|o| o.bare())
            .collect()
    }

    fn namespace_labels(&self, name: &str) -> Value {
        let found = self.server.store().get(&StorageKey::new("", "namespaces"), name);
        found.map_or(Value::Null, |n| n.bare()["metadata"]["labels"].clone())
    }

    /// The namespace of the request; null for what has none.
    fn namespace_object(&self) -> Value {
        let own = self.attributes;
        let Some(name) = own.namespace.as_deref().filter(|_| own.namespaced) else {
            return Value::Null;
        };
        let found = self.server.store().get(&StorageKey::new("", "namespaces"), name);
        found.map_or(Value::Null, |n| n.bare())
    }

    /// The same resource in the other versions it is served in.
    fn equivalents(&self) -> Vec<Invocation> {
        let own = self.attributes;
        let Some(resource) = self.server.resource(&own.group, &own.version, &own.resource) else {
            return Vec::new();
        };
        let custom = self.server.custom();
        let all = crate::catalog::builtin()
            .resources
            .values()
            .chain(custom.resources.values());
        let same = all.filter(|r| r.storage == resource.storage);
        let seen = same.map(|r| Invocation {
            kind: self.kind_in(r),
            group: r.group.clone(),
            version: r.version.clone(),
            resource: r.plural.clone(),
        });
        seen.collect()
    }

    fn kind_in(&self, resource: &crate::catalog::Resource) -> Kind {
        match resource.subresource(&self.attributes.subresource) {
            Some(sub) if !self.attributes.subresource.is_empty() && !sub.kind.is_empty() => {
                let (group, version) = match sub.group.is_empty() && sub.version.is_empty() {
                    true => (resource.group.clone(), resource.version.clone()),
                    false => (sub.group.clone(), sub.version.clone()),
                };
                Kind {
                    group,
                    version,
                    kind: sub.kind.clone(),
                }
            }
            _ => Kind {
                group: resource.group.clone(),
                version: resource.version.clone(),
                kind: resource.kind.clone(),
            },
        }
    }

    /// The object in another version of its resource.
    async fn converted(&self, mut object: Value, to: &Kind) -> Result<Value, Status> {
        let wanted = crate::catalog::group_version(&to.group, &to.version);
        if object["apiVersion"].as_str() == Some(wanted.as_str()) || !object.is_object() {
            return Ok(object);
        }
        let from = object["apiVersion"].as_str().unwrap_or_default().to_owned();
        let (group, version) = from.split_once('/').unwrap_or(("", from.as_str()));
        let plural = &self.attributes.resource;
        let source = self.server.resource(group, version, plural);
        let target = self.server.resource(&to.group, &to.version, plural);
        match (source, target) {
            (Some(source), Some(target)) => {
                let stored = pipeline::to_storage(self.server, &source, object).await?;
                let served = pipeline::from_storage(self.server, &target, vec![stored]).await?;
                served
                    .into_iter()
                    .next()
                    .ok_or_else(|| Status::internal("a conversion lost its object"))
            }
            _ => {
                object["apiVersion"] = wanted.into();
                object["kind"] = to.kind.clone().into();
                Ok(object)
            }
        }
    }

    /// What a real server does with a patched object: it reads it again into its type, and defaults it.
    fn decode_and_default(&self, object: &mut Value) {
        let own = self.attributes;
        let Some(resource) = self.server.resource(&own.group, &own.version, &own.resource) else {
            return;
        };
        if own.kind.kind == resource.kind {
            pipeline::prune(&resource, object);
            pipeline::default(&resource, object);
        }
    }

    fn forbidden(&self, why: &str) -> Status {
        let own = self.attributes;
        Status::forbidden(&own.group, &own.resource, &own.name, why)
    }

    /// Looked at before any rule of the kind, as a real server does.
    fn check_grant(&self, object: &Value, old: Option<&Value>) -> Result<(), Status> {
        let own = self.attributes;
        let granting = matches!(own.operation, Operation::Create | Operation::Update);
        if own.group != "rbac.authorization.k8s.io" || !granting {
            return Ok(());
        }
        self.server
            .inner
            .rbac
            .check_grant(&own.user, &own.resource, object, old)
    }
}

fn refused(refusal: apirules::admission::Refusal) -> Status {
    let code = StatusCode::from_u16(refusal.code).unwrap_or(StatusCode::FORBIDDEN);
    let mut out = Status::new(code, refusal.reason, refusal.message);
    out.details = Some(refusal.details).filter(|d| !d.is_null());
    out
}

#[cfg(test)]
mod tests;
