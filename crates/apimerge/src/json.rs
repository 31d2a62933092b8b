//! JSON patch (RFC 6902) as a real API server reads it: negative indices count from the end, `replace` of a
//! missing member adds it, a missing `value` is null.
use serde_json::{Map, Value};

use crate::PatchError;

/// More operations than this are refused.
const MAX_OPERATIONS: usize = 10_000;

/// Applies a JSON patch.
pub fn json_patch(doc: &Value, patch: &[u8]) -> Result<Value, PatchError> {
    let operations = parse(patch)?;
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut doc = doc.clone();
    for operation in &operations {
        operation.run(&mut doc).map_err(PatchError::Unprocessable)?;
    }
    Ok(doc)
}

/// Members that no operation knows, worded as strict field validation reports them.
pub fn json_patch_unknown_fields(patch: &[u8]) -> Vec<String> {
    let Ok(operations) = serde_json::from_slice::<Vec<Map<String, Value>>>(patch) else {
        return Vec::new();
    };
    let unknown = |(index, operation): (usize, &Map<String, Value>)| {
        operation
            .keys()
            .filter(|key| !["op", "path", "from", "value"].contains(&key.as_str()))
            .map(move |key| format!("json patch unknown field \"[{index}].{key}\""))
            .collect::<Vec<_>>()
    };
    operations.iter().enumerate().flat_map(unknown).collect()
}

struct Operation(Map<String, Value>);

fn parse(patch: &[u8]) -> Result<Vec<Operation>, PatchError> {
    let bad = |what: &str, into: &str| {
        PatchError::BadRequest(format!(
            "error decoding patch: json: cannot unmarshal {what} into Go value of type {into}"
        ))
    };
    let value: Value = serde_json::from_slice(patch)
        .map_err(|error| PatchError::BadRequest(format!("error decoding patch: {error}")))?;
    let items = match value {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        other => return Err(bad(go_kind(&other), "[]handlers.jsonPatchOp")),
    };
    let mut operations = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Value::Object(members) => {
                for name in ["op", "path", "from"] {
                    if let Some(value) = members.get(name).filter(|v| !v.is_string() && !v.is_null()) {
                        let field = format!("Go struct field jsonPatchOp.{name} of type string");
                        return Err(PatchError::BadRequest(format!(
                            "error decoding patch: json: cannot unmarshal {} into {field}",
                            go_kind(value)
                        )));
                    }
                }
                operations.push(Operation(members));
            }
            Value::Null => operations.push(Operation(Map::new())),
            other => return Err(bad(go_kind(&other), "handlers.jsonPatchOp")),
        }
    }
    Ok(operations)
}

impl Operation {
    fn run(&self, doc: &mut Value) -> Result<(), String> {
        match self.text("op").unwrap_or("unknown") {
            "add" => self.add(doc),
            "remove" => self.remove(doc),
            "replace" => self.replace(doc),
            "move" => self.relocate(doc),
            "test" => self.test(doc),
            "copy" => self.copy(doc),
            other => Err(format!("Unexpected kind: {other}")),
        }
    }

    fn add(&self, doc: &mut Value) -> Result<(), String> {
        let path = self
            .text("path")
            .ok_or("add operation failed to decode path: missing value")?;
        let (parent, key) = place(doc, path).ok_or_else(|| {
            format!("add operation does not apply: doc is missing path: \"{path}\": missing value")
        })?;
        insert(parent, &key, self.value())
            .map_err(|error| format!("error in add for path: '{path}': {error}"))
    }

    fn remove(&self, doc: &mut Value) -> Result<(), String> {
        let path = self
            .text("path")
            .ok_or("remove operation failed to decode path: missing value")?;
        let (parent, key) = place(doc, path).ok_or_else(|| {
            format!("remove operation does not apply: doc is missing path: \"{path}\": missing value")
        })?;
        take(parent, &key)
            .map(drop)
            .map_err(|error| format!("error in remove for path: '{path}': {error}"))
    }

