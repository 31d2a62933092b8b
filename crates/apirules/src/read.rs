//! Reading JSON objects without ceremony: an absent field reads as Go's zero value.

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// Zero-value reads of a JSON tree.
pub(crate) trait Read {
    /// The field, or null.
    fn at(&self, name: &str) -> &Value;
    /// A string field, or "".
    fn text(&self, name: &str) -> &str;
    /// A list field, or [].
    fn list(&self, name: &str) -> &[Value];
    fn map(&self, name: &str) -> Option<&Map<String, Value>>;
    fn int(&self, name: &str) -> Option<i64>;
    /// A boolean field, or false.
    fn flag(&self, name: &str) -> bool;
    /// Present and not null.
    fn has(&self, name: &str) -> bool;
}

impl Read for Value {
    fn at(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&NULL)
    }

    fn text(&self, name: &str) -> &str {
        self.at(name).as_str().unwrap_or_default()
    }

    fn list(&self, name: &str) -> &[Value] {
        self.at(name).as_array().map(Vec::as_slice).unwrap_or_default()
    }

    fn map(&self, name: &str) -> Option<&Map<String, Value>> {
        self.at(name).as_object()
    }

    fn int(&self, name: &str) -> Option<i64> {
        self.at(name).as_i64()
    }

    fn flag(&self, name: &str) -> bool {
        self.at(name).as_bool().unwrap_or(false)
    }

    fn has(&self, name: &str) -> bool {
        !self.at(name).is_null()
    }
}

/// The strings of a list.
pub(crate) fn texts(list: &[Value]) -> Vec<&str> {
    list.iter().filter_map(Value::as_str).collect()
}

/// The object at `name`, made if absent; None where `value` is no object.
pub(crate) fn object_mut<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    let slot = value
        .as_object_mut()?
        .entry(name)
        .or_insert_with(|| Value::Object(Map::new()));
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut()
}

/// Puts `name` of `from` into `into`, or removes it where `from` has none.
pub(crate) fn copy_field(into: &mut Value, from: &Value, name: &str) {
    let Some(map) = into.as_object_mut() else { return };
    match from.get(name) {
        Some(value) if !value.is_null() => {
            map.insert(name.to_owned(), value.clone());
        }
        _ => {
            map.remove(name);
        }
    }
}
