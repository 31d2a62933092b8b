//! Unconditional defaults as a tree of field names, recorded from Kubernetes' own defaulting.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::types::GroupVersionKind;

/// Equal subtrees are kept once: pod templates appear in many kinds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct DefaultTree {
    pub nodes: Vec<DefaultNode>,
    pub kinds: BTreeMap<GroupVersionKind, u32>,
}

/// What defaulting does at one field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DefaultNode {
    /// JSON that is put where the field is absent.
    pub value: Option<String>,
    /// The field is a struct, not a pointer to one: it is always there.
    pub present: bool,
    /// The field is a pointer: an empty or zero value is a value.
    pub pointer: bool,
    /// Node of each item of a list.
    pub items: Option<u32>,
    /// Sorted by name.
    pub fields: Vec<(String, u32)>,
}

impl DefaultTree {
    pub fn apply(&self, gvk: &GroupVersionKind, value: &mut Value) {
        if let (Some(root), Value::Object(_)) = (self.kinds.get(gvk), &*value) {
            self.apply_node(*root, value);
        }
    }

    fn apply_node(&self, node: u32, value: &mut Value) {
        let Some(node) = self.nodes.get(node as usize) else {
            return;
        };
        match value {
            Value::Object(map) => {
                for (name, child) in &node.fields {
                    self.apply_field(name, *child, map);
                }
            }
            Value::Array(items) => {
                if let Some(child) = node.items {
                    for item in items {
                        self.apply_node(child, item);
                    }
                }
            }
            _ => {}
        }
    }

    fn apply_field(&self, name: &str, child: u32, map: &mut Map<String, Value>) {
        let Some(node) = self.nodes.get(child as usize) else {
            return;
        };
        if is_unset(map.get(name), node.pointer) {
            if let Some(json) = &node.value {
                let value = serde_json::from_str(json).unwrap_or(Value::Null);
                map.insert(name.to_owned(), value);
                return;
            }
            if !node.present {
                return;
            }
            map.insert(name.to_owned(), Value::Object(Map::new()));
        }
        if let Some(value) = map.get_mut(name) {
            self.apply_node(child, value);
        }
    }
}

/// Without a pointer, Go sees no difference between a zero value and a field left out.
fn is_unset(value: Option<&Value>, pointer: bool) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(_) if pointer => false,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Number(number)) => number.as_i64() == Some(0),
        Some(_) => false,
    }
}
