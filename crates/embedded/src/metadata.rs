//! Reading and setting `metadata` of objects as JSON.

use serde_json::{Map, Value};

/// `metadata.FIELD` as text, empty where absent.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object
        .get("metadata")
        .and_then(|m| m.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub fn name(object: &Value) -> &str {
    text(object, "name")
}

pub fn get<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    object.get("metadata")?.get(field).filter(|v| !v.is_null())
}

pub fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(metadata) = map(object) {
        metadata.insert(field.to_owned(), value.into());
    }
}

pub fn remove(object: &mut Value, field: &str) {
    if let Some(metadata) = map(object) {
        metadata.remove(field);
    }
}

/// `metadata`, made if it is not there.
pub fn map(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let metadata = object
        .as_object_mut()?
        .entry("metadata")
        .or_insert_with(|| Value::Object(Map::new()));
    if metadata.is_null() {
        *metadata = Value::Object(Map::new());
    }
    metadata.as_object_mut()
}

pub fn finalizers(object: &Value) -> Vec<String> {
    let list = get(object, "finalizers").and_then(Value::as_array);
    list.map(|l| l.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default()
}

pub fn set_finalizers(object: &mut Value, finalizers: &[String]) {
    if finalizers.is_empty() {
        remove(object, "finalizers");
    } else {
        set(object, "finalizers", finalizers.to_vec());
    }
}

pub fn is_deleting(object: &Value) -> bool {
    get(object, "deletionTimestamp").is_some()
}

pub fn grace_seconds(object: &Value) -> Option<i64> {
    get(object, "deletionGracePeriodSeconds")?.as_i64()
}

/// One more generation, for kinds that count them.
pub fn bump_generation(object: &mut Value) {
    if let Some(generation) = get(object, "generation")
        .and_then(Value::as_i64)
        .filter(|g| *g > 0)
    {
        set(object, "generation", generation + 1);
    }
}

/// What the server alone sets: taken over from the old object wherever the new one leaves it out.
pub fn keep_system_fields(new: &mut Value, old: &Value) {
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
    ] {
        if get(new, field).is_none() {
            match get(old, field) {
                Some(value) => set(new, field, value.clone()),
                None => remove(new, field),
            }
        }
    }
    match get(old, "generation") {
        Some(value) => set(new, "generation", value.clone()),
        None => remove(new, "generation"),
    }
}

/// Owner references name each owner once; true where one was dropped.
pub fn dedup_owners(object: &mut Value) -> bool {
    let Some(owners) = map(object)
        .and_then(|m| m.get_mut("ownerReferences"))
        .and_then(Value::as_array_mut)
    else {
        return false;
    };
    let before = owners.len();
    let mut seen: Vec<Value> = Vec::new();
    owners.retain(|owner| {
        let fresh = !seen.contains(owner);
        if fresh {
            seen.push(owner.clone());
        }
        fresh
    });
    owners.len() < before
}
