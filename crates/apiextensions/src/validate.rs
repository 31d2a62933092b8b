//! OpenAPI v3 validation of an object, worded as a real API server words it.

use model::field::{FieldError, FieldErrorKind};
use serde_json::{Map, Value};

use crate::formats;
use crate::schema::{Additional, Schema};

/// Objects nested deeper than this are refused before they can exhaust the stack.
const MAX_DEPTH: usize = 512;

/// Errors of a value against its schema; `path` is empty for a whole object. What an update leaves as it was is not
/// looked at: an object that was valid once can always be changed elsewhere.
pub(crate) fn value(value: &Value, old: Option<&Value>, schema: &Schema, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(value, old, schema, path, 0, &mut errors);
    errors
}

/// Whether CEL rules are to be left unchecked: they may take for granted what these errors deny.
pub(crate) fn is_blocking(error: &FieldError) -> bool {
    matches!(
        error.kind,
        FieldErrorKind::Required
            | FieldErrorKind::TooLong
            | FieldErrorKind::TooMany
            | FieldErrorKind::TypeInvalid
            | FieldErrorKind::NotSupported
    )
}

fn check(
    value: &Value,
    old: Option<&Value>,
    schema: &Schema,
    path: &str,
    depth: usize,
    errors: &mut Vec<FieldError>,
) {
    if old == Some(value) {
        return;
    }
    if depth > MAX_DEPTH {
        errors.push(FieldError::invalid(path, "\"\"", "nested too deeply"));
        return;
    }
    if value.is_null() && schema.nullable {
        return;
    }
    if !type_fits(value, schema) {
        errors.push(type_error(value, schema, path));
        return;
    }
    enumeration(value, schema, path, errors);
    match value {
        Value::String(text) => string(text, schema, path, errors),
        Value::Number(_) => number(value, schema, path, errors),
        Value::Array(items) => array(items, old, schema, path, depth, errors),
        Value::Object(map) => object(map, old, schema, path, depth, errors),
        Value::Null | Value::Bool(_) => {}
    }
    junctors(value, old, schema, path, depth, errors);
}

