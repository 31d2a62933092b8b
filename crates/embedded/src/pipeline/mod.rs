//! The one place where requests meet the rules: schemas, defaults, validation, merging.
mod convert;
mod merging;
mod service;
mod strategy;

use apirules::validation::{self, ResourceRef};
use apirules::warnings;
use apischema::{GroupVersionKind, TypeId, TypeTable};
use model::field::FieldError;
use serde_json::{Value, json};

use crate::catalog::Resource;
use crate::server::ApiServer;
use crate::status::Status;

pub(crate) use convert::{as_if_stored, from_storage, to_storage};
pub(crate) use merging::{
    Writer, apply, apply_scale, is_noop, json_patch, lay_over, merge_patch, parse_merge_patch,
    strategic_patch, track_scale, track_sent, track_update,
};
pub(crate) use strategy::{
    creates_on_update, finalizers_of_deletion, is_definition, may_vanish, updates_unconditionally,
};

/// The schema of what a resource serves.
pub(crate) struct Schema<'a> {
    pub table: &'a TypeTable,
    pub ty: TypeId,
}

pub(crate) fn schema(resource: &Resource) -> Option<Schema<'_>> {
    if let Some(custom) = &resource.custom {
        return custom.schema();
    }
    let table = &apischema::builtin().table;
    let ty = table.kind(&gvk(resource))?;
    Some(Schema { table, ty })
}

fn gvk(resource: &Resource) -> GroupVersionKind {
    GroupVersionKind {
        group: resource.group.clone(),
        version: resource.version.clone(),
        kind: resource.kind.clone(),
    }
}

/// Removes unknown fields of what a client sent; returns what makes the body unreadable, and what was unknown.
pub(crate) fn prune(resource: &Resource, value: &mut Value) -> (Vec<String>, Vec<String>) {
    match &resource.custom {
        Some(custom) => custom.prune(value),
        None => decoded(&gvk(resource), value, apischema::decode::decode_sent),
    }
}

pub(crate) fn prune_kind(
    group: &str,
    version: &str,
    kind: &str,
    value: &mut Value,
) -> (Vec<String>, Vec<String>) {
    let name = GroupVersionKind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
    };
    decoded(&name, value, apischema::decode::decode)
}

fn decoded(
    gvk: &GroupVersionKind,
    value: &mut Value,
    decode: fn(&TypeTable, TypeId, &mut Value) -> apischema::decode::Decoded,
) -> (Vec<String>, Vec<String>) {
    let table = &apischema::builtin().table;
    let Some(ty) = table.kind(gvk) else {
        return (Vec::new(), Vec::new());
    };
    let found = decode(table, ty, value);
    let unknown = found.unknown.iter();
    let unknown = unknown.map(|path| format!("unknown field {path:?}")).collect();
    (found.errors, unknown)
}

pub(crate) fn default(resource: &Resource, value: &mut Value) {
    match &resource.custom {
        Some(custom) => custom.default(value),
        None => {
            apischema::defaults::apply(&gvk(resource), value);
            strategy::default_definition(resource, value);
        }
    }
}

/// The form in which a real server would write it: empty fields left out, required ones present.
pub(crate) fn normalise(resource: &Resource, value: &mut Value) {
    if resource.custom.is_none() {
        decoded(&gvk(resource), value, apischema::decode::decode);
    }
}

/// An object of the kind before anything is set.
fn zero(resource: &Resource) -> Value {
    let mut out = json!({"apiVersion": resource.api_version(), "kind": resource.kind});
    normalise(resource, &mut out);
    out
}

/// What a real server's bookmark carries: an object of the kind's internal Go type with nothing set.
pub(crate) fn bookmark(resource: &Resource) -> Value {
    let mut out = zero(resource);
    let counted = [
        "deployments",
        "replicasets",
        "statefulsets",
        "replicationcontrollers",
    ];
    if resource.custom.is_none() && counted.contains(&resource.plural.as_str()) {
        // No pointer in Go's internal type.
        out["spec"]["replicas"] = json!(0);
    }
    out
}

