//! The `$` members of a strategic merge patch.
use std::collections::BTreeSet;

use serde_json::Value;

use super::{DELETE_FROM, DIRECTIVE, ELEMENT_ORDER, Object, RETAIN_KEYS};
use crate::PatchError;

/// The field that `$prefix/field` speaks of.
pub(super) fn target<'k>(key: &'k str, prefix: &str) -> Result<&'k str, PatchError> {
    match key.split_once('/') {
        Some((head, field)) if head == prefix => Ok(field),
        _ => Err(PatchError::BadRequest(
            if prefix == ELEMENT_ORDER {
                "invalid patch format of setElementOrder list"
            } else {
                "invalid patch format of primitive list"
            }
            .to_owned(),
        )),
    }
}

/// `$retainKeys`: members of the original that the directive does not name are cleared.
pub(super) fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let invalid = || PatchError::BadRequest("invalid patch format of retainKeys".to_owned());
    let Value::Array(names) = directive else {
        return Err(invalid());
    };
    let kept: BTreeSet<&str> = names.iter().filter_map(Value::as_str).collect();
    let names_all = patch.iter().all(|(key, value)| {
        let exempt = value.is_null() || key.starts_with(DELETE_FROM) || key.starts_with(ELEMENT_ORDER);
        exempt || kept.contains(key.as_str())
    });
    if !names_all {
        return Err(invalid());
    }
    original.retain(|key, _| kept.contains(key.as_str()));
    Ok(())
}

/// What is left of a new value when everything under a `$patch` directive is dropped; `None` drops it whole.
pub(super) fn strip(value: Value) -> Option<Value> {
    match value {
        Value::Object(members) if members.contains_key(DIRECTIVE) => None,
        Value::Object(members) => {
            let kept = members
                .into_iter()
                .filter_map(|(key, value)| Some((key, strip(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(strip).collect())),
        other => Some(other),
    }
}

/// New members come in without nulls.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

pub(super) fn unknown(directive: &Value, patch: &Object) -> PatchError {
    let directive = directive
        .as_str()
        .map_or_else(|| directive.to_string(), str::to_owned);
    let map = go_map(patch);
    PatchError::Internal(format!("unknown patch type: {directive} in map: {map}"))
}

/// A map as Go's `%v` prints it.
pub(super) fn go_map(map: &Object) -> String {
    let members: Vec<String> = map
        .iter()
        .map(|(key, value)| format!("{key}:{}", go_value(value)))
        .collect();
    format!("map[{}]", members.join(" "))
}

pub(super) fn go_list(items: &[Value]) -> String {
    let items: Vec<String> = items.iter().map(go_value).collect();
    format!("[{}]", items.join(" "))
}

fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => go_list(items),
        Value::Object(map) => go_map(map),
        other => other.to_string(),
    }
}
