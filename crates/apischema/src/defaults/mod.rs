//! What a server fills in: unconditional defaults by the recorded tree, conditional ones by hand.
//!
//! Two things besides Go's defaulting are here, because the same objects show them: fields that conversion to the
//! internal version and back fills from their twins (`serviceAccount`, `podIPs`), and the rounding of resource lists.

mod autoscaling;
mod other;
mod pod_resources;
mod pods;
mod services;
mod tree;
mod workloads;

use serde_json::{Map, Value};

pub use tree::{DefaultNode, DefaultTree};

use crate::quantity::Quantity;
use crate::types::{GroupVersionKind, TypeDef, TypeId, TypeTable};

/// Fills in what the API server of this kind's group and version would. Unknown kinds stay as they are.
/// The object has gone through [`crate::decode::decode`].
pub fn apply(gvk: &GroupVersionKind, value: &mut Value) {
    let builtin = crate::builtin();
    if gvk.kind == "StatefulSet"
        && let Value::Object(object) = &mut *value
    {
        workloads::stateful_set_without_type(object);
    }
    builtin.defaults.apply(gvk, value);
    let Value::Object(object) = value else {
        return;
    };
    match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("", "Pod") => pods::pod(object),
        ("", "PodStatusResult") => pods::status(object),
        ("", "PodTemplate") => pods::template(object.get_mut("template")),
        ("", "ReplicationController") => workloads::replication_controller(object),
        ("", "Service") => services::service(object),
        ("" | "apps" | "batch", _) if object.contains_key("spec") => {
            workloads::apply(&gvk.kind, object);
            other::core(&gvk.kind, object);
        }
        ("", kind) => other::core(kind, object),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaling::horizontal(&gvk.version, object),
        ("networking.k8s.io", "NetworkPolicy") => services::network_policy(object),
        (group, kind) => other::apply(group, kind, object),
    }
    if let Some(ty) = builtin.table.kind(gvk) {
        round_resource_lists(&builtin.table, ty, value);
    }
}

/// Amounts in resource lists are never finer than a thousandth.
fn round_resource_lists(table: &TypeTable, ty: TypeId, value: &mut Value) {
    match (table.get(ty), value) {
        (TypeDef::Struct { fields, .. }, Value::Object(map)) => {
            for field in fields {
                if let Some(inner) = map.get_mut(&field.name) {
                    round_resource_lists(table, field.ty, inner);
                }
            }
        }
        (TypeDef::List { item, .. }, Value::Array(items)) => {
            for inner in items {
                round_resource_lists(table, *item, inner);
            }
        }
        (TypeDef::Map { .. }, Value::Object(map))
            if table.go(ty).is_some_and(|go| go.name == "v1.ResourceList") =>
        {
            for amount in map.values_mut() {
                if let Some(Ok(quantity)) = amount.as_str().map(str::parse::<Quantity>) {
                    *amount = Value::String(quantity.rounded_up_to_millis().to_string());
                }
            }
        }
        (TypeDef::Map { value: item, .. }, Value::Object(map)) => {
            for inner in map.values_mut() {
                round_resource_lists(table, *item, inner);
            }
        }
        _ => {}
    }
}

type Object = Map<String, Value>;

/// The object at a path of fields.
fn at<'a>(object: &'a mut Object, path: &[&str]) -> Option<&'a mut Object> {
    let mut here = object;
    for name in path {
        here = here.get_mut(*name)?.as_object_mut()?;
    }
    Some(here)
}

/// The objects of a list field.
fn each<'a>(object: &'a mut Object, list: &str) -> impl Iterator<Item = &'a mut Object> {
    let items = object
        .get_mut(list)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten();
    items.filter_map(Value::as_object_mut)
}

fn text<'a>(object: &'a Object, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn is_set(object: &Object, name: &str) -> bool {
    object.get(name).is_some_and(|value| !value.is_null())
}

fn set_default(object: &mut Object, name: &str, value: impl Into<Value>) {
    if !is_set(object, name) {
        object.insert(name.to_owned(), value.into());
    }
}

/// The object in a field, made where it is missing.
fn made<'a>(object: &'a mut Object, name: &str) -> Option<&'a mut Object> {
    set_default(object, name, Object::new());
    object.get_mut(name)?.as_object_mut()
}