/// The key under which a real server would keep the object: some messages show it.
pub(crate) fn registry_key(resource: &Resource, key: &str) -> String {
    let group = match resource.custom.is_some() {
        true => format!("{}/", resource.group),
        false => String::new(),
    };
    format!("/registry/{group}{}/{key}", resource.plural)
}

fn reference<'a>(resource: &'a Resource, subresource: &'a str) -> ResourceRef<'a> {
    // A scale or a binding is carried out as a change of the object itself.
    let subresource = match subresource {
        "scale" | "binding" | "eviction" => "",
        other => other,
    };
    ResourceRef::new(&resource.group, &resource.plural, subresource)
}

/// What a registry does to a new object before validation. A service that comes to be through its status is given
/// nothing.
pub(crate) fn prepare_for_create(
    server: &ApiServer,
    resource: &Resource,
    subresource: &str,
    value: &mut Value,
) -> Result<(), Status> {
    match &resource.custom {
        Some(custom) => custom.prepare_for_create(value),
        None => validation::prepare_for_create(&reference(resource, ""), value, server.now()),
    }
    strategy::prepare_namespace(resource, value);
    if resource.is("", "services") && subresource.is_empty() {
        service::allocate(server, value, None)?;
    }
    if resource.is("batch", "jobs") {
        // The generated selector labels the template, from which the job's own labels are defaulted.
        default(resource, value);
    }
    normalise(resource, value);
    Ok(())
}

pub(crate) fn validate_create(resource: &Resource, value: &Value) -> Vec<FieldError> {
    match &resource.custom {
        Some(custom) => custom.validate(resource, value, None, ""),
        None => {
            let mut errors = validation::validate_create(&reference(resource, ""), value);
            if strategy::is_definition(resource) {
                errors.extend(crate::custom::validate_definition(value));
            }
            errors.extend(crate::admission::expression_errors(resource, value));
            errors
        }
    }
}

/// What a registry does to a changed object before validation: the parts this (sub)resource may not write
/// are taken from the old one, and the generation counts changes of the rest.
pub(crate) fn prepare_for_update(
    server: &ApiServer,
    resource: &Resource,
    subresource: &str,
    new: &mut Value,
    old: &Value,
) -> Result<(), Status> {
    if resource.is("", "services") && subresource.is_empty() {
        service::allocate(server, new, Some(old))?;
    }
    match &resource.custom {
        Some(custom) => custom.prepare_for_update(subresource, new, old),
        None if subresource == "binding" => {}
        None if subresource == "finalize" => new["status"] = old["status"].clone(),
        None => validation::prepare_for_update(&reference(resource, subresource), new, old),
    }
    normalise(resource, new);
    Ok(())
}

pub(crate) fn validate_update(
    resource: &Resource,
    subresource: &str,
    new: &Value,
    old: &Value,
) -> Vec<FieldError> {
    match &resource.custom {
        Some(custom) => custom.validate(resource, new, Some(old), subresource),
        None if matches!(subresource, "binding" | "finalize") => Vec::new(),
        None => {
            let mut errors = validation::validate_update(&reference(resource, subresource), new, old);
            if strategy::is_definition(resource) && subresource.is_empty() {
                errors.extend(crate::custom::validate_changed_definition(new, old));
            }
            if new.get("webhooks") != old.get("webhooks") || new.get("spec") != old.get("spec") {
                errors.extend(crate::admission::expression_errors(resource, new));
            }
            errors
        }
    }
}

/// Warnings about an object as it was sent.
pub(crate) fn early_warnings(resource: &Resource, object: &Value) -> Vec<String> {
    match resource.custom {
        Some(_) => Vec::new(),
        None => warnings::before_create(&reference(resource, ""), object),
    }
}

/// Warnings about a valid new object.
pub(crate) fn create_warnings(resource: &Resource, object: &Value) -> Vec<String> {
    match resource.custom {
        Some(_) => Vec::new(),
        None => warnings::on_create(&reference(resource, ""), object),
    }
}

/// Warnings about a valid change.
pub(crate) fn update_warnings(
    resource: &Resource,
    subresource: &str,
    new: &Value,
    old: &Value,
) -> Vec<String> {
    match resource.custom {
        Some(_) => Vec::new(),
        None => warnings::on_update(&reference(resource, subresource), new, old),
    }
}
