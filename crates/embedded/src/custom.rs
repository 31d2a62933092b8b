//! Custom kinds: what a CustomResourceDefinition adds to the catalog.

use model::time::Timestamp;
use serde_json::{Value, json};

use crate::server::ApiServer;

/// One served version of a custom kind.
#[derive(Debug)]
pub struct CustomVersion {
    pub list_kind: String,
}

/// Where a custom kind keeps its replicas, as JSON pointers.
#[derive(Debug, Clone)]
pub struct ScalePaths {
    pub spec: String,
    pub status: String,
    pub selector: Option<String>,
}

impl CustomVersion {
    pub fn scale(&self) -> Option<ScalePaths> {
        None
    }

    pub fn columns(&self) -> Vec<Value> {
        crate::table::columns("", "")
    }

    pub fn cells(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let text = |pointer: &str| {
            json!(
                object
                    .pointer(pointer)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            )
        };
        vec![text("/metadata/name"), text("/metadata/creationTimestamp")]
    }
}

/// Rebuilds the catalog of custom resources from the stored definitions.
pub(crate) fn reload(server: &ApiServer) {
    let _ = server;
}
