//! What a Kubernetes object looks like: types, list-map keys, patch strategies, defaults, discovery, OpenAPI.
//!
//! Everything here is data and pure functions over `serde_json::Value`. Built-in kinds come from a compact
//! table that `cargo xtask schema` records from a real API server; custom kinds build their own [`TypeTable`].
pub mod types;

pub use types::{
    Field, GroupVersionKind, ListMapKey, ListTopology, PatchStrategy, Scalar, TypeDef, TypeId, TypeTable,
};
