//! JSON merge patch (RFC 7396), with the null handling of a real API server.
use serde_json::{Map, Value};

use crate::PatchError;

/// Merges `patch` into `doc`. A `null` removes; what is new comes in without its nulls.
pub fn merge_patch(doc: &Value, patch: &Value) -> Value {
    match (doc, patch) {
        (Value::Object(doc), Value::Object(patch)) => Value::Object(merged(doc, patch)),
        // A target that is not an object takes the whole patch, cleaned of nulls.
        (_, patch) => without_nulls(patch),
    }
}

/// Reads the body of a merge patch request: it must be an object.
pub fn parse_merge_patch(body: &[u8]) -> Result<Value, PatchError> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        PatchError::BadRequest(format!("error decoding patch: {}", go_json_error(body, &error)))
    })?;
    let kind = match &value {
        Value::Object(_) => return Ok(value),
        // `null` decodes into an empty map in the first pass of a real server and is refused by the second.
        Value::Null => return Err(PatchError::BadRequest("Invalid JSON Patch".into())),
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
    };
    Err(PatchError::BadRequest(format!(
        "error decoding patch: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
    )))
}

fn merged(doc: &Map<String, Value>, patch: &Map<String, Value>) -> Map<String, Value> {
    let mut out = doc.clone();
    for (key, change) in patch {
        match (out.get(key), change) {
            (_, Value::Null) => {
                out.remove(key);
            }
            (Some(Value::Object(current)), Value::Object(change)) => {
                let value = Value::Object(merged(current, change));
                out.insert(key.clone(), value);
            }
            // An object that is replaced by something else takes it as it is, nulls included.
            (Some(Value::Object(_)), change) => {
                out.insert(key.clone(), change.clone());
            }
            (_, change) => {
                out.insert(key.clone(), without_nulls(change));
            }
        }
    }
    out
}

/// Object members that are null disappear at every depth; null items of arrays stay.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// How Go's decoder words that bytes are no JSON.
pub fn go_json_error(bytes: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let lines = bytes.split(|b| *b == b'\n');
    let line = lines
        .into_iter()
        .nth(error.line().saturating_sub(1))
        .unwrap_or_default();
    let Some(found) = line.get(error.column().saturating_sub(1)) else {
        return error.to_string();
    };
    let shown = match found {
        0x20..=0x7e => char::from(*found).to_string(),
        other => format!("\\u{other:04x}"),
    };
    let text = error.to_string();
    if text.starts_with("expected value") {
        format!("invalid character '{shown}' looking for beginning of value")
    } else if text.starts_with("key must be a string") {
        format!("invalid character '{shown}' looking for beginning of object key string")
    } else if text.starts_with("trailing characters") {
        format!("invalid character '{shown}' after top-level value")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_removes_and_new_objects_come_without_nulls() {
        let doc = json!({"a": 1, "b": {"c": 1, "d": 2}, "l": [1]});
        let patch = json!({"a": null, "b": {"c": null}, "n": {"x": null, "y": 1}, "l": [{"z": null}]});
        assert_eq!(
            merge_patch(&doc, &patch),
            json!({"b": {"d": 2}, "n": {"y": 1}, "l": [{}]})
        );
    }

    #[test]
    fn a_patch_that_is_not_an_object_is_a_bad_request() {
        let error = parse_merge_patch(b"[1]").expect_err("must be refused");
        assert_eq!(error.code(), 400);
        assert_eq!(
            error.to_string(),
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
        );
    }
}