    fn replace(&self, doc: &mut Value) -> Result<(), String> {
        let path = self
            .text("path")
            .ok_or("replace operation failed to decode path: operation missing path field: missing value")?;
        if path.is_empty() {
            let value = self.value();
            if !value.is_object() && !value.is_array() {
                return Err("replace operation value must be object or array: %!w(<nil>)".into());
            }
            *doc = value;
            return Ok(());
        }
        let (parent, key) = place(doc, path).ok_or_else(|| {
            format!("replace operation does not apply: doc is missing path: {path}: missing value")
        })?;
        match parent {
            Value::Object(members) => {
                members.insert(key, self.value());
                Ok(())
            }
            Value::Array(items) => {
                let slot = index(&key, items.len())
                    .ok()
                    .and_then(|at| items.get_mut(at))
                    .ok_or_else(|| {
                        format!("replace operation does not apply: doc is missing key: {path}: missing value")
                    })?;
                *slot = self.value();
                Ok(())
            }
            _ => Err(format!(
                "replace operation does not apply: doc is missing path: {path}: missing value"
            )),
        }
    }

    fn relocate(&self, doc: &mut Value) -> Result<(), String> {
        let from = self
            .text("from")
            .ok_or("move operation failed to decode from: operation, missing from field: missing value")?;
        let (parent, key) = place(doc, from).ok_or_else(|| {
            format!("move operation does not apply: doc is missing from path: {from}: missing value")
        })?;
        let value =
            take(parent, &key).map_err(|error| format!("error in move for path: '{key}': {error}"))?;
        let path = self
            .text("path")
            .ok_or("move operation failed to decode path: operation missing path field: missing value")?;
        let (parent, key) = place(doc, path).ok_or_else(|| {
            format!("move operation does not apply: doc is missing destination path: {path}: missing value")
        })?;
        insert(parent, &key, value).map_err(|error| format!("error in move for path: '{path}': {error}"))
    }

    fn copy(&self, doc: &mut Value) -> Result<(), String> {
        let from = self
            .text("from")
            .ok_or("copy operation failed to decode from: operation, missing from field: missing value")?;
        let (parent, key) = place(doc, from).ok_or_else(|| {
            format!("copy operation does not apply: doc is missing from path: {from}: missing value")
        })?;
        let value = get(parent, &key)
            .map_err(|error| format!("error in copy for from: '{from}': {error}"))?
            .cloned()
            .unwrap_or(Value::Null);
        let path = self
            .text("path")
            .ok_or("copy operation failed to decode path: missing value")?;
        let (parent, key) = place(doc, path).ok_or_else(|| {
            format!("copy operation does not apply: doc is missing destination path: {path}: missing value")
        })?;
        insert(parent, &key, value).map_err(|error| format!("error while adding value during copy: {error}"))
    }

    fn test(&self, doc: &mut Value) -> Result<(), String> {
        let path = self
            .text("path")
            .ok_or("test operation failed to decode path: operation missing path field: missing value")?;
        let failed = || format!("testing value {path} failed: test failed");
        if path.is_empty() {
            return if *doc == self.value() {
                Ok(())
            } else {
                Err(failed())
            };
        }
        let (parent, key) = place(doc, path).ok_or_else(|| {
            format!("test operation does not apply: is missing path: {path}: missing value")
        })?;
        let found =
            get(parent, &key).map_err(|error| format!("error in test for path: '{path}': {error}"))?;
        // A missing member equals null.
        if found.unwrap_or(&Value::Null) == &self.value() {
            Ok(())
        } else {
            Err(failed())
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    fn value(&self) -> Value {
        self.0.get("value").cloned().unwrap_or(Value::Null)
    }
}

/// The container that a pointer's last token names a place in, and that token.
fn place<'a>(doc: &'a mut Value, pointer: &str) -> Option<(&'a mut Value, String)> {
    let mut tokens: Vec<String> = pointer.split('/').skip(1).map(unescape).collect();
    let last = tokens.pop()?;
    let mut at = doc;
    for token in &tokens {
        at = match at {
            Value::Object(members) => members.get_mut(token)?,
            Value::Array(items) => {
                let position = index(token, items.len()).ok()?;
                items.get_mut(position)?
            }
            _ => return None,
        };
    }
    (at.is_object() || at.is_array()).then_some((at, last))
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

fn get<'a>(parent: &'a Value, key: &str) -> Result<Option<&'a Value>, String> {
    match parent {
        Value::Array(items) => Ok(items.get(index(key, items.len())?)),
        other => Ok(other.get(key)),
    }
}

