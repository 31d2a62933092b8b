//! What a Kubernetes API server refuses: validation, authorization and built-in admission as pure functions.
//!
//! Everything works on `serde_json::Value` in the external (v1) form. State, time and randomness are arguments.
pub mod admission;
mod path;
pub mod quantity;
pub mod rbac;
mod read;
pub mod validation;
pub mod warnings;
