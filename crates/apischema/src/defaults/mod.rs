//! What a server fills in: unconditional defaults by the recorded tree, conditional ones by hand.

mod tree;

use serde_json::Value;

pub use tree::{DefaultNode, DefaultTree};

use crate::types::GroupVersionKind;

/// Fills in what the API server of this kind's group and version would. Unknown kinds stay as they are.
pub fn apply(gvk: &GroupVersionKind, value: &mut Value) {
    crate::builtin().defaults.apply(gvk, value);
}