fn type_fits(value: &Value, schema: &Schema) -> bool {
    if schema.int_or_string {
        return value.is_string() || is_integer(value);
    }
    match schema.ty.as_str() {
        "" => true,
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => is_integer(value),
        _ => false,
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_integer(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn type_error(value: &Value, schema: &Schema, path: &str) -> FieldError {
    let wanted = if schema.int_or_string {
        "integer,string"
    } else {
        schema.ty.as_str()
    };
    let found = type_name(value);
    let detail = format!("{path} in body must be of type {wanted}: \"{found}\"");
    FieldError::new(path, FieldErrorKind::TypeInvalid, format!("{found:?}"), detail)
}

fn enumeration(value: &Value, schema: &Schema, path: &str, errors: &mut Vec<FieldError>) {
    if schema.enumeration.is_empty() || schema.enumeration.contains(value) {
        return;
    }
    let options = schema.enumeration.iter().map(|v| match v {
        Value::String(text) => format!("{text:?}"),
        other => format!("{:?}", other.to_string()),
    });
    let detail = format!(
        "supported values: {}",
        options.collect::<Vec<String>>().join(", ")
    );
    errors.push(FieldError::new(
        path,
        FieldErrorKind::NotSupported,
        value.to_string(),
        detail,
    ));
}

fn string(text: &str, schema: &Schema, path: &str, errors: &mut Vec<FieldError>) {
    let quoted = || Value::from(text).to_string();
    let length = text.chars().count() as u64;
    if let Some(max) = schema.max_length.filter(|max| length > *max) {
        let unit = if max == 1 { "byte" } else { "bytes" };
        let detail = format!("may not be more than {max} {unit}");
        errors.push(FieldError::new(
            path,
            FieldErrorKind::TooLong,
            String::new(),
            detail,
        ));
    }
    if let Some(min) = schema.min_length.filter(|min| length < *min) {
        let detail = format!("{path} in body should be at least {min} chars long");
        errors.push(FieldError::invalid(path, quoted(), detail));
    }
    if let Some((pattern, regex)) = &schema.pattern
        && !regex.is_match(text)
    {
        errors.push(FieldError::invalid(
            path,
            quoted(),
            format!("{path} in body should match '{pattern}'"),
        ));
    }
    if !schema.format.is_empty() && !formats::is_valid(&schema.format, text) {
        let detail = format!("{path} in body must be of type {}: {}", schema.format, quoted());
        errors.push(FieldError::new(
            path,
            FieldErrorKind::TypeInvalid,
            quoted(),
            detail,
        ));
    }
}

fn number(value: &Value, schema: &Schema, path: &str, errors: &mut Vec<FieldError>) {
    let Some(number) = value.as_f64() else {
        return;
    };
    let mut fail = |detail: String| {
        errors.push(FieldError::invalid(
            path,
            value.to_string(),
            format!("{path} in body should be {detail}"),
        ));
    };
    if let Some(max) = schema.maximum {
        if schema.exclusive_maximum && number >= max {
            fail(format!("less than {max}"));
        } else if number > max {
            fail(format!("less than or equal to {max}"));
        }
    }
    if let Some(min) = schema.minimum {
        if schema.exclusive_minimum && number <= min {
            fail(format!("greater than {min}"));
        } else if number < min {
            fail(format!("greater than or equal to {min}"));
        }
    }
    if let Some(factor) = schema.multiple_of {
        let quotient = number / factor;
        if (quotient - quotient.round()).abs() > f64::EPSILON * quotient.abs() {
            fail(format!("a multiple of {factor}"));
        }
    }
}

fn array(
    items: &[Value],
    old: Option<&Value>,
    schema: &Schema,
    path: &str,
    depth: usize,
    errors: &mut Vec<FieldError>,
) {
    count(
        items.len(),
        (schema.min_items, schema.max_items),
        "items",
        path,
        errors,
    );
    if let Some(item_schema) = &schema.items {
        for (i, item) in items.iter().enumerate() {
            // Only the items of a map are the same ones as before.
            let before = old
                .and_then(Value::as_array)
                .filter(|_| schema.list_type == "map");
            let key = list_key(item, schema);
            let before = before.and_then(|all| all.iter().find(|other| list_key(other, schema) == key));
            check(
                item,
                before,
                item_schema,
                &format!("{path}[{i}]"),
                depth + 1,
                errors,
            );
        }
    }
    match schema.list_type.as_str() {
        "set" => duplicates(items, path, errors, Value::clone),
        "map" => duplicates(items, path, errors, |item| list_key(item, schema)),
        _ => {}
    }
}

fn list_key(item: &Value, schema: &Schema) -> Value {
    let keys = schema.list_map_keys.iter();
    let present = keys.filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
    Value::Object(present.collect())
}

fn duplicates(items: &[Value], path: &str, errors: &mut Vec<FieldError>, key: impl Fn(&Value) -> Value) {
    let mut seen = std::collections::HashSet::new();
    for (i, item) in items.iter().enumerate() {
        let text = key(item).to_string();
        if seen.contains(&text) {
            errors.push(FieldError::duplicate(format!("{path}[{i}]"), text));
        } else {
            seen.insert(text);
        }
    }
}

/// Bounds of a list or an object.
fn count(
    length: usize,
    bounds: (Option<u64>, Option<u64>),
    what: &str,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let length = length as u64;
    if let Some(max) = bounds.1.filter(|max| length > *max) {
        let detail = format!(
            "must have at most {max} {}",
            if max == 1 { "item" } else { "items" }
        );
        errors.push(FieldError::new(
            path,
            FieldErrorKind::TooMany,
            length.to_string(),
            detail,
        ));
    }
    if let Some(min) = bounds.0.filter(|min| length < *min) {
        let detail = format!("{path} in body should have at least {min} {what}");
        errors.push(FieldError::invalid(path, length.to_string(), detail));
    }
}

fn object(
    map: &Map<String, Value>,
    old: Option<&Value>,
    schema: &Schema,
    path: &str,
    depth: usize,
    errors: &mut Vec<FieldError>,
) {
    count(
        map.len(),
        (schema.min_properties, schema.max_properties),
        "properties",
        path,
        errors,
    );
    let dot = if path.is_empty() { "" } else { "." };
    for name in schema.required.iter().filter(|name| !map.contains_key(*name)) {
        errors.push(FieldError::required(format!("{path}{dot}{name}"), ""));
    }
    for (name, value) in map {
        if let Some(child) = schema.child(name) {
            let before = old.and_then(|old| old.get(name));
            check(
                value,
                before,
                child,
                &format!("{path}{dot}{name}"),
                depth + 1,
                errors,
            );
        } else if matches!(schema.additional, Additional::Forbidden) {
            errors.push(FieldError::forbidden(
                format!("{path}{dot}{name}"),
                "is not allowed",
            ));
        }
    }
    if schema.embedded_resource {
        for name in ["apiVersion", "kind"] {
            let at = format!("{path}{dot}{name}");
            match map.get(name) {
                None => errors.push(FieldError::required(at, "")),
                Some(Value::String(text)) if text.is_empty() => {
                    errors.push(FieldError::invalid(at, "\"\"", "must not be empty"));
                }
                Some(Value::String(_)) => {}
                Some(other) => errors.push(FieldError::invalid(at, other.to_string(), "must be a string")),
            }
        }
    }
}

fn junctors(
    value: &Value,
    old: Option<&Value>,
    schema: &Schema,
    path: &str,
    depth: usize,
    errors: &mut Vec<FieldError>,
) {
    let errors_of = |part: &Schema| {
        let mut found = Vec::new();
        check(value, old, part, path, depth + 1, &mut found);
        found
    };
    let whole = |detail: String| FieldError::invalid("<nil>", "\"\"", detail);
    for part in &schema.all_of {
        errors.extend(errors_of(part));
    }
    if !schema.any_of.is_empty() {
        let results: Vec<_> = schema.any_of.iter().map(errors_of).collect();
        if results.iter().all(|found| !found.is_empty()) {
            errors.push(whole(format!(
                "\"{path}\" must validate at least one schema (anyOf)"
            )));
            errors.extend(results.into_iter().next().unwrap_or_default());
        }
    }
    if !schema.one_of.is_empty() {
        let results: Vec<_> = schema.one_of.iter().map(errors_of).collect();
        let valid = results.iter().filter(|found| found.is_empty()).count();
        if valid != 1 {
            let found = if valid == 0 {
                "Found none valid".to_owned()
            } else {
                format!("Found {valid} valid alternatives")
            };
            errors.push(whole(format!(
                "\"{path}\" must validate one and only one schema (oneOf). {found}"
            )));
            if valid == 0 {
                errors.extend(results.into_iter().next().unwrap_or_default());
            }
        }
    }
    if let Some(not) = &schema.not
        && errors_of(not).is_empty()
    {
        errors.push(whole(format!("\"{path}\" must not validate the schema (not)")));
    }
}
