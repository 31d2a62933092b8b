//! The rules that make a schema structural, so that pruning and defaulting need no evaluation.

use model::field::{FieldError, FieldErrorKind};
use serde_json::Value;

use crate::schema::{Additional, Schema};
use crate::validate;

/// Checks a whole schema; `raw` is its JSON.
pub(crate) fn check(schema: &Schema, raw: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if schema.ty.is_empty() {
        errors.push(FieldError::required(
            format!("{path}.type"),
            "must not be empty at the root",
        ));
    } else if schema.ty != "object" {
        let bad = format!("{:?}", schema.ty);
        errors.push(FieldError::invalid(
            format!("{path}.type"),
            bad,
            "must be object at the root",
        ));
    }
    if schema.nullable {
        let at = format!("{path}.nullable");
        errors.push(FieldError::forbidden(at, "nullable cannot be true at the root"));
    }
    if let Some(metadata) = schema.properties.get("metadata") {
        metadata_only_names(metadata, &format!("{path}.properties[metadata]"), errors);
    }
    node(schema, raw, path, Level::Root, errors);
}

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Field,
    Item,
}

fn node(schema: &Schema, raw: &Value, path: &str, level: Level, errors: &mut Vec<FieldError>) {
    let free = schema.int_or_string || schema.preserve_unknown;
    if schema.ty.is_empty() && !free {
        match level {
            Level::Field => {
                let at = format!("{path}.type");
                errors.push(FieldError::required(
                    at,
                    "must not be empty for specified object fields",
                ));
            }
            Level::Item => {
                let at = format!("{path}.type");
                errors.push(FieldError::required(
                    at,
                    "must not be empty for specified array items",
                ));
            }
            Level::Root => {}
        }
    }
    if schema.ty == "array" && schema.items.is_none() {
        errors.push(FieldError::required(format!("{path}.items"), "must be specified"));
    }
    if !schema.properties.is_empty() && schema.is_map() {
        let detail = "additionalProperties and properties are mutual exclusive";
        errors.push(FieldError::forbidden(
            format!("{path}.additionalProperties"),
            detail,
        ));
    }
    if matches!(schema.additional, Additional::Forbidden) {
        let detail = "additionalProperties cannot be set to false";
        errors.push(FieldError::forbidden(
            format!("{path}.additionalProperties"),
            detail,
        ));
    }
    extensions(schema, raw, path, errors);
    list(schema, path, errors);
    default_value(schema, path, errors);
    junctors(schema, path, errors);
    for (name, child) in &schema.properties {
        node(
            child,
            &raw["properties"][name],
            &format!("{path}.properties[{name}]"),
            Level::Field,
            errors,
        );
    }
    if let Additional::Of(child) = &schema.additional {
        let at = format!("{path}.additionalProperties");
        node(child, &raw["additionalProperties"], &at, Level::Field, errors);
    }
    if let Some(items) = &schema.items {
        node(
            items,
            &raw["items"],
            &format!("{path}.items"),
            Level::Item,
            errors,
        );
    }
}

fn extensions(schema: &Schema, raw: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let preserve = "x-kubernetes-preserve-unknown-fields";
    if raw.get(preserve) == Some(&Value::Bool(false)) {
        errors.push(FieldError::invalid(
            format!("{path}.{preserve}"),
            "false",
            "must be true or undefined",
        ));
    }
    if schema.embedded_resource {
        if schema.ty != "object" {
            let bad = format!("{:?}", schema.ty);
            let detail = "must be object if x-kubernetes-embedded-resource is true";
            errors.push(FieldError::invalid(format!("{path}.type"), bad, detail));
        }
        if !schema.preserve_unknown && schema.properties.is_empty() {
            let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
                          x-kubernetes-preserve-unknown-fields";
            errors.push(FieldError::required(format!("{path}.properties"), detail));
        }
    }
    if !matches!(schema.map_type.as_str(), "" | "atomic" | "granular") {
        let bad = format!("{:?}", schema.map_type);
        let at = format!("{path}.x-kubernetes-map-type");
        let detail = "supported values: \"atomic\", \"granular\"";
        errors.push(FieldError::new(at, FieldErrorKind::NotSupported, bad, detail));
    }
}

fn list(schema: &Schema, path: &str, errors: &mut Vec<FieldError>) {
    let keys_at = format!("{path}.x-kubernetes-list-map-keys");
    match schema.list_type.as_str() {
        "" | "atomic" => {}
        "set" => {
            if let Some(items) = &schema.items {
                set_items(items, path, errors);
            }
        }
        "map" => {
            if schema.list_map_keys.is_empty() {
                let detail = "must not be empty if x-kubernetes-list-type is map";
                errors.push(FieldError::required(&*keys_at, detail));
            }
            if let Some(items) = &schema.items {
                map_items(schema, items, path, errors);
            }
        }
        other => {
            let at = format!("{path}.x-kubernetes-list-type");
            let detail = "supported values: \"atomic\", \"map\", \"set\"";
            errors.push(FieldError::new(
                at,
                FieldErrorKind::NotSupported,
                format!("{other:?}"),
                detail,
            ));
        }
    }
    if schema.list_type != "map" && !schema.list_map_keys.is_empty() {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        let bad = if schema.list_type.is_empty() {
            "null".to_owned()
        } else {
            format!("{:?}", schema.list_type)
        };
        errors.push(FieldError::invalid(
            format!("{path}.x-kubernetes-list-type"),
            bad,
            detail,
        ));
    }
}

