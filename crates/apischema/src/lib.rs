//! What a Kubernetes object looks like: types, list-map keys, patch strategies, defaults, discovery, OpenAPI.
//!
//! Everything here is data and pure functions over `serde_json::Value`. Built-in kinds come from a compact
//! table that `cargo xtask schema` records from a real API server; custom kinds build their own [`TypeTable`].
pub mod builtin;
pub mod convert;
pub mod decode;
pub mod defaults;
mod metrics;
pub mod openapi;
pub mod quantity;
mod scalars;
pub mod types;

pub use builtin::{Builtin, ResourceInfo, SubresourceInfo, builtin, storage_version};
pub use types::{
    Field, GoField, GoType, GroupVersionKind, ListMapKey, ListTopology, Omit, PatchStrategy, Scalar, TypeDef,
    TypeId, TypeTable,
};
