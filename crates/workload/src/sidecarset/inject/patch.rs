//! JSON patch operations (RFC 6902).
use serde::Serialize;
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PatchOp {
    pub op: &'static str,
    pub path: String,
    pub value: Value,
}

impl PatchOp {
    pub(super) fn add(path: impl Into<String>, value: Value) -> Self {
        Self {
            op: "add",
            path: path.into(),
            value,
        }
    }

    pub(super) fn replace(path: impl Into<String>, value: Value) -> Self {
        Self {
            op: "replace",
            path: path.into(),
            value,
        }
    }
}

/// One step of a JSON pointer.
pub(super) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Appends to `/spec/<field>`, making the list where there is none.
pub(super) fn append(ops: &mut Vec<PatchOp>, field: &str, exists: bool, values: Vec<Value>) {
    if values.is_empty() {
        return;
    }
    if exists {
        ops.extend(
            values
                .into_iter()
                .map(|v| PatchOp::add(format!("/spec/{field}/-"), v)),
        );
    } else {
        ops.push(PatchOp::add(format!("/spec/{field}"), Value::Array(values)));
    }
}