fn set_items(items: &Schema, path: &str, errors: &mut Vec<FieldError>) {
    if items.nullable {
        let detail = "cannot be nullable when x-kubernetes-list-type is set";
        errors.push(FieldError::forbidden(format!("{path}.items.nullable"), detail));
    }
    let null_or = |text: &str| {
        if text.is_empty() {
            "null".to_owned()
        } else {
            format!("{text:?}")
        }
    };
    if items.ty == "object" && items.map_type != "atomic" {
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let at = format!("{path}.items.x-kubernetes-map-type");
        errors.push(FieldError::invalid(at, null_or(&items.map_type), detail));
    }
    if items.ty == "array" && !matches!(items.list_type.as_str(), "" | "atomic") {
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let at = format!("{path}.items.x-kubernetes-list-type");
        errors.push(FieldError::invalid(at, null_or(&items.list_type), detail));
    }
}

fn map_items(list: &Schema, items: &Schema, path: &str, errors: &mut Vec<FieldError>) {
    if items.ty != "object" {
        let bad = format!("{:?}", items.ty);
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(format!("{path}.items.type"), bad, detail));
    }
    for key in &list.list_map_keys {
        let Some(property) = items.properties.get(key) else {
            let detail = "entries must all be names of item properties";
            let at = format!("{path}.x-kubernetes-list-map-keys");
            errors.push(FieldError::invalid(at, format!("{key:?}"), detail));
            continue;
        };
        if property.default.is_none() && !items.required.contains(key) {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a \
                          required property";
            let at = format!("{path}.items.properties[{key}].default");
            errors.push(FieldError::required(at, detail));
        }
    }
}

fn default_value(schema: &Schema, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(default) = &schema.default {
        for error in validate::value(default, None, schema, "") {
            let at = format!("{path}.default{}", error.path);
            errors.push(FieldError { path: at, ..error });
        }
    }
}

fn junctors(schema: &Schema, path: &str, errors: &mut Vec<FieldError>) {
    let lists = [
        ("allOf", &schema.all_of),
        ("anyOf", &schema.any_of),
        ("oneOf", &schema.one_of),
    ];
    for (name, list) in lists {
        for (i, part) in list.iter().enumerate() {
            value_validation(part, schema, &format!("{path}.{name}[{i}]"), errors);
        }
    }
    if let Some(not) = &schema.not {
        value_validation(not, schema, &format!("{path}.not"), errors);
    }
}

/// Inside a junctor a schema may only restrict values, and only of fields specified outside.
fn value_validation(part: &Schema, outside: &Schema, path: &str, errors: &mut Vec<FieldError>) {
    let mut forbid = |field: &str| {
        errors.push(FieldError::forbidden(
            format!("{path}.{field}"),
            "must be empty to be structural",
        ));
    };
    if !part.ty.is_empty() && !outside.int_or_string {
        forbid("type");
    }
    if part.default.is_some() {
        forbid("default");
    }
    if part.nullable {
        forbid("nullable");
    }
    if !matches!(part.additional, Additional::Absent) {
        forbid("additionalProperties");
    }
    for (name, child) in &part.properties {
        let empty = Schema::default();
        let specified = outside.child(name);
        if specified.is_none() && !outside.preserve_unknown && child.ty.is_empty() {
            let at = path.split(".anyOf[").next().unwrap_or(path);
            let at = at
                .split(".oneOf[")
                .next()
                .unwrap_or(at)
                .split(".allOf[")
                .next()
                .unwrap_or(at);
            let at = format!("{at}.properties[{name}]");
            let detail = format!("because it is defined in {path}.properties[{name}]");
            errors.push(FieldError::required(at, detail));
        }
        value_validation(
            child,
            specified.unwrap_or(&empty),
            &format!("{path}.properties[{name}]"),
            errors,
        );
    }
    if let Some(items) = &part.items {
        let empty = Schema::default();
        value_validation(
            items,
            outside.items.as_deref().unwrap_or(&empty),
            &format!("{path}.items"),
            errors,
        );
    }
}

fn metadata_only_names(metadata: &Schema, path: &str, errors: &mut Vec<FieldError>) {
    let only_names = metadata
        .properties
        .keys()
        .all(|name| name == "name" || name == "generateName");
    if !only_names || metadata.is_map() || !metadata.required.is_empty() {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly \
                      specified";
        errors.push(FieldError::forbidden(path, detail));
    }
}
