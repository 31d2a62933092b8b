//! JSON patch operations (RFC 6902).
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use std::sync::Arc;

#[derive(Debug, Clone, Serialize)]
pub struct PatchOp {
    pub op: &'static str,
    pub path: String,
    pub value: Written,
}

/// What an operation writes.
#[derive(Debug, Clone)]
pub enum Written {
    /// Made for this pod.
    Made(Value),
    /// The same for every pod, and text since it was prepared.
    Ready(Arc<RawValue>),
    List(Vec<Written>),
}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Made(value) => value.serialize(serializer),
            Self::Ready(text) => text.as_ref().serialize(serializer),
            Self::List(items) => items.serialize(serializer),
        }
    }
}

impl From<Value> for Written {
    fn from(value: Value) -> Self {
        Self::Made(value)
    }
}

impl PatchOp {
    pub(super) fn add(path: impl Into<String>, value: impl Into<Written>) -> Self {
        Self {
            op: "add",
            path: path.into(),
            value: value.into(),
        }
    }

    pub(super) fn replace(path: impl Into<String>, value: impl Into<Written>) -> Self {
        Self {
            op: "replace",
            path: path.into(),
            value: value.into(),
        }
    }
}

/// One step of a JSON pointer.
pub(super) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Appends to `/spec/<field>`, making the list where there is none.
pub(super) fn append(ops: &mut Vec<PatchOp>, field: &str, exists: bool, values: Vec<Written>) {
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
        ops.push(PatchOp::add(format!("/spec/{field}"), Written::List(values)));
    }
}