fn insert(parent: &mut Value, key: &str, value: Value) -> Result<(), String> {
    match parent {
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let not_an_index = |error| format!("value was not a proper array index: '{key}': {error}");
            let wanted = number(key).map_err(not_an_index)?;
            // One past the end is a place too, so the bounds are those of the longer list.
            let at = bounded(wanted, items.len() + 1)?;
            items.insert(at, value);
        }
        Value::Object(members) => {
            members.insert(key.to_owned(), value);
        }
        _ => return Err("missing value".into()),
    }
    Ok(())
}

fn take(parent: &mut Value, key: &str) -> Result<Value, String> {
    match parent {
        Value::Array(items) => {
            let at = index(key, items.len())?;
            Ok(items.remove(at))
        }
        Value::Object(members) => members
            .remove(key)
            .ok_or_else(|| format!("Unable to remove nonexistent key: {key}: missing value")),
        _ => Err("missing value".into()),
    }
}

fn index(key: &str, len: usize) -> Result<usize, String> {
    bounded(number(key)?, len)
}

fn number(key: &str) -> Result<i64, String> {
    // Go takes a sign of either kind, and nothing but decimal digits.
    key.parse::<i64>().map_err(|error| match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
            format!("strconv.Atoi: parsing \"{key}\": value out of range")
        }
        _ => format!("strconv.Atoi: parsing \"{key}\": invalid syntax"),
    })
}

fn bounded(wanted: i64, len: usize) -> Result<usize, String> {
    let outside = || format!("Unable to access invalid index: {wanted}: invalid index referenced");
    let length = i64::try_from(len).map_err(|_| outside())?;
    let at = if wanted < 0 { wanted + length } else { wanted };
    usize::try_from(at)
        .ok()
        .filter(|at| *at < len)
        .ok_or_else(outside)
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patch(doc: &Value, patch: &Value) -> Result<Value, PatchError> {
        json_patch(doc, patch.to_string().as_bytes())
    }

    #[test]
    fn operations_run_in_order_and_negative_indices_count_from_the_end() {
        let doc = json!({"a": [1, 2, 3], "b": {"c/d": 1}});
        let ops = json!([
            {"op": "test", "path": "/a/-1", "value": 3},
            {"op": "add", "path": "/a/-", "value": 4},
            {"op": "remove", "path": "/a/0"},
            {"op": "move", "from": "/b/c~1d", "path": "/e"},
            {"op": "copy", "from": "/a/0", "path": "/f"},
            {"op": "replace", "path": "/missing", "value": {}},
        ]);
        let expected = json!({"a": [2, 3, 4], "b": {}, "e": 1, "f": 2, "missing": {}});
        assert_eq!(patch(&doc, &ops).expect("applies"), expected);
    }

    #[test]
    fn what_does_not_apply_is_unprocessable_and_what_cannot_be_read_is_a_bad_request() {
        let doc = json!({"a": [1]});
        let error = patch(&doc, &json!([{"op": "remove", "path": "/b"}])).expect_err("no such key");
        assert_eq!(error.code(), 422);
        assert_eq!(
            error.to_string(),
            "error in remove for path: '/b': Unable to remove nonexistent key: b: missing value"
        );
        let error = patch(&doc, &json!({"op": "remove"})).expect_err("not a list");
        assert_eq!(error.code(), 400);
    }
}
