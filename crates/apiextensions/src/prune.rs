//! Pruning of unknown fields and filling in of defaults.

use serde_json::{Map, Value};

use crate::schema::{Additional, Schema};

/// What every object has, whatever its schema says.
const IMPLIED: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Removes what the schema does not specify; returns the paths that went.
pub(crate) fn prune(value: &mut Value, schema: &Schema) -> Vec<String> {
    let mut removed = Vec::new();
    node(value, schema, true, "", &mut removed);
    removed
}

fn node(value: &mut Value, schema: &Schema, is_resource: bool, path: &str, removed: &mut Vec<String>) {
    match value {
        Value::Object(map) => object(map, schema, is_resource, path, removed),
        Value::Array(items) => {
            if let Some(item_schema) = &schema.items {
                for (i, item) in items.iter_mut().enumerate() {
                    node(
                        item,
                        item_schema,
                        item_schema.embedded_resource,
                        &format!("{path}[{i}]"),
                        removed,
                    );
                }
            }
        }
        _ => {}
    }
}

fn object(
    map: &mut Map<String, Value>,
    schema: &Schema,
    is_resource: bool,
    path: &str,
    removed: &mut Vec<String>,
) {
    let dot = if path.is_empty() { "" } else { "." };
    let implied = |name: &str| is_resource && IMPLIED.contains(&name);
    if !schema.preserve_unknown && !matches!(schema.additional, Additional::Any) {
        map.retain(|name, _| {
            let keep = implied(name) || schema.child(name).is_some();
            if !keep {
                removed.push(format!("{path}{dot}{name}"));
            }
            keep
        });
    }
    if schema.embedded_resource
        && let Some(metadata) = map.get_mut("metadata")
    {
        let unknown = prune_metadata(metadata).1;
        removed.extend(
            unknown
                .into_iter()
                .map(|name| format!("{path}{dot}metadata.{name}")),
        );
    }
    for (name, value) in map.iter_mut() {
        if implied(name) {
            continue;
        }
        if let Some(child) = schema.child(name) {
            node(
                value,
                child,
                child.embedded_resource,
                &format!("{path}{dot}{name}"),
                removed,
            );
        }
    }
}

/// Metadata is of a built-in type, whatever a schema says. Returns why it cannot be read, and what is unknown in it.
pub fn prune_metadata(metadata: &mut Value) -> (Vec<String>, Vec<String>) {
    let table = &apischema::builtin().table;
    let any = apischema::GroupVersionKind {
        group: String::new(),
        version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
    };
    let ty = table.kind(&any).and_then(|ty| table.get(ty).field("metadata"));
    let Some(ty) = ty.map(|field| field.ty) else {
        return (Vec::new(), Vec::new());
    };
    let decoded = apischema::decode::decode(table, ty, metadata);
    (decoded.errors, decoded.unknown)
}

/// Fills in defaults, and drops nulls that the schema neither allows nor has a default for... as a server does:
/// a null where null is not allowed and a default exists becomes the default; otherwise it is dropped.
pub(crate) fn default(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(map) => {
            map.retain(|name, value| {
                let droppable = schema
                    .properties
                    .get(name)
                    .is_some_and(|child| !child.nullable && !child.preserve_unknown);
                !(value.is_null() && droppable)
            });
            for (name, child) in &schema.properties {
                if let Some(default) = &child.default
                    && !map.contains_key(name)
                {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, inner) in map.iter_mut() {
                if let Some(child) = schema.child(name) {
                    self::default(inner, child);
                }
            }
        }
        Value::Array(items) => {
            if let Some(item_schema) = &schema.items {
                for item in items {
                    self::default(item, item_schema);
                }
            }
        }
        _ => {}
    }
}
