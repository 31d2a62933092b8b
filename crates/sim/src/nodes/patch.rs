//! What to send of a status: only what changed, as a strategic merge patch.
use serde_json::{Map, Value, json};

/// Fields of `new` that differ from `old`. Conditions merge by their type; fields that are gone become null.
pub(super) fn difference(old: &Value, new: &Value) -> Value {
    let empty = Map::new();
    let old_fields = old.as_object().unwrap_or(&empty);
    let new_fields = new.as_object().unwrap_or(&empty);
    let mut out = Map::new();
    for (key, value) in new_fields {
        let before = old_fields.get(key).unwrap_or(&Value::Null);
        if key == "conditions" {
            let changed = conditions(before, value);
            if !changed.is_empty() {
                out.insert(key.clone(), Value::Array(changed));
            }
        } else if before != value {
            out.insert(key.clone(), value.clone());
        }
    }
    for key in old_fields.keys().filter(|key| !new_fields.contains_key(*key)) {
        out.insert(key.clone(), Value::Null);
    }
    Value::Object(out)
}

fn conditions(old: &Value, new: &Value) -> Vec<Value> {
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let (old, new) = (list(old), list(new));
    let find = |of: &[Value], kind: &Value| of.iter().find(|c| c["type"] == *kind).cloned();
    let mut out = Vec::new();
    for condition in &new {
        let before = find(&old, &condition["type"]);
        if before.as_ref() == Some(condition) {
            continue;
        }
        let mut changed = condition.clone();
        // Written or not, an older reason must not stay beside the new status.
        for field in ["reason", "message"] {
            if condition.get(field).is_none() {
                changed[field] = Value::Null;
            }
        }
        out.push(changed);
    }
    for gone in old.iter().filter(|c| find(&new, &c["type"]).is_none()) {
        out.push(json!({"type": gone["type"], "$patch": "delete"}));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_sent() {
        let old = json!({"phase": "Pending", "hostIP": "1", "conditions": [{"type": "Ready", "status": "False", "reason": "x"},
            {"type": "A", "status": "True"}]});
        let new = json!({"phase": "Running", "hostIP": "1", "conditions": [{"type": "Ready", "status": "True"},
            {"type": "A", "status": "True"}]});
        let wanted = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "reason": null,
            "message": null}]});
        assert_eq!(difference(&old, &new), wanted);
    }
}
