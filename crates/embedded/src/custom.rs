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
    pub(crate) fn schema(&self) -> Option<crate::pipeline::Schema<'_>> {
        None
    }

    pub(crate) fn prune(&self, _value: &mut Value) -> (Vec<String>, Vec<String>) {
        (Vec::new(), Vec::new())
    }

    pub(crate) fn default(&self, _value: &mut Value) {}

    pub(crate) fn prepare_for_create(&self, _value: &mut Value) {}

    pub(crate) fn prepare_for_update(&self, _subresource: &str, _new: &mut Value, _old: &Value) {}

    pub(crate) fn validate(
        &self,
        _resource: &crate::catalog::Resource,
        _new: &Value,
        _old: Option<&Value>,
        _subresource: &str,
    ) -> Vec<model::field::FieldError> {
        Vec::new()
    }

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
