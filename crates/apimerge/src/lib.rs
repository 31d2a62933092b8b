//! How a change reaches an object: JSON patch, merge patch, strategic merge patch and server-side apply.
//!
//! Pure functions over `serde_json::Value`, driven by the type tables of `apischema`. Every error carries the
//! words and the status code with which a real API server answers the same request.
mod error;
mod json;
mod merge;
pub mod ssa;
mod strategic;

pub use error::PatchError;
pub use json::{json_patch, json_patch_unknown_fields};
pub use merge::{go_json_error, merge_patch, parse_merge_patch};
pub use strategic::strategic;
