//! Protobuf request bodies, as stock kubectl sends them for the kinds it was compiled with.

use serde_json::Value;

use crate::status::Status;

pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// A `runtime.Unknown` envelope as JSON.
pub fn decode(_bytes: &[u8]) -> Result<Value, Status> {
    Err(Status::unsupported_media_type(&[
        "application/json",
        "application/yaml",
    ]))
}
